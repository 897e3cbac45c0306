"""The house keeps its shape: import order, no circles inside a room, pure rooms, short functions, tests by room."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "btcnode"
TEST_LIBRARY = ROOT.parent / "tests/lib"

# a room may import itself, rooms of a lower number, and nothing else of btcnode
ORDER = {
    "libsecp256k1": -1,
    "counting": 0,
    "record": 0,
    "tuples": 0,
    "errors": 0,
    "imports": 0,
    "files": 0,
    "compiled": 0,
    "collector": 0,
    "shielding": 0,
    "side_thread": 0,
    "child": 0,
    "side_processes": 1,
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
    "swiftsync": 5,
    "utreexo": 4,
    "mempool": 6,
    "mining": 7,
    "sync": 7,
    "notify": 7,
    "protocol": 7,
    "wallet": 8,
    "net": 9,
    "observe": 10,
    "services": 11,
    "rpc": 12,
    "node": 13,
    "embed": 14,
    "testing": 15,
    "simulate": 16,
    "data": 17,
    "cli": 18,
}
PURE = ("primitives", "script", "consensus", "wire", "descriptors", "swiftsync", "utreexo", "mempool", "protocol")
IMPURE_MODULES = {
    "time",
    "random",
    "asyncio",
    "socket",
    "os",
    "threading",
    "multiprocessing",
    "subprocess",
    "select",
    "pathlib",
    "secrets",
    "tempfile",
    "shutil",
    "io",
}
MAX_FUNCTION_LINES = 70

IMPURE_CALLS = {"open", "io.open", "input", "print", "datetime.now", "datetime.utcnow", "datetime.today", "date.today"}
IMPURE_METHODS = (".datetime.now", ".datetime.utcnow", ".datetime.today", ".date.today", ".open")

# may only shrink
IMPURE_EXCEPTIONS: dict[str, set[str]] = {}
LONG_FUNCTION_EXCEPTIONS: set[str] = set()
CIRCLE_EXCEPTIONS: list[list[str]] = []  # of types only
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


OPTIONAL = {"pyarrow", "dask", "distributed"}


def imported_names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def test_no_running_node_imports_tables_or_dask() -> None:
    """Nothing but the commands knows ``data``, and they only when it is asked for; nothing but ``data`` its extras."""
    wrong = []
    for room, path, tree in modules():
        at_import = {id(node) for node in tree.body}
        for node in ast.walk(tree) if room != "data" else ():
            for name in imported_names(node):
                is_room = name == "btcnode.data" or name.startswith("btcnode.data.")
                if name.split(".")[0] in OPTIONAL or (is_room and (room != "cli" or id(node) in at_import)):
                    wrong.append(f"{path.relative_to(ROOT.parent)} imports {name}")
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


def calls(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """What is called by a dotted name, with the line."""
    for node in walk_at_run_time(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            yield node.lineno, ast.unparse(node.func)


def test_pure_rooms_open_no_files_and_read_no_clocks() -> None:
    wrong = []
    for room, path, tree in modules():
        if room in PURE:
            for line, name in calls(tree):
                if name in IMPURE_CALLS or name.endswith(IMPURE_METHODS):
                    wrong.append(f"{path.relative_to(ROOT.parent)}:{line} calls {name}")
    assert not wrong, "\n".join(wrong)


def test_a_cancelled_task_does_not_go_on() -> None:
    """In Python 3.11 ``asyncio.wait_for`` forgets a cancellation that comes when the awaited is just done."""
    wrong = [
        f"{path.relative_to(ROOT.parent)}:{line}: async with asyncio.timeout(...) instead"
        for _, path, tree in modules()
        for line, name in calls(tree)
        if name == "asyncio.wait_for"
    ]
    assert not wrong, "\n".join(wrong)


def graph_of_imports(*, types_too: bool) -> dict[str, set[str]]:
    """Which module imports which others of its room."""
    names = {name_of(path): path for room, path, _ in modules() if path.parent != ROOT}
    graph: dict[str, set[str]] = {}
    for _, path, tree in modules():
        name = name_of(path)
        if name not in names:
            continue
        room = name.split(".")[:2]
        targets: set[str] = set()
        for node in ast.walk(tree) if types_too else walk_at_run_time(tree):
            if isinstance(node, ast.Import):
                targets |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                targets |= inner & set(names) or {node.module}
        graph[name] = {target for target in targets & set(names) if target.split(".")[:2] == room} - {name}
    return graph


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The groups of modules of which each imports every other, perhaps through others (Tarjan's algorithm)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        number[name] = lowest[name] = len(number)
        stack.append(name)
        for target in sorted(graph[name]):
            if target not in number:
                visit(target)
                lowest[name] = min(lowest[name], lowest[target])
            elif target in stack:
                lowest[name] = min(lowest[name], number[target])
        if lowest[name] == number[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                found.append(sorted(group))

    for name in graph:
        if name not in number:
            visit(name)
    return found


def test_circles_are_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": set(), "f": {"g", "d"}, "g": {"f"}}
    assert sorted(circles(graph)) == [["a", "b", "c"], ["f", "g"]]


@pytest.mark.parametrize("types_too", [False, True], ids=["run time", "types too"])
def test_no_circles_of_imports_inside_a_room(types_too: bool) -> None:
    found = circles(graph_of_imports(types_too=types_too))
    allowed = CIRCLE_EXCEPTIONS if types_too else []
    assert [group for group in found if group not in allowed] == []


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


def callables_taken(node: ast.ClassDef) -> Iterator[str]:
    """Names of the attributes in which a class keeps functions of others. Records (dataclasses) keep values: none."""
    if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        return
    for method in ast.walk(node):
        if not isinstance(method, ast.FunctionDef):
            continue
        arguments = (*method.args.args, *method.args.kwonlyargs)
        given = {arg.arg for arg in arguments if arg.annotation and "Callable" in ast.unparse(arg.annotation)}
        for item in ast.walk(method):
            if isinstance(item, ast.AnnAssign) and "Callable" in ast.unparse(item.annotation):
                yield from [item.target.attr] if isinstance(item.target, ast.Attribute) else []
            elif isinstance(item, ast.Assign) and isinstance(item.value, ast.Name) and item.value.id in given:
                yield from (target.attr for target in item.targets if isinstance(target, ast.Attribute))


def assigned_from_outside(tree: ast.AST) -> Iterator[tuple[int, str, ast.expr]]:
    """Attributes of other objects that are assigned to: line, name, value."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Assign):
            continue
        for target in node.targets:
            pairs = [(target, node.value)]
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = list(zip(target.elts, node.value.elts, strict=True))
            for place, value in pairs:
                if isinstance(place, ast.Attribute) and ast.unparse(place.value) not in ("self", "cls"):
                    yield place.lineno, place.attr, value


def test_parts_are_handed_over_at_construction() -> None:
    """Nobody sets a function, or himself, as an attribute of another object once that one is made."""
    every = [(room, path, tree) for room, path, tree in modules() if room in ORDER]
    holders: dict[str, int] = {}
    for room, _, tree in every:
        for node in ast.walk(tree):
            for name in callables_taken(node) if isinstance(node, ast.ClassDef) else ():
                holders[name] = min(ORDER[room], holders.get(name, ORDER[room]))
    wrong = [
        f"{path.relative_to(ROOT.parent)}:{line} sets .{name}"
        for room, path, tree in every
        for line, name, value in assigned_from_outside(tree)
        if isinstance(value, ast.Lambda)
        or ast.unparse(value) == "self"
        or (holders.get(name, 99) <= ORDER[room] and not isinstance(value, ast.Constant))
    ]
    assert not wrong, "\n".join(wrong)


def test_unit_tests_lie_as_the_package_does() -> None:
    def folders(root: Path) -> set[str]:
        return {str(path.parent.relative_to(root)) for path in root.rglob("__init__.py")}

    package, tests = folders(ROOT), folders(ROOT.parent / "tests/unit")
    assert tests <= package, f"folders of tests without a room: {sorted(tests - package)}"
    # of options nothing but what the settings make of them can be tried
    assert package - tests == {"settings/groups"}, f"rooms without a folder of tests: {sorted(package - tests)}"


EMPTY_MODULE_NAMES = {
    "base",
    "bridge",
    "common",
    "figures",
    "helpers",
    "manager",
    "misc",
    "readings",
    "service",
    "tools",
}
EMPTY_CLASS_NAMES = {"Bridge", "Figures", "Look", "Manager", "Readings", "Service"}
EMPTY_FUNCTION_NAMES = {"do", "figures", "go_on", "handle", "look", "process", "settle", "tell"}


def test_names_say_what_a_thing_is() -> None:
    """A module has its subject in its name, a function what it does to what."""
    wrong = [str(path.relative_to(ROOT.parent)) for _, path, _ in modules() if path.stem in EMPTY_MODULE_NAMES]
    for _, path, tree in modules():
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
                and node.name.strip("_") in EMPTY_FUNCTION_NAMES
            ):
                wrong.append(f"{path.relative_to(ROOT.parent)}:{node.lineno} {node.name}")
            if isinstance(node, ast.ClassDef) and node.name in EMPTY_CLASS_NAMES:
                wrong.append(f"{path.relative_to(ROOT.parent)}:{node.lineno} {node.name}")
    assert not wrong, "\n".join(wrong)
