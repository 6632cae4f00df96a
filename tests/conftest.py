"""What several tests share: data sets, servers, and encoders with made-up weights."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmrag.encoders.encoder import Encoder
from mmrag.eval_sets.eval_set import EvalQuery, EvalSet
from mmrag.types import GalleryImage

from .helpers import PARITY, ROOT, free_port
from .hub import Hub
from .slow import slow_tests
from .vision_server import KEY, VisionServer

GROCERY = Path(
    os.environ.get("MMRAG_TEST_GROCERY", ROOT.parent / "shared" / "datasets" / "grocery-store")
)

# In the background of a shell without job control Ctrl-C is ignored, and by all that is started.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# A machine runs one Milvus server at a time, so one process takes all of these.
WITH_MILVUS = {"test_browse.py", "test_index.py", "test_server_options.py", "test_servers.py"}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `-n 2`, what one process runs: a file, all with Milvus, tests/fuzz, which counts, or
    tests/browser, which shares one dashboard.

    xdist's own groups (`--dist loadgroup`) do nothing with pytest 9.2.
    """
    from xdist.scheduler import LoadScopeScheduling

    config.option.loadscopereorder = False  # `pytest_collection_modifyitems` puts long ones first

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = Path(nodeid.partition("::")[0])
            if file.parent.name in ("browser", "fuzz"):
                return file.parent.name
            return "milvus" if file.name in WITH_MILVUS else str(file)

    return Groups(config, log)


# Files that take minutes.
LONG = WITH_MILVUS | {
    "test_bench.py",
    "test_cli.py",
    "test_distributed.py",
    "test_encoders.py",
    "test_killed.py",
    "test_search.py",
    "test_shipped.py",
    "test_training.py",
    "test_wheel.py",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Markers by where a test is and what it needs, for `make test-quick` and `-m`.

    The long ones come first: all processes then end at about the same time.
    """
    slow = slow_tests()
    items.sort(key=lambda item: item.path.name not in LONG and item.path.parent.name != "browser")
    for item in items:
        room = item.path.parent.name
        if room in ("browser", "faults"):
            item.add_marker(room)
        if item.path.name in WITH_MILVUS or item.path.name == "test_parquet.py":
            item.add_marker("server")
        if room in ("fuzz", "security") or item.nodeid.partition("[")[0] in slow:
            item.add_marker("slow")


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the state or the settings of whoever runs it."""
    for name in list(os.environ):
        if name.startswith("MMRAG_") and not name.startswith("MMRAG_TEST_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MMRAG_HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setenv("MMRAG_STORE_LINGER", "0.5")
    # A test of a page leaves that page as `__main__`, which processes started later would run.
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


@pytest.fixture(scope="session")
def grocery() -> Path:
    if not (GROCERY / "dataset").is_dir():
        pytest.skip("MMRAG_TEST_GROCERY names no folder with the Grocery Store Dataset")
    return GROCERY


@pytest.fixture(scope="session")
def base_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A full-size Visualized BGE base of made-up weights."""
    return make_checkpoint("base", tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small untrained Visualized BGE, as `mmrag train` writes it."""
    from mmrag.training.models import CONFIGS, open_model

    folder = tmp_path_factory.mktemp("tiny")
    files = open_model(f"new:{CONFIGS / 'visualized-bge-tiny.json'}", _words(), 0)
    files.save(folder)
    return folder


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> Encoder:
    from mmrag import load_encoder

    return load_encoder(str(tiny_folder), device="cpu", precision="fp32")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve pictures that any encoder tells apart, in two folders."""
    rng = np.random.default_rng(0)
    root = tmp_path / "pictures"
    for i in range(12):
        path = root / ("a" if i % 2 else "b") / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((96, 80)).save(path)
    return root


@pytest.fixture(scope="module")
def milvus_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A real Milvus server; its package lives in an environment of its own."""
    assert request.path.name in WITH_MILVUS
    python = os.environ.get("MMRAG_TEST_MILVUS")
    if not python or not Path(python).exists():
        pytest.skip("MMRAG_TEST_MILVUS names no Python with the milvus package; use `make test`")
    with run_milvus_server(python, tmp_path_factory.mktemp("milvus")) as uri:
        yield uri


@contextlib.contextmanager
def run_milvus_server(python: str, data: Path, port: int | None = None) -> Iterator[str]:
    port = port or free_port()
    code = (
        "import sys, time\n"
        "from milvus import MilvusServer\n"
        "server = MilvusServer(wait_for_started=True)\n"
        "server.set_base_dir(sys.argv[1])\n"
        "server.listen_port = int(sys.argv[2])\n"
        "server.start()\n"
        "print(server.server_proc.pid if hasattr(server, 'server_proc') else 0, flush=True)\n"
        "sys.stdin.read()\n"
        "server.stop()\n"
    )
    process = subprocess.Popen(
        [python, "-c", code, str(data), str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline(), "the Milvus server did not start"
        yield f"http://127.0.0.1:{port}"
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(30)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(params=["local", "server"])
def milvus_uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The same test on a local store and on a Milvus server."""
    if request.param == "local":
        return str(tmp_path / "gallery.db")
    uri: str = request.getfixturevalue("milvus_server")
    return uri


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[VisionServer]:
    """A stand-in for the vision model, which the environment names."""
    # Ports come again: what another server had says nothing of this one.
    monkeypatch.setattr("mmrag.vision.server_models._known", {})
    with VisionServer(key=KEY) as running:
        monkeypatch.setenv("OPENAI_BASE_URL", running.url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.delenv("AZURE_OPENAI_ENDPOINT", raising=False)
        yield running


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A stand-in for the hub of models, empty; nothing is taken from the client's own cache."""
    import huggingface_hub.constants as constants

    opened = Hub({})
    monkeypatch.setattr(constants, "ENDPOINT", opened.url)
    template = opened.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("HF_ENDPOINT", opened.url)
    yield opened
    opened.close()


def make_checkpoint(kind: str, folder: Path) -> Path:
    path = folder / f"{kind}.pth"
    subprocess.run([sys.executable, PARITY / "make_checkpoint.py", kind, path], check=True)
    return path


def _words():  # type: ignore[no-untyped-def]
    from mmrag.eval_sets.eval_set import EvalQuery, EvalSet

    texts = ["a red mug with stripes", "the same in green", "phone case with this image theme"]
    queries = [EvalQuery(str(i), None, text) for i, text in enumerate(texts)]
    return EvalSet("words", Path(), Path(), [], queries, {})


COLOURS = {"red": (200, 40, 40), "green": (40, 180, 40), "blue": (40, 40, 200), "grey": (128,) * 3}


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> EvalSet:
    """Noisy patches of four colours: a colour's name, a patch, or a patch and "the red one"."""
    folder = tmp_path_factory.mktemp("colours")
    rng = np.random.default_rng(0)
    images, queries, qrels = [], [], {}
    names = [name for name in COLOURS for _ in range(6)]
    for i, name in enumerate(names):
        noisy = np.asarray(COLOURS[name]) + rng.integers(-30, 30, (40, 40, 3))
        path = folder / f"{i}.png"
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path)
        images.append(GalleryImage(f"{i}.png", str(path)))
    for i, shown in enumerate(names):
        for asked in COLOURS:
            query = EvalQuery(f"{i}-{asked}", images[i].path, f"the {asked} one", "composed")
            right = {f"{j}.png": 1 for j, name in enumerate(names) if name == asked}
            wrong = {f"{j}.png": 0 for j, name in enumerate(names) if name == shown != asked}
            queries.append(query)
            qrels[query.query_id] = right | wrong
    for name in COLOURS:
        queries.append(EvalQuery(name, None, name, "text"))
        qrels[name] = {f"{j}.png": 1 for j, other in enumerate(names) if other == name}
    eval_set = EvalSet("colours", folder, folder, images, queries, qrels, exclude_query_image=True)
    eval_set.save()
    return EvalSet.load(folder)
