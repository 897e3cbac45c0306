"""What the pages state in figures and names is what the code has: change either, and this says where the other is."""

from __future__ import annotations

import math
import re
import shlex
from pathlib import Path
from typing import Any, cast

import pytest
import typer

from btcnode.cli import stacks
from btcnode.cli.client_options import OptionError, parse_options
from btcnode.cli.main import app
from btcnode.embed import events
from btcnode.mempool import fee_estimator, fee_stats, persistence, pool
from btcnode.mining.templates import REFRESH_SECONDS
from btcnode.net import connection
from btcnode.net.proxy import tor_control
from btcnode.networks.assumeutxo import known_sets
from btcnode.networks.names import MAINNET, NETWORKS
from btcnode.networks.parameters import params_for
from btcnode.node.memory import GROUP_SHARE
from btcnode.node.resources import CHAIN_GB
from btcnode.protocol import limits
from btcnode.protocol.addresses import address_table, addrman
from btcnode.protocol.blocks import fetch_strategy
from btcnode.protocol.connections import bans, conduct, peer_score
from btcnode.rpc import http_server, jsonrpc, room
from btcnode.rpc.methods import every_method
from btcnode.services.first_contact import PATIENCE_S
from btcnode.settings.doors import parse_daemon_words
from btcnode.settings.groups.storage import MIN_PRUNE_MIB
from btcnode.settings.table import OPTIONS, is_known
from btcnode.sync import memory_plan, tx_verifier
from btcnode.wire.registry import MESSAGE_CLASSES

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]


def default(flag: str) -> str:
    """An option's default as text."""
    return cast(str, OPTIONS[flag].default)


def share(number: float) -> str:
    return f"{number:g}"


low, high = [share(number) for number in (limits.FETCH_SHRINK_SUCCESS, limits.FETCH_GROW_SUCCESS)]
service, value, fault = peer_score.WEIGHTS
tried = (addrman.NEW_BUCKETS + addrman.TRIED_BUCKETS) * address_table.BUCKET_SIZE
WISHES = memory_plan.Wishes(
    headers=0, peers=125, workers=1, dbcache=int(default("dbcache")) << 20, mempool=300_000_000, kernels=True
)
PLANS = [memory_plan.plan(int(limit * GROUP_SHARE) << 20, WISHES) for limit in (0, 400, 500, 700, 100_000)]
ON_MAINNET = WISHES._replace(headers=max(known.height for known in known_sets(params_for("mainnet"))))


def plan_row(*amounts: float) -> str:
    """The cells of a row of the memory plan, of bytes."""
    return " | ".join(str(round(amount / 2**20)) for amount in amounts)


STATEMENTS = [
    ("sync.md", f"{limits.FETCH_BLOCKS_START} blocks in flight for one peer at first ({limits.FETCH_BLOCKS_MIN} to"
     f" {limits.FETCH_BLOCKS_MAX}) and {limits.FETCH_PEERS_START} peers asked at a time ({limits.FETCH_PEERS_MIN} to"
     f" {limits.FETCH_PEERS_MAX})"),
    ("sync.md", f"a success rate over {high} with a mean latency under {limits.FETCH_GROW_LATENCY:g} s adds"
     f" {limits.FETCH_BLOCKS_STEP} blocks and one peer; a rate under {low} takes"),
    ("sync.md", f"**Core's {limits.MAX_BLOCKS_IN_TRANSIT_PER_PEER}** is what an unproven peer may have"),
    ("sync.md", f"at least {fetch_strategy.MIN_PER_PEER}. All peers together have at most {limits.MAX_REQUESTS} open"
     f" requests, fewer as validation fills up; the window stays at {limits.BLOCK_DOWNLOAD_WINDOW}."),
    ("sync.md", f"after {limits.FETCH_PATIENCE_LATENCIES:g} latencies of the fastest other peer"
     f" ({limits.FETCH_PATIENCE_MIN:g} to {limits.IDLE_BLOCK_MOVE_TIMEOUT:g} s;"
     f" {limits.FETCH_PATIENCE_UNPROVEN:g} s for"),
    ("sync.md", f"up to {limits.FETCH_OVERDRAFT} above that peer's limit"),
    ("sync.md", f"blocks near the tip have {limits.TIP_BLOCK_MOVE_TIMEOUT:g} s."),
    ("sync.md", f"The same timer ({limits.BLOCK_STALLING_TIMEOUT_DEFAULT} s, doubling to"
     f" {limits.BLOCK_STALLING_TIMEOUT_MAX} s)"),
    ("sync.md", f"with {limits.FETCH_SILENT_GRACE:g} s more for one that never brought any"),
    ("sync.md", f"Records outlive the connection ({limits.FETCH_MAX_REMEMBERED} addresses)"),
    ("architecture.md", f"asked of an idle one after {limits.IDLE_BLOCK_MOVE_TIMEOUT:g} s, near the tip of any after"
     f" {limits.TIP_BLOCK_MOVE_TIMEOUT:g} s."),
    ("peers.md", f"standing connections end | {bans.MAX_BANS:,}, in `banlist.json`"),
    ("peers.md", f"the last {limits.MAX_DISCOURAGED:,} addresses, in memory"),
    ("peers.md", f"every peer begins with {conduct.START:g} of 100."),
    ("peers.md", f"score = 50 + 50 ({service:g} service + {value:g} value) - {-fault * 100:g} fault"),
    ("peers.md", f"0..{peer_score.FAULT_MAX:g} | {peer_score.FAULT_MAX:g} (1 - e^(-violations/"
     f"{peer_score.FAULT_LOAD:g})), and the share of failed requests for at most {peer_score.FAILED_MAX:g}"),
    ("peers.md", f"All counts halve in {'ten' if conduct.HALF_LIFE == 600 else conduct.HALF_LIFE} minutes."),
    *(("peers.md", f"below {limit:g} | {standing.value}") for limit, standing in peer_score.LIMITS),
    ("peers.md", f"| {limits.PROBE_AFTER:g} s | a peer that owes us"),
    ("peers.md", f"| {limits.PING_INTERVAL:g} s since the last ping"),
    ("peers.md", f"| {limits.HEARTBEAT_MISSED:g} s, a ping unanswered for {limits.PROBE_UNANSWERED:g} s of them"),
    ("peers.md", f"| {limits.TIMEOUT_INTERVAL / 60:g} min without a pong"),
    ("peers.md", f"{addrman.NEW_BUCKETS:,} buckets for *new* addresses, {addrman.TRIED_BUCKETS} for *tried* ones,"
     f" {address_table.BUCKET_SIZE} places each"),
    ("peers.md", f"a group of tellers | {addrman.NEW_BUCKETS_PER_SOURCE_GROUP} new buckets"),
    ("peers.md", f"a group of addresses, tried | {addrman.TRIED_BUCKETS_PER_GROUP} buckets"),
    ("peers.md", f"one address, new | {addrman.MAX_PLACES} places"),
    ("peers.md", f"At most {tried:,} addresses are kept"),
    ("peers.md", f"a token bucket of {limits.MAX_ADDR_RATE_PER_SECOND:g} a second and"
     f" {limits.MAX_ADDR_PROCESSING_TOKEN_BUCKET:,.0f} for an answer"),
    ("peers.md", f"score below {peer_score.THROTTLED_BELOW:g} or are degraded"),
    ("peers.md", f"made again after {tor_control.RECONNECT_FIRST:g} s,"
     f" {tor_control.RECONNECT_FIRST * tor_control.RECONNECT_GROWTH:g} s, ... up to"
     f" {tor_control.RECONNECT_LAST / 60:g} minutes"),
    ("peers.md", f"at {connection.CUT_OFF_BUFFER // 10**6} MB the connection ends"),
    ("peers.md", f"{limits.MAX_GETDATA_PER_TURN} requests, {limits.MAX_GETDATA_BYTES_PER_TURN // 1000} kB; one block"),
    ("relay.md", f"from {limits.MAX_EXTRA_TRANSACTIONS} refused and replaced transactions"),
    ("relay.md", f"Blocks at most {limits.MAX_CMPCTBLOCK_DEPTH} below the tip are served in compact form, single"
     f" transactions of those at most {limits.MAX_BLOCKTXN_DEPTH} below"),
    ("relay.md", f"so is one more than {limits.MAX_BLOCKTXN_DEPTH} below the tip"),
    ("relay.md", f"(at most {limits.MAX_XTHIN_FILTER_ELEMENTS:,} of them"),
    ("mempool.md", f"**cluster** (at most {default('limitclustercount')}, {default('limitclustersize')} kvB)"),
    ("mempool.md", f"announced again every {limits.REBROADCAST_INTERVAL_MIN / 60:g} to"
     f" {(limits.REBROADCAST_INTERVAL_MIN + limits.REBROADCAST_INTERVAL_SPREAD) / 60:g} minutes"),
    ("mempool.md", f"({limits.MAX_PEER_TXS_IN_VALIDATION:,} transactions and"
     f" {limits.MAX_PEER_TX_BYTES_IN_VALIDATION // 10**6} MB for each peer, {limits.MAX_TXS_IN_VALIDATION:,} and"
     f" {limits.MAX_TX_BYTES_IN_VALIDATION // 10**6} MB together)"),
    ("mempool.md", f"the worst go until the pool is {100 // pool.EVICTION_SHARE} % below it (with a budget under"
     f" {pool.BULK_EVICTION_BYTES // 10**6} MB: just below it)"),
    ("mempool.md", f"of {tx_verifier.BATCH_INPUTS} inputs, {tx_verifier.BATCHES_AHEAD} of them ahead"),
    ("mempool.md", f"`--mempoolexpiry` ({default('mempoolexpiry')} h)"),
    ("mempool.md", f"Up to {fee_stats.EXACT_BLOCKS} owed blocks are rounded"),
    ("mempool.md", f"buckets {fee_estimator.SPACING * 100 - 100:.0f} % apart"),
    ("mempool.md", f"or the pool has changed and {REFRESH_SECONDS} s have passed"),
    ("differences.md", f"bounded to {room.ROOM_BYTES >> 20} MiB; a batch's answer above"
     f" {jsonrpc.BATCH_BYTES >> 20} MiB is sent in chunks while it is made; {http_server.MAX_CONNECTIONS} connections"),
    ("differences.md", f"More than {http_server.MAX_CONNECTIONS} connections, or"),
    ("differences.md", f"more than {jsonrpc.MAX_ARRAYS:,} arrays or {jsonrpc.MAX_OBJECTS:,} objects"),
    ("differences.md", f"`mempool.dat` may hold {persistence.MAX_DELTAS:,} fee deltas"),
    ("differences.md", f"`-dbcache` is {default('dbcache')} MiB"),
    ("operations.md", f"`-maxmemory` ({default('maxmemory')} MiB) is for everything"),
    ("operations.md", f"and {GROUP_SHARE * 100:g} % of that is the budget"),
    ("operations.md", f"| headers, {memory_plan.HEADER} bytes each"),
    ("operations.md", f"compiled kernels, {memory_plan.KERNELS >> 20} for each of these processes | "
     + plan_row(*(given.kernels * (1 + given.workers) * memory_plan.KERNELS for given in PLANS[:4])) + " |"),
    ("operations.md", "| blocks on their way: four times their bytes, and one of the worst | "
     + plan_row(*(memory_plan.QUEUE_FACTOR * given.queue + memory_plan.LARGE_BLOCK for given in PLANS)) + " |"),
    ("operations.md", f"| received of peers and not handled | {plan_row(*(given.held for given in PLANS))} |"),
    ("operations.md", "answers of JSON-RPC and REST | " + plan_row(*(given.answers for given in PLANS)) + " |"),
    ("operations.md", "blocks parsed and as JSON | " + plan_row(*(given.lately for given in PLANS)) + " |"),
    ("operations.md", f"(`-dbcache`), while mempool and peers have not taken it | {memory_plan.MIN_CACHE >> 20} | "
     + " | ".join(str(given.coins >> 20) for given in PLANS[1:]) + " |"),
    ("operations.md", f"which needs {math.ceil(memory_plan.least(WISHES) / GROUP_SHARE / 2**20)} MiB with"),
    ("operations.md", f"Mainnet needs {math.ceil(memory_plan.least(ON_MAINNET) / GROUP_SHARE / 2**20)} MiB"),
    ("operations.md", f"takes {room.VERBOSE_FACTOR} times its size"),
    ("operations.md", f"a file above {stacks.MAX_FILE_BYTES >> 20} MiB begins anew"),
    ("operations.md", f"{'Twelve' if PATIENCE_S == 12 else PATIENCE_S} seconds without any peer are a warning"),
    ("python-api.md", f"Who falls {events.MAX_WAITING:,} events behind misses the oldest"),
    ("operations.md", f"`-prune={MIN_PRUNE_MIB}` (or more, in MiB)"),
    ("operations.md", f"The newest {limits.MIN_BLOCKS_TO_KEEP} blocks always stay"),
    ("running.md", f"Room: about {CHAIN_GB['mainnet']} GB for blocks and undo data"),
    ("running.md", f"about {CHAIN_GB['testnet4']}, {CHAIN_GB['testnet3']} and {CHAIN_GB['signet']} GB."),
    *(("running.md", f"| {network.p2p_port} | {network.rpc_port} |") for network in NETWORKS),
    *(("running.md", f"| `{network.name}`{' (default)' if network is MAINNET else ''} |") for network in NETWORKS),
]  # fmt: skip
"""Pages and what must stand in one: figures that are made of the code's own, so that no copy of them grows old."""


@pytest.mark.parametrize(("page", "text"), STATEMENTS, ids=[f"{page}-{text[:40]}" for page, text in STATEMENTS])
def test_figures_are_those_of_the_code(page: str, text: str) -> None:
    assert text in " ".join((ROOT / "docs" / page).read_text().split())


def code_of(page: Path) -> list[str]:
    """What a page writes as code: spans in backticks, lines that are indented or fenced."""
    text = page.read_text()
    fenced = re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S)
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```\w*\n.*?^```", "", text, flags=re.M | re.S))
    lines = [line.strip() for block in fenced for line in block.splitlines()]
    return [*spans, *lines, *(line.strip() for line in re.findall(r"^ {4}(\S.*)$", text, re.M))]


OF_OTHERS = {
    "k", "m", "n", "x", "q", "f", "t", "v", "p", "d", "g", "build", "dist", "configfile", "timeout-factor", "system",
    "home-dir", "now", "durations", "strict", "help-all", "install-completion", "openrpc", "network", "name", "noname",
    "no-name", "height", "roots", "mineblock", "previous-releases", "segwit", "usecli", "ihave1111", "ihave1111and2222",
    "ipv4", "ipv6", "nonloopback", "v1transport",
}  # fmt: skip
"""Options of pytest, mypy, docker, systemd, Core's tests, and those of ``btcnode`` that are no settings."""


def of_scripts() -> set[str]:
    """The options of the programs under scripts/."""
    texts = [path.read_text() for path in (ROOT / "scripts").rglob("*.py")]
    return {name for text in texts for name in re.findall(r'add_argument\(\s*"--([a-z0-9-]+)"', text)}


def of_commands() -> set[str]:
    """The options of the commands of ``btcnode``, those of groups of commands too."""
    found: set[str] = set()
    commands: list[Any] = [typer.main.get_command(app)]
    while commands:
        command = commands.pop()
        found |= {word.lstrip("-") for given in command.params for word in given.opts}
        commands += getattr(command, "commands", {}).values()
    return found


def is_option(name: str) -> bool:
    """Whether either daemon or the client has an option of this name."""
    try:
        parse_options([f"-{name}"])
    except OptionError:
        return is_known(name) or is_known(name.removeprefix("no").removeprefix("-"))
    return True


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_that_a_page_names_are_there(page: Path) -> None:
    words = {word for code in code_of(page) for word in re.findall(r"(?<![\w-])--?([a-z][a-z0-9-]*)", code)}
    assert sorted(word for word in words - OF_OTHERS - of_scripts() - of_commands() if not is_option(word)) == []


VERBS = (
    "add|analyze|clear|combine|convert|create|decode|derive|disconnect|dump|estimate|finalize|generate|get|import|"
    "invalidate|join|list|load|prioritise|prune|reconsider|save|scan|send|set|sign|submit|test|utxoupdate|validate|verify"
)
NO_METHODS = {"addresses", "addresstype", "addrinfo", "settings", "signatures", "getutxos"}
"""Names of folders, files, an option of the wallet, a page of REST."""


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "rpc.md"], ids=lambda page: page.name)
def test_methods_that_a_page_names_are_there(page: Path) -> None:
    known = NO_METHODS | {kind.command for kind in MESSAGE_CLASSES} | {method.name for method in every_method()}
    words = {word for code in code_of(page) for word in re.findall(rf"\b((?:{VERBS})[a-z]{{5,}})\b", code)}
    assert sorted(word for word in words - known if not is_known(word)) == []


def commands() -> list[tuple[str, str]]:
    """Pages and the command lines of our programs in them."""
    found = []
    for page in PAGES:
        for code in code_of(page):
            line = re.sub(r"\s+#.*| &&.*|; .*", "", code)
            if re.match(r"(btcnode start|btcnoded|btcnode-cli) ", line) and "..." not in line:
                found.append((page.name, line))
    return found


@pytest.mark.parametrize(("page", "line"), commands())
def test_commands_are_understood(page: str, line: str) -> None:
    words = shlex.split(line)
    if words[0] == "btcnode-cli":
        options, rest = parse_options(words[1:])
        assert not rest or rest[0] in {method.name for method in every_method()}
        assert options or rest
    elif words[0] == "btcnoded":
        parse_daemon_words(words[1:])
    else:
        names = [word[2:] for word in words if word.startswith("--")]
        assert all(name in OPTIONS or name in ("network", "help", "help-all") for name in names)


def test_methods_that_no_bitcoind_has_are_named() -> None:
    page = (ROOT / "docs/differences.md").read_text()
    assert [method.name for method in every_method() if method.own and f"`{method.name}`" not in page] == []
