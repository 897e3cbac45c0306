"""One call to a node that does not run: it is started without a network for it, and stopped again."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

from btcnode.errors import BtcnodeError, ConfigError
from btcnode.node.node import Node
from btcnode.rpc.errors import RpcError
from btcnode.settings.doors import from_keywords

ALONE = {"server": False, "listen": False, "dnsseed": False, "connect": ["0"], "persistmempool": False}


def call_alone(options: dict[str, Any], told: str, method: str, *params: Any) -> Any:
    """What the method answers; ``told`` is the logger whose lines go to standard error meanwhile.

    Raises BtcnodeError, also for what the method refuses, and ConfigError where there is no node's directory.
    """
    settings = from_keywords({**options, **ALONE}).settings
    if not settings.net_dir.is_dir():
        raise ConfigError(f"There is no node's directory {settings.net_dir}")
    logger = logging.getLogger(told)
    logger.setLevel(logging.INFO)
    logger.addHandler(logging.StreamHandler(sys.stderr))

    async def call() -> Any:
        node = Node(settings)
        async with node.life():
            table = node.launch.table
            return await table.call_async(table.find(method), list(params))

    try:
        return asyncio.run(call())
    except RpcError as error:
        raise BtcnodeError(error.message) from None
