/** Validates visual prompts against Python's JSON Schema (`flowinone schema`), and reads its defaults. */

/** An invalid visual prompt; the message names the field and is shown to the user. */
export class PromptError extends Error {}

const NAMES = { object: "an object", array: "a list", string: "text", number: "a number", boolean: "true or false" };

/** Throw PromptError for an invalid value. Supports only the keywords that Python's `json_schema()` writes. */
export function check(value, schema, root = schema, path = "") {
  const fail = (problem) => {
    throw new PromptError(path ? `${path}: ${problem}` : problem);
  };
  if (schema.$ref) return check(value, resolved(schema, root), root, path);
  if (schema.oneOf) {
    if (kindOf(value) !== "object") fail(`expected an object, not ${NAMES[kindOf(value)] ?? "nothing"}`);
    const kinds = schema.oneOf.map((option) => resolved(option, root));
    const kind = kinds.find((option) => option.properties.type.const === value.type);
    if (!kind) {
      const known = kinds.map((option) => option.properties.type.const).join(", ");
      fail(`type ${brief(value.type)} is unknown; choose one of ${known}`);
    }
    return check(value, kind, root, path);
  }
  if ("const" in schema && value !== schema.const) fail(`is ${brief(value)}; expected ${brief(schema.const)}`);
  if (schema.enum && !schema.enum.includes(value)) fail(`is ${brief(value)}; choose one of ${schema.enum.join(", ")}`);
  if (!schema.type) return;
  if (kindOf(value) !== schema.type) fail(`expected ${NAMES[schema.type]}, not ${NAMES[kindOf(value)] ?? "nothing"}`);
  if (schema.type === "number") {
    const { minimum = -Infinity, maximum = Infinity } = schema;
    if (!Number.isFinite(value) || value < minimum || value > maximum)
      fail(`is ${brief(value)}; expected ${minimum} to ${maximum}`);
  } else if (schema.type === "string") {
    if (value.length > (schema.maxLength ?? Infinity))
      fail(`has ${value.length} characters; at most ${schema.maxLength} are drawn`);
    if (value.length < (schema.minLength ?? 0)) fail("is empty");
  } else if (schema.type === "array") {
    if (value.length > (schema.maxItems ?? Infinity))
      fail(`has ${value.length} entries; at most ${schema.maxItems} are drawn`);
    if (value.length < (schema.minItems ?? 0))
      fail(`has ${value.length} entries; expected at least ${schema.minItems}`);
    value.forEach((item, number) => check(item, schema.items, root, `${path}[${number}]`));
  } else if (schema.type === "object") {
    const inner = (name) => (path ? `${path}.${name}` : name);
    for (const name of schema.required ?? []) {
      if (!Object.hasOwn(value, name)) throw new PromptError(`${inner(name)}: is missing`);
    }
    for (const name of Object.keys(value)) {
      if (!Object.hasOwn(schema.properties, name))
        throw new PromptError(`${inner(brief(name))}: is not a field of a visual prompt; remove it`);
      check(value[name], schema.properties[name], root, inner(name));
    }
  }
}

/** The defaults of a definition's optional fields, nested objects included. */
export function defaultsOf(definition, root) {
  const defaults = {};
  for (const [name, given] of Object.entries(definition.properties)) {
    const schema = resolved(given, root);
    if ("const" in schema) defaults[name] = schema.const;
    else if ("default" in given) defaults[name] = given.default;
    else if (schema.type === "object") defaults[name] = defaultsOf(schema, root);
  }
  return defaults;
}

/** The definitions of a `oneOf`, such as canvases or marks, by their `type`. */
export function definitionsOf(choices, root) {
  return Object.fromEntries(
    choices.oneOf.map((option) => resolved(option, root)).map((kind) => [kind.properties.type.const, kind]),
  );
}

function resolved(schema, root) {
  return schema.$ref ? root.$defs[schema.$ref.split("/").pop()] : schema;
}

function kindOf(value) {
  if (value === null || value === undefined) return "null";
  return Array.isArray(value) ? "array" : typeof value;
}

function brief(value) {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > 40 ? `${text.slice(0, 40)}…` : text;
}
