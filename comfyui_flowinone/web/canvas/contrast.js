/** Black or white text, whichever contrasts with the background, chosen as Python does. */

const SIDE = 16; // pixels that an area is sampled at
const DARK = "#000000";
const LIGHT = "#ffffff";

let sample = null; // the context of a small canvas that colours are read from

/** Fill and outline of a style whose colours may be "auto"; `area` is left, top, right, bottom in pixels of the HTML
 * canvas `ground`.
 */
export function contrasting(style, ground, area) {
  const outline = style.outline === "auto" ? null : style.outline;
  let { fill } = style;
  if (fill === "auto") fill = opposite(outline && style.outline_width ? lightOf(outline) : lightIn(ground, area));
  return [fill, outline ?? opposite(lightOf(fill))];
}

/** Black or white, whichever has the higher contrast ratio with a relative luminance (WCAG 2.2). */
function opposite(light) {
  return (light + 0.05) / 0.05 >= 1.05 / (light + 0.05) ? DARK : LIGHT;
}

function lightOf(color) {
  return meanLight((context) => {
    context.fillStyle = color;
    context.fillRect(0, 0, SIDE, SIDE);
  });
}

function lightIn(ground, [left, top, right, bottom]) {
  return meanLight((context) =>
    context.drawImage(ground, left, top, Math.max(right - left, 1), Math.max(bottom - top, 1), 0, 0, SIDE, SIDE),
  );
}

/** Mean relative luminance, 0 to 1, of what `draw` draws. */
function meanLight(draw) {
  sample ??= Object.assign(document.createElement("canvas"), { width: SIDE, height: SIDE }).getContext("2d", {
    willReadFrequently: true,
  });
  sample.clearRect(0, 0, SIDE, SIDE);
  draw(sample);
  const { data } = sample.getImageData(0, 0, SIDE, SIDE);
  const share = [0.2126, 0.7152, 0.0722];
  let sum = 0;
  for (let pixel = 0; pixel < data.length; pixel += 4)
    share.forEach((weight, part) => (sum += weight * linear(data[pixel + part] / 255)));
  return sum / (SIDE * SIDE);
}

function linear(value) {
  return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
}
