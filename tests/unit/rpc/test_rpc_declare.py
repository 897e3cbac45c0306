"""Methods from the signatures of their handlers: what is declared, checked, handed over and shown."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, TypedDict

import pytest

from btcnode.primitives.units import KeyName, Unit
from btcnode.rpc.declare import (
    BY_NAME,
    NO_NULL,
    NOTHING,
    AnyNumber,
    Bits,
    Default,
    Elided,
    Hex,
    Hint,
    Label,
    Like,
    Named,
    Oneline,
    Otherwise,
    When,
    in_order,
    rpc,
)
from btcnode.rpc.errors import RpcError
from btcnode.rpc.given import ABSENT, Checked, Items, Lenient, Strict, Whole
from btcnode.rpc.jsonvalue import encode
from btcnode.rpc.method import Method
from btcnode.rpc.methods import every_method
from btcnode.rpc.records import AsJson, as_json
from btcnode.rpc.shapes import Arg, Kind, Result
from btcnode.services.utxo_fetch import FetchState


class Place(TypedDict):
    txid: Annotated[Hex, "Which"]
    n: Annotated[int, "Where"]
    amount: Annotated[NotRequired[AnyNumber], "How much"]
    quick: Annotated[bool, "How", Default(True), NO_NULL]


@rpc("testing")
def strictly(node: Any, place: Annotated[Strict[Place], BY_NAME] = NOTHING) -> int:
    """Take a place."""
    return 1


@rpc("testing")
def checked(node: Any, places: Items[Checked[Place]]) -> int:
    """Take places."""
    return 1


@rpc("testing")
def leniently(
    node: Any,
    items: Annotated[Items[str | Lenient[Place]], Otherwise(-8, "neither")],
    number: Annotated[Whole, Bits(-8)] = ABSENT,
) -> int:
    """Take places or names."""
    return 1


@rpc("testing")
def anything(node: Any, what: Annotated[Any, Like(int)], more: Annotated[Any, Like(int)] = 7, n: int = 1) -> int:
    """Take what comes."""
    return 1


@pytest.mark.parametrize("value", [True, 0, -1, 2**70, "x", [], {}])
def test_what_may_be_anything_is_given_as_it_came(value: Any) -> None:
    assert list(anything.bind([value, value, 2])) == [value, value, 2]
    assert list(anything.bind([value, None])) == [value, 7, 1]
    assert failure(anything.bind, [value, value, 2**31]) == (-1, "JSON integer out of range")
    assert list(anything.bind([None])) == [None, 7, 1]


GOOD = {"txid": "ab", "n": 3}


def failure(read: Any, *params: Any) -> tuple[int, str]:
    with pytest.raises(RpcError) as caught:
        read(*params)
    return caught.value.code, caught.value.message


def test_an_object_cannot_be_had_unchecked() -> None:
    for method, params in ((strictly, [GOOD]), (checked, [[GOOD]]), (leniently, [["a", GOOD]])):
        given = method.bind(params)[0]
        assert not isinstance(given, dict | list)
        assert not hasattr(given, "get")


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ({}, "Missing n"),  # in the order of the alphabet
        ({"n": 1}, "Missing txid"),
        ({"txid": 1, "n": "x"}, "JSON value of type string for field n is not of expected type number"),
        ({"txid": "ab", "n": 1, "y": 1, "x": 1}, "Unexpected key y"),
        ({"txid": "ab", "n": 1, "quick": None}, "JSON value of type null is not of expected type bool"),
        ({"txid": "ab", "n": 1, "quick": 0}, "JSON value of type number for field quick is not of expected type bool"),
    ],
)
def test_a_strict_object(place: dict[str, Any], message: str) -> None:
    assert failure(strictly.bind([place])[0].read) == (-3, message)


def test_what_is_read_of_objects() -> None:
    assert strictly.bind([GOOD])[0].read() == {"txid": "ab", "n": 3, "quick": True}
    assert failure(strictly.bind([])[0].read) == (-3, "Missing n")  # nothing given is read as {}
    (place,) = checked.bind([[{**GOOD, "y": 1, "quick": False}]])[0]
    assert place.read() == {"txid": "ab", "n": 3, "quick": False}
    assert failure(checked.bind([[{**GOOD, "n": 2**31}]])[0][0].read) == (-1, "JSON integer out of range")


def test_a_lenient_object_is_checked_member_by_member() -> None:
    name, place = leniently.bind([["a", {"n": "x", "quick": None, "y": 1}]])[0]
    members = place.read()
    assert name == "a" and list(members) == ["txid", "n", "quick"]
    assert "amount" not in members and members.get("amount") is None
    assert failure(members.get, "txid") == (-3, "JSON value of type null is not of expected type string")
    assert failure(members.get, "n") == (-3, "JSON value of type string is not of expected type number")
    assert failure(members.get, "quick") == (-3, "JSON value of type null is not of expected type bool")


def test_items_are_checked_one_by_one() -> None:
    items = leniently.bind([["a", 1, GOOD]])[0]
    assert len(items) == 3 and items[0] == "a" and items[:1] == ["a"]
    assert failure(lambda: items[1]) == (-8, "neither")
    assert failure(list, checked.bind([[None]])[0]) == (-3, "JSON value of type null is not of expected type object")
    assert failure(checked.bind, [{}])[0] == -3


def test_numbers_that_are_read_late() -> None:
    assert leniently.bind([[]])[1] is ABSENT
    assert leniently.bind([[], 255])[1].read() == 255
    assert failure(leniently.bind([[], 256])[1].read) == (-1, "JSON integer out of range")
    assert failure(leniently.bind, [[], "1"])[0] == -3


def test_every_object_and_array_argument_is_checked_but_these() -> None:
    """What is handed over as it came is checked by hand."""

    def raw(arg: Arg, path: str) -> list[str]:
        found = [path] if arg.any_type and arg.kind in (Kind.OBJ, Kind.DYN, Kind.ARR) else []
        return found + [name for part in arg.inner for name in raw(part, f"{path}.{part.name}")]

    found = {name for method in every_method() for arg in method.args for name in raw(arg, f"{method.name} {arg.name}")}
    assert found == {
        "createrawtransaction outputs",
        "createpsbt outputs",
        "bumpfee options.outputs",
        "fundrawtransaction options",
        "psbtbumpfee options.outputs",
        "send outputs",
        "walletcreatefundedpsbt outputs",
        "getblocktemplate template_request.capabilities",
        "getblocktemplate template_request.rules",
    }


class Short(TypedDict):
    a: Annotated[int, "First"]
    b: Annotated[NotRequired[list[Annotated[Hex, "One"]]], "Second"]


@rpc("testing", examples=())
def shown(
    node: Any,
    first: Annotated[Any, "Words", Like(int), Named("|one")] = 1,
    options: Annotated[Lenient[Place], BY_NAME] = NOTHING,
    last: Annotated[str | None, "More", Hint("none")] = None,
) -> (
    Annotated[dict[str, Annotated[Short, KeyName("key")]], When("if so")]
    | Annotated[Short, Elided("As above", "b"), When("if not")]
):
    """Show it."""
    return {}


HELP = """shown ( first {"txid":"hex","n":n,"amount":n,"quick":bool,...} "last" )

Show it.

Arguments:
1. first      (numeric, optional, default=1) Words
2. options    (json object, optional) Options, which may also be given by name (below).
3. last       (string, optional, default=none) More

Named Arguments:
txid      (string, required) Which
n         (numeric, required) Where
amount    (numeric, optional) How much
quick     (boolean, optional, default=true) How

Result (if so):
{                   (json object)
  "key" : {         (json object)
    "a" : n,        (numeric) First
    "b" : [         (json array, optional) Second
      "hex",        (string) One
      ...
    ]
  },
  ...
}

Result (if not):
{               (json object)
  ...,          As above
  "b" : [       (json array, optional) Second
    "hex",      (string) One
    ...
  ]
}
"""


def test_help() -> None:
    assert shown.help().split() == HELP.split()
    assert [len(line) for line in shown.help().splitlines()[:8]] == [len(line) for line in HELP.splitlines()[:8]]


def test_every_amount_in_a_result_says_its_unit() -> None:
    def amounts(result: Result) -> list[str]:
        own = [result.text] if result.kind is Kind.AMOUNT else []
        return own + [text for part in result.inner for text in amounts(part)]

    texts = [text for method in every_method() for result in method.results for text in amounts(result)]
    assert len(texts) > 100
    assert not [text for text in texts if "BTC" not in text]
    assert not [text for text in texts if "feerate" in text.lower() and "BTC/kvB" not in text]


def test_help_says_which_states_a_download_has() -> None:
    (method,) = (method for method in every_method() if method.name == "getchainstates")
    assert all(state.value in method.help() for state in FetchState)


class Lists(TypedDict):
    long: Annotated[list[Short], "Items", Elided("")]
    next: Annotated[int, "Next"]


class TakesStamp(TypedDict):
    stamp: Annotated[Any, "When", Oneline('time | "now"'), Label("integer / string")]


@rpc("testing", examples=())
def left_out(node: Any, options: Annotated[Lenient[TakesStamp], ""] = NOTHING) -> Lists:
    """Show what is not written out."""
    return {"long": [], "next": 1}


def test_items_that_are_not_written_out() -> None:
    words = " ".join(left_out.help().split())
    assert '{ "stamp": time | "now", (integer / string, required) When }' in words
    assert words.endswith('{ (json object) "long" : [ (json array) Items ... ], "next" : n (numeric) Next }')


class Record(TypedDict):
    id: Annotated[int, "Number"]
    fee: Annotated[int, Unit.SATOSHI, "Fee"]
    bits: Annotated[int, Unit.SERVICE_BITS, "Bits"]
    wait: Annotated[float | None, Unit.SECONDS, "Seconds"]
    heights: Annotated[tuple[Annotated[int, "Height"], ...], "Heights"]


@rpc("testing")
def recorded(node: Any) -> AsJson[Record]:
    """Tell a record."""
    return AsJson()


def test_records_are_results() -> None:
    record: Record = {"id": 1, "fee": 5, "bits": 9, "wait": 0.25, "heights": (1, 2)}
    text = b'{"id":1,"fee":0.00000005,"bits":"0000000000000009","wait":0.25,"heights":[1,2]}'
    assert encode(as_json(Record, record)) == text
    waiting: Record = {**record, "wait": None}
    for told in (record, waiting):
        assert recorded.mismatch(as_json(Record, told)) is None
    assert "wait" not in as_json(Record, waiting)
    (result,) = recorded.results
    assert [(part.key, part.kind, part.optional) for part in result.inner] == [
        ("id", Kind.NUM, False),
        ("fee", Kind.AMOUNT, False),
        ("bits", Kind.HEX, False),
        ("wait", Kind.REAL, True),
        ("heights", Kind.ARR, False),
    ]


def test_members_in_the_order_of_their_declaration() -> None:
    value: Short = {"b": [], "a": 1}
    assert list(in_order(Short, value)) == ["a", "b"]


def test_a_result_is_held_against_its_declaration() -> None:
    method: Method = shown
    assert method.mismatch({"k": {"a": 1}}) is None
    assert method.mismatch({"a": 1, "c": 2}) is not None
    assert method.mismatch({"k": {"b": ["00"]}})[0] == {"k": {"a": "key missing, despite not being optional in doc"}}
