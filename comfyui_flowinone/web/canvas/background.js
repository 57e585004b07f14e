/** The photo beneath the marks: the connected one, else the one dropped on the canvas. */

import { annotated, nameOfAddress, upload, viewURL } from "./server.js";
import { t } from "./translations.js";
import { connectedPicture, outputsOf } from "./connections.js";

const IMAGE_TYPES = /^image\//;
const REPORT = "flowinone_background"; // under this key the node's output names its photo after a run

export class Background {
  /** `picture` gets and sets the dropped photo's annotated name. `changed()` is called after a change. `say(sentence,
   * wrong)` shows a message.
   */
  constructor({ app, api, node, editor, picture, changed, say }) {
    Object.assign(this, { app, api, node, editor, picture, changed, say });
    this.photo = null; // {name, opaque, image}: the photo that is shown
    this.wanted = null; // the name of the photo that is loading or shown
    this.waiting = false; // whether the connected photo is unknown until a run
    this.report = null;
  }

  /** Update the photo if another one is connected or was dropped. */
  look() {
    const wired = connectedPicture(this.app, this.node, "image");
    const name = wired ? (this.reported(wired) ?? wired.name ?? null) : this.picture.get() || null;
    const waiting = Boolean(wired) && !name;
    if (name === this.wanted && waiting === this.waiting) return;
    Object.assign(this, { wanted: name, waiting });
    if (name) return this.show(name, Boolean(wired));
    this.photo = null;
    this.changed();
  }

  /** The name of the photo that the node got in its last run, unless the connection has changed since. */
  reported({ origin, sure, name }) {
    const [own] = outputsOf(this.app, this.node)?.[REPORT] ?? [];
    if (sure || !own) return null;
    // The report is outdated if the input has another source, or shows another image, than when the report arrived.
    if (own !== this.report?.own) this.report = { own, origin, name };
    return this.report.origin === origin && this.report.name === name ? annotated(own) : null;
  }

  show(name, opaque) {
    const image = new Image();
    image.onload = () => this.arrived(name, { name, opaque, image });
    image.onerror = () => {
      this.arrived(name, null);
      if (name === this.wanted) this.say(t("no_picture", { name }), true);
    };
    image.src = viewURL(this.api, name);
  }

  arrived(name, photo) {
    if (name !== this.wanted) return;
    this.photo = photo;
    this.changed();
  }

  /** Use a dropped or pasted photo, a file or an image of this server. Returns whether there was one. */
  take(transfer) {
    const files = [...transfer.files];
    const name = nameOfAddress(this.api, transfer.getData("text/uri-list"));
    if (files.length) this.store(files.find(({ type }) => IMAGE_TYPES.test(type)) ?? files[0]);
    else if (name) this.use(name);
    return Boolean(files.length || name);
  }

  async store(file) {
    if (!IMAGE_TYPES.test(file.type)) return this.say(t("not_a_picture", { name: file.name }), true);
    try {
      this.use(await upload(this.api, file));
    } catch (error) {
      this.say(t("upload_failed", { error: error.message }), true);
    }
  }

  /** Put a photo of ComfyUI's folders beneath the marks, by its annotated name. */
  use(name) {
    this.picture.set(name);
    if (this.editor.prompt.canvas.type !== "photo") this.editor.setCanvas({ type: "photo" });
    this.look();
    if (connectedPicture(this.app, this.node, "image")) this.say(t("connected_counts"));
  }
}
