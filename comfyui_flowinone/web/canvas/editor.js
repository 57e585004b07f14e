/** The model of the editor: prompt, selection, clipboard and undo. Independent of the page. */

import { bounds, boxHandles, held, inSight, moved, turned, TURNABLE, UNIT, within } from "./geometry.js";
import { History } from "./history.js";
import { pointCount, stringify } from "./prompt_language.js";
import { dressed, PEN_FIELDS, propertyOf, withProperty } from "./properties.js";

/** The mark that each tool makes. */
const TOOLS = ["select", "box", "marker", "force", "wind", "trajectory", "doodle", "text", "erase"];

const MAX_OFFSETS = 24; // how often a copy is moved on to find a free place

export class Editor {
  /** `changed(what)` is called after every change of the "drawing" (the widget's value), the editor's "state", or a
   * gesture's "motion".
   */
  constructor(language, task, changed) {
    this.language = language;
    this.changed = changed;
    this.history = new History(language.newPrompt(task));
    this.selection = [];
    this.draft = null; // the mark that a gesture is drawing
    this.live = null; // all marks while some are dragged
    this.way = null; // how far the dragged marks have moved, if they only move
    this.path = null; // {type, points}: a line that is being clicked point by point
    this.band = null; // the rubber band
    this.open = null; // the index of the doodle that the next stroke belongs to
    this.pens = {}; // each tool's settings for its next mark
    this.emptied = null; // {mark, which, selection}: the mark whose text was deleted, for the next text
    this.unread = null; // a value that could not be parsed, kept unchanged
    this.tool = this.firstTool();
  }

  get prompt() {
    return this.history.state;
  }

  /** The marks as they are shown, dragged ones included. */
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

  /** Load a value from a workflow, an undo of the graph or another node. Throws PromptError for an invalid one, and
   * keeps it as the value.
   */
  load(text) {
    if (text === this.text) return;
    this.unread = null;
    try {
      const prompt = text.trim() ? this.language.parse(text) : this.language.newPrompt(this.prompt.task);
      // A value loaded from a file is the first undo step.
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

  /** Whether nothing has been drawn yet. */
  get fresh() {
    return !this.history.past.length && !this.history.future.length && this.bare;
  }

  /** What another editor needs to continue this one. */
  get steps() {
    return { history: this.history, pens: this.pens, tool: this.tool };
  }

  /** Continue another editor's `steps` if its history contains the current prompt. Returns whether it does. */
  resume({ history, pens, tool }) {
    const [points, count, text] = [pointCount(this.prompt.marks), this.prompt.marks.length, this.text];
    // Text is compared last, because that is slow.
    const same = (prompt) =>
      prompt.marks.length === count && pointCount(prompt.marks) === points && stringify(prompt) === text;
    if (this.unread !== null || !history.seek(same)) return false;
    Object.assign(this, { history, pens });
    this.tool = this.tools().includes(tool) ? tool : this.firstTool();
    this.rest();
    this.changed("state");
    return true;
  }

  /** Make `prompt` the current one, as an undo step of its own or part of `group`. Throws PromptError if it exceeds the
   * limits.
   */
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

  /** Discard unfinished gestures and the selection. */
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

  /** The tools for the task's marks. */
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

  /** The next mark of a type, with the tool's settings. */
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
    // A drawing, its file and its copies must be equal to the last digit.
    return JSON.parse(stringify(mark));
  }

  /** Add a stroke to the open doodle, or start a new one. */
  addStroke(stroke) {
    const marks = this.prompt.marks;
    if (marks[this.open]?.type === "doodle") {
      const doodle = { ...marks[this.open], strokes: [...marks[this.open].strokes, this.rounded(stroke)] };
      this.setMarks(
        marks.map((mark, number) => (number === this.open ? doodle : mark)),
        [],
      );
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

  /** Select the next (1) or previous (-1) mark. */
  step(by) {
    const count = this.prompt.marks.length;
    if (!count) return;
    this.tool = "select";
    const from = this.selection.at(-1) ?? (by > 0 ? -1 : count);
    this.select([(from + by + count) % count]);
  }

  /** The selected mark; null if none or several are selected. */
  get single() {
    return this.selection.length === 1 ? this.selected[0] : null;
  }

  /** The box around the selection with its handles; null without a selection. */
  frame() {
    if (!this.selection.length) return null;
    const box = bounds(...this.selected);
    return { box, handles: boxHandles(box), turnable: this.selected.some(({ type }) => TURNABLE.has(type)) };
  }

  /** Change the selected marks, unless that moves them off the canvas. */
  change(transform, group = null) {
    const changed = new Map(
      this.selection.map((number) => [number, this.rounded(transform(this.prompt.marks[number]))]),
    );
    if (inSight(changed.values()))
      this.setMarks(
        this.prompt.marks.map((mark, number) => changed.get(number) ?? mark),
        this.selection,
        group,
      );
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
    if (this.selection.length)
      this.setMarks(
        this.prompt.marks.filter((_, number) => !this.selection.includes(number)),
        [],
      );
  }

  /** Whether the marks are the task's initial ones. */
  get bare() {
    const { marks } = this.language.newPrompt(this.prompt.task);
    return this.prompt.marks.length === marks.length && stringify(this.prompt.marks) === stringify(marks);
  }

  /** Reset to the task's initial marks. */
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
    this.setMarks(
      marks,
      this.selected.map((_, number) => first + number),
    );
  }

  // Clipboard

  /** The selected marks, or all without a selection, as a document; null if there are none. */
  copied() {
    const marks = this.selection.length ? this.selected : this.prompt.marks;
    return marks.length ? stringify({ ...this.prompt, marks }) : null;
  }

  /** Add a copied document's marks; if nothing has been drawn yet, use its task and canvas too. */
  paste({ task, bypass, canvas, marks }) {
    if (!this.bare || !marks.length) return this.addAside(marks);
    this.rest();
    this.commit({ ...this.prompt, task, bypass, canvas: this.groundFor(canvas), marks: this.rounded(marks) });
    this.choose("select");
    this.select(marks.keys());
  }

  /** Add marks, moved a little if equal marks exist already. */
  addAside(marks) {
    const taken = new Set(this.prompt.marks.map((mark) => stringify(mark)));
    let added = marks.map((mark) => this.rounded(mark));
    for (let tries = 0; tries < MAX_OFFSETS && added.some((mark) => taken.has(stringify(mark))); tries++) {
      added = added.map((mark) => this.rounded(moved(mark, [16 * UNIT, 16 * UNIT])));
    }
    const count = this.prompt.marks.length;
    this.tool = "select";
    this.setMarks(
      [...this.prompt.marks, ...added],
      added.map((_, number) => count + number),
    );
  }

  // Properties

  /** The marks that the fields below the canvas edit: the selected ones, else the tool's next mark. */
  subjects() {
    if (this.selection.length) return this.selected;
    if (this.tool === "select") return [];
    return [this.tool === "doodle" ? { type: "doodle", strokes: [this.nextStroke()] } : this.next(this.tool)];
  }

  /** A property of the first subject that has it; undefined if none has. */
  property(name) {
    return this.subjects()
      .map((mark) => propertyOf(mark, name))
      .find((value) => value !== undefined);
  }

  /** Set a property of the selected marks, or of the tool's next ones. Consecutive changes are one undo step. */
  setProperty(name, value) {
    const fitting = (type) => (name === "width" ? within(value, this.language.limits.widths[type]) : value);
    if (this.selection.length) {
      this.change((mark) => withProperty(mark, name, fitting(mark.type)), `${name} ${this.selection}`);
    } else if (PEN_FIELDS.includes(name)) {
      this.pens[this.tool] = { ...this.pens[this.tool], [name]: fitting(this.tool) };
      this.changed("state");
    }
  }

  /** The index of the mark whose text the text field edits: the selected one, else the task's own text; -1 for none. */
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
    const { emptied, selection } = this;
    const { marks } = this.prompt;
    const which = this.wordsMark();
    const blank = !text.trim();
    const replaced = (mark) => this.setMarks(marks.with(which, mark), selection, `words ${which}`);
    if (which >= 0 && marks[which].type === "box") {
      replaced({ ...marks[which], label: text });
    } else if (which >= 0 && !blank) {
      replaced({ ...marks[which], text });
    } else if (which >= 0) {
      const rest = selection
        .filter((number) => number !== which)
        .map((number) => (number > which ? number - 1 : number));
      this.setMarks(marks.toSpliced(which, 1), rest);
      this.emptied = { mark: marks[which], which, selection };
    } else if (emptied && !blank) {
      this.setMarks(
        marks.toSpliced(emptied.which, 0, { ...emptied.mark, text }),
        emptied.selection,
        `words ${emptied.which}`,
      );
    } else if (!blank) {
      // Adding text and typing on is one undo step.
      this.setMarks([...marks, this.language.words(this.prompt.task, text)], selection, `words ${marks.length}`);
    }
  }

  // The whole prompt

  /** Switch the task and its bypass; its canvas and text replace those of the previous task, unless the user has
   * changed them.
   */
  setTask(task) {
    if (task === this.prompt.task) return;
    const [from, to] = [this.info, this.language.tasks[task]];
    let marks = this.prompt.marks.filter((mark) => mark.type !== "text" || mark.text !== from.instruction);
    marks = marks.map((mark) =>
      mark.type === "text" && mark.role === from.role ? this.language.words(task, mark.text) : mark,
    );
    if (to.instruction && !marks.some(({ type }) => type === "text"))
      marks.push(this.language.words(task, to.instruction));
    this.rest();
    const own = stringify(this.prompt.canvas) !== stringify(from.canvas);
    this.commit({
      ...this.prompt,
      task,
      bypass: to.bypass,
      canvas: own ? this.groundFor(to.canvas) : to.canvas,
      marks,
    });
    this.choose(this.firstTool());
  }

  /** The current canvas, unless only one of the two shows a photo. */
  groundFor(canvas) {
    return (this.prompt.canvas.type === "photo") === (canvas.type === "photo") ? this.prompt.canvas : canvas;
  }

  /** How many marks the model was not trained on with this task. */
  get untrainedMarks() {
    return this.prompt.marks.filter(({ type }) => !this.info.marks.includes(type)).length;
  }

  setCanvas(fields) {
    const type = fields.type ?? this.prompt.canvas.type;
    const base = type === this.prompt.canvas.type ? this.prompt.canvas : this.language.canvases[type];
    this.commit({ ...this.prompt, canvas: { ...base, ...fields } }, `canvas ${Object.keys(fields)}`);
  }
}
