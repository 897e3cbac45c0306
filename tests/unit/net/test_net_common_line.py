"""Who is slow by himself does not slow the others down."""

from __future__ import annotations

import pytest

from btcnode.net.common_line import FLOWING, MIN_GROUPS, Voice, taken_together

SLOW = [Voice(bytes([n]), True, 1_000) for n in range(MIN_GROUPS)]
QUIET = [Voice(bytes([50 + n]), False, 500) for n in range(100)]
FLOWS = [Voice(bytes([200 + n]), False, FLOWING + 1) for n in range(MIN_GROUPS)]


@pytest.mark.parametrize(
    ("voices", "taken"),
    [
        ([], None),
        (QUIET, None),
        (SLOW[:1], None),  # one slow reader
        (SLOW[:1] + QUIET, None),
        ([Voice(b"x", True, 1_000)] * 100, None),  # a hundred slow readers at one place
        (SLOW, 1_000 * MIN_GROUPS),
        (SLOW + QUIET, 1_000 * MIN_GROUPS + 500 * 100),
        (SLOW + FLOWS, None),  # others take what there is
        (SLOW + FLOWS[:1], 1_000 * MIN_GROUPS + FLOWING + 1),
        (SLOW + [Voice(voice.group, False, FLOWING + 1) for voice in SLOW], None),  # others of the same groups do
        ([Voice(voice.group, False, FLOWING + 1) for voice in SLOW] + SLOW, None),
    ],
)
def test_the_line_is_blamed_when_many_places_are_kept_back_at_once(voices: list[Voice], taken: int | None) -> None:
    assert taken_together(voices) == taken
