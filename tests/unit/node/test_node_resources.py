"""Descriptors and disk space."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from btcnode.errors import ConfigError, StorageError
from btcnode.node import resources
from btcnode.node.resources import (
    DISK_INTERVAL,
    MANUAL_CONNECTIONS,
    MIN_FREE_BYTES,
    OWN_FILES,
    DiskWatch,
    fit_connections,
    http_limits,
)
from tests.lib.settings import settings_of


def test_connections_fit_the_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = [100, 400]
    monkeypatch.setattr(resource, "getrlimit", lambda _: tuple(limits))
    monkeypatch.setattr(resource, "setrlimit", lambda _, new: limits.__setitem__(0, new[0]))
    settings, warning = fit_connections(settings_of(maxconnections=125))
    assert (settings.connections.maxconnections, warning, limits[0]) == (125, None, 400)
    settings, warning = fit_connections(settings_of(maxconnections=1000))
    assert settings.connections.maxconnections == 240
    assert warning == "Reducing -maxconnections from 1000 to 240, because of system limitations."
    limits[:] = [50, 100]
    with pytest.raises(ConfigError, match=r"Not enough file descriptors available\. 100 available, 160 required\."):
        fit_connections(settings_of())
    limits[:] = [resource.RLIM_INFINITY, resource.RLIM_INFINITY]
    assert fit_connections(settings_of())[1] is None


def test_http_clients_get_what_peers_and_files_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    for allowed, peers, expected in ((400, 125, 155), (1 << 16, 125, 256), (300, 140, 40), (285, 125, 40)):
        limits = [allowed, allowed]
        monkeypatch.setattr(resource, "getrlimit", lambda _, limits=limits: tuple(limits))
        settings, _ = fit_connections(settings_of(maxconnections=peers))
        http = http_limits(settings).most_connections
        assert http == expected
        assert http + settings.connections.maxconnections + MANUAL_CONNECTIONS + 1 + OWN_FILES + 36 <= allowed


def test_a_full_disk_ends_the_start_and_the_node(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stopped: list[bool] = []
    free = [MIN_FREE_BYTES]
    watch = DiskWatch(settings_of(datadir=tmp_path), lambda: stopped.append(True), lambda _: free[0])
    watch.check_start(2)
    assert not caplog.messages
    watch.check_start(0)
    assert "may not accommodate the block files. Approximately 856 GB" in caplog.text
    assert "utreexoindex" not in caplog.text
    with_proofs = settings_of(datadir=tmp_path, utreexoindex=True)
    DiskWatch(with_proofs, lambda: None, lambda _: 900 << 30).check_start(0)
    assert "utreexoindex" not in caplog.text
    DiskWatch(with_proofs, lambda: None, lambda _: 700 << 30).check_start(0)
    assert (
        "may not accommodate the utreexoindex: with the proofs of all blocks it takes approximately 750" in caplog.text
    )
    watch.check(10.0)
    free[0] -= 1
    watch.check(10.0 + DISK_INTERVAL - 1)
    assert not stopped
    watch.check(10.0 + DISK_INTERVAL)
    assert stopped == [True]
    with pytest.raises(StorageError, match="Disk space is low"):
        watch.check_start(2)
    assert resources.raise_descriptor_limit(1) >= 1
