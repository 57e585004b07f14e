/** Registers the widget of FlowInOne Canvas, which draws visual prompts, in ComfyUI's page. */

import { api } from "/scripts/api.js";
import { app } from "/scripts/app.js";
import { Language } from "./canvas/prompt_language.js";
import { Panel } from "./canvas/panel.js";
import { loadWords } from "./canvas/translations.js";

const SIZE = [460, 780]; // CSS pixels of a new node
const MIN_HEIGHT = 420; // CSS pixels of the widget

function makeCanvas(node, name, [, options]) {
  const other = (wanted) => node.widgets?.find((widget) => widget.name === wanted);
  let widget = null;
  const panel = new Panel({
    app,
    api,
    node,
    language: new Language(options.language),
    picture: { get: () => other("picture")?.value ?? "", set: (value) => (other("picture").value = value) },
    size: () => other("size")?.value ?? 512,
    font: () => other("font")?.value ?? null,
    changed: () => widget?.callback?.(widget.value),
  });
  // The type must be unknown to ComfyUI: Nodes 2.0 replaces widgets of its own types.
  widget = node.addDOMWidget(name, "flowinone_canvas", panel.element, {
    getValue: () => panel.value,
    setValue: (value) => (panel.value = value),
    getMinHeight: () => MIN_HEIGHT,
    hideOnZoom: false,
    margin: 6,
  });
  widget.flowinone = panel;
  // An image dropped on the rest of the node.
  node.onDragOver = ({ dataTransfer }) =>
    [...(dataTransfer?.items ?? [])].some(({ type }) => type.startsWith("image/"));
  node.onDragDrop = ({ dataTransfer }) => panel.background.take(dataTransfer);
  const removed = widget.onRemove;
  widget.onRemove = function () {
    removed?.call(this);
    panel.destroy();
  };
  return { widget, minWidth: SIZE[0], minHeight: SIZE[1] };
}

app.registerExtension({
  name: "FlowInOne.Canvas",
  async init() {
    await loadWords(api, app.extensionManager?.setting?.get("Comfy.Locale") ?? "en");
  },
  getCustomWidgets() {
    return { FLOWINONE_CANVAS: makeCanvas };
  },
  nodeCreated(node) {
    if (node.comfyClass !== "FlowInOneCanvas") return;
    const picture = node.widgets?.find(({ name }) => name === "picture");
    if (picture) picture.hidden = true;
  },
});
