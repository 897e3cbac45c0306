"""All that ``Protocol.step`` takes."""

from __future__ import annotations

from btcnode.protocol.commands import Command
from btcnode.protocol.events import Event

Input = Event | Command
