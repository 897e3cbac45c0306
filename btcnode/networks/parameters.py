"""Network parameters: one frozen object per network, the numbers of Bitcoin Core 31's chain parameters.

Networks: mainnet, testnet3, testnet4 (BIP94), signet (BIP325, also with a challenge of one's own) and regtest.
Rules that Core enforces from genesis (P2SH, witness and taproot scripts) have no height here: blocks that break
them are listed in ``script_flag_exceptions``. Hashes are in internal byte order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from struct import pack
from typing import Any

from btcnode.errors import BtcnodeError, ConfigError
from btcnode.networks.names import MAINNET, REGTEST, SIGNET, TESTNET3, TESTNET4, NetworkName, network_named
from btcnode.primitives.addresses import AddressPrefixes
from btcnode.primitives.amounts import COIN
from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.hashes import BlockHash, from_display, sha256d, to_display
from btcnode.record import record, replace
from btcnode.tuples import NamedTuple

BIP34_IMPLIES_BIP30_LIMIT = 1_983_702  # first height whose BIP34 coinbase may repeat one of before BIP34

NEVER_ACTIVE = -2  # Deployment.start_time: the deployment is defined, but cannot start
ALWAYS_ACTIVE = -1  # Deployment.start_time: active from genesis
NO_TIMEOUT = 2**63 - 1

# Core's script flags by their bit; script.flags has all of them under the same values.
_VERIFY_NONE = 0
_VERIFY_P2SH = 1 << 0
_VERIFY_WITNESS = 1 << 11

_DAY = 24 * 60 * 60

ACTIVATION_NAMES: Mapping[str, str] = {
    "segwit": "segwit_height",
    "bip34": "bip34_height",
    "dersig": "bip66_height",
    "cltv": "bip65_height",
    "csv": "csv_height",
}
"""Names of ``-testactivationheight`` and the field that each one sets."""

DEPLOYMENT_NAMES = ("testdummy",)
"""Names of ``-vbparams``: the deployments of version bits."""


class Deployment(NamedTuple):
    """A BIP9 deployment: median times in Unix seconds, period and threshold in blocks."""

    name: str
    bit: int
    start_time: int
    timeout: int
    min_activation_height: int
    period: int
    threshold: int


class VersionBits(NamedTuple):
    """What ``-vbparams`` sets of a deployment."""

    start_time: int
    timeout: int
    min_activation_height: int


class ChainTxData(NamedTuple):
    """Transactions up to a block of ``time`` (Unix seconds), and their rate per second after it."""

    time: int
    tx_count: int
    tx_rate: float


class HeadersSync(NamedTuple):
    """Memory against spam in the headers presync: headers between two commitments, headers held back."""

    commitment_period: int
    redownload_buffer_size: int


@record
class NetworkParams(AddressPrefixes):
    """Everything that differs between networks.

    ``name`` is ours, ``chain`` Core's. Prefixes of base58 texts are bytes. Times are seconds, targets integers.
    ``bip30_exceptions`` are the (height, hash) of blocks that may overwrite an unspent coinbase.
    """

    chain: str
    magic: bytes
    p2p_port: int
    rpc_port: int
    dns_seeds: tuple[str, ...]
    genesis_block: bytes
    genesis_hash: BlockHash
    subsidy_halving_interval: int
    pow_limit: int
    pow_limit_bits: int
    pow_target_timespan: int
    pow_target_spacing: int
    allow_min_difficulty_blocks: bool
    no_retargeting: bool
    enforce_bip94: bool
    bip34_height: int
    bip34_hash: BlockHash | None
    bip65_height: int
    bip66_height: int
    csv_height: int
    segwit_height: int
    min_bip9_warning_height: int
    bip30_exceptions: tuple[tuple[int, BlockHash], ...]
    script_flag_exceptions: Mapping[BlockHash, int]
    deployments: tuple[Deployment, ...]
    minimum_chain_work: int
    assume_valid: BlockHash | None
    signet_challenge: bytes | None
    chain_tx_data: ChainTxData
    headers_sync: HeadersSync
    prune_after_height: int

    def __hash__(self) -> int:  # caches of what depends on them look it up with each script
        return hash(self.chain)

    @property
    def is_test_chain(self) -> bool:
        """Whether coins of this network are for testing only."""
        return self.chain != "main"

    @property
    def mineable(self) -> bool:
        """Whether blocks are mined on demand (no retargeting)."""
        return self.no_retargeting

    @property
    def difficulty_adjustment_interval(self) -> int:
        """Blocks between two changes of the target."""
        return self.pow_target_timespan // self.pow_target_spacing


def params_for(
    name: str,
    *,
    signet_challenge: bytes | None = None,
    seed_nodes: Sequence[str] | None = None,
    activation_overrides: Mapping[str, int] | None = None,
    version_bits: Mapping[str, VersionBits] | None = None,
    enforce_bip94: bool = False,
    fast_prune: bool = False,
) -> NetworkParams:
    """The parameters of a network, by our name or by Core's (``main``, ``test``).

    Signet takes ``signet_challenge`` (script of a network of one's own) and ``seed_nodes``; regtest takes
    ``activation_overrides`` (see ``ACTIVATION_NAMES``), ``version_bits`` by deployment, ``enforce_bip94`` and
    ``fast_prune``. Raises ConfigError for an unknown name, or for an override that the network does not take.
    """
    name = network_named(name).name
    if name != "signet" and (signet_challenge is not None or seed_nodes is not None):
        raise ConfigError("a challenge and seed nodes can be given for signet only")
    if name != "regtest" and (activation_overrides or version_bits or enforce_bip94 or fast_prune):
        raise ConfigError("consensus rules can be overridden on regtest only")
    if name == "signet":
        return _signet(signet_challenge, seed_nodes)
    if name == "regtest":
        return _regtest(activation_overrides or {}, version_bits or {}, enforce_bip94, fast_prune)
    return {MAINNET.name: _mainnet, TESTNET3.name: _testnet3, TESTNET4.name: _testnet4}[name]()


def _hash(display: str) -> BlockHash:
    return BlockHash(from_display(display))


def _push(data: bytes) -> bytes:
    """A script push of at most 255 bytes, in its shortest form."""
    return bytes([len(data)]) + data if len(data) < 76 else bytes([76, len(data)]) + data


_TIMES = b"The Times 03/Jan/2009 Chancellor on brink of second bailout for banks"
_SATOSHI_KEY = bytes.fromhex(
    "04678afdb0fe5548271967f1a67130b7105cd6a828e03909a67962e0ea1f61deb6"
    "49f6bc3f4cef38c4f35504e51ec112de5c384df7ba0b8d578a4c702b6bf11d5f"
)


def _genesis(
    time: int, nonce: int, bits: int, expected: str, *, text: bytes = _TIMES, key: bytes = _SATOSHI_KEY
) -> tuple[bytes, BlockHash]:
    """Build a genesis block; returns ``(block, hash)``, raises BtcnodeError when the hash is not the expected one."""
    script_sig = _push(pack("<I", 486604799)) + _push(b"\x04") + _push(text)
    script = _push(key) + b"\xac"
    coinbase = b"".join(
        (
            pack("<I", 1), b"\x01", bytes(32), b"\xff\xff\xff\xff", bytes([len(script_sig)]), script_sig, b"\xff" * 4,
            b"\x01", pack("<Q", 50 * COIN), bytes([len(script)]), script, bytes(4),
        )
    )  # fmt: skip
    header = pack("<I32s32sIII", 1, bytes(32), sha256d(coinbase), time, bits, nonce)
    block_hash = BlockHash(sha256d(header))
    if block_hash != _hash(expected):
        raise BtcnodeError(f"genesis block has hash {to_display(block_hash)}, expected {expected}")
    return header + b"\x01" + coinbase, block_hash


def _deployments(
    threshold: int, *, period: int = 2016, start_time: int = NEVER_ACTIVE, timeout: int = NO_TIMEOUT
) -> tuple[Deployment, ...]:
    return (Deployment(DEPLOYMENT_NAMES[0], 28, start_time, timeout, 0, period, threshold),)


def _identity(network: NetworkName) -> dict[str, Any]:
    """The fields that the table of names gives."""
    return {
        "name": network.name,
        "chain": network.chain,
        "magic": network.magic,
        "p2p_port": network.p2p_port,
        "rpc_port": network.rpc_port,
    }


def _mainnet() -> NetworkParams:
    genesis_block, genesis_hash = _genesis(
        1231006505, 2083236893, 0x1D00FFFF, "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f"
    )
    return NetworkParams(
        **_identity(MAINNET),
        dns_seeds=(
            "seed.bitcoin.sipa.be.",
            "dnsseed.bluematt.me.",
            "seed.bitcoin.jonasschnelli.ch.",
            "seed.btc.petertodd.net.",
            "seed.bitcoin.sprovoost.nl.",
            "dnsseed.emzy.de.",
            "seed.bitcoin.wiz.biz.",
            "seed.mainnet.achownodes.xyz.",
        ),
        pubkey_prefix=b"\x00",
        script_prefix=b"\x05",
        secret_prefix=b"\x80",
        xpub_prefix=bytes.fromhex("0488b21e"),
        xprv_prefix=bytes.fromhex("0488ade4"),
        bech32_hrp="bc",
        genesis_block=genesis_block,
        genesis_hash=genesis_hash,
        subsidy_halving_interval=210_000,
        pow_limit=(1 << 224) - 1,
        pow_limit_bits=0x1D00FFFF,
        pow_target_timespan=14 * _DAY,
        pow_target_spacing=600,
        allow_min_difficulty_blocks=False,
        no_retargeting=False,
        enforce_bip94=False,
        bip34_height=227_931,
        bip34_hash=_hash("000000000000024b89b42a942fe0d9fea3bb44ab7bd1b19115dd6a759c0808b8"),
        bip65_height=388_381,
        bip66_height=363_725,
        csv_height=419_328,
        segwit_height=481_824,
        min_bip9_warning_height=711_648,
        bip30_exceptions=(
            (91_842, _hash("00000000000a4d0a398161ffc163c503763b1f4360639393e0e4c8e300e0caec")),
            (91_880, _hash("00000000000743f190a18c5577a3c2d2a1f610ae9601ac046a38084ccb7cd721")),
        ),
        script_flag_exceptions={
            # breaks BIP16
            _hash("00000000000002dc756eebf4f49723ed8d30cc28a5f108eb94b1ba88ac4f9c22"): _VERIFY_NONE,
            # breaks taproot, mined before its activation
            _hash("0000000000000000000f14c35b2d841e986ab5441de8c585d5ffe55ea1e395ad"): _VERIFY_P2SH | _VERIFY_WITNESS,
        },
        deployments=_deployments(1815),
        minimum_chain_work=0x1128750F82F4C366153A3A030,
        assume_valid=_hash("00000000000000000000ccebd6d74d9194d8dcdc1d177c478e094bfad51ba5ac"),  # 938343
        signet_challenge=None,
        chain_tx_data=ChainTxData(1772055173, 1315805869, 5.40111006496122),
        headers_sync=HeadersSync(641, 15218),
        prune_after_height=100_000,
    )


def _testnet3() -> NetworkParams:
    genesis_block, genesis_hash = _genesis(
        1296688602, 414098458, 0x1D00FFFF, "000000000933ea01ad0ee984209779baaec3ced90fa3f408719526f8d77f4943"
    )
    return replace(
        _mainnet(),
        **_identity(TESTNET3),
        dns_seeds=(
            "testnet-seed.bitcoin.jonasschnelli.ch.",
            "seed.tbtc.petertodd.net.",
            "seed.testnet.bitcoin.sprovoost.nl.",
            "testnet-seed.bluematt.me.",
            "seed.testnet.achownodes.xyz.",
        ),
        pubkey_prefix=b"\x6f",
        script_prefix=b"\xc4",
        secret_prefix=b"\xef",
        xpub_prefix=bytes.fromhex("043587cf"),
        xprv_prefix=bytes.fromhex("04358394"),
        bech32_hrp="tb",
        genesis_block=genesis_block,
        genesis_hash=genesis_hash,
        allow_min_difficulty_blocks=True,
        bip34_height=21_111,
        bip34_hash=_hash("0000000023b3a96d3484e5abb3755c413e7d41500f8e2a5c3f0dd01299cd8ef8"),
        bip65_height=581_885,
        bip66_height=330_776,
        csv_height=770_112,
        segwit_height=834_624,
        min_bip9_warning_height=2_013_984,
        bip30_exceptions=(),
        script_flag_exceptions={
            # breaks BIP16
            _hash("00000000dd30457c001f4095d208cc1296b0eed002427aa599874af7a432b105"): _VERIFY_NONE,
        },
        deployments=_deployments(1512),
        minimum_chain_work=0x17DDE1C649F3708D14B6,
        assume_valid=_hash("000000007a61e4230b28ac5cb6b5e5a0130de37ac1faf2f8987d2fa6505b67f4"),  # 4842348
        chain_tx_data=ChainTxData(1772051651, 536108416, 0.02691479016257117),
        headers_sync=HeadersSync(673, 14460),
        prune_after_height=1000,
    )


def _testnet4() -> NetworkParams:
    genesis_block, genesis_hash = _genesis(
        1714777860,
        393743547,
        0x1D00FFFF,
        "00000000da84f2bafbbc53dee25a72ae507ff4914b867c565be350b0da8bf043",
        text=b"03/May/2024 000000000000000000001ebd58c244970b3aa9d783bb001011fbe8ea8e98e00e",
        key=bytes(33),
    )
    return replace(
        _testnet3(),
        **_identity(TESTNET4),
        dns_seeds=("seed.testnet4.bitcoin.sprovoost.nl.", "seed.testnet4.wiz.biz."),
        genesis_block=genesis_block,
        genesis_hash=genesis_hash,
        enforce_bip94=True,
        bip34_height=1,
        bip34_hash=None,
        bip65_height=1,
        bip66_height=1,
        csv_height=1,
        segwit_height=1,
        min_bip9_warning_height=0,
        script_flag_exceptions={},
        minimum_chain_work=0x9A0FE15D0177D086304,
        assume_valid=_hash("0000000002368b1e4ee27e2e85676ae6f9f9e69579b29093e9a82c170bf7cf8a"),  # 123613
        chain_tx_data=ChainTxData(1772013387, 14191421, 0.01848579579528412),
        headers_sync=HeadersSync(606, 16092),
    )


_SIGNET_CHALLENGE = bytes.fromhex(
    "512103ad5e0edad18cb1f0fc0d28a3d4f1f3e445640337489abb10404f2d1e086be430"
    "210359ef5021964fe22d6f8e05b2463c9540ce96883fe3b278760f048f5189f2e6c452ae"
)


def _signet_magic(challenge: bytes) -> bytes:
    """BIP325: the first four bytes of the double SHA-256 of the challenge as a length-prefixed script."""
    return sha256d(compact_size(len(challenge)) + challenge)[:4]


def _signet(challenge: bytes | None, seed_nodes: Sequence[str] | None) -> NetworkParams:
    genesis_block, genesis_hash = _genesis(
        1598918400, 52613770, 0x1E0377AE, "00000008819873e925422c1ff0f99f7cc9bbb232af63a077a480a3633bee1ef6"
    )
    base = replace(
        _testnet4(),
        **_identity(SIGNET),
        dns_seeds=("seed.signet.bitcoin.sprovoost.nl.", "seed.signet.achownodes.xyz."),
        genesis_block=genesis_block,
        genesis_hash=genesis_hash,
        pow_limit=0x377AE << 216,
        pow_limit_bits=0x1E0377AE,
        allow_min_difficulty_blocks=False,
        enforce_bip94=False,
        deployments=_deployments(1815),
        minimum_chain_work=0xB463EA0A4B8,
        assume_valid=_hash("00000008414aab61092ef93f1aacc54cf9e9f16af29ddad493b908a01ff5c329"),  # 293175
        signet_challenge=_SIGNET_CHALLENGE,
        chain_tx_data=ChainTxData(1772055248, 28676833, 0.06736623436338929),
        headers_sync=HeadersSync(620, 15724),
    )
    if challenge is not None:
        base = replace(
            base,
            magic=_signet_magic(challenge),
            dns_seeds=(),
            minimum_chain_work=0,
            assume_valid=None,
            signet_challenge=challenge,
            chain_tx_data=ChainTxData(0, 0, 0.0),
        )
    return base if seed_nodes is None else replace(base, dns_seeds=tuple(seed_nodes))


def _regtest(
    activation_overrides: Mapping[str, int],
    version_bits: Mapping[str, VersionBits],
    enforce_bip94: bool,
    fast_prune: bool,
) -> NetworkParams:
    genesis_block, genesis_hash = _genesis(
        1296688602, 2, 0x207FFFFF, "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206"
    )
    deployments = {deployment.name: deployment for deployment in _deployments(108, period=144, start_time=0)}
    for name, numbers in version_bits.items():
        if name not in deployments:
            raise ConfigError(f"no deployment {name!r}")
        deployments[name] = deployments[name]._replace(**numbers._asdict())
    base = replace(
        _testnet4(),
        **_identity(REGTEST),
        dns_seeds=("dummySeed.invalid.",),
        bech32_hrp="bcrt",
        genesis_block=genesis_block,
        genesis_hash=genesis_hash,
        subsidy_halving_interval=150,
        pow_limit=(1 << 255) - 1,
        pow_limit_bits=0x207FFFFF,
        pow_target_timespan=_DAY,
        no_retargeting=True,
        enforce_bip94=enforce_bip94,
        segwit_height=0,
        deployments=tuple(deployments.values()),
        minimum_chain_work=0,
        assume_valid=None,
        chain_tx_data=ChainTxData(0, 0, 0.001),
        headers_sync=HeadersSync(275, 7017),
        prune_after_height=100 if fast_prune else 1000,
    )
    heights: dict[str, Any] = {}
    for name, height in activation_overrides.items():
        if name not in ACTIVATION_NAMES:
            raise ConfigError(f"no rule {name!r} to set the activation height of")
        heights[ACTIVATION_NAMES[name]] = height
    return replace(base, **heights)
