/** Shared by the canvas's tests: the prompt language from Python (in the file $FLOWINONE_LANGUAGE), and an editor. */

import { readFileSync } from "node:fs";
import { Editor } from "../../comfyui_flowinone/web/canvas/editor.js";
import { begin } from "../../comfyui_flowinone/web/canvas/gestures.js";
import { Language } from "../../comfyui_flowinone/web/canvas/prompt_language.js";

export const language = new Language(JSON.parse(readFileSync(process.env.FLOWINONE_LANGUAGE, "utf8")));

export function editorOf(task, tool) {
  const editor = new Editor(language, task, () => {});
  if (tool) editor.choose(tool);
  return editor;
}

/** Press at the first point, drag through the others and let go. */
export function drag(editor, points, keys = {}) {
  const gesture = begin(editor, points[0], keys, 0.01);
  for (const point of points.slice(1)) gesture.move(point, keys);
  gesture.end(points.at(-1), keys);
}

export function near(actual, expected, tolerance = 1e-3) {
  const pairs = [actual, expected].map((value) => [value].flat(Infinity));
  if (
    pairs[0].length !== pairs[1].length ||
    pairs[0].some((value, number) => Math.abs(value - pairs[1][number]) > tolerance)
  ) {
    throw new Error(`${JSON.stringify(actual)} is not near ${JSON.stringify(expected)}`);
  }
}
