"""The way from a folder of pictures to a tested difference, step by step and timed.

    python -m bench.label_walk                      # drawings and photographs; needs Chromium
    python -m bench.label_walk --out walk.json

Each step of docs/labels.md is done in a state folder of its own, by the functions behind the
commands: index, draft, accept, check, run, judge, agreement, compare. The person is played: what is
right is known from the metadata, and what a person types is counted, not timed. A second person
judges a quarter of it again, and errs on one in ten. At last "Evaluate this set" is clicked on the
Judge page of a dashboard that has just started, and what is chosen there is left as it is.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.machine import describe_machine
from mmrag import EvalSet, ImageIndex, RunStore, Searcher, compare_runs, evaluate, load_encoder
from mmrag.eval_sets.known_sets import CATALOGUE, PHOTOS
from mmrag.galleries.gallery import Gallery
from mmrag.labels.checking import check_drafts
from mmrag.labels.drafting import draft, set_of_collection
from mmrag.labels.drafts import DraftFile
from mmrag.labels.judgments import GRADES, Judgment, JudgmentLog
from mmrag.labels.report import judge_report
from mmrag.labels.session import JudgingSession
from mmrag.rerank import load_reranker
from mmrag.runs.provenance import git_commit
from mmrag.types import GalleryImage
from tests.dashboard_server import running_dashboard

# Set, encoder, a better one that reranks, and the metadata that says what a picture shows.
WALKS = {
    "drawings": (CATALOGUE, "demo-clip", "encoder:demo", ("product", "pattern", "colour")),
    "photographs": (PHOTOS, "demo", "encoder:photos", ("product", "group")),
}
DEPTH = 10


@dataclass
class Clock:
    """Seconds of each step, and its outcome."""

    steps: list[dict[str, Any]] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[dict[str, Any]]:
        """Time a block; it may put its outcome under "came"."""
        said: dict[str, Any] = {"step": name, "came": ""}
        began = time.perf_counter()
        yield said
        said["seconds"] = time.perf_counter() - began
        self.steps.append(said)
        print(f"{name}: {said['seconds']:.1f} s, {said['came']}", file=sys.stderr)


def walk(home: Path, which: str, queries: int) -> dict[str, Any]:
    """Take all steps, over one set's pictures without their labels."""
    folder, encoder_name, reranker_name, keys = WALKS[which]
    images = [
        GalleryImage(i.image_id, i.path, i.text, {key: i.metadata[key] for key in keys})
        for i in EvalSet.load(folder).images
    ]
    clock = Clock()
    with clock.step("index") as said:
        encoder = load_encoder(encoder_name)
        index = ImageIndex.open(collection=which, encoder=encoder)
        index.add(Gallery(images, []))
        said["came"] = f"{len(images):,} pictures"
    with clock.step("draft") as said:
        eval_set = set_of_collection(index, home / "eval_sets" / which, which)
        file = DraftFile(eval_set.folder)
        said["came"] = f"{draft(index, eval_set, queries).new} drafts"
    with clock.step("check the drafts") as said:
        said["came"] = " ".join(check_drafts(eval_set, Searcher(index, encoder)).lines)
    with clock.step("accept or reject") as said:
        accepted = [one for one in file.drafts() if one.needs in ("needs both", "none finds it")]
        for one in file.drafts():
            if one in accepted:
                file.accept(one.query_id, "Ada")
            else:
                file.reject(one.query_id, "Ada")
        said["came"] = f"{len(accepted)} queries, {len(file.drafts())} keys"
    wanted = {one.query_id: one.target_id for one in file.drafts()}
    with clock.step("run both configurations") as said:
        first, second = _runs(index, eval_set.folder, encoder, reranker_name)
        said["came"] = "their labels are still few"
    with clock.step("judge the first hits") as said:
        given, left = _judge(eval_set.folder, [second], wanted, keys)
        said["came"] = f"{given:,} keys, {left}"
    with clock.step("agreement of a second person") as said:
        _second_person(eval_set.folder)
        said["came"] = judge_report(eval_set.folder).sentence
        pair = judge_report(eval_set.folder).pairs[0]
        low, high = pair.agreement.ci95
        said["came"] += f"; kappa {pair.agreement.kappa:.2f} [{low:.2f}, {high:.2f}]"
    with clock.step("evaluate and compare") as said:
        first, second = _runs(index, eval_set.folder, encoder, reranker_name)
        metric = "nDCG@10"
        found = compare_runs([first, second], metrics=[metric]).pairs[0].metrics[metric]
        low, high = found.ci95
        said["came"] = (
            f"{metric} {found.a:.3f} → {found.b:.3f}, "
            f"{found.delta:+.3f} [{low:+.3f}, {high:+.3f}], p = {found.p:.4f}"
        )
    index.close()
    _on_the_page(clock, home, which)
    return {"walk": which, "steps": clock.steps}


def _on_the_page(clock: Clock, home: Path, which: str) -> None:
    """Time from the click on "Evaluate this set" to the first score, in a real browser."""
    from bench.pages import open_browser

    with running_dashboard(home) as dashboard, open_browser() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(600_000)
        page.goto(f"{dashboard.url}/judge?set={which}&judge=Ada")
        link = page.get_by_role("link", name="Evaluate this set")
        link.wait_for()
        with clock.step("Evaluate this set, to the first result") as said:
            link.click()
            page.get_by_role("button", name="Start").click()
            done = page.get_by_text("done · ").first
            done.wait_for()
            said["came"] = f"on the page: {done.inner_text().partition(' · ')[2]}"
        page.close()


def _runs(index: ImageIndex, folder: Path, encoder: Any, reranker_name: str) -> tuple[Any, Any]:
    """Run the same retrieval without and with reranking."""
    labelled = EvalSet.load(folder)
    reranker = load_reranker(reranker_name)
    with RunStore() as store:
        plain = evaluate(labelled, Searcher(index, encoder), 50, store=store, name="plain")
        better = evaluate(
            labelled,
            Searcher(index, encoder, reranker),
            50,
            rerank_k=20,
            store=store,
            name="reranked",
        )
    return plain, better


def _judge(
    folder: Path, runs: Sequence[Any], wanted: dict[str, str], keys: Sequence[str]
) -> tuple[int, str]:
    """Judge the pool: right with the target's metadata, partly with all but one of its values."""
    eval_set = EvalSet.load(folder)
    images = {image.image_id: image for image in eval_set.images}
    session = JudgingSession.of_runs(eval_set, runs, DEPTH, "Ada")
    log = JudgmentLog(folder)
    pending = session.pending()
    for start in range(0, len(pending), 10):
        log.add(
            Judgment(query, image, _grade(images[image], images[wanted[query]], keys), "Ada")
            for query, image in pending[start : start + 10]
        )
    return len(pending), f"{len(session.pending())} left"


def _grade(image: GalleryImage, target: GalleryImage, keys: Sequence[str]) -> int:
    alike = sum(image.metadata[key] == target.metadata[key] for key in keys)
    return max(0, GRADES["right"] - (len(keys) - alike))


def _second_person(folder: Path) -> None:
    log, drawn = JudgmentLog(folder), random.Random(0)
    first = [row for row in log.rows() if row.judge == "Ada" and row.grade is not None]
    log.add(
        Judgment(
            row.query_id,
            row.image_id,
            row.grade if drawn.random() > 0.1 else drawn.choice([0, 1, 2]),
            "Ben",
        )
        for row in drawn.sample(first, len(first) // 4)
    )


def table(walks: Sequence[dict[str, Any]]) -> str:
    """The walks in Markdown."""
    lines = []
    for one in walks:
        lines += ["", f"| {one['walk']} | seconds | what came of it |", "| --- | --- | --- |"]
        lines += [f"| {s['step']} | {s['seconds']:.1f} | {s['came']} |" for s in one["steps"]]
    return "\n".join(lines).strip()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, default=60, help="How many drafts.")
    parser.add_argument("--out", type=Path, help="Write the steps as JSON.")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MMRAG_HOME"] = folder
        there = [name for name, (path, *_) in WALKS.items() if path.is_dir()]
        walks = [walk(Path(folder), name, options.queries) for name in there]
    print(table(walks))
    if options.out:
        document = {"machine": describe_machine(), "commit": git_commit(), "walks": walks}
        options.out.write_text(json.dumps(document, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
