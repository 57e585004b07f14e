/** Keyboard and clipboard: everything that the pointer can do, and copies between canvases. */

import { TOOL_KEYS } from "./controls.js";
import { bounds, moved, ownHandles, resized, UNIT, withHandle } from "./geometry.js";
import { finishPath } from "./gestures.js";
import { checkOnServer } from "./server.js";
import { t } from "./translations.js";

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const ZOOM = 1.25;
const PAN = 0.02; // of the canvas
const TURN = 5; // degrees
/** Where Enter puts each tool's mark. */
const INSERTED = {
  box: { area: [0.35, 0.35, 0.65, 0.65] },
  marker: { start: [0.7, 0.3], tip: [0.5, 0.5] },
  force: { start: [0.4, 0.5], angle: 0 },
  wind: { center: [0.5, 0.5] },
  trajectory: {
    points: [
      [0.3, 0.6],
      [0.5, 0.45],
      [0.7, 0.5],
    ],
  },
  erase: {
    points: [
      [0.4, 0.4],
      [0.6, 0.4],
      [0.6, 0.6],
      [0.4, 0.6],
    ],
  },
  text: {},
};
const RING = Array.from({ length: 25 }, (_, step) => [
  0.5 + 0.15 * Math.cos((step * Math.PI) / 12),
  0.5 + 0.15 * Math.sin((step * Math.PI) / 12),
]);

let clipboard = ""; // the last copy, in case the browser's clipboard is not readable

export class Keyboard {
  constructor(panel) {
    this.panel = panel;
    const root = panel.element;
    root.addEventListener("keydown", (event) => this.onKey(event));
    root.addEventListener("keyup", (event) => event.key === " " && this.pan(false));
    root.addEventListener("focusout", () => this.pan(false));
    for (const kind of ["copy", "cut", "paste"]) root.addEventListener(kind, (event) => this.onClipboard(event));
  }

  /** Whether an event's target is an input field. */
  typing({ target }) {
    return ["INPUT", "TEXTAREA"].includes(target.tagName);
  }

  /** Whether an event's target is the text field, focused after drawing a mark, with nothing typed yet. */
  untouched({ target }) {
    const { words, asked } = this.panel.controls;
    return target === words && words.value === asked;
  }

  // Keys

  onKey(event) {
    const { key, ctrlKey, metaKey } = event;
    const command = ctrlKey || metaKey;
    const done = command ? this.onCommand(event) : this.typing(event) ? this.onFieldKey(event) : this.onStageKey(event);
    if (done) event.preventDefault();
    // Plain keys stay here. Unknown Ctrl keys go to ComfyUI (Ctrl+Enter queues), function keys to the browser.
    if (done || (!command && !/^F\d+$/.test(key))) event.stopPropagation();
  }

  /** Handle a key with Ctrl. Returns whether it is known. */
  onCommand(event) {
    const { editor } = this.panel;
    if (event.altKey || (this.typing(event) && !this.untouched(event))) return false;
    const acts = { z: () => (event.shiftKey ? editor.redo() : editor.undo()), y: () => editor.redo() };
    if (!this.typing(event)) Object.assign(acts, { d: () => editor.duplicate(), a: () => editor.selectAll() });
    return this.act(acts, event.key.toLowerCase());
  }

  onFieldKey(event) {
    const acts = { Escape: () => this.panel.stage.element.focus() };
    // Delete removes a box that was just drawn by mistake.
    const empty = event.target.value === "" && this.untouched(event) && this.panel.editor.selection.length;
    if (empty) acts.Delete = acts.Backspace = () => this.removeUnnamed();
    return this.act(acts, event.key);
  }

  removeUnnamed() {
    this.panel.editor.remove();
    this.panel.stage.element.focus();
  }

  onStageKey(event) {
    const { editor, stage, pointers, controls } = this.panel;
    const { key, shiftKey, altKey, target } = event;
    const onStage = target === stage.element;
    // Lists have their own keys.
    if (target.tagName === "SELECT") return false;
    if (ARROWS[key])
      return this.onArrow(
        ARROWS[key].map((step) => step * (shiftKey ? 10 : 1)),
        altKey,
      );
    if (altKey) return false;
    const acts = {
      Delete: () => editor.remove(),
      Backspace: () => editor.remove(),
      Escape: () => pointers.cancel() || (editor.tool !== "select" ? editor.choose("select") : editor.select([])),
      "]": () => editor.step(1),
      "[": () => editor.step(-1),
      ".": () => editor.turn(TURN),
      ",": () => editor.turn(-TURN),
      "+": () => stage.zoomBy(ZOOM),
      "=": () => stage.zoomBy(ZOOM),
      "-": () => stage.zoomBy(1 / ZOOM),
      0: () => stage.fit(),
      PageUp: () => editor.raise(1),
      PageDown: () => editor.raise(-1),
      F2: () => controls.askForWords(),
    };
    // On a button, Enter and space press it.
    if (onStage)
      Object.assign(acts, {
        Enter: () => (editor.path ? finishPath(editor) : this.insert()),
        " ": () => this.pan(true),
      });
    const tool = TOOL_KEYS[key.toLowerCase()];
    if (editor.tools().includes(tool)) acts[key] = () => this.panel.choose(tool);
    return this.act(acts, key);
  }

  act(acts, key) {
    if (!Object.hasOwn(acts, key)) return false;
    this.panel.attempt(acts[key]);
    return true;
  }

  pan(on) {
    this.panel.pointers.panning = on;
  }

  onArrow([dx, dy], stretching) {
    const { editor, stage } = this.panel;
    this.panel.attempt(() => {
      if (!editor.selection.length) stage.panBy([-dx * PAN, -dy * PAN]);
      else if (stretching) this.stretch([dx * UNIT, dy * UNIT]);
      else editor.nudge(dx, dy);
    });
    return true;
  }

  /** Move the far end of the selection: an arrow's tip, or the corner of the frame. */
  stretch([dx, dy]) {
    const { editor } = this.panel;
    const end = editor.single && ownHandles(editor.single).findLast(([name]) => typeof name === "string");
    if (end) return editor.change((mark) => withHandle(mark, end[0], [end[1][0] + dx, end[1][1] + dy]), "stretch");
    const [left, top, right, bottom] = bounds(...editor.selected);
    const to = [left, top, Math.max(right + dx, left + 4 * UNIT), Math.max(bottom + dy, top + 4 * UNIT)];
    editor.change((mark) => resized(mark, [left, top, right, bottom], to), "stretch");
  }

  /** Add the tool's mark in the middle of the canvas and select it. */
  insert() {
    const { editor, controls } = this.panel;
    const { tool } = editor;
    if (tool === "select") return controls.askForWords();
    const mark =
      tool === "doodle"
        ? { type: tool, strokes: [{ ...editor.nextStroke(), points: RING }] }
        : { ...editor.next(tool), ...INSERTED[tool] };
    // Next to earlier ones, not on top of them.
    const same = editor.prompt.marks.filter(({ type }) => type === mark.type).length;
    editor.add(moved(mark, [same * 12 * UNIT, same * 12 * UNIT]));
    editor.choose("select");
    editor.select([editor.prompt.marks.length - 1]);
    if (tool === "text" || tool === "box") controls.askForWords();
  }

  // Clipboard

  onClipboard(event) {
    event.stopPropagation();
    if (this.typing(event)) return;
    event.preventDefault();
    if (event.type === "paste") return this.onPaste(event.clipboardData);
    const copied = this.panel.editor.copied();
    if (copied === null) return;
    clipboard = copied;
    event.clipboardData.setData("text/plain", copied);
    if (event.type === "cut") this.panel.attempt(() => this.panel.editor.remove());
  }

  onPaste(transfer) {
    if (!this.panel.background.take(transfer)) this.paste(transfer.getData("text/plain") || clipboard);
  }

  async paste(text) {
    const { api, editor, language } = this.panel;
    if (!text.trim()) return;
    try {
      const prompt = language.parseCopied(text);
      if (!prompt) return this.panel.say(t("nothing_to_paste"), true);
      await checkOnServer(api, prompt);
      this.panel.attempt(() => editor.paste(prompt));
    } catch (error) {
      this.panel.say(error.message, true);
    }
  }
}
