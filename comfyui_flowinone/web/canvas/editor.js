/** The drawing as it is edited: prompt, selection, clipboard, undo. Knows nothing of the page. */

import { bounds, boxHandles, moved, turned, TURNABLE, UNIT, within } from "./geometry.js";
import { History } from "./history.js";
import { pointCount, stringify } from "./language.js";

/** The mark that each tool makes. */
export const TOOLS = ["select", "box", "marker", "force", "wind", "trajectory", "doodle", "text", "erase"];
const PEN_FIELDS = ["color", "width", "brush", "smooth"];

export class Editor {
  /** `changed(committed)` is called after every change; `committed` tells whether the value to keep is another. */
  constructor(language, task, changed) {
    this.language = language;
    this.changed = changed;
    this.history = new History(language.newPrompt(task));
    this.selection = [];
    this.draft = null; // a mark in the making
    this.live = null; // all marks, while some are dragged
    this.path = null; // the points of a line that is being clicked together
    this.band = null; // the box that selects what is in it
    this.open = null; // the number of the doodle that strokes go on
    this.pens = {}; // settings of each tool for its next mark
    this.unread = null; // a value that could not be read, kept as it was
    this.tool = this.firstTool();
  }

  get prompt() {
    return this.history.state;
  }

  /** The marks as they look at the moment. */
  get marks() {
    return this.live ?? this.prompt.marks;
  }

  get info() {
    return this.language.tasks[this.prompt.task];
  }

  /** The value of the widget. */
  get text() {
    return this.unread ?? stringify(this.prompt);
  }

  /** Take a value over, from a file, an undo of the graph's or another node. Throws PromptError, and keeps the value to give it back. */
  load(text) {
    if (text === this.text) return;
    this.unread = null;
    try {
      this.history.push(text.trim() ? this.language.parse(text) : this.language.newPrompt(this.prompt.task));
    } catch (error) {
      this.unread = text;
      throw error;
    } finally {
      this.rest();
      if (!this.tools().includes(this.tool)) this.tool = this.firstTool();
      this.changed(false);
    }
  }

  /** Make `prompt` the present one, a step of its own or part of the running `group`. Throws PromptError where it is too much. */
  commit(prompt, group = null) {
    this.language.checkAmount(prompt.marks);
    this.unread = null;
    this.draft = this.live = null;
    this.history.push(prompt, group);
    this.selection = this.selection.filter((number) => number < prompt.marks.length);
    this.changed(true);
  }

  setMarks(marks, selection = this.selection, group = null) {
    this.selection = selection;
    this.commit({ ...this.prompt, marks }, group);
  }

  /** Let go of everything half done. */
  rest() {
    this.draft = this.live = this.path = this.band = this.open = null;
    this.selection = [];
    this.history.settle();
  }

  undo() {
    this.rest();
    if (this.history.undo()) this.changed(true);
  }

  redo() {
    this.rest();
    if (this.history.redo()) this.changed(true);
  }

  // Tools

  /** The tools whose marks the task knows. */
  tools() {
    return TOOLS.filter((tool) => tool === "select" || this.info.marks.includes(tool));
  }

  firstTool() {
    return this.info.marks[0];
  }

  choose(tool) {
    this.draft = this.path = this.open = null;
    this.tool = tool;
    if (tool !== "select") this.selection = [];
    this.changed(false);
  }

  /** What the next mark of a kind starts with. */
  fresh(type) {
    const base = type === "text" ? this.language.words(this.prompt.task, "words") : this.language.marks[type];
    return this.dressed(base, this.pens[type] ?? {});
  }

  dressed(mark, pen) {
    if (mark.type === "doodle") return mark;
    if (mark.type !== "text") return { ...mark, ...pick(pen, Object.keys(mark)) };
    const style = { ...mark.style };
    if (pen.color) style.fill = pen.color;
    if (pen.width) [style.size, style.min_size] = [pen.width, Math.min(style.min_size, pen.width)];
    return { ...mark, style };
  }

  freshStroke() {
    return { ...this.language.stroke, ...pick(this.pens.doodle ?? {}, ["color", "width", "brush"]) };
  }

  /** Add a finished mark and select it. */
  add(mark) {
    this.setMarks([...this.prompt.marks, this.rounded(mark)], [this.prompt.marks.length]);
  }

  rounded(mark) {
    // So that a drawing, its file and its copy are the same to the last digit.
    return JSON.parse(stringify(mark));
  }

  /** Add a stroke to the doodle that is being drawn, or begin one. */
  addStroke(stroke) {
    const marks = this.prompt.marks;
    if (marks[this.open]?.type === "doodle") {
      const doodle = { ...marks[this.open], strokes: [...marks[this.open].strokes, this.rounded(stroke)] };
      this.setMarks(marks.map((mark, number) => (number === this.open ? doodle : mark)), []);
    } else {
      this.open = marks.length;
      this.setMarks([...marks, this.rounded({ type: "doodle", strokes: [stroke] })], []);
    }
  }

  // Selection

  get selected() {
    return this.selection.map((number) => this.marks[number]);
  }

  select(numbers) {
    this.selection = [...new Set(numbers)].sort((a, b) => a - b);
    this.open = null;
    this.history.settle();
    this.changed(false);
  }

  selectAll() {
    this.tool = "select";
    this.select(this.prompt.marks.keys());
  }

  /** Select the mark after or before the selected one. */
  step(by) {
    const count = this.prompt.marks.length;
    if (!count) return;
    this.tool = "select";
    const from = this.selection.at(-1) ?? (by > 0 ? -1 : count);
    this.select([(from + by + count) % count]);
  }

  /** The box around the selection with its handles, null where it has none. */
  frame() {
    if (!this.selection.length) return null;
    const box = bounds(...this.selected);
    return { box, handles: boxHandles(box), turnable: this.selected.some(({ type }) => TURNABLE.has(type)) };
  }

  change(transform, group = null) {
    this.setMarks(this.prompt.marks.map((mark, number) => (this.selection.includes(number) ? this.rounded(transform(mark)) : mark)), this.selection, group);
  }

  nudge(dx, dy) {
    if (this.selection.length) this.change((mark) => moved(mark, [dx * UNIT, dy * UNIT]), "nudge");
  }

  turn(degrees) {
    const frame = this.frame();
    if (!frame?.turnable) return;
    const [left, top, right, bottom] = frame.box;
    this.change((mark) => turned(mark, [(left + right) / 2, (top + bottom) / 2], degrees), "turn");
  }

  remove() {
    if (this.selection.length) this.setMarks(this.prompt.marks.filter((_, number) => !this.selection.includes(number)), []);
  }

  clear() {
    if (this.prompt.marks.length) this.setMarks([], []);
  }

  duplicate() {
    if (this.selection.length) this.paste(this.selected);
  }

  /** Move the selected marks to the top (1) or to the bottom (-1). */
  raise(direction) {
    if (!this.selection.length) return;
    const rest = this.prompt.marks.filter((_, number) => !this.selection.includes(number));
    const marks = direction > 0 ? [...rest, ...this.selected] : [...this.selected, ...rest];
    const first = direction > 0 ? rest.length : 0;
    this.setMarks(marks, this.selected.map((_, number) => first + number));
  }

  // Clipboard

  /** The selected marks as a document of their own, null where none is selected. */
  copied() {
    return this.selection.length ? stringify({ ...this.prompt, marks: this.selected }) : null;
  }

  /** Add marks, a little aside of where they came from if that is taken. */
  paste(marks) {
    const taken = new Set(this.prompt.marks.map((mark) => stringify(mark)));
    let added = marks.map((mark) => this.rounded(mark));
    while (added.some((mark) => taken.has(stringify(mark)))) added = added.map((mark) => this.rounded(moved(mark, [16 * UNIT, 16 * UNIT])));
    const count = this.prompt.marks.length;
    this.tool = "select";
    this.setMarks([...this.prompt.marks, ...added], added.map((_, number) => count + number));
  }

  // Properties

  /** The marks that the fields below the canvas speak of: the selected ones, else what the tool makes next. */
  subjects() {
    if (this.selection.length) return this.selected;
    if (this.tool === "select") return [];
    return [this.tool === "doodle" ? { type: "doodle", strokes: [this.freshStroke()] } : this.fresh(this.tool)];
  }

  /** A property's value, of the first mark that has it; undefined where none has. */
  property(name) {
    return this.subjects().map((mark) => propertyOf(mark, name)).find((value) => value !== undefined);
  }

  /** Give the selected marks, or the tool's next ones, a property. Steps of the same property count as one. */
  setProperty(name, value) {
    if (this.selection.length) {
      this.change((mark) => withProperty(mark, name, value), `${name} ${this.selection}`);
    } else if (PEN_FIELDS.includes(name)) {
      this.pens[this.tool] = { ...this.pens[this.tool], [name]: value };
      this.changed(false);
    }
  }

  /** The number of the mark whose words the words field edits: the selected one, else the task's own words; -1 for none. */
  wordsMark() {
    if (this.selection.length) return this.selection.find((number) => ["text", "box"].includes(this.marks[number].type)) ?? -1;
    const { role } = this.info;
    return this.prompt.marks.findLastIndex((mark) => mark.type === "text" && mark.role === role);
  }

  get words() {
    const mark = this.marks[this.wordsMark()];
    return mark ? (mark.text ?? mark.label) : "";
  }

  /** Whether there is a place for words now. */
  get wordy() {
    return this.wordsMark() >= 0 || (!this.selection.length && this.info.marks.includes("text"));
  }

  setWords(text) {
    const which = this.wordsMark(), marks = this.prompt.marks, mark = marks[which];
    const group = `words ${which}`;
    if (!mark) {
      // Words that appear and go on growing are one step.
      if (text) this.setMarks([...marks, this.language.words(this.prompt.task, text)], [], `words ${marks.length}`);
    } else if (mark.type === "box") {
      this.setMarks(marks.map((old, number) => (number === which ? { ...old, label: text } : old)), this.selection, group);
    } else if (text) {
      this.setMarks(marks.map((old, number) => (number === which ? { ...old, text } : old)), this.selection, group);
    } else {
      this.setMarks(marks.filter((_, number) => number !== which), []);
    }
  }

  // The whole prompt

  /** Another task: its bypass, its ground, and its words in place of the last task's, unless they were the user's own. */
  setTask(task) {
    if (task === this.prompt.task) return;
    const [from, to] = [this.info, this.language.tasks[task]];
    const fits = (this.prompt.canvas.type === "photo") === (to.canvas.type === "photo");
    let marks = this.prompt.marks.filter((mark) => mark.type !== "text" || mark.text !== from.instruction);
    marks = marks.map((mark) => (mark.type === "text" && mark.role === from.role ? this.language.words(task, mark.text) : mark));
    if (to.instruction && !marks.some(({ type }) => type === "text")) marks.push(this.language.words(task, to.instruction));
    this.rest();
    this.commit({ ...this.prompt, task, bypass: to.bypass, canvas: fits ? this.prompt.canvas : to.canvas, marks });
    this.choose(this.firstTool());
  }

  /** How many marks the task does not know. */
  get strangers() {
    return this.prompt.marks.filter(({ type }) => !this.info.marks.includes(type)).length;
  }

  setCanvas(fields) {
    const type = fields.type ?? this.prompt.canvas.type;
    const base = type === this.prompt.canvas.type ? this.prompt.canvas : this.language.canvases[type];
    this.commit({ ...this.prompt, canvas: { ...base, ...fields } }, `canvas ${Object.keys(fields)}`);
  }

  setBypass(bypass) {
    this.commit({ ...this.prompt, bypass });
  }

  /** How many more points may be drawn. */
  get pointsLeft() {
    return this.language.limits.points - pointCount(this.prompt.marks);
  }
}

function pick(source, names) {
  return Object.fromEntries(Object.entries(source).filter(([name]) => names.includes(name)));
}

function propertyOf(mark, name) {
  if (mark.type === "doodle") return mark.strokes[0][name];
  if (mark.type === "text") return { color: mark.style.fill, width: mark.style.size, align: mark.style.align, face: mark.style.face }[name];
  return mark[name];
}

function withProperty(mark, name, value) {
  if (propertyOf(mark, name) === undefined) return mark;
  if (mark.type === "doodle") return { ...mark, strokes: mark.strokes.map((stroke) => ({ ...stroke, [name]: value })) };
  if (mark.type === "text") {
    const field = { color: "fill", width: "size" }[name] ?? name;
    const style = { ...mark.style, [field]: value };
    style.min_size = Math.min(style.min_size, style.size);
    return { ...mark, style };
  }
  if (name === "magnitude") return { ...mark, magnitude: within(value, [0.0101 / mark.scale, 2 / mark.scale]) };
  if (name === "strength") return { ...mark, strength: within(value, [0.0201 / mark.scale, 2 / mark.scale]) };
  return { ...mark, [name]: value };
}
