"""How long a person who judges waits: 5,000 pictures, 1,000 queries, a real browser.

    python -m bench.judging                   # two minutes; needs Chromium
    python -m bench.judging --out judging.json

It makes an eval set of drawn pictures with two runs in a state folder of its own, starts a
dashboard, and judges by key at the pace of somebody quick. From each key to the frame in which the
next picture is drawn the browser itself measures. It also reads 10,000 judgments, and lets two
browsers judge at once. Exit status 1 when a bound was missed or a judgment was lost.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from bench.dashboard import Figure
from bench.machine import describe_machine
from mmrag.eval_sets.eval_set import EvalQuery, EvalSet
from mmrag.labels.judgments import Judgment, JudgmentLog, grades_of
from mmrag.labels.report import judge_report
from mmrag.runs.provenance import git_commit
from mmrag.types import GalleryImage
from tests.dashboard_server import Dashboard, running_dashboard
from tests.helpers import wait_until

PICTURES, QUERIES, HITS = 5_000, 1_000, 10
# Records, in the page, when a key goes down and the frame that draws another picture.
_WATCH = """() => {
    window.waits = [];
    const roots = [...document.querySelectorAll('*')].flatMap((one) => one.shadowRoot ?? []);
    const board = roots.find((one) => one.querySelector('.judge > .board'));
    addEventListener('keydown', () => {
        const began = performance.now();
        const before = board.querySelector('.shown .label')?.textContent;
        const look = () => {
            const now = board.querySelector('.shown .label')?.textContent;
            const picture = board.querySelector('img.candidate');
            if (now !== undefined && now !== before && picture?.complete) {
                window.waits.push(performance.now() - began);
            } else {
                requestAnimationFrame(look);
            }
        };
        requestAnimationFrame(look);
    }, true);
}"""


def make_set(home: Path) -> EvalSet:
    """Make drawn pictures, queries that start from some of them, and two runs."""
    from mmrag import RunStore
    from mmrag.runs.importing import import_run

    random = np.random.default_rng(0)
    root = home / "pictures"
    root.mkdir(parents=True)
    images = []
    for i in tqdm(range(PICTURES), desc="drawing pictures", unit="img"):
        path = root / f"{i:04}.jpg"
        noise = random.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((640, 480)).save(path, quality=85)
        images.append(GalleryImage(f"i{i:04}", str(path), f"picture {i}"))
    queries = [
        EvalQuery(f"q{i:04}", images[i].path, f"the same as {i}, but other") for i in range(QUERIES)
    ]
    made = EvalSet("judging", home / "eval_sets" / "judging", root, images, queries, {})
    made.save()
    with RunStore() as store:
        for name, step in (("first", 7), ("second", 11)):
            trec = home / f"{name}.trec"
            trec.write_text(
                "".join(
                    f"q{q:04} Q0 i{(q + 1 + step * rank) % PICTURES:04} {rank} {99 - rank} {name}\n"
                    for q in range(QUERIES)
                    for rank in range(1, HITS + 1)
                )
            )
            import_run(trec, made, store, name=name)
    return made


def judged_by_key(browser: Any, dashboard: Dashboard, made: EvalSet, keys: int) -> list[Figure]:
    """The wait for the next picture over `keys` keys, three per second."""
    began = time.perf_counter()
    page = _open(browser, dashboard, "Ada")
    opened = time.perf_counter() - began
    page.evaluate(_WATCH)
    for i in tqdm(range(keys), desc="judging", unit="key"):
        page.keyboard.press("123"[i % 3])
        page.wait_for_timeout(330)
    wait_until(lambda: len(_grades(made, "Ada")) == keys)
    waits = sorted(page.evaluate("window.waits"))
    page.close()
    assert waits, "no picture came after any key"
    middle, late = waits[len(waits) // 2], waits[int(0.95 * len(waits))]
    return [
        Figure("Judge page, opened", opened, "s"),
        Figure("key to next picture, median", middle, "ms", 100, f"{len(waits)} keys"),
        Figure("key to next picture, 95 %", late, "ms", 100),
        Figure("key to next picture, longest", waits[-1], "ms"),
        Figure("judgments lost", keys - len(_grades(made, "Ada")), "", 0),
    ]


def two_at_once(browser: Any, dashboard: Dashboard, made: EvalSet, keys: int) -> Figure:
    """Have two browsers judge the same pool at the same time."""
    names = ("Ben", "Cid")
    pages = [_open(browser, dashboard, name) for name in names]
    for i in tqdm(range(keys), desc="two at once", unit="key"):
        for page in pages:
            page.keyboard.press("123"[i % 3])
            page.wait_for_timeout(60)
    wait_until(lambda: all(len(_grades(made, name)) == keys for name in names), 60)
    lost = sum(keys - len(_grades(made, name)) for name in names)
    for page in pages:
        page.close()
    return Figure("judgments lost, two browsers at once", lost, "", 0, f"{2 * keys} keys")


def load_time(made: EvalSet, count: int = 10_000) -> list[Figure]:
    """Time of reading `count` judgments, and of reporting on them."""
    log = JudgmentLog(made.folder)
    log.add(
        Judgment(f"q{i % QUERIES:04}", f"i{(i * 13) % PICTURES:04}", i % 3, f"judge {i % 2}")
        for i in range(count)
    )
    began = time.perf_counter()
    rows = log.rows()
    read = time.perf_counter() - began
    began = time.perf_counter()
    judge_report(made.folder)
    return [
        Figure(f"{len(rows):,} judgments, read", read, "s", 1),
        Figure("who judged what, and agreement", time.perf_counter() - began, "s"),
    ]


def _open(browser: Any, dashboard: Dashboard, judge: str) -> Any:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(120_000)
    page.goto(f"{dashboard.url}/judge?set=judging&judge={judge}&judge_again=true")
    page.get_by_role("button", name="Right").wait_for()
    return page


def _grades(made: EvalSet, judge: str) -> dict[tuple[str, str], int]:
    return grades_of(JudgmentLog(made.folder).rows(), judge)


def measure(home: Path, keys: int) -> dict[str, Any]:
    """Measure everything, as one JSON document."""
    from bench.pages import open_browser

    os.environ["MMRAG_HOME"] = str(home)
    made = make_set(home)
    with running_dashboard(home) as dashboard, open_browser() as browser:
        figures = judged_by_key(browser, dashboard, made, keys)
        figures.append(two_at_once(browser, dashboard, made, keys // 4))
    figures += load_time(made)
    return {
        "machine": describe_machine(),
        "commit": git_commit(),
        "pictures": PICTURES,
        "queries": QUERIES,
        "figures": [asdict(figure) | {"holds": figure.holds} for figure in figures],
    }


def table(document: dict[str, Any]) -> str:
    """The document in Markdown."""
    lines = ["| what | measured | bound | |", "| --- | --- | --- | --- |"]
    for one in document["figures"]:
        digits = 0 if one["unit"] in ("ms", "") else 2
        bound = "" if one["bound"] is None else f"{one['bound']:g} {one['unit']}"
        value = f"{one['value']:.{digits}f} {one['unit']}"
        lines.append(f"| {one['what']} | {value} | {bound} | {one['more']} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keys", type=int, default=200, help="How many pictures are judged.")
    parser.add_argument("--out", type=Path, help="Write the figures as JSON.")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        document = measure(Path(folder), options.keys)
    print(table(document))
    if options.out:
        options.out.write_text(json.dumps(document, indent=1) + "\n")
    return int(not all(one["holds"] for one in document["figures"]))


if __name__ == "__main__":
    sys.exit(main())
