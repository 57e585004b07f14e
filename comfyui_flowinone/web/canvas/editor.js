/** The drawing as it is edited: prompt, selection, clipboard, undo. Knows nothing of the page. */

import { bounds, boxHandles, held, inSight, moved, turned, TURNABLE, UNIT, within } from "./geometry.js";
import { History } from "./history.js";
import { pointCount, stringify } from "./language.js";
import { dressed, PEN_FIELDS, propertyOf, withProperty } from "./properties.js";

/** The mark that each tool makes. */
const TOOLS = ["select", "box", "marker", "force", "wind", "trajectory", "doodle", "text", "erase"];

const MOST_ASIDE = 24; // steps that a copy goes aside of what it was copied from

export class Editor {
  /** `changed(what)` is called after every change: of the "drawing" to keep, of the "state" around it, or of what is in "motion" only. */
  constructor(language, task, changed) {
    this.language = language;
    this.changed = changed;
    this.history = new History(language.newPrompt(task));
    this.selection = [];
    this.draft = null; // a mark in the making
    this.live = null; // all marks, while some are dragged
    this.way = null; // how far those that are dragged went, where they only move
    this.path = null; // the points of a line that is being clicked together
    this.band = null; // the box that selects what is in it
    this.open = null; // the number of the doodle that strokes go on
    this.pens = {}; // settings of each tool for its next mark
    this.emptied = null; // {mark, which, selection}: the mark whose words were all deleted, for the words that come next
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
    if (this.written?.prompt !== this.prompt) this.written = { prompt: this.prompt, text: stringify(this.prompt) };
    return this.unread ?? this.written.text;
  }

  /** Take a value over, from a file, an undo of the graph's or another node. Throws PromptError, and keeps the value to give it back. */
  load(text) {
    if (text === this.text) return;
    this.unread = null;
    try {
      const prompt = text.trim() ? this.language.parse(text) : this.language.newPrompt(this.prompt.task);
      // What a file brings is where the steps begin.
      if (this.fresh) this.history = new History(prompt);
      else this.history.push(prompt);
    } catch (error) {
      this.unread = text;
      throw error;
    } finally {
      this.rest();
      if (!this.tools().includes(this.tool)) this.tool = this.firstTool();
      this.changed("state");
    }
  }

  /** Whether nothing was drawn here yet. */
  get fresh() {
    return !this.history.past.length && !this.history.future.length && this.bare;
  }

  /** What another editor can go on with. */
  get steps() {
    return { history: this.history, pens: this.pens, tool: this.tool };
  }

  /** Go on with another editor's `steps`, if one of them led to the present prompt; whether it did. */
  resume({ history, pens, tool }) {
    const [points, count, text] = [pointCount(this.prompt.marks), this.prompt.marks.length, this.text];
    // The text is compared last: it takes long.
    const same = (prompt) => prompt.marks.length === count && pointCount(prompt.marks) === points && stringify(prompt) === text;
    if (this.unread !== null || !history.seek(same)) return false;
    Object.assign(this, { history, pens });
    this.tool = this.tools().includes(tool) ? tool : this.firstTool();
    this.rest();
    this.changed("state");
    return true;
  }

  /** Make `prompt` the present one, a step of its own or part of the running `group`. Throws PromptError where it is too much. */
  commit(prompt, group = null, selection = this.selection) {
    this.language.checkAmount(prompt.marks);
    this.unread = this.draft = this.live = this.emptied = null;
    this.history.push(prompt, group);
    this.selection = selection.filter((number) => number < prompt.marks.length);
    this.changed("drawing");
  }

  setMarks(marks, selection = this.selection, group = null) {
    this.commit({ ...this.prompt, marks }, group, selection);
  }

  /** Let go of everything half done. */
  rest() {
    this.draft = this.live = this.path = this.band = this.open = this.emptied = null;
    this.selection = [];
    this.history.settle();
  }

  undo() {
    this.rest();
    if (this.history.undo()) this.changed("drawing");
  }

  redo() {
    this.rest();
    if (this.history.redo()) this.changed("drawing");
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
    this.changed("state");
  }

  /** What the next mark of a kind starts with. */
  next(type) {
    const base = type === "text" ? this.language.words(this.prompt.task, "words") : this.language.marks[type];
    return dressed(base, this.pens[type] ?? {});
  }

  nextStroke() {
    return { ...this.language.stroke, ...this.pens.doodle };
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
    this.open = this.emptied = null;
    this.history.settle();
    this.changed("state");
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

  /** The mark that is selected alone, null where none or several are. */
  get single() {
    return this.selection.length === 1 ? this.selected[0] : null;
  }

  /** The box around the selection with its handles, null where nothing is selected. */
  frame() {
    if (!this.selection.length) return null;
    const box = bounds(...this.selected);
    return { box, handles: boxHandles(box), turnable: this.selected.some(({ type }) => TURNABLE.has(type)) };
  }

  /** Change the selected marks, unless that would push them off the canvas. */
  change(transform, group = null) {
    const changed = new Map(this.selection.map((number) => [number, this.rounded(transform(this.prompt.marks[number]))]));
    if (inSight(changed.values())) this.setMarks(this.prompt.marks.map((mark, number) => changed.get(number) ?? mark), this.selection, group);
  }

  nudge(dx, dy) {
    if (!this.selection.length) return;
    const by = held(bounds(...this.selected), [dx * UNIT, dy * UNIT]);
    this.change((mark) => moved(mark, by), "nudge");
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

  /** Whether the marks are those that the task starts with. */
  get bare() {
    const { marks } = this.language.newPrompt(this.prompt.task);
    return this.prompt.marks.length === marks.length && stringify(this.prompt.marks) === stringify(marks);
  }

  /** Back to the marks that the task starts with. */
  clear() {
    if (!this.bare) this.setMarks(this.language.newPrompt(this.prompt.task).marks, []);
  }

  duplicate() {
    if (this.selection.length) this.addAside(this.selected);
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

  /** The selected marks, or all where none is selected, as a document of their own; null where there are none. */
  copied() {
    const marks = this.selection.length ? this.selected : this.prompt.marks;
    return marks.length ? stringify({ ...this.prompt, marks }) : null;
  }

  /** Add a copied document's marks; where nothing was drawn yet, take its task over as well. */
  paste({ task, bypass, canvas, marks }) {
    if (!this.bare || !marks.length) return this.addAside(marks);
    this.rest();
    this.commit({ ...this.prompt, task, bypass, canvas: this.groundFor(canvas), marks: this.rounded(marks) });
    this.choose("select");
    this.select(marks.keys());
  }

  /** Add marks, a little aside of where they came from if that is taken. */
  addAside(marks) {
    const taken = new Set(this.prompt.marks.map((mark) => stringify(mark)));
    let added = marks.map((mark) => this.rounded(mark));
    for (let tries = 0; tries < MOST_ASIDE && added.some((mark) => taken.has(stringify(mark))); tries++) {
      added = added.map((mark) => this.rounded(moved(mark, [16 * UNIT, 16 * UNIT])));
    }
    const count = this.prompt.marks.length;
    this.tool = "select";
    this.setMarks([...this.prompt.marks, ...added], added.map((_, number) => count + number));
  }

  // Properties

  /** The marks that the fields below the canvas speak of: the selected ones, else what the tool makes next. */
  subjects() {
    if (this.selection.length) return this.selected;
    if (this.tool === "select") return [];
    return [this.tool === "doodle" ? { type: "doodle", strokes: [this.nextStroke()] } : this.next(this.tool)];
  }

  /** A property's value, of the first mark that has it; undefined where none has. */
  property(name) {
    return this.subjects().map((mark) => propertyOf(mark, name)).find((value) => value !== undefined);
  }

  /** Give the selected marks, or the tool's next ones, a property. Steps of the same property count as one. */
  setProperty(name, value) {
    const fitting = (type) => (name === "width" ? within(value, this.language.limits.widths[type]) : value);
    if (this.selection.length) {
      this.change((mark) => withProperty(mark, name, fitting(mark.type)), `${name} ${this.selection}`);
    } else if (PEN_FIELDS.includes(name)) {
      this.pens[this.tool] = { ...this.pens[this.tool], [name]: fitting(this.tool) };
      this.changed("state");
    }
  }

  /** The number of the mark whose words the words field edits: the selected one, else the task's own words; -1 for none. */
  wordsMark() {
    const chosen = this.selection.find((number) => ["text", "box"].includes(this.marks[number].type));
    if (chosen !== undefined) return chosen;
    if (this.emptied) return -1;
    return this.prompt.marks.findLastIndex((mark) => mark.type === "text" && mark.role === this.info.role);
  }

  get words() {
    const mark = this.marks[this.wordsMark()];
    return mark ? (mark.text ?? mark.label) : "";
  }

  setWords(text) {
    const { emptied, selection } = this, { marks } = this.prompt;
    const which = this.wordsMark(), blank = !text.trim();
    const replaced = (mark) => this.setMarks(marks.with(which, mark), selection, `words ${which}`);
    if (which >= 0 && marks[which].type === "box") {
      replaced({ ...marks[which], label: text });
    } else if (which >= 0 && !blank) {
      replaced({ ...marks[which], text });
    } else if (which >= 0) {
      const rest = selection.filter((number) => number !== which).map((number) => (number > which ? number - 1 : number));
      this.setMarks(marks.toSpliced(which, 1), rest);
      this.emptied = { mark: marks[which], which, selection };
    } else if (emptied && !blank) {
      this.setMarks(marks.toSpliced(emptied.which, 0, { ...emptied.mark, text }), emptied.selection, `words ${emptied.which}`);
    } else if (!blank) {
      // Words that appear and go on growing are one step.
      this.setMarks([...marks, this.language.words(this.prompt.task, text)], selection, `words ${marks.length}`);
    }
  }

  // The whole prompt

  /** Another task: its bypass, and its ground and words in place of the last task's, unless they were the user's own. */
  setTask(task) {
    if (task === this.prompt.task) return;
    const [from, to] = [this.info, this.language.tasks[task]];
    let marks = this.prompt.marks.filter((mark) => mark.type !== "text" || mark.text !== from.instruction);
    marks = marks.map((mark) => (mark.type === "text" && mark.role === from.role ? this.language.words(task, mark.text) : mark));
    if (to.instruction && !marks.some(({ type }) => type === "text")) marks.push(this.language.words(task, to.instruction));
    this.rest();
    const own = stringify(this.prompt.canvas) !== stringify(from.canvas);
    this.commit({ ...this.prompt, task, bypass: to.bypass, canvas: own ? this.groundFor(to.canvas) : to.canvas, marks });
    this.choose(this.firstTool());
  }

  /** The present ground, unless a picture is wanted and there is none, or the other way round. */
  groundFor(canvas) {
    return (this.prompt.canvas.type === "photo") === (canvas.type === "photo") ? this.prompt.canvas : canvas;
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
}
