"""One attack on a running node: the attackers in a process of their own, the observer beside them."""

from __future__ import annotations

import base64
import multiprocessing
from collections import Counter
from dataclasses import dataclass
from multiprocessing.connection import Connection

from tests.lib.hostile.attacker import Army, Tally
from tests.lib.hostile.kinds import Door, Kind, Source
from tests.lib.hostile.observer import Observer, Seen
from tests.lib.hostile.sites import Node
from tests.lib.hostile.world import World

GRACE = 60.0  # seconds that the attackers' process has beyond its time


@dataclass(slots=True)
class Result:
    """One kind, so many peers, one node; ``broken`` says why it was not done."""

    node: str
    kind: str
    peers: int
    seen: Seen
    tally: Tally
    memory: int
    reasons: Counter[str]
    survived: bool = True
    broken: str = ""


def besiege(
    kind: Kind, source: Source, ports: dict[Door, int], login: bytes, count: int, seconds: float, pipe: Connection
) -> None:
    """The attackers' process: connect when told so, attack when told so, tell what came of it."""
    army = Army(kind, source, ports, count, login)
    pipe.recv()
    army.connect()
    pipe.send(None)
    pipe.recv()
    pipe.send(army.attack(seconds))


def attack(node: Node, kind: Kind, source: Source, count: int, seconds: float, world: World) -> Result:
    """Measure one attack on a running node."""
    context = multiprocessing.get_context("fork")
    pipe, theirs = context.Pipe()
    login = base64.b64encode(node.site().login.encode())
    args = (kind, source, node.ports, login, count, seconds, theirs)
    process = context.Process(target=besiege, args=args, daemon=True)
    process.start()
    observer = Observer(node.site(), world.honest[node.height - len(world.blocks) :], node.height)
    tally = Tally()
    try:
        observer.start()
        pipe.send(None)
        pipe.recv()
        node.reset_peak()
        observer.go()
        pipe.send(None)
        if pipe.poll(seconds + GRACE):
            tally = pipe.recv()
        seen = observer.stop()
    finally:
        process.kill()
        process.join()
    node.height += observer.used
    return Result(type(node).__name__, kind.name, count, seen, tally, node.peak_memory(), node.reasons())
