"""The process and the server itself."""

from __future__ import annotations

import asyncio
import resource
from time import monotonic
from typing import Any

from btcnode.debug_options import LOG_CATEGORIES
from btcnode.rpc.allocator import heap, malloc_info
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.jsonvalue import type_name
from btcnode.rpc.spec import Arg, Kind, Method, anything, arr, boolean, dyn, nothing, number, obj, rpc, string
from btcnode.rpc.table import MethodTable
from btcnode.services.control import Control
from btcnode.services.parts import NodeParts

STOPPING = "btcnode stopping"
MAX_STOP_DELAY_MS = 60_000


@rpc("control", "Seconds since the node started.", returns=number("", "Seconds"))
def uptime(control: Control) -> int:
    """See the declaration."""
    return control.uptime()


@rpc(
    "control",
    "Ask the node to shut down.",
    Arg("wait", Kind.INT, "Milliseconds to wait before the answer", None, hidden=True),
    returns=string("", f"The text '{STOPPING}'"),
    in_warmup=True,
)
async def stop(control: Control, wait: int | None) -> str:
    """See the declaration."""
    control.request_stop()
    if wait:
        await asyncio.sleep(min(max(wait, 0), MAX_STOP_DELAY_MS) / 1000)
    return STOPPING


def _resident_kib() -> int:
    """Most memory the process has had, in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@rpc(
    "control",
    "Memory of the process: the allocator's figures, as nothing is kept from swapping here.",
    Arg("mode", Kind.STR, '"stats" for figures, "mallocinfo" for the report of the C library', "stats"),
    returns=(
        obj(
            "",
            "",
            obj(
                "locked",
                "The heap",
                number("used", "Bytes in use"),
                number("free", "Bytes free"),
                number("total", "Bytes in all"),
                number("locked", "Bytes kept from swapping"),
                number("chunks_used", "Objects in use"),
                number("chunks_free", "Pieces free"),
            ),
            obj("process", "The whole process", number("peak_resident", "Most bytes resident so far")),
            when='mode "stats"',
            given={"mode": ("stats",)},
        ),
        string("", "The report in XML", when='mode "mallocinfo"', given={"mode": ("mallocinfo",)}),
    ),
    examples=((), ("mallocinfo",)),
)
def getmemoryinfo(control: Control, mode: str) -> dict[str, Any] | str:
    """See the declaration."""
    if mode == "mallocinfo":
        report = malloc_info()
        if report is None:
            raise RpcError(RpcCode.INVALID_PARAMETER, "mallocinfo mode not available")
        return report
    if mode != "stats":
        raise RpcError(RpcCode.INVALID_PARAMETER, f"unknown mode {mode}")
    found = heap()
    locked = found._asdict() | {"total": found.used + found.free, "locked": 0}
    return {"locked": locked, "process": {"peak_resident": _resident_kib() * 1024}}


def _categories(control: Control, names: list[Any]) -> list[str]:
    """Category names, "all" and "1" spelled out; raises RpcError."""
    known = control.log_categories()
    found: list[str] = []
    for name in names:
        if type_name(name) != "string":
            raise RpcError(RpcCode.TYPE_ERROR, "Logging categories are strings")
        if name in ("all", "1", ""):
            found += known
        elif name in known:
            found.append(name)
        else:
            raise RpcError(RpcCode.INVALID_PARAMETER, f"unknown logging category {name}")
    return found


_CATEGORY = (Arg("category", Kind.STR, "A category", None),)


@rpc(
    "control",
    "Show and switch the categories that are logged in detail. First the included ones are switched on, then the\n"
    'excluded ones off; "all" means every one.\n'
    f"The valid logging categories are: {', '.join(sorted(LOG_CATEGORIES))}",
    Arg("include", Kind.ARR, "Categories to switch on", None, inner=_CATEGORY),
    Arg("exclude", Kind.ARR, "Categories to switch off", None, inner=_CATEGORY),
    returns=dyn("", "Categories, and whether they are logged", boolean("category", "Whether it is logged")),
    examples=((["all"], ["http"]),),
)
def logging(control: Control, include: list[Any] | None, exclude: list[Any] | None) -> dict[str, bool]:
    """See the declaration."""
    for names, enabled in ((include, True), (exclude, False)):
        for category in _categories(control, names or []):
            control.set_log_category(category, enabled)
    return dict(control.log_categories())


@rpc(
    "hidden",
    "Set the node's clock.",
    Arg("timestamp", Kind.INT, "Unix seconds, 0 for the real clock", bits=64),
    returns=nothing(),
    examples=((1700000000,),),
)
def setmocktime(node: NodeParts, timestamp: int) -> None:
    """See the declaration."""
    if not node.params.mineable:
        raise RpcError(RpcCode.MISC_ERROR, "setmocktime is for regression testing (-regtest mode) only")
    if not 0 <= timestamp <= 9_223_372_036:
        raise RpcError(RpcCode.INVALID_PARAMETER, f"Mocktime must be in the range [0, 9223372036], not {timestamp}.")
    node.clock.set_mock(timestamp)


@rpc(
    "hidden",
    "Let the slow timers run ahead, in tests.",
    Arg("delta_time", Kind.INT, "Seconds", bits=64),
    returns=nothing(),
    examples=((60,),),
)
def mockscheduler(node: NodeParts, delta_time: int) -> None:
    """See the declaration."""
    if node.params.name != "regtest":
        raise RpcError(RpcCode.MISC_ERROR, "mockscheduler is for regression testing (-regtest mode) only")
    if not 0 < delta_time <= 3600:
        raise RpcError(RpcCode.MISC_ERROR, "delta_time must be between 1 and 3600 seconds (1 hr)")
    node.peers.forward_timers(delta_time)
    if node.fees is not None:
        node.fees.forward(delta_time)


def _echo(control: Control, *values: Any) -> list[Any]:
    """The arguments as given; raises RpcError when the tenth asks for it."""
    if values[9:] == ("trigger_internal_bug",):
        text = 'Internal bug detected: request.params[9].get_str() != "trigger_internal_bug"'
        raise RpcError(RpcCode.MISC_ERROR, f"{text}\nThis is what the caller asked for, to see such a message.")
    return list(values)


_ECHO_ARGS = tuple(Arg(f"arg{n}", Kind.STR, "Anything", None, any_type=True) for n in range(10))
echo, echojson = (
    Method(name, "hidden", "Answer with the arguments.", _echo, _ECHO_ARGS, (anything(),), (("hello",),), verbatim=True)
    for name in ("echo", "echojson")
)


@rpc(
    "hidden",
    "Answer with the argument.",
    Arg("arg", Kind.STR, "Anything"),
    returns=string("echo", "The same"),
    examples=(("Hello world",),),
)
def echoipc(control: Control, arg: str) -> str:
    """See the declaration."""
    return arg


def table_methods(table: MethodTable) -> list[Method]:
    """The methods that speak of the methods."""

    @rpc(
        "control",
        "All methods, or the help of one.",
        Arg("command", Kind.STR, "The method", None, hint="all commands"),
        returns=anything("", "The text"),
        examples=((), ("getblock",)),
    )
    def help(control: Control, command: str | None) -> Any:
        """See the declaration."""
        if command == "dump_all_command_conversions":
            return table.conversions()
        return table.help(command or "")

    @rpc(
        "control",
        "State of the RPC server.",
        returns=obj(
            "",
            "",
            arr(
                "active_commands",
                "Calls in progress",
                obj("", "", string("method", "Method"), number("duration", "Microseconds so far")),
            ),
            string("logpath", "The log file"),
        ),
    )
    def getrpcinfo(control: Control) -> dict[str, Any]:
        """See the declaration."""
        now = monotonic()
        active = [
            {"method": name, "duration": int((now - started) * 1_000_000)} for name, started in table.active.values()
        ]
        return {"active_commands": active, "logpath": control.log_path()}

    return [help, getrpcinfo]
