"""What is shipped runs: wheel and sdist in clean environments, the container's health check, the systemd unit."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.lib.process import NodeProcess, free_port, wait_until

ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "scripts/systemd/btcnoded.service"


def interpreter(version: str) -> str | None:
    """An interpreter of this version: the running one, one on the PATH, or one of pyenv's."""
    candidates = [sys.executable, shutil.which(f"python{version}") or ""]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates += [str(path) for path in sorted(pyenv.glob(f"versions/{version}.*/bin/python"))]
    text = "import sys; print('%d.%d' % sys.version_info[:2])"
    for candidate in filter(None, candidates):
        found = subprocess.run([candidate, "-c", text], capture_output=True, text=True, check=False)
        if found.stdout.strip() == version:
            return candidate
    return None


def pip(python: Path, *words: str) -> subprocess.CompletedProcess[str]:
    options = ("--quiet", "--disable-pip-version-check", "--no-compile")  # most of what is installed is not imported
    command = [str(python), "-m", "pip", "install", *options, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wheel and an sdist, built by a fresh hatchling."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    python = folder / "venv/bin/python"
    done = pip(python, "hatchling")
    if done.returncode != 0:
        pytest.skip(f"hatchling cannot be installed from PyPI: {done.stderr.strip().rpartition(chr(10))[2]}")
    subprocess.run([python, "-m", "hatchling", "build", "-d", folder], cwd=ROOT, check=True, capture_output=True)
    return folder


def test_both_carry_types_and_licence(dist: Path) -> None:
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    inside = zipfile.ZipFile(wheel).namelist()
    for name in ("btcnode/py.typed", "btcnode/rpc/typed.pyi", "btcnode/testing/plugin.py"):
        assert name in inside
    assert any(name.endswith("licenses/LICENSE") for name in inside)
    assert not [name for name in inside if name.startswith(("tests/", "scripts/"))]
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "LICENSE", "README.md", "scripts/docs", "docker/Dockerfile"} <= names


@pytest.mark.slow
@pytest.mark.parametrize(
    ("version", "form"), [("3.11", "*.tar.gz"), ("3.12", "*.whl"), ("3.13", "*.whl"), ("3.14", "*.whl")]
)
def test_a_clean_environment_runs_a_node(dist: Path, tmp_path: Path, version: str, form: str) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} here")
    subprocess.run([python, "-m", "venv", tmp_path / "venv"], check=True)
    bin_dir = tmp_path / "venv/bin"
    (package,) = dist.glob(form)
    done = pip(bin_dir / "python", str(package))
    assert done.returncode == 0, done.stderr
    (tmp_path / "data").mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    common = ["-regtest", f"-datadir={tmp_path / 'data'}", f"-rpcport={free_port()}"]
    start = [str(bin_dir / "btcnoded"), *common, "-listen=0", "-daemonwait"]
    subprocess.run(start, check=True, timeout=60, env=environment, cwd=tmp_path)
    cli = [str(bin_dir / "btcnode-cli"), *common]
    try:
        address = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
        subprocess.run([*cli, "generatetoaddress", "3", address], check=True, env=environment, cwd=tmp_path)
        count = subprocess.run([*cli, "getblockcount"], check=True, env=environment, cwd=tmp_path, capture_output=True)
        assert count.stdout == b"3\n"
    finally:
        subprocess.run([*cli, "stop"], check=True, env=environment, cwd=tmp_path)
    pid_file = tmp_path / "data/regtest/bitcoind.pid"
    wait_until(lambda: not pid_file.exists(), 30, "the end of the node")
    shown = subprocess.run([bin_dir / "btcnode", "version"], check=True, capture_output=True, text=True)
    assert shown.stdout.strip()


def test_the_health_check_of_the_container(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "docker/health.py"), str(tmp_path)]
    before = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (before.returncode, before.stdout[:16]) == (1, "no ready.json: t")
    with NodeProcess(tmp_path, "regtest", listen=False) as node:
        node.start()
        wait_until(lambda: (node.net_dir / "ready.json").exists(), 20, "ready.json")
        during = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (during.returncode, during.stdout) == (0, "ready\n")
        ready = (node.net_dir / "ready.json").read_bytes()
        node.stop()
    (node.net_dir / "ready.json").write_bytes(ready)  # as a killed node leaves it
    after = subprocess.run(command, capture_output=True, text=True, check=False)
    assert after.returncode == 1 and "refused" in after.stdout


def test_the_container_files_fit_together() -> None:
    compose = (ROOT / "docker/compose.yaml").read_text()
    (target,) = [
        line.split('"')[1] for line in (ROOT / "docker/prometheus.yml").read_text().splitlines() if '["' in line
    ]
    host, _, port = target.partition(":")
    assert f"\n  {host}:\n" in compose
    assert f"-metrics-port={port}" in compose
    dockerfile = (ROOT / "docker/Dockerfile").read_text()
    assert dockerfile.count("\nVOLUME ") == 1 and "\nUSER btcnode\n" in dockerfile
    for line in dockerfile.splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            assert all((ROOT / name).exists() for name in line.split()[1:-1]), line


# --- systemd


def exec_start() -> list[str]:
    text = UNIT.read_text().replace("\\\n", " ")
    (line,) = [line for line in text.splitlines() if line.startswith("ExecStart=")]
    return shlex.split(line.removeprefix("ExecStart="))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace(exec_start()[0], "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("systemd-notify") is None, reason="no systemd-notify")
def test_systemd_hears_of_start_and_stop(tmp_path: Path) -> None:
    """The unit's own command line, with paths of ours."""
    places = {"/var/lib/btcnode": "data", "/etc/btcnode": "etc", "/run/btcnode": "run"}
    words = exec_start()[1:]
    for path, name in places.items():
        (tmp_path / name).mkdir()
        words = [word.replace(path, str(tmp_path / name)) for word in words]
    (tmp_path / "etc/bitcoin.conf").write_text("regtest=1\nlisten=0\n[regtest]\nrpcport=0\n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.settimeout(30)
        environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "btcnode.cli.daemon", *words]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        try:
            assert b"READY=1" in heard.recv(4096)
            assert int((tmp_path / "run/btcnoded.pid").read_text()) == process.pid
            process.terminate()
            message = heard.recv(4096)
            while b"STOPPING=1" not in message:  # systemd-notify may tell of itself first
                message = heard.recv(4096)
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.wait()
