import assert from "node:assert/strict";
import { test } from "node:test";
import { begin, dropPath } from "../../comfyui_flowinone/web/canvas/gestures.js";
import { drag, editorOf, language, near } from "./prompts.mjs";

const types = (editor) => editor.prompt.marks.map(({ type }) => type);

test("every task starts with its own canvas, words and tools", () => {
  for (const [task, info] of Object.entries(language.tasks)) {
    const editor = editorOf(task);
    assert.equal(editor.prompt.canvas.type, info.canvas.type);
    assert.equal(editor.prompt.bypass, info.bypass);
    assert.equal(editor.words, info.instruction);
    assert.deepEqual(new Set(editor.tools()), new Set(["select", ...info.marks]));
    assert.equal(language.parse(editor.text).task, task);
  }
});

test("a dragged box becomes a mark with the trained look, and its label is what is written next", () => {
  const editor = editorOf("text_box", "box");
  drag(editor, [
    [0.7, 0.6],
    [0.5, 0.5],
    [0.2, 0.3],
  ]);
  editor.setWords("put a ");
  editor.setWords("put a fox");
  const [box] = editor.prompt.marks;
  assert.deepEqual(box.area, [0.2, 0.3, 0.7, 0.6]);
  assert.equal(box.label, "put a fox");
  assert.equal(box.color, "#ff0000");
  editor.undo();
  assert.equal(editor.prompt.marks[0].label, "", "writing is one step");
  editor.undo();
  assert.deepEqual(types(editor), []);
});

test("a press without a drag makes no box and no arrow", () => {
  for (const [task, tool] of [
    ["text_box", "box"],
    ["visual_marker", "marker"],
    ["point_force", "force"],
    ["wind", "wind"],
  ]) {
    const editor = editorOf(task, tool);
    const before = editor.prompt;
    drag(editor, [
      [0.5, 0.5],
      [0.501, 0.5],
    ]);
    assert.equal(editor.prompt, before, tool);
  }
});

test("a force arrow's length is its strength and its angle counts counter-clockwise", () => {
  const editor = editorOf("point_force", "force");
  drag(editor, [
    [0.2, 0.8],
    [0.2, 0.8 - 109 / 512],
  ]);
  const force = editor.prompt.marks.at(-1);
  near([force.angle, force.magnitude], [90, 1], 0.01);
  editor.setProperty("magnitude", 2);
  assert.equal(editor.prompt.marks.at(-1).magnitude, 2);
  assert.deepEqual(editor.prompt.marks.at(-1).start, [0.2, 0.8]);
});

test("wind blows the way it is dragged, from end to end", () => {
  const editor = editorOf("wind", "wind");
  drag(editor, [
    [0.3, 0.5],
    [0.7, 0.5],
  ]);
  const wind = editor.prompt.marks.at(-1);
  near([...wind.center, wind.angle, wind.strength * wind.scale], [0.5, 0.5, 0, 0.4], 0.01);
});

test("shift keeps arrows to 15 degrees and boxes square, and the modifier snaps to the grid", () => {
  const marker = editorOf("visual_marker", "marker");
  drag(
    marker,
    [
      [0.5, 0.5],
      [0.8, 0.52],
    ],
    { shift: true },
  );
  near(marker.prompt.marks.at(-1).tip[1], 0.5);
  const box = editorOf("text_box", "box");
  drag(
    box,
    [
      [0.2, 0.2],
      [0.5, 0.4],
    ],
    { shift: true },
  );
  near(box.prompt.marks[0].area, [0.2, 0.2, 0.5, 0.5]);
  box.select([]);
  drag(
    box,
    [
      [0.21, 0.19],
      [0.52, 0.4],
    ],
    { snap: true },
  );
  near(
    box.prompt.marks[1].area,
    [7, 6, 17, 13].map((cell) => cell / 32),
  );
});

test("a path is drawn freehand through few points, or clicked together", () => {
  const editor = editorOf("trajectory", "trajectory");
  drag(
    editor,
    Array.from({ length: 200 }, (_, step) => [0.1 + step / 250, 0.5 + 0.2 * Math.sin(step / 30)]),
  );
  const drawn = editor.prompt.marks.at(-1);
  assert.equal(drawn.type, "trajectory");
  assert.ok(drawn.points.length > 3 && drawn.points.length < 40, `${drawn.points.length} points`);
  for (const point of [
    [0.1, 0.1],
    [0.4, 0.2],
    [0.8, 0.1],
  ])
    drag(editor, [point]);
  assert.equal(editor.path.points.length, 3);
  drag(editor, [[0.8, 0.1]]);
  assert.equal(editor.path, null);
  near(editor.prompt.marks.at(-1).points, [
    [0.1, 0.1],
    [0.4, 0.2],
    [0.8, 0.1],
  ]);
});

test("strokes that follow each other are one doodle, and choosing the tool again begins another", () => {
  const editor = editorOf("doodle", "doodle");
  drag(editor, [
    [0.1, 0.1],
    [0.3, 0.3],
  ]);
  drag(editor, [
    [0.3, 0.1],
    [0.1, 0.3],
  ]);
  assert.equal(editor.prompt.marks.at(-1).strokes.length, 2);
  editor.undo();
  assert.equal(editor.prompt.marks.at(-1).strokes.length, 1);
  editor.redo();
  editor.choose("doodle");
  drag(editor, [
    [0.6, 0.6],
    [0.8, 0.8],
  ]);
  assert.deepEqual(
    editor.prompt.marks.filter(({ type }) => type === "doodle").map(({ strokes }) => strokes.length),
    [2, 1],
  );
});

test("a region is erased by drawing around it", () => {
  const editor = editorOf("text_in_image", "erase");
  drag(
    editor,
    Array.from({ length: 60 }, (_, step) => [0.5 + 0.2 * Math.cos(step / 10), 0.5 + 0.2 * Math.sin(step / 10)]),
  );
  const region = editor.prompt.marks.at(-1);
  assert.equal(region.type, "erase");
  assert.ok(region.points.length >= 10);
});

test("marks are selected by their lines, by what they surround, and by a band around them", () => {
  const editor = editorOf("text_box", "box");
  drag(editor, [
    [0.1, 0.1],
    [0.9, 0.9],
  ]);
  drag(editor, [
    [0.3, 0.3],
    [0.5, 0.5],
  ]);
  editor.choose("select");
  drag(editor, [[0.4, 0.4]]);
  assert.deepEqual(editor.selection, [1], "the smaller of two around the point");
  drag(editor, [[0.1, 0.6]]);
  assert.deepEqual(editor.selection, [0], "the one whose edge is hit");
  drag(editor, [
    [0.02, 0.02],
    [0.99, 0.99],
  ]);
  assert.deepEqual(editor.selection, [0, 1]);
  drag(editor, [[0.02, 0.98]]);
  assert.deepEqual(editor.selection, []);
});

test("selected marks move and turn together, each drag one step", () => {
  const editor = editorOf("trajectory", "trajectory");
  editor.setWords("");
  drag(editor, [
    [0.2, 0.2],
    [0.3, 0.3],
    [0.2, 0.4],
    [0.4, 0.4],
  ]);
  const before = editor.prompt.marks[0].points;
  editor.choose("select");
  editor.selectAll();
  drag(editor, [before[1], [before[1][0] + 0.1, before[1][1]]]);
  editor.turn(90);
  editor.undo();
  editor.undo();
  assert.deepEqual(editor.prompt.marks[0].points, before);
});

test("turning a quarter four times leads back", () => {
  for (const task of ["visual_marker", "point_force", "wind", "trajectory", "doodle"]) {
    const editor = editorOf(task);
    drag(editor, [
      [0.4, 0.4],
      [0.5, 0.45],
      [0.6, 0.55],
    ]);
    const before = structuredClone(editor.prompt.marks);
    editor.selectAll();
    for (let quarter = 0; quarter < 4; quarter++) editor.turn(90);
    const flat = (marks) =>
      JSON.stringify(marks)
        .match(/-?\d+(\.\d+)?/g)
        .map(Number)
        .map((value) => value % 360);
    near(flat(editor.prompt.marks), flat(before), 0.01);
  }
});

test("a handle of a frame resizes what is in it, and shift keeps its proportions", () => {
  const editor = editorOf("text_box", "box");
  drag(editor, [
    [0.2, 0.2],
    [0.4, 0.4],
  ]);
  editor.choose("select");
  editor.selectAll();
  drag(editor, [
    [0.4, 0.4],
    [0.6, 0.5],
  ]);
  near(editor.prompt.marks[0].area, [0.2, 0.2, 0.6, 0.5]);
  drag(
    editor,
    [
      [0.6, 0.5],
      [0.8, 0.5],
    ],
    { shift: true },
  );
  near(editor.prompt.marks[0].area, [0.2, 0.2, 0.8, 0.65]);
});

test("an arrow's ends are dragged on their own", () => {
  const editor = editorOf("visual_marker", "marker");
  drag(editor, [
    [0.2, 0.2],
    [0.4, 0.4],
  ]);
  editor.choose("select");
  editor.select([editor.prompt.marks.length - 1]);
  drag(editor, [
    [0.4, 0.4],
    [0.8, 0.3],
  ]);
  near(
    [editor.prompt.marks.at(-1).start, editor.prompt.marks.at(-1).tip],
    [
      [0.2, 0.2],
      [0.8, 0.3],
    ],
  );
});

test("nudging in a row is one step, and duplicates do not hide each other", () => {
  const editor = editorOf("text_box", "box");
  drag(editor, [
    [0.2, 0.2],
    [0.4, 0.4],
  ]);
  const before = editor.prompt;
  editor.selectAll();
  for (let step = 0; step < 5; step++) editor.nudge(1, 0);
  near(editor.prompt.marks[0].area[0], 0.2 + 5 / 512);
  editor.undo();
  assert.equal(editor.prompt, before);
  editor.selectAll();
  editor.duplicate();
  editor.duplicate();
  const corners = editor.prompt.marks.map(({ area }) => area[0]);
  assert.equal(new Set(corners).size, 3);
});

test("marks travel to another canvas as text", () => {
  const [from, to] = [editorOf("text_box", "box"), editorOf("doodle", "doodle")];
  drag(from, [
    [0.2, 0.2],
    [0.4, 0.4],
  ]);
  from.selectAll();
  drag(to, [
    [0.6, 0.6],
    [0.8, 0.8],
  ]);
  to.paste(language.parseCopied(from.copied()));
  assert.deepEqual(to.prompt.marks.at(-1), from.prompt.marks[0]);
  assert.deepEqual([to.prompt.task, to.untrainedMarks], ["doodle", 1]);
  assert.equal(language.parseCopied("just words"), null);
});

test("a canvas without a drawing takes the pasted one's task over, and its ground where the own would not do", () => {
  const from = editorOf("text_in_image");
  from.setWords("make it snow");
  from.setCanvas({ fit: "stretch" });
  const [photo, plain] = [editorOf("visual_marker"), editorOf("text_to_image")];
  for (const to of [photo, plain]) to.paste(language.parse(from.text));
  assert.deepEqual(
    [photo.prompt.task, photo.words, photo.prompt.canvas.fit],
    ["text_in_image", "make it snow", "crop"],
  );
  assert.deepEqual(
    [plain.prompt.task, plain.prompt.bypass, plain.prompt.canvas.fit],
    ["text_in_image", false, "stretch"],
  );
  photo.undo();
  assert.equal(photo.prompt.task, "visual_marker");
});

test("another task brings its words, and leaves the user's own", () => {
  const editor = editorOf("doodle");
  drag(editor, [
    [0.1, 0.1],
    [0.3, 0.3],
  ]);
  editor.setTask("visual_marker");
  assert.equal(editor.words, language.tasks.visual_marker.instruction);
  assert.deepEqual(types(editor).sort(), ["doodle", "text"]);
  editor.setWords("Swap it with a cat.");
  editor.setTask("doodle");
  assert.equal(editor.words, "Swap it with a cat.");
  near(editor.prompt.marks.find(({ type }) => type === "text").style.size, language.tasks.doodle.style.size);
  editor.setTask("class_to_image");
  assert.equal(editor.prompt.canvas.type, "gradient");
  assert.equal(editor.prompt.bypass, true);
});

test("words can be emptied and written again", () => {
  const editor = editorOf("text_in_image");
  editor.setWords("m");
  editor.setWords("make it snow");
  assert.equal(editor.prompt.marks[0].text, "make it snow");
  editor.setWords("");
  assert.deepEqual(editor.prompt.marks, []);
  editor.undo();
  assert.equal(editor.words, "make it snow");
});

test("a value that cannot be read is kept, said, and given back as it was", () => {
  const editor = editorOf("text_box", "box");
  drag(editor, [
    [0.2, 0.2],
    [0.4, 0.4],
  ]);
  const before = editor.prompt;
  assert.throws(() => editor.load('{"version": 99}'), /newer FlowInOne/);
  assert.equal(editor.text, '{"version": 99}');
  assert.equal(editor.prompt, before);
  drag(editor, [
    [0.5, 0.5],
    [0.7, 0.7],
  ]);
  assert.equal(language.parse(editor.text).marks.length, 2);
});

test("an undo of the graph's shows another value, and this one's own undo leads back from it", () => {
  const editor = editorOf("text_box", "box");
  const empty = editor.text;
  drag(editor, [
    [0.2, 0.2],
    [0.4, 0.4],
  ]);
  const full = editor.text;
  editor.load(empty);
  assert.equal(editor.text, empty);
  editor.undo();
  assert.equal(editor.text, full);
});

test("more than can be drawn is refused and nothing is lost", () => {
  const editor = editorOf("doodle", "doodle");
  const many = Array.from({ length: 19_000 }, (_, step) => [
    ((step * 7919) % 1000) / 1000,
    ((step * 104729) % 1000) / 1000,
  ]);
  editor.addStroke({ ...editor.nextStroke(), points: many });
  const before = editor.prompt;
  assert.throws(() => editor.addStroke({ ...editor.nextStroke(), points: many }), /at most 20000/);
  assert.equal(editor.prompt, before);
});

test("a handle of what is selected works with every tool", () => {
  const editor = editorOf("text_box", "box");
  drag(editor, [
    [0.2, 0.2],
    [0.4, 0.4],
  ]);
  drag(editor, [
    [0.4, 0.4],
    [0.6, 0.5],
  ]);
  near(
    editor.prompt.marks.map(({ area }) => area),
    [[0.2, 0.2, 0.6, 0.5]],
  );
});

test("a press that slips by a hair moves nothing", () => {
  const editor = editorOf("text_box", "box");
  drag(editor, [
    [0.2, 0.2],
    [0.4, 0.4],
  ]);
  editor.choose("select");
  const before = editor.prompt;
  drag(editor, [
    [0.3, 0.3],
    [0.301, 0.3],
  ]);
  assert.equal(editor.prompt, before);
});

test("whatever is dragged, some of it stays on the canvas, and nothing becomes flat", () => {
  for (const task of ["text_box", "visual_marker", "point_force", "wind", "trajectory", "doodle"]) {
    for (const to of [
      [9, 0.5],
      [0.5, -9],
      [-9, 9],
    ]) {
      const editor = editorOf(task);
      drag(editor, [
        [0.3, 0.3],
        [0.5, 0.4],
        [0.6, 0.5],
      ]);
      const mark = editor.prompt.marks.length - 1;
      editor.choose("select");
      editor.select([mark]);
      for (const share of [0.5, 1]) {
        const { box } = editor.frame();
        drag(editor, [[box[0] + share * (box[2] - box[0]), box[1] + share * (box[3] - box[1])], to]);
        editor.select([mark]);
      }
      const [left, top, right, bottom] = editor.frame().box;
      assert.ok(left < 1 && top < 1 && right > 0 && bottom > 0, `${task} ${to}`);
      const { area } = editor.prompt.marks[mark];
      if (area)
        assert.ok(
          Math.min(area[2], 1) - Math.max(area[0], 0) > 1e-3 && Math.min(area[3], 1) - Math.max(area[1], 0) > 1e-3,
          `${area}`,
        );
    }
  }
});

test("clearing leads back to the words that the task starts with", () => {
  const editor = editorOf("visual_marker", "marker");
  drag(editor, [
    [0.2, 0.2],
    [0.4, 0.4],
  ]);
  editor.setWords("Swap it with a cat.");
  editor.clear();
  assert.equal(editor.words, language.tasks.visual_marker.instruction);
  assert.deepEqual(types(editor), ["text"]);
  assert.ok(editor.bare);
});

test("words that were deleted letter by letter come back where they stood", () => {
  const editor = editorOf("text_box", "text");
  drag(editor, [
    [0.1, 0.1],
    [0.4, 0.3],
  ]);
  const { area } = editor.prompt.marks[0];
  editor.setWords("a");
  editor.setWords("");
  assert.deepEqual(editor.prompt.marks, []);
  editor.setWords("b");
  assert.deepEqual([editor.prompt.marks[0].text, editor.prompt.marks[0].area, editor.selection], ["b", area, [0]]);
  editor.undo();
  assert.deepEqual(editor.prompt.marks, []);
  editor.undo();
  assert.equal(editor.prompt.marks[0].text, "a", "what was deleted can be had again");
});

test("a click with the text tool goes to words that are there", () => {
  const editor = editorOf("visual_marker", "text");
  drag(editor, [[0.5, 0.1]]);
  assert.deepEqual([types(editor), editor.selection], [["text"], [0]]);
  editor.choose("text");
  drag(editor, [
    [0.1, 0.1],
    [0.4, 0.3],
  ]);
  editor.choose("text");
  drag(editor, [[0.2, 0.2]]);
  assert.deepEqual([types(editor), editor.selection], [["text", "text"], [1]]);
});

test("sizes stay within what can be drawn, whatever is selected with them", () => {
  const editor = editorOf("text_box", "box");
  drag(editor, [
    [0.2, 0.2],
    [0.4, 0.4],
  ]);
  editor.choose("text");
  drag(editor, [
    [0.6, 0.6],
    [0.9, 0.9],
  ]);
  editor.selectAll();
  editor.setProperty("width", 200);
  assert.deepEqual([editor.prompt.marks[0].width, editor.prompt.marks[1].style.size], [64, 200]);
  editor.setProperty("width", 0.5);
  assert.deepEqual(
    [editor.prompt.marks[0].width, editor.prompt.marks[1].style.size, editor.prompt.marks[1].style.min_size],
    [0.5, 4, 4],
  );
});

test("copies of copies end somewhere", () => {
  const editor = editorOf("text_box", "box");
  drag(editor, [
    [0.2, 0.2],
    [0.4, 0.4],
  ]);
  for (let copy = 0; copy < 60; copy++) editor.duplicate();
  assert.equal(editor.prompt.marks.length, 61);
  assert.ok(editor.prompt.marks.every(({ area }) => area[0] < 1 && area[1] < 1));
});

test("an editor goes on with another's steps if it shows one of them", () => {
  const before = editorOf("doodle", "doodle");
  drag(before, [
    [0.1, 0.1],
    [0.3, 0.3],
  ]);
  const shown = before.text;
  drag(before, [
    [0.5, 0.1],
    [0.7, 0.3],
  ]);
  before.setProperty("width", 20);
  const after = editorOf("text_box");
  after.load(shown);
  assert.ok(after.resume(before.steps));
  assert.equal(after.text, shown);
  assert.equal(after.tool, "doodle");
  assert.equal(after.property("width"), 20);
  after.redo();
  assert.equal(after.prompt.marks.at(-1).strokes.length, 2);
  const other = editorOf("text_box");
  assert.equal(other.resume(before.steps), false);
  assert.equal(other.prompt.task, "text_box");
});

test("a path that is clicked together outlives another gesture, and can be dropped", () => {
  const editor = editorOf("trajectory", "trajectory");
  for (const point of [
    [0.1, 0.1],
    [0.4, 0.2],
  ])
    drag(editor, [point]);
  const gesture = begin(editor, [0.8, 0.8], {}, 0.01);
  gesture.move([0.9, 0.9], {});
  gesture.cancel();
  assert.equal(editor.path.points.length, 2);
  assert.equal(editor.draft.points.length, 2);
  assert.ok(dropPath(editor));
  assert.deepEqual([editor.path, editor.draft, types(editor)], [null, null, ["text"]]);
});

test("with a mark selected that has no words, the task's are written", () => {
  const editor = editorOf("visual_marker", "marker");
  drag(editor, [
    [0.2, 0.2],
    [0.4, 0.4],
  ]);
  assert.deepEqual(editor.selection, [1]);
  editor.setWords("Swap it with a cat.");
  assert.equal(editor.prompt.marks[0].text, "Swap it with a cat.");
  editor.setWords("");
  assert.deepEqual([types(editor), editor.selection], [["marker"], [0]]);
  editor.setWords("R");
  assert.deepEqual([types(editor), editor.selection, editor.words], [["text", "marker"], [1], "R"]);
});

test("one mark too many is refused, and what was selected still is", () => {
  const editor = editorOf("text_box", "box");
  drag(editor, [
    [0.2, 0.2],
    [0.4, 0.4],
  ]);
  editor.paste({ ...editor.prompt, marks: Array(199).fill(editor.prompt.marks[0]) });
  editor.select([3]);
  assert.throws(() => editor.add(editor.prompt.marks[0]), /at most 200/);
  assert.deepEqual([editor.prompt.marks.length, editor.selection], [200, [3]]);
  assert.ok(editor.frame());
});

test("the steps begin with what a file brings", () => {
  const saved = editorOf("doodle", "doodle");
  drag(saved, [
    [0.1, 0.1],
    [0.3, 0.3],
  ]);
  const editor = editorOf("text_box");
  editor.load(saved.text);
  editor.undo();
  assert.equal(editor.text, saved.text);
});
