"""Which differences between two answers count, and of what kind they are."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from btcnode.descriptors.psbt_stream import parse_stripped
from btcnode.wire.codec import Reader

from .setup import tips_in_order
from .text import Number, Tree, parse, write

MISSING = "(missing)"
NO_MAP = "No embedded ASMap data available"  # none ships with the package
TEST_BUILD = "This is a pre-release test build - use at your own risk - do not use for mining or merchant applications"
INDEX_NAMES = ("txindex", "coinstatsindex", "basic block filter index", "txospenderindex")
HUGE_DELTA = 1 << 62  # satoshi
UNSIGNED_TX = b"\0"  # key of a psbt's global map
MUSIG_NONCE = 0x1B  # type of a key of an input's map
_BELOW_DATA = b"The chain cannot be taken back below height "
_UNKNOWN = "Unknown named parameter "
_OWN_FAULT = "Internal bug detected: "  # bitcoind of itself
USER_AGENT_LENGTHS = 8  # how much longer or shorter our user agent may be, in bytes

Check = Callable[[Tree, Tree], bool]
Excuses = Mapping[str, Mapping[str, Check]]  # method -> way to the value ("*": any item) -> what holds


def _both_count(ours: Tree, theirs: Tree) -> bool:
    """Whole numbers that are not negative."""
    return all(isinstance(value, Number) and value.isdecimal() for value in (ours, theirs))


def _about(most: int) -> Check:
    """Whole numbers that are not further apart."""
    return lambda ours, theirs: _both_count(ours, theirs) and abs(int(ours) - int(theirs)) <= most


def _more(ours: Tree, theirs: Tree) -> bool:
    """Our number is the greater one."""
    return int(ours) > int(theirs)


def _less(ours: Tree, theirs: Tree) -> bool:
    """Our number is the smaller one."""
    return _more(theirs, ours)


def _same_but(pattern: str) -> Check:
    """Text that is the same when what the pattern finds is taken out."""
    part = re.compile(pattern)

    def check(ours: Tree, theirs: Tree) -> bool:
        if not (isinstance(ours, str) and isinstance(theirs, str)):
            return False
        return part.search(ours) is not None and part.sub("", ours) == part.sub("", theirs)

    return check


def _test_build(ours: Tree, theirs: Tree) -> bool:
    """Only the other one is a test build."""
    return TEST_BUILD in theirs and [text for text in theirs if text != TEST_BUILD] == ours


def _one_warning(ours: Tree, theirs: Tree) -> bool:
    """The same where the deprecated form, one text, is asked for."""
    return bool(ours == "" and theirs == TEST_BUILD)


def _same_psbt_parts(ours: Tree, theirs: Tree) -> bool:
    """Psbts of the same inputs and outputs in another order."""
    return isinstance(ours, str) and isinstance(theirs, str) and _psbt_parts(ours) == _psbt_parts(theirs)


def _psbt_parts(text: str) -> tuple[object, ...]:
    """The transaction's own, the global map but for it, and inputs and outputs with their maps, sorted."""
    maps = _psbt_maps(b64decode(text))
    tx = parse_stripped(maps[0].pop(UNSIGNED_TX))
    n = len(tx.prevouts)
    spends = zip(tx.prevouts, tx.sequences, maps[1 : 1 + n], strict=True)
    inputs = [(prevout, sequence, list(part.items())) for prevout, sequence, part in spends]
    outputs = [(txout, list(part.items())) for txout, part in zip(tx.txouts, maps[1 + n :], strict=True)]
    return (tx.version, tx.lock_time, list(maps[0].items()), sorted(inputs), sorted(outputs))


def _psbt_maps(raw: bytes) -> list[dict[bytes, bytes]]:
    """The maps of a psbt as they stand, keys with their type."""
    reader = Reader(raw[len(b"psbt\xff") :])
    maps: list[dict[bytes, bytes]] = [{}]
    while reader.remaining:
        key = reader.var_bytes()
        if key:
            maps[-1][key] = reader.var_bytes()
        else:
            maps.append({})
    return maps[:-1]


def _same_but_nonces(ours: Tree, theirs: Tree) -> bool:
    """Psbts that differ in MuSig2 nonces alone."""
    return isinstance(ours, str) and isinstance(theirs, str) and _without_nonces(ours) == _without_nonces(theirs)


def _without_nonces(text: str) -> list[list[tuple[bytes, bytes]]]:
    """The records of each map, as they stand; nonces as zeros."""
    return [
        [(key, bytes(len(value)) if key[0] == MUSIG_NONCE and n else value) for key, value in part.items()]
        for n, part in enumerate(_psbt_maps(b64decode(text)))
    ]


def _both_malloc_info(ours: Tree, theirs: Tree) -> bool:
    """What glibc tells of its heaps."""
    return all(isinstance(text, str) and text.startswith('<malloc version="1">') for text in (ours, theirs))


def _mined_before(ours: Tree, theirs: Tree) -> bool:
    """We know a transaction by its coins, wherever they are; bitcoind by those in its cache."""
    return ours == "txn-already-known" and theirs in (
        MISSING,
        "missing-inputs",
        "bad-txns-inputs-missingorspent",
    )


def _both_text(ours: Tree, theirs: Tree) -> bool:
    return isinstance(ours, str) and isinstance(theirs, str)


PEER: dict[str, Check] = {
    "*.addr": _same_but(r":\d+$"),
    "*.addrbind": _same_but(r":\d+$"),
    "*.session_id": _same_but("^[0-9a-f]{64}$"),
    "*.bytessent": _both_count,
    "*.last_inv_sequence": _both_count,
    "*.inv_to_send": _both_count,
    "*.bytessent_per_msg.version": _about(USER_AGENT_LENGTHS),
    "*.bytessent_per_msg.getheaders": lambda ours, theirs: theirs is MISSING,  # all peers are asked when far behind
}
# What differs for a reason that docs/differences.md gives: method -> way to the value ("*": any item) -> what holds.
BY_INTENT: dict[str, dict[str, Check]] = {
    "getchainstates": {
        "chainstates.*.coins_db_cache_bytes": _both_count,
        "chainstates.*.coins_tip_cache_bytes": _both_count,
    },
    "getmemoryinfo": {
        "": _both_malloc_info,
        "process": lambda ours, theirs: list(ours) == ["peak_resident"] and theirs is MISSING,
        **{f"locked.{name}": _both_count for name in ("used", "free", "total", "locked", "chunks_used", "chunks_free")},
    },
    "exportasmap": {"": lambda ours, theirs: ours in (None, MISSING) and isinstance(theirs, dict)},
    "stop": {"": _same_but("^(btcnode|Bitcoin Core)")},
    "getnetworkinfo": {
        "version": _both_count,
        "subversion": _same_but(r"^/(btcnode|Satoshi):[0-9.]+"),
        "warnings:length": _test_build,
        "warnings": _one_warning,
        "localaddresses.*.port": _both_count,  # the node's own where none is given
    },
    "getblockchaininfo": {"warnings:length": _test_build, "warnings": _one_warning},
    "getmininginfo": {"warnings:length": _test_build, "warnings": _one_warning},
    "getmempoolinfo": {"usage": _both_count},
    "getnettotals": {"timemillis": _about(60_000), "totalbytessent": _both_count},
    "getpeerinfo": PEER,
    "getrpcinfo": {"active_commands.*.duration": _both_count},
    "gettxoutsetinfo": {"disk_size": _both_count},
    "uptime": {"": _about(600)},
    "getblocktemplate": {"longpollid": _same_but(r"(?<=^.{64})\d+$")},
    "joinpsbts": {"": _same_psbt_parts},
    "descriptorprocesspsbt": {"psbt": _same_but_nonces},
    "testmempoolaccept": {"*.reject-reason": _mined_before, "*.reject-details": _mined_before},
    "submitpackage": {"tx-results.*.error": _mined_before},
    "rest": {"usage": _both_count, "warnings:length": _test_build, "warnings": _one_warning},
    "help": {"": _both_text},
}
# In the course of a walk also this: pings come at random times, and it matters who has told a block.
LATER: Excuses = {
    "getpeerinfo": {
        "*.lastsend": _both_count,  # what is sent a moment after a call may come before or after the clock is set
        **{f"*.{name}": lambda ours, theirs: True for name in ("pingtime", "minping", "pingwait")},
        "*.bytessent_per_msg.*": lambda ours, theirs: True,
        "*.synced_headers": _more,
        "*.synced_blocks": lambda ours, theirs: True,
        "*.inflight:length": lambda ours, theirs: len(ours) > len(theirs),
    },
    "getnettotals": {"totalbytesrecv": _both_count},
    "getmempoolinfo": {"optimal": lambda ours, theirs: ours is True and theirs is False},
}


def reindexed(tip: int) -> Excuses:
    """What is told after a start with -reindex-chainstate until the next block; ``tip``: height of the chain."""
    check: Check = lambda ours, theirs: _both_count(ours, theirs) and int(ours) == tip < int(theirs)  # noqa: E731
    return {**LATER, "getindexinfo": {f"{name}.best_block_height": check for name in INDEX_NAMES}}


def _in_order(rows: Tree) -> Tree:
    return sorted(rows, key=repr) if isinstance(rows, list) else rows


def _txids_in_order(rows: Tree) -> Tree:
    """The same of what was received, with the transactions of each."""
    if not isinstance(rows, list):
        return rows
    return _in_order([{**row, "txids": _in_order(row.get("txids"))} for row in rows])


def _lists_in_order(parts: Tree) -> Tree:
    """The same of an object's members."""
    return {name: _in_order(rows) for name, rows in parts.items()} if isinstance(parts, dict) else parts


IN_ORDER: dict[str, Callable[[Tree], Tree]] = {  # lists whose order means nothing, see docs/differences.md
    "getchaintips": tips_in_order,
    "getnodeaddresses": _in_order,
    "listreceivedbyaddress": _txids_in_order,
    "listsinceblock": _lists_in_order,
    "listunspent": _in_order,
    "listwalletdir": _lists_in_order,
}
_HELP = re.compile(r"^([a-z]+)[ \n]", re.ASCII)
_PARTICULARS = re.compile(r"[0-9a-f]{16,}|[0-9]+(\.[0-9]+)?")
_PLACES = (
    (re.compile(r"/[\w./-]*/(ours|core)/"), "/DIR/"),  # own directories
    (re.compile(r"\b(ours|core)\b"), "NODE"),
    (re.compile(r"(?<=Stored key: ')[0-9a-f]{16}"), "KEY"),  # of the own block files, random
    (re.compile(r"^(btcnode|Bitcoin Core) is "), "NAME is "),  # of itself, where it refuses a template
)
_SHAPE = (
    (re.compile(r"[0-9a-fA-F]{16,}"), "H"),
    (re.compile(r"\d+"), "N"),
    (re.compile(r"'[^']*'"), "'Q'"),
    (re.compile(r'"[^"]*"'), '"Q"'),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a node said: HTTP status, body, content type."""

    status: int
    body: bytes
    content_type: str


def without_places(text: str) -> str:
    """Text without what names the node's own directory."""
    for pattern, put in _PLACES:
        text = pattern.sub(put, text)
    return text


def _is_help(method: str, answer: Tree) -> bool:
    """Whether an error carries the method's help, as after a wrong count of parameters."""
    error = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(error, dict):
        return False
    text = error.get("message")
    if not isinstance(text, str):
        return False
    found = _HELP.match(text)
    return found is not None and found[1] == method and "\n\n" in text


def _same_help(ours: Tree, theirs: Tree) -> bool:
    """Whether two texts are the help of one method (in a batch)."""
    found = [_HELP.match(text) for text in (ours, theirs) if isinstance(text, str) and "\n\n" in text]
    names = [match[1] for match in found if match]
    return len(names) == 2 and names[0] == names[1]


def _both_unknown(ours: Tree, theirs: Tree) -> bool:
    """Whether two errors name an unknown argument each: which of several, bitcoind's hash table says."""
    return all(isinstance(text, str) and text.startswith(_UNKNOWN) for text in (ours, theirs))


def form(value: Tree, name: str = "") -> Tree:
    """What a value is, without what it says: keys in order, types, decimals, errors' words; of lists each form once."""
    if isinstance(value, dict):
        return {key: form(item, key) for key, item in value.items()}
    if isinstance(value, list):
        forms = {repr(found): found for found in map(form, value)}
        return [forms[text] for text in sorted(forms)]
    if isinstance(value, Number):
        return f"number with {len(value.partition('.')[2])} decimals"
    if isinstance(value, str):
        return _PARTICULARS.sub("N", value) if name == "message" else "text"
    return value


def differing(ours: Tree, theirs: Tree, path: str = "") -> Iterator[tuple[str, Tree, Tree]]:
    """Where two trees differ: path (array indexes as ``*``), our value, their value."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        if list(ours) != list(theirs):
            if set(ours) == set(theirs):
                yield f"{path}:order of keys", list(ours), list(theirs)
            for key in {**theirs, **ours}:
                if key not in ours or key not in theirs:
                    yield f"{path}.{_key(key)}", ours.get(key, MISSING), theirs.get(key, MISSING)
        for key, value in ours.items():
            if key in theirs:
                yield from differing(value, theirs[key], f"{path}.{_key(key)}")
    elif isinstance(ours, list) and isinstance(theirs, list):
        if len(ours) != len(theirs):
            yield f"{path}:length", ours, theirs
            return
        if ours != theirs and _sorted(ours) == _sorted(theirs):
            yield f"{path}:order", ours, theirs
            return
        for one, other in zip(ours, theirs, strict=True):
            yield from differing(one, other, f"{path}.*")
    elif type(ours) is not type(theirs) or ours != theirs:
        yield path, ours, theirs


def _key(key: str) -> str:
    """A key in a path: hashes and numbers are all the same there."""
    return "*" if re.fullmatch(r"[0-9a-f]{64}|\d+", key) else key


def _sorted(values: list[Tree]) -> list[str]:
    return sorted(map(repr, values))


def _shape(value: Tree) -> str:
    """A value as it stands in the name of a kind."""
    if isinstance(value, Number):
        return "number"
    if not isinstance(value, str):
        return type(value).__name__
    text = str(value)
    for pattern, put in _SHAPE:
        text = pattern.sub(put, text)
    return text[:160]


def _excused(method: str, path: str, ours: Tree, theirs: Tree, *, later: Excuses) -> bool:
    if path.startswith(".error") and method == "exportasmap":
        return NO_MAP in (ours, ours.get("message") if isinstance(ours, dict) else None)
    if method != "rest" and not path.startswith(".result"):
        return False
    way = path.removeprefix(".result").lstrip(".")
    known = {**BY_INTENT.get(method, {}), **later.get(method, {})}
    check = known.get(way, known.get(f"{way.rpartition('.')[0]}.*"))
    return check is not None and check(ours, theirs)


def is_below_data(method: str, answer: Answer | str) -> bool:
    """Whether our answer refuses what bitcoind would do by half: see ``invalidateblock`` in docs/differences.md."""
    return method == "invalidateblock" and isinstance(answer, Answer) and _BELOW_DATA in answer.body


def is_overflow(params: Tree, ours: object, theirs: object) -> bool:
    """Whether feerate diagrams, or the order of the mempool, differ since a fee delta near 2^63 was given.

    See docs/differences.md.
    """
    huge = any(abs(int(text)) >= HUGE_DELTA for text in re.findall(r"-?[0-9]{18,20}(?![0-9])", write(params)))
    if not (huge and isinstance(ours, list) and isinstance(theirs, list) and ours and theirs):
        return False
    shapes: list[list[str]] = [sorted(value[0]) for value in (ours, theirs) if isinstance(value[0], dict)]
    return shapes == [["fee", "weight"]] * 2 or _sorted(ours) == _sorted(theirs)


def kinds(
    method: str, ours: Answer, theirs: Answer, *, later: Excuses = MappingProxyType({})
) -> list[tuple[str, str, str]]:
    """The kinds of difference: name, our part, their part; empty when the answers are the same.

    ``later``: what is excused besides, as when the nodes have come a long way since they were filled (``LATER``).
    """
    if ours == theirs:
        return []
    found: list[tuple[str, str, str]] = []
    if ours.status != theirs.status:
        found.append(("status", str(ours.status), str(theirs.status)))
    if ours.content_type != theirs.content_type:
        found.append(("content type", ours.content_type, theirs.content_type))
    try:
        one, other = parse(ours.body), parse(theirs.body)
    except ValueError:
        if ours.body != theirs.body:
            found.append(("body", repr(ours.body[:300]), repr(theirs.body[:300])))
        return found
    put_in_order = IN_ORDER.get(method.removeprefix("wallet "))
    if put_in_order is not None and all(
        isinstance(part, dict) and isinstance(part.get("result"), list | dict) for part in (one, other)
    ):
        one["result"], other["result"] = put_in_order(one["result"]), put_in_order(other["result"])
    if _is_help(method, one) and _is_help(method, other):
        return found
    if found and isinstance(one, dict) and isinstance(other, dict):
        found.clear()  # the bodies tell why the status is another
    if isinstance(other, dict) and isinstance(other.get("error"), dict) and _OWN_FAULT in other["error"]["message"]:
        return found
    before = len(found)
    for path, mine, its in differing(one, other):
        if isinstance(mine, str) and isinstance(its, str) and without_places(mine) == without_places(its):
            continue
        if path.endswith(".error.message") and (_same_help(mine, its) or _both_unknown(mine, its)):
            continue
        if not _excused(method, path, mine, its, later=later):
            found.append((_name(path, mine, its), without_places(str(mine)), without_places(str(its))))
    if len(found) == before and one == other and put_in_order is None and ours.body != theirs.body:
        found.append(("text", repr(ours.body[:300]), repr(theirs.body[:300])))
    return _joined(found)


def _name(path: str, ours: Tree, theirs: Tree) -> str:
    if path.startswith(".error"):
        return f"{path}: {_shape(ours)} | {_shape(theirs)}"
    return path


def _joined(found: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """Parts of one error object, or an error against a result, are one kind; each name once."""
    errors = [part for part in found if part[0].startswith((".error", "status"))]
    rest = [part for part in found if not part[0].startswith((".error", "status"))]
    if errors and rest:  # one answered, the other refused
        whole = list(errors + rest)
        return [("refusal: " + "; ".join(part[0] for part in errors), *_columns(whole))]
    out = [("; ".join(part[0] for part in errors), *_columns(errors))] if errors else []
    once = {part[0]: part for part in reversed(rest)}
    return out + list(once.values())


def _columns(parts: list[tuple[str, str, str]]) -> tuple[str, str]:
    return "; ".join(part[1] for part in parts), "; ".join(part[2] for part in parts)
