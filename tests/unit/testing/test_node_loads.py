"""What loads cost: finer than the ticks that /proc counts in."""

import os
import time

from tests.lib.node_loads import processor_seconds


def test_a_moment_of_work_is_seen() -> None:
    """A run shorter than a tick costs something: figures divide by it."""
    before = processor_seconds(os.getpid())
    sum(range(1000))
    assert 0 < processor_seconds(os.getpid()) - before < time.process_time()


def test_it_is_of_the_process_that_is_named() -> None:
    before = time.process_time()
    seen = processor_seconds(os.getpid())
    assert before <= seen <= time.process_time()
