"""Commands of the user at events."""

from __future__ import annotations

from pathlib import Path

from btcnode.cli.run_hooks import RunHooks
from btcnode.settings.groups.notifications import NotificationSettings
from tests.lib.settings import loaded_by_daemon


def _settings(directory: Path, *words: str) -> NotificationSettings:
    return loaded_by_daemon("-regtest", f"-datadir={directory}", *words).settings.notifications


def test_every_command_runs_at_the_end(tmp_path: Path) -> None:
    told = tmp_path / "told"
    told.mkdir()
    commands = tuple(f"echo {n} > {told}/{n}" for n in range(3))
    words = [f"-shutdownnotify={command}" for command in commands]
    RunHooks(_settings(tmp_path, *words)).stopping()
    assert sorted(path.read_text() for path in told.iterdir()) == ["0\n", "1\n", "2\n"]
