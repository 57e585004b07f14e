/** The drawing area: shows the prompt, sharp at every zoom, and converts screen positions. */

import { bounds } from "./geometry.js";
import { drawOverlay } from "./overlay.js";
import { paintGround, paintMark, SIDE } from "./mark_painter.js";

const MAX_SIDE = 2048; // pixels of the backing store's longer side
const ZOOMS = [1, 16];

export class Stage {
  /** `editor` is the model; `view()` returns {photo, exact}: the photo and the renderer's {bitmap, prompt}, null if
   * there is none.
   */
  constructor(editor, view) {
    Object.assign(this, { editor, view });
    this.element = document.createElement("canvas");
    this.element.tabIndex = 0;
    this.context = this.element.getContext("2d");
    this.layer = document.createElement("canvas"); // background and marks, without what a gesture moves
    this.painted = null; // what is on the layer
    this.zoom = 1;
    this.middle = [0.5, 0.5];
    this.observer = new ResizeObserver(() => this.redraw());
    this.observer.observe(this.element);
  }

  destroy() {
    this.observer.disconnect();
    cancelAnimationFrame(this.frame);
  }

  // Coordinates

  /** The canvas's side and top left corner, in CSS pixels of the layout. */
  place() {
    const { clientWidth: width, clientHeight: height } = this.element;
    const side = Math.max(Math.min(width, height) - 4, 1) * this.zoom;
    return { side, left: width / 2 - this.middle[0] * side, top: height / 2 - this.middle[1] * side };
  }

  /** Screen pixels per layout pixel, which is the graph's zoom. */
  scale() {
    return this.element.getBoundingClientRect().width / (this.element.clientWidth || 1) || 1;
  }

  /** An event's position, as fractions of the canvas. */
  point(event) {
    const box = this.element.getBoundingClientRect();
    const { side, left, top } = this.place();
    const x = ((event.clientX - box.left) / box.width) * this.element.clientWidth;
    const y = ((event.clientY - box.top) / box.height) * this.element.clientHeight;
    return [(x - left) / side, (y - top) / side];
  }

  /** A length in screen pixels, as a fraction of the canvas. */
  reach(pixels) {
    return pixels / this.scale() / this.place().side;
  }

  /** The scale at which the canvas is shown; 1 if its side is 512 CSS pixels. */
  shown() {
    return (this.place().side * this.scale()) / SIDE;
  }

  zoomBy(factor, around = this.middle) {
    const zoom = Math.min(Math.max(this.zoom * factor, ZOOMS[0]), ZOOMS[1]);
    const share = this.zoom / zoom;
    this.middle = this.middle.map((middle, axis) => around[axis] + (middle - around[axis]) * share);
    this.zoom = zoom;
    this.panBy([0, 0]);
  }

  fit() {
    this.zoom = 1;
    this.panBy([0, 0]);
  }

  /** Pan, keeping the canvas in view. */
  panBy([dx, dy]) {
    const half = 0.5 / this.zoom;
    this.middle = [this.middle[0] - dx, this.middle[1] - dy].map((middle) =>
      Math.min(Math.max(middle, half), 1 - half),
    );
    this.redraw();
  }

  // Drawing

  redraw() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.draw();
    });
  }

  draw() {
    const { element, context, editor } = this;
    if (!element.clientWidth || !element.getBoundingClientRect().width) return;
    // Sharp at every zoom of the graph and the browser, up to a limit.
    const most = MAX_SIDE / Math.max(element.clientWidth, element.clientHeight);
    const density = Math.min(this.scale() * devicePixelRatio, most);
    const { side, left, top } = this.place();
    const [width, height] = [element.clientWidth, element.clientHeight].map((length) =>
      Math.max(1, Math.round(length * density)),
    );
    const look = { width, height, unit: (side / SIDE) * density, left: left * density, top: top * density };
    fitTo(element, look);
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, look.width, look.height);
    this.paintLayer(look);
    context.drawImage(this.layer, 0, 0);
    inUnits(context, look);
    context.save();
    clip(context);
    if (editor.live) this.paintDragged(look);
    if (editor.draft) paintMark(context, editor.draft);
    context.restore();
    drawOverlay(context, editor, 1 / this.shown(), this.shown());
  }

  /** Paint dragged marks. Those that only move and are fully visible are painted once, then copied. */
  paintDragged(look) {
    const { editor, context } = this;
    const carried = editor.selection.filter((number) => editor.way && inView(editor.prompt.marks[number], look));
    if (carried.length) {
      this.carry(carried, look);
      context.setTransform(1, 0, 0, 1, ...editor.way.map((share) => share * SIDE * look.unit));
      context.drawImage(this.carried.picture, 0, 0);
      inUnits(context, look);
    }
    const others = editor.selection.filter((number) => !carried.includes(number));
    others.forEach((number) => paintMark(context, editor.marks[number]));
  }

  /** Paint marks, by their indices, to an image of their own, unless it exists already. */
  carry(numbers, look) {
    const { prompt } = this.editor;
    const key = `${Object.values(look)} ${numbers}`;
    if (this.carried?.prompt === prompt && this.carried.key === key) return;
    const picture = this.carried?.picture ?? document.createElement("canvas");
    this.carried = { prompt, key, picture };
    fitTo(picture, look);
    const context = picture.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, look.width, look.height);
    inUnits(context, look);
    numbers.forEach((number) => paintMark(context, prompt.marks[number], this.layer));
  }

  /** Paint background and marks to the layer: only new marks if possible, else everything. */
  paintLayer(look) {
    const { editor, layer } = this;
    const { photo, exact } = this.view();
    const { canvas } = editor.prompt;
    const marks = editor.live ? editor.marks.filter((_, number) => !editor.selection.includes(number)) : editor.marks;
    const key = Object.values(look).join();
    const base = exact?.prompt.canvas === canvas && growth(exact.prompt.marks, marks) ? exact : null;
    const last = this.painted;
    const same = last?.key === key && last.canvas === canvas && last.photo === photo && last.base === base;
    let done = same ? last.marks : null;
    if (!done || !growth(done, marks)) {
      fitTo(layer, look);
      done = paintBase(layer.getContext("2d"), look, canvas, photo, base);
    }
    const context = layer.getContext("2d");
    inUnits(context, look);
    context.save();
    clip(context);
    growth(done, marks).forEach((mark) => paintMark(context, mark));
    context.restore();
    this.painted = { key, canvas, photo, base, marks: [...marks] };
  }
}

/** Whether a mark is fully visible. */
function inView(mark, { width, height, unit, left, top }) {
  const [l, t, r, b] = bounds(mark).map((edge) => edge * SIDE * unit);
  return l + left >= 0 && t + top >= 0 && r + left <= width && b + top <= height;
}

/** Paint the renderer's image, or the background if there is none. Returns the marks that are on it already. */
function paintBase(context, look, canvas, photo, base) {
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, look.width, look.height);
  inUnits(context, look);
  if (!base) {
    paintGround(context, canvas, photo);
    return [];
  }
  context.imageSmoothingQuality = "high";
  context.drawImage(base.bitmap, 0, 0, SIDE, SIDE);
  return base.prompt.marks;
}

/** What to paint on top of `before` to get `after`: marks, or strokes of the last doodle; null if that is not enough.
 */
function growth(before, after) {
  const last = before.length - 1;
  if (after.length < before.length || before.some((mark, number) => number < last && mark !== after[number]))
    return null;
  const [old, now] = [before[last], after[last]];
  if (last < 0 || old === now) return after.slice(before.length);
  if (
    old.type !== "doodle" ||
    now.type !== "doodle" ||
    old.strokes.some((stroke, number) => stroke !== now.strokes[number])
  )
    return null;
  return [{ ...now, strokes: now.strokes.slice(old.strokes.length) }, ...after.slice(before.length)];
}

function fitTo(element, { width, height }) {
  // Setting the size clears the canvas, even if it stays the same.
  if (element.width !== width || element.height !== height) Object.assign(element, { width, height });
}

function inUnits(context, { unit, left, top }) {
  context.setTransform(unit, 0, 0, unit, left, top);
}

function clip(context) {
  context.beginPath();
  context.rect(0, 0, SIDE, SIDE);
  context.clip();
}
