"""``btcnode-cli``: bitcoin-cli's options, conversions, output and exit codes, for this node or Bitcoin Core.

Kept free of heavy imports: scripts call it hundreds of times.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from contextlib import closing
from functools import cached_property
from math import ceil
from pathlib import Path
from urllib.parse import quote

from btcnode import __version__
from btcnode.cli.arguments import named_params, positional_params
from btcnode.cli.client_options import NEGATED, OptionError, parse_options
from btcnode.cli.reply import Reply, ReplyError
from btcnode.errors import ConfigError
from btcnode.networks.names import FLAGS, MAINNET, NetworkName, network_named
from btcnode.observe.stdio import run_program
from btcnode.rpc.client import RpcClient, RpcConnectionError
from btcnode.rpc.cookie import read_cookie
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.jsonvalue import decode_kept, encode, pretty
from btcnode.rpc.ready import ready_rpc_port
from btcnode.settings.datadir import default_datadir
from btcnode.settings.kinds import leading_number, read_path

TYPE_CHECKING = False  # that of typing, which btcnode-cli does without
if TYPE_CHECKING:
    from typing import Any

DEFAULT_TIMEOUT_S = 900
FOREVER_S = 5 * 365 * 86400  # what a socket can still count
BAR_BELOW = 0.99  # progress from which -getinfo draws no bar
BAR_STEP = 0.05
OLDEST_WITH_NETINFO = 209_900  # version of a node
UNNAMED = '""'  # the wallet without a name
WALLETS_HINT = (  # the words that tools look for
    ' Or for the CLI, specify the "-rpcwallet=<walletname>" option before the command (run "bitcoin-cli -h" for help or'
    ' "bitcoin-cli listwallets" to see which wallets are currently loaded).'
)
_GETINFO_CALLS = ("getnetworkinfo", "getblockchaininfo", "getwalletinfo", "getbalances")
HELP = """Usage:  btcnode-cli [options] <command> [params]         Send a command to a node
or:     btcnode-cli [options] -named <command> [name=value]...  Send it with named arguments
or:     btcnode-cli [options] help                            List all commands
or:     btcnode-cli [options] help <command>                  Get help for a command
or:     btcnode-cli help --openrpc                            Describe all commands as an OpenRPC document

Options:

  -addrinfo                Number of known addresses of nodes, by network
  -chain=<chain>           Network: main, test, testnet4, signet or regtest (default: main)
  -testnet, -testnet4, -signet, -regtest
                           Short for -chain=...
  -color=<when>            Colours of -getinfo: always, auto (on a terminal) or never (default: auto)
  -conf=<file>             Configuration file (default: bitcoin.conf in the data directory)
  -datadir=<dir>           Data directory (default: ~/.btcnode)
  -generate [<n> [<tries>]]
                           Mine blocks to a new address of the node's wallet
  -getinfo                 Summary of the node's state
  -help                    Print this text
  -named                   Pass named instead of positional arguments
  -netinfo [<level>]       Peers as a table, 0 to 4; "help" explains it
  -rpcclienttimeout=<n>    Seconds to wait for an answer, 0 for ever (default: 900)
  -rpcconnect=<ip>         Host of the node, with or without port (default: 127.0.0.1)
  -rpccookiefile=<loc>     Cookie file (default: .cookie in the network's directory)
  -rpcid=<id>              Id of the request (default: 1)
  -rpcpassword=<pw>        Password
  -rpcport=<port>          Port of the node (default: the network's)
  -rpcuser=<user>          User name
  -rpcwait                 Wait for the node to start
  -rpcwaittimeout=<n>      Seconds to wait for it, 0 for ever (default: 0)
  -stdin                   Read more arguments from standard input, one per line
  -rpcwallet=<name>        Send to the endpoint of a wallet, where the node has any
  -stdinrpcpass            Read the password from standard input
  -version                 Print version and exit
"""


class CliError(Exception):
    """A line for stderr; the exit status is 1."""


class _Unreachable(CliError):
    """The node did not answer; -rpcwait tries again."""


def _flag(options: dict[str, str], name: str) -> bool:
    return options.get(name, "0") != "0"


def network_of(options: dict[str, str]) -> NetworkName:
    """The chosen network; raises CliError."""
    chosen = [network for flag, network in FLAGS.items() if _flag(options, flag)]
    if len(chosen) + ("chain" in options) > 1:
        text = "Invalid combination of -regtest, -signet, -testnet, -testnet4 and -chain. Can use at most one."
        raise CliError(f"Error: {text}")
    if "chain" not in options:
        return chosen[0] if chosen else MAINNET
    try:
        return network_named(options["chain"])
    except ConfigError:
        raise CliError(f"Error: Unknown chain {options['chain']}.") from None


def _number(options: dict[str, str], name: str, default: int) -> int:
    return leading_number(options[name]) if name in options else default


def _valid_port(text: str) -> int:
    """A port from text, 0 for anything else."""
    digits = text.lstrip("0") if text.isascii() and text.isdigit() else ""
    return int(digits) if 0 < len(digits) < 6 and int(digits) < 65536 else 0


def target(options: dict[str, str], default_port: int) -> tuple[str, int]:
    """Host and port of the node; raises CliError."""
    given = options.get("rpcconnect", "127.0.0.1")
    host, port_text = given, ""
    if given.startswith("["):
        host, _, rest = given[1:].partition("]")
        port_text = rest.removeprefix(":")
    elif given.count(":") == 1:
        host, _, port_text = given.partition(":")
    port = default_port
    if port_text or given.endswith(":"):
        port = _valid_port(port_text)
        if not port:
            raise CliError(f"error: Invalid port provided in -rpcconnect: {given}")
    if "rpcport" in options:
        chosen = _valid_port(options["rpcport"])
        if not chosen:
            raise CliError(f"error: Invalid port provided in -rpcport: {options['rpcport']}")
        if port_text:
            print(f"Warning: Port specified in both -rpcconnect and -rpcport. Using -rpcport {chosen}", file=sys.stderr)
        port = chosen
    return host, port


def _datadir(options: dict[str, str]) -> Path:
    """The node's data directory."""
    return read_path("datadir", options["datadir"]) if options.get("datadir") else default_datadir()


def _conf_path(options: dict[str, str]) -> Path | None:
    """The configuration file, there or not; None when none shall be read."""
    return None if options.get("conf") is NEGATED else _datadir(options) / (options.get("conf") or "bitcoin.conf")


def _add_conf(options: dict[str, str], path: Path | None) -> None:
    """Complete the command line with the configuration file; raises CliError."""
    if path is None or not (options.get("conf") or path.exists()):
        return
    from btcnode.cli import client_conf  # this and the next: most calls find no file
    from btcnode.settings.conf_files import ChainChoiceError

    try:
        client_conf.complete(options)
    except ChainChoiceError as error:
        raise CliError(f"Error: {error}") from None
    except ConfigError as error:
        raise CliError(str(error)) from None


def wallet_path(name: str) -> str:
    """The endpoint of a wallet."""
    return f"/wallet/{quote(name, safe='')}"


class Caller:
    """Connects as the options say, and calls."""

    def __init__(self, options: dict[str, str]) -> None:
        """Adds the configuration file's options to ``options``.

        Raises CliError where the file, or the choice of the chain, makes no sense.
        """
        self.options = options
        self._port_asked = "rpcport" in options
        if options.get("datadir") and not _datadir(options).is_dir():
            raise CliError(f'Error: Specified data directory "{options["datadir"]}" does not exist.')
        self.conf_path = _conf_path(options)  # also when that file names another directory
        _add_conf(options, self.conf_path)
        self.network = network_of(options)
        self.net_dir = _datadir(options) / self.network.subdir
        self.timeout = min(max(0, _number(options, "rpcclienttimeout", DEFAULT_TIMEOUT_S)), FOREVER_S)
        wallet = options.get("rpcwallet", NEGATED)
        self.path = "/" if wallet is NEGATED else wallet_path(wallet)

    @cached_property
    def address(self) -> tuple[str, int]:
        """Host and port of the node; raises CliError for options that name none."""
        options = self.options
        transport, named = options.get("ipcconnect", "auto"), options.get("rpcconnect", NEGATED) is not NEGATED
        if transport not in ("auto", NEGATED):
            if named:
                raise CliError("error: -rpcconnect and -ipcconnect options cannot both be enabled")
            raise CliError("error: bitcoin-cli was not built with IPC support")  # the words that tools look for
        if options.get("rpcport") == "0" and not (self._port_asked or named):  # the node says which
            options["rpcport"] = str(ready_rpc_port(self.net_dir) or 0)
        host, port = target(options, self.network.rpc_port)
        if "rpcport" not in options and port == self.network.rpc_port and not named:
            port = ready_rpc_port(self.net_dir) or port
        return host, port

    def check_address(self) -> None:
        """Raise CliError for options that name no address, which is told before what is wrong with the request."""
        _ = self.address

    @property
    def _password(self) -> str:
        """Empty where the cookie counts."""
        return self.options.get("rpcpassword", "")

    def credentials(self) -> tuple[str, str, bool]:
        """User, password, and whether there are any."""
        if self._password:
            return self.options.get("rpcuser", ""), self._password, True
        if self.options.get("rpccookiefile") is NEGATED:
            return "", "", False
        found = read_cookie(self.net_dir / (self.options.get("rpccookiefile") or ".cookie"))
        return ("", "", False) if found is None else (*found, True)

    def post(self, body: Any) -> Any:
        """The parsed reply, with numbers as they were written; raises CliError."""
        host, port = self.address
        user, password, found = self.credentials()
        try:
            with closing(RpcClient(host, port, user, password, timeout=self.timeout or None)) as client:
                status, answer = client.post(encode(body) + b"\n", self.path)
        except RpcConnectionError as error:
            why = "" if isinstance(error.__cause__, ConnectionRefusedError) else f" ({error})"  # as bitcoin-cli
            raise _Unreachable(
                f"error: timeout on transient error: Could not connect to the server {host}:{port}"
                f"{why}\n\nMake sure the btcnoded server is running and that you are connecting to the correct RPC "
                'port.\nUse "btcnode-cli -help" for more info.'
            ) from error
        if status == 401:
            why = self._why_unauthorized(found)
            raise CliError(f"error: Authorization failed: {why} Configuration file: ({self.conf_path or ''})")
        if status == 503:
            raise CliError(f"error: Server response: {answer.decode(errors='replace')}")
        if status >= 400 and status not in (400, 404, 500):
            raise CliError(f"error: server returned HTTP error {status}")
        if not answer:
            raise CliError("error: no response from server")
        try:
            return decode_kept(answer)
        except ValueError:
            raise CliError("error: couldn't parse reply from server") from None

    def _why_unauthorized(self, found: bool) -> str:
        if self._password:
            return "Incorrect rpcuser or rpcpassword were specified."
        if found:
            return "Cookie file credentials were invalid and no rpcpassword was specified."
        if self.options.get("rpccookiefile") is NEGATED:
            return "Cookie file was disabled via -norpccookiefile and no rpcpassword was specified."
        return "Failed to read cookie file and no rpcpassword was specified."

    def ask(self, body: Any, read: Callable[[Reply], Reply] = Reply.checked) -> Reply:
        """What ``read`` makes of the reply; with -rpcwait until the node is up and out of its warm-up.

        Raises CliError, and ReplyError where the reply has another form.
        """
        limit = _number(self.options, "rpcwaittimeout", 0)
        patient = _flag(self.options, "rpcwait")
        deadline = time.monotonic() + limit
        while True:
            try:
                reply = read(Reply(self.post(body)))
                if not reply.size():
                    raise ReplyError("expected reply to have result, error and id properties")
                if not patient or not reply["error"] or reply["error"]["code"].number() != RpcCode.IN_WARMUP:
                    return reply
                failure = _Unreachable("error: timeout on transient error: server in warmup")
            except _Unreachable as error:
                if not patient:
                    raise
                failure = error
            if limit > 0 and time.monotonic() >= deadline:
                raise failure
            time.sleep(1 if limit else 0.25)

    def call(self, method: str, params: Any = (), *, number: Any = None) -> Reply:
        """The reply to one call; raises as ``ask``. Its id is ``number``, else that of the options."""
        number = self.options.get("rpcid", "1") if number is None else number
        return self.ask({"method": method, "params": params, "id": number, "jsonrpc": "2.0"})


def _result(value: Any) -> Reply:
    """A reply that the client itself makes."""
    return Reply({"result": value})


def _first_error(replies: dict[int, Reply], count: int) -> Reply | None:
    """The first of so many members of a batch that tells of an error."""
    return next((replies[n] for n in range(count) if n in replies and replies[n]["error"]), None)


def _batch(*names: str) -> list[dict[str, Any]]:
    """The request that makes these calls, numbered from 0."""
    return [{"method": name, "params": [], "id": n, "jsonrpc": "2.0"} for n, name in enumerate(names)]


def _getinfo(caller: Caller, words: list[str]) -> Reply:
    """A reply made of four calls, and one for each of several wallets."""
    caller.check_address()
    if words:
        raise CliError("error: -getinfo takes no arguments")
    results: list[Reply] = []

    def read(reply: Reply) -> Reply:
        replies = reply.batch()
        results[:] = [replies.get(n, Reply(None))["result"] for n in range(len(_GETINFO_CALLS))]
        return _first_error(replies, 2) or _result("")

    reply = caller.ask(_batch(*_GETINFO_CALLS), read)
    if reply["error"]:
        return reply
    network, chain, wallet, balances = results
    several = _balances(caller)
    when = caller.options.get("color", "auto")
    if when not in ("always", "auto", "never"):
        raise CliError("error: Invalid value for -color option. Valid values: always, auto, never.")
    colour = when == "always" or (when == "auto" and sys.stdout.isatty())
    lines = _wallet_lines(wallet, balances["mine"]["trusted"], several, colour=colour)
    return _result(_summary(network, chain, lines, colour=colour))


def _balances(caller: Caller) -> dict[str, str] | None:
    """What each wallet has, where there are several and none is chosen."""
    if caller.path != "/":
        return None
    reply = caller.call("listwallets")
    if reply["error"] or reply["result"].size() < 2:
        return None
    found = {}
    for entry in reply["result"]:
        name = entry.text()
        caller.path = wallet_path(name)
        found[name] = caller.call("getbalances")["result"]["mine"]["trusted"].shown()
    caller.path = "/"
    return found


def _wallet_lines(wallet: Reply, balance: Reply, several: dict[str, str] | None, *, colour: bool) -> str:
    """What -getinfo says of wallets."""
    magenta, cyan, reset = ("\x1b[35m", "\x1b[36m", "\x1b[0m") if colour else ("", "", "")
    text = ""
    if wallet:
        name = wallet["walletname"].shown() or UNNAMED
        text += f"{magenta}Wallet: {name}{reset}\nKeypool size: {wallet['keypoolsize'].shown()}\n"
        if wallet["unlocked_until"]:
            text += f"Unlocked until: {wallet['unlocked_until'].shown()}\n"
    if balance:
        text += f"{cyan}Balance:{reset} {balance.shown()}\n\n"
    if several is not None:
        width = max(10, *map(len, several.values()))
        lines = [f"{amount:>{width}} {name or UNNAMED}\n" for name, amount in several.items()]
        text += f"{cyan}Balances{reset}\n{''.join(lines)}\n"
    return text


def _addrinfo(caller: Caller, words: list[str]) -> Reply:
    """The sums of getaddrmaninfo."""
    caller.check_address()
    if words:
        raise CliError("error: -addrinfo takes no arguments")

    def read(reply: Reply) -> Reply:
        if reply["error"]:
            if reply["error"]["code"].number() == RpcCode.METHOD_NOT_FOUND:
                raise ReplyError("-addrinfo requires bitcoind v26.0 or later which supports getaddrmaninfo RPC. Please"
                                 " upgrade your node or use bitcoin-cli from the same version.")  # fmt: skip
            return reply
        names = {"all_networks": "total"}
        counts = {names.get(name, name): entry["total"].number() for name, entry in reply["result"].members()}
        return _result({"addresses_known": counts})

    return caller.ask({"method": "getaddrmaninfo", "params": [], "id": 1, "jsonrpc": "2.0"}, read)


def _netinfo(caller: Caller, words: list[str]) -> Reply:
    """A reply made of two calls."""
    from btcnode.cli import netinfo  # only this option needs it

    if words[:1] in (["help"], ["h"]):
        return _result(netinfo.HELP.rstrip())
    caller.check_address()
    try:
        level, outbound = netinfo.parse_level(words)
    except ValueError as error:
        raise CliError(f"error: {error}") from None

    def read(reply: Reply) -> Reply:
        replies = reply.batch()
        failed = _first_error(replies, 2)
        if failed is not None:
            return failed
        peers, network = (replies.get(n, Reply(None))["result"] for n in range(2))
        if network["version"].number() < OLDEST_WITH_NETINFO:
            raise ReplyError("-netinfo requires bitcoind server to be running v0.21.0 and up")
        return _result(netinfo.dashboard(peers, network, caller.network.chain, level, outbound))

    return caller.ask(_batch("getpeerinfo", "getnetworkinfo"), read)


def _generate(caller: Caller, words: list[str]) -> Reply:
    """A reply made of two calls: a new address, then blocks that pay to it."""
    reply = caller.call("getnewaddress")
    if reply["error"]:
        return reply
    address = reply["result"].text()
    if len(words) > 2:
        raise CliError("error: too many arguments (maximum 2 for nblocks and maxtries)")
    if words[:1] == ["0"]:
        raise CliError("error: the first argument (number of blocks to generate, default: 1) must be an integer"
                       " value greater than zero")  # fmt: skip
    try:
        params = positional_params("generatetoaddress", [*(words[:1] or ["1"]), address, *words[1:]])
    except ValueError as error:
        raise CliError(f"error: {error}") from None
    reply = caller.call("generatetoaddress", params, number=1)
    return reply if reply["error"] else _result({"address": address, "blocks": reply["result"].value})


SUMMARIES = {"addrinfo": _addrinfo, "generate": _generate, "getinfo": _getinfo, "netinfo": _netinfo}


def _summary(network: Reply, chain: Reply, wallet: str = "", *, colour: bool = False) -> str:
    """The text of -getinfo, with what it says of wallets."""
    blue, green, yellow, reset = ("\x1b[34m", "\x1b[32m", "\x1b[33m", "\x1b[0m") if colour else ("", "", "", "")
    progress = chain["verificationprogress"].real()
    bar = f"{_bar(progress)} " if progress < BAR_BELOW else ""
    proxies: dict[str, list[str]] = {}
    for entry in network["networks"]:
        if entry["proxy"].shown():
            proxies.setdefault(entry["proxy"].shown(), []).append(entry["name"].shown())
    proxy_text = ", ".join(f"{proxy} ({', '.join(names)})" for proxy, names in proxies.items())
    told = network["warnings"]
    warnings = "; ".join(line.shown() for line in told) if isinstance(told.value, list) else told.shown()
    return (
        f"{blue}Chain: {chain['chain'].shown()}{reset}\n"
        f"Blocks: {chain['blocks'].shown()}\n"
        f"Headers: {chain['headers'].shown()}\n"
        f"Verification progress: {bar}{progress * 100:.4f}%\n"
        f"Difficulty: {chain['difficulty'].shown()}\n\n"
        f"{green}Network: in {network['connections_in'].shown()}, out {network['connections_out'].shown()},"
        f" total {network['connections'].shown()}{reset}\n"
        f"Version: {network['version'].shown()}\n"
        f"Time offset (s): {network['timeoffset'].shown()}\n"
        f"Proxies: {proxy_text or 'n/a'}\n"
        f"Min tx relay fee rate (BTC/kvB): {network['relayfee'].shown()}\n\n"
        f"{wallet}{yellow}Warnings:{reset} {warnings or '(none)'}"
    )


def _bar(progress: float) -> str:
    """Progress as twenty boxes, or twenty-one: what has begun counts, on both sides."""
    if not 0 <= progress <= 1:
        return ""
    return "\u2592" * ceil(progress / BAR_STEP) + "\u2591" * ceil((1 - progress) / BAR_STEP)


def _report(reply: Reply) -> int:
    """Print a reply's result or error; returns the exit status. Raises ReplyError for an error without a number."""
    error, result = reply["error"], reply["result"].value
    if not error:
        if result is not None and result != "":
            print(result if isinstance(result, str) else pretty(result))
        return 0
    code, message = error["code"], error["message"].value
    told = f"error code: {code.shown()}\n" if code else ""
    status = abs(code.number()) & 0xFF
    if isinstance(message, str):
        told += f"error message:\n{message}"
    if code.number() == RpcCode.WALLET_NOT_SPECIFIED:
        told += WALLETS_HINT
    print(told, file=sys.stderr if code.number() else sys.stdout)
    return status


def run(argv: list[str]) -> int:
    """Carry out a command line; raises CliError, and ReplyError for a reply that is none."""
    try:
        options, words = parse_options(argv)
    except OptionError as error:
        raise CliError(f"Error parsing command line arguments: {error}") from None
    if _flag(options, "version"):
        print(f"btcnode RPC client version v{__version__}")
        return 0
    if "help" in options or not argv:
        print(HELP, end="")
        if not argv:
            raise CliError("Error: too few parameters")
        return 0
    if words == ["help", "--openrpc"]:
        print(_openrpc())
        return 0
    caller = Caller(options)
    words = _add_stdin(options, words)
    chosen = [name for name in ("addrinfo", "generate", "getinfo", "netinfo") if name in options]
    if len(chosen) > 1:
        raise CliError(f"error: Only one of {', '.join(f'-{name}' for name in chosen)} may be specified.")
    if chosen and _flag(options, chosen[0]):
        return _report(SUMMARIES[chosen[0]](caller, words))
    if not words:
        raise CliError("error: too few parameters (need at least command)")
    caller.check_address()
    method, *rest = words
    try:
        params: Any = named_params(method, rest) if _flag(options, "named") else positional_params(method, rest)
    except ValueError as error:
        raise CliError(f"error: {error}") from None
    except RpcError as error:
        return _report(Reply(decode_kept(encode({"error": error.as_object()}))))
    return _report(caller.call(method, params))


def _add_stdin(options: dict[str, str], words: list[str]) -> list[str]:
    """The words with those that standard input has; a password from there into ``options``. Raises CliError."""
    if _flag(options, "stdinrpcpass"):
        options["rpcpassword"] = _secret_from_stdin("stdinrpcpass", "RPC password> ")
    if _flag(options, "stdinwalletpassphrase"):
        if not words or not words[0].startswith("walletpassphrase"):
            raise CliError("error: -stdinwalletpassphrase is only applicable for walletpassphrase(change)")
        words = [words[0], _secret_from_stdin("stdinwalletpassphrase", "Wallet passphrase> "), *words[1:]]
    if _flag(options, "stdin"):
        words = words + [line.rstrip("\n") for line in sys.stdin]
    return words


def _openrpc() -> str:
    """The methods of this version as an OpenRPC document."""
    import json  # this and the next two: only here, since they load half of the node

    from btcnode.rpc.methods import every_method
    from btcnode.rpc.openrpc import document

    return json.dumps(document(every_method()), indent=2)


def _secret_from_stdin(option: str, prompt: str) -> str:
    if sys.stdin.isatty():
        from getpass import getpass  # only a terminal has an echo to switch off

        return getpass(prompt)
    line = sys.stdin.readline()
    if not line:
        raise CliError(f"error: -{option} specified but failed to read from standard input")
    return line.rstrip("\n")


def _run_or_tell(argv: list[str]) -> int:
    try:
        return run(argv)
    except (CliError, ConfigError) as error:
        print(error, file=sys.stderr)
    except ReplyError as error:
        print(f"error: {error}", file=sys.stderr)
    return 1


def main() -> None:
    """Entry point of ``btcnode-cli``."""
    gc.disable()  # one call makes no garbage to speak of ...
    try:
        run_program(_run_or_tell, output_counts=True)
    finally:
        gc.freeze()  # ... and what it has loaded need not be looked through at its end


if __name__ == "__main__":
    main()
