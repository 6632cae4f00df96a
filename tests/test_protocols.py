"""Protocols: the same files, asked and scored as each publication does it."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from mmrag.cli import main
from mmrag.errors import EvalSetError, MmragError
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.eval_sets.importers import import_eval_set
from mmrag.eval_sets.protocols import apply_protocol, benchmarks, find_protocol, protocols
from mmrag.runs.compare import compare_runs
from mmrag.runs.importing import import_run, read_run
from mmrag.runs.provenance import open_eval_set
from mmrag.runs.store import RunStore

from .helpers import invoke
from .published_forms import (
    DATASETS,
    MEMBERS,
    published,
    write,
    write_circo,
    write_cirr,
    write_fashioniq,
)


def cirr_with_three_splits(root: Path) -> Path:
    source = write_cirr(root)
    for split in ("train", "test1"):
        names = {f"{split}-0-0-img0": f"./{split}/{split}-0-0-img0.png"}
        write(source / "image_splits" / f"split.rc2.{split}.json", names)
    return source


def asked(folder: Path, *options: str) -> dict[str, Any]:
    done = CliRunner().invoke(main, ["eval-set", "queries", str(folder), *options, "--json"])
    assert done.exit_code == 0, done.output
    return {one["id"]: one for one in json.loads(done.output)}


def test_cirr_has_one_gallery_a_split_or_of_every_split(tmp_path: Path) -> None:
    source = cirr_with_three_splits(tmp_path / "source")
    server = import_eval_set("cirr", source, tmp_path / "server")
    vista = import_eval_set("cirr", source, tmp_path / "vista", protocol="vista")
    of_split = {i.image_id for i in server.images}
    others = {"train-0-0-img0", "test1-0-0-img0"}
    assert of_split >= set(MEMBERS)
    assert {i.image_id for i in vista.images} == of_split | others
    assert (server.exclude_query_image, vista.exclude_query_image) == (True, False)
    assert server.name != vista.name
    assert EvalSet.load(vista.folder).protocol == find_protocol("vista", "cirr")
    done = CliRunner().invoke(
        main, ["eval-set", "import", "cirr", str(source), str(tmp_path / "a"), "--gallery", "all"]
    )
    assert done.exit_code == 0
    assert f"{len(of_split) + 2} images" in done.output
    with pytest.raises(EvalSetError, match="import cirr SOURCE DESTINATION --protocol vista"):
        apply_protocol(server, find_protocol("vista", "cirr"))


def test_mieb_judges_and_writes_as_m_beir_does(tmp_path: Path) -> None:
    source = cirr_with_three_splits(tmp_path / "source")
    mieb = import_eval_set("cirr", source, tmp_path / "mieb", protocol="mieb")
    assert mieb.qrels["12130"] == {MEMBERS[2]: 1, MEMBERS[3]: 1}
    assert mieb.qrels["12060"] == {MEMBERS[1]: 1}
    assert asked(mieb.folder)["12130"]["text"] == "Add a wooden log."
    # What the protocol changed is undone where the set still knows it.
    with pytest.raises(EvalSetError, match="judges other images right"):
        apply_protocol(mieb, find_protocol("vista", "cirr"))


def test_circo_is_asked_with_or_without_the_shared_concept(tmp_path: Path) -> None:
    made = import_eval_set("circo", write_circo(tmp_path / "source"), tmp_path / "set")
    caption = "shows two people and has a more colorful background"
    concept = "a girl with a traditional Chinese umbrella"
    texts = {
        name: asked(made.folder, "--protocol", name)["0"]["text"] for name in protocols("circo")
    }
    assert texts == {
        "searle": caption,
        "bge-vl": f"Find a picture that also {concept}, but {caption}.",
        "magiclens": f"find {concept} but {caption}",
    }
    one = asked(made.folder)["0"]
    assert one["text"] == caption
    assert [Path(path).name for path in one["images"]] == ["000000271520.jpg"]
    again = apply_protocol(
        apply_protocol(made, find_protocol("bge-vl", "circo")), find_protocol("searle", "circo")
    )
    assert again == made


def test_fashioniq_apart_together_and_among_the_queries_own_images(tmp_path: Path) -> None:
    source = write_fashioniq(tmp_path / "source")
    for split in ("train", "test"):
        for category in ("dress", "shirt", "toptee"):
            path = source / "image_splits" / f"split.{category}.{split}.json"
            write(path, [f"{category}-{split}"])
    original = import_eval_set("fashioniq", source, tmp_path / "o", category="dress")
    val = import_eval_set(
        "fashioniq", source, tmp_path / "v", category="dress", protocol="val-split"
    )
    judged = {"B0084Y8XIU", "B005X4PL1G", "B00NEW"}
    assert {i.image_id for i in val.images} == judged
    assert judged < {i.image_id for i in original.images}
    assert apply_protocol(original, find_protocol("val-split", "fashioniq")).images == val.images
    done = CliRunner().invoke(
        main,
        ["eval-set", "import", "fashioniq", str(source), str(tmp_path / "m"), "--protocol", "mieb"],
    )
    assert done.exit_code == 0, done.output
    mieb = EvalSet.load(tmp_path / "m")
    assert {"dress-train", "toptee-test"} <= {i.image_id for i in mieb.images}
    assert {q.category for q in mieb.queries} == {"dress", "shirt", "toptee"}
    texts = {
        name: asked(original.folder, "--protocol", name)["dress-val-00000"]["text"]
        for name in ("original", "bge-vl", "magiclens")
    }
    words = "is shiny and silver with shorter sleeves"
    assert asked(mieb.folder)["dress-val-00000"]["text"] == (
        f"{words.capitalize()} and fit and flare."
    )
    assert texts == {
        "original": f"{words.capitalize()} and fit and flare",
        "bge-vl": f"{words}., and  fit and flare",
        "magiclens": f"{words}. and  fit and flare",
    }


def test_a_protocol_of_ones_own(tmp_path: Path) -> None:
    made = import_eval_set("circo", write_circo(tmp_path / "source"), tmp_path / "set")
    own = write(tmp_path / "own.toml", 'text = "{shared_concept}: {caption}"\nreference = "out"\n')
    assert asked(made.folder, "--protocol", str(own))["0"]["text"].startswith("a girl with")
    for content, reason in (
        ('gallery = "most"', "'gallery' must be one of"),
        ('galery = "all"', "no 'galery'"),
        ('text = "{target_caption}"', "which query '0' does not have"),
        ("text = [", "is not TOML"),
    ):
        write(own, content)
        done = CliRunner().invoke(
            main, ["eval-set", "queries", str(made.folder), "--protocol", str(own)]
        )
        assert reason in str(done.exception), content
    with pytest.raises(EvalSetError, match=r"it has searle, bge-vl, magiclens"):
        find_protocol("vista", "circo")


def test_runs_of_different_protocols_are_not_paired_unless_told(tmp_path: Path) -> None:
    made = import_eval_set("circo", write_circo(tmp_path / "source"), tmp_path / "set")
    file = write(tmp_path / "run.json", {"0": [355099, 271520]})
    with RunStore("sqlite://") as store:
        searle = import_run(file, made, store, name="a")
        bge = import_run(
            file, apply_protocol(made, find_protocol("bge-vl", "circo")), store, name="b"
        )
        loaded = store.load("b")
    assert loaded.protocol == find_protocol("bge-vl", "circo")
    assert open_eval_set(loaded).queries[0].text != made.queries[0].text
    with pytest.raises(MmragError, match=r"different protocols.*circo searle and circo bge-vl"):
        compare_runs([searle, bge])
    found = compare_runs([searle, bge], mixed_protocols=True)
    assert found.pairs[0].queries == 1
    assert "protocols differ (circo searle, circo bge-vl)" in found.notes[0]
    # A run from before there were protocols fits one of the same questions.
    old = replace(searle, config={k: v for k, v in searle.config.items() if k != "protocol"})
    assert compare_runs([old, searle]).notes == []


def test_an_evaluation_states_its_protocol(tmp_path: Path, tiny_folder: Path) -> None:
    made = import_eval_set("circo", write_circo(tmp_path / "source"), tmp_path / "set")
    where = ["--encoder", str(tiny_folder), "--uri", str(tmp_path / "g.db"), "-k", "4"]
    for name in ("searle", "bge-vl"):
        options = ["--protocol", name, "--name", name]
        done = invoke("evaluate", str(made.folder), *where, *options)
        assert done.returncode == 0, done.stderr
        assert f"Protocol: circo {name}" in done.stdout
    assert "different protocols" in invoke("compare", "searle", "bge-vl").stderr
    mixed = invoke("compare", "searle", "bge-vl", "--mixed-protocols")
    assert "protocols differ (circo searle, circo bge-vl)" in mixed.stdout
    page = tmp_path / "page.html"
    invoke("export", "bge-vl", "--format", "html", "--out", str(page))
    assert "by the protocol <strong>circo bge-vl</strong>" in page.read_text()


def test_every_shipped_protocol_names_its_source_and_known_metrics() -> None:
    from mmrag.metrics.metrics import canonical

    found = [one for name in benchmarks() for one in protocols(name).values()]
    assert {one.title for one in found} >= {
        *("cirr test-server", "cirr vista", "cirr mieb"),
        *("fashioniq val-split", "fashioniq original", "fashioniq vista", "fashioniq mieb"),
        *("circo searle", "circo bge-vl", "circo magiclens"),
    }
    for one in found:
        assert one.source
        assert [canonical(metric) for metric in one.metrics]
        assert type(one).parse(one.as_json(), "here") == one
    done = CliRunner().invoke(main, ["eval-set", "protocols", "circo"])
    assert "Find a picture that also {shared_concept}, but {relative_caption}." in done.output


@published
def test_the_published_lists_give_m_beirs_gallery(tmp_path: Path) -> None:
    source = tmp_path / "fashion-iq"
    source.mkdir()
    for name in ("captions", "image_splits"):
        (source / name).symlink_to(DATASETS / "fashion-iq" / name)
    made = import_eval_set("fashioniq", source, tmp_path / "set", category="all", protocol="mieb")
    assert (len(made.images), len(made.queries)) == (74_381, 6_016)


@published
def test_circo_agrees_with_the_official_script_to_the_last_digit(tmp_path: Path) -> None:
    """Random rankings of the real queries, scored as CIRCO's `src/evaluation.py` describes it."""
    records = json.loads((DATASETS / "circo" / "annotations" / "val.json").read_text())
    ids = sorted({i for r in records for i in (r["reference_img_id"], *r["gt_img_ids"])})
    source = tmp_path / "circo"
    info = [{"id": i, "file_name": f"{i:012}.jpg"} for i in ids]
    write(source / "annotations" / "image_info_unlabeled2017.json", {"images": info})
    write(source / "annotations" / "val.json", records)
    made = import_eval_set("circo", source, tmp_path / "set")
    draw = random.Random(0)
    rankings = {}
    for record in records:
        right = draw.sample(record["gt_img_ids"], draw.randint(0, len(record["gt_img_ids"])))
        wrong = draw.sample([i for i in ids if i not in record["gt_img_ids"]], 50 - len(right))
        rankings[str(record["id"])] = draw.sample([*right, *wrong], 50)
    run = read_run(write(tmp_path / "run.json", rankings), made)
    sums: dict[str, list[float]] = {}
    for record in records:
        hits = np.isin(rankings[str(record["id"])], record["gt_img_ids"])
        for k in (5, 10, 25, 50):
            precisions = np.cumsum(hits[:k]) * hits[:k] / np.arange(1, k + 1)
            value = float(np.sum(precisions) / min(len(record["gt_img_ids"]), k))
            sums.setdefault(f"mAP@{k}", []).append(value)
            for aspect in record["semantic_aspects"]:
                sums.setdefault(f"mAP@{k} {aspect}", []).append(value)
            found = record["target_img_id"] in rankings[str(record["id"])][:k]
            sums.setdefault(f"R_target@{k}", []).append(float(found))
    here = {name: one.mean for name, one in run.summary.overall.items()}
    for aspect, estimates in run.summary.aspects.items():
        here |= {f"{name} {aspect}": one.mean for name, one in estimates.items()}
    assert len(run.summary.aspects) == 9
    assert {name: here[name] for name in sums} == pytest.approx(
        {name: float(np.mean(values)) for name, values in sums.items()}, rel=1e-12
    )


@published
def test_cirr_agrees_with_its_published_scoring_to_the_last_digit(tmp_path: Path) -> None:
    """Random rankings without the reference image, scored as CIRR's server does."""
    made = import_eval_set("cirr", DATASETS / "cirr", tmp_path / "set")
    ids = [image.image_id for image in made.images]
    draw = random.Random(0)
    rankings = {}
    sums: dict[str, float] = {}
    for record in json.loads((DATASETS / "cirr/captions/cap.rc2.val.json").read_text()):
        members, reference = record["img_set"]["members"], record["reference"]
        names = {*members, *draw.sample(ids, 60)} - {reference}
        found = draw.sample(sorted(names), len(names))
        rankings[str(record["pairid"])] = found
        group = [name for name in found if name in members]
        for k in (1, 5, 10, 50):
            hit = record["target_hard"] in found[:k]
            sums[f"hit_rate@{k}"] = sums.get(f"hit_rate@{k}", 0) + hit
        for k in (1, 2, 3):
            hit = record["target_hard"] in group[:k]
            sums[f"R_subset@{k}"] = sums.get(f"R_subset@{k}", 0) + hit
    file = {"version": "rc2", "metric": "recall", **rankings}
    here = read_run(write(tmp_path / "run.json", file), made).summary.overall
    assert {name: here[name].mean for name in sums} == {
        name: total / len(rankings) for name, total in sums.items()
    }


@published
@pytest.mark.parametrize("category", ["dress", "shirt", "toptee"])
def test_fashioniq_agrees_with_its_published_scoring(tmp_path: Path, category: str) -> None:
    """Random rankings, scored as `evaluate.py` of the FashionIQ challenge: recall at 10 and 50."""
    source = DATASETS / "fashion-iq"
    made = import_eval_set("fashioniq", source, tmp_path / "set", category=category)
    ids = [image.image_id for image in made.images]
    draw = random.Random(0)
    records = json.loads((source / f"captions/cap.{category}.val.json").read_text())
    hits: dict[int, list[bool]] = {10: [], 50: []}
    lines = []
    for query, record in zip(made.queries, records, strict=True):
        ranking = draw.sample(ids, 60)
        if record["target"] not in ranking and draw.random() < 0.7:
            ranking[draw.randrange(60)] = record["target"]
        lines += [
            f"{query.query_id} Q0 {one} {rank} {60 - rank} x" for rank, one in enumerate(ranking)
        ]
        for k, found in hits.items():
            found.append(record["target"] in ranking[:k])
    here = read_run(write(tmp_path / "run.trec", "\n".join(lines)), made).summary.overall
    for k, found in hits.items():
        assert here[f"hit_rate@{k}"].mean == sum(found) / len(found)
