/** The buttons, lists and fields around the drawing area. */

import { t, taskTitle } from "./translations.js";
import { icon } from "./style.js";

/** Each tool's key, in the order of the buttons. */
export const TOOL_KEYS = {
  v: "select",
  b: "box",
  m: "marker",
  f: "force",
  w: "wind",
  t: "trajectory",
  d: "doodle",
  x: "text",
  e: "erase",
};
const GROUNDS = ["photo", "solid", "gradient"];
const GROUND_COLORS = ["color", "start", "end", "background"];
const FITS = ["crop", "letterbox", "stretch"];
const DIRECTIONS = ["vertical", "horizontal"];
const BRUSHES = ["multiline", "round"];
/** Number fields with their limits and unit. */
const NUMBERS = {
  width: { min: 0.5, max: 256, step: 0.5, unit: "px" },
  magnitude: { min: 0.05, max: 9, step: 0.05, unit: "×" },
  strength: { min: 0.12, max: 11, step: 0.05, unit: "×" },
  angle: { min: -360, max: 360, step: 1, unit: "°" },
};
const OF_THE_SELECTED = ["magnitude", "strength", "angle"]; // for selected marks only: a drag sets those of new marks

export class Controls {
  /** `panel` has the editor, the stage and the background, and attempt(act), which shows the error if `act` throws. */
  constructor(panel) {
    this.panel = panel;
    this.head = bar([this.buildTask(), this.buildGround(), space(), ...this.buildViews()]);
    this.toolbar = bar([...this.buildTools(), space(), ...this.buildActions()]);
    this.toolbar.setAttribute("role", "group");
    this.toolbar.ariaLabel = t("tools");
    this.buildWords();
    this.fields = this.buildFields();
  }

  // Building

  button(name, act, key = "") {
    const button = make(
      "button",
      { type: "button", title: t(name) + (key && ` (${key.toUpperCase()})`), ariaLabel: t(name) },
      [icon(name)],
    );
    button.dataset.fio = name;
    if (key) button.setAttribute("aria-keyshortcuts", key.toUpperCase());
    button.onclick = () => this.panel.attempt(act);
    return leftAlone(button);
  }

  list(name, options, set) {
    const list = make("select", { ariaLabel: t(name), title: t(name) }, options);
    list.onchange = () => this.panel.attempt(() => set(list.value));
    return leftAlone(list);
  }

  color(name, set) {
    const input = make("input", { type: "color", ariaLabel: t(name), title: t(name) });
    input.oninput = () => this.panel.attempt(() => set(input.value));
    return input;
  }

  buildTask() {
    const { editor, language } = this.panel;
    const tasks = Object.entries(language.tasks).map(([task, info]) =>
      make("option", { value: task, textContent: taskTitle(task, info) }),
    );
    this.task = this.list("task", tasks, (task) => editor.setTask(task));
    return this.task;
  }

  /** The background of the canvas: a photo and its fit, or colours. */
  buildGround() {
    const { editor, background } = this.panel;
    this.ground = this.list("ground", optionsOf("ground", GROUNDS), (type) => editor.setCanvas({ type }));
    this.fit = this.list("fit", optionsOf("fit", FITS), (fit) => editor.setCanvas({ fit }));
    this.direction = this.list("direction", optionsOf("direction", DIRECTIONS), (direction) =>
      editor.setCanvas({ direction }),
    );
    this.file = make("input", { type: "file", accept: "image/*", hidden: true, ariaLabel: t("picture") });
    this.file.onchange = () => {
      if (this.file.files.length) background.store(this.file.files[0]);
      this.file.value = "";
    };
    this.picture = this.button("picture", () => this.file.click());
    this.groundColors = Object.fromEntries(
      GROUND_COLORS.map((name) => [name, this.color(`ground_${name}`, (value) => editor.setCanvas({ [name]: value }))]),
    );
    return bar([this.ground, this.fit, this.direction, this.picture, this.file, ...Object.values(this.groundColors)]);
  }

  buildActions() {
    const { editor } = this.panel;
    this.actions = Object.fromEntries(
      ["undo", "redo", "duplicate", "remove", "clear"].map((name) => [name, this.button(name, () => editor[name]())]),
    );
    return Object.values(this.actions);
  }

  buildTools() {
    this.tools = Object.fromEntries(
      Object.entries(TOOL_KEYS).map(([key, tool]) => [tool, this.button(tool, () => this.panel.choose(tool), key)]),
    );
    return Object.values(this.tools);
  }

  buildViews() {
    const { panel } = this;
    this.exact = this.button("exact", () => panel.showExact(!panel.exactOn));
    return [
      this.button("zoomOut", () => panel.stage.zoomBy(1 / 1.25)),
      this.button("whole", () => panel.stage.fit()),
      this.button("zoomIn", () => panel.stage.zoomBy(1.25)),
      this.exact,
    ];
  }

  buildWords() {
    const { panel } = this;
    this.words = make("textarea", {
      ariaLabel: t("words"),
      placeholder: t("words"),
      spellcheck: false,
      maxLength: 2000,
    });
    this.words.oninput = () => panel.attempt(() => panel.editor.setWords(this.words.value));
    this.asked = null; // the text at the moment askForWords() was called
    this.words.onblur = this.words.onpointerdown = () => (this.asked = null);
  }

  /** Focus the text field for the mark just drawn. Undo and Delete still act on the mark until something is typed. */
  askForWords() {
    this.words.focus({ preventScroll: true });
    this.words.select();
    this.asked = this.words.value;
  }

  buildFields() {
    const set = (name) => (value) => this.panel.editor.setProperty(name, value);
    this.properties = {
      color: this.color("color", set("color")),
      ...Object.fromEntries(Object.keys(NUMBERS).map((name) => [name, this.number(name, set(name))])),
      brush: this.list("brush", optionsOf("brush", BRUSHES), set("brush")),
      smooth: this.checkbox("smooth", set("smooth")),
    };
    return bar(Object.values(this.properties).map(holder));
  }

  number(name, set) {
    const { unit, ...limits } = NUMBERS[name];
    const input = make("input", { type: "number", ariaLabel: t(name), ...limits });
    input.oninput = () => {
      const value = Math.min(Math.max(input.valueAsNumber, limits.min), limits.max);
      if (Number.isFinite(value)) this.panel.attempt(() => set(value));
    };
    // While the user types, the field is not updated.
    input.onblur = () => this.updateProperties();
    make("label", { title: t(name) }, [input, unit]);
    return input;
  }

  checkbox(name, set) {
    const input = make("input", { type: "checkbox" });
    input.onchange = () => this.panel.attempt(() => set(input.checked));
    make("label", {}, [input, t(name)]);
    return input;
  }

  // Updating

  update() {
    const { editor, exactOn } = this.panel;
    this.task.value = editor.prompt.task;
    const offered = editor.tools();
    for (const [tool, button] of Object.entries(this.tools)) {
      button.hidden = !offered.includes(tool);
      button.ariaPressed = String(tool === editor.tool);
    }
    this.exact.ariaPressed = String(exactOn);
    this.updateActions();
    this.updateGround();
    this.updateWords();
    this.updateProperties();
  }

  updateActions() {
    const { editor } = this.panel;
    const idle = {
      undo: !editor.history.past.length,
      redo: !editor.history.future.length,
      duplicate: !editor.selection.length,
      remove: !editor.selection.length,
      clear: editor.bare,
    };
    // Not `disabled`, which would lose the keyboard focus.
    for (const [name, button] of Object.entries(this.actions)) button.ariaDisabled = String(idle[name]);
  }

  updateGround() {
    const { canvas } = this.panel.editor.prompt;
    this.ground.value = canvas.type;
    this.fit.hidden = this.picture.hidden = canvas.type !== "photo";
    this.fit.value = canvas.fit ?? FITS[0];
    this.direction.hidden = canvas.type !== "gradient";
    this.direction.value = canvas.direction ?? DIRECTIONS[0];
    for (const [name, input] of Object.entries(this.groundColors)) {
      input.hidden = !(name in canvas) || (name === "background" && canvas.fit !== "letterbox");
      if (!input.hidden) input.value = asHex(canvas[name]);
    }
  }

  updateWords() {
    const { editor } = this.panel;
    if (this.words.value !== editor.words) this.words.value = editor.words;
  }

  updateProperties() {
    const { editor } = this.panel;
    for (const [name, field] of Object.entries(this.properties)) {
      const value = editor.property(name);
      holder(field).hidden = value === undefined || (OF_THE_SELECTED.includes(name) && !editor.selection.length);
      if (value === undefined) continue;
      if (field.type === "checkbox") field.checked = value;
      else if (field.type === "color") field.value = asHex(value);
      else if (field.type !== "number") field.value = value;
      else if (document.activeElement !== field) field.value = Math.round(100 * value) / 100;
    }
  }
}

/** The label around a field, or the field itself without one. */
function holder(field) {
  return field.closest("label") ?? field;
}

export function make(tag, properties = {}, children = []) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** ComfyUI does not handle undo and redo if the target's type is "textarea", so that the canvas handles them itself. */
export function leftAlone(element) {
  Object.defineProperty(element, "type", { value: "textarea" });
  return element;
}

function optionsOf(name, values) {
  return values.map((value) => make("option", { value, textContent: t(`${name}_${value}`) }));
}

function bar(children) {
  return make("div", { className: "fio-bar" }, children);
}

function space() {
  return make("span", { className: "fio-space" });
}

/** A colour as #rrggbb, which colour fields need; the browser resolves CSS names. */
function asHex(color) {
  if (/^#[0-9a-f]{6}$/i.test(color)) return color;
  const context = (asHex.context ??= document.createElement("canvas").getContext("2d"));
  context.fillStyle = "#ffffff";
  context.fillStyle = color;
  return /^#[0-9a-f]{6}$/i.test(context.fillStyle) ? context.fillStyle : "#ffffff";
}
