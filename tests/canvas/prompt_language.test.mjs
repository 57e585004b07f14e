import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { curve, hit, simplified } from "../../comfyui_flowinone/web/canvas/geometry.js";
import { stringify } from "../../comfyui_flowinone/web/canvas/prompt_language.js";
import { language } from "./prompts.mjs";

const documents = new URL("../fixtures/documents/", import.meta.url);
const base = { version: 1, task: "text_box", canvas: { type: "photo" } };

test("every document that Python wrote is read and written back the same", () => {
  const names = readdirSync(documents).filter((name) => name.endsWith(".json"));
  assert.ok(names.length >= 9);
  for (const name of names) {
    const text = readFileSync(new URL(name, documents), "utf8");
    const once = language.parse(text);
    assert.deepEqual(JSON.parse(stringify(once)), JSON.parse(stringify(JSON.parse(text))), name);
  }
});

test("what a document leaves out is filled in as Python does", () => {
  const box = { type: "box", area: [0, 0, 1, 1], style: { size: 40 } };
  const doodle = {
    type: "doodle",
    strokes: [
      {
        points: [
          [0, 0],
          [1, 1],
        ],
      },
    ],
  };
  const prompt = language.parse(JSON.stringify({ ...base, marks: [box, doodle] }));
  assert.equal(prompt.bypass, false);
  assert.equal(prompt.canvas.fit, "crop");
  assert.deepEqual([prompt.marks[0].style.size, prompt.marks[0].style.fill, prompt.marks[0].width], [40, "#ffffff", 3]);
  assert.equal(prompt.marks[1].strokes[0].brush, "multiline");
});

const hostile = {
  "no JSON": "{",
  "a list": "[]",
  nothing: "null",
  "an unknown task": JSON.stringify({ ...base, task: "fly" }),
  "an unknown field": JSON.stringify({ ...base, onload: "alert(1)" }),
  "a prototype": '{"version":1,"task":"text_box","canvas":{"type":"photo"},"__proto__":{"x":1}}',
  "an unknown mark": JSON.stringify({ ...base, marks: [{ type: "script", src: "x" }] }),
  "huge numbers": JSON.stringify({ ...base, marks: [{ type: "marker", start: [0, 0], tip: [1e300, 0] }] }),
  "numbers beyond all":
    '{"version":1,"task":"text_box","canvas":{"type":"photo"},"marks":[{"type":"marker","start":[0,0],"tip":[1e999,0]}]}',
  "text for numbers": JSON.stringify({ ...base, marks: [{ type: "marker", start: ["0", 0], tip: [1, 0] }] }),
  "too many marks": JSON.stringify({ ...base, marks: Array(201).fill({ type: "box", area: [0, 0, 1, 1] }) }),
  "too many points": JSON.stringify({
    ...base,
    marks: Array(2).fill({ type: "trajectory", points: Array(15_000).fill([0, 0]) }),
  }),
  "endless words": JSON.stringify({ ...base, marks: [{ type: "text", text: "x".repeat(3000) }] }),
};
for (const [name, text] of Object.entries(hostile)) {
  test(`${name} is refused with a sentence`, () => {
    assert.throws(
      () => language.parse(text),
      (error) => error.constructor.name === "PromptError" && error.message.length < 300,
    );
  });
}

test("a script in a label is a label", () => {
  const label = "<img src=x onerror=alert(1)>";
  const { marks } = language.parse(JSON.stringify({ ...base, marks: [{ type: "box", area: [0, 0, 1, 1], label }] }));
  assert.equal(marks[0].label, label);
});

test("a simplified line stays within its tolerance and keeps its ends", () => {
  const points = Array.from({ length: 500 }, (_, step) => [step / 500, 0.1 * Math.sin(step / 40)]);
  const few = simplified(points, 0.002);
  assert.ok(few.length < 60);
  assert.deepEqual([few[0], few.at(-1)], [points[0], points.at(-1)]);
  const mark = { type: "trajectory", points: few, width: 0 };
  assert.ok(points.every((point) => hit([mark], point, 0.0021) === 0));
});

test("a smooth curve goes through its points", () => {
  const points = [
    [0.1, 0.1],
    [0.4, 0.5],
    [0.5, 0.2],
    [0.9, 0.9],
  ];
  const line = { type: "trajectory", points: curve(points, 0.004), width: 0 };
  assert.ok(points.every((point) => hit([line], point, 1e-3) === 0));
  assert.ok(line.points.length > 100);
});
