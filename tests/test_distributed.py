"""Embedding and evaluation over a real local Ray with two workers."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from mmrag import EvalSet, ImageIndex, Searcher, evaluate, load_encoder
from mmrag.distributed.worker import EncoderSpec
from mmrag.encoders.encoder import Encoder, EncoderInfo
from mmrag.errors import MmragError
from mmrag.galleries.gallery import open_gallery
from mmrag.index.rows import Source
from mmrag.runs.store import RunStore
from tests.helpers import ROOT, free_port, mmrag, wait_until
from tests.postgres import running_postgres

pytest.importorskip("ray", reason="requirements-distributed.txt is not installed")

from mmrag.distributed import open_sources as indexing
from mmrag.distributed.cluster import Cluster, connected
from mmrag.distributed.parquet import embed_to_shards
from mmrag.distributed.ray_embedder import EmbedTask, RayEmbedder
from mmrag.distributed.ray_ranker import RayRanker
from mmrag.distributed.sources import Root

CATALOGUE = ROOT / "eval_sets" / "catalogue"
KEYS = ("image_id", "content_hash", "row_hash", "path", "text", "metadata")


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str | None]:
    """A server that speaks S3, known to this process and to Ray's by the environment."""
    server = None
    with pytest.MonkeyPatch.context() as patch:
        try:
            from moto.server import ThreadedMotoServer
        except ImportError:
            yield None
            return
        port = free_port()
        server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
        server.start()
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "made-up")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "made-up")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield "s3://pictures"
        server.stop()


@pytest.fixture(scope="module")
def cluster(s3: str | None) -> Iterator[Cluster]:
    with connected(None, 2) as found:
        yield found


@pytest.fixture
def bucket(s3: str | None, cluster: Cluster) -> Any:
    if s3 is None:
        pytest.skip("moto[server] is not installed")
    import s3fs

    files = s3fs.S3FileSystem(skip_instance_cache=True)
    if not files.exists("pictures"):
        files.mkdir("pictures")
    elif files.ls("pictures", refresh=True):
        files.rm("pictures/*", recursive=True)
    return files


@pytest.fixture
def pictures(folder: Path) -> Path:
    """36 pictures in three folders, what cannot be read, and what leads elsewhere."""
    for name in ("c", "d"):
        (folder / name).mkdir()
        for path in sorted(folder.glob("[ab]/*.png")):
            image = bytearray(path.read_bytes())
            (folder / name / path.name).write_bytes(image + name.encode())
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more of it")
    (folder / "empty.png").touch()
    outside = folder.parent / "secret.png"
    shutil.copy(folder / "a" / "01.png", outside)
    (folder / "link.png").symlink_to(outside)
    lines = [
        {"image_path": "a/01.png", "description": "Größe <b>", "price": 1.5, "tags": ["x"]},
        {"image_path": "b/02.png", "description": "\ud800 no text"},
        {"image_path": "c/03.png", "metadata": {"deep": {"er": [1, None, True]}}},
        {"image_path": "nowhere.png"},
    ]
    (folder / "about.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder


def spec_of(encoder_folder: Path) -> EncoderSpec:
    return EncoderSpec(str(encoder_folder), device="cpu", precision="fp32")


def source_of(
    cluster: Cluster, spec: EncoderSpec, encoder: Encoder, folder: Path, **options: Any
) -> indexing.RaySource:
    """As `ray_source` makes it, without loading the model once more to describe it."""
    root = Root(str(folder.resolve()))
    gallery = open_gallery(folder, options.pop("metadata", None))
    task = EmbedTask(spec, encoder.info.fingerprint, root, "image", 2, 1)
    task = replace(task, **options)
    return indexing.RaySource(gallery, encoder, task.embed, RayEmbedder(cluster, task))


def add(index: ImageIndex, source: Source, **options: Any) -> Any:
    return index.add(source.gallery, embed=source.embed, embedder=source.embedder, **options)


def rows_of(index: ImageIndex) -> tuple[list[dict[str, Any]], np.ndarray]:
    rows = sorted(index.rows([*KEYS, "vector"]), key=lambda row: row["image_id"])
    vectors = np.array([row.pop("vector") for row in rows], np.float32)
    return rows, vectors


def assert_same_rows(one: ImageIndex, other: ImageIndex) -> None:
    (rows, vectors), (their_rows, their_vectors) = rows_of(one), rows_of(other)
    assert rows == their_rows
    print(f"largest difference of a component: {np.abs(vectors - their_vectors).max():.1e}")
    # Batches differ, and with them the order in which a matrix product adds up.
    np.testing.assert_allclose(vectors, their_vectors, rtol=0, atol=2e-6)


def workers(name: str) -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if name in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_rows_are_those_of_one_process(
    cluster: Cluster, tiny: Encoder, tiny_folder: Path, pictures: Path, tmp_path: Path
) -> None:
    about = pictures / "about.jsonl"
    source = source_of(cluster, spec_of(tiny_folder), tiny, pictures, metadata=about)
    with (
        ImageIndex.open(tmp_path / "store.db", "one", tiny) as one,
        ImageIndex.open(tmp_path / "store.db", "ray", tiny) as ray,
    ):
        expected = one.add(open_gallery(pictures, about), batch_size=2)
        done: list[int] = []
        report = add(ray, source, progress=done.append)
        assert_same_rows(one, ray)
        assert report.skipped == expected.skipped
        assert {"broken.jpg", "empty.png", "link.png", "b/02.png"} <= {
            skipped.path for skipped in report.skipped
        }
        assert (report.added, report.embedded) == (expected.added, expected.embedded) == (35, 35)
        assert sum(done) == len(source.gallery.images)

        again = add(ray, source)
        assert (again.unchanged, again.embedded, again.added) == (35, 0, 0)

        (pictures / "d" / "00.png").write_bytes((pictures / "a" / "01.png").read_bytes())
        (pictures / "d" / "02.png").unlink()
        one.add(open_gallery(pictures, about), batch_size=2)
        changed = add(ray, replace(source, gallery=open_gallery(pictures, about)))
        assert (changed.embedded, changed.updated, changed.removed) == (1, 1, 1)
        assert_same_rows(one, ray)


def test_a_killed_worker_loses_nothing(
    cluster: Cluster, tiny: Encoder, tiny_folder: Path, folder: Path, tmp_path: Path
) -> None:
    originals = sorted(folder.glob("*/*.png"))
    for i in range(600):
        path = folder / "many" / f"{i:03}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(originals[i % 12].read_bytes())
    source = source_of(cluster, spec_of(tiny_folder), tiny, folder)
    killed: list[int] = []

    def kill_one(_: int) -> None:
        if not killed:
            victim = workers("EncodeBlock")[0]
            victim.send_signal(signal.SIGKILL)
            killed.append(victim.pid)

    with (
        ImageIndex.open(tmp_path / "store.db", "one", tiny) as one,
        ImageIndex.open(tmp_path / "store.db", "ray", tiny) as ray,
    ):
        report = add(ray, source, progress=kill_one)
        assert killed
        assert not psutil.pid_exists(killed[0])
        assert (report.added, report.skipped) == (612, [])
        one.add(open_gallery(folder))
        assert_same_rows(one, ray)


class _Wide:
    """A model that only makes long vectors: its output is what fills memory."""

    dim, image_size, abilities = 1 << 16, 8, frozenset()

    def preprocess(self, image: Any) -> Any:
        return np.asarray(image.resize((8, 8)))

    def embed(self, pixels: Any, texts: Any) -> Any:
        import torch

        return torch.ones(len(pixels), self.dim)

    def parameters(self) -> Iterator[Any]:
        return iter(())


@dataclass(frozen=True)
class WideSpec(EncoderSpec):
    def load(self, threads: int, fingerprint: str | None = None) -> Encoder:
        return wide_encoder()


def wide_encoder() -> Encoder:
    return Encoder(_Wide(), EncoderInfo("wide", _Wide.dim, 8, "f", "", "", "cpu", "fp32", 0))


def test_memory_stays_bounded(cluster: Cluster, folder: Path) -> None:
    """Four times the images, 300 MB more of vectors: this process grows by a fraction of that.

    What it shares with Ray's object store is left out; that has a fixed size.
    """
    gallery = open_gallery(folder)
    source = source_of(cluster, WideSpec("wide"), wide_encoder(), folder)
    me, peaks = psutil.Process(), []
    for n in (400, 1600):
        images = [replace(gallery.images[i % 12], image_id=str(i)) for i in range(n)]
        peak = seen = 0
        for _, vector in source.embedder(images, {}):
            assert len(vector) == _Wide.dim
            memory, seen = me.memory_info(), seen + 1
            peak = max(peak, memory.rss - memory.shared)
        assert seen == n
        peaks.append(peak)
    growth = (peaks[1] - peaks[0]) / 2**20
    print(f"peak of the driver: {peaks[0] / 2**20:.0f} MB, {growth:+.0f} MB for 300 MB more")
    assert growth < 60


def test_workers_say_what_is_wrong(
    cluster: Cluster, tiny: Encoder, tiny_folder: Path, folder: Path
) -> None:
    spec = spec_of(tiny_folder)
    other = source_of(cluster, spec, tiny, folder, fingerprint="another")
    with pytest.raises(MmragError, match="not the same on all nodes: fingerprint"):
        list(other.embedder(other.gallery.images, {}))
    away = source_of(cluster, spec, tiny, folder, root=Root(str(folder / "away")))
    with pytest.raises(MmragError, match="away is not a folder"):
        list(away.embedder(away.gallery.images, {}))


def test_nobody_without_the_token_gets_in(cluster: Cluster, folder: Path, tmp_path: Path) -> None:
    import ray

    address = ray.get_runtime_context().gcs_address
    env = {"RAY_AUTH_MODE": "disabled", "HOME": str(tmp_path)}
    done = mmrag("index", str(folder), "--engine", "ray", "--address", address, env=env)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: No Ray cluster answers"), done.stderr
    assert not (tmp_path / ".ray").exists()


def test_command_on_a_running_cluster(
    cluster: Cluster, tiny: Encoder, tiny_folder: Path, pictures: Path, tmp_path: Path
) -> None:
    """Shards and collection in one go, then the same shards into another collection."""
    import ray

    address = ray.get_runtime_context().gcs_address
    store, shards = str(tmp_path / "store.db"), str(tmp_path / "shards")
    encoder = ["--encoder", str(tiny_folder), "--device", "cpu", "--precision", "fp32"]
    over_ray = ["--engine", "ray", "--address", address, "--workers", "2", "--batch-size", "2"]
    where = ["--uri", store, "--json", "--collection"]
    about = ["--metadata", str(pictures / "about.jsonl")]
    done = mmrag(
        "index", str(pictures), *about, *encoder, *over_ray, "--parquet", shards, *where, "ray"
    )
    assert done.returncode == 3, done.stderr
    report = json.loads(done.stdout)
    assert (report["added"], report["parquet"]) == (35, shards)
    assert "Traceback" not in done.stderr

    done = mmrag("index", str(pictures), "--from-parquet", shards, *where, "loaded")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["added"] == 35
    with (
        ImageIndex.open(store, "one", tiny) as one,
        ImageIndex.open(store, "ray", tiny) as ray_index,
        ImageIndex.open(store, "loaded", tiny) as loaded,
    ):
        one.add(open_gallery(pictures, pictures / "about.jsonl"), batch_size=2)
        assert_same_rows(one, ray_index)
        assert_same_rows(one, loaded)
        assert one.info() == replace(loaded.info(), name="one")


def test_command_with_a_ray_of_its_own(tiny_folder: Path, folder: Path, tmp_path: Path) -> None:
    """Nothing else on standard output, nothing left running, nothing in the home folder."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    command = [sys.executable, "-m", "mmrag", "index", str(folder), "--engine", "ray"]
    command += ["--workers", "2", "--encoder", str(tiny_folder), "--device", "cpu", "--json"]
    process = subprocess.Popen(
        [*command, "--uri", str(tmp_path / "store.db")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**env, "HOME": str(tmp_path / "home")},
        start_new_session=True,
    )
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert json.loads(out)["added"] == 12
    assert not (tmp_path / "home" / ".ray").exists()
    lines = [line for line in err.splitlines() if "Indexing" not in line]
    assert not [line for line in lines if line.strip()], err


def test_images_in_a_bucket(
    cluster: Cluster, tiny: Encoder, tiny_folder: Path, pictures: Path, bucket: Any, tmp_path: Path
) -> None:
    for path in sorted(pictures.rglob("*.*")):
        if path.is_file() and not path.is_symlink():
            bucket.pipe_file(f"pictures/photos/{path.relative_to(pictures)}", path.read_bytes())
    bucket.pipe_file("pictures/photos/.hidden/a.png", b"")
    bucket.pipe_file("pictures/photos/../up.png", b"x")
    with (
        indexing.ray_source(
            "s3://pictures/photos",
            spec_of(tiny_folder),
            metadata="s3://pictures/photos/about.jsonl",
            batch_size=2,
            workers=2,
        ) as source,
        ImageIndex.open(tmp_path / "store.db", "one", tiny) as one,
        ImageIndex.open(tmp_path / "store.db", "ray", source.encoder) as ray,
    ):
        expected = one.add(open_gallery(pictures, pictures / "about.jsonl"), batch_size=2)
        report = add(ray, source)
        (rows, vectors), (ours, our_vectors) = rows_of(one), rows_of(ray)
        np.testing.assert_allclose(vectors, our_vectors, rtol=0, atol=2e-6)
        assert [row["path"] for row in ours] == [
            f"s3://pictures/photos/{row['image_id']}" for row in rows
        ]
        for row in rows + ours:
            del row["path"]
            row["row_hash"] = row["row_hash"][:32]
        assert rows == ours
        skipped = {one.path: one.reason for one in report.skipped}
        assert skipped.pop("../up.png") == "its name leads out of the folder"
        theirs = {one.path: one.reason for one in expected.skipped if one.path != "link.png"}
        assert skipped == theirs

        done = embed_to_shards(source, "s3://pictures/vectors")
        assert (done.added, done.embedded) == (35, 35)
        loaded = indexing.shard_source("s3://pictures/vectors", "s3://pictures/photos")
        with ImageIndex.open(tmp_path / "store.db", "loaded", loaded.encoder) as index:
            assert add(index, loaded).added == 35
            assert_same_rows(ray, index)


def test_a_url_that_cannot_be_read(cluster: Cluster, bucket: Any) -> None:
    with pytest.raises(MmragError, match="There is nothing at s3://pictures/absent"):
        indexing.list_images(indexing.open_root("s3://pictures/absent"))
    with pytest.raises(MmragError, match=r"no-such-bucket/x.*cannot be read"):
        indexing.list_images(indexing.open_root("s3://no-such-bucket/x"))
    with pytest.raises(MmragError, match="credentials") as caught:
        indexing.open_root("ftp://me:secret@host/x")
    assert "secret" not in str(caught.value)
    with pytest.raises(MmragError, match="nonsense://x cannot be read"):
        indexing.open_root("nonsense://x")


def test_tars_in_a_bucket(
    cluster: Cluster, tiny: Encoder, tiny_folder: Path, folder: Path, bucket: Any, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as archive:
            for path in sorted((folder / name).iterdir()):
                archive.add(path, path.name)
                text = f"text of {path.stem}".encode()
                info = tarfile.TarInfo(path.stem + ".txt")
                info.size = len(text)
                archive.addfile(info, io.BytesIO(text))
        bucket.pipe_file(f"pictures/shards/{name}.tar", data.getvalue())
    root = indexing.open_root("s3://pictures/shards/*.tar")
    source = source_of(cluster, spec_of(tiny_folder), tiny, folder, root=root)
    source = replace(source, gallery=indexing.list_images(root, None, indexing.map_tasks()))
    with (
        ImageIndex.open(tmp_path / "store.db", "one", tiny) as one,
        ImageIndex.open(tmp_path / "store.db", "ray", tiny) as ray,
    ):
        one.add(open_gallery(folder), batch_size=2)
        assert add(ray, source).added == 12
        (rows, vectors), (ours, our_vectors) = rows_of(one), rows_of(ray)
        np.testing.assert_allclose(vectors, our_vectors, rtol=0, atol=2e-6)
        for row, our in zip(rows, ours, strict=True):
            assert our["content_hash"] == row["content_hash"]
            assert our["image_id"] == row["image_id"].replace("/", ".tar/")
            assert our["path"] == f"s3://pictures/shards/{our['image_id']}"
            assert our["text"] == f"text of {Path(row['image_id']).stem}"


def test_evaluation_is_that_of_one_process(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    """On PostgreSQL, with a worker killed on the way."""
    encoder = load_encoder("demo", device="cpu", precision="fp32")
    spec = EncoderSpec("demo", device="cpu", precision="fp32")
    catalogue = EvalSet.load(CATALOGUE)
    killed: list[int] = []

    def kill_one(progress: Any) -> None:
        if progress.done and not killed:
            victim = workers("RankingWorker")[0]
            victim.send_signal(signal.SIGKILL)
            killed.append(victim.pid)

    with (
        running_postgres(tmp_path_factory.mktemp("postgres"), free_port()) as url,
        ImageIndex.open(tmp_path / "store.db", "catalogue", encoder) as index,
        RunStore(url) as store,
    ):
        index.add(catalogue.gallery())
        searcher = Searcher(index, encoder)
        one = evaluate(catalogue, searcher, store=store, batch_size=8)
        ranker = RayRanker(cluster, spec, searcher)
        many = evaluate(
            catalogue,
            searcher,
            store=store,
            batch_size=8,
            ranker=ranker,
            on_progress=kill_one,
        )
        ranker.close()
        assert killed
        assert many.state == "complete"
        assert many.config["engine"] == "ray"
        assert many.config["workers"] == 2
        assert many.metrics == one.metrics
        for metric, values in one.scores["retrieval"].values.items():
            np.testing.assert_array_equal(values, many.scores["retrieval"].values[metric])
        held = store.load(many.run_id)
        assert held.metrics == one.metrics
        assert held.ranking() == one.ranking()
        assert wait_until(lambda: not workers("RankingWorker"))


def test_evaluate_command(cluster: Cluster, tmp_path: Path) -> None:
    import ray

    address = ray.get_runtime_context().gcs_address
    arguments = ["evaluate", str(CATALOGUE), "--encoder", "demo", "--device", "cpu", "--json"]
    arguments += ["--uri", str(tmp_path / "store.db"), "--limit", "24", "--batch-size", "8"]
    one = mmrag(*arguments)
    many = mmrag(*arguments, "--engine", "ray", "--address", address, "--workers", "2")
    assert (one.returncode, many.returncode) == (0, 0), one.stderr + many.stderr
    assert json.loads(one.stdout)["metrics"] == json.loads(many.stdout)["metrics"]


def test_without_ray(folder: Path) -> None:
    code = (
        "import sys\n"
        "sys.modules['ray'] = None\n"
        "from mmrag.cli import run\n"
        "sys.exit(run(['index', sys.argv[1], '--engine', 'ray']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 1
    assert "pip install 'mmrag[distributed]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
