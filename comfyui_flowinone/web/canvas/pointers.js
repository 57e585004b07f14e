/** Turns mouse, pen and touch events on the drawing area into gestures, and two fingers into zoom and pan. */

import { begin, dropPath, finishPath, gripAt, showPath } from "./gestures.js";

const TOLERANCE = 7; // CSS pixels
const MIDDLE = 1;
const HELD_MIDDLE = 4; // in an event's `button` and `buttons`
const KINDS = ["pointerdown", "pointermove", "pointerup", "pointercancel", "pointerleave", "dblclick", "contextmenu"];
const RESIZE = {
  n: "ns-resize",
  s: "ns-resize",
  e: "ew-resize",
  w: "ew-resize",
  nw: "nwse-resize",
  se: "nwse-resize",
  ne: "nesw-resize",
  sw: "nesw-resize",
};

export class Pointers {
  /** `stage` shows what `editor` edits.
   *
   * `attempt(act)` calls `act` and shows its error; `askForWords()` focuses the text field; `graph()` is ComfyUI's
   * canvas.
   */
  constructor(stage, editor, { attempt, askForWords, graph }) {
    Object.assign(this, { stage, editor, attempt, askForWords, graph });
    this.down = new Map();
    this.gesture = null;
    this.panning = false; // while the space bar is down
    for (const kind of KINDS) stage.element.addEventListener(kind, this, { passive: false });
  }

  destroy() {
    this.letPagePinch(true);
  }

  handleEvent(event) {
    this[`on_${event.type}`](event);
  }

  keys({ shiftKey, ctrlKey, metaKey, altKey }) {
    return { shift: shiftKey, snap: ctrlKey || metaKey || altKey };
  }

  /** The tolerance of hit tests, as a fraction of the canvas. */
  tolerance({ pointerType }) {
    return this.stage.reach(pointerType === "touch" ? 2 * TOLERANCE : TOLERANCE);
  }

  on_pointerdown(event) {
    event.stopPropagation();
    // The middle button pans the graph, as everywhere in Nodes 2.0.
    if (event.button === MIDDLE) return this.graph().processMouseDown(event);
    // While a pen is down, touches come from the hand that holds it.
    if (event.pointerType === "touch" && this.pen) return;
    if (event.pointerType === "pen") this.forget();
    this.stage.element.focus({ preventScroll: true });
    this.down.set(event.pointerId, event);
    try {
      this.stage.element.setPointerCapture(event.pointerId);
    } catch {
      // The pointer is gone already and needs no capture.
    }
    if (this.down.size === 2) return this.beginPinch();
    if (this.down.size > 2) return;
    if (event.button === 0 && this.panning) {
      this.pan = this.stage.point(event);
    } else if (event.button === 0) {
      this.count = this.editor.prompt.marks.length;
      this.gesture = this.begin(event);
    }
    this.showCursor(event);
  }

  begin(event) {
    return begin(this.editor, this.stage.point(event), this.keys(event), this.tolerance(event), this.stage.shown());
  }

  /** Whether a pen is on the screen. */
  get pen() {
    return [...this.down.values()].some(({ pointerType }) => pointerType === "pen");
  }

  on_pointermove(event) {
    if (event.buttons & HELD_MIDDLE) return this.graph().processMouseMove(event);
    if (this.down.has(event.pointerId)) this.down.set(event.pointerId, event);
    else if (this.down.size) return;
    if (this.pinch) return this.movePinch();
    if (this.pan) {
      const at = this.stage.point(event);
      this.stage.panBy([at[0] - this.pan[0], at[1] - this.pan[1]]);
    } else if (this.gesture) {
      event.stopPropagation();
      // Pens report more often than the page is drawn.
      const events = event.getCoalescedEvents?.() ?? [];
      for (const part of events.length ? events : [event]) this.gesture.move(this.stage.point(part), this.keys(event));
    } else if (this.editor.path) {
      // Preview the line to the next point.
      this.begin(event).move(this.stage.point(event), this.keys(event));
    }
    this.showCursor(event);
  }

  on_pointerup(event) {
    if (event.button === MIDDLE) return this.graph().processMouseUp(event);
    // Let it bubble: ComfyUI records the graph's undo state on pointerup.
    if (!this.down.delete(event.pointerId)) return;
    if (this.pinch) {
      if (!this.down.size) this.forget();
      return;
    }
    this.pan = null;
    const { gesture } = this;
    this.gesture = null;
    if (gesture) this.attempt(() => gesture.end(this.stage.point(event), this.keys(event)));
    // On touch screens the on-screen keyboard would cover the drawing.
    if (gesture && this.wordsAreNext() && event.pointerType !== "touch") this.askForWords();
    this.showCursor(event);
  }

  /** Whether a box was drawn, which needs a label, or the text tool was used. */
  wordsAreNext() {
    const { editor } = this;
    return (
      editor.single && (editor.tool === "text" || (editor.tool === "box" && editor.prompt.marks.length > this.count))
    );
  }

  on_pointercancel() {
    this.forget();
  }

  on_pointerleave() {
    if (this.editor.path && !this.gesture) showPath(this.editor);
  }

  on_dblclick(event) {
    event.stopPropagation();
    event.preventDefault();
    if (this.editor.path) this.attempt(() => finishPath(this.editor));
    else if (this.editor.tool === "select") this.askForWords();
  }

  on_contextmenu(event) {
    event.preventDefault();
    event.stopPropagation();
  }

  showCursor(event) {
    this.stage.element.style.cursor = this.panning || this.pan ? "grab" : this.cursor(event);
  }

  cursor(event) {
    const { editor } = this;
    const grip =
      editor.path || this.gesture
        ? null
        : gripAt(editor, this.stage.point(event), this.tolerance(event), this.stage.shown());
    if (grip?.side) return RESIZE[grip.side];
    if (grip) return "grab";
    return editor.tool === "select" ? "default" : "crosshair";
  }

  /** Cancel the current gesture or path. Returns whether there was one. */
  cancel() {
    const { gesture } = this;
    this.gesture = null;
    gesture?.cancel();
    return dropPath(this.editor) || Boolean(gesture);
  }

  /** Forget all pressed pointers; a path that is being clicked stays. */
  forget() {
    this.gesture?.cancel();
    this.gesture = this.pinch = this.pan = null;
    this.down.clear();
    this.letPagePinch(true);
  }

  // Two fingers

  beginPinch() {
    this.gesture?.cancel();
    this.gesture = this.pan = null;
    this.pinch = this.spread();
    this.letPagePinch(false);
  }

  /** Keep ComfyUI from zooming the graph while two fingers are on this canvas. */
  letPagePinch(may) {
    const change = may ? "removeEventListener" : "addEventListener";
    window[change]("touchmove", stop, { capture: true });
  }

  spread() {
    const [a, b] = [...this.down.values()];
    const middle = { clientX: (a.clientX + b.clientX) / 2, clientY: (a.clientY + b.clientY) / 2 };
    return { distance: Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY), at: this.stage.point(middle) };
  }

  movePinch() {
    if (this.down.size !== 2) return;
    const now = this.spread();
    if (this.pinch.distance) this.stage.zoomBy(now.distance / this.pinch.distance, now.at);
    const { at, distance } = this.spread();
    this.stage.panBy([at[0] - this.pinch.at[0], at[1] - this.pinch.at[1]]);
    this.pinch = { distance, at: this.pinch.at };
  }
}

function stop(event) {
  event.stopImmediatePropagation();
}
