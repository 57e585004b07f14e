/** What press, drag and release do with each tool. Points are fractions of the canvas. */

import {
  add,
  bounds,
  distance,
  draggedBox,
  forceTip,
  held,
  hit,
  inBox,
  inSight,
  inside,
  moved,
  onCanvas,
  ownHandles,
  reachable,
  resized,
  simplified,
  turned,
  UNIT,
  withForceTip,
  withHandle,
  withWindEnd,
} from "./geometry.js";

const GRID = 1 / 32;
const FREEHAND = 0.5 * UNIT; // tolerance when a freehand line is simplified
const LEAST_BOX = 8 * UNIT;
const TURN_HANDLE = 26 * UNIT; // above the frame
const GRIP = 1.6; // a handle's tolerance, relative to a line's
const SLACK = 0.25; // of the tolerance: how far the pointer moves before a press becomes a drag

/** The position of the rotation handle; `zoom` is the scale at which the canvas is shown. */
export function turnHandle([left, top, right], zoom = 1) {
  return [(left + right) / 2, top - TURN_HANDLE / zoom];
}

/** The handle of the selection at a point: {own: name}, {turn: true} or {side}; null if there is none. */
export function gripAt(editor, point, tolerance, zoom = 1) {
  const frame = editor.frame();
  const { single } = editor;
  if (!frame) return null;
  const near = ([, at]) => distance(at, point) <= GRIP * tolerance;
  const handles = single ? ownHandles(single) : [];
  const own = handles.find(near);
  if (own) return { own: own[0] };
  if (frame.turnable && near([null, turnHandle(frame.box, zoom)])) return { turn: true };
  const side = (!handles.length || single.type === "erase") && frame.handles.find(near);
  return side ? { side: side[0] } : null;
}

/** Begin a gesture of the editor's tool at a point; it has move(point, keys), end(point, keys) and cancel().
 *
 * `keys` are {shift, snap}. `tolerance` is the distance of hit tests, `zoom` the scale at which the canvas is shown.
 * The selection's handles work with every tool.
 */
export function begin(editor, point, keys, tolerance, zoom = 1) {
  const grip = editor.path ? null : gripAt(editor, point, tolerance, zoom);
  if (grip) return beginGrip(editor, point, grip, tolerance);
  return BEGINNINGS[editor.tool](editor, snapped(point, keys, editor.tool !== "doodle"), keys, tolerance);
}

const BEGINNINGS = {
  select: beginSelect,
  box: beginBox,
  text: beginText,
  marker: beginArrow,
  force: beginArrow,
  wind: beginArrow,
  trajectory: beginPath,
  erase: beginPath,
  doodle: beginStroke,
};

function snapped([x, y], { snap }, useful = true) {
  return snap && useful ? [Math.round(x / GRID) * GRID, Math.round(y / GRID) * GRID] : [x, y];
}

/** The point, with its direction from `origin` rounded to 15 degrees. */
function stepped(origin, [x, y]) {
  const step = Math.PI / 12;
  const angle = Math.round(Math.atan2(y - origin[1], x - origin[0]) / step) * step;
  const length = distance(origin, [x, y]);
  return [origin[0] + length * Math.cos(angle), origin[1] + length * Math.sin(angle)];
}

function beginGrip(editor, point, { own, turn, side }, tolerance) {
  const { box } = editor.frame();
  const drag = (transform) => dragging(editor, point, tolerance, transform);
  if (turn) return drag(turning(box, point));
  if (side)
    return drag(
      (to, { shift }) =>
        (mark) =>
          resized(mark, box, draggedBox(box, side, to, shift)),
    );
  return drag(
    (to, { shift }) =>
      (mark) =>
        withHandle(mark, own, shift ? steppedHandle(mark, own, to) : to),
  );
}

function steppedHandle(mark, name, to) {
  if (mark.type === "wind") return stepped(mark.center, to);
  if (mark.type !== "marker" && mark.type !== "force") return to;
  return stepped(name === "start" ? (mark.tip ?? forceTip(mark)) : mark.start, to);
}

function beginSelect(editor, point, keys, tolerance) {
  const frame = editor.frame();
  const which = hit(editor.prompt.marks, point, tolerance);
  const move = () => dragging(editor, point, tolerance, moving(bounds(...editor.selected), point));
  if (which < 0) return frame && inBox(frame.box, point) && !keys.shift ? move() : rubberBand(editor, point, keys);
  if (keys.shift) {
    const rest = editor.selection.filter((number) => number !== which);
    editor.select(rest.length < editor.selection.length ? rest : [...rest, which]);
    if (!editor.selection.includes(which)) return still();
  } else if (!editor.selection.includes(which)) {
    editor.select([which]);
  }
  return move();
}

function still() {
  return { move() {}, end() {}, cancel() {} };
}

/** A drag that applies `transform(point, keys)` to the selected marks; its `way` is their displacement if they only
 * move.
 */
function dragging(editor, from, tolerance, transform) {
  const before = editor.prompt.marks;
  let moved = false;
  return {
    move(point, keys) {
      moved ||= distance(from, point) > SLACK * tolerance;
      if (!moved) return;
      const change = transform(snapped(point, keys), keys);
      const changed = new Map(editor.selection.map((number) => [number, change(before[number])]));
      if (!inSight(changed.values())) return;
      editor.live = before.map((mark, number) => changed.get(number) ?? mark);
      editor.way = change.way ?? null;
      editor.changed("motion");
    },
    end(point, keys) {
      this.move(point, keys);
      if (!editor.live) return;
      const marks = editor.live.map((mark, number) =>
        editor.selection.includes(number) ? editor.rounded(mark) : mark,
      );
      editor.live = null;
      editor.setMarks(marks);
    },
    cancel() {
      editor.live = null;
      editor.changed("motion");
    },
  };
}

function moving(box, from) {
  return (to, { shift, snap }) => {
    let by = [to[0] - from[0], to[1] - from[1]];
    if (shift) by = Math.abs(by[0]) > Math.abs(by[1]) ? [by[0], 0] : [0, by[1]];
    // The corner snaps to the grid, wherever the mark was grabbed.
    if (snap) by = by.map((way, axis) => Math.round((box[axis] + way) / GRID) * GRID - box[axis]);
    const way = held(box, by);
    return Object.assign((mark) => moved(mark, way), { way });
  };
}

function turning([left, top, right, bottom], from) {
  const center = [(left + right) / 2, (top + bottom) / 2];
  const angle = ([x, y]) => (Math.atan2(y - center[1], x - center[0]) * 180) / Math.PI;
  return (to, { shift }) => {
    const turn = angle(to) - angle(from);
    return (mark) => turned(mark, center, shift ? Math.round(turn / 15) * 15 : turn);
  };
}

function rubberBand(editor, from, { shift }) {
  const before = shift ? editor.selection : [];
  editor.select(before);
  return {
    move(point) {
      editor.band = boxAround(from, point);
      const caught = [...editor.prompt.marks.keys()].filter((number) =>
        inside(editor.prompt.marks[number], editor.band),
      );
      editor.select([...before, ...caught]);
    },
    end() {
      this.cancel();
    },
    cancel() {
      editor.band = null;
      editor.changed("motion");
    },
  };
}

/** A drag that draws the mark `shape(point, keys)`, null while it is too small. */
function making(editor, shape) {
  return {
    move(point, keys) {
      editor.draft = shape(snapped(point, keys), keys);
      editor.changed("motion");
    },
    end(point, keys) {
      const mark = shape(snapped(point, keys), keys);
      editor.draft = null;
      if (mark) editor.add(mark);
      else editor.changed("motion");
    },
    cancel() {
      editor.draft = null;
      editor.changed("motion");
    },
  };
}

function boxAround(a, b) {
  return [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[0], b[0]), Math.max(a[1], b[1])];
}

function areaOf(from, to, square) {
  let [width, height] = [to[0] - from[0], to[1] - from[1]];
  if (square) {
    const side = Math.max(Math.abs(width), Math.abs(height));
    [width, height] = [Math.sign(width || 1) * side, Math.sign(height || 1) * side];
  }
  const area = boxAround(from, [from[0] + width, from[1] + height]);
  return area[2] - area[0] < LEAST_BOX || area[3] - area[1] < LEAST_BOX ? null : onCanvas(area);
}

function beginBox(editor, from) {
  const fresh = editor.next("box");
  return making(editor, (to, { shift }) => {
    const area = areaOf(from, to, shift);
    return area && { ...fresh, area };
  });
}

/** A drag makes an area for text; a click selects the text there, or adds text where the task has it. */
function beginText(editor, from, keys, tolerance) {
  const fresh = editor.next("text");
  const placed = making(editor, (to) => {
    const area = areaOf(from, to, false);
    return area && { ...fresh, area, valign: "top" };
  });
  return {
    ...placed,
    end(point, keys) {
      if (distance(from, point) > tolerance) return placed.end(point, keys);
      placed.cancel();
      const { marks } = editor.prompt;
      const under = marks.findLastIndex((mark) => mark.type === "text" && inBox(mark.area, from));
      const there =
        under >= 0
          ? under
          : marks.findLastIndex((mark) => mark.type === "text" && String(mark.area) === String(fresh.area));
      if (there >= 0) editor.select([there]);
      else editor.add(fresh);
    },
  };
}

/** Force and wind are dragged from the object; a marker's arrow is dragged to it. */
function beginArrow(editor, from) {
  const fresh = editor.next(editor.tool);
  return making(editor, (given, { shift }) => {
    const to = shift ? stepped(from, given) : given;
    if (distance(from, to) < LEAST_BOX) return null;
    if (fresh.type === "marker") return { ...fresh, start: reachable(from), tip: reachable(to) };
    if (fresh.type === "force") return withForceTip({ ...fresh, start: reachable(from) }, to);
    const center = [(from[0] + to[0]) / 2, (from[1] + to[1]) / 2];
    return withWindEnd({ ...fresh, center: reachable(center) }, to);
  });
}

/** Dragging draws freehand, clicking adds points; a click on the last point, or Enter, finishes the line. */
function beginPath(editor, from, keys, tolerance) {
  const path = editor.path?.type === editor.tool ? editor.path : null;
  const points = path ? [...path.points] : [];
  const drawn = [];
  return {
    move(point, keys) {
      const to = reachable(snapped(point, keys));
      if (path) {
        editor.draft = { ...editor.next(editor.tool), points: [...points, to] };
      } else {
        if (!drawn.length) drawn.push(reachable(from));
        if (distance(drawn.at(-1), to) > UNIT / 4) drawn.push(to);
        if (drawn.length > 1) editor.draft = { ...editor.next(editor.tool), points: drawn };
      }
      editor.changed("motion");
    },
    end(point, keys) {
      const to = reachable(snapped(point, keys));
      if (!path && drawn.length && extent([...drawn, to]) > 2 * tolerance) {
        const line = thinnedPath(editor, drawn);
        editor.draft = null;
        if (line.length >= least(editor.tool)) editor.add({ ...editor.next(editor.tool), points: line });
        else editor.changed("motion");
      } else if (path && distance(points.at(-1), to) <= tolerance) {
        finishPath(editor);
      } else {
        editor.path = { type: editor.tool, points: [...points, to] };
        showPath(editor);
      }
    },
    cancel() {
      showPath(editor);
    },
  };
}

/** How many points a line of this type needs. */
function least(type) {
  return type === "erase" ? 3 : 2;
}

function extent(points) {
  const [left, top, right, bottom] = bounds({ type: "trajectory", points });
  return right - left + bottom - top;
}

function thinnedPath(editor, drawn) {
  // A smooth path needs few points; an outline keeps its corners.
  if (editor.tool === "erase" || !editor.next("trajectory").smooth) return simplified(drawn, FREEHAND);
  const few = simplified(drawn, 4 * UNIT);
  return few.length > 2 ? few : simplified(drawn, FREEHAND);
}

/** Show the points clicked so far. */
export function showPath(editor) {
  const { path } = editor;
  const points = path?.points.length === 1 ? [path.points[0], add(path.points[0], [1e-4, 0])] : path?.points;
  editor.draft = path && { ...editor.next(path.type), points };
  editor.changed("motion");
}

/** Discard the points clicked so far. Returns whether there were any. */
export function dropPath(editor) {
  const { path } = editor;
  editor.path = null;
  showPath(editor);
  return Boolean(path);
}

/** Make a mark of the points clicked so far if there are enough. */
export function finishPath(editor) {
  const { path } = editor;
  dropPath(editor);
  if (path && path.points.length >= least(path.type)) editor.add({ ...editor.next(path.type), points: path.points });
}

function beginStroke(editor, from) {
  const stroke = editor.nextStroke();
  const points = [reachable(from)];
  return {
    move(point) {
      const to = reachable(point);
      if (distance(points.at(-1), to) > UNIT / 4) points.push(to);
      if (points.length > 1) editor.draft = { type: "doodle", strokes: [{ ...stroke, points }] };
      editor.changed("motion");
    },
    end() {
      editor.draft = null;
      // A click draws a dot.
      const line = points.length > 1 ? simplified(points, FREEHAND) : [points[0], add(points[0], [UNIT, 0])];
      editor.addStroke({ ...stroke, points: line });
    },
    cancel() {
      editor.draft = null;
      editor.changed("motion");
    },
  };
}
