"""Visual prompts as JSON documents: writing, reading, and the JSON Schema.

    {"version": 1, "task": "text_box", "bypass": false,
     "canvas": {"type": "photo", …},
     "marks": [{"type": "box", "area": [0.2, 0.3, 0.5, 0.6], "label": "put a blue jay", …}]}

Objects have the fields of the dataclasses in `spec`; canvases and marks also have a `type`. Fields with a default may
be left out. A `style` with some of its fields keeps the rest of its mark's default style. Written documents hold every
field, so that a prompt looks the same when defaults have changed. The photo is not part of the document.

Decoding does not use pydantic: it accepts repeated names and numbers of 400 digits, turns 1 into 1.0, has no partial
`style`, and describes paths and faults in its own words. Most of this code would remain to make up for that. Its JSON
Schema has keywords that the canvas, which checks documents too, does not know.
"""

import dataclasses
import difflib
import functools
import inspect
import json
import reprlib
import types
import typing
from collections.abc import Mapping, Sequence

from .checks import MAX_MARKS, MAX_POINTS, MAX_TEXT, PromptError, check_choice
from .spec import CANVAS_TYPES, MARK_TYPES, VERSION, VisualPrompt

MAX_CHARACTERS = 4_000_000
"""Limit of a document's text or bytes; every prompt within the other limits fits."""

_TYPES = {kind: name for name, kind in (CANVAS_TYPES | MARK_TYPES).items()}


def to_document(prompt: VisualPrompt) -> dict:
    """The document, made of dicts, lists, text and numbers."""
    return {"version": VERSION, "task": prompt.task, "bypass": prompt.bypass} | encoded(prompt)


def from_document(document: dict) -> VisualPrompt:
    """The prompt. Raises PromptError, which names the field, for anything but a valid document of this version."""
    try:
        _check_version(_checked(dict, document))
        return _decode_object({name: value for name, value in document.items() if name != "version"}, VisualPrompt)
    except PromptError as error:
        raise (error if error.field else error.within("document")) from None


def dumps(prompt: VisualPrompt, indent: int | None = None) -> str:
    """The document as JSON text."""
    return json.dumps(to_document(prompt), indent=indent, ensure_ascii=False, allow_nan=False)


def loads(text: str | bytes) -> VisualPrompt:
    """The prompt in JSON text, or its bytes in UTF-8. Raises PromptError as `from_document`, and for invalid JSON."""
    document = _parsed(text)
    if isinstance(document, list):
        raise PromptError("document", f"is a list of {len(document)}, the prompts of a batch; give one of them")
    return from_document(document)


def dumps_many(prompts: Sequence[VisualPrompt], indent: int | None = None) -> str:
    """The documents of several prompts as a JSON list, or one document if all prompts are the same."""
    if all(prompt == prompts[0] for prompt in prompts):
        return dumps(prompts[0], indent)
    return json.dumps([to_document(prompt) for prompt in prompts], indent=indent, ensure_ascii=False, allow_nan=False)


def loads_many(text: str | bytes, count: int) -> list[VisualPrompt]:
    """`count` prompts from JSON text that holds one document for all of them, or a list of that many.

    Raises PromptError as `loads`, and for a list of another length.
    """
    parsed = _parsed(text)
    if not isinstance(parsed, list):
        return [from_document(parsed)] * count
    if len(parsed) != count:
        raise PromptError(
            "document", f"is a list of {len(parsed)} for {count} pictures; give one, or one for each picture"
        )
    prompts = []
    for number, document in enumerate(parsed):
        try:
            prompts.append(from_document(document))
        except PromptError as error:
            raise error.within(f"[{number}]") from None
    return prompts


def _parsed(text: str | bytes) -> object:
    if len(text) > MAX_CHARACTERS:
        raise PromptError("document", f"has {len(text):,} characters; at most {MAX_CHARACTERS:,} are read")
    try:
        if not isinstance(text, str):
            text = text.decode("utf-8")
        return json.loads(text.removeprefix("\ufeff"), object_pairs_hook=_object, parse_int=_whole_number)
    except UnicodeDecodeError as error:
        raise PromptError("document", f"is not UTF-8 text (byte {error.start + 1:,}); save it as UTF-8") from None
    except json.JSONDecodeError as error:
        raise PromptError("document", f"is not JSON: {error.msg} (line {error.lineno}, column {error.colno})") from None
    except RecursionError:
        raise PromptError("document", "is nested too deeply; a visual prompt has seven levels") from None


def json_schema() -> dict:
    """The JSON Schema (draft 2020-12) of documents.

    It has the fields, types, choices, lengths and the bounds of positions. Reading also checks sizes, colours and the
    limits of the whole prompt.
    """
    definitions = {}
    schema = _object_schema(VisualPrompt, definitions)
    properties = {"version": {"const": VERSION}} | schema["properties"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "FlowInOne visual prompt",
        **schema,
        "properties": properties,
        "required": ["version", *schema["required"]],
        "$defs": dict(sorted(definitions.items())),
    }


def _check_version(document: dict) -> None:
    if "version" not in document:
        raise PromptError("version", f"is missing; this FlowInOne writes {VERSION}")
    version = document["version"]
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise PromptError("version", f"is {_called(version)}; expected a whole number from 1 to {VERSION}")
    if version > VERSION:
        raise PromptError("version", f"is {_called(version)}, written by a newer FlowInOne; update to read it")


class _Repeating(dict):
    """A JSON object with a repeated name, refused by `_checked`, whose caller knows the object's path."""


def _object(pairs: list[tuple[str, object]]) -> dict:
    result = dict(pairs)
    return result if len(result) == len(pairs) else _Repeating(result, repeated=_first_repeated(pairs))


def _first_repeated(pairs: list[tuple[str, object]]) -> str:
    seen = set()
    return next(name for name, _ in pairs if name in seen or seen.add(name))


def _whole_number(digits: str) -> int | float:
    # Python refuses to parse an int of thousands of digits; a float of them is a number out of bounds.
    return int(digits) if len(digits) <= 20 else float(digits)


def encoded(value: object) -> object:
    """A value of a prompt as JSON has it: objects with their `type`, tuples as lists."""
    if dataclasses.is_dataclass(value):
        fields = {field.name: encoded(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"type": _TYPES[type(value)], **fields} if type(value) in _TYPES else fields
    return [encoded(item) for item in value] if isinstance(value, tuple) else value


_hints = functools.cache(typing.get_type_hints)


def _decode(value: object, hint: object, default: object = None) -> object:
    """`value` as the type hint demands. Errors have paths relative to the value."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        return _decode_list(value, arguments)
    if origin is typing.Literal:
        check_choice("", _checked(str, value), hint)
        return value
    if origin in (typing.Union, types.UnionType):
        return _decode_one_of(value, {_TYPES[kind]: kind for kind in arguments})
    if dataclasses.is_dataclass(hint):
        return _decode_object(value, hint, default)
    return _checked(hint, value)


def _decode_list(value: object, items: tuple) -> tuple:
    given = _checked(list, value)
    if items[-1] is not Ellipsis:
        if len(given) != len(items):
            raise PromptError("", f"has {len(given):,} entries; expected {len(items)} numbers")
        hints = items
    else:
        most = _lengths(items[0])[1]
        if len(given) > most:
            raise PromptError("", f"has {len(given):,} entries; at most {most:,} are drawn")
        hints = items[:1] * len(given)
    result = []
    for item, hint in zip(given, hints):
        try:
            result.append(_decode(item, hint))
        except PromptError as error:
            raise error.within(f"[{len(result)}]") from None
    return tuple(result)


def _decode_one_of(value: object, kinds: dict[str, type]) -> object:
    given = dict(_checked(dict, value))
    if "type" not in given:
        raise PromptError("type", f"is missing; choose one of {', '.join(kinds)}")
    name = given.pop("type")
    if not isinstance(name, str) or name not in kinds:
        raise PromptError("type", f"is {_called(name)}; choose one of {', '.join(kinds)}")
    return _decode_object(given, kinds[name])


def _decode_object(value: object, kind: type, default: object = None) -> object:
    """An instance of the dataclass `kind`; fields that `value` leaves out are `default`'s, or else the class's."""
    fields = {field.name: field for field in dataclasses.fields(kind)}
    given = {}
    for name, part in _checked(dict, value).items():
        if name not in fields:
            raise PromptError(_path(name), f"is not a field here; {_nearest(name, fields)}")
        try:
            given[name] = _decode(part, _hints(kind)[name], fields[name].default)
        except PromptError as error:
            raise error.within(name) from None
    if dataclasses.is_dataclass(default):
        return dataclasses.replace(default, **given)
    for name, field in fields.items():
        if name not in given and field.default is dataclasses.MISSING:
            raise PromptError(name, "is missing")
    return kind(**given)


_EXPECTED = {dict: "an object", list: "a list", str: "text", bool: "true or false", float: "a number"}


def _checked(kind: type, value: object) -> object:
    """`value`, if it is what JSON has for `kind`: an int is a number too, a bool is not, and a tuple is a list."""
    if isinstance(value, _Repeating):
        raise PromptError(_path(value["repeated"]), "appears twice in one object; keep one")
    fitting = {list: (list, tuple), float: (float, int)}.get(kind, kind)
    if not isinstance(value, fitting) or (isinstance(value, bool) and kind is not bool):
        raise PromptError("", f"is {_called(value)}; expected {_EXPECTED[kind]}")
    if kind is float and isinstance(value, int) and value.bit_length() > 64:
        raise PromptError("", f"is {_called(value)}; expected a number within bounds")
    return value


def _called(value: object) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, int) and value.bit_length() > 64:
        return "a huge number"
    if isinstance(value, (str, int, float)):
        return reprlib.repr(value)
    return {dict: "an object", list: "a list", tuple: "a list"}.get(type(value), f"a Python {type(value).__name__}")


def _path(name: object) -> str:
    return name if isinstance(name, str) and name.isidentifier() and len(name) <= 40 else f"[{_called(name)}]"


def _nearest(name: object, fields: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(name, fields, 1) if isinstance(name, str) and len(name) <= 40 else []
    return f"did you mean {near[0]}?" if near else f"the fields are {', '.join(fields)}"


def _lengths(item: object) -> tuple[int, int]:
    """The least and greatest length of a list of points, strokes or marks."""
    if typing.get_origin(item) is tuple:
        return 2, MAX_POINTS
    return (1, MAX_POINTS // 2) if dataclasses.is_dataclass(item) else (0, MAX_MARKS)


def _object_schema(kind: type, definitions: dict) -> dict:
    properties, required = {}, []
    if kind in _TYPES:
        properties["type"] = {"const": _TYPES[kind]}
        required.append("type")
    for field in dataclasses.fields(kind):
        properties[field.name] = _schema(_hints(kind)[field.name], definitions)
        if field.default is dataclasses.MISSING:
            required.append(field.name)
            if properties[field.name].get("type") == "string":
                properties[field.name]["minLength"] = 1
        else:
            properties[field.name]["default"] = encoded(field.default)
    return {
        "description": " ".join(inspect.getdoc(kind).partition("\n\n")[0].split()),
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _schema(hint: object, definitions: dict) -> dict:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple and arguments[-1] is Ellipsis:
        least, most = _lengths(arguments[0])
        return {"type": "array", "items": _schema(arguments[0], definitions), "minItems": least, "maxItems": most}
    if origin is tuple:
        # All lists of a fixed length, points and areas, are positions on the canvas.
        position = {"type": "number", "minimum": -1, "maximum": 2}
        return {"type": "array", "items": position, "minItems": len(arguments), "maxItems": len(arguments)}
    if origin is typing.Literal:
        return {"enum": list(arguments)}
    if origin in (typing.Union, types.UnionType):
        return {"oneOf": [_schema(kind, definitions) for kind in arguments]}
    if dataclasses.is_dataclass(hint):
        if hint.__name__ not in definitions:
            definitions[hint.__name__] = _object_schema(hint, definitions)
        return {"$ref": f"#/$defs/{hint.__name__}"}
    if hint is str:
        return {"type": "string", "maxLength": MAX_TEXT}
    return {"type": {bool: "boolean", float: "number"}[hint]}
