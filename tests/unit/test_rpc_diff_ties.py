"""What the walks of ``scripts/fuzz/rpc.py`` take for a tie, and what for a difference."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lib.rpc_diff.walking import is_judged_anew, is_tie

LOADED = {"one", "two", "three"}


def tips(*rows: str) -> Any:
    """``getchaintips`` of rows such as ``one 131 active``."""
    return [dict(zip(("hash", "height", "status"), row.split(), strict=True)) for row in rows]


@pytest.mark.parametrize(
    ("ours", "theirs", "tie"),
    [
        (("one 9 active", "two 9 valid-fork"), ("two 9 active", "one 9 valid-fork"), True),
        (("one 9 active", "two 9 valid-headers"), ("two 9 active", "one 9 valid-fork"), True),
        (("one 9 active", "two 9 valid-fork"), ("two 9 active",), True),  # under an invalid child there
        (("one 9 active", "two 9 invalid"), ("one 9 active", "two 9 valid-headers"), True),
        (("one 9 active", "two 9 invalid"), ("two 9 active", "one 9 valid-fork"), False),
        (("one 9 active", "two 8 valid-fork"), ("two 8 active", "one 9 valid-fork"), False),
        (("one 9 active", "two 8 invalid"), ("one 9 active", "two 8 valid-headers"), False),
        (("one 9 active", "new 9 valid-fork"), ("new 9 active", "one 9 valid-fork"), False),
        (("one 9 active", "new 9 invalid"), ("one 9 active", "new 9 valid-headers"), False),
        (("one 9 active", "two 9 headers-only"), ("one 9 active", "two 9 valid-headers"), False),
        (("one 9 active", "two 9 invalid"), ("one 9 active",), False),
        (("one 9 active",), ("one 9 active",), False),
        (
            ("one 9 active", "two 9 valid-fork", "three 7 invalid"),
            ("two 9 active", "one 9 valid-fork", "three 7 valid-fork"),
            False,
        ),
    ],
)  # fmt: skip
def test_ties(ours: tuple[str, ...], theirs: tuple[str, ...], tie: bool) -> None:
    assert is_tie(tips(*ours), tips(*theirs), LOADED) is tie
    assert is_tie(tips(*theirs), tips(*ours), LOADED) is tie


@pytest.mark.parametrize(
    ("ours", "theirs", "anew"),
    [
        (("one 9 active", "two 8 valid-headers"), ("one 9 active", "two 8 invalid"), True),
        (("one 9 active", "two 9 valid-fork"), ("one 9 active", "two 9 invalid"), True),
        (("one 9 active", "two 8 invalid"), ("one 9 active", "two 8 valid-headers"), False),
        (("one 9 active", "new 8 valid-headers"), ("one 9 active", "new 8 invalid"), False),
        (("one 9 active", "two 8 headers-only"), ("one 9 active", "two 8 invalid"), False),
        (("one 9 active", "two 8 valid-headers"), ("one 9 active", "two 7 invalid"), False),
        (("one 9 active", "two 8 valid-headers"), ("one 9 active",), False),
        (("one 9 active",), ("one 9 active", "two 8 invalid"), False),
        (("one 9 active", "two 9 valid-fork"), ("two 9 active", "one 9 invalid"), False),
        (("one 9 active",), ("one 9 active",), False),
        (
            ("one 9 active", "two 8 valid-fork", "three 7 valid-fork"),
            ("one 9 active", "two 8 invalid", "three 7 headers-only"),
            False,
        ),
    ],
)  # fmt: skip
def test_what_is_judged_anew(ours: tuple[str, ...], theirs: tuple[str, ...], anew: bool) -> None:
    """By us alone: bitcoind has written it."""
    assert is_judged_anew(tips(*ours), tips(*theirs), LOADED) is anew
