"""How ``btcnode-cli`` reads its arguments: which are JSON, which are text (``argument_table.py``)."""

from __future__ import annotations

from btcnode.cli.argument_table import ARGUMENTS
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.jsonvalue import decode_kept

TYPE_CHECKING = False  # that of typing, which btcnode-cli does without
if TYPE_CHECKING:
    from typing import Any


def argument_forms(method: str) -> list[tuple[list[str], str]]:
    """``(names, form)`` per argument, form being "", "json", "any" or "text"."""
    forms = []
    for word in ARGUMENTS.get(method, "").split():
        form, _, names = word.partition("+")[0].rpartition(":")
        forms.append((names.split("|"), form))
    return forms


def member_forms(method: str) -> dict[str, str]:
    """The form of every member that may be given by name."""
    words = [member for word in ARGUMENTS.get(method, "").split() for member in word.split("+")[1:]]
    parts = [word.rpartition(":") for word in words]
    return {name: form for form, _, name in parts}


def _convert(form: str, text: str) -> Any:
    """A word of the command line as a parameter; raises ValueError."""
    if form in ("", "text"):
        return text
    try:
        return decode_kept(text)
    except ValueError:
        if form == "any":
            return text
        raise ValueError(f"Error parsing JSON: {text}") from None


def positional_params(method: str, words: list[str]) -> list[Any]:
    """Parameters in order; raises ValueError."""
    forms = [form for _, form in argument_forms(method)]
    return [_convert(forms[n] if n < len(forms) else "", word) for n, word in enumerate(words)]


def named_params(method: str, words: list[str]) -> dict[str, Any]:
    """``name=value`` parameters, with those without a name gathered under "args"; raises ValueError.

    Names given twice count as given last, except "args" (RpcError, which a server would answer).
    A word with "=" whose first part names no argument is positional where that argument is JSON and the word is too, or
    where it is a text that may hold "=".
    """
    order = argument_forms(method)
    forms = {name: form for names, form in order for name in names} | member_forms(method)
    params: dict[str, Any] = {}
    positional: list[Any] = []
    for word in words:
        name, equals, value = word.partition("=")
        here = order[len(positional)][1] if len(positional) < len(order) else ""
        if not equals:
            positional.append(_convert(here, word))
        elif name not in forms and here == "json" and _is_json(word):
            positional.append(decode_kept(word))
        elif name not in forms and here == "text":
            positional.append(word)
        else:
            params[name] = _convert(forms.get(name, ""), value)
    if positional and "args" in params:
        raise RpcError(RpcCode.INVALID_PARAMETER, "Parameter args specified multiple times")
    if positional:
        params["args"] = positional
    return params


def _is_json(text: str) -> bool:
    try:
        decode_kept(text)
    except ValueError:
        return False
    return True
