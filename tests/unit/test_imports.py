"""Modules of the package are those that Python would load, whatever lies beside them."""

from __future__ import annotations

import importlib
import os
import py_compile
import shutil
import sys
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES, SourceFileLoader
from importlib.util import cache_from_source
from pathlib import Path
from types import ModuleType

import pytest

from btcnode.imports import MAX_BYTECODE, QuickFinder, QuickLoader, find_quickly

NAME = "package_to_be_found"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a package with a module ``one`` and a package ``inner``, which is found quickly."""
    folder = tmp_path / NAME
    for name, text in (("__init__", ""), ("one", "SAID = 1\n"), ("inner/__init__", "SAID = 2\n")):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / f"{name}.py").write_text(text)
        py_compile.compile(str(folder / f"{name}.py"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", [QuickFinder(NAME), *sys.meta_path])
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    yield folder
    forget()


def forget() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == NAME]:
        del sys.modules[name]


def load(name: str) -> ModuleType:
    forget()
    return importlib.import_module(f"{NAME}.{name}")


@pytest.fixture
def read_by_python(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of modules that Python's loader has read."""
    names: list[str] = []
    get_code = SourceFileLoader.get_code

    def seen(self: SourceFileLoader, fullname: str) -> object:
        names.append(fullname.rpartition(".")[2])
        return get_code(self, fullname)

    monkeypatch.setattr(SourceFileLoader, "get_code", seen)
    return names


def facts(module: ModuleType) -> list[object]:
    spec = module.__spec__
    assert spec is not None
    return [module.__file__, module.__cached__, module.__package__, getattr(module, "__path__", None), spec.name,
            spec.origin, spec.cached, spec.has_location, spec.submodule_search_locations, spec.parent]  # fmt: skip


def test_modules_are_as_python_makes_them(package: Path, read_by_python: list[str]) -> None:
    quick = [facts(load(name)) for name in ("one", "inner")]
    assert isinstance(load("one").__loader__, QuickLoader)
    assert read_by_python == [NAME] * 3  # the package itself is found by Python
    sys.meta_path.pop(0)
    importlib.invalidate_caches()
    assert quick == [facts(load(name)) for name in ("one", "inner")]
    assert not isinstance(load("one").__loader__, QuickLoader)


def test_a_changed_source_is_seen(package: Path) -> None:
    source = package / "one.py"
    before = source.stat()
    source.write_text("SAID = 7\n")
    os.utime(source, (before.st_atime, before.st_mtime + 1))
    assert load("one").SAID == 7
    source.write_text("SAID = 12\n")  # of another size, at the same time
    os.utime(source, (before.st_atime, before.st_mtime + 1))
    assert load("one").SAID == 12


@pytest.mark.parametrize("what", ["none", "empty", "short", "foreign", "by hash", "large", "a folder"])
def test_other_bytecode_is_left_to_python(package: Path, read_by_python: list[str], what: str) -> None:
    source = package / "one.py"
    cached = Path(cache_from_source(str(source)))
    if what == "by hash":
        py_compile.compile(str(source), invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)
    elif what in ("none", "a folder"):
        cached.unlink()
        if what == "a folder":
            cached.mkdir()
    elif what == "large":
        cached.write_bytes(cached.read_bytes() + bytes(MAX_BYTECODE))
    else:
        data = cached.read_bytes()
        cached.write_bytes({"empty": b"", "short": data[:15], "foreign": b"\0" + data[1:]}[what])
    assert load("one").SAID == 1
    assert read_by_python == [NAME, "one"]


def test_tracebacks_name_the_file_where_it_is(package: Path, tmp_path: Path) -> None:
    """Bytecode keeps the name under which its source was compiled: an installation may be made elsewhere."""
    (package / "one.py").write_text("def said():\n    return 1\n")
    py_compile.compile(str(package / "one.py"), dfile="/made/elsewhere/one.py")
    assert load("one").said.__code__.co_filename == str(package / "one.py")


def test_a_module_in_c_comes_first(package: Path, read_by_python: list[str]) -> None:
    (package / f"other{EXTENSION_SUFFIXES[0]}").write_bytes(b"")
    assert load("one").SAID == 1
    assert "one" in read_by_python


def test_a_module_that_comes_or_goes_later(package: Path) -> None:
    load("one")
    (package / "late.py").write_text("SAID = 3\n")
    importlib.invalidate_caches()
    assert load("late").SAID == 3
    assert isinstance(load("late").__loader__, QuickLoader)
    shutil.rmtree(package / "inner")
    importlib.invalidate_caches()
    with pytest.raises(ModuleNotFoundError):
        load("inner")
    with pytest.raises(ModuleNotFoundError):
        load("never")


def test_others_are_none_of_its_business(package: Path) -> None:
    finder = QuickFinder(NAME)
    assert finder.find_spec("json.decoder", [str(package)]) is None
    assert finder.find_spec(f"{NAME}er.one", [str(package)]) is None
    assert finder.find_spec(f"{NAME}.one", None) is None
    assert finder.find_spec(f"{NAME}.one", [str(package), "/elsewhere"]) is None  # a package in two places
    assert finder.find_spec(f"{NAME}.one", ["/not/there"]) is None


def test_it_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", [one for one in sys.meta_path if not isinstance(one, QuickFinder)])
    find_quickly()
    find_quickly()
    assert [isinstance(one, QuickFinder) for one in sys.meta_path].count(True) == 1
    assert isinstance(sys.meta_path[0], QuickFinder)
