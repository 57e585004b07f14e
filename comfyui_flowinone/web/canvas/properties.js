/** Properties that the fields below the canvas edit (colour, width, strength …), with one name for all mark types. */

import { withLength } from "./geometry.js";

/** Properties that a tool keeps for its next mark. */
export const PEN_FIELDS = ["color", "width", "brush", "smooth"];

const OF_TEXT = { color: "fill", width: "size" };

/** A mark's property; undefined if its type lacks it. */
export function propertyOf(mark, name) {
  if (mark.type === "doodle") return mark.strokes[0][name];
  if (mark.type === "text") return mark.style[OF_TEXT[name]];
  return mark[name];
}

/** The mark with another value of a property; unchanged if its type lacks it. */
export function withProperty(mark, name, value) {
  if (propertyOf(mark, name) === undefined) return mark;
  if (mark.type === "doodle") return { ...mark, strokes: mark.strokes.map((stroke) => ({ ...stroke, [name]: value })) };
  if (mark.type === "text") return { ...mark, style: withSize({ ...mark.style, [OF_TEXT[name]]: value }) };
  if (name === "magnitude" || name === "strength") return withLength(mark, name, value);
  return { ...mark, [name]: value };
}

/** A new mark with the properties that its tool has kept. */
export function dressed(mark, pen) {
  return Object.entries(pen).reduce((dressedMark, [name, value]) => withProperty(dressedMark, name, value), mark);
}

function withSize(style) {
  return { ...style, min_size: Math.min(style.min_size, style.size) };
}
