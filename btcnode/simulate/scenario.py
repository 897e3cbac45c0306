"""Scenarios: what is simulated, read from TOML. Every value has its range here; everything else is refused by name."""

from __future__ import annotations

import dataclasses
import math
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import field
from typing import Any

from btcnode.errors import ConfigError
from btcnode.record import record
from btcnode.simulate.regions import REGIONS

RELAY_FORMS = ("compact", "xthin", "plain")
MAX_NODES = 5_000
MAX_HOSTS = 10_000  # of the attacker
MAX_SECONDS = 30 * 24 * 3600.0
MAX_TICKS = 200_000_000  # of all nodes together: days of processor time
MAX_BLOCK_BYTES = 3_500_000  # of a block's transactions: below the weight limit with room for the coinbase
MIN_TX_SIZE = 100
MAX_MADE_BYTES = 4_000_000_000  # of all transactions of a run


class ScenarioError(ConfigError):
    """The scenario cannot be simulated; the text says which key, and why."""


def ranged(default: Any, low: float, high: float, *, above: bool = False) -> Any:
    """A number of a scenario with its range; ``above``: the lower end itself is refused."""
    return field(default=default, metadata={"low": low, "high": high, "above": above})


def chosen(default: str, *names: str) -> Any:
    """One of some words."""
    return field(default=default, metadata={"names": names})


@record
class NetworkTable:
    """``[network]``: who takes part. ``known_addresses``: of others in each address book at the start.

    ``miners`` share the honest hash rate equally; without any nobody finds the honest blocks. ``listening`` is the
    share of nodes that accept connections. Where nodes find nobody to fill their places they go on looking, as real
    ones do, which takes most of the time: have more ``nodes`` than five times ``outbound``.
    ``tick``: seconds between two looks of a node at its timers; a real node looks each 0.1 s.
    """

    nodes: int = ranged(100, 1, MAX_NODES)
    outbound: int = ranged(8, 0, 100)
    block_relay_only: int = ranged(2, 0, 100)
    max_connections: int = ranged(125, 0, 10_000)
    listening: float = ranged(1.0, 0.0, 1.0)
    known_addresses: int = ranged(60, 0, MAX_NODES)
    block_relay: str = chosen("compact", *RELAY_FORMS)
    miners: int = ranged(10, 0, MAX_NODES)
    tick: float = ranged(1.0, 0.05, 60.0)


@record
class TimeTable:
    """``[time]``: seconds. Nothing is measured, mined or disturbed during ``warm_up``, which comes before."""

    duration: float = ranged(3600.0, 0.0, MAX_SECONDS, above=True)
    warm_up: float = ranged(120.0, 0.0, MAX_SECONDS)


@record
class LatencyTable:
    """``[latency]``: seconds in one direction between two nodes; each packet takes up to ``jitter`` of that longer.

    ``uniform``: between ``minimum`` and ``maximum``; ``lognormal``: by ``median`` and ``sigma``; ``regions``: of the
    built-in table (``regions.py``). Drawn once for each pair of nodes.
    """

    model: str = chosen("regions", "regions", "uniform", "lognormal")
    minimum: float = ranged(0.01, 0.0, 3600.0)
    maximum: float = ranged(0.15, 0.0, 3600.0)
    median: float = ranged(0.06, 0.0, 3600.0, above=True)
    sigma: float = ranged(0.5, 0.0, 5.0)
    jitter: float = ranged(0.1, 0.0, 100.0)


@record
class LinksTable:
    """``[links]``: bytes per second of a node's line up and down, and the share of packets that are lost.

    ``slow_share`` of the nodes have ``slow`` times that rate. A lost packet is sent again after ``retransmission``
    seconds, then after twice as long, and so on.
    """

    upload: float = ranged(2_500_000.0, 1.0, 1e12)
    download: float = ranged(12_500_000.0, 1.0, 1e12)
    slow_share: float = ranged(0.0, 0.0, 1.0)
    slow: float = ranged(0.1, 0.0001, 1.0)
    loss: float = ranged(0.0, 0.0, 1.0)
    retransmission: float = ranged(0.2, 0.001, 60.0)


@record
class ValidationTable:
    """``[validation]``: seconds that a node takes for a block, for each of its transactions, for a transaction."""

    block: float = ranged(0.02, 0.0, 3600.0)
    block_transaction: float = ranged(0.00002, 0.0, 60.0)
    transaction: float = ranged(0.0005, 0.0, 60.0)


@record
class BlocksTable:
    """``[blocks]``: a block every ``interval`` seconds (on average, or exactly) of at most so many transactions.

    Those that were relayed come first; the rest is made up, and each node has each of them with probability ``known``
    without having been sent it (``size`` bytes each).
    """

    interval: float = ranged(600.0, 1.0, MAX_SECONDS)
    arrivals: str = chosen("poisson", "poisson", "regular")
    transactions: int = ranged(2000, 0, 20_000)
    known: float = ranged(0.99, 0.0, 1.0)
    size: int = ranged(250, MIN_TX_SIZE, 100_000)


@record
class TransactionsTable:
    """``[transactions]``: how many a second come into the network at a random node; ``chained`` spend the last one."""

    rate: float = ranged(0.1, 0.0, 1000.0)
    size: int = ranged(250, MIN_TX_SIZE, 100_000)
    chained: float = ranged(0.2, 0.0, 1.0)


@record
class ChurnTable:
    """``[churn]``: ``share`` of the nodes (not of miners) go and come, after ``up`` and ``down`` s on average."""

    share: float = ranged(0.0, 0.0, 1.0)
    up: float = ranged(1800.0, 1.0, MAX_SECONDS)
    down: float = ranged(300.0, 1.0, MAX_SECONDS)


@record
class PartitionTable:
    """``[[partition]]``: from ``at`` on ``share`` of the nodes reach the others no more, for ``lasts`` seconds.

    ``region``: all nodes of that region instead of a share. ``lasts = inf``: for good.
    """

    at: float = ranged(600.0, 0.0, MAX_SECONDS)
    lasts: float = ranged(900.0, 0.0, math.inf)
    share: float = ranged(0.5, 0.0, 1.0)
    region: str = ""


@record
class SelfishTable:
    """``[selfish]``: one miner with ``hash_rate`` of the whole keeps its blocks back (Eyal and Sirer, 2013).

    ``connections``: how many peers it opens connections to, which is how fast it can spread a block in a race.
    """

    hash_rate: float = ranged(0.0, 0.0, 1.0)
    connections: int = ranged(50, 0, MAX_NODES)


@record
class EclipseTable:
    """``[eclipse]``: an attacker wants to be all that a victim sees; both are told when the measured time begins.

    Each of ``victims`` nodes has ``addresses`` of the attacker's among those it knows, ``tried`` of them as ones that
    it was connected to; then it restarts. The attacker's ``hosts`` accept connections, keep ``inbound`` connections to
    each victim, tell only of themselves and pass nothing on.
    """

    victims: int = ranged(0, 0, MAX_NODES)
    hosts: int = ranged(200, 1, MAX_HOSTS)
    addresses: int = ranged(200, 0, MAX_HOSTS)
    tried: float = ranged(0.5, 0.0, 1.0)
    inbound: int = ranged(20, 0, 10_000)


@record
class Scenario:
    """All of it. ``compare``: the forms of block relay that the run is repeated with, one after another."""

    name: str = ""
    seed: int = ranged(1, 0, 2**63 - 1)
    compare: tuple[str, ...] = ()
    network: NetworkTable = NetworkTable()
    time: TimeTable = TimeTable()
    latency: LatencyTable = LatencyTable()
    links: LinksTable = LinksTable()
    validation: ValidationTable = ValidationTable()
    blocks: BlocksTable = BlocksTable()
    transactions: TransactionsTable = TransactionsTable()
    churn: ChurnTable = ChurnTable()
    partition: tuple[PartitionTable, ...] = ()
    selfish: SelfishTable = SelfishTable()
    eclipse: EclipseTable = EclipseTable()

    @property
    def end(self) -> float:
        """When the simulation ends, in seconds since its start."""
        return self.time.warm_up + self.time.duration

    def relayed_by(self, form: str) -> Scenario:
        """The same with another form of block relay."""
        return dataclasses.replace(self, network=dataclasses.replace(self.network, block_relay=form))


def read_scenario(text: str) -> Scenario:
    """A scenario of a TOML document; raises ScenarioError."""
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also whole numbers of thousands of digits
        raise ScenarioError(f"the scenario is not TOML: {error!s:.200}") from error
    scenario = typing.cast(Scenario, _read_table(Scenario, document, ""))
    _check_whole(scenario)
    return scenario


def _read_table(kind: type, values: Mapping[str, Any], where: str) -> Any:
    hints = typing.get_type_hints(kind)
    fields = {item.name: item for item in dataclasses.fields(kind)}
    unknown = [name for name in values if name not in fields]
    if unknown:
        raise ScenarioError(f"unknown key {where}{unknown[0]:.40}; there are {', '.join(fields)}")
    return kind(**{name: _read_value(fields[name], hints[name], value, where + name) for name, value in values.items()})


def _read_value(item: dataclasses.Field[Any], hint: Any, value: Any, where: str) -> Any:
    if isinstance(hint, types.GenericAlias):
        inner = hint.__args__[0]
        if not isinstance(value, list):
            raise ScenarioError(f"{where} has to be a list")
        if inner is str:
            return tuple(_one_of(RELAY_FORMS, form, where) for form in value)
        return tuple(_read_value(item, inner, entry, f"{where}[{n}]") for n, entry in enumerate(value))
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise ScenarioError(f"{where} has to be a table")
        return _read_table(typing.cast(type, hint), value, f"{where}.")
    if hint is str:
        if not isinstance(value, str):
            raise ScenarioError(f"{where} has to be text")
        return _one_of(item.metadata.get("names", ()), value, where)
    return _number(item.metadata, hint, value, where)


def _one_of(names: tuple[str, ...], value: Any, where: str) -> Any:
    if names and value not in names:
        raise ScenarioError(f"{where} is {_shown(value)}; it can be {', '.join(names)}")
    return value


def _shown(value: Any) -> str:
    """A value as a message shows it, whatever its size."""
    if isinstance(value, int) and value.bit_length() > 128:
        return f"a number of {value.bit_length()} bits"  # whose decimal digits Python may refuse to write
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a table"
    return repr(value[:40]) if isinstance(value, str) else f"{value!r:.40}"


def _number(metadata: Mapping[str, Any], hint: Any, value: Any, where: str) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int if hint is int else int | float):
        raise ScenarioError(f"{where} has to be a {'whole number' if hint is int else 'number'}, not {_shown(value)}")
    number: int | float = value
    if hint is float:
        try:
            number = float(value)
        except OverflowError:  # of a whole number
            number = math.inf if value > 0 else -math.inf
    low, high = metadata["low"], metadata["high"]
    if not low <= number <= high or (metadata["above"] and number == low):  # also what is not a number at all
        end = "more than" if metadata["above"] else "at least"
        raise ScenarioError(f"{where} is {_shown(value)}; it has to be {end} {low:g} and at most {high:g}")
    return number


def _check_whole(scenario: Scenario) -> None:
    """What no value says by itself; raises ScenarioError."""
    network, blocks, latency = scenario.network, scenario.blocks, scenario.latency
    if latency.model == "uniform" and latency.minimum > latency.maximum:
        raise ScenarioError("latency.minimum is more than latency.maximum")
    if network.outbound + network.block_relay_only > network.max_connections:
        raise ScenarioError("network.max_connections is less than network.outbound and network.block_relay_only")
    if network.miners > network.nodes:
        raise ScenarioError("network.miners is more than network.nodes")
    if scenario.eclipse.victims > network.nodes:
        raise ScenarioError("eclipse.victims is more than network.nodes")
    if scenario.eclipse.victims and scenario.eclipse.inbound > scenario.eclipse.hosts:
        raise ScenarioError("eclipse.inbound is more than eclipse.hosts: each connects to a victim once")
    if blocks.transactions * blocks.size > MAX_BLOCK_BYTES:
        raise ScenarioError(f"blocks.transactions of blocks.size are more than a block of {MAX_BLOCK_BYTES} bytes")
    for n, partition in enumerate(scenario.partition):
        if partition.region and latency.model != "regions":
            raise ScenarioError(f"partition[{n}].region needs latency.model = 'regions'")
        if partition.region and partition.region not in REGIONS:
            raise ScenarioError(f"partition[{n}].region is {_shown(partition.region)}; it can be {', '.join(REGIONS)}")
    if network.nodes * scenario.end / network.tick > MAX_TICKS:
        raise ScenarioError("too much for one simulation: nodes x seconds / network.tick is above 200 million")
    made = blocks.transactions * blocks.size / blocks.interval + scenario.transactions.rate * scenario.transactions.size
    if made * scenario.end > MAX_MADE_BYTES:
        raise ScenarioError("too much for one simulation: its transactions have more than 4 GB")
