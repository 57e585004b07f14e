/** The canvas as a whole: task, tools, drawing area, fields and status; keyboard, clipboard and dropped pictures. */

import { Editor } from "./editor.js";
import { bounds, moved, ownHandles, resized, UNIT, withHandle } from "./geometry.js";
import { finishPath } from "./gestures.js";
import { ExactPicture, connectedPicture, upload, viewURL } from "./server.js";
import { Stage } from "./stage.js";
import { t, taskTitle } from "./strings.js";
import { addStyle, icon } from "./style.js";

const FIRST_TASK = "text_box";
const LOOKS = 400; // ms between two looks at what is connected
const KEYS = { v: "select", b: "box", m: "marker", f: "force", w: "wind", t: "trajectory", d: "doodle", x: "text", e: "erase" };
const GROUNDS = ["photo", "solid", "gradient"];
const PICTURES = /^image\//;

let clipboard = null; // what was copied last, where the browser's own clipboard cannot be read

export class Panel {
  /** `picture` gets and sets the name of the dropped picture; `size` and `font` get the node's settings; `changed` tells of a new value. */
  constructor({ app, api, node, language, picture, size, font, changed }) {
    Object.assign(this, { app, api, node, language, picture, size, font });
    addStyle();
    this.exactOn = true;
    this.exact = null; // {key, bitmap}
    this.photo = null; // {name, image}
    this.editor = new Editor(language, FIRST_TASK, (committed) => {
      if (committed) changed();
      this.update();
    });
    this.stage = new Stage(this.editor, () => ({ photo: this.photo?.image ?? null, exact: this.exactOn && this.exact?.key === this.key() ? this.exact.bitmap : null }));
    this.stage.asked = () => this.fields.words.focus();
    this.renderer = new ExactPicture(
      api,
      (bitmap, key) => {
        this.exact?.bitmap.close();
        this.exact = { bitmap, key };
        this.say("");
        this.stage.redraw();
      },
      (sentence) => this.say(sentence, true),
    );
    this.build();
    this.update();
    this.timer = setInterval(() => this.look(), LOOKS);
  }

  destroy() {
    clearInterval(this.timer);
    this.renderer.drop();
    this.exact?.bitmap.close();
    this.stage.destroy();
  }

  get value() {
    return this.editor.text;
  }

  set value(text) {
    try {
      this.editor.load(String(text ?? ""));
      this.say("");
    } catch (error) {
      this.say(t("unreadable", { error: error.message }), true);
    }
  }

  // The page

  build() {
    const root = (this.element = make("div", { className: "fio", role: "group", ariaLabel: t("title") }));
    const tasks = Object.entries(this.language.tasks).map(([task, info]) => make("option", { value: task, textContent: taskTitle(task, info), title: info.description }));
    this.task = make("select", { ariaLabel: t("task"), title: t("task") }, tasks);
    this.task.onchange = () => this.attempt(() => this.editor.setTask(this.task.value));
    this.actions = {
      undo: this.button("undo", () => this.editor.undo()),
      redo: this.button("redo", () => this.editor.redo()),
      duplicate: this.button("duplicate", () => this.editor.duplicate()),
      remove: this.button("remove", () => this.editor.remove()),
      clear: this.button("clear", () => this.editor.clear()),
    };
    this.tools = Object.fromEntries(Object.entries(KEYS).map(([key, tool]) => [tool, this.button(tool, () => this.choose(tool), key)]));
    const zoom = [this.button("zoomOut", () => this.stage.zoomBy(1 / 1.25)), this.button("fit", () => this.stage.fit()), this.button("zoomIn", () => this.stage.zoomBy(1.25))];
    this.eye = this.button("exact", () => {
      this.exactOn = !this.exactOn;
      this.update();
    });
    const toolbar = make("div", { className: "fio-bar", role: "toolbar", ariaLabel: t("tools") }, [...Object.values(this.tools), space(), ...zoom, this.eye]);
    this.hint = make("div", { className: "fio-hint" });
    this.area = make("div", { className: "fio-stage" }, [this.stage.element, this.hint]);
    this.stage.element.setAttribute("role", "application");
    this.status = make("div", { className: "fio-status", role: "status" });
    this.status.setAttribute("aria-live", "polite");
    this.status.id = `fio-status-${Math.random().toString(36).slice(2)}`;
    this.stage.element.setAttribute("aria-describedby", this.status.id);
    const head = make("div", { className: "fio-bar" }, [this.task, this.buildGround(), space(), ...Object.values(this.actions)]);
    root.append(head, toolbar, this.area, this.buildFields(), this.status);

    root.addEventListener("keydown", (event) => this.onKey(event));
    root.addEventListener("keyup", (event) => {
      if (event.key === " ") this.stage.panning = false;
    });
    for (const kind of ["copy", "cut", "paste"]) root.addEventListener(kind, (event) => this.onClipboard(event));
    for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) root.addEventListener(kind, (event) => this.onDrag(event));
    // Wherever else in the node a press is, it is no press on the graph.
    root.addEventListener("pointerdown", (event) => event.stopPropagation());
  }

  button(name, act, key) {
    const label = t(name) + (key ? ` (${key.toUpperCase()})` : "");
    const button = make("button", { type: "button", title: label, ariaLabel: t(name) }, [icon(name)]);
    button.dataset.fio = name;
    button.onclick = () => this.attempt(act);
    return button;
  }

  /** What lies beneath the marks: a picture and how it is made square, or colours. */
  buildGround() {
    const kinds = GROUNDS.map((kind) => make("option", { value: kind, textContent: t(`ground_${kind}`) }));
    this.ground = make("select", { ariaLabel: t("ground"), title: t("ground") }, kinds);
    this.ground.onchange = () => this.attempt(() => this.editor.setCanvas({ type: this.ground.value }));
    const fits = ["crop", "letterbox", "stretch"].map((fit) => make("option", { value: fit, textContent: t(`fit_${fit}`) }));
    this.fitting = make("select", { ariaLabel: t("fit_title"), title: t("fit_title") }, fits);
    this.fitting.onchange = () => this.attempt(() => this.editor.setCanvas({ fit: this.fitting.value }));
    this.file = make("input", { type: "file", accept: "image/*", hidden: true });
    this.file.onchange = () => this.usePicture(this.file.files[0]);
    this.open = this.button("picture", () => this.file.click());
    const color = (name) => {
      const input = make("input", { type: "color", ariaLabel: t(`ground_${name}`), title: t(`ground_${name}`) });
      input.oninput = () => this.attempt(() => this.editor.setCanvas({ [name]: input.value }));
      return input;
    };
    this.groundColors = { color: color("color"), start: color("start"), end: color("end"), background: color("background") };
    return make("span", { className: "fio-bar" }, [this.ground, this.fitting, this.open, this.file, ...Object.values(this.groundColors)]);
  }

  buildFields() {
    const number = (name, attributes) => {
      const input = make("input", { type: "number", ariaLabel: t(name), title: t(name), ...attributes });
      input.oninput = () => {
        const value = Math.min(Math.max(input.valueAsNumber, Number(input.min)), Number(input.max));
        if (Number.isFinite(value)) this.attempt(() => this.editor.setProperty(name, value));
      };
      return input;
    };
    const words = make("textarea", { ariaLabel: t("words"), placeholder: t("words"), spellcheck: false, maxLength: 2000 });
    words.oninput = () => this.attempt(() => this.editor.setWords(words.value));
    const color = make("input", { type: "color", ariaLabel: t("color"), title: t("color") });
    color.oninput = () => this.attempt(() => this.editor.setProperty("color", color.value));
    const brush = make("select", { ariaLabel: t("brush"), title: t("brush") }, ["multiline", "round"].map((kind) => make("option", { value: kind, textContent: t(`brush_${kind}`) })));
    brush.onchange = () => this.attempt(() => this.editor.setProperty("brush", brush.value));
    const smooth = make("input", { type: "checkbox", ariaLabel: t("smooth") });
    smooth.onchange = () => this.attempt(() => this.editor.setProperty("smooth", smooth.checked));
    this.fields = {
      words,
      color,
      width: number("width", { min: 0.5, max: 128, step: 0.5 }),
      magnitude: number("magnitude", { min: 0.05, max: 9, step: 0.05 }),
      strength: number("strength", { min: 0.12, max: 11, step: 0.05 }),
      angle: number("angle", { min: -360, max: 360, step: 1 }),
      brush,
      smooth,
    };
    this.smoothLabel = make("label", {}, [smooth, t("smooth")]);
    const { words: _, smooth: __, ...others } = this.fields;
    return make("div", { className: "fio-bar" }, [words, ...Object.values(others), this.smoothLabel]);
  }

  // State to page

  update() {
    const { editor } = this;
    this.task.value = editor.prompt.task;
    const offered = editor.tools();
    for (const [tool, button] of Object.entries(this.tools)) {
      button.hidden = !offered.includes(tool);
      button.setAttribute("aria-pressed", String(tool === editor.tool));
    }
    const { undo, redo, duplicate, remove, clear } = this.actions;
    undo.disabled = !editor.history.past.length;
    redo.disabled = !editor.history.future.length;
    duplicate.disabled = remove.disabled = !editor.selection.length;
    clear.disabled = !editor.prompt.marks.length;
    this.eye.setAttribute("aria-pressed", String(this.exactOn));
    this.updateGround();
    this.updateFields();
    this.stage.element.setAttribute("aria-label", t("area", { count: editor.prompt.marks.length, selected: editor.selection.length }));
    const bare = editor.prompt.canvas.type === "photo" && !this.photo;
    this.hint.textContent = bare ? t(this.photo === undefined ? "hint_run" : "hint_picture") : "";
    if (!this.status.classList.contains("fio-error")) this.say("");
    this.askForExact();
    this.stage.redraw();
  }

  updateGround() {
    const { canvas } = this.editor.prompt;
    this.ground.value = canvas.type;
    this.fitting.hidden = this.open.hidden = canvas.type !== "photo";
    this.fitting.value = canvas.fit ?? "crop";
    for (const [name, input] of Object.entries(this.groundColors)) {
      input.hidden = !(name in canvas) || (name === "background" && canvas.fit !== "letterbox");
      if (!input.hidden) input.value = asHex(canvas[name]);
    }
  }

  updateFields() {
    const { editor, fields } = this;
    if (document.activeElement !== fields.words) fields.words.value = editor.words;
    fields.words.disabled = !editor.wordy;
    for (const name of ["color", "width", "magnitude", "strength", "angle", "brush", "smooth"]) {
      const value = editor.property(name);
      const holder = name === "smooth" ? this.smoothLabel : fields[name];
      holder.hidden = value === undefined || (["magnitude", "strength", "angle"].includes(name) && !editor.selection.length);
      if (name === "smooth") fields.smooth.checked = Boolean(value);
      else if (!holder.hidden && document.activeElement !== fields[name]) fields[name].value = name === "color" ? asHex(value) : value;
    }
  }

  /** Show a sentence below the canvas; without one, what the tool does, and what is odd. */
  say(sentence, wrong = false) {
    const { editor } = this;
    const usual = editor.strangers ? t("strangers", { count: editor.strangers, task: taskTitle(editor.prompt.task, editor.info) }) : t(`how_${editor.tool}`);
    this.status.textContent = sentence || usual;
    this.status.title = this.status.textContent;
    this.status.classList.toggle("fio-error", wrong);
  }

  /** Do what a control asks for; what cannot be is said and leaves everything as it was. */
  attempt(act) {
    try {
      act();
      if (this.status.classList.contains("fio-error")) this.say("");
    } catch (error) {
      this.editor.draft = this.editor.live = null;
      this.update();
      this.say(error.message, true);
    }
  }

  choose(tool) {
    this.editor.choose(tool);
    this.stage.element.focus({ preventScroll: true });
  }

  // Pictures

  /** What the exact picture depends on. */
  key() {
    return JSON.stringify([this.editor.text, this.photo?.name, this.size(), this.font()]);
  }

  askForExact() {
    const { editor, photo } = this;
    if (!this.exactOn || editor.live || editor.unread !== null || (editor.prompt.canvas.type === "photo" && !photo?.image)) return this.renderer.drop();
    const key = this.key();
    if (this.exact?.key === key) return this.renderer.drop();
    this.renderer.want(key, { prompt: editor.text, picture: photo?.name ?? null, opaque: photo?.opaque ?? false, size: Math.min(this.size(), 1024), font: this.font() });
  }

  /** See which picture lies beneath now, and whether the graph was zoomed. */
  look() {
    if (!this.element.isConnected) return;
    const connected = connectedPicture(this.app, this.node, "image");
    const wanted = connected ?? (this.picture.get() ? { name: this.picture.get(), opaque: false } : null);
    const name = wanted?.name ?? null;
    const { width } = this.stage.element.getBoundingClientRect();
    if (width !== this.lastWidth) this.stage.redraw();
    this.lastWidth = width;
    const rest = JSON.stringify([this.size(), this.font()]);
    if (rest !== this.lastRest) this.askForExact();
    this.lastRest = rest;
    if (name === (this.photo?.name ?? null) && !wanted === (this.photo === null)) return;
    if (!name) {
      // Undefined: something is connected and has not shown its picture yet.
      this.photo = wanted ? undefined : null;
      this.update();
      return;
    }
    const image = new Image();
    this.photo = { name, opaque: wanted.opaque, image: null };
    image.onload = () => {
      if (this.photo?.name !== name) return;
      this.photo = { ...this.photo, image };
      this.update();
    };
    image.onerror = () => this.photo?.name === name && this.say(t("no_picture", { name }), true);
    image.src = viewURL(this.api, name);
  }

  /** Draw on a file's picture from now on. */
  async usePicture(file) {
    if (!file) return;
    if (!PICTURES.test(file.type)) return this.say(t("not_a_picture", { name: file.name }), true);
    try {
      this.picture.set(await upload(this.api, file));
    } catch (error) {
      return this.say(t("upload_failed", { error: error.message }), true);
    }
    if (this.editor.prompt.canvas.type !== "photo") this.editor.setCanvas({ type: "photo" });
    if (connectedPicture(this.app, this.node, "image")) this.say(t("connected_counts"));
    this.look();
  }

  onDrag(event) {
    const files = [...(event.dataTransfer?.items ?? [])].some(({ kind }) => kind === "file");
    if (!files) return;
    event.preventDefault();
    event.stopPropagation();
    this.area.classList.toggle("fio-drop", event.type === "dragenter" || event.type === "dragover");
    if (event.type === "drop") this.usePicture([...event.dataTransfer.files].find(({ type }) => PICTURES.test(type)) ?? event.dataTransfer.files[0]);
  }

  onClipboard(event) {
    event.stopPropagation();
    if (event.target === this.fields.words || event.target.type === "number") return;
    event.preventDefault();
    if (event.type === "paste") {
      const file = [...(event.clipboardData?.files ?? [])].find(({ type }) => PICTURES.test(type));
      if (file) this.usePicture(file);
      else this.paste(event.clipboardData?.getData("text/plain") || clipboard || "");
      return;
    }
    const copied = this.editor.copied();
    if (copied === null) return;
    clipboard = copied;
    event.clipboardData?.setData("text/plain", copied);
    if (event.type === "cut") this.editor.remove();
  }

  paste(text) {
    this.attempt(() => {
      const marks = this.language.parseMarks(text);
      if (marks) this.editor.paste(marks);
      else if (text.trim()) this.say(t("nothing_to_paste"), true);
    });
  }

  // Keyboard

  onKey(event) {
    const typing = ["INPUT", "TEXTAREA", "SELECT"].includes(event.target.tagName);
    if (event.key === "Escape" && typing) {
      this.stage.element.focus();
      event.stopPropagation();
      return;
    }
    const done = this.onCommand(event, typing) || (!typing && event.target === this.stage.element && this.onStageKey(event));
    // Keys for text are no keys for the graph; what nobody here knows is (Ctrl+Enter queues).
    if (done || typing) event.stopPropagation();
    if (done) event.preventDefault();
  }

  /** Keys that work on the whole node; whether this was one. */
  onCommand(event, typing) {
    if (!(event.ctrlKey || event.metaKey) || event.altKey) return false;
    const key = event.key.toLowerCase();
    const own = { z: () => (event.shiftKey ? this.editor.redo() : this.editor.undo()), y: () => this.editor.redo(), d: () => this.editor.duplicate(), a: () => this.editor.selectAll() };
    if (typing || !(key in own)) return false;
    this.attempt(own[key]);
    return true;
  }

  onStageKey(event) {
    const { editor, stage } = this;
    const { key, shiftKey, altKey, ctrlKey, metaKey } = event;
    const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
    if (arrow && !ctrlKey && !metaKey) {
      const [dx, dy] = arrow.map((step) => step * (shiftKey ? 10 : 1));
      this.attempt(() => (altKey ? this.stretch(dx, dy) : editor.selection.length ? editor.nudge(dx, dy) : stage.panBy([-dx * 0.02, -dy * 0.02])));
      return true;
    }
    if (ctrlKey || metaKey || altKey) return false;
    const acts = {
      Delete: () => editor.remove(),
      Backspace: () => editor.remove(),
      Enter: () => (editor.path ? finishPath(editor) : this.insert()),
      Escape: () => stage.cancel() || (editor.tool !== "select" ? editor.choose("select") : editor.select([])),
      "]": () => editor.step(1),
      "[": () => editor.step(-1),
      ".": () => editor.turn(5),
      ",": () => editor.turn(-5),
      "+": () => stage.zoomBy(1.25),
      "=": () => stage.zoomBy(1.25),
      "-": () => stage.zoomBy(1 / 1.25),
      0: () => stage.fit(),
      PageUp: () => editor.raise(1),
      PageDown: () => editor.raise(-1),
      " ": () => (stage.panning = true),
      F2: () => this.fields.words.focus(),
    };
    const tool = KEYS[key.toLowerCase()];
    if (tool) {
      if (editor.tools().includes(tool)) this.choose(tool);
      return true;
    }
    if (!Object.hasOwn(acts, key)) return false;
    this.attempt(acts[key]);
    return true;
  }

  /** Move the far end of what is selected: an arrow's tip, a frame's corner. */
  stretch(dx, dy) {
    const { editor } = this;
    if (!editor.selection.length) return;
    const by = [dx * UNIT, dy * UNIT];
    const [single] = editor.selected;
    const end = editor.selection.length === 1 ? ownHandles(single).findLast(([name]) => typeof name === "string") : null;
    if (end) return editor.change((mark) => withHandle(mark, end[0], [end[1][0] + by[0], end[1][1] + by[1]]), "stretch");
    const [left, top, right, bottom] = bounds(...editor.selected);
    const to = [left, top, Math.max(right + by[0], left + 4 * UNIT), Math.max(bottom + by[1], top + 4 * UNIT)];
    editor.change((mark) => resized(mark, [left, top, right, bottom], to), "stretch");
  }

  /** Put the tool's mark in the middle, for those who draw without a pointer. */
  insert() {
    const { editor } = this;
    if (editor.tool === "select") return this.fields.words.focus();
    const round = Array.from({ length: 25 }, (_, step) => [0.5 + 0.15 * Math.cos((step * Math.PI) / 12), 0.5 + 0.15 * Math.sin((step * Math.PI) / 12)]);
    const given = {
      box: { area: [0.35, 0.35, 0.65, 0.65] },
      marker: { start: [0.7, 0.3], tip: [0.5, 0.5] },
      force: { start: [0.4, 0.5], angle: 0 },
      wind: { center: [0.5, 0.5] },
      trajectory: { points: [[0.3, 0.6], [0.5, 0.45], [0.7, 0.5]] },
      erase: { points: [[0.4, 0.4], [0.6, 0.4], [0.6, 0.6], [0.4, 0.6]] },
      text: {},
    }[editor.tool];
    let mark = given ? { ...editor.fresh(editor.tool), ...given } : { type: "doodle", strokes: [{ ...editor.freshStroke(), points: round }] };
    // Not on top of the one before.
    const same = editor.prompt.marks.filter(({ type }) => type === mark.type).length;
    mark = moved(mark, [same * 12 * UNIT, same * 12 * UNIT]);
    editor.add(mark);
    editor.choose("select");
    editor.select([editor.prompt.marks.length - 1]);
  }
}

function make(tag, properties = {}, children = []) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function space() {
  return make("span", { className: "fio-space" });
}

/** A colour as the colour field wants it; named ones as the browser knows them. */
function asHex(color) {
  if (/^#[0-9a-f]{6}$/i.test(color)) return color;
  const context = (asHex.context ??= document.createElement("canvas").getContext("2d"));
  context.fillStyle = "#ffffff";
  context.fillStyle = color;
  return /^#[0-9a-f]{6}$/i.test(context.fillStyle) ? context.fillStyle : "#ffffff";
}
