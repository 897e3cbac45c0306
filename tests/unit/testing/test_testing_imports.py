"""The package stands without its optional extras: who installs plain ``btcnode`` can import every module of it.

Only ``btcnode.data`` is there for who has its extra.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PLUGIN = "btcnode.testing.plugin"  # pytest imports it, so pytest is there

# refuses the names in argv[2:] as if they were not installed, then imports every module of the package
IMPORT_ALL = """
import importlib, importlib.abc, pkgutil, sys
blocked = set(sys.argv[2:])

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None

sys.meta_path.insert(0, Refuse())
import btcnode
for module in pkgutil.walk_packages(btcnode.__path__, "btcnode."):
    of_an_extra = module.name == "btcnode.data" or module.name.startswith("btcnode.data.")
    of_an_extra |= module.name == "btcnode.compiled.translate"  # for the process that has numba compile
    if module.name != sys.argv[1] and not module.name.endswith("__main__") and not of_an_extra:
        importlib.import_module(module.name)
        print(module.name)
"""


def distribution_name(requirement: str) -> str:
    for position, character in enumerate(requirement):
        if not (character.isalnum() or character in "-_."):
            return requirement[:position].lower().replace("_", "-")
    return requirement.lower().replace("_", "-")


def modules_of_extras() -> set[str]:
    """Top-level modules of what only the extras ask for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {distribution_name(text) for group in project["optional-dependencies"].values() for text in group}
    extras -= {distribution_name(text) for text in project["dependencies"]} | {"btcnode"}
    return {
        module
        for module, owners in packages_distributions().items()
        if extras & {owner.lower().replace("_", "-") for owner in owners}
    }


def test_every_module_imports_without_the_extras() -> None:
    blocked = modules_of_extras()
    assert {"pyarrow", "pytest", "hypothesis"} <= blocked
    command = [sys.executable, "-c", IMPORT_ALL, PLUGIN, *sorted(blocked)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert {"btcnode.testing.regtest", "btcnode.node.assembling", "btcnode.cli.main"} <= set(done.stdout.split())


def test_the_plugin_needs_pytest_alone() -> None:
    blocked = modules_of_extras() - {"pytest", "_pytest", "py", "pluggy", "iniconfig"}
    code = IMPORT_ALL.replace("import btcnode\n", "import btcnode.testing.plugin\n", 1)
    done = subprocess.run(
        [sys.executable, "-c", code, PLUGIN, *sorted(blocked)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
