"""Programs whose standard streams are closed, full, or read by nobody."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SPEAKS = """
import os, sys
from btcnode.observe.stdio import run_program
def run(argv):
    for n in range(20_000):
        print("line", n)
    print("\\u00e9\\udcff\\u2026", file=sys.stderr)
    sys.stderr.write("open: " + str([os.fstat(n).st_mode != 0 for n in range(3)]) + "\\n")
    return int(argv[0])
run_program(run, output_counts=%r)
"""
OPENS = """
import os, sys
from btcnode.observe.stdio import run_program
def run(argv):
    print("not into the file", flush=True)
    print("nor this", file=sys.stderr)
    with open(argv[0], "w") as file:
        file.write(str(file.fileno()) + repr(sys.stdin.read(1)))
    return 0
run_program(run)
"""


def shell(script: str, redirections: str, *words: str, counts: bool = False) -> subprocess.CompletedProcess[bytes]:
    code = script % counts if "%r" in script else script
    command = ["sh", "-c", f'exec "$@" {redirections}', "sh", sys.executable, "-c", code, *words]
    return subprocess.run(command, capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize(
    "redirections", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-", ">/dev/full", "2>/dev/full", "<&-"]
)
def test_a_program_that_nobody_reads_ends_as_it_would(redirections: str) -> None:
    for status in (0, 3):
        done = shell(SPEAKS, redirections, str(status))
        assert done.returncode == status
        assert b"Traceback" not in done.stderr and b"Exception ignored" not in done.stderr


def test_a_reader_may_leave() -> None:
    command = [sys.executable, "-c", SPEAKS % True, "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == b"line 0\n"
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == 0
    assert said == "é".encode() + b"\xff" + "…\nopen: [True, True, True]\n".encode()


def test_what_a_full_disk_did_not_take_is_told_where_it_counts() -> None:
    done = shell(SPEAKS, ">/dev/full", "0", counts=True)
    assert done.returncode == 1
    assert done.stderr.endswith(b"error: the output cannot be written: No space left on device\n")
    assert shell(SPEAKS, ">/dev/full", "3", counts=True).returncode == 3


def test_no_file_gets_the_number_of_a_standard_stream(tmp_path: Path) -> None:
    path = tmp_path / "data"
    assert shell(OPENS, "<&- >&- 2>&-", str(path)).returncode == 0
    number, rest = int(path.read_text()[0]), path.read_text()[1:]
    assert (number > 2, rest) == (True, "''")


def test_text_is_utf8_in_any_locale() -> None:
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", SPEAKS % False, "0"]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True, env=environment)
    assert done.stderr.startswith("é".encode() + b"\xff" + "…\n".encode())
