/** What the canvas asks of the server: the exact picture of a prompt, and a place for a dropped picture. */

const PAUSE = 120; // ms without a change before a picture is asked for

/** Asks for the exact picture of the latest prompt, one request at a time. */
export class ExactPicture {
  /** `arrived(bitmap, key)` gets a picture, `failed(sentence, key)` why there is none. */
  constructor(api, arrived, failed) {
    Object.assign(this, { api, arrived, failed });
  }

  /** Want the picture of a request; `key` says what it is of. An earlier wish that was not answered yet is dropped. */
  want(key, request) {
    if (key === this.key) return;
    this.key = key;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.ask(key, request), PAUSE);
  }

  /** Want none. */
  drop() {
    clearTimeout(this.timer);
    this.controller?.abort();
    this.key = null;
  }

  async ask(key, request) {
    this.controller?.abort();
    const controller = (this.controller = new AbortController());
    try {
      const response = await this.api.fetchApi("/flowinone/render", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(request),
        signal: controller.signal,
      });
      if (response.status === 429) {
        this.timer = setTimeout(() => key === this.key && this.ask(key, request), 1000);
      } else if (response.ok) {
        const bitmap = await createImageBitmap(await response.blob());
        if (key === this.key) this.arrived(bitmap, key);
      } else {
        const { error } = await response.json().catch(() => ({ error: `${response.status} ${response.statusText}` }));
        if (key === this.key) this.failed(error, key);
      }
    } catch (error) {
      if (error.name !== "AbortError" && key === this.key) this.failed(String(error.message ?? error), key);
    }
  }
}

/** Put a picture into ComfyUI's input folder; its annotated name. Throws Error with a sentence. */
export async function upload(api, file) {
  const form = new FormData();
  form.append("image", file, file.name || "pasted.png");
  form.append("subfolder", "flowinone");
  const response = await api.fetchApi("/upload/image", { method: "POST", body: form });
  if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
  const { name, subfolder, type } = await response.json();
  return annotated({ filename: name, subfolder, type });
}

/** `folder/name.png [input]`, as ComfyUI's own widgets write it. */
export function annotated({ filename, subfolder = "", type = "output" }) {
  return `${subfolder ? `${subfolder}/` : ""}${filename} [${type}]`;
}

/** The address of an annotated name's picture. */
export function viewURL(api, name) {
  const [, path, type] = /^([^]*?)(?: \[(input|output|temp)\])?$/.exec(name);
  const cut = path.lastIndexOf("/");
  const query = new URLSearchParams({ filename: path.slice(cut + 1), subfolder: cut < 0 ? "" : path.slice(0, cut), type: type ?? "input" });
  return api.apiURL(`/view?${query}`);
}

/** The picture that a node's input shows now: {name, opaque}, null where nothing is connected, {} where nothing is known yet. */
export function connectedPicture(app, node, inputName) {
  const slot = node.inputs?.findIndex(({ name }) => name === inputName) ?? -1;
  let origin = slot >= 0 ? node.getInputNode(slot) : null;
  while (origin?.type === "Reroute") origin = origin.getInputNode(0);
  if (!origin) return slot >= 0 && node.inputs[slot].link != null ? {} : null;
  if (origin.comfyClass === "LoadImage") {
    const value = origin.widgets?.find(({ name }) => name === "image")?.value;
    return typeof value === "string" && value ? { name: value, opaque: true } : {};
  }
  const image = app.nodeOutputs?.[origin.id]?.images?.[0];
  if (image) return { name: annotated(image), opaque: true };
  const source = origin.imgs?.[0]?.src;
  const query = source ? new URL(source, location.href).searchParams : null;
  return query?.get("filename") ? { name: annotated({ filename: query.get("filename"), subfolder: query.get("subfolder") ?? "", type: query.get("type") ?? "output" }), opaque: true } : {};
}
