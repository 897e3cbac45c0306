"""What each network is called, where it listens and what its messages begin with: the one table of it.

Light to import: ``btcnode-cli`` needs no more of a network than this.
"""

from __future__ import annotations

from btcnode.errors import ConfigError
from btcnode.tuples import NamedTuple


class NetworkName(NamedTuple):
    """A network: our ``name``, Core's ``chain`` (of ``-chain=`` and RPC), Core's ``flag`` ("" for the main one).

    ``subdir`` is its folder in the data directory; ``magic`` its messages' first four bytes (signet: of the public
    one); ports are TCP's.
    """

    name: str
    chain: str
    flag: str
    subdir: str
    magic: bytes
    p2p_port: int
    rpc_port: int


MAINNET = NetworkName("mainnet", "main", "", "", bytes.fromhex("f9beb4d9"), 8333, 8332)
TESTNET3 = NetworkName("testnet3", "test", "testnet", "testnet3", bytes.fromhex("0b110907"), 18333, 18332)
TESTNET4 = NetworkName("testnet4", "testnet4", "testnet4", "testnet4", bytes.fromhex("1c163f28"), 48333, 48332)
SIGNET = NetworkName("signet", "signet", "signet", "signet", bytes.fromhex("0a03cf40"), 38333, 38332)
REGTEST = NetworkName("regtest", "regtest", "regtest", "regtest", bytes.fromhex("fabfb5da"), 18444, 18443)

NETWORKS = (MAINNET, TESTNET3, TESTNET4, SIGNET, REGTEST)
"""Every network, in the order in which texts name them."""

NAMES = tuple(network.name for network in NETWORKS)
CHAINS = tuple(network.chain for network in NETWORKS)
FLAGS = {network.flag: network for network in NETWORKS if network.flag}
"""Networks by the option that chooses them (``-regtest``)."""

_BY_WORD = {word: network for network in NETWORKS for word in (network.name, network.chain, network.flag) if word}


def network_named(text: str) -> NetworkName:
    """The network of our name, Core's chain name or its flag; raises ConfigError."""
    found = _BY_WORD.get(text)
    if found is None:
        raise ConfigError(f"Unknown network {text!r}: choose one of {', '.join(NAMES)}")
    return found


def network_of_chain(chain: str) -> NetworkName:
    """The network that Core calls ``chain``; raises ConfigError in Core's words."""
    for network in NETWORKS:
        if network.chain == chain:
            return network
    raise ConfigError(f"Unknown chain {chain}.")
