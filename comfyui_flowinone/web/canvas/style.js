/** The widget's style sheet, in the colours of ComfyUI's theme, and its icons. */

const STYLE = `
.fio { display: flex; flex-direction: column; gap: 4px; width: 100%; height: 100%; min-height: 0;
  box-sizing: border-box; overflow: hidden; user-select: none;
  color: var(--input-text, #ddd); font: 12px/1.3 Inter, system-ui, sans-serif; }
.fio-bar { display: flex; flex-wrap: wrap; gap: 3px; align-items: center; flex: none; min-height: 26px; }
.fio button, .fio select, .fio input, .fio textarea { box-sizing: border-box; min-height: 26px; margin: 0;
  color: inherit; font: inherit; background: var(--comfy-input-bg, #222);
  border: 1px solid var(--border-color, #4e4e4e); border-radius: 4px; }
.fio button { min-width: 26px; padding: 2px 4px; cursor: pointer;
  display: inline-flex; align-items: center; justify-content: center; }
.fio button:hover:not([aria-disabled=true]), .fio select:hover { border-color: var(--input-text, #ddd); }
.fio button[aria-pressed=true] { background: var(--p-primary-color, #3c7bd9); color: #fff; border-color: transparent; }
.fio button[aria-disabled=true] { opacity: 0.35; cursor: default; }
.fio :focus-visible { outline: 2px solid var(--p-primary-color, #3c7bd9); outline-offset: -2px; }
.fio svg { width: 18px; height: 18px; pointer-events: none;
  fill: none; stroke: currentColor; stroke-width: 1.7; stroke-linecap: round; stroke-linejoin: round; }
.fio select { padding: 2px; max-width: 130px; }
.fio label { display: inline-flex; gap: 2px; align-items: center; color: var(--descrip-text, #999); }
.fio input[type=number] { width: 56px; padding: 2px 0 2px 4px; color: var(--input-text, #ddd); }
.fio input[type=color] { width: 30px; padding: 1px; }
.fio textarea { flex: none; resize: none; padding: 4px 6px; height: 42px; user-select: text; }
.fio-space { flex: 1; }
.fio-stage { position: relative; flex: 1 1 auto; min-height: 120px; }
.fio-stage canvas { position: absolute; inset: 0; width: 100%; height: 100%; touch-action: none; border-radius: 4px; }
.fio-drop canvas { outline: 2px solid var(--p-primary-color, #3c7bd9); outline-offset: -2px; }
.fio-hint { position: absolute; inset: 20% 12%; display: flex; flex-direction: column; gap: 8px; align-items: center;
  justify-content: center; text-align: center; pointer-events: none;
  text-shadow: 0 0 4px #000, 0 0 4px #000; color: #fff; font-size: 14px; }
.fio-hint button { pointer-events: auto; padding: 4px 10px; color: var(--input-text, #ddd); text-shadow: none; }
.fio-status { flex: none; height: 2.6em; overflow: auto; color: var(--descrip-text, #999); user-select: text; }
.fio-status.fio-error { color: var(--error-text, #ff6b6b); }
.fio-spoken { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.fio [hidden] { display: none !important; }
`;

export function addStyle() {
  if (document.getElementById("flowinone-canvas-style")) return;
  const style = document.createElement("style");
  style.id = "flowinone-canvas-style";
  style.textContent = STYLE;
  document.head.append(style);
}

const PATHS = {
  select: "M6 3l12 9-6 1 4 7-3 1-3-7-4 4z",
  box: "M4 8h16v12H4zM4 4h9",
  marker: "M20 4L7 17M7 17v-7M7 17h7",
  force: "M5 18a1 1 0 1 0 .1 0M6 17L18 7M18 7h-7M18 7v7",
  wind: "M3 9h11a3 3 0 1 0-3-3M3 13h15a3 3 0 1 1-3 3M3 17h7",
  trajectory: "M4 19C8 6 13 20 20 5M4 19v.01",
  doodle: "M4 20l4-1L20 7l-3-3L5 16zM14 7l3 3",
  text: "M5 6V4h14v2M12 4v16M9 20h6",
  erase: "M9 20h11M4 14l8-9 7 6-8 9H8z",
  undo: "M9 14L4 9l5-5M4 9h9a6 6 0 0 1 0 12h-3",
  redo: "M15 14l5-5-5-5M20 9h-9a6 6 0 0 0 0 12h3",
  duplicate: "M9 9h11v11H9zM5 15H4V4h11v1",
  remove: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  clear: "M15 3l-3 7M8 10h8l2 4v6H5v-6zM5 14h13M9 20v-3M13 20v-3",
  zoomIn: "M11 4a7 7 0 1 0 .1 0M16 16l4 4M8 11h6M11 8v6",
  zoomOut: "M11 4a7 7 0 1 0 .1 0M16 16l4 4M8 11h6",
  whole: "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5",
  exact: "M2 12s4-7 10-7 10 7 10 7-4 7-10 7-10-7-10-7zM12 9a3 3 0 1 0 .1 0",
  picture: "M4 5h16v14H4zM4 16l5-5 4 4 3-2 4 4M15 9v.01",
};

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}
