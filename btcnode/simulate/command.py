"""``btcnode simulate``: a scenario file in, figures and a picture out."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from btcnode.errors import ConfigError
from btcnode.files import read_limited
from btcnode.simulate.outcome import Outcome, as_text
from btcnode.simulate.run import simulate
from btcnode.simulate.scenario import Scenario, ScenarioError, read_scenario
from btcnode.simulate.svg_plot import Chart, charts_as_svg

EXAMPLES = Path(__file__).parent / "scenarios"
MAX_SCENARIO = 1_000_000  # bytes
PROGRESS_STEP = 0.1


def scenario_text(name: str) -> str:
    """The scenario in a file, or the one of this name that comes along; raises ScenarioError."""
    examples = {path.stem: path for path in sorted(EXAMPLES.glob("*.toml"))}
    path = Path(name)
    if name in examples and not path.exists():
        path = examples[name]
    try:
        return read_limited(path, MAX_SCENARIO).decode()
    except (OSError, UnicodeDecodeError, ConfigError) as error:
        there = ", ".join(examples)
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise ScenarioError(f"cannot read the scenario {name}: {reason}. Scenarios that come along: {there}") from error


def run_all(scenario: Scenario, seed: int | None, show: Callable[[str], None]) -> list[Outcome]:
    """Carry the scenario out, once for each form of block relay that is compared; ``show`` takes lines of progress."""
    outcomes = []
    for form in scenario.compare or (scenario.network.block_relay,):
        outcomes.append(simulate(scenario.relayed_by(form), seed, _shown(form, show)))
    return outcomes


def _shown(form: str, show: Callable[[str], None]) -> Callable[[float, str], None]:
    """Progress as lines, one for each tenth of the run."""
    due = 0.0

    def progress(share: float, doing: str) -> None:
        nonlocal due
        if share >= due or share >= 1:
            due = share + PROGRESS_STEP
            show(f"{form}: {share:4.0%} {doing}")

    return progress


def picture(outcomes: Sequence[Outcome]) -> str:
    """How blocks and transactions spread, as SVG."""
    blocks = {outcome.form: outcome.blocks.curve() for outcome in outcomes}
    transactions = {outcome.form: outcome.transactions.curve() for outcome in outcomes}
    charts = [Chart("Blocks: % of nodes reached", blocks), Chart("Transactions: % of nodes reached", transactions)]
    return charts_as_svg(charts, "seconds")


def simulate_file(name: str, seed: int | None, out: Path | None, show: Callable[[str], None], *, as_json: bool) -> str:
    """Carry out the scenario ``name``, draw it to ``out``; returns the figures as text, or JSON. Raises ScenarioError.

    Without ``out`` the picture goes into the present folder, named like the scenario.
    """
    scenario = read_scenario(scenario_text(name))
    if seed is not None and seed < 0:
        raise ScenarioError("the seed has to be at least 0")
    place = out if out is not None else Path(f"{Path(name).stem}.svg")
    if not place.parent.is_dir():
        raise ScenarioError(f"cannot write {place}: there is no folder {place.parent}")
    outcomes = run_all(scenario, seed, show)
    try:
        place.write_text(picture(outcomes))
    except OSError as error:
        raise ScenarioError(f"cannot write {place}: {error}") from error
    show(f"picture: {place}")
    if as_json:
        return json.dumps([outcome.as_json() for outcome in outcomes], indent=2)
    return "\n\n".join(as_text(outcome) for outcome in outcomes)
