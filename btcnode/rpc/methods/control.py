"""The process and the server itself."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable
from time import monotonic
from typing import Annotated, Any, TypedDict

from btcnode.rpc.allocator import heap, malloc_info
from btcnode.rpc.declare import HIDDEN, MAY_HOLD_EQUALS, Bits, Hint, Named, When, rpc
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.given import Items
from btcnode.rpc.method import Method
from btcnode.rpc.room import in_slices
from btcnode.rpc.shapes import Arg, Kind, Result
from btcnode.rpc.table import MethodTable
from btcnode.services.control import Control
from btcnode.services.parts import NodeParts
from btcnode.settings.groups.log import LOG_CATEGORIES

STOPPING = "btcnode stopping"
MAX_STOP_DELAY_MS = 60_000


@rpc("control")
def uptime(control: Control) -> Annotated[int, "Seconds"]:
    """Seconds since the node started."""
    return control.uptime()


@rpc("control", in_warmup=True)
async def stop(
    control: Control, wait: Annotated[int | None, "Milliseconds to wait before the answer", HIDDEN] = None
) -> Annotated[str, f"The text '{STOPPING}'"]:
    """Ask the node to shut down."""
    control.request_stop()
    if wait:
        await asyncio.sleep(min(max(wait, 0), MAX_STOP_DELAY_MS) / 1000)
    return STOPPING


def _resident_kib() -> int:
    """Most memory the process has had, in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class HeapInfo(TypedDict):
    """Figures of the allocator."""

    used: Annotated[int, "Bytes in use"]
    free: Annotated[int, "Bytes free"]
    total: Annotated[int, "Bytes in all"]
    locked: Annotated[int, "Bytes kept from swapping"]
    chunks_used: Annotated[int, "Objects in use"]
    chunks_free: Annotated[int, "Pieces free"]


class ProcessMemory(TypedDict):
    """What the system says of the process."""

    peak_resident: Annotated[int, "Most bytes resident so far"]


class MemoryInfo(TypedDict):
    """Memory of the process."""

    locked: Annotated[HeapInfo, "The heap"]
    process: Annotated[ProcessMemory, "The whole process"]


@rpc("control", examples=((), ("mallocinfo",)))
def getmemoryinfo(
    control: Control,
    mode: Annotated[str, '"stats" for figures, "mallocinfo" for the report of the C library'] = "stats",
) -> (
    Annotated[MemoryInfo, When('mode "stats"', mode=("stats",))]
    | Annotated[str, "The report in XML", When('mode "mallocinfo"', mode=("mallocinfo",))]
):
    """Memory of the process: the allocator's figures, as nothing is kept from swapping here."""
    if mode == "mallocinfo":
        report = malloc_info()
        if report is None:
            raise RpcError(RpcCode.INVALID_PARAMETER, "mallocinfo mode not available")
        return report
    if mode != "stats":
        raise RpcError(RpcCode.INVALID_PARAMETER, f"unknown mode {mode}")
    found = heap()
    locked: HeapInfo = {
        "used": found.used,
        "free": found.free,
        "total": found.used + found.free,
        "locked": 0,
        "chunks_used": found.chunks_used,
        "chunks_free": found.chunks_free,
    }
    return {"locked": locked, "process": {"peak_resident": _resident_kib() * 1024}}


def _switch(control: Control, name: str, *, enabled: bool) -> None:
    """Switch a category, all of them for "all" and "1"; raises RpcError."""
    known = control.log_categories()
    if name not in ("all", "1", "") and name not in known:
        raise RpcError(RpcCode.INVALID_PARAMETER, f"unknown logging category {name}")
    for category in [name] if name in known else known:
        control.set_log_category(category, enabled)


Included = Items[Annotated[str, Named("include_category"), "A category"]]
Excluded = Items[Annotated[str, Named("exclude_category"), "A category"]]


@rpc(
    "control",
    examples=((["all"], ["http"]),),
    notes=f"The valid logging categories are: {', '.join(sorted(LOG_CATEGORIES))}",
)
async def logging(
    control: Control,
    include: Annotated[Included | None, "Categories to switch on"] = None,
    exclude: Annotated[Excluded | None, "Categories to switch off"] = None,
) -> Annotated[
    dict[str, Annotated[bool, Named("category"), "Whether it is logged"]], "Categories, and whether they are logged"
]:
    """Show and switch the categories that are logged in detail. First the included ones are switched on, then the
    excluded ones off; "all" means every one.
    """
    for names, enabled in ((include, True), (exclude, False)):
        async for name in in_slices(names or ()):  # those before a wrong one stay switched, as in Core
            _switch(control, name, enabled=enabled)
    return dict(control.log_categories())


@rpc("hidden", examples=((1700000000,),))
def setmocktime(node: NodeParts, timestamp: Annotated[int, "Unix seconds, 0 for the real clock", Bits(64)]) -> None:
    """Set the node's clock."""
    if not node.params.mineable:
        raise RpcError(RpcCode.MISC_ERROR, "setmocktime is for regression testing (-regtest mode) only")
    if not 0 <= timestamp <= 9_223_372_036:
        raise RpcError(RpcCode.INVALID_PARAMETER, f"Mocktime must be in the range [0, 9223372036], not {timestamp}.")
    node.clock.set_mock(timestamp)


@rpc("hidden", examples=((60,),))
def mockscheduler(node: NodeParts, delta_time: Annotated[int, "Seconds", Bits(64)]) -> None:
    """Let the slow timers run ahead, in tests."""
    if node.params.name != "regtest":
        raise RpcError(RpcCode.MISC_ERROR, "mockscheduler is for regression testing (-regtest mode) only")
    if not 0 < delta_time <= 3600:
        raise RpcError(RpcCode.MISC_ERROR, "delta_time must be between 1 and 3600 seconds (1 hr)")
    node.peers.forward_timers(delta_time)
    if node.fees is not None:
        node.fees.forward(delta_time)
    if node.wallets is not None:
        node.wallets.forward()


def _echo(control: Control, *values: Any) -> list[Any]:
    """The arguments as given; raises RpcError when the tenth asks for it."""
    if values[9:] == ("trigger_internal_bug",):
        text = 'Internal bug detected: request.params[9].get_str() != "trigger_internal_bug"'
        raise RpcError(RpcCode.MISC_ERROR, f"{text}\nThis is what the caller asked for, to see such a message.")
    return list(values)


def _echo_declaration(words: str) -> Callable[[Callable[..., Any]], tuple[tuple[Arg, ...], tuple[Result, ...]]]:
    args = tuple(Arg(f"arg{n}", Kind.STR, "Anything", None, any_type=True, words=words) for n in range(10))
    return lambda handler: (args, (Result(Kind.ANY),))


echo, echojson = (
    Method(
        name,
        "hidden",
        "Answer with the arguments.",
        _echo,
        _echo_declaration(words),
        examples=(("hello",),),
        verbatim=True,
    )
    for name, words in (("echo", ""), ("echojson", "json"))
)


@rpc("hidden", examples=(("Hello world",),))
def echoipc(control: Control, arg: Annotated[str, "Anything", MAY_HOLD_EQUALS]) -> Annotated[str, "The same"]:
    """Answer with the argument."""
    return arg


class ActiveCommand(TypedDict):
    """A call in progress."""

    method: Annotated[str, "Method"]
    duration: Annotated[int, "Microseconds so far"]


class RpcInfo(TypedDict):
    """State of the server."""

    active_commands: Annotated[list[ActiveCommand], "Calls in progress"]
    logpath: Annotated[str, "The log file"]


def table_methods(table: MethodTable) -> list[Method]:
    """The methods that speak of the methods."""

    @rpc("control", examples=((), ("getblock",)))
    def help(
        control: Control, command: Annotated[str | None, "The method", Hint("all commands")] = None
    ) -> Annotated[str, "The text"] | Annotated[Any, "What clients convert"]:
        """All methods, or the help of one."""
        if command == "dump_all_command_conversions":
            return table.conversions()
        return table.help(command or "")

    @rpc("control")
    def getrpcinfo(control: Control) -> RpcInfo:
        """State of the RPC server."""
        now = monotonic()
        return {
            "active_commands": [
                {"method": name, "duration": int((now - started) * 1_000_000)} for name, started in table.in_progress()
            ],
            "logpath": control.log_path(),
        }

    return [help, getrpcinfo]
