"""The built package, installed by itself and used from an empty folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import httpx
import pytest

from mmrag.version import __version__

from .helpers import ROOT, free_port, wait_until


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """sdist and wheel, built from what git tracks."""
    export, out = tmp_path_factory.mktemp("export"), tmp_path_factory.mktemp("dist")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    for name in os.fsdecode(listed.stdout).split("\0"):
        if name and (ROOT / name).is_file():
            target = export / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    code = (
        "import sys; from hatchling import build; print(build.build_sdist(sys.argv[1])); "
        "print(build.build_wheel(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", code, str(out)], cwd=export, check=True, timeout=300)
    return out


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, that borrows the libraries of this one."""
    environment = tmp_path_factory.mktemp("fresh") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin" / "python"
    found = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    )
    libraries = Path(found.stdout.strip())
    (libraries / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (wheel,) = built.glob("*.whl")
    install = ["install", "--quiet", "--no-deps", "--no-index", "--ignore-installed", str(wheel)]
    command = [sys.executable, "-m", "pip", "--python", str(python), *install]
    subprocess.run(command, check=True, timeout=300)
    return environment / "bin" / "mmrag"


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("empty")


def _env(empty: Path) -> dict[str, str]:
    """As if not beside other tests: pytest-benchmark would measure nothing, or be refused."""
    own = ("MMRAG_", "PYTHON", "PYTEST")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(own)}
    return {**kept, "MMRAG_STORE_LINGER": "0.5", "HF_HUB_OFFLINE": "1", "TMPDIR": str(empty)}


def _run(mmrag: Path, empty: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [mmrag, *arguments],
        cwd=empty,
        env=_env(empty),
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_the_archives_hold_what_is_used_and_no_more(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    (sdist,) = built.glob("*.tar.gz")
    names = set(zipfile.ZipFile(wheel).namelist())
    for wanted in (
        "mmrag/py.typed",
        "mmrag/_shipped/dashboard.py",
        "mmrag/_shipped/.streamlit/config.toml",
        "mmrag/_shipped/bench/test_encode.py",
        "mmrag/_shipped/eval_sets/catalogue/images/item-00000.webp",
        "mmrag/encoders/shipped/demo/model.safetensors",
        "mmrag/ui/picture_grid.js",
    ):
        assert wanted in names
    roots = {name.split("/")[0] for name in names}
    assert roots == {"mmrag", f"mmrag-{__version__}.dist-info"}
    assert not [name for name in names if name.endswith(".pyc")]
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert {"tests/conftest.py", "hatch_build.py", "requirements-dev.txt"} <= inside


def test_one_version_everywhere(built: Path, installed: Path, empty: Path) -> None:
    assert next(built.glob("*.whl")).name.startswith(f"mmrag-{__version__}-")
    assert _run(installed, empty, "--version").stdout.strip() == f"mmrag, version {__version__}"
    report = json.loads(_run(installed, empty, "doctor", "--json").stdout)
    assert report["mmrag"] == __version__
    code = "import sys, mmrag; print(mmrag.__version__, mmrag.__file__, 'torch' in sys.modules)"
    python = installed.with_name("python")
    done = subprocess.run(
        [python, "-c", code], cwd=empty, env=_env(empty), capture_output=True, text=True, check=True
    )
    version, file, with_torch = done.stdout.split()
    assert (version, with_torch) == (__version__, "False")
    assert Path(file).is_relative_to(installed.parents[1])


def test_demo_and_an_evaluation_need_no_clone(installed: Path, empty: Path) -> None:
    shown = json.loads(_run(installed, empty, "demo", "--json").stdout)
    assert shown
    catalogue = next(installed.parents[1].rglob("_shipped/eval_sets/catalogue"))
    arguments = ("evaluate", str(catalogue), "--encoder", "demo", "--limit", "20", "--json")
    run = json.loads(_run(installed, empty, *arguments).stdout)
    assert run["queries"]["finished"] == 20


def test_the_bench_suite_runs_and_keeps_its_results_at_home(installed: Path, empty: Path) -> None:
    arguments = ("bench", "--only", "decode", "--quick", "--save", "--json")
    result = json.loads(_run(installed, empty, *arguments).stdout)
    assert result["rows"]
    saved = empty / result["saved"]
    assert saved.is_file()
    assert saved.resolve().is_relative_to(empty.resolve())


def test_the_dashboard_serves_with_its_own_settings(installed: Path, empty: Path) -> None:
    port = free_port()
    log = empty / "dashboard.log"
    server = subprocess.Popen(
        [installed, "dashboard", "--no-prepare", "--port", str(port)],
        cwd=empty,
        env=_env(empty),
        stdout=log.open("wb"),
        stderr=subprocess.STDOUT,
    )
    try:

        def answers() -> bool:
            try:
                return httpx.get(f"http://localhost:{port}").status_code == 200
            except httpx.HTTPError:
                return False

        assert wait_until(answers, 60), log.read_text()
        # Of the settings that travel with it: no other origin may connect.
        assert not _may_connect(port, origin="http://evil.example")
        assert _may_connect(port, origin=f"http://localhost:{port}")
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)
    assert "Traceback" not in log.read_text()


def _may_connect(port: int, origin: str) -> bool:
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Origin": origin,
    }
    with httpx.stream("GET", f"http://localhost:{port}/_stcore/stream", headers=headers) as reply:
        return reply.status_code == 101
