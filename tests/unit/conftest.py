"""A real node without sockets for peers, and a client that speaks HTTP without any help from the package."""

from __future__ import annotations

import base64
import http.client
import json
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from btcnode.rpc.server import RpcServer
from tests.lib.node_parts import NodeLab, regtest_config


class Running(NodeLab):
    """The node with its RPC server, asked over HTTP."""

    @property
    def server(self) -> RpcServer:
        assert self.opened.rpc is not None
        return self.opened.rpc

    @property
    def port(self) -> int:
        """Where the server listens on 127.0.0.1."""
        return self.server.addresses[0][1]

    @property
    def cookie_path(self) -> Path:
        return self.settings.cookie_path or self.settings.net_dir / "none"

    @property
    def authorization(self) -> str:
        return "Basic " + base64.b64encode(self.cookie_path.read_bytes()).decode()

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def post(
        self, body: Any, headers: dict[str, str] | None = None, path: str = "/"
    ) -> tuple[int, Any, http.client.HTTPResponse]:
        """``(status, parsed body or None, response)``."""
        connection = self.connect()
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        if headers is None:
            headers = {"Authorization": self.authorization}
        connection.request("POST", path, data, headers)
        response = connection.getresponse()
        text = response.read()
        connection.close()
        is_json = response.headers.get("Content-Type") == "application/json"
        return response.status, json.loads(text) if is_json and text else text, response

    def call(self, method: str, *params: Any) -> Any:
        """A result, or the error object."""
        _, reply, _ = self.post({"id": 1, "method": method, "params": list(params)})
        return reply["error"] or reply["result"]

    def call_wallet(self, wallet: str, method: str, *params: Any) -> Any:
        """The same at a wallet's path."""
        body = {"id": 1, "method": method, "params": list(params)}
        _, reply, _ = self.post(body, path=f"/wallet/{urllib.parse.quote(wallet)}")
        return reply["error"] or reply["result"]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    server = Running(regtest_config(tmp_path))
    yield server
    server.close()


@pytest.fixture
def run_server(tmp_path: Path) -> Iterator[Any]:
    """Start servers with options of the test's choice."""
    started: list[Running] = []

    def start(**options: Any) -> Running:
        started.append(Running(regtest_config(tmp_path, **options)))
        return started[-1]

    yield start
    for server in started:
        server.close()
