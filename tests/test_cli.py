"""The command line as a user meets it."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch
from PIL import Image

from mmrag import ImageIndex, open_gallery
from mmrag.cli import COMMANDS, main, run
from mmrag.encoders.encoder import Encoder

from .helpers import PARITY, ROOT, everything, mmrag, servers, wait_until

# They open pages, ask people, or write files.
WITHOUT_JSON = {"mmrag dashboard"} | {
    f"mmrag eval-set {name}" for name in ("dedupe", "judge", "merge", "sample", "split")
}


def store() -> Path:
    return Path(os.environ["MMRAG_HOME"]) / "gallery.db"


def test_help_loads_nothing_heavy() -> None:
    """What keeps `--help` quick: nothing of what the commands themselves need."""
    code = "import sys, mmrag.cli; mmrag.cli.run(['--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    *shown, loaded = done.stdout.splitlines()
    assert any("search" in line for line in shown)
    heavy = {"torch", "numpy", "PIL", "pandas", "pymilvus", "streamlit", "sqlalchemy", "httpx"}
    assert heavy.isdisjoint(loaded.split())


def commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        for part in command.list_commands(context):
            found = command.get_command(context, part)
            assert found is not None
            yield from commands(found, f"{name} {part}")
    if not isinstance(command, click.Group) or command.invoke_without_command:
        yield name, command


def test_every_command_explains_itself() -> None:
    """An example, a help text for every option, and results that programs can read."""
    listed = dict(commands(main, "mmrag"))
    assert {name.split()[1] for name in listed} == set(COMMANDS)
    for name, command in listed.items():
        assert re.search(rf"Example:\n +{name}", command.help or ""), name
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{name} {parameter.opts}"
        written = {option for parameter in command.params for option in parameter.opts}
        assert "--json" in written or name in WITHOUT_JSON, name


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ("serch", 2, "No such command 'serch'"),
        ("search", 2, "Give --image, --text, or both"),
        ("search --text x -k 0", 2, "0 is not in the range"),
        ("index", 2, "Missing argument 'FOLDER'"),
        ("index /nowhere", 1, "/nowhere is not a folder."),
        ("search --text x --encoder nope", 1, "Unknown encoder 'nope'"),
        ("search --text x", 1, "mmrag download visualized-bge-base"),
        ("search --text x --device tpu", 1, "Unknown device 'tpu'"),
        ("eval-set info /nowhere", 1, "has no eval_set.json"),
        ("download nope", 1, "Unknown encoder 'nope'"),
    ],
)
def test_errors_are_one_line(arguments: str, status: int, message: str) -> None:
    done = mmrag(*arguments.split(), env={"MMRAG_ENCODER": "visualized-bge-base"})
    assert (done.returncode, done.stdout) == (status, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert len([line for line in done.stderr.splitlines() if "Error" in line]) == 1


def test_index_search_and_grid(folder: Path, tiny_folder: Path, tmp_path: Path) -> None:
    record = {"image_path": "a/01.png", "description": "a red mug\x1b[2J", "price": 4.5}
    (folder / "m.jsonl").write_text(json.dumps(record))
    (folder / "bad.jpg").write_bytes(b"no picture")
    encoder = ("--encoder", str(tiny_folder))
    done = mmrag("index", str(folder), "--metadata", str(folder / "m.jsonl"), *encoder, "--json")
    assert done.returncode == 3, done.stderr
    report = json.loads(done.stdout)
    assert report["skipped"] == [
        {"path": "bad.jpg", "reason": "not an image in a supported format"}
    ]
    assert (report["collection"], report["added"], report["removed"]) == ("images", 12, 0)
    assert report["images_per_second"] > 0
    assert report["odd"] == {"flat": 0, "tiny": 0, "repeated": 0}
    plain = mmrag("index", str(folder), "--metadata", str(folder / "m.jsonl"), *encoder)
    assert "0 added, 0 updated, 12 unchanged, 0 removed, 1 skipped" in plain.stdout
    assert "skipped bad.jpg: not an image" in plain.stdout

    query = ("--image", str(folder / "a" / "01.png"), "--text", "the same in green")
    grid = tmp_path / "grid.jpg"
    done = mmrag("search", *query, *encoder, "--grid", str(grid), "-k", "4", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert [hit["rank"] for hit in result["hits"]] == [1, 2, 3, 4]
    keys = {"rank", "image_id", "path", "score", "retrieval_rank", "text"}
    assert keys <= set(result["hits"][0])
    assert {"explanation", "rerank", "timings_ms"} <= set(result)
    assert result["timings_ms"]["total"] > 0
    assert Image.open(grid).width > 1000
    filtered = mmrag("search", *query, *encoder, "--filter", 'metadata["price"] < 10')
    assert filtered.stdout.count(".png") == 1
    assert "\x1b" not in filtered.stdout
    without = mmrag("search", *query, *encoder, "--exclude-query-image", "-k", "20", "--json")
    assert len(json.loads(without.stdout)["hits"]) == 11
    broken = mmrag("search", "--image", str(folder / "bad.jpg"), *encoder)
    assert broken.returncode == 1
    assert "bad.jpg: not an image" in broken.stderr
    assert wait_until(lambda: not servers(store()))


def test_full_size_models(
    folder: Path, base_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Visualized BGE base and CLIP ViT-B-32, full size, made-up weights."""
    import open_clip

    def told(*arguments: str) -> dict[str, Any]:
        assert run([*arguments, "--json"]) == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    torch.manual_seed(0)
    torch.save(open_clip.create_model("ViT-B-32").state_dict(), tmp_path / "clip.pt")
    text_model = str(PARITY / "text-model-base")
    bge = ("--encoder", "visualized-bge-base", "--checkpoint", str(base_checkpoint))
    encoders = {
        "bge": (*bge, "--text-model", text_model),
        "clip": (
            "--encoder",
            "clip:ViT-B-32/laion2b_s34b_b79k",
            "--checkpoint",
            str(tmp_path / "clip.pt"),
        ),
    }
    path = str(folder / "a" / "01.png")
    for name, options in encoders.items():
        assert told("index", str(folder), "--collection", name, *options)["added"] == 12
        query = ("search", "--image", path, "--collection", name, *options)
        found = told(*query)["hits"]
        assert found[0]["image_id"] == "a/01.png"
        assert found[0]["score"] == pytest.approx(1, abs=1e-2)
        assert len(told(*query, "--text", "in green")["hits"]) == 9
    assert run(["search", "--text", "x", "--collection", "bge", *encoders["clip"]]) == 1
    assert "'bge' was built with encoder 'visualized-bge-base'" in capsys.readouterr().err


def test_killed_half_way(grocery: Path, tiny: Encoder, tiny_folder: Path) -> None:
    """Some 3,000 photos, SIGKILL in the middle, run again: as if nothing had happened."""
    command = [sys.executable, "-m", "mmrag", "index", str(grocery / "dataset")]
    command += ["--encoder", str(tiny_folder), "--precision", "fp32", "--collection"]
    process = subprocess.Popen([*command, "killed"], cwd=ROOT, stderr=subprocess.DEVNULL)
    with ImageIndex.open(encoder=tiny, collection="killed") as killed:
        assert wait_until(lambda: killed.exists() and killed.info().rows > 1000, 120)
        process.send_signal(signal.SIGKILL)
        process.wait()
        before = killed.info().rows
        assert 1000 < before < 2900, "it was killed in the middle"
        done = subprocess.run([*command, "killed", "--json"], cwd=ROOT, capture_output=True)
        report = json.loads(done.stdout)
        assert report["unchanged"] == before
        assert report["unchanged"] + report["added"] == 3017
        subprocess.run([*command, "whole"], cwd=ROOT, check=True, capture_output=True)
        with ImageIndex.open(encoder=tiny, collection="whole") as whole:
            rows, vectors = everything(killed)
            expected, expected_vectors = everything(whole)
        assert rows == expected
        assert len(rows) == len(open_gallery(grocery / "dataset").images) == 3017
        assert np.abs(vectors - expected_vectors).max() < 1e-5


def test_interrupt_keeps_what_is_done(grocery: Path, tiny_folder: Path) -> None:
    command = [sys.executable, "-m", "mmrag", "index", str(grocery / "dataset")]
    process = subprocess.Popen(
        [*command, "--encoder", str(tiny_folder)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    told = ""
    while "/3017" not in told:
        told += (some := process.stderr.read(100))
        assert some, told
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=10)
    assert process.returncode == 130
    assert error.strip().splitlines()[-1].startswith("Stopped. What was written is kept")
    assert "Traceback" not in error


def test_training_commands(grocery: Path, tmp_path: Path) -> None:
    folders = {split: str(tmp_path / split) for split in ("train", "val")}
    for split, path in folders.items():
        done = mmrag("eval-set", "import", "grocery", str(grocery), path, "--split", split)
        assert done.returncode == 0, done.stderr
    info = json.loads(mmrag("eval-set", "info", folders["val"], "--json").stdout)
    assert (info["images"], info["categories"]["variety"]) == (296, 409)
    options = ("--encoder", "new:visualized-bge-tiny", "--steps", "2", "--batch-size", "8")
    out = str(tmp_path / "out")
    done = mmrag("train", folders["val"], *options, "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert {"out", "epochs", "metrics_before", "metrics_after"} <= set(report)
    assert len(report["losses"]) == 2
    assert set(report["metrics_after"]) == {"all", "same", "variety", "name", "picture"}


def test_doctor_and_encoders() -> None:
    secret = "sk-very-secret"
    done = mmrag("doctor", "--json", env={"OPENAI_API_KEY": secret})
    report = json.loads(done.stdout)
    assert report["openai_key"] == "present"
    assert secret not in done.stdout + done.stderr
    assert "milvus_lite" in report["milvus"]
    assert any(device.startswith("cpu") for device in report["devices"])
    done = mmrag("doctor", "--uri", "http://127.0.0.1:9")
    assert "does not answer" in done.stdout
    listed = json.loads(mmrag("encoders", "--json").stdout)
    assert {"name", "dim", "available"} <= set(listed[0])


def test_the_documents_compare_runs_that_its_commands_made() -> None:
    from mmrag.evaluation.run_header import run_label

    section = (ROOT / "docs" / "evaluate.md").read_text(encoding="utf-8").partition("\n## ")[0]
    lines = [line.split("mmrag ", 1)[1] for line in section.splitlines() if line.startswith("    ")]
    commands = [shlex.split(line) for line in lines]
    made = set()
    for command in commands:
        if command[0] == "evaluate":
            chosen = dict(zip(command[2::2], command[3::2], strict=False))
            made.add(run_label(chosen["--encoder"], chosen.get("--rerank")))
    compared = [one for command in commands if command[0] == "compare" for one in command[1:]]
    assert compared
    assert set(compared) <= made
