"""Checksums of descriptors."""

from btcnode.descriptors.checksum import descriptor_checksum


def test_descriptor_checksum_sees_every_change() -> None:
    assert descriptor_checksum("raw(deadbeef)") == "89f8spxm"
    assert descriptor_checksum("raw(deadbeee)") != "89f8spxm"
