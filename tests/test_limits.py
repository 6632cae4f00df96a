"""Memory is short, or a file holds more than is read: one sentence, soon, in bounded memory."""

from __future__ import annotations

import errno
import io
import json
import os
import resource
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from mmrag import MmragError, open_gallery
from mmrag.cli import run
from mmrag.galleries import gallery
from mmrag.galleries.metadata import read_records
from mmrag.system import json_stream
from mmrag.system.memory import out_of_memory

from .faults.conftest import forks as forks

FAR_TOO_MUCH = 1 << 50


WORDS = "words " * 100


@pytest.mark.parametrize(
    ("name", "begin", "record", "between", "end"),
    [
        ("m.csv", "path,text\n", f"a.png,{WORDS}", "\n", "\n"),
        ("m.json", "[", json.dumps({"text": WORDS}), ",\n", "]"),
        ("m.jsonl", "", json.dumps({"text": WORDS}), "\n", ""),
    ],
)
def test_a_long_file_is_not_held(
    tmp_path: Path, name: str, begin: str, record: str, between: str, end: str
) -> None:
    """Neither its text nor its records: a table, a list, lines."""
    file = tmp_path / name
    with file.open("w") as out:
        out.write(begin)
        for _ in range(60):
            out.write((record + between) * 1000)
        out.write(record + end)
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_records(file).rows) == 60_001
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 15_000_000 < file.stat().st_size


def test_records_over_the_edges_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    records = [{"n": n, "t": "ü" * (n % 40), "l": [n, -1.5e3]} for n in range(300)] + [12345, "x"]
    text = json.dumps(records, indent=1)
    for size in (1, 7, 64, 1000):
        monkeypatch.setattr(json_stream, "_BLOCK", size)
        read = list(json_stream.json_records(io.StringIO(text)))
        assert read == list(enumerate(records, start=1))
        with pytest.raises(ValueError, match="line 3: not JSON"):
            list(json_stream.json_records(io.StringIO("[1,\n22222222222,\n3x]")))


@pytest.mark.parametrize("text", ['["%s"]', '{}\n"%s"', '{"a": "%s"}', "path,text\na.png,%s"])
def test_one_record_is_too_long(folder: Path, tmp_path: Path, text: str) -> None:
    file = tmp_path / ("m.csv" if text.startswith("path") else "m.json")
    file.write_text(text % ("x" * 4_000_001))
    with pytest.raises(MmragError, match=r"line [12]: .*of more than 4,000,000 characters"):
        open_gallery(folder, file)


def test_an_encoding_is_guessed_from_a_part(folder: Path, tmp_path: Path) -> None:
    """What a guess costs does not grow with the file; it holds for all of it."""
    file = tmp_path / "m.csv"
    lines = b"b/00.png,plain words\n" * 100_000 + "a/01.png,grüne Äpfel\n".encode("cp1252") * 9
    file.write_bytes(b"path,text\n" + lines)
    gallery = open_gallery(folder, file)
    assert gallery.images[0].text == "grüne Äpfel"
    assert gallery.notes == ("m.csv was read as Windows-1252.",)


def test_what_is_no_file_is_not_read(folder: Path) -> None:
    with pytest.raises(MmragError, match="'/dev/zero' is not a file"):
        open_gallery(folder, Path("/dev/zero"))


def test_more_records_than_are_read(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery, "MOST_RECORDS", 300)
    file = tmp_path / "m.json"
    file.write_text(json.dumps([{}] * 300))
    assert len(open_gallery(folder, file).skipped) == 300
    file.write_text(json.dumps([{}] * 301))
    with pytest.raises(MmragError, match="more than 300 records for 12 pictures"):
        open_gallery(folder, file)


@pytest.mark.parametrize(
    "text",
    ["[1", "[1,]", "[1] x", "nul", '{"a": 1}\n{"a"', "[" * 100_000, '[{"a": 1}\n{"a": 2}]'],
)
def test_broken_json_names_its_line(folder: Path, tmp_path: Path, text: str) -> None:
    file = tmp_path / "m.json"
    file.write_text(text)
    with pytest.raises(MmragError, match=r"m\.json, line \d+: not JSON"):
        open_gallery(folder, file)


def of_torch() -> None:
    torch.empty(FAR_TOO_MUCH, dtype=torch.uint8)


def of_numpy() -> None:
    np.empty(FAR_TOO_MUCH, dtype=np.uint8)


def of_arrow() -> None:
    pa.allocate_buffer(FAR_TOO_MUCH)


def of_python() -> None:
    bytearray(FAR_TOO_MUCH)


@pytest.mark.parametrize("allocate", [of_torch, of_numpy, of_arrow, of_python])
def test_each_library_says_it_in_its_own_way(allocate) -> None:
    with pytest.raises(Exception) as raised:  # noqa: PT011
        allocate()
    assert "not enough memory" in (out_of_memory(raised.value) or ""), raised.value


def test_what_is_something_else() -> None:
    assert out_of_memory(RuntimeError("shapes do not fit")) is None
    assert out_of_memory(OSError(errno.ENOENT, "No such file")) is None
    assert out_of_memory(ImportError("x.so: failed to map segment from shared object"))


def test_an_error_without_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = SystemError("<built-in function load> returned NULL without setting an exception")
    assert out_of_memory(SystemError("bad argument to internal function")) is None
    monkeypatch.setattr(resource, "getrlimit", lambda _: (4 << 30, resource.RLIM_INFINITY))
    assert "There is not enough memory" in str(out_of_memory(lost))
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)
    monkeypatch.setattr("mmrag.system.memory._LITTLE", 0)
    assert out_of_memory(lost) is None, "not every such error is about memory"


# 300 million weights of text, 1.2 GB.
LARGE_MODEL = {
    "class": "visualized-bge",
    "vocab_size": 200,
    "vision": {
        "timm": "eva02_base_patch16_clip_224",
        "img_size": 16,
        "patch_size": 8,
        "embed_dim": 32,
        "depth": 1,
        "num_heads": 2,
        "ref_feat_shape": [2, 2],
    },
    "text": {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
        "max_position_embeddings": 64,
    },
}


def _train_with_little_memory(folder: str, model: str, out: str, said: str) -> None:
    # A fork server has the standard error of the test that started it.
    with Path(said).open("wb") as file:
        os.dup2(file.fileno(), sys.stderr.fileno())
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (700 << 20), resource.RLIM_INFINITY))
    arguments = ["train", folder, "--encoder", f"new:{model}", "--out", out]
    raise SystemExit(40 + run([*arguments, "--steps", "1", "--device", "cpu"]))


def test_a_command_that_is_short_of_memory(forks, folder, tmp_path) -> None:
    """The address space is limited for real; a large model does not fit into it."""
    from mmrag import EvalSet
    from mmrag.eval_sets.eval_set import EvalQuery

    images = open_gallery(folder).images
    query = EvalQuery("q", images[0].path, "red")
    qrels = {"q": {images[1].image_id: 1}}
    labelled = EvalSet("few", tmp_path / "few", folder, images, [query], qrels)
    labelled.save()
    model = tmp_path / "large.json"
    model.write_text(json.dumps(LARGE_MODEL))
    errors = tmp_path / "errors"
    process = forks.Process(
        target=_train_with_little_memory,
        args=(str(labelled.folder), str(model), str(tmp_path / "out"), str(errors)),
    )
    process.start()
    process.join()
    said = errors.read_text()
    assert process.exitcode == 41, said
    assert "Error: There is not enough memory" in said
    assert "Traceback" not in said
