/** What a press, a drag and a release do with each tool. Points are fractions of the canvas. */

import { add, bounds, boxHandles, distance, draggedBox, forceTip, hit, inBox, inside, moved, ownHandles, resized, simplified, turned, UNIT, withForceTip, withHandle, within, withWindEnd } from "./geometry.js";

const GRID = 1 / 32;
const FREEHAND = 0.5 * UNIT; // how much a drawn line may be off where it is simplified
const LEAST_BOX = 8 * UNIT;
const TURN_HANDLE = 26 * UNIT; // above the frame

/** Where the handle that turns the selection is. */
export function turnHandle([left, top, right], zoom = 1) {
  return [(left + right) / 2, top - TURN_HANDLE / zoom];
}

/** Begin a gesture of the editor's tool at a point; the gesture has move(point, keys), end(point, keys) and cancel().
 *
 * `keys` are {shift, snap}; `tolerance` is how near counts as on, `zoom` how large the canvas is shown.
 */
export function begin(editor, point, keys, tolerance, zoom = 1) {
  const make = { select: beginSelect, box: beginBox, text: beginText, marker: beginArrow, force: beginArrow, wind: beginArrow, trajectory: beginPath, erase: beginPath, doodle: beginStroke }[editor.tool];
  return make(editor, snapped(point, keys, editor.tool !== "doodle"), keys, tolerance, zoom);
}

function snapped([x, y], { snap }, useful = true) {
  return snap && useful ? [Math.round(x / GRID) * GRID, Math.round(y / GRID) * GRID] : [x, y];
}

/** The point seen from `origin` in steps of 15 degrees. */
function stepped(origin, [x, y]) {
  const step = Math.PI / 12;
  const angle = Math.round(Math.atan2(y - origin[1], x - origin[0]) / step) * step;
  const length = distance(origin, [x, y]);
  return [origin[0] + length * Math.cos(angle), origin[1] + length * Math.sin(angle)];
}

function beginSelect(editor, point, keys, tolerance, zoom) {
  const frame = editor.frame();
  if (frame) {
    const single = editor.selection.length === 1 ? editor.selected[0] : null;
    const own = single && ownHandles(single).find(([, at]) => distance(at, point) <= 1.6 * tolerance);
    if (own) return dragging(editor, (to, { shift }) => (mark) => withHandle(mark, own[0], shift && single.type !== "trajectory" ? steppedHandle(mark, own[0], to) : to));
    if (frame.turnable && distance(turnHandle(frame.box, zoom), point) <= 1.6 * tolerance) return turning(editor, frame.box, point);
    const side = (!single || !ownHandles(single).length || single.type === "erase") && boxHandles(frame.box).find(([, at]) => distance(at, point) <= 1.6 * tolerance);
    if (side) {
      return dragging(editor, (to, { shift }) => (mark) => resized(mark, frame.box, draggedBox(frame.box, side[0], to, shift)));
    }
  }
  const which = hit(editor.prompt.marks, point, tolerance);
  if (which < 0) return frame && inBox(frame.box, point) && !keys.shift ? moving(editor, point) : rubberBand(editor, point, keys);
  if (keys.shift) {
    const rest = editor.selection.filter((number) => number !== which);
    editor.select(rest.length < editor.selection.length ? rest : [...rest, which]);
    if (!editor.selection.includes(which)) return still();
  } else if (!editor.selection.includes(which)) {
    editor.select([which]);
  }
  return moving(editor, point);
}

function steppedHandle(mark, name, to) {
  if (mark.type === "wind") return stepped(mark.center, to);
  const other = name === "start" ? (mark.tip ?? forceTip(mark)) : mark.start;
  return stepped(other, to);
}

function still() {
  return { move() {}, end() {}, cancel() {} };
}

/** A drag that changes the selected marks by `transform(point, keys)` of what they were. */
function dragging(editor, transform) {
  const before = editor.prompt.marks;
  let moved = false;
  return {
    move(point, keys) {
      moved = true;
      const change = transform(snapped(point, keys), keys);
      editor.live = before.map((mark, number) => (editor.selection.includes(number) ? change(mark) : mark));
      editor.changed(false);
    },
    end(point, keys) {
      if (!moved) return;
      this.move(point, keys);
      const marks = editor.live.map((mark, number) => (editor.selection.includes(number) ? editor.rounded(mark) : mark));
      editor.live = null;
      editor.setMarks(marks);
    },
    cancel() {
      editor.live = null;
      editor.changed(false);
    },
  };
}

function moving(editor, from) {
  const box = bounds(...editor.selected);
  return dragging(editor, (to, { shift, snap }) => {
    let by = [to[0] - from[0], to[1] - from[1]];
    if (shift) by = Math.abs(by[0]) > Math.abs(by[1]) ? [by[0], 0] : [0, by[1]];
    // The corner goes to the grid, wherever the mark was taken hold of.
    if (snap) by = by.map((way, axis) => Math.round((box[axis] + way) / GRID) * GRID - box[axis]);
    return (mark) => moved(mark, by);
  });
}

function turning(editor, [left, top, right, bottom], from) {
  const center = [(left + right) / 2, (top + bottom) / 2];
  const angle = ([x, y]) => (Math.atan2(y - center[1], x - center[0]) * 180) / Math.PI;
  return dragging(editor, (to, { shift }) => {
    const turn = angle(to) - angle(from);
    return (mark) => turned(mark, center, shift ? Math.round(turn / 15) * 15 : turn);
  });
}

function rubberBand(editor, from, { shift }) {
  const before = shift ? editor.selection : [];
  editor.select(before);
  return {
    move(point) {
      editor.band = [Math.min(from[0], point[0]), Math.min(from[1], point[1]), Math.max(from[0], point[0]), Math.max(from[1], point[1])];
      const caught = [...editor.prompt.marks.keys()].filter((number) => inside(editor.prompt.marks[number], editor.band));
      editor.select([...before, ...caught]);
    },
    end() {
      this.cancel();
    },
    cancel() {
      editor.band = null;
      editor.changed(false);
    },
  };
}

/** A drag that makes a mark by `shape(point, keys)`, which gives null as long as it is too small. */
function making(editor, shape) {
  return {
    move(point, keys) {
      editor.draft = shape(snapped(point, keys), keys);
      editor.changed(false);
    },
    end(point, keys) {
      const mark = shape(snapped(point, keys), keys);
      editor.draft = null;
      if (mark) editor.add(mark);
      else editor.changed(false);
    },
    cancel() {
      editor.draft = null;
      editor.changed(false);
    },
  };
}

function areaOf(from, to, square) {
  let [width, height] = [to[0] - from[0], to[1] - from[1]];
  if (square) {
    const side = Math.max(Math.abs(width), Math.abs(height));
    [width, height] = [Math.sign(width || 1) * side, Math.sign(height || 1) * side];
  }
  const far = [from[0] + width, from[1] + height];
  return [Math.min(from[0], far[0]), Math.min(from[1], far[1]), Math.max(from[0], far[0]), Math.max(from[1], far[1])].map((value) => within(value));
}

function beginBox(editor, from) {
  const fresh = editor.fresh("box");
  return making(editor, (to, { shift }) => {
    const area = areaOf(from, to, shift);
    return area[2] - area[0] < LEAST_BOX || area[3] - area[1] < LEAST_BOX ? null : { ...fresh, area };
  });
}

function beginText(editor, from) {
  const fresh = editor.fresh("text");
  return making(editor, (to) => {
    const area = areaOf(from, to, false);
    // A click asks for words where the task has them.
    return area[2] - area[0] < LEAST_BOX ? fresh : { ...fresh, area, valign: "top" };
  });
}

/** Force and wind start at the object; a marker's arrow is drawn from its tail to the object. */
function beginArrow(editor, from) {
  const fresh = editor.fresh(editor.tool);
  return making(editor, (given, { shift }) => {
    const to = shift ? stepped(from, given) : given;
    if (distance(from, to) < LEAST_BOX) return null;
    if (fresh.type === "marker") return { ...fresh, start: from.map((value) => within(value)), tip: to.map((value) => within(value)) };
    if (fresh.type === "force") return withForceTip({ ...fresh, start: from.map((value) => within(value)) }, to);
    const center = [(from[0] + to[0]) / 2, (from[1] + to[1]) / 2];
    return withWindEnd({ ...fresh, center }, to);
  });
}

/** Freehand where the pointer is dragged, point by point where it is clicked; a click on the last point, or Enter, ends it. */
function beginPath(editor, from, keys, tolerance) {
  const least = editor.tool === "erase" ? 3 : 2;
  const path = editor.path?.type === editor.tool ? editor.path : null;
  const points = path ? [...path.points] : [];
  const drawn = [];
  return {
    move(point, keys) {
      const to = snapped(point, keys).map((value) => within(value));
      if (path) {
        editor.draft = { ...editor.fresh(editor.tool), points: [...points, to] };
      } else {
        if (!drawn.length) drawn.push(from.map((value) => within(value)));
        if (distance(drawn.at(-1), to) > UNIT / 4) drawn.push(to);
        if (drawn.length > 1) editor.draft = { ...editor.fresh(editor.tool), points: drawn };
      }
      editor.changed(false);
    },
    end(point, keys) {
      const to = snapped(point, keys).map((value) => within(value));
      const dragged = !path && drawn.length && bounds({ type: "trajectory", points: [...drawn, to] }).reduce((sum, edge, number) => sum + (number < 2 ? -edge : edge), 0) > 2 * tolerance;
      if (dragged) {
        const line = thinnedPath(editor, drawn);
        editor.draft = null;
        if (line.length >= least) editor.add({ ...editor.fresh(editor.tool), points: line });
        else editor.changed(false);
      } else if (path && distance(points.at(-1), to) <= tolerance) {
        finishPath(editor);
      } else {
        points.push(to);
        editor.path = { type: editor.tool, points };
        editor.draft = { ...editor.fresh(editor.tool), points: points.length > 1 ? points : [to, add(to, [1e-4, 0])] };
        editor.changed(false);
      }
    },
    cancel() {
      editor.path = editor.draft = null;
      editor.changed(false);
    },
  };
}

function thinnedPath(editor, drawn) {
  // A smooth path is drawn through few points; an outline keeps its corners.
  if (editor.tool === "erase" || !editor.fresh("trajectory").smooth) return simplified(drawn, FREEHAND);
  const few = simplified(drawn, 4 * UNIT);
  return few.length > 2 ? few : simplified(drawn, FREEHAND);
}

/** Make a mark of the points clicked so far. */
export function finishPath(editor) {
  const { path } = editor;
  editor.path = editor.draft = null;
  const enough = path && path.points.length >= (path.type === "erase" ? 3 : 2);
  if (enough) editor.add({ ...editor.fresh(path.type), points: path.points });
  else editor.changed(false);
  return Boolean(enough);
}

function beginStroke(editor, from) {
  const stroke = editor.freshStroke();
  const points = [from.map((value) => within(value))];
  const show = () => {
    editor.draft = { type: "doodle", strokes: [{ ...stroke, points: points.length > 1 ? points : [points[0], add(points[0], [1e-4, 0])] }] };
    editor.changed(false);
  };
  return {
    move(point) {
      const to = point.map((value) => within(value));
      if (distance(points.at(-1), to) > UNIT / 4) points.push(to);
      show();
    },
    end() {
      editor.draft = null;
      // A touch is a dot.
      const line = points.length > 1 ? simplified(points, FREEHAND) : [points[0], add(points[0], [UNIT, 0])];
      editor.addStroke({ ...stroke, points: line });
    },
    cancel() {
      editor.draft = null;
      editor.changed(false);
    },
  };
}
