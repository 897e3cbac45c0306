"""Completions of bash for btcnoded and btcnode-cli, from the tables of options and methods."""

from __future__ import annotations

from btcnode.cli.client_options import SWITCHES, TEXTS
from btcnode.networks.names import CHAINS
from btcnode.rpc.methods import every_method
from btcnode.settings.groups.process import DAEMON
from btcnode.settings.table import OPTIONS

HEAD = "# Completion of {name} for bash: made by scripts/docs; do not edit. Source it, or install it as\n# /usr/share/bash-completion/completions/{name}\n"  # noqa: E501


def _words(words: list[str]) -> str:
    lines, line = [], ""
    for word in words:
        if len(line) + len(word) > 110:
            lines.append(line.rstrip())
            line = ""
        line += word + " "
    return "\n    ".join([*lines, line.rstrip()])


def daemon() -> str:
    """Options of btcnoded; files and folders after ``=`` where the option takes one."""
    every = [*OPTIONS.values(), *DAEMON.values()]
    flags = [f"-{option.flag}" for option in every if option.is_switch]
    values = [f"-{option.flag}=" for option in every if not option.is_switch]
    paths = [f"-{option.flag}" for option in every if option.kind.is_path]
    return f"""{HEAD.format(name="btcnoded")}
_btcnoded() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} name=""
    COMPREPLY=()
    # bash splits words at "=": the option is before it, the value behind it
    if [ "$cur" = "=" ]; then
        name=${{COMP_WORDS[COMP_CWORD - 1]}} cur=""
    elif [ "$COMP_CWORD" -gt 1 ] && [ "${{COMP_WORDS[COMP_CWORD - 1]}}" = "=" ]; then
        name=${{COMP_WORDS[COMP_CWORD - 2]}}
    fi
    case $name in
        "") ;;
        -chain) mapfile -t COMPREPLY < <(compgen -W "{" ".join(CHAINS)}" -- "$cur"); return ;;
        {" | ".join(sorted(set(paths)))}) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        *) return ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "
    {_words(sorted(set(flags)) + sorted(set(values)))}
    " -- "$cur")
    case ${{COMPREPLY[*]}} in *=) compopt -o nospace ;; esac
}}
complete -F _btcnoded btcnoded
"""


def client() -> str:
    """Options before the command, then the commands; ``help`` takes a command too."""
    options = sorted([f"-{name}" for name in SWITCHES] + [f"-{name}=" for name in TEXTS])
    methods = sorted(method.name for method in every_method() if method.category != "hidden")
    return f"""{HEAD.format(name="btcnode-cli")}
_btcnode_cli() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} name="" word command="" n
    local methods="
    {_words(methods)}
    "
    COMPREPLY=()
    if [ "$cur" = "=" ]; then
        name=${{COMP_WORDS[COMP_CWORD - 1]}} cur=""
    elif [ "$COMP_CWORD" -gt 1 ] && [ "${{COMP_WORDS[COMP_CWORD - 1]}}" = "=" ]; then
        name=${{COMP_WORDS[COMP_CWORD - 2]}}
    fi
    case $name in
        "") ;;
        -chain) mapfile -t COMPREPLY < <(compgen -W "{" ".join(CHAINS)}" -- "$cur"); return ;;
        -color) mapfile -t COMPREPLY < <(compgen -W "always auto never" -- "$cur"); return ;;
        -conf | -datadir | -rpccookiefile) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        *) return ;;
    esac
    for ((n = 1; n < COMP_CWORD; n++)); do
        word=${{COMP_WORDS[n]}}
        [ "${{COMP_WORDS[n - 1]}}" = "=" ] && continue
        case $word in -* | =) ;; *) command=$word; break ;; esac
    done
    if [ -n "$command" ]; then
        if [ "$command" = help ]; then
            mapfile -t COMPREPLY < <(compgen -W "$methods --openrpc" -- "$cur")
        fi
        return
    fi
    mapfile -t COMPREPLY < <(compgen -W "
    {_words(options)}
    $methods" -- "$cur")
    case ${{COMPREPLY[*]}} in *=) compopt -o nospace ;; esac
}}
complete -F _btcnode_cli btcnode-cli
"""


def files() -> dict[str, str]:
    """Text by path in the repository."""
    return {
        "scripts/completions/btcnoded.bash": daemon(),
        "scripts/completions/btcnode-cli.bash": client(),
    }
