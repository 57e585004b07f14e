/** Requests to the server: the exact prompt image, validation of a prompt, and upload of a dropped photo. */

const ROUTE = "/flowinone/render";
const DEBOUNCE = 120; // ms without a change before a prompt image is requested
const RETRY = 1000; // ms before a busy server is asked again
const MIN_SIZE = 64; // pixels, the smallest prompt image that the server renders

/** Requests the exact prompt image of the latest wish, one request at a time. */
export class ExactPicture {
  /** `arrived(bitmap, wish)` gets the image, `failed(sentence)` the reason if there is none. */
  constructor(api, arrived, failed) {
    Object.assign(this, { api, arrived, failed });
    this.wish = null;
  }

  /** Request the image of `wish`, which has a `key` that identifies it and a `request()`. It replaces an earlier wish.
   */
  want(wish) {
    if (wish.key === this.wish?.key) return;
    this.wish = wish;
    this.askIn(DEBOUNCE);
  }

  /** Drop the current wish. */
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
      if (response.status === 429) this.askIn(RETRY);
      else if (response.ok) this.arrive(await createImageBitmap(await response.blob()), wish);
      else if (wish === this.wish) this.failed(await sentence(response));
    } catch (error) {
      if (wish === this.wish) this.failed(error.message);
    } finally {
      this.asking = false;
      if (this.wish && wish !== this.wish) this.askIn(0);
    }
  }

  /** Also use the image of an earlier wish, which is better than none, as long as any is wanted. */
  arrive(bitmap, wish) {
    if (this.wish) this.arrived(bitmap, wish);
    else bitmap.close();
  }
}

/** Throw Error if the server rejects a prompt, which it checks more strictly than the schema does. */
export async function checkOnServer(api, prompt) {
  const response = await post(api, {
    prompt: JSON.stringify({ ...prompt, canvas: { type: "solid" } }),
    size: MIN_SIZE,
  });
  if (!response.ok) throw new Error(await sentence(response));
}

function post(api, request) {
  return api.fetchApi(ROUTE, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(request),
  });
}

async function sentence(response) {
  const { error } = await response.json().catch(() => ({}));
  return error ?? `${response.status} ${response.statusText}`;
}

/** Upload an image to ComfyUI's input folder. Returns its annotated name; throws Error. */
export async function upload(api, file) {
  const form = new FormData();
  form.append("image", file, file.name || "pasted.png");
  form.append("subfolder", "flowinone");
  const response = await api.fetchApi("/upload/image", { method: "POST", body: form });
  if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
  const { name, subfolder, type } = await response.json();
  return annotated({ filename: name, subfolder, type });
}

/** The annotated name `folder/name.png [input]` of an image, as ComfyUI's own widgets write it. */
export function annotated({ filename, subfolder = "", type = "output" }) {
  return `${subfolder ? `${subfolder}/` : ""}${filename} [${type}]`;
}

/** The annotated name of this server's image at an address; null for any other address. */
export function nameOfAddress(api, address) {
  if (!URL.canParse(address)) return null;
  const [url, view] = [new URL(address), new URL(api.apiURL("/view"), location.href)];
  if (!url.searchParams.get("filename") || url.origin !== view.origin || url.pathname !== view.pathname) return null;
  return annotated({ filename: "", type: "output", ...Object.fromEntries(url.searchParams) });
}

/** The address of the image with an annotated name. */
export function viewURL(api, name) {
  const [, path, type] = /^([^]*?)(?: \[(input|output|temp)\])?$/.exec(name);
  const cut = path.lastIndexOf("/");
  const query = new URLSearchParams({
    filename: path.slice(cut + 1),
    subfolder: cut < 0 ? "" : path.slice(0, cut),
    type: type ?? "input",
  });
  return api.apiURL(`/view?${query}`);
}
