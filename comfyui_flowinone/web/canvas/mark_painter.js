/** Draws marks on a 2D context, nearly as the renderer does: a preview until the renderer's own image arrives.
 *
 * The context is in units, 512 along the side of the canvas.
 */

import { curve, forceTip } from "./geometry.js";
import { contrasting } from "./contrast.js";

export const SIDE = 512;
// Lines drawn over each other, as fractions of the width.
const MULTILINE = [
  [7 / 7, "#000000"],
  [5 / 7, "#ffffff"],
  [3 / 7, "#000000"],
  [1 / 7, "#ffffff"],
];
const HEAD_SLIMNESS = 0.75; // half the width of an arrow head, relative to its length
const FACES = {
  serif: "Georgia, 'Times New Roman', serif",
  sans: "Arial, Helvetica, sans-serif",
  comic: "'Comic Sans MS', 'Comic Neue', cursive",
  mono: "'Courier New', monospace",
  condensed: "'Arial Narrow', 'Roboto Condensed', sans-serif",
};

const units = ([x, y]) => [x * SIDE, y * SIDE];

/** Paint the canvas without marks; `photo` is for a photo canvas, null while there is none. */
export function paintGround(context, canvas, photo) {
  if (canvas.type === "photo") {
    context.fillStyle = canvas.background;
    context.fillRect(0, 0, SIDE, SIDE);
    if (photo) paintPhoto(context, canvas.fit, photo);
    return;
  }
  if (canvas.type === "gradient") {
    const fill = context.createLinearGradient(0, 0, ...(canvas.direction === "vertical" ? [0, SIDE] : [SIDE, 0]));
    fill.addColorStop(0, canvas.start);
    fill.addColorStop(1, canvas.end);
    context.fillStyle = fill;
  } else {
    context.fillStyle = canvas.color;
  }
  context.fillRect(0, 0, SIDE, SIDE);
}

function paintPhoto(context, fit, photo) {
  const [width, height] = [photo.naturalWidth ?? photo.width, photo.naturalHeight ?? photo.height];
  if (fit === "stretch") return context.drawImage(photo, 0, 0, SIDE, SIDE);
  const scale = SIDE / (fit === "crop" ? Math.min(width, height) : Math.max(width, height));
  const [w, h] = [width * scale, height * scale];
  context.save();
  context.beginPath();
  context.rect(0, 0, SIDE, SIDE);
  context.clip();
  context.drawImage(photo, (SIDE - w) / 2, (SIDE - h) / 2, w, h);
  context.restore();
}

/** Paint a mark; automatic colours contrast with `ground`, an HTML canvas of the same size and position. */
export function paintMark(context, mark, ground = context.canvas) {
  context.save();
  context.lineCap = context.lineJoin = "round";
  PAINTERS[mark.type](context, mark, ground);
  context.restore();
}

const PAINTERS = {
  box: paintBox,
  text: paintText,
  marker: paintMarker,
  force: paintForce,
  wind: paintWind,
  trajectory: paintTrajectory,
  doodle: paintDoodle,
  erase: paintErase,
};

function trace(context, points) {
  context.beginPath();
  // lineTo() of an empty path starts it.
  for (const [x, y] of points) context.lineTo(x * SIDE, y * SIDE);
}

function stroke(context, points, width, color) {
  trace(context, points);
  context.lineWidth = width;
  context.strokeStyle = color;
  context.stroke();
}

function paintBox(context, mark, ground) {
  const [left, top, right, bottom] = mark.area.map((edge) => edge * SIDE);
  context.lineJoin = "miter";
  context.lineWidth = mark.width;
  context.strokeStyle = mark.color;
  context.strokeRect(left, top, right - left, bottom - top);
  if (mark.label) {
    const lines = wrapped(context, mark.label, mark.style, mark.style.size, SIDE - 8);
    const height = lines.length * mark.style.size * mark.style.pitch;
    const above = top - mark.style.outline_width - height;
    const widest = Math.max(...lines.map((line) => context.measureText(line).width));
    const middle = Math.min(Math.max((left + right) / 2, widest / 2 + 4), SIDE - widest / 2 - 4);
    letters(context, lines, mark.style, mark.style.size, middle, above >= 0 ? above : top + mark.width, ground);
  }
}

function paintText(context, mark, ground) {
  const [left, top, right, bottom] = mark.area.map((edge) => edge * SIDE);
  let { size } = mark.style;
  let lines = wrapped(context, mark.text, mark.style, size, right - left);
  while (lines.length * size * mark.style.pitch > bottom - top && size > mark.style.min_size) {
    size -= 1;
    lines = wrapped(context, mark.text, mark.style, size, right - left);
  }
  const height = lines.length * size * mark.style.pitch;
  const y = { top, middle: (top + bottom - height) / 2, bottom: bottom - height }[mark.valign];
  const x = { left, center: (left + right) / 2, right }[mark.style.align];
  letters(context, lines, mark.style, size, x, y, ground);
}

function wrapped(context, text, style, size, width) {
  context.font = `${style.bold ? "bold " : ""}${size}px ${FACES[style.face]}`;
  const lines = [];
  for (const paragraph of text.split("\n")) {
    let line = "";
    for (const word of paragraph.split(/\s+/)) {
      const longer = line ? `${line} ${word}` : word;
      if (line && context.measureText(longer).width > width) {
        lines.push(line);
        line = word;
      } else {
        line = longer;
      }
    }
    lines.push(line);
  }
  return lines;
}

function letters(context, lines, style, size, x, y, ground) {
  context.textAlign = style.align;
  context.textBaseline = "middle";
  const widest = Math.max(...lines.map((line) => context.measureText(line).width));
  const left = x - { left: 0, center: widest / 2, right: widest }[style.align];
  const { a: unit, e, f } = context.getTransform();
  const area = [
    e + left * unit,
    f + y * unit,
    e + (left + widest) * unit,
    f + (y + lines.length * size * style.pitch) * unit,
  ];
  const [fill, outline] = contrasting(style, ground, area);
  lines.forEach((line, number) => {
    const middle = y + (number + 0.5) * size * style.pitch;
    if (style.outline_width) {
      context.lineWidth = 2 * style.outline_width;
      context.strokeStyle = outline;
      context.strokeText(line, x, middle);
    }
    context.fillStyle = fill;
    context.fillText(line, x, middle);
  });
}

/** The middle of an arrow head's base, and its three corners, in units. */
function head(start, tip, length) {
  const whole = Math.hypot(tip[0] - start[0], tip[1] - start[1]) || 1;
  const along = [(tip[0] - start[0]) / whole, (tip[1] - start[1]) / whole];
  const reach = Math.min(length, 0.75 * whole);
  const half = reach * HEAD_SLIMNESS;
  const neck = [tip[0] - along[0] * reach, tip[1] - along[1] * reach];
  return {
    neck,
    corners: [
      tip,
      [neck[0] + along[1] * half, neck[1] - along[0] * half],
      [neck[0] - along[1] * half, neck[1] + along[0] * half],
    ],
  };
}

function arrow(context, start, tip, width, length, color, cap) {
  const { neck, corners } = head(start, tip, length);
  context.lineCap = cap;
  context.lineWidth = width;
  context.strokeStyle = context.fillStyle = color;
  context.beginPath();
  context.moveTo(...start);
  context.lineTo(...neck);
  context.stroke();
  context.beginPath();
  corners.forEach((corner) => context.lineTo(...corner));
  context.closePath();
  context.fill();
}

function paintMarker(context, mark) {
  arrow(context, units(mark.start), units(mark.tip), mark.width, mark.head, mark.color, "butt");
}

function paintForce(context, mark) {
  const [start, tip] = [units(mark.start), units(forceTip(mark))];
  arrow(context, start, tip, mark.width + 2, mark.head, mark.edge, "round");
  const { neck, corners } = head(start, tip, mark.head);
  const inner = corners.map(([x, y]) => [neck[0] + (x - neck[0]) * 0.85, neck[1] + (y - neck[1]) * 0.85]);
  context.lineWidth = mark.width;
  context.strokeStyle = context.fillStyle = mark.color;
  context.beginPath();
  context.moveTo(...start);
  context.lineTo(...neck);
  context.stroke();
  context.beginPath();
  inner.forEach((corner) => context.lineTo(...corner));
  context.fill();
}

function paintWind(context, mark) {
  context.translate(...units(mark.center));
  context.rotate((-mark.angle * Math.PI) / 180);
  const length = mark.strength * mark.scale * SIDE;
  context.lineWidth = mark.width;
  context.strokeStyle = mark.color;
  for (const [start, end, height, radius, side] of [
    [-0.4, 0.11, -0.1, 0.1, -1],
    [-0.5, 0.37, 0.02, 0.13, -1],
    [-0.36, 0.2, 0.14, 0.1, 1],
  ]) {
    context.beginPath();
    for (let step = 0; step <= 24; step++) {
      const along = step / 24;
      context.lineTo(
        (start + (end - start) * along) * length,
        (height + 0.03 * Math.sin(4 * Math.PI * along) * (1 - along * along)) * length,
      );
    }
    for (let step = 1; step <= 20; step++) {
      const turn = (1.45 * Math.PI * step) / 20;
      const shrinking = radius * (1 - (0.35 * step) / 20);
      context.lineTo(
        (end + shrinking * Math.sin(turn)) * length,
        (height + side * (radius - shrinking * Math.cos(turn))) * length,
      );
    }
    context.stroke();
  }
}

function paintTrajectory(context, mark) {
  stroke(context, mark.smooth ? curve(mark.points, 4 / SIDE) : mark.points, mark.width, mark.color);
}

function paintDoodle(context, mark) {
  for (const line of mark.strokes) {
    trace(context, line.points);
    const passes =
      line.brush === "round"
        ? [[line.width, line.color]]
        : MULTILINE.map(([share, color]) => [line.width * share, color]);
    for (const [width, color] of passes) {
      context.lineWidth = width;
      context.strokeStyle = color;
      context.stroke();
    }
  }
}

function paintErase(context, mark) {
  trace(context, mark.points);
  context.fillStyle = mark.color;
  context.fill("evenodd");
}
