"""Scenarios: what is refused is named, what comes along is sound."""

from __future__ import annotations

import dataclasses
import types
import typing

import pytest

from btcnode.errors import ConfigError
from btcnode.simulate.command import EXAMPLES, scenario_text
from btcnode.simulate.scenario import Scenario, ScenarioError, read_scenario


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("network = 3", "network has to be a table"),
        ("[network]\nnodes = 0", "network.nodes is 0; it has to be at least 1 and at most 5000"),
        ("[network]\nnodes = 10000000000", "network.nodes is 10000000000"),
        ("[network]\nnodes = 2.5", "network.nodes has to be a whole number"),
        ("[network]\nnodes = true", "network.nodes has to be a whole number"),
        ("[network]\nnods = 5", "unknown key network.nods"),
        ("[nets]", "unknown key nets"),
        ("[network]\nblock_relay = 'fast'", "it can be compact, xthin, plain"),
        ("[network]\nblock_relay = 1", "network.block_relay has to be text"),
        ("compare = 'compact'", "compare has to be a list"),
        ("compare = ['fast']", "it can be compact, xthin, plain"),
        ("[latency]\nmodel = 'uniform'\nminimum = -0.1", "latency.minimum is -0.1"),
        ("[latency]\nmodel = 'uniform'\nminimum = 0.2\nmaximum = 0.1", "latency.minimum is more than latency.maximum"),
        ("[latency]\njitter = nan", "latency.jitter is nan"),
        ("[links]\nloss = 1.5", "links.loss is 1.5"),
        ("[links]\nupload = 0", "links.upload is 0"),
        ("[time]\nduration = 0", "time.duration is 0; it has to be more than 0"),
        ("[time]\nduration = inf", "time.duration is inf"),
        ("[network]\nmax_connections = 5", "network.max_connections is less"),
        ("[network]\nnodes = 5", "network.miners is more than network.nodes"),
        ("[eclipse]\nvictims = 500", "eclipse.victims is more than network.nodes"),
        ("[eclipse]\nvictims = 1\nhosts = 2", "eclipse.inbound is more than eclipse.hosts"),
        ("[blocks]\ntransactions = 20000\nsize = 100000", "more than a block"),
        ("[[partition]]\nregion = 'moon'", "partition[0].region is 'moon'"),
        ("[latency]\nmodel = 'uniform'\n[[partition]]\nregion = 'asia'", "needs latency.model = 'regions'"),
        ("partition = 1", "partition has to be a list"),
        ("[network]\nnodes = 5000\ntick = 0.05\n[time]\nduration = 2500000", "too much for one simulation"),
        ("[transactions]\nrate = 1000\nsize = 100000\n[time]\nduration = 80000", "too much for one simulation"),
        ("[network", "the scenario is not TOML"),
        ("a = " + "[" * 5000, "the scenario is not TOML"),
        ("seed = -1", "seed is -1"),
    ],
)
def test_what_cannot_be_simulated_is_named(text: str, words: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        read_scenario(text)
    assert words in str(caught.value)
    assert isinstance(caught.value, ConfigError)


VALUES = (
    *("0x" + "f" * 6000, "9" * 5000, "-" + "9" * 400, "9223372036854775808", "-1", "0b1", "1.5", "-0.0", "1e-320"),
    *("nan", "inf", "-inf", "1e400", "true", "''", "'" + "x" * 100_000 + "'", "[]", "[[1]]", "[1]", "{}", "{a=1}"),
    *("1979-05-27", "07:32:00", "[{}]", "[{at=nan}]"),
)


@pytest.mark.parametrize("table", [item.name for item in dataclasses.fields(Scenario)])
def test_any_value_of_any_key_is_read_or_refused_in_a_few_words(table: str) -> None:
    kind = typing.get_type_hints(Scenario)[table]
    inner = kind.__args__[0] if isinstance(kind, types.GenericAlias) else kind
    head = f"[[{table}]]" if inner is not kind else f"[{table}]"
    keys = [item.name for item in dataclasses.fields(inner)] if dataclasses.is_dataclass(inner) else []
    texts = [f"{table} = {value}" for value in VALUES]
    texts += [f"{head}\n{key} = {value}" for key in [*keys, "k" * 100_000] for value in VALUES]
    refused = 0
    for text in texts:
        try:
            read_scenario(text)
        except ScenarioError as error:
            refused += 1
            assert len(str(error)) < 400, text[:80]
    assert refused > len(texts) / 3


def test_an_empty_scenario_has_the_defaults() -> None:
    assert read_scenario("") == Scenario()


def test_a_whole_number_does_where_a_number_is_wanted() -> None:
    assert read_scenario("[time]\nduration = 60").time.duration == 60.0


def test_a_partition_may_last_for_good() -> None:
    assert read_scenario("[[partition]]\nlasts = inf").partition[0].lasts == float("inf")


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.toml")))
def test_examples_are_sound(name: str) -> None:
    assert read_scenario(scenario_text(name)).name


def test_a_scenario_that_is_not_there_is_named() -> None:
    with pytest.raises(ScenarioError, match=r"scenario nowhere\.toml: No such file or directory\. .*eclipse"):
        scenario_text("nowhere.toml")
