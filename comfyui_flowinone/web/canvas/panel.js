/** The whole widget: drawing area, controls, the exact prompt image, and messages to the user. */

import { Background } from "./background.js";
import { Controls, leftAlone, make } from "./controls.js";
import { Editor } from "./editor.js";
import { bounds } from "./geometry.js";
import { Keyboard } from "./keyboard.js";
import { Pointers } from "./pointers.js";
import { ExactPicture } from "./server.js";
import { found, leave } from "./sessions.js";
import { Stage } from "./stage.js";
import { t, taskTitle } from "./translations.js";
import { addStyle } from "./style.js";
import { placeOf } from "./connections.js";

const FIRST_TASK = "text_box";
const POLL_INTERVAL = 400; // ms between two checks of the node's surroundings, which send no events
const MAX_EXACT_SIZE = 1024; // pixels

export class Panel {
  /** `picture` gets and sets the dropped photo's name; `size` and `font` get the node's widgets; `changed()` is called
   * on a new value.
   */
  constructor({ app, api, node, language, picture, size, font, changed }) {
    Object.assign(this, { app, api, node, language, size, font });
    addStyle();
    this.exactOn = true;
    this.exact = null; // {bitmap, prompt, rest}: the renderer's prompt image, with what it was made of
    this.wrong = false; // whether the message is an error
    this.editor = new Editor(language, FIRST_TASK, (what) => {
      if (what === "drawing") changed();
      this.update(what);
    });
    this.stage = new Stage(this.editor, () => this.view());
    this.background = new Background({
      app,
      api,
      node,
      editor: this.editor,
      picture,
      changed: () => this.update(),
      say: (...said) => this.say(...said),
    });
    this.pointers = new Pointers(this.stage, this.editor, {
      attempt: (act) => this.attempt(act),
      askForWords: () => this.controls.askForWords(),
      graph: () => app.canvas,
    });
    this.controls = new Controls(this);
    this.renderer = new ExactPicture(
      api,
      (bitmap, wish) => this.arrived(bitmap, wish),
      (sentence) => this.say(sentence, true),
    );
    this.build();
    new Keyboard(this);
    this.update();
    requestAnimationFrame(() => this.mount());
    this.timer = setInterval(() => this.look(), POLL_INTERVAL);
  }

  destroy() {
    clearInterval(this.timer);
    this.element.dataset.gone = "";
    this.renderer.drop();
    this.exact?.bitmap.close();
    this.stage.destroy();
    this.pointers.destroy();
    const { editor, stage, exactOn } = this;
    if (this.home) leave(...this.home, { steps: editor.steps, zoom: stage.zoom, middle: stage.middle, exactOn });
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
    this.resume();
  }

  /** Continue the session of the canvas that was here before, if it has the same drawing. */
  resume() {
    this.remember();
    const session = this.home && found(...this.home);
    if (!session || !this.editor.resume(session.steps)) return;
    this.exactOn = session.exactOn;
    Object.assign(this.stage, { zoom: session.zoom, middle: session.middle });
    this.update();
  }

  /** Remember the node's place, which is unknown once it is removed. */
  remember() {
    const { graph, id } = this.node;
    if (graph && Number(id) >= 0) this.home = [(graph.rootGraph ?? graph).id, placeOf(this.node)];
  }

  // The page

  build() {
    const canvas = leftAlone(this.stage.element);
    canvas.setAttribute("role", "application");
    this.hint = make("span");
    this.runHere = leftAlone(make("button", { type: "button", textContent: t("run_here"), onclick: () => this.run() }));
    this.asking = make("div", { className: "fio-hint" }, [this.hint, this.runHere]);
    this.area = make("div", { className: "fio-stage" }, [canvas, this.asking]);
    this.status = make("div", { className: "fio-status", role: "status" });
    this.spoken = make("div", { className: "fio-spoken", role: "status" });
    const { head, toolbar, words, fields } = this.controls;
    // An empty title keeps the node's tooltip off the drawing; in Nodes 2.0 a mouseleave event does.
    const parts = [head, toolbar, this.area, words, fields, this.status, this.spoken];
    this.element = make("div", { className: "fio", role: "group", title: "", ariaLabel: t("title") }, parts);
    this.element.addEventListener("mouseenter", () =>
      this.element.parentElement?.dispatchEvent(new MouseEvent("mouseleave")),
    );
    // A press on the widget must not reach the graph.
    this.element.addEventListener("pointerdown", (event) => event.stopPropagation());
    this.element.addEventListener("wheel", (event) => this.onWheel(event), { passive: false });
    this.element.dataset.captureWheel = "true"; // Nodes 2.0 handles the wheel itself otherwise
    for (const kind of ["dragenter", "dragover", "dragleave", "drop"])
      this.element.addEventListener(kind, (event) => this.onDrag(event));
  }

  /** The wheel zooms the drawing if the pointer is over it and the widget has the focus; otherwise, and with Ctrl, the
   * graph.
   */
  onWheel(event) {
    const { stage } = this;
    event.stopPropagation();
    if (event.target.scrollHeight > event.target.clientHeight && event.target !== stage.element) return;
    event.preventDefault();
    const own =
      event.target === stage.element &&
      this.element.contains(document.activeElement) &&
      !event.ctrlKey &&
      !event.metaKey;
    if (own && (event.deltaY < 0 || stage.zoom > 1)) stage.zoomBy(Math.exp(-event.deltaY / 240), stage.point(event));
    else this.app.canvas.processMouseWheel(event);
  }

  onDrag(event) {
    const { dataTransfer: transfer, type } = event;
    if (!transfer?.types.some((kind) => kind === "Files" || kind === "text/uri-list")) return;
    event.preventDefault();
    event.stopPropagation();
    this.area.classList.toggle("fio-drop", type === "dragenter" || type === "dragover");
    if (type === "drop" && !this.background.take(transfer))
      this.say(t("not_a_picture", { name: transfer.getData("text/uri-list") }), true);
  }

  /** Update the page after a change of the "drawing", the editor's "state", or a gesture's "motion". */
  update(what = "state") {
    this.stage.redraw();
    if (what === "motion") return this.editor.live && this.controls.updateProperties();
    const { editor } = this;
    this.controls.update();
    this.stage.element.ariaLabel = t("area", { count: editor.prompt.marks.length, selected: editor.selection.length });
    this.spoken.textContent = this.spokenSelection();
    const bare = editor.prompt.canvas.type === "photo" && !this.background.photo;
    this.asking.hidden = !bare;
    this.runHere.hidden = !this.background.waiting;
    this.hint.textContent = this.background.waiting ? t("hint_run") : t("hint_picture");
    if (!this.wrong) this.say("");
    this.askForExact();
  }

  /** The selection in words, for screen readers. */
  spokenSelection() {
    const { editor } = this;
    if (!editor.single) return editor.selection.length ? t("several_selected", { count: editor.selection.length }) : "";
    const [left, top, right, bottom] = bounds(editor.single);
    const [x, y] = [(left + right) / 2, (top + bottom) / 2].map((share) => Math.round(100 * share));
    const words = editor.single.text ?? editor.single.label ?? "";
    return t("one_selected", {
      kind: t(editor.single.type),
      number: editor.selection[0] + 1,
      count: editor.prompt.marks.length,
      x,
      y,
      words,
    });
  }

  /** Show a message below the canvas; without one, a warning about the marks, or how to use the tool. */
  say(sentence, wrong = false) {
    const { editor } = this;
    const warning =
      editor.untrainedMarks &&
      t("untrained", { count: editor.untrainedMarks, task: taskTitle(editor.prompt.task, editor.info) });
    this.wrong = wrong;
    this.status.textContent = sentence || warning || t(`how_${editor.tool}`);
    this.status.title = this.status.textContent;
    this.status.classList.toggle("fio-error", wrong);
  }

  /** Call `act`; if it throws, show the error and leave the drawing unchanged. */
  attempt(act) {
    try {
      act();
      if (this.wrong) this.say("");
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

  // Surroundings

  /** Check what sends no events: the node's place, the connected photo, the scale, size and font. */
  look() {
    this.remember();
    this.mount();
    if (!this.element.isConnected) return;
    this.background.look();
    const seen = `${this.stage.scale()} ${devicePixelRatio}`;
    if (seen !== this.seen) this.stage.redraw();
    this.seen = seen;
    this.askForExact();
  }

  /** Replace the element of a removed node of the same id, which Nodes 2.0 may keep showing after a graph is reloaded.
   */
  mount() {
    const old = !this.element.isConnected && document.querySelector(`[data-node-id="${this.node.id}"] .fio[data-gone]`);
    if (old) old.replaceWith(this.element);
  }

  /** Run the graph up to this node. */
  run() {
    this.app.canvas.deselectAll();
    this.app.canvas.select(this.node);
    this.app.extensionManager.command.execute("Comfy.QueueSelectedOutputNodes");
  }

  // The exact prompt image

  /** What a prompt image depends on apart from the prompt. */
  rest() {
    const { photo } = this.background;
    return JSON.stringify([photo?.name, photo?.opaque, this.size(), this.font()]);
  }

  view() {
    const exact = this.exactOn && this.exact?.rest === this.rest() ? this.exact : null;
    return { photo: this.background.photo?.image ?? null, exact };
  }

  showExact(on) {
    this.exactOn = on;
    this.update();
  }

  askForExact() {
    const { editor } = this;
    const { photo } = this.background;
    if (!this.exactOn || editor.live || editor.unread !== null || (editor.prompt.canvas.type === "photo" && !photo))
      return this.renderer.drop();
    const [rest, text] = [this.rest(), editor.text];
    if (this.exact?.prompt === editor.prompt && this.exact.rest === rest) return this.renderer.drop();
    const request = () => ({
      prompt: text,
      picture: photo?.name,
      opaque: photo?.opaque,
      size: Math.min(this.size(), MAX_EXACT_SIZE),
      font: this.font(),
    });
    this.renderer.want({ key: rest + text, prompt: editor.prompt, rest, request });
  }

  arrived(bitmap, { prompt, rest }) {
    this.exact?.bitmap.close();
    this.exact = { bitmap, prompt, rest };
    if (this.wrong && prompt === this.editor.prompt) this.say("");
    this.stage.redraw();
  }
}
