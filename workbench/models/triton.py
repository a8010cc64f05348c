"""What a Triton ``config.pbtxt`` says: names, shapes and labels of a model's ports.

A reader of protobuf's text form, as much of it as such files use; protobuf's own needs the
schema, which Triton keeps to itself.

Source
------
https://github.com/triton-inference-server/common, ``protobuf/model_config.proto``; the text
form is specified at https://protobuf.dev/reference/protobuf/textformat-spec/.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

#: Deepest nesting that is read; Triton's own schema has about six levels.
_DEEPEST = 24
_TOKEN = re.compile(
    r"""\s+ | \#[^\n]* | (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    | (?P<mark>[{}\[\]<>:,;]) | (?P<word>[^\s{}\[\]<>:,;"'\#]+)""",
    re.VERBOSE,
)
_ENDS = {"{": "}", "<": ">"}


def parse(text: str) -> dict[str, list[Any]]:
    """Return the fields of a message in text form: each a list of values, in order.

    Raises
    ------
    ValueError : it is no such text; the message says where

    Examples
    --------
    >>> parse('name: "m" input [ { name: "x" dims: [ 3, 8 ] } ]')["input"][0]["dims"]
    [3, 8]
    """
    tokens: list[tuple[str, int]] = []
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise ValueError(f"line {text.count(chr(10), 0, at) + 1} cannot be read")
        if found.lastgroup:
            tokens.append((found[0], text.count("\n", 0, at) + 1))
        at = found.end()
    reader = _Reader(tokens)
    return reader.message("", 0)


class _Reader:
    """Goes through the tokens of a text once."""

    def __init__(self, tokens: list[tuple[str, int]]) -> None:
        self.tokens, self.at = tokens, 0

    def message(self, end: str, depth: int) -> dict[str, list[Any]]:
        if depth > _DEEPEST:
            raise ValueError(f"it is nested more than {_DEEPEST} deep")
        fields: dict[str, list[Any]] = {}
        while self.peek() != end:
            name = self.next("a field's name")
            if not re.fullmatch(r"[A-Za-z_]\w*", name):
                raise ValueError(f"line {self.line()}: {name!r} is no field's name")
            if self.peek() == ":":
                self.at += 1
            fields.setdefault(name, []).extend(self.values(depth))
            if self.peek() in (",", ";"):
                self.at += 1
        if end:
            self.at += 1
        return fields

    def values(self, depth: int) -> list[Any]:
        if self.peek() != "[":
            return [self.value(depth)]
        self.at += 1
        found: list[Any] = []
        while self.peek() != "]":
            found.append(self.value(depth))
            if self.peek() == ",":
                self.at += 1
        self.at += 1
        return found

    def value(self, depth: int) -> Any:
        token = self.next("a value")
        if token in _ENDS:
            return self.message(_ENDS[token], depth + 1)
        if token[0] in "\"'":
            parts = [token]
            while (following := self.peek())[:1] in ("'", '"') and following:
                parts.append(self.next("a string"))
            return "".join(re.sub(r"\\(.)", r"\1", part[1:-1]) for part in parts)
        if token in "{}[]<>:,;":
            raise ValueError(f"line {self.line()}: {token!r} where a value should be")
        try:
            return int(token, 0)
        except ValueError:
            return {"true": True, "false": False}.get(token, token)

    def peek(self) -> str:
        return self.tokens[self.at][0] if self.at < len(self.tokens) else ""

    def next(self, what: str) -> str:
        if self.at >= len(self.tokens):
            raise ValueError(f"it ends where {what} should be")
        self.at += 1
        return self.tokens[self.at - 1][0]

    def line(self) -> int:
        return self.tokens[self.at - 1][1]


def ports(config: Mapping[str, list[Any]]) -> dict[str, Any]:
    """Return what a parsed configuration says, in the words of the metadata.

    Returns
    -------
    some of ``input_name``, ``input_shape``, ``output_name``, and ``label_filename``; shapes
    with their batch axis
    """
    told: dict[str, Any] = {}
    inputs = [p for p in config.get("input", []) if isinstance(p, Mapping)]
    outputs = [p for p in config.get("output", []) if isinstance(p, Mapping)]
    batched = bool([n for n in config.get("max_batch_size", []) if isinstance(n, int) and n > 0])
    if len(inputs) == 1:
        entry = inputs[0]
        told |= _named("input_name", entry)
        reshaped = [r for r in entry.get("reshape", []) if isinstance(r, Mapping)]
        dims = (reshaped[0] if reshaped else entry).get("shape" if reshaped else "dims", [])
        if dims and all(type(d) is int and (d > 0 or d == -1) for d in dims):
            told["input_shape"] = [*([None] if batched else []),
                                   *(None if d == -1 else d for d in dims)]  # fmt: skip
    labelled = [p for p in outputs if p.get("label_filename")]
    chosen = labelled[:1] or (outputs if len(outputs) == 1 else [])
    if chosen:
        told |= _named("output_name", chosen[0])
        if listed := chosen[0].get("label_filename"):
            told["label_filename"] = str(listed[0])
    return told


def _named(field: str, port: Mapping[str, Any]) -> dict[str, Any]:
    names = [name for name in port.get("name", []) if isinstance(name, str) and name]
    return {field: names[0]} if names else {}
