/** Geometry of marks: bounds, hit tests, handles; moving, resizing and rotating. Positions are fractions of the canvas,
 * y downwards.
 */

export const UNIT = 1 / 512; // of length, in fractions of the canvas
const REACH = [-1, 2]; // how far marks may reach
const LEAST_SIDE = 4 * UNIT; // of a box, and of the part of a moved mark that stays on the canvas

export const add = ([ax, ay], [bx, by]) => [ax + bx, ay + by];
export const distance = ([ax, ay], [bx, by]) => Math.hypot(ax - bx, ay - by);
export const within = (value, [least, most] = REACH) => Math.min(Math.max(value, least), most);
export const reachable = (point) => point.map((value) => within(value));

/** A box's edges, moved so that a part of it is on the canvas, as Python requires. */
export function onCanvas(area) {
  const [[left, right], [top, bottom]] = [0, 1].map((axis) => {
    let [low, high] = [within(area[axis]), within(area[axis + 2])];
    high = Math.max(high, low + LEAST_SIDE);
    const shift = Math.max(LEAST_SIDE - high, 0) + Math.min(1 - LEAST_SIDE - low, 0);
    return [low + shift, high + shift].map((value) => within(value));
  });
  return [left, top, right, bottom];
}

/** A displacement of `box`, limited so that a part of it stays on the canvas. */
export function held(box, by) {
  return by.map((way, axis) => within(way, [LEAST_SIDE - box[axis + 2], 1 - LEAST_SIDE - box[axis]]));
}

/** The tip of a force arrow. */
export function forceTip({ start, angle, magnitude, scale }) {
  const turn = (angle * Math.PI) / 180;
  return [start[0] + magnitude * scale * Math.cos(turn), start[1] - magnitude * scale * Math.sin(turn)];
}

/** The force arrow with another tip: angle in degrees counter-clockwise, length 0.01 to 2 canvases. */
export function withForceTip(arrow, tip) {
  const length = within(distance(arrow.start, tip), [0.0101, 2]);
  const angle = (Math.atan2(arrow.start[1] - tip[1], tip[0] - arrow.start[0]) * 180) / Math.PI;
  return { ...arrow, angle: round(angle, 2), magnitude: round(length / arrow.scale, 4) };
}

/** The handle of a wind glyph that rotates and resizes it: the middle of its right end. */
export function windEnd({ center, angle, strength, scale }) {
  const turn = (angle * Math.PI) / 180;
  const reach = (strength * scale) / 2;
  return [center[0] + reach * Math.cos(turn), center[1] - reach * Math.sin(turn)];
}

export function withWindEnd(wind, end) {
  const length = within(2 * distance(wind.center, end), [0.0201, 2]);
  const angle = (Math.atan2(wind.center[1] - end[1], end[0] - wind.center[0]) * 180) / Math.PI;
  return { ...wind, angle: round(angle, 2), strength: round(length / wind.scale, 4) };
}

/** A force or wind with another `magnitude` or `strength`, within the lengths that can be drawn. */
export function withLength(mark, name, value) {
  const least = { magnitude: 0.0101, strength: 0.0201 }[name];
  return { ...mark, [name]: within(value, [least / mark.scale, 2 / mark.scale]) };
}

function round(value, digits) {
  return Math.round(value * 10 ** digits) / 10 ** digits;
}

/** A mark's lines as lists of points; closed ones end at their first point. */
export function lines(mark) {
  switch (mark.type) {
    case "box":
    case "text":
      return [corners(mark.area)];
    case "marker":
      return [[mark.start, mark.tip]];
    case "force":
      return [[mark.start, forceTip(mark)]];
    case "wind": {
      const end = windEnd(mark);
      return [[[2 * mark.center[0] - end[0], 2 * mark.center[1] - end[1]], end]];
    }
    case "trajectory":
      return [mark.points];
    case "doodle":
      return mark.strokes.map(({ points }) => points);
    case "erase":
      return [[...mark.points, mark.points[0]]];
    default:
      throw new TypeError(mark.type);
  }
}

function corners([left, top, right, bottom]) {
  return [
    [left, top],
    [right, top],
    [right, bottom],
    [left, bottom],
    [left, top],
  ];
}

/** The bounding box of marks: left, top, right, bottom. */
export function bounds(...marks) {
  const box = [Infinity, Infinity, -Infinity, -Infinity];
  for (const mark of marks) {
    const spread = mark.type === "wind" ? (mark.strength * mark.scale) / 4 : 0;
    for (const line of lines(mark)) {
      for (const [x, y] of line) {
        if (x - spread < box[0]) box[0] = x - spread;
        if (y - spread < box[1]) box[1] = y - spread;
        if (x + spread > box[2]) box[2] = x + spread;
        if (y + spread > box[3]) box[3] = y + spread;
      }
    }
  }
  return box;
}

const FULL = new Set(["box", "text", "wind"]);

/** Whether a part of the marks is on the canvas. */
export function inSight(marks) {
  const [left, top, right, bottom] = bounds(...marks);
  return left < 1 && top < 1 && right > 0 && bottom > 0;
}

/** The index of the mark at a point, -1 for none: the topmost whose line is near, else the smallest around it. */
export function hit(marks, point, tolerance) {
  for (let number = marks.length - 1; number >= 0; number--) {
    if (marks[number].type !== "text" && nearLine(marks[number], point, tolerance)) return number;
  }
  let best = -1;
  for (let number = marks.length - 1; number >= 0; number--) {
    const mark = marks[number];
    const surrounds =
      mark.type === "erase" ? inPolygon(mark.points, point) : FULL.has(mark.type) && inBox(hitBox(mark), point);
    if (surrounds && (best < 0 || size(mark) < size(marks[best]))) best = number;
  }
  return best;
}

function hitBox(mark) {
  const [left, top, right, bottom] = bounds(mark);
  // The label of a box is above it.
  return mark.type === "box" && mark.label
    ? [left, top - 1.4 * mark.style.size * UNIT, right, bottom]
    : [left, top, right, bottom];
}

function size(mark) {
  const [left, top, right, bottom] = bounds(mark);
  return (right - left) * (bottom - top);
}

function nearLine(mark, point, tolerance) {
  const reach = tolerance + ((mark.width ?? mark.strokes?.[0].width ?? 0) * UNIT) / 2;
  return lines(mark).some((line) =>
    line.some((end, number) => number > 0 && toSegment(point, line[number - 1], end) <= reach),
  );
}

function toSegment([x, y], [ax, ay], [bx, by]) {
  const dx = bx - ax;
  const dy = by - ay;
  const share = within(((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy || 1), [0, 1]);
  return Math.hypot(x - ax - share * dx, y - ay - share * dy);
}

export function inBox([left, top, right, bottom], [x, y]) {
  return x >= left && x <= right && y >= top && y <= bottom;
}

function inPolygon(points, [x, y]) {
  let inside = false;
  points.forEach(([ax, ay], number) => {
    const [bx, by] = points.at(number - 1);
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) inside = !inside;
  });
  return inside;
}

/** Whether a mark is entirely inside of a box. */
export function inside(mark, [left, top, right, bottom]) {
  const [l, t, r, b] = bounds(mark);
  return l >= left && t >= top && r <= right && b <= bottom;
}

/** The mark with `map` applied to its positions. Wind, which has only a centre, is rotated by `turn` degrees and scaled
 * by `grown`.
 */
function mapped(mark, map, turn = 0, grown = 1) {
  const at = (point) => reachable(map(point));
  switch (mark.type) {
    case "box":
    case "text": {
      const [left, top, right, bottom] = mark.area;
      if (turn) {
        const [x, y] = at([(left + right) / 2, (top + bottom) / 2]);
        const half = [(right - left) / 2, (bottom - top) / 2];
        return { ...mark, area: onCanvas([x - half[0], y - half[1], x + half[0], y + half[1]]) };
      }
      const [a, b] = [map([left, top]), map([right, bottom])];
      return {
        ...mark,
        area: onCanvas([Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[0], b[0]), Math.max(a[1], b[1])]),
      };
    }
    case "marker":
      return { ...mark, start: at(mark.start), tip: at(mark.tip) };
    case "force": {
      const start = at(mark.start);
      const tip = map(forceTip(mark));
      return withForceTip({ ...mark, start }, tip);
    }
    case "wind":
      return withLength(
        { ...mark, center: at(mark.center), angle: round((mark.angle - turn) % 360, 2) },
        "strength",
        mark.strength * grown,
      );
    case "trajectory":
    case "erase":
      return { ...mark, points: mark.points.map(at) };
    case "doodle":
      return { ...mark, strokes: mark.strokes.map((stroke) => ({ ...stroke, points: stroke.points.map(at) })) };
    default:
      throw new TypeError(mark.type);
  }
}

export function moved(mark, [dx, dy]) {
  return mapped(mark, ([x, y]) => [x + dx, y + dy]);
}

/** The mark after the box `from` around it was resized to `to`. */
export function resized(mark, from, to) {
  const [sx, sy] = [0, 1].map((axis) => (to[axis + 2] - to[axis]) / (from[axis + 2] - from[axis] || 1));
  return mapped(
    mark,
    ([x, y]) => [to[0] + (x - from[0]) * sx, to[1] + (y - from[1]) * sy],
    0,
    Math.sqrt(Math.abs(sx * sy)) || 1,
  );
}

/** The mark rotated around a point, degrees clockwise; boxes and text move but stay upright. */
export function turned(mark, [cx, cy], degrees) {
  const turn = (degrees * Math.PI) / 180;
  const [cos, sin] = [Math.cos(turn), Math.sin(turn)];
  return mapped(
    mark,
    ([x, y]) => [cx + (x - cx) * cos - (y - cy) * sin, cy + (x - cx) * sin + (y - cy) * cos],
    degrees,
  );
}

export const TURNABLE = new Set(["marker", "force", "wind", "trajectory", "doodle", "erase"]);
const MOST_POINT_HANDLES = 24;

/** The handles of a single selected mark at its own points, as [name, point]. */
export function ownHandles(mark) {
  if (mark.type === "marker")
    return [
      ["start", mark.start],
      ["tip", mark.tip],
    ];
  if (mark.type === "force")
    return [
      ["start", mark.start],
      ["tip", forceTip(mark)],
    ];
  if (mark.type === "wind") return [["end", windEnd(mark)]];
  const points = ["trajectory", "erase"].includes(mark.type) ? mark.points : [];
  return points.length <= MOST_POINT_HANDLES ? points.map((point, number) => [number, point]) : [];
}

/** The mark after one of its own handles was dragged to a point. */
export function withHandle(mark, name, point) {
  const at = reachable(point);
  if (mark.type === "force")
    return name === "tip" ? withForceTip(mark, point) : withForceTip({ ...mark, start: at }, forceTip(mark));
  if (mark.type === "wind") return withWindEnd(mark, point);
  if (mark.type === "marker") {
    const changed = { ...mark, [name]: at };
    return distance(changed.start, changed.tip) < LEAST_SIDE ? mark : changed;
  }
  return { ...mark, points: mark.points.map((old, number) => (number === name ? at : old)) };
}

const SIDES = ["nw", "n", "ne", "e", "se", "s", "sw", "w"];

/** The eight handles around a box, as [side, point]. */
export function boxHandles([left, top, right, bottom]) {
  const x = { w: left, e: right };
  const y = { n: top, s: bottom };
  return SIDES.map((side) => [side, [x[side.at(-1)] ?? (left + right) / 2, y[side[0]] ?? (top + bottom) / 2]]);
}

/** The box after a handle was dragged to a point; `square` keeps its proportions. */
export function draggedBox(box, side, [x, y], square = false) {
  let [left, top, right, bottom] = box;
  if (side.includes("w")) left = x;
  if (side.includes("e")) right = x;
  if (side.includes("n")) top = y;
  if (side.includes("s")) bottom = y;
  // Never so flat that its contents collapse.
  if (Math.abs(right - left) < LEAST_SIDE)
    side.includes("w") ? (left = right - LEAST_SIDE) : (right = left + LEAST_SIDE);
  if (Math.abs(bottom - top) < LEAST_SIDE)
    side.includes("n") ? (top = bottom - LEAST_SIDE) : (bottom = top + LEAST_SIDE);
  if (square && side.length === 2) {
    const grown = Math.max(
      Math.abs((right - left) / (box[2] - box[0] || 1)),
      Math.abs((bottom - top) / (box[3] - box[1] || 1)),
    );
    const [width, height] = [grown * (box[2] - box[0]), grown * (box[3] - box[1])];
    if (side.includes("w")) left = right - width;
    else right = left + width;
    if (side.includes("n")) top = bottom - height;
    else bottom = top + height;
  }
  return [left, top, right, bottom];
}

/** The points of a line simplified to `tolerance` (Ramer-Douglas-Peucker). */
export function simplified(points, tolerance) {
  if (points.length < 3) return points;
  const kept = new Uint8Array(points.length);
  kept[0] = kept[points.length - 1] = 1;
  const open = [[0, points.length - 1]];
  while (open.length) {
    const [first, last] = open.pop();
    let farthest = 0;
    let which = -1;
    for (let number = first + 1; number < last; number++) {
      const away = toSegment(points[number], points[first], points[last]);
      if (away > farthest) [farthest, which] = [away, number];
    }
    if (farthest > tolerance) {
      kept[which] = 1;
      open.push([first, which], [which, last]);
    }
  }
  return points.filter((_, number) => kept[number]);
}

/** A curve through the points, sampled about every `step`: centripetal Catmull-Rom, as the renderer draws it. */
export function curve(points, step) {
  const distinct = points.filter((point, number) => number === 0 || distance(point, points[number - 1]) > 1e-6);
  if (distinct.length < 3) return distinct;
  const mirror = ([ax, ay], [bx, by]) => [2 * ax - bx, 2 * ay - by];
  const around = [mirror(distinct[0], distinct[1]), ...distinct, mirror(distinct.at(-1), distinct.at(-2))];
  const result = [];
  for (let number = 1; number < around.length - 2; number++) {
    const [a, b, c, d] = around.slice(number - 1, number + 3);
    const [ta, tb, tc] = [distance(a, b), distance(b, c), distance(c, d)].map(Math.sqrt);
    const count = Math.min(Math.max(Math.ceil((tb * tb) / step), 1), 64);
    for (let part = 0; part < count; part++) {
      const t = (part / count) * tb;
      result.push(
        [0, 1].map((axis) => {
          const ab = b[axis] + ((b[axis] - a[axis]) * t) / ta;
          const bc = b[axis] + ((c[axis] - b[axis]) * t) / tb;
          const cd = c[axis] + ((d[axis] - c[axis]) * (t - tb)) / tc;
          const abc = ab + ((bc - ab) * (t + ta)) / (ta + tb);
          const bcd = bc + ((cd - bc) * t) / (tb + tc);
          return abc + ((bcd - abc) * t) / tb;
        }),
      );
    }
  }
  return [...result, distinct.at(-1)];
}
