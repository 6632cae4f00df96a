"""Training: it learns, repeats itself, goes on after a kill, and writes what load_encoder takes."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

from mmrag import EvalSet, MmragError, load_encoder
from mmrag.errors import EvalSetError, ImageError
from mmrag.eval_sets.importers import import_eval_set
from mmrag.evaluation.exact_search import hit_rates, rank_in_memory
from mmrag.training.batches import BatchMaker
from mmrag.training.train import TrainingSettings, hold_out, train

from .helpers import PARITY, ROOT, wait_until

QUICK = TrainingSettings(steps=8, batch_size=8, device="cpu", precision="fp32")


@pytest.mark.parametrize("kind", ["visualized-bge-tiny", "clip-tiny"])
def test_it_learns_and_load_encoder_takes_it(colours: EvalSet, tmp_path: Path, kind: str) -> None:
    settings = TrainingSettings(steps=80, batch_size=16, device="cpu")
    report = train(colours, f"new:{kind}", tmp_path / "out", settings)
    assert np.mean(report.losses[-5:]) < 0.7 * np.mean(report.losses[:5])
    before = report.metrics_before["composed"]["hit_rate@1"]
    after = report.metrics_after["composed"]["hit_rate@1"]
    assert after >= before + 0.3
    assert not (tmp_path / "out" / "checkpoint.pt").exists()
    encoder = load_encoder(str(tmp_path / "out"), precision="fp32")
    held_out = hold_out(colours)[1]
    assert hit_rates(rank_in_memory(encoder, held_out), held_out) == report.metrics_after
    bytes_before = {f.name: f.read_bytes() for f in (tmp_path / "out").iterdir()}
    other = colours.with_queries(replace(query, text="other words") for query in colours.queries)
    with pytest.raises(MmragError, match="already holds an encoder"):
        train(other, f"new:{kind}", tmp_path / "out", settings)
    assert {f.name: f.read_bytes() for f in (tmp_path / "out").iterdir()} == bytes_before

    again = train(colours, str(tmp_path / "out"), tmp_path / "tuned", QUICK)
    assert again.metrics_before["composed"] == report.metrics_after["composed"]
    assert load_encoder(str(tmp_path / "tuned")).info.source.endswith("fine-tuned on colours")


def test_full_size_models_are_fine_tuned(
    colours: EvalSet, base_checkpoint: Path, tmp_path: Path
) -> None:
    """One step of Visualized BGE base and of CLIP ViT-B-32; what is written is what was trained."""
    torch.manual_seed(0)
    torch.save(open_clip.create_model("ViT-B-32").state_dict(), tmp_path / "clip.pt")
    few = colours.with_queries(colours.queries[:2])
    wanted = {image_id for query in few.queries for image_id in few.qrels[query.query_id]}
    few = replace(few, images=[one for one in few.images if one.image_id in wanted])
    settings = TrainingSettings(steps=1, batch_size=2, learning_rate=1e-5, device="cpu")
    bge = {"checkpoint": str(base_checkpoint), "text_model": str(PARITY / "text-model-base")}
    models = {
        "visualized-bge-base": bge,
        "clip:ViT-B-32/laion2b_s34b_b79k": {"checkpoint": str(tmp_path / "clip.pt")},
    }
    for number, (name, files) in enumerate(models.items()):
        out = tmp_path / str(number)
        report = train(few, name, out, settings, held_out=few, **files)
        tuned = load_encoder(str(out), precision="fp32")
        assert tuned.info.dim == (768, 512)[number]
        assert tuned.info.fingerprint != load_encoder(name, **files).info.fingerprint
        assert hit_rates(rank_in_memory(tuned, few), few) == report.metrics_after


def test_same_seed_same_losses(colours: EvalSet, tmp_path: Path) -> None:
    runs = [train(colours, "new:visualized-bge-tiny", tmp_path / name, QUICK) for name in "ab"]
    assert runs[0].losses == runs[1].losses
    fingerprints = {load_encoder(str(tmp_path / name)).info.fingerprint for name in "ab"}
    assert len(fingerprints) == 1


def test_accumulation_is_one_step(colours: EvalSet, tmp_path: Path) -> None:
    settings = TrainingSettings(steps=3, batch_size=8, accumulate=2, device="cpu", precision="bf16")
    report = train(colours, "new:visualized-bge-tiny", tmp_path / "out", settings)
    assert len(report.losses) == 3
    assert report.epochs == pytest.approx(3 / 6)


SCRIPT = """
import sys
from mmrag import EvalSet
from mmrag.training.train import TrainingSettings, hold_out, train
settings = TrainingSettings(steps=16, batch_size=8, device="cpu", precision="fp32")
train(EvalSet.load(sys.argv[1]), "new:visualized-bge-tiny", sys.argv[2], settings,
      checkpoint_seconds=0.0)
"""


def test_killed_training_goes_on_to_the_same_weights(colours: EvalSet, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    # In processes of their own: how sums are added up depends on the threads that a process has.
    command = [sys.executable, "-c", SCRIPT, colours.folder]
    subprocess.run([*command, tmp_path / "whole"], cwd=ROOT, check=True)
    process = subprocess.Popen([*command, out], cwd=ROOT)
    written: set[int] = set()

    def some_steps_are_kept() -> bool:
        with contextlib.suppress(FileNotFoundError):
            written.add((out / "checkpoint.pt").stat().st_mtime_ns)
        return len(written) > 2

    assert wait_until(some_steps_are_kept, 120)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "training.json").exists(), "it was killed before the end"
    subprocess.run([*command, out], cwd=ROOT, check=True)
    whole = json.loads((tmp_path / "whole" / "training.json").read_text())
    killed = json.loads((out / "training.json").read_text())
    assert killed["losses"] == whole["losses"]
    assert killed["metrics_after"] == whole["metrics_after"]
    prints = {load_encoder(str(folder)).info.fingerprint for folder in (tmp_path / "whole", out)}
    assert len(prints) == 1


def test_an_unfinished_training_with_other_settings_is_kept(
    colours: EvalSet, tmp_path: Path
) -> None:
    class Stop(Exception):
        pass

    class Bar:
        def update(self, n: int) -> None:
            raise Stop

        def set_postfix_str(self, text: str) -> None:
            pass

    out = tmp_path / "out"
    with pytest.raises(Stop):
        train(colours, "new:visualized-bge-tiny", out, QUICK, progress=lambda *_: Bar())
    with pytest.raises(MmragError, match="unfinished training with other settings"):
        train(colours, "new:visualized-bge-tiny", out, replace(QUICK, seed=9))
    with pytest.raises(MmragError, match="unfinished training with other settings"):
        train(colours, "new:visualized-bge-tiny", out, QUICK, held_out=colours)


def test_batches(colours: EvalSet, tiny: object) -> None:
    """Targets are right, other right pictures and the query's own are masked, groups confuse."""
    model = tiny.model  # type: ignore[attr-defined]
    maker = BatchMaker(colours, model, 16, 1, 4, "strong", 3)
    batch, again = maker.batch(5), maker.batch(5)
    assert np.array_equal(batch.pictures.pixels, again.pictures.pixels)
    assert not np.array_equal(batch.pictures.pixels, maker.batch(6).pictures.pixels)
    assert sorted(row for side in batch.queries for row in side.rows) == list(range(16))
    assert batch.masked.any()
    assert not batch.masked[np.arange(16), batch.target].any()
    kinds = {(side.pixels is not None, side.texts is not None) for side in batch.queries}
    assert kinds == {(True, True), (False, True)}


def test_absent_and_damaged_pictures(colours: EvalSet, tmp_path: Path) -> None:
    """Absent ones are not drawn; a damaged one is named."""
    gone = replace(colours.images[0], path=str(tmp_path / "gone.png"))
    eval_set = replace(colours, images=[gone, *colours.images[1:]])
    assert len(train(eval_set, "new:visualized-bge-tiny", tmp_path / "a", QUICK).losses) == 8
    damaged = colours.image_root / "bad.png"
    damaged.write_bytes(b"no picture")
    bad = [replace(image, path=str(damaged)) for image in colours.images[:6]]
    eval_set = replace(colours, images=[*bad, *colours.images[6:]])
    with pytest.raises(ImageError, match=r"bad\.png: not an image"):
        train(eval_set, "new:visualized-bge-tiny", tmp_path / "b", QUICK, held_out=colours)


def test_wrong_arguments(colours: EvalSet, tmp_path: Path) -> None:
    with pytest.raises(MmragError, match="new:nope; use one of clip-tiny, visualized-bge-photos, "):
        train(colours, "new:nope", tmp_path / "out", QUICK)
    with pytest.raises(MmragError, match="augment must be"):
        TrainingSettings(augment="some")
    with pytest.raises(EvalSetError, match="no query with a right image"):
        train(colours.with_queries([]), "new:visualized-bge-tiny", tmp_path / "out", QUICK)


def test_grocery_import(grocery: Path, tmp_path: Path) -> None:
    eval_set = import_eval_set("grocery", grocery, tmp_path / "val", split="val")
    assert EvalSet.load(tmp_path / "val").qrels == eval_set.qrels
    assert len(eval_set.images) == 296
    queries = {query.category: query for query in eval_set.queries}
    product = {image.image_id: image.metadata["product"] for image in eval_set.images}
    group = {image.image_id: image.metadata["group"] for image in eval_set.images}
    by_path = {image.path: image.image_id for image in eval_set.images}
    assert set(queries) == {"name", "picture", "same", "variety"}
    for query in eval_set.queries:
        right = eval_set.relevant(query.query_id)
        assert right
        products = {product[image_id] for image_id in right}
        assert len(products) == 1
        shown = by_path.get(query.image or "")
        if query.category == "same":
            assert products == {product[str(shown)]}
            assert shown not in right
            assert len(right) == list(product.values()).count(product[str(shown)]) - 1
        elif query.category == "variety":
            assert query.text == f"the {products.pop()} variety instead"
            assert {group[i] for i in right} == {group[str(shown)]}
            assert product[str(shown)] not in {product[i] for i in right}
        elif query.category == "name":
            assert {query.text} == products
        else:
            assert "Iconic" in str(query.image)
    with pytest.raises(EvalSetError, match="not the Grocery Store Dataset"):
        import_eval_set("grocery", tmp_path, tmp_path / "x")
    with pytest.raises(EvalSetError, match=r"test\.txt cannot be read"):
        import_eval_set("grocery", grocery, tmp_path / "x", split="test")
