/** What only the user sees: frames, handles, the rubber band, and strengths as numbers. */

import { forceTip, ownHandles, windEnd } from "./geometry.js";
import { turnHandle } from "./gestures.js";
import { SIDE } from "./mark_painter.js";

/** Draw on a context in units; `pixel` is a screen pixel in units, `zoom` the scale at which the canvas is shown. */
export function drawOverlay(context, editor, pixel, zoom) {
  context.save();
  context.lineWidth = pixel;
  if (editor.band) drawBand(context, editor.band);
  const frame = editor.frame();
  if (frame) drawFrame(context, editor.single, frame, pixel, zoom);
  for (const mark of [...editor.selected, editor.draft]) if (mark) drawStrength(context, mark, pixel);
  context.restore();
}

function drawBand(context, band) {
  const [left, top, right, bottom] = band.map((edge) => edge * SIDE);
  context.fillStyle = "rgba(80, 150, 255, 0.15)";
  context.strokeStyle = "#5599ff";
  context.fillRect(left, top, right - left, bottom - top);
  context.strokeRect(left, top, right - left, bottom - top);
}

function drawFrame(context, single, { box, handles, turnable }, pixel, zoom) {
  const own = single ? ownHandles(single) : [];
  const [left, top, right, bottom] = box.map((edge) => edge * SIDE);
  context.setLineDash([4 * pixel, 3 * pixel]);
  // Black and white dashes are visible on any photo.
  for (const [color, offset] of [
    ["#000", 0],
    ["#fff", 3.5],
  ]) {
    context.strokeStyle = color;
    context.lineDashOffset = offset * pixel;
    context.strokeRect(left, top, right - left, bottom - top);
  }
  context.setLineDash([]);
  if (turnable) drawHandle(context, turnHandle(box, zoom), pixel, true);
  if (!own.length || single.type === "erase") handles.forEach(([, at]) => drawHandle(context, at, pixel, false));
  own.forEach(([, at]) => drawHandle(context, at, pixel, true));
}

function drawHandle(context, [x, y], pixel, round) {
  const size = 4 * pixel;
  context.beginPath();
  if (round) context.arc(x * SIDE, y * SIDE, 1.25 * size, 0, 7);
  else context.rect(x * SIDE - size, y * SIDE - size, 2 * size, 2 * size);
  context.fillStyle = "#fff";
  context.strokeStyle = "#0066cc";
  context.fill();
  context.stroke();
}

function drawStrength(context, mark, pixel) {
  if (mark.type !== "force" && mark.type !== "wind") return;
  const [x, y] = mark.type === "force" ? forceTip(mark) : windEnd(mark);
  const text = `${(mark.magnitude ?? mark.strength).toFixed(2)}×`;
  context.font = `${12 * pixel}px sans-serif`;
  // On the side where there is room.
  context.textAlign = x > 0.85 ? "right" : "left";
  context.textBaseline = "middle";
  context.lineWidth = 3 * pixel;
  context.strokeStyle = "#000";
  context.fillStyle = "#fff";
  const left = x * SIDE + (x > 0.85 ? -12 : 12) * pixel;
  context.strokeText(text, left, y * SIDE);
  context.fillText(text, left, y * SIDE);
}
