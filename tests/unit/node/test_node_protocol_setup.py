"""How the settings of connections become those of the protocol."""

from pathlib import Path

import pytest

from btcnode.node.protocol_setup import protocol_config
from tests.lib.settings import settings_of


@pytest.mark.parametrize(
    ("most", "full", "blocks", "inbound"),
    [(0, 0, 0, 0), (5, 5, 0, 0), (9, 8, 1, 0), (11, 8, 2, 0), (12, 8, 2, 1), (125, 8, 2, 114)],
)
def test_few_connections_are_shared_out_as_in_core(
    tmp_path: Path, most: int, full: int, blocks: int, inbound: int
) -> None:
    config = protocol_config(settings_of(network="regtest", datadir=tmp_path, maxconnections=most))
    assert (config.max_outbound_full, config.max_block_relay, config.max_inbound) == (full, blocks, inbound)
