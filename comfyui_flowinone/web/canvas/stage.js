/** The drawing area: shows the prompt, its handles, and turns pointers into gestures. */

import { forceTip, ownHandles } from "./geometry.js";
import { begin, finishPath, turnHandle } from "./gestures.js";
import { paintGround, paintMark, SIDE } from "./paint.js";

const NEAR = 7; // CSS pixels that count as on
const LARGEST = 2048; // pixels of the backing store's longer side
const ZOOMS = [1, 16];

export class Stage {
  /** `editor` is what is shown; `view()` gives {photo, exact}: the picture beneath, and the renderer's bitmap of the present prompt or null. */
  constructor(editor, view) {
    Object.assign(this, { editor, view });
    this.element = document.createElement("canvas");
    this.element.tabIndex = 0;
    // ComfyUI leaves undo and redo to whatever calls itself a text area; this has its own.
    Object.defineProperty(this.element, "type", { value: "textarea" });
    this.context = this.element.getContext("2d");
    this.ground = document.createElement("canvas");
    this.painted = null;
    this.zoom = 1;
    this.middle = [0.5, 0.5];
    this.pointers = new Map();
    this.gesture = null;
    for (const kind of ["pointerdown", "pointermove", "pointerup", "pointercancel", "dblclick", "wheel", "contextmenu"]) {
      this.element.addEventListener(kind, this, { passive: false });
    }
    this.observer = new ResizeObserver(() => this.redraw());
    this.observer.observe(this.element);
  }

  destroy() {
    this.observer.disconnect();
    cancelAnimationFrame(this.frame);
  }

  // Places

  /** The side of the canvas in CSS pixels of the layout, and where its top left corner is. */
  place() {
    const { clientWidth: width, clientHeight: height } = this.element;
    const side = Math.max(Math.min(width, height) - 4, 1) * this.zoom;
    return { side, left: width / 2 - this.middle[0] * side, top: height / 2 - this.middle[1] * side };
  }

  /** Where an event is, as fractions of the canvas; the graph's zoom is in the rectangle. */
  point(event) {
    const box = this.element.getBoundingClientRect();
    const { side, left, top } = this.place();
    const x = ((event.clientX - box.left) / box.width) * this.element.clientWidth;
    const y = ((event.clientY - box.top) / box.height) * this.element.clientHeight;
    return [(x - left) / side, (y - top) / side];
  }

  /** CSS pixels on the screen as a fraction of the canvas. */
  reach(pixels) {
    const scale = this.element.getBoundingClientRect().width / (this.element.clientWidth || 1) || 1;
    return pixels / scale / this.place().side;
  }

  zoomBy(factor, around = this.middle) {
    const zoom = Math.min(Math.max(this.zoom * factor, ZOOMS[0]), ZOOMS[1]);
    const share = this.zoom / zoom;
    this.middle = this.middle.map((middle, axis) => around[axis] + (middle - around[axis]) * share);
    this.zoom = zoom;
    this.hold();
    this.redraw();
  }

  fit() {
    this.zoom = 1;
    this.hold();
    this.redraw();
  }

  panBy([dx, dy]) {
    this.middle = [this.middle[0] - dx, this.middle[1] - dy];
    this.hold();
    this.redraw();
  }

  /** Keep the canvas in sight. */
  hold() {
    const half = 0.5 / this.zoom;
    this.middle = this.middle.map((middle) => Math.min(Math.max(middle, half), 1 - half));
  }

  // Pointers

  handleEvent(event) {
    this[`on_${event.type}`](event);
  }

  keys({ shiftKey, ctrlKey, metaKey, altKey }) {
    return { shift: shiftKey, snap: ctrlKey || metaKey || altKey };
  }

  on_pointerdown(event) {
    event.stopPropagation();
    this.element.focus({ preventScroll: true });
    this.pointers.set(event.pointerId, event);
    try {
      this.element.setPointerCapture(event.pointerId);
    } catch {
      // A pointer that is gone already needs no capture.
    }
    if (this.pointers.size === 2) return this.beginPinch();
    if (this.pointers.size > 2) return;
    if (event.button === 1 || (event.button === 0 && this.panning)) {
      this.pan = this.point(event);
    } else if (event.button === 0) {
      const near = event.pointerType === "mouse" ? NEAR : 2 * NEAR;
      this.gesture = begin(this.editor, this.point(event), this.keys(event), this.reach(near), this.scaleOfHandles());
      this.redraw();
    }
  }

  on_pointermove(event) {
    if (this.pointers.has(event.pointerId)) this.pointers.set(event.pointerId, event);
    if (this.pinch) return this.movePinch();
    if (this.pan) {
      const at = this.point(event);
      return this.panBy([at[0] - this.pan[0], at[1] - this.pan[1]]);
    }
    if (this.gesture) {
      event.stopPropagation();
      // Pens report more often than pictures are drawn.
      const events = event.getCoalescedEvents?.() ?? [];
      for (const part of events.length ? events : [event]) this.gesture.move(this.point(part), this.keys(event));
    } else if (this.editor.path) {
      this.ghost(event);
    }
    this.element.style.cursor = this.panning ? "grab" : this.editor.tool === "select" ? "default" : "crosshair";
  }

  /** The line to where the next point would be. */
  ghost(event) {
    begin(this.editor, this.point(event), this.keys(event), this.reach(NEAR)).move(this.point(event), this.keys(event));
  }

  on_pointerup(event) {
    // It may bubble: ComfyUI takes its snapshot of the graph after the mouse button is up.
    this.pointers.delete(event.pointerId);
    if (this.pinch) {
      if (!this.pointers.size) this.pinch = null;
      return;
    }
    this.pan = null;
    const { gesture } = this;
    this.gesture = null;
    gesture?.end(this.point(event), this.keys(event));
    this.redraw();
  }

  on_pointercancel(event) {
    this.pointers.delete(event.pointerId);
    this.pinch = this.pan = null;
    this.cancel();
  }

  on_dblclick(event) {
    event.stopPropagation();
    event.preventDefault();
    if (this.editor.path) finishPath(this.editor);
    else this.asked?.();
  }

  on_contextmenu(event) {
    event.preventDefault();
    event.stopPropagation();
  }

  on_wheel(event) {
    // The wheel alone belongs to the graph; with Ctrl it is a zoom, as trackpads send it for a pinch.
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    this.zoomBy(Math.exp(-event.deltaY / 240), this.point(event));
  }

  /** Stop the gesture that is under way; whether there was one. */
  cancel() {
    const active = this.gesture ?? (this.editor.path ? { cancel: () => ((this.editor.path = this.editor.draft = null), this.editor.changed(false)) } : null);
    this.gesture = null;
    active?.cancel();
    this.redraw();
    return Boolean(active);
  }

  beginPinch() {
    this.gesture?.cancel();
    this.gesture = this.pan = null;
    this.pinch = this.spread();
  }

  spread() {
    const [a, b] = [...this.pointers.values()];
    return { distance: Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY), at: this.point({ clientX: (a.clientX + b.clientX) / 2, clientY: (a.clientY + b.clientY) / 2 }) };
  }

  movePinch() {
    if (this.pointers.size !== 2) return;
    const now = this.spread();
    if (this.pinch.distance) this.zoomBy(now.distance / this.pinch.distance, now.at);
    const { at } = this.spread();
    this.panBy([at[0] - this.pinch.at[0], at[1] - this.pinch.at[1]]);
    this.pinch = { ...this.spread(), at: this.pinch.at };
  }

  // Drawing

  redraw() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.draw();
    });
  }

  /** Handles keep their size on the screen; what is 1 at a canvas of 512 CSS pixels. */
  scaleOfHandles() {
    return this.place().side / SIDE;
  }

  draw() {
    const { element, context, editor } = this;
    const box = element.getBoundingClientRect();
    if (!element.clientWidth || !box.width) return;
    // Sharp at every zoom of the graph and of the screen, up to a bound.
    const density = Math.min((box.width / element.clientWidth) * devicePixelRatio, LARGEST / Math.max(element.clientWidth, element.clientHeight));
    const [width, height] = [element.clientWidth, element.clientHeight].map((side) => Math.max(1, Math.round(side * density)));
    if (element.width !== width || element.height !== height) [element.width, element.height] = [width, height];
    const { side, left, top } = this.place();
    const unit = (side / SIDE) * density;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, width, height);
    const inUnits = (target) => target.setTransform(unit, 0, 0, unit, left * density, top * density);

    const { photo, exact } = this.view();
    inUnits(context);
    context.save();
    context.beginPath();
    context.rect(0, 0, SIDE, SIDE);
    context.clip();
    if (exact && !editor.live) {
      context.imageSmoothingQuality = "high";
      context.drawImage(exact, 0, 0, SIDE, SIDE);
    } else {
      this.paintGround(editor.live ? editor.marks.filter((_, number) => !editor.selection.includes(number)) : editor.marks, photo, width, height, inUnits, unit);
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.drawImage(this.ground, 0, 0);
      inUnits(context);
      if (editor.live) editor.selected.forEach((mark) => paintMark(context, mark));
    }
    if (editor.draft) paintMark(context, editor.draft);
    context.restore();
    this.drawHandles(context, unit / density);
  }

  /** Ground and marks on a layer of their own, which grows with what is added and is painted anew when it must. */
  paintGround(marks, photo, width, height, inUnits, unit) {
    const { canvas } = this.editor.prompt;
    const { left, top } = this.place();
    const key = [width, height, unit, left, top].join();
    const last = this.painted;
    const context = this.ground.getContext("2d");
    const known = last && last.key === key && last.canvas === canvas && last.photo === photo && last.marks.length <= marks.length;
    let from = known ? last.marks.findIndex((mark, number) => mark !== marks[number]) : 0;
    if (known && from < 0) from = last.marks.length;
    const grown = known && (from === last.marks.length || (from === last.marks.length - 1 && extended(last.marks[from], marks[from])));
    if (!grown) {
      if (this.ground.width !== width || this.ground.height !== height) [this.ground.width, this.ground.height] = [width, height];
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.clearRect(0, 0, width, height);
      inUnits(context);
      paintGround(context, canvas, photo);
      from = 0;
    }
    inUnits(context);
    for (const mark of marks.slice(from)) {
      const before = grown && last.marks[from] !== mark && marks[from] === mark ? last.marks[from] : null;
      paintMark(context, before ? { ...mark, strokes: mark.strokes.slice(before.strokes.length) } : mark);
    }
    this.painted = { key, canvas, photo, marks: [...marks] };
  }

  drawHandles(context, scale) {
    const { editor } = this;
    const size = 4 / scale;
    context.lineWidth = 1 / scale;
    if (editor.band) {
      const [l, t, r, b] = editor.band.map((edge) => edge * SIDE);
      context.fillStyle = "rgba(80,150,255,0.15)";
      context.strokeStyle = "#59f";
      context.fillRect(l, t, r - l, b - t);
      context.strokeRect(l, t, r - l, b - t);
    }
    const shown = [...editor.selected, ...(editor.draft?.type === "force" ? [editor.draft] : [])];
    for (const mark of shown) if (mark.type === "force") this.label(context, forceTip(mark), `${mark.magnitude.toFixed(2)}×`, scale);
    const frame = editor.frame();
    if (!frame) return;
    const dot = ([x, y], round) => {
      context.beginPath();
      if (round) context.arc(x * SIDE, y * SIDE, size * 1.25, 0, 7);
      else context.rect(x * SIDE - size, y * SIDE - size, 2 * size, 2 * size);
      context.fillStyle = "#fff";
      context.strokeStyle = "#06c";
      context.fill();
      context.stroke();
    };
    const single = editor.selection.length === 1 ? editor.selected[0] : null;
    const own = single ? ownHandles(single) : [];
    const [l, t, r, b] = frame.box.map((edge) => edge * SIDE);
    context.setLineDash([4 / scale, 3 / scale]);
    context.strokeStyle = "#000";
    context.strokeRect(l, t, r - l, b - t);
    context.lineDashOffset = 3.5 / scale;
    context.strokeStyle = "#fff";
    context.strokeRect(l, t, r - l, b - t);
    context.setLineDash([]);
    context.lineDashOffset = 0;
    if (frame.turnable) dot(turnHandle(frame.box, this.scaleOfHandles()), true);
    if (!own.length || single.type === "erase") frame.handles.forEach(([, at]) => dot(at, false));
    own.forEach(([, at]) => dot(at, true));
  }

  label(context, [x, y], text, scale) {
    context.font = `${12 / scale}px sans-serif`;
    context.textAlign = "left";
    context.textBaseline = "middle";
    context.lineWidth = 3 / scale;
    context.strokeStyle = "#000";
    context.fillStyle = "#fff";
    context.strokeText(text, x * SIDE + 10 / scale, y * SIDE);
    context.fillText(text, x * SIDE + 10 / scale, y * SIDE);
    context.lineWidth = 1 / scale;
  }
}

/** Whether a doodle is an earlier one with strokes added. */
function extended(before, after) {
  return before?.type === "doodle" && after?.type === "doodle" && before.strokes.every((stroke, number) => stroke === after.strokes[number]);
}
