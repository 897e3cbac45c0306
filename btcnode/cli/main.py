"""``btcnode``: start and stop a node. The options of ``start`` are the declared ones."""

from __future__ import annotations

import gc
import inspect
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from btcnode import __version__
from btcnode.errors import BtcnodeError, ConfigError, DatadirLockedError
from btcnode.networks.names import FLAGS, NAMES
from btcnode.observe.stdio import run_program
from btcnode.settings.declaration import Option
from btcnode.settings.doors import from_keywords
from btcnode.settings.kinds import absolute, as_flag
from btcnode.settings.settings import Settings
from btcnode.settings.table import GROUPS, OPTIONS, grouped

if TYPE_CHECKING:
    from btcnode.rpc.client import RpcClient

NEGATED, AFFIRMED = "no\0", "yes\0"  # for options that are no switches; no word of a process has a zero byte
STOP_TIMEOUT_S = 600.0
STOP_POLL_S = 0.1
STOP_OPTIONS = ("datadir", "signetchallenge", "rpcport", "rpcuser", "rpcpassword", "rpccookiefile")


app = typer.Typer(
    name="btcnode",
    help="A Bitcoin full node in pure Python.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
hints = typer.Typer(help="Hints for SwiftSync.", no_args_is_help=True)
app.add_typer(hints, name="hints")
utreexo = typer.Typer(help="Proofs that coins exist, without a node (docs/utreexo.md).", no_args_is_help=True)
app.add_typer(utreexo, name="utreexo")
txoutproof = typer.Typer(help="Proofs that transactions are in a block, without a node.", no_args_is_help=True)
app.add_typer(txoutproof, name="txoutproof")


def _network_parameter() -> inspect.Parameter:
    text = f"Network: {', '.join(NAMES[:-1])} or {NAMES[-1]}."
    option = typer.Option("--network", help=text, rich_help_panel=GROUPS["chain"][0], metavar="NAME")
    return inspect.Parameter(
        "network", inspect.Parameter.KEYWORD_ONLY, default="mainnet", annotation=Annotated[str, option]
    )


def _parameter(heading: str, option: Option) -> inspect.Parameter:
    """One option as typer reads it from a signature: text that the settings parse, or a switch."""
    names = [f"--{option.flag}/--no-{option.flag}"] if option.is_switch else [f"--{option.flag}"]
    default = option.shown_default
    info = typer.Option(
        *names,
        help=option.help + (f" [default: {default}]" if default else ""),
        rich_help_panel=heading,
        metavar=None if option.is_switch else option.value_name,
        show_default=False,
        hidden=not option.common and option.flag not in STOP_OPTIONS,
    )
    kind: Any = bool | None if option.is_switch else list[str] | None if option.kind.several else str | None
    return inspect.Parameter(
        option.keyword, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, info]
    )


def _spoken(value: Any) -> Any:
    """What ``plain_words`` meant by a word, or by each of several."""
    if isinstance(value, list):
        return [_spoken(item) for item in value]
    return {NEGATED: False, AFFIRMED: True}.get(value, value)


def with_options(*flags: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the node's options (all, or those named) as its parameters, besides its own."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        own = [
            parameter
            for parameter in inspect.signature(function, eval_str=True).parameters.values()
            if parameter.kind is not inspect.Parameter.VAR_KEYWORD
        ]
        added = [_network_parameter()]
        for heading, options in grouped():
            added += [_parameter(heading, option) for option in options if not flags or option.flag in flags]

        def command(**values: Any) -> Any:
            return function(**{name: _spoken(value) for name, value in values.items()})

        command.__name__, command.__doc__ = function.__name__, function.__doc__
        command.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in [*own, *added]}
        return command

    return decorate


def _help_all(context: typer.Context, wanted: bool) -> None:
    """Show the help of a command, or of all commands, with every option."""
    if not wanted:
        return
    command = context.command
    if isinstance(command, typer.core.TyperGroup):
        for name, inner in command.commands.items():
            _show_whole(inner, typer.Context(inner, info_name=name, parent=context))
    _show_whole(command, context)
    raise typer.Exit


def _show_whole(command: Any, context: typer.Context) -> None:
    for parameter in command.params:
        parameter.hidden = False
    typer.echo(command.get_help(context))


HelpAll = Annotated[bool, typer.Option("--help-all", help="Help with every option.", callback=_help_all, is_eager=True)]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"btcnode version {__version__}")
        raise typer.Exit


@app.callback()
def options_before_commands(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
    help_all: HelpAll = False,
) -> None:
    """A Bitcoin full node in pure Python."""


@app.command()
@with_options()
def start(help_all: HelpAll = False, **options: Any) -> None:
    """Run a node until it is stopped. The usual options are below; --help-all shows every one."""
    loaded = from_keywords(options)
    process = loaded.settings.process
    pid_file = None if process.pid is None else loaded.settings.net_dir / process.pid
    gc.disable()  # nothing of what is loaded is garbage; ``run_node`` enables it when that is set apart
    try:
        from btcnode.cli.run import run_node  # the whole node: not needed for --help and wrong options

        status = run_node(loaded, pid_file=pid_file)
    finally:
        gc.enable()
    raise typer.Exit(status)


@app.command()
@with_options(*STOP_OPTIONS)
def stop(
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the node has ended.")] = True,
    **options: Any,
) -> None:
    """Stop a running node."""
    settings = from_keywords(options).settings
    with _running_node(settings, own_port=options.get("rpcport") is not None) as client:
        typer.echo(client.call("stop"))
    if wait:
        _wait_for_end(settings)


@app.command()
@with_options(*STOP_OPTIONS)
def status(**options: Any) -> None:
    """Show what a running node is doing, on one screen. The exit status is 0, 1 without a node, 2 while it starts."""
    from btcnode.cli.status import status_text

    settings = from_keywords(options).settings
    with _running_node(settings, own_port=options.get("rpcport") is not None) as client:
        code, text = status_text(client, time.time, f"{client.host}:{client.port}")
    typer.echo(text, err=code == 1)
    raise typer.Exit(code)


@hints.command("make")
@with_options(*STOP_OPTIONS)
def make_hints(
    path: Annotated[str, typer.Argument(help="The file to write, relative to the present folder.")],
    height: Annotated[int, typer.Option(help="Height of the block that the hints are for, -1 for the tip.")] = -1,
    **options: Any,
) -> None:
    """Write hints for the SwiftSync of other nodes, from a node that runs or the directory of one that does not."""
    settings, place = from_keywords(options).settings, str(absolute("path", path))
    if _is_running(settings):
        with _running_node(settings, own_port=options.get("rpcport") is not None, timeout=None) as client:
            written = client.call("dumphints", place, height)
    else:
        from btcnode.cli.offline import call_alone  # the whole node

        written = call_alone(options, "btcnode.swiftsync", "dumphints", place, height)
    typer.echo(f"{written['path']}: {written['coins']} coins at height {written['height']}, {written['size']} bytes")


@utreexo.command("verify")
def verify_utreexo(
    proof: Annotated[str, typer.Argument(help="The proof in hex, or a file with it.")],
    roots: Annotated[str, typer.Option(help='The "hex" of getutreexoroots, or a file with it; from a node you trust.')],
) -> None:
    """Verify a proof of coins (proveutreexocoins) against the roots after its block, and show the coins."""
    from btcnode.cli.coin_proofs import verified_lines

    for line in verified_lines(proof, roots):
        typer.echo(line)


@txoutproof.command("verify")
def verify_txoutproof(
    proof: Annotated[str, typer.Argument(help="The answer of gettxoutproof, or a file with it.")],
    block: Annotated[str, typer.Option(help="Hash of the block, from a node you trust.")] = "",
    headers: Annotated[str, typer.Option(help="Headers with the block's among them in hex, or a file with it.")] = "",
    root: Annotated[str, typer.Option(help="Merkle root of the block, from a node you trust.")] = "",
    transactions: Annotated[int, typer.Option(min=0, help="How many the block has, 0: as the proof says.")] = 0,
    network: Annotated[str, typer.Option(metavar="NAME", help="Network, for the least work.")] = "mainnet",
) -> None:
    """Verify a proof that transactions are in a block (gettxoutproof), and the work in the block's header."""
    from btcnode.cli.tx_proofs import Known, verified_lines

    for line in verified_lines(proof, Known(block, headers, root, transactions), network):
        typer.echo(line)


def _is_running(settings: Settings) -> bool:
    """Whether a node has the data directory."""
    from btcnode.storage.locking import DirectoryLock

    if not settings.net_dir.is_dir():
        return False
    try:
        DirectoryLock(settings.net_dir).release()
    except DatadirLockedError:
        return True
    return False


def _running_node(settings: Settings, *, own_port: bool, timeout: float | None = 30.0) -> RpcClient:
    """A client of the node of a data directory; raises ConfigError when none runs there."""
    from btcnode.rpc.client import RpcClient
    from btcnode.rpc.cookie import read_cookie
    from btcnode.rpc.ready import ready_rpc_port

    if settings.rpc.rpcpassword:
        user, password = settings.rpc.rpcuser, settings.rpc.rpcpassword
    else:
        cookie = None if settings.cookie_path is None else read_cookie(settings.cookie_path)
        if cookie is None:
            place = settings.cookie_path
            raise ConfigError(f"No running node found: cannot read the cookie {place}. Start one: btcnode start")
        user, password = cookie
    port = settings.rpc.rpcport
    if not own_port or port == 0:
        port = ready_rpc_port(settings.net_dir) or port
    return RpcClient("127.0.0.1", port, user, password, timeout=timeout)


def _wait_for_end(settings: Settings) -> None:
    """Return when the node has let go of its data directory; raises BtcnodeError when it does not."""
    from btcnode.storage.locking import DirectoryLock

    deadline = time.monotonic() + STOP_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            DirectoryLock(settings.net_dir).release()
        except DatadirLockedError:
            time.sleep(STOP_POLL_S)
        else:
            return
    raise BtcnodeError(f"The node still runs {STOP_TIMEOUT_S:.0f} s after it was asked to stop")


@app.command()
def simulate(
    scenario: Annotated[str, typer.Argument(help="A scenario file (TOML), or the name of one that comes along.")],
    seed: Annotated[int | None, typer.Option(help="Instead of the scenario's own seed.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where to write the picture (SVG).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Simulate a network of nodes, print how blocks and transactions spread, and draw it (docs/simulator.md)."""
    from btcnode.simulate.command import simulate_file

    def show(line: str) -> None:
        typer.echo(line, err=True)

    typer.echo(simulate_file(scenario, seed, out, show, as_json=as_json))


FILES_OPTIONS = (*STOP_OPTIONS, "blocksdir", "testactivationheight")
BlocksFolder = Annotated[
    Path | None,
    typer.Option("--blocks", help="A folder of block files, also Bitcoin Core's, instead of the node's own."),
]
Scheduler = Annotated[str | None, typer.Option("--scheduler", help="Address of a Dask scheduler: tcp://host:8786.")]


@app.command()
@with_options(*FILES_OPTIONS)
def export(
    out: Annotated[Path, typer.Option("--out", help="The folder to write to, or to bring up to date.")],
    first: Annotated[int, typer.Option("--from", help="First height.")] = 0,
    last: Annotated[int | None, typer.Option("--to", help="Last height.", show_default="the tip")] = None,
    tables: Annotated[str, typer.Option(help="Which ones.")] = "blocks,transactions,inputs,outputs",
    with_prevouts: Annotated[
        bool, typer.Option("--with-prevouts", help="With fees, and the coin that each input spends (from undo data).")
    ] = False,
    partition: Annotated[int, typer.Option(help="Blocks in the largest files: 1, 10, 100, ...")] = 1000,
    follow: Annotated[bool, typer.Option("--follow", help="Go on, with new blocks and reorganisations.")] = False,
    poll: Annotated[float, typer.Option(help="With --follow: seconds between two looks.", min=0.01)] = 10.0,
    blocks: BlocksFolder = None,
    scheduler: Scheduler = None,
    workers: Annotated[int | None, typer.Option(help="Local processes.", show_default="1")] = None,
    **options: Any,
) -> None:
    """Write the chain as tables (Parquet) from a node's block files, while it runs or not (docs/data.md)."""
    from btcnode.data.command import Cluster, ExportWish, export_command

    settings, out = from_keywords(options).settings, absolute("out", str(out))
    follow_s = poll if follow else None
    wish = ExportWish(
        blocks or settings.blocks_dir, settings.params, out, first, last, tables, with_prevouts, partition, follow_s
    )
    export_command(wish, Cluster(scheduler, workers), typer.echo)


def _check_together(contradictions: dict[str, bool]) -> None:
    """Raise ConfigError for the first contradiction that there is."""
    for text, there in contradictions.items():
        if there:
            raise ConfigError(text)


@app.command()
@with_options(*FILES_OPTIONS)
def verify(
    last: Annotated[int | None, typer.Option("--to", help="Last height.", show_default="the tip")] = None,
    blocks: BlocksFolder = None,
    tables: Annotated[
        Path | None, typer.Option("--tables", help="An export of all tables with prevouts, instead of block files.")
    ] = None,
    scheduler: Scheduler = None,
    workers: Annotated[int | None, typer.Option(help="Local processes.", show_default="one for each core")] = None,
    muhash: Annotated[
        str | None, typer.Option("--muhash", help="What the coins have to come to: of gettxoutsetinfo muhash.")
    ] = None,
    ask_node: Annotated[bool, typer.Option("--ask-node", help="Ask the running node for that.")] = False,
    task_mb: Annotated[int, typer.Option(help="Megabytes of blocks that a task has: bounds a worker's memory.")] = 16,
    scratch: Annotated[
        Path | None, typer.Option(help="Folder for numbers of coins, 16 bytes for each that is made or spent.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write what came of it as JSON.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the throughput of each worker (SVG).")] = None,
    **options: Any,
) -> None:
    """Verify the whole chain again, every script, on local processes or a Dask cluster (docs/data.md)."""
    from btcnode.data.command import Cluster, VerifyWish, verify_command

    settings = from_keywords(options).settings
    _check_together(
        {
            "--ask-node asks for the coins of the node's tip: it cannot be given with --muhash or --to": ask_node
            and (muhash is not None or last is not None),
            "The blocks are those of --tables or of --blocks, not both": tables is not None and blocks is not None,
        }
    )
    if ask_node:
        with _running_node(settings, own_port=options.get("rpcport") is not None, timeout=None) as client:
            told = client.call("gettxoutsetinfo", "muhash")
        muhash, last = told["muhash"], told["height"]
    wish = VerifyWish(
        blocks or settings.blocks_dir, settings.params, tables, last, muhash, task_mb * 1_000_000, scratch, report, plot
    )
    if not verify_command(wish, Cluster(scheduler, workers, os.cpu_count() or 1), typer.echo):
        raise typer.Exit(1)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(f"btcnode version {__version__}")


def plain_words(argv: list[str], root: Any) -> list[str]:
    """bitcoind's ``-name=value``, ``--name=1``, ``-noname`` and ``-regtest`` as this command writes them.

    ``argv`` begins with a command of the group ``root``; words of commands that do not take a node's options stay.
    Raises ConfigError.
    """
    command, length = _command_of(root, argv)
    options = [parameter for parameter in command.params if isinstance(parameter, typer.core.TyperOption)]
    if not any(option.name == "network" for option in options):
        return argv
    with_value = {name for option in options if not option.is_flag for name in option.opts}
    name = " ".join(argv[:length])
    words: list[str] = []
    networks: dict[str, bool] = {}  # the switches that choose one, as the last of each says
    is_value = False  # of the option before it
    for word in argv[length:]:
        if is_value or not _is_network_switch(word, networks):
            words += [word] if is_value else _plain_word(word, name)
        is_value = not is_value and word in with_value
    chosen = [flag for flag, wanted in networks.items() if wanted]
    if len(chosen) > 1:
        raise ConfigError(f"Choose one network, not {' and '.join(f'-{flag}' for flag in chosen)}")
    return [*argv[:length], *(("--network", FLAGS[chosen[0]].name) if chosen else ()), *words]


def _command_of(command: Any, argv: list[str]) -> tuple[Any, int]:
    """The command of a group that words begin with, and how many of them name it."""
    length = 0
    while isinstance(command, typer.core.TyperGroup) and argv[length : length + 1]:
        inner = command.commands.get(argv[length])
        if inner is None:
            break
        command, length = inner, length + 1
    return command, length


def _is_network_switch(word: str, networks: dict[str, bool]) -> bool:
    """Whether a word is one like ``-regtest``, ``-regtest=1`` or ``-noregtest``; then ``networks`` has what it says."""
    if not word.startswith("-"):
        return False
    name, _, value = word.removeprefix("-").removeprefix("-").partition("=")
    flag = name if name in FLAGS else name.removeprefix("no")
    if flag not in FLAGS:
        return False
    networks[flag] = as_flag(value) is (flag == name)
    return True


def _plain_word(word: str, command: str) -> list[str]:
    if not word.startswith("-") or len(word) <= 2:
        return [word]
    single = not word.startswith("--")
    name, equals, value = word.removeprefix("-").removeprefix("-").partition("=")
    negated = name.startswith("no") and name[2:] in OPTIONS
    option = OPTIONS.get(name[2:] if negated else name)
    if name == "chain" and equals:
        return ["--network", value]
    if option is None:
        if single:
            raise ConfigError(f"There is no option -{name}: see btcnode {command} --help")
        return [word]
    if negated and not option.negatable:
        raise ConfigError(f"Negating of -{option.flag} is meaningless and therefore forbidden")
    if option.is_switch:
        positive = option.kind.collect([value]) if option.kind.several and not negated else as_flag(value)
        wanted = positive is not negated
        return [f"--{'' if wanted else 'no-'}{option.flag}"]
    if negated:
        return [f"--{option.flag}", NEGATED if as_flag(value) else AFFIRMED]
    return [f"--{option.flag}", value] if equals or single else [word]


def run(argv: list[str]) -> int:
    """Carry out a command line; returns the exit status."""
    root = typer.main.get_command(app)
    usage_error = typer.BadParameter.__mro__[2]  # ClickException, wherever typer has it from
    try:
        status = root.main(plain_words(argv, root), prog_name="btcnode", standalone_mode=False)
    except BtcnodeError as error:
        return _failed(str(error))
    except typer.Abort:
        return 130
    except typer.Exit as leaving:
        return leaving.exit_code
    except Exception as error:
        if not isinstance(error, usage_error):
            raise
        return _failed(_usage_line(error))
    return status if isinstance(status, int) else 0


def _usage_line(error: Exception) -> str:
    """What is wrong with the command line, in one line."""
    text = error.format_message() if hasattr(error, "format_message") else str(error)
    return text or "no command given: try btcnode --help"


def _failed(text: str) -> int:
    print(f"Error: {' '.join(text.split())}", file=sys.stderr)
    return 1


def main() -> None:
    """Entry point of ``btcnode``."""
    run_program(run)


if __name__ == "__main__":
    main()
