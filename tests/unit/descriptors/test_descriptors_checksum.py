"""Checksums of descriptors."""

import pytest

from btcnode.descriptors.checksum import descriptor_checksum, split_checksum
from btcnode.descriptors.errors import DescriptorError


def test_descriptor_checksum_sees_every_change() -> None:
    assert descriptor_checksum("raw(deadbeef)") == "89f8spxm"
    assert descriptor_checksum("raw(deadbeee)") != "89f8spxm"


@pytest.mark.parametrize("given", ["89f8spx", "89f8spxmm", "８９ｆ８ｓｐｘｍ", "89f8spxé"])
def test_a_checksum_is_eight_bytes(given: str) -> None:
    with pytest.raises(DescriptorError, match=f"^Expected 8 character checksum, not {len(given.encode())} characters$"):
        split_checksum(f"raw(dé)#{given}")
