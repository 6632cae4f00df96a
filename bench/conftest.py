"""Options that choose the measurements, and the machine's description in a result."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.machine import describe_machine
from bench.models import default_encoders, default_rerankers

CATALOGUE = Path(__file__).parents[1] / "eval_sets" / "catalogue"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("mmrag bench")
    group.addoption("--encoder", action="append", help="To measure; may be repeated.")
    group.addoption("--reranker", action="append", help="To measure; may be repeated.")
    group.addoption("--device", action="append", help="cpu, cuda, mps. Default: all here.")
    group.addoption("--precision", action="append", help="Default: all that suit the device.")
    group.addoption("--batch-size", action="append", type=int, help="Default: 1 and the device's.")
    group.addoption("--uri", help="A Milvus server to measure as well as Milvus Lite.")
    group.addoption(
        "--quick", action="store_true", help="Small sizes, only to check that it works."
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one benchmark for each encoder, device and precision."""
    names = metafunc.fixturenames
    config = metafunc.config
    if "setup" in names:
        cases = [
            (encoder, device, precision)
            for device in config.getoption("device") or devices()
            for encoder in config.getoption("encoder") or default_encoders()
            for precision in _precisions(device, config.getoption("precision"))
        ]
        if getattr(metafunc.function, "in_float32", False):
            cases = list(dict.fromkeys((encoder, device, "fp32") for encoder, device, _ in cases))
        ids = ["-".join(case) for case in cases]
        metafunc.parametrize("setup", cases, ids=ids, indirect=True, scope="module")
    if "reranked_by" in names:
        rerankers = config.getoption("reranker") or default_rerankers()
        pairs = [(one, at) for at in config.getoption("device") or devices() for one in rerankers]
        metafunc.parametrize("reranked_by", pairs, ids=["-".join(pair) for pair in pairs])


def devices() -> list[str]:
    """Every kind of device available."""
    import torch

    found = ["cuda"] if torch.cuda.is_available() else []
    found += ["mps"] if torch.backends.mps.is_available() else []
    return [*found, "cpu"]


def _precisions(device: str, wanted: list[str] | None) -> list[str]:
    import torch

    from mmrag.encoders.device import multiplies_bf16, multiplies_fp8, multiplies_int8

    possible = ["fp32"]
    if multiplies_bf16(torch.device(device)):
        possible.append("bf16")
    if multiplies_int8(torch.device(device)):
        possible.append("int8")
    if multiplies_fp8(torch.device(device)):
        possible.append("fp8")
    if device != "cpu":
        possible.append("fp16")
    return [precision for precision in possible if not wanted or precision in wanted]


@pytest.fixture(scope="session")
def quick(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("quick"))


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the user's collections from benchmarks; weights stay visible."""
    from mmrag import config

    weights = config.weights_dir()
    home = tmp_path_factory.mktemp("home")
    if weights.is_dir():
        (home / "weights").symlink_to(weights)
    monkeypatch.setenv("MMRAG_HOME", str(home))


@pytest.fixture
def server_uri(request: pytest.FixtureRequest) -> Iterator[str]:
    """Give a Milvus server: --uri, MMRAG_URI, or a new one, from the package that tests use.

    A new one is started for each benchmark, so that its memory is that of one collection.
    """
    folder = request.getfixturevalue("tmp_path_factory").mktemp("milvus")
    with milvus_server(request.config, folder, True) as uri:
        yield uri


@contextlib.contextmanager
def milvus_server(config: pytest.Config, folder: Path, server: bool) -> Iterator[str]:
    """Give the address of a server as in `server_uri`, or of a local store in `folder`."""
    uri = config.getoption("uri") or os.environ.get("MMRAG_URI")
    if not server:
        yield str(folder / "store.db")
    elif uri and "://" in uri:
        yield uri
    elif os.environ.get("MMRAG_TEST_MILVUS"):
        from tests.conftest import run_milvus_server

        with run_milvus_server(os.environ["MMRAG_TEST_MILVUS"], folder) as started:
            yield started
    else:
        pytest.skip("no Milvus server: --uri, MMRAG_URI or MMRAG_TEST_MILVUS name one")


def pytest_benchmark_update_machine_info(
    config: pytest.Config, machine_info: dict[str, Any]
) -> None:
    """Record the facts that matter for speed, instead of host name, build paths and CPU flags."""
    machine_info.clear()
    machine_info.update(describe_machine(), quick=bool(config.getoption("quick")))


def pytest_benchmark_update_commit_info(config: pytest.Config, commit_info: dict[str, Any]) -> None:
    """Record only which commit it was."""
    for key in ("project", "branch", "author_time"):
        commit_info.pop(key, None)
