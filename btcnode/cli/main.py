"""``btcnode``: start and stop a node. The options of ``start`` are those of ``NodeConfig``."""

from __future__ import annotations

import inspect
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from btcnode import __version__
from btcnode.config import NodeConfig, option_table
from btcnode.errors import BtcnodeError, ConfigError, DatadirLockedError
from btcnode.option import OptionInfo

STOP_TIMEOUT_S = 600.0
STOP_POLL_S = 0.1
STOP_OPTIONS = ("network", "datadir", "signetchallenge", "rpcport", "rpcuser", "rpcpassword", "rpccookiefile")

_TYPES: dict[str, Any] = {
    "str": str,
    "str | None": str | None,
    "int": int,
    "int | None": int | None,
    "bool": bool,
    "bool | None": bool | None,
    "Path": Path,
    "Path | None": Path | None,
    "tuple[str, ...]": list[str],
    "tuple[Path, ...]": list[Path],
}

app = typer.Typer(
    name="btcnode",
    help="A Bitcoin full node in pure Python.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _parameter(name: str, info: OptionInfo, type_name: str, default: Any) -> inspect.Parameter:
    """One option as typer reads it from a signature."""
    kind = _TYPES[type_name]
    flags = [f"--{info.flag}"]
    if type_name.startswith("bool"):
        flags = [f"--{info.flag}/--no-{info.flag}"]
    option = typer.Option(*flags, help=info.help, rich_help_panel=info.group, metavar=info.metavar, hidden=info.hidden)
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=list(default) if isinstance(default, tuple) else default,
        annotation=Annotated[kind, option],
    )


def with_options(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options of ``NodeConfig`` (all, or those named) as its parameters, besides its own."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        own = [
            parameter
            for parameter in inspect.signature(function, eval_str=True).parameters.values()
            if parameter.kind is not inspect.Parameter.VAR_KEYWORD
        ]
        added = [_parameter(*row) for row in option_table() if not names or row[0] in names]

        def command(**values: Any) -> Any:
            return function(**values)

        command.__name__, command.__doc__ = function.__name__, function.__doc__
        command.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in [*own, *added]}
        return command

    return decorate


def config_of(values: dict[str, Any]) -> NodeConfig:
    """The configuration of the command line's values; raises ConfigError."""
    fields: dict[str, Any] = {}
    for name, value in values.items():
        fields[name] = tuple(value) if isinstance(value, list) else value
    return NodeConfig(**fields)


@app.command()
@with_options()
def start(**options: Any) -> None:
    """Run a node until it is stopped."""
    config = config_of(options)
    from btcnode.cli.run import run_node  # the whole node: not needed for --help and wrong options

    raise typer.Exit(run_node(config))


@app.command()
@with_options(*STOP_OPTIONS)
def stop(
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the node has ended.")] = True,
    **options: Any,
) -> None:
    """Stop a running node."""
    config = config_of(options)
    from btcnode.rpc.auth import read_cookie
    from btcnode.rpc.client import RpcClient

    if config.rpcpassword:
        user, password = config.rpcuser, config.rpcpassword
    else:
        cookie = read_cookie(config.cookie_path)
        if cookie is None:
            raise ConfigError(f"No running node found: cannot read the cookie {config.cookie_path}")
        user, password = cookie
    port = config.network_params().rpc_port if config.rpcport is None else config.rpcport
    with RpcClient("127.0.0.1", port, user, password) as client:
        typer.echo(client.call("stop"))
    if wait:
        _wait_for_end(config)


def _wait_for_end(config: NodeConfig) -> None:
    """Return when the node has let go of its data directory; raises BtcnodeError when it does not."""
    from btcnode.storage.locking import DirectoryLock

    deadline = time.monotonic() + STOP_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            DirectoryLock(config.net_dir).release()
        except DatadirLockedError:
            time.sleep(STOP_POLL_S)
        else:
            return
    raise BtcnodeError(f"The node still runs {STOP_TIMEOUT_S:.0f} s after it was asked to stop")


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(f"btcnode version {__version__}")


def run(argv: list[str]) -> int:
    """Carry out a command line; returns the exit status."""
    command = typer.main.get_command(app)
    usage_error = typer.BadParameter.__mro__[2]  # ClickException, wherever typer has it from
    try:
        status = command.main(argv, prog_name="btcnode", standalone_mode=False)
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
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
