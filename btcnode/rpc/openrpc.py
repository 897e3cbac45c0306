"""The OpenRPC document of the methods (https://spec.open-rpc.org, version 1.3), made from their declarations.

Parameters and results carry JSON Schema (draft 7). Aliases of a parameter stand in ``x-aliases``, the arguments with
which a result takes one of its forms in ``x-given``; hidden methods have the tag "hidden". Results in examples are made
up from the declaration: they show the form.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from btcnode import __version__
from btcnode.rpc.given import Strict
from btcnode.rpc.method import Method
from btcnode.rpc.shapes import Arg, Kind, Result

OPENRPC_VERSION = "1.3.2"

_TYPES: dict[Kind, dict[str, Any]] = {
    Kind.STR: {"type": "string"},
    Kind.HEX: {"type": "string", "format": "hex"},
    Kind.NUM: {"type": "number"},
    Kind.INT: {"type": "integer"},
    Kind.REAL: {"type": "number"},
    Kind.TIME: {"type": "integer"},
    Kind.AMOUNT: {"type": "number"},
    Kind.RANGE: {"type": ["integer", "array"], "items": {"type": "integer"}},
    Kind.BOOL: {"type": "boolean"},
    Kind.OBJ: {"type": "object"},
    Kind.DYN: {"type": "object"},
    Kind.ARR: {"type": "array"},
    Kind.NONE: {"type": "null"},
    Kind.ANY: {},
}
_SAMPLES: dict[Kind, Any] = {
    Kind.STR: "text",
    Kind.HEX: "00ff",
    Kind.NUM: 1,
    Kind.INT: 1,
    Kind.REAL: 0.5,
    Kind.TIME: 1_700_000_000,
    Kind.AMOUNT: 0.1,
    Kind.RANGE: 1,
    Kind.BOOL: True,
    Kind.NONE: None,
    Kind.ANY: "anything",
}


def _described(schema: dict[str, Any], text: str) -> dict[str, Any]:
    return {**schema, "description": text} if text else schema


def arg_schema(arg: Arg) -> dict[str, Any]:
    """The JSON Schema of a parameter, or of a member of one."""
    schema = dict(_TYPES[arg.kind])
    if arg.any_type or arg.kind is Kind.ANY:
        schema = {}
    elif arg.kind is Kind.AMOUNT:
        schema = {"type": ["number", "string"]}
    elif arg.kind is Kind.ARR and arg.inner:
        forms = [arg_schema(part) for part in arg.inner]
        schema["items"] = forms[0] if len(forms) == 1 else {"anyOf": forms}
    elif arg.kind is Kind.OBJ and arg.inner:
        schema["properties"] = {part.names[0]: arg_schema(part) for part in arg.inner}
        if arg.policy is Strict:
            schema["additionalProperties"] = False
        needed = [part.names[0] for part in arg.inner if not part.optional or part.told_required]
        if needed:
            schema["required"] = needed
    elif arg.kind is Kind.DYN and arg.inner:
        schema["additionalProperties"] = arg_schema(arg.inner[0])
    if arg.kind is Kind.INT and schema:
        low, high = (0, 1 << -arg.bits) if arg.bits < 0 else (-1 << arg.bits - 1, 1 << arg.bits - 1)
        schema |= {"minimum": low, "maximum": high - 1}
    if arg.optional and arg.default is not None:
        schema["default"] = arg.default
    return _described(schema, arg.text)


def result_schema(result: Result) -> dict[str, Any]:
    """The JSON Schema of a result, or of a part of one."""
    schema = dict(_TYPES[result.kind])
    inner = result.inner
    if result.kind is Kind.ARR and inner:
        schema["items"] = result_schema(inner[0]) if len(inner) == 1 else {"anyOf": [*map(result_schema, inner)]}
    elif result.kind is Kind.DYN and inner:
        schema["additionalProperties"] = result_schema(inner[0])
    elif result.kind is Kind.OBJ:
        schema["properties"] = {part.key: result_schema(part) for part in inner}
        schema["additionalProperties"] = False
        needed = [part.key for part in inner if not part.optional]
        if needed:
            schema["required"] = needed
    return _described(schema, result.text)


def sample(result: Result) -> Any:
    """A value as declared, to show the form."""
    inner = result.inner
    if result.kind is Kind.ARR:
        return [sample(part) for part in inner]
    if result.kind is Kind.DYN:
        return {part.key or "name": sample(part) for part in inner[:1]}
    if result.kind is Kind.OBJ:
        return {part.key: sample(part) for part in inner}
    return _SAMPLES[result.kind]


def _parameter(arg: Arg) -> dict[str, Any]:
    found: dict[str, Any] = {"name": arg.names[0]}
    if arg.text:
        found["description"] = arg.text
    found["required"] = not arg.optional
    found["schema"] = arg_schema(arg)
    if len(arg.names) > 1:
        found["x-aliases"] = arg.names[1:]
    if arg.hint:
        found["x-default"] = arg.hint
    return found


def _result(method: Method) -> dict[str, Any]:
    forms = []
    for result in method.results:
        schema = result_schema(result)
        if result.given:
            schema["x-given"] = {name: list(values) for name, values in result.given.items()}
        forms.append({"title": result.when, **schema} if result.when else schema)
    return {"name": "result", "schema": forms[0] if len(forms) == 1 else {"oneOf": forms} if forms else {}}


def method_object(method: Method) -> dict[str, Any]:
    """One method's part of the document."""
    result = {"name": "result", "value": sample(method.results[0]) if method.results else None}
    examples = []
    for number, example in enumerate(method.examples, 1):
        params = [{"name": arg.names[0], "value": value} for arg, value in zip(method.args, example, strict=False)]
        examples.append({"name": f"{method.name} {number}", "params": params, "result": result})
    found = {
        "name": method.name,
        "summary": method.text.strip().split("\n")[0],
        "description": method.text.strip(),
        "tags": [{"name": method.category}],
        "paramStructure": "either",
        "params": [_parameter(arg) for arg in method.args],
        "result": _result(method),
    }
    return {**found, "examples": examples} if examples else found


def document(methods: Iterable[Method]) -> dict[str, Any]:
    """The OpenRPC document of these methods, in order of their names."""
    return {
        "openrpc": OPENRPC_VERSION,
        "info": {
            "title": "btcnode JSON-RPC",
            "description": "A Bitcoin full node with Bitcoin Core's methods.",
            "version": __version__,
            "license": {"name": "MIT"},
        },
        "methods": [method_object(method) for method in sorted(methods, key=lambda method: method.name)],
    }
