/** The visual prompt language: tasks, mark types and their defaults, all as Python sends them with the node's schema.
 */

import { PromptError, check, defaultsOf, definitionsOf } from "./schema.js";

const MAX_CHARACTERS = 4_000_000; // of a document, the same limit as Python's

export class Language {
  /** `schema` and `tasks` as `flowinone.prompts.language` has them. */
  constructor({ schema, tasks, limits }) {
    this.schema = schema;
    this.tasks = tasks;
    this.limits = limits;
    this.marks = defaultsByKind(schema.properties.marks.items, schema);
    this.canvases = defaultsByKind(schema.properties.canvas, schema);
    this.stroke = defaultsOf(schema.$defs.Stroke, schema);
  }

  /** A prompt for a task without marks, but for the words that the task always says. */
  newPrompt(task) {
    const info = this.tasks[task];
    const prompt = {
      version: this.schema.properties.version.const,
      task,
      bypass: info.bypass,
      canvas: info.canvas,
      marks: [],
    };
    return info.instruction ? { ...prompt, marks: [this.words(task, info.instruction)] } : prompt;
  }

  /** The text mark of a task, where and how its words stand. */
  words(task, text) {
    const { area, role, valign, style } = this.tasks[task];
    return { ...this.marks.text, text, area, role, valign, style };
  }

  /** Parse a document's text and fill in all defaults. Throws PromptError. */
  parse(text) {
    if (text.length > MAX_CHARACTERS)
      throw new PromptError(`the prompt has ${text.length} characters; at most ${MAX_CHARACTERS} are accepted`);
    let document;
    try {
      document = JSON.parse(text);
    } catch (error) {
      throw new PromptError(`this is not a visual prompt: ${error.message}`);
    }
    if (document?.version > this.schema.properties.version.const) {
      throw new PromptError(
        `version ${document.version} was written by a newer FlowInOne; update the node pack to read it`,
      );
    }
    check(document, this.schema);
    const { version, task, bypass = false } = document;
    const canvas = { ...this.canvases[document.canvas.type], ...document.canvas };
    const marks = (document.marks ?? []).map((mark) => this.complete(mark));
    this.checkAmount(marks);
    return { version, task, bypass, canvas, marks };
  }

  /** The prompt in clipboard text, null if it has none. Throws PromptError for an invalid one. */
  parseCopied(text) {
    return /^\s*\{[^]*"(marks|canvas)"/.test(text.slice(0, 200_000)) ? this.parse(text) : null;
  }

  complete(mark) {
    const defaults = this.marks[mark.type];
    const whole = { ...defaults, ...mark };
    if (defaults.style) whole.style = { ...defaults.style, ...mark.style };
    if (mark.strokes) whole.strokes = mark.strokes.map((stroke) => ({ ...this.stroke, ...stroke }));
    return whole;
  }

  /** Throw PromptError if the marks exceed the limits. */
  checkAmount(marks) {
    const { marks: mostMarks, points: mostPoints, strokes: mostStrokes } = this.limits;
    const strokes = marks.flatMap((mark) => mark.strokes ?? []);
    const points = pointCount(marks);
    if (marks.length > mostMarks) throw new PromptError(`${marks.length} marks; at most ${mostMarks} are drawn`);
    if (strokes.length > mostStrokes)
      throw new PromptError(`${strokes.length} strokes; at most ${mostStrokes} are drawn`);
    if (points > mostPoints) throw new PromptError(`${points} points in all lines; at most ${mostPoints} are drawn`);
  }
}

export function pointCount(marks) {
  return marks.reduce(
    (sum, mark) =>
      sum + (mark.points?.length ?? 0) + (mark.strokes ?? []).reduce((all, { points }) => all + points.length, 0),
    0,
  );
}

/** A prompt as JSON, with numbers rounded to 4 digits: a twentieth of a pixel on a 512 px canvas. */
export function stringify(prompt) {
  return JSON.stringify(prompt, (key, value) =>
    typeof value === "number" && !Number.isInteger(value) ? Math.round(value * 1e4) / 1e4 : value,
  );
}

function defaultsByKind(choices, schema) {
  const kinds = Object.entries(definitionsOf(choices, schema));
  return Object.fromEntries(kinds.map(([kind, definition]) => [kind, defaultsOf(definition, schema)]));
}
