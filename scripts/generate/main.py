"""Write, or check, every file that is made from the declarations of RPC methods, options and metrics.

python scripts/generate/main.py [--check]
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

from scripts.generate import arguments, completions, configuration, dashboard, methods, metrics, subjects, types_stub

ROOT = Path(__file__).resolve().parents[2]


def files() -> dict[str, str]:
    """Text of every generated file by its path in the repository."""
    return {
        "docs/rpc.md": methods.reference(),
        "docs/configuration.md": configuration.reference(),
        "docs/metrics.md": metrics.reference(),
        "docker/grafana/dashboards/btcnode.json": dashboard.dashboard(),
        "btcnode/rpc/typed.pyi": types_stub.stub(),
        "btcnode/cli/argument_table.py": arguments.table(),
        "btcnode/rpc/methods/subject_table.py": subjects.table(),
        **completions.files(),
    }


def main() -> int:
    check = sys.argv[1:] == ["--check"]
    stale = []
    for name, text in files().items():
        path = ROOT / name
        if path.is_file() and path.read_text() == text:
            continue
        stale.append(name)
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            print(f"written: {name}")
    if check and stale:
        print(f"out of date: {', '.join(stale)}: run scripts/docs")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
