/** What the canvas asks of the server: the exact picture of a prompt, whether a prompt can be drawn, and a place for a dropped picture. */

const ROUTE = "/flowinone/render";
const PAUSE = 120; // ms without a change before a picture is asked for
const BUSY = 1000; // ms until a server that was busy is asked again
const SMALLEST = 64;

/** Asks for the exact picture of the latest wish, one request at a time. */
export class ExactPicture {
  /** `arrived(bitmap, wish)` gets a picture, `failed(sentence)` why there is none. */
  constructor(api, arrived, failed) {
    Object.assign(this, { api, arrived, failed });
    this.wish = null;
  }

  /** Want the picture of `wish`, whose `key` says what it is of and whose `request()` makes the request. An earlier wish is dropped. */
  want(wish) {
    if (wish.key === this.wish?.key) return;
    this.wish = wish;
    this.askIn(PAUSE);
  }

  /** Want none. */
  drop() {
    clearTimeout(this.timer);
    this.wish = null;
  }

  askIn(pause) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.ask(), pause);
  }

  async ask() {
    const { wish } = this;
    if (this.asking || !wish) return;
    this.asking = true;
    try {
      const response = await post(this.api, wish.request());
      if (response.status === 429) this.askIn(BUSY);
      else if (response.ok) this.arrive(await createImageBitmap(await response.blob()), wish);
      else if (wish === this.wish) this.failed(await sentence(response));
    } catch (error) {
      if (wish === this.wish) this.failed(error.message);
    } finally {
      this.asking = false;
      if (this.wish && wish !== this.wish) this.askIn(0);
    }
  }

  /** A picture of an earlier wish is better than none, as long as any is wanted. */
  arrive(bitmap, wish) {
    if (this.wish) this.arrived(bitmap, wish);
    else bitmap.close();
  }
}

/** Throw Error with a sentence where Python cannot draw a prompt; it checks more than the schema does. */
export async function checkOnServer(api, prompt) {
  const response = await post(api, { prompt: JSON.stringify({ ...prompt, canvas: { type: "solid" } }), size: SMALLEST });
  if (!response.ok) throw new Error(await sentence(response));
}

function post(api, request) {
  return api.fetchApi(ROUTE, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(request) });
}

async function sentence(response) {
  const { error } = await response.json().catch(() => ({}));
  return error ?? `${response.status} ${response.statusText}`;
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

/** The annotated name of a picture of this server, by its address; null for any other address. */
export function nameOfAddress(api, address) {
  if (!URL.canParse(address)) return null;
  const [url, view] = [new URL(address), new URL(api.apiURL("/view"), location.href)];
  if (!url.searchParams.get("filename") || url.origin !== view.origin || url.pathname !== view.pathname) return null;
  return annotated({ filename: "", type: "output", ...Object.fromEntries(url.searchParams) });
}

/** The address of an annotated name's picture. */
export function viewURL(api, name) {
  const [, path, type] = /^([^]*?)(?: \[(input|output|temp)\])?$/.exec(name);
  const cut = path.lastIndexOf("/");
  const query = new URLSearchParams({ filename: path.slice(cut + 1), subfolder: cut < 0 ? "" : path.slice(0, cut), type: type ?? "input" });
  return api.apiURL(`/view?${query}`);
}
