"""The house keeps its shape: import order, pure rooms, sizes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1] / "btcnode"
TEST_LIBRARY = ROOT.parent / "tests/lib"

# a room may import itself, rooms of a lower number, and nothing else of btcnode
ORDER = {
    "errors": 0,
    "networks": 2,
    "primitives": 1,
    "script": 2,
    "consensus": 3,
    "wire": 3,
    "descriptors": 3,
    "settings": 4,
    "storage": 4,
    "indexes": 5,
    "chain": 5,
    "mempool": 6,
    "mining": 7,
    "sync": 7,
    "notify": 7,
    "protocol": 7,
    "net": 9,
    "observe": 10,
    "services": 11,
    "rpc": 12,
    "node": 13,
    "cli": 14,
    "embed": 14,
    "testing": 15,
}
PURE = ("primitives", "script", "consensus", "wire", "descriptors", "mempool", "protocol")
IMPURE_MODULES = {"time", "random", "asyncio", "socket", "os", "threading", "multiprocessing", "subprocess", "select"}
MAX_FUNCTION_LINES = 70

# may only shrink
IMPURE_EXCEPTIONS: dict[str, set[str]] = {}
LONG_FUNCTION_EXCEPTIONS: set[str] = set()
# btcnode-cli starts without the daemon's imports, so the CLI asks for them lazily
ORDER_EXCEPTIONS: set[tuple[str, str]] = set()


def modules() -> Iterator[tuple[str, Path, ast.Module]]:
    for path in sorted(ROOT.rglob("*.py")):
        yield room_of(path), path, ast.parse(path.read_text())


def room_of(path: Path) -> str:
    part = path.relative_to(ROOT).parts[0]
    return part.removesuffix(".py")


def walk_at_run_time(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but what stands under ``if TYPE_CHECKING``."""
    yield tree
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            continue
        yield from walk_at_run_time(child)


def imported(tree: ast.Module, *, types_too: bool = True) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree) if types_too else walk_at_run_time(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.lineno, node.module
            if node.module == "btcnode":
                for alias in node.names:
                    yield node.lineno, f"btcnode.{alias.name}"


def test_every_room_has_its_place() -> None:
    rooms = {room_of(path) for path in ROOT.rglob("*.py")} - {"__init__", "__main__"}
    assert rooms <= set(ORDER), f"rooms without a place in the import order: {sorted(rooms - set(ORDER))}"


def test_imports_follow_the_order() -> None:
    wrong = []
    for room, path, tree in modules():
        if room in ("__init__", "__main__"):
            continue
        for line, name in imported(tree):
            parts = name.split(".")
            if parts[0] != "btcnode" or len(parts) < 2 or parts[1] not in ORDER or parts[1] == room:
                continue
            target = parts[1]
            allowed = ORDER[target] < ORDER[room]
            if not allowed and (room, target) not in ORDER_EXCEPTIONS:
                wrong.append(f"{path.relative_to(ROOT.parent)}:{line} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_pure_rooms_stay_pure() -> None:
    wrong = []
    for room, path, tree in modules():
        if room not in PURE:
            continue
        allowed = IMPURE_EXCEPTIONS.get(str(path.relative_to(ROOT)), set())
        for line, name in imported(tree, types_too=False):
            top = name.split(".")[0]
            if top in IMPURE_MODULES and top not in allowed:
                wrong.append(f"{path.relative_to(ROOT.parent)}:{line} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_functions_are_small() -> None:
    long = []
    library = [(path, ast.parse(path.read_text())) for path in sorted(TEST_LIBRARY.rglob("*.py"))]
    for path, tree in [*((path, tree) for _, path, tree in modules()), *library]:
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                name = f"{path.relative_to(ROOT.parent)}:{node.name}"
                if lines > MAX_FUNCTION_LINES and name not in LONG_FUNCTION_EXCEPTIONS:
                    long.append(f"{name}: {lines} lines")
    assert not long, "\n".join(long)


def test_the_stages_of_a_node_have_nothing_that_is_not_there_yet() -> None:
    """A part that may be missing for good says when, beside it; what only comes later belongs to a later stage."""
    silent = []
    for path in [*sorted((ROOT / "node").glob("*.py")), ROOT / "services" / "parts.py"]:
        text = path.read_text()
        lines = text.splitlines()
        tree = ast.parse(text)
        classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
        fields = [item for node in classes for item in node.body if isinstance(item, ast.AnnAssign)]
        silent += [
            f"{path.name}:{item.lineno}"
            for item in fields
            if "None" in ast.unparse(item.annotation) and "# None: " not in lines[item.lineno - 1]
        ]
        silent += [f"{path.name}:{node.lineno}" for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    assert not silent, "\n".join(silent)
