/** The picture beneath the marks: what comes in through the wire, else what was dropped on the canvas. */

import { annotated, nameOfAddress, upload, viewURL } from "./server.js";
import { t } from "./strings.js";
import { connectedPicture, outputsOf } from "./wires.js";

const PICTURES = /^image\//;
const REPORT = "flowinone_background"; // what the node tells after a run

export class Background {
  /** `picture` gets and sets the dropped picture's annotated name; `changed()` is called after a change; `say(sentence, wrong)` tells the user. */
  constructor({ app, api, node, editor, picture, changed, say }) {
    Object.assign(this, { app, api, node, editor, picture, changed, say });
    this.photo = null; // {name, opaque, image}: what is shown
    this.wanted = null; // the name of what is to be shown
    this.waiting = false; // for a run, which will tell what is connected
    this.report = null;
  }

  /** See what lies beneath now. */
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

  /** The name of the picture that the node was given when it ran, as long as that is still the one. */
  reported({ origin, sure, name }) {
    const [own] = outputsOf(this.app, this.node)?.[REPORT] ?? [];
    if (sure || !own) return null;
    // A node that is wired or shows something else since then has not run since with what it has now.
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

  /** Draw on what was dropped or pasted, a file or a picture of this server's; whether it was anything of the kind. */
  take(transfer) {
    const files = [...transfer.files];
    const name = nameOfAddress(this.api, transfer.getData("text/uri-list"));
    if (files.length) this.store(files.find(({ type }) => PICTURES.test(type)) ?? files[0]);
    else if (name) this.lay(name);
    return Boolean(files.length || name);
  }

  async store(file) {
    if (!PICTURES.test(file.type)) return this.say(t("not_a_picture", { name: file.name }), true);
    try {
      this.lay(await upload(this.api, file));
    } catch (error) {
      this.say(t("upload_failed", { error: error.message }), true);
    }
  }

  lay(name) {
    this.picture.set(name);
    if (this.editor.prompt.canvas.type !== "photo") this.editor.setCanvas({ type: "photo" });
    this.look();
    if (connectedPicture(this.app, this.node, "image")) this.say(t("connected_counts"));
  }
}
