"""Two-engine mode as the options want it: which blocks, and what a disagreement means for the node."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from btcnode.chain.script_checks import ShadowValidator
    from btcnode.primitives.hashes import BlockHash
    from btcnode.script.verify import ScriptFailure, ScriptJob
    from btcnode.settings.settings import Settings

DIRECTORY = "shadow"

log = logging.getLogger("btcnode.validation")


class LoggingShadow:
    """Logs disagreements (``ShadowEngine`` has written them to a file) instead of stopping the node."""

    def __init__(self, engine: ShadowValidator) -> None:
        self._engine = engine

    def selects(self, height: int) -> bool:
        """As the engine's."""
        return self._engine.selects(height)

    def check_block(
        self, height: int, block_hash: BlockHash, jobs: Sequence[ScriptJob], verdict: tuple[int, ScriptFailure] | None
    ) -> None:
        """As the engine's, without raising."""
        from btcnode.chain.shadow import ShadowDisagreement

        try:
            self._engine.check_block(height, block_hash, jobs, verdict)
        except ShadowDisagreement as disagreement:
            log.error("%s", disagreement)

    def summary(self) -> str:
        """As the engine's."""
        return self._engine.summary()

    def counts(self) -> Mapping[str, int]:
        """As the engine's."""
        return self._engine.counts()


def make_shadow(settings: Settings) -> ShadowValidator | None:
    """The second engine that the options ask for, None for none; raises ConfigError when it is not installed."""
    share = settings.chain.shadow_validation
    if not share:
        return None
    from btcnode.chain.shadow import ShadowEngine  # few nodes have a second engine

    engine = ShadowEngine(settings.net_dir / DIRECTORY, every=max(1, round(1 / share)))
    return engine if settings.chain.shadow_stop else LoggingShadow(engine)
