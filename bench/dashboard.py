"""How quick the dashboard is, and how it bears many visitors; the library too.

    python -m bench.dashboard --short          # a few minutes, to see that it works
    python -m bench.dashboard --out load.json  # a quarter of an hour, on an idle machine

It starts a dashboard of its own with a state folder of its own, and prints two tables: what one
visitor with a browser waits for, held against its bound, and what 1, 8 and 32 visitors get who all
search without a pause. An hour's worth of requests, by default 8 visitors with a search every ten
seconds, is asked as fast as it is answered, in sessions of 20 searches, to see what memory does.
Exit status 1 when an error was seen or a bound was missed (with `--short` for errors only).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bench.machine import describe_machine
from bench.threads import library
from bench.visitors import resident_mb, search_at_once
from mmrag.runs.provenance import git_commit
from tests.dashboard_server import Dashboard, running_dashboard

COLLECTION = "pictures"
IN_AN_HOUR = 8 * 360
PER_SESSION = 20


@dataclass(frozen=True)
class Figure:
    """One measurement; `bound` is the most that it should be, None if nothing is promised."""

    what: str
    value: float
    unit: str
    bound: float | None = None
    more: str = ""

    @property
    def holds(self) -> bool:
        """Whether the bound, if any, holds."""
        return self.bound is None or self.value <= self.bound


def prepare(home: Path, pictures: int) -> list[str]:
    """Index the catalogue and `pictures` more; return the ids of its queries."""
    from mmrag import ImageIndex, demo, load_encoder, open_gallery
    from mmrag.eval_sets.eval_set import EvalSet

    with tqdm(total=100, desc="indexing the catalogue", unit="%") as bar:
        demo.index_galleries(lambda share, _: bar.update(int(100 * share) - bar.n), [demo.DRAWINGS])
    eval_set = EvalSet.load(demo.CATALOGUE)
    if pictures:
        folder = home / COLLECTION
        make_pictures([image.path for image in eval_set.images], folder, pictures)
        with (
            tqdm(total=pictures, desc="indexing pictures", unit="img") as bar,
            ImageIndex.open(collection=COLLECTION, encoder=load_encoder("demo")) as index,
        ):
            index.add(open_gallery(folder), progress=bar.update)
    return [query.query_id for query in eval_set.queries if query.image and query.text]


def make_pictures(sources: Sequence[str], folder: Path, count: int) -> None:
    """Make JPEG pictures from the catalogue's, mirrored, turned and brightened."""
    from PIL import Image, ImageEnhance, ImageOps

    folder.mkdir()
    for i in tqdm(range(count), desc="drawing pictures", unit="img"):
        with Image.open(sources[i % len(sources)]) as opened:
            picture = opened.convert("RGB")
        change = i // len(sources)
        picture = ImageOps.mirror(picture) if change % 2 else picture
        picture = picture.rotate(90 * (change // 2 % 4))
        picture = ImageEnhance.Brightness(picture).enhance(1 - 0.05 * (change // 8))
        picture.save(folder / f"{i:05}.jpg", quality=90)


def a_fresh_home(home: Path) -> list[Figure]:
    """The waits of the very first visitor, with nothing indexed and no model loaded."""
    from bench import pages

    with running_dashboard(home) as dashboard, pages.open_browser() as browser:
        drawn, results = pages.first_page(browser, dashboard.url)
    more = "indexes the photographs, loads models"
    return [
        Figure("fresh home, from the command to an answer", dashboard.started_s, "s", 2),
        Figure("fresh home, first page with its example", drawn, "s"),
        Figure("fresh home, first page with results", results, "s", None, more),
    ]


def in_the_browser(home: Path, short: bool, pictures: int) -> list[Figure]:
    """The waits of one visitor."""
    from bench import pages

    times = 4 if short else 20
    with running_dashboard(home) as dashboard, pages.open_browser() as browser:
        drawn, results = pages.first_page(browser, dashboard.url)
        again = [pages.first_page(browser, dashboard.url) for _ in range(3)]
        changes = pages.widget_changes(browser, dashboard.url, times)
        searched = pages.searches(browser, dashboard.url, 3 * times)
        switched = pages.page_switches(browser, dashboard.url, 1 if short else 5)
        requests, size = pages.first_load(browser, dashboard.url)
        figures = [
            Figure("first load, models loaded", requests, "requests", 60),
            Figure("first load, models loaded", size / 1e6, "MB", 2.5),
            Figure("first page after the start, drawn", drawn, "s"),
            Figure("first page after the start, with results", results, "s", None, "loads models"),
            Figure("first page, models loaded, drawn", _middle([a for a, _ in again]), "s", 3),
            Figure("first page, models loaded, with results", _middle([b for _, b in again]), "s"),
            _milliseconds("another view", changes, 300),
            _milliseconds("next query, both sides", searched, 300),
            Figure("next query, both sides, p95", _p95(searched), "ms", 500),
            _milliseconds("another page", switched, 600),
            Figure("another page, p95", _p95(switched), "ms"),
        ]
        if pictures:
            turned = pages.gallery_pages(
                browser, dashboard.url, COLLECTION, min(times, pictures // 60 - 1)
            )
            what = f"60 pictures of {pictures:,}, not seen before"
            figures.append(_milliseconds(what, turned, 1000))
    return figures


def one_session(dashboard: Dashboard, queries: Sequence[str], searches: int) -> list[Figure]:
    """Memory while one visitor keeps searching."""
    memory: list[float] = []
    bar = tqdm(total=searches, desc="one session", unit="search")

    def watch(_: int) -> None:
        memory.append(resident_mb(dashboard.pid))
        bar.update()

    load = search_at_once(dashboard.url, queries, 1, searches=searches, watch=watch)
    bar.close()
    settled = min(20, len(memory) // 2)
    grown = memory[-1] - memory[settled - 1]
    more = f"{memory[settled - 1]:.0f} → {memory[-1]:.0f} MB, {len(load.errors)} errors"
    what = f"memory after search {settled} of {searches} in one session"
    return [Figure(what, grown, "MB more", 50, more)]


def many_visitors(
    dashboard: Dashboard, queries: Sequence[str], visitors: Sequence[int], seconds: float
) -> list[dict[str, Any]]:
    """Searches per second by number of simultaneous visitors."""
    rows = []
    for count in tqdm(visitors, desc="visitors at once", unit="load"):
        load = search_at_once(dashboard.url, queries, count, seconds=seconds)
        rows.append(load.row("dashboard", resident_mb(dashboard.pid)))
    return rows


def an_hour(dashboard: Dashboard, queries: Sequence[str], searches: int) -> dict[str, Any]:
    """Memory over `searches` searches in sessions that come and go."""
    memory = [resident_mb(dashboard.pid)]
    bar = tqdm(total=searches, desc="an hour's worth", unit="search")

    def watch(done: int) -> None:
        bar.update()
        if done % 20 == 0:
            memory.append(resident_mb(dashboard.pid))

    load = search_at_once(
        dashboard.url, queries, 8, searches=searches, per_session=PER_SESSION, watch=watch
    )
    bar.close()
    tenth = max(1, len(memory) // 10)
    return {
        "searches": len(load.visits),
        "seconds": load.seconds,
        "errors": load.errors,
        "mb_before": memory[0],
        "mb_after_a_tenth": memory[tenth],
        "mb_after": memory[-1],
        "mb_most": max(memory),
    }


def measure(home: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Measure everything, as one JSON document."""
    os.environ["MMRAG_HOME"] = str(home)
    pictures = 0 if options.short else options.images
    queries = prepare(home, pictures)
    figures = a_fresh_home(home / "fresh")
    figures += in_the_browser(home, options.short, pictures)
    with running_dashboard(home) as dashboard:
        # The first search loads the models.
        search_at_once(dashboard.url, queries, 1, searches=1)
        figures += one_session(dashboard, queries, 30 if options.short else 500)
        loads = many_visitors(dashboard, queries, options.visitors, options.seconds)
        hour = an_hour(dashboard, queries, 60 if options.short else options.searches)
        log = dashboard.log.read_text().split("Stopping...")[0]
    loads += library(options.visitors, options.seconds)
    errors = [*hour["errors"], *(error for row in loads for error in row["errors"])]
    errors += ["a stack trace in the log"] * ("Traceback" in log)
    return {
        "machine": describe_machine(),
        "commit": git_commit(),
        "figures": [asdict(figure) | {"holds": figure.holds} for figure in figures],
        "loads": loads,
        "hour": hour,
        "errors": errors,
    }


def tables(document: dict[str, Any]) -> str:
    """The document in Markdown."""
    lines = ["| what | measured | bound | |", "| --- | --- | --- | --- |"]
    for figure in document["figures"]:
        bound = "" if figure["bound"] is None else f"{figure['bound']:g}"
        bound += "" if figure["holds"] else ", missed"
        exact = figure["unit"] in ("s", "MB")
        value = f"{figure['value']:.2f}" if exact else f"{figure['value']:.0f}"
        lines.append(
            f"| {figure['what']} | {value} {figure['unit']} | {bound} | {figure['more']} |"
        )
    lines += ["", "| | at once | searches/s | median | p95 | errors | waited | memory |"]
    lines += ["| --- | --- | --- | --- | --- | --- | --- | --- |"]
    for row in document["loads"]:
        lines.append(
            f"| {row['of']} | {row['visitors']} | {row['per_second']:.1f} "
            f"| {1000 * row['p50']:.0f} ms | {1000 * row['p95']:.0f} ms | {len(row['errors'])} "
            f"| {row['waited']} | {row['mb']:.0f} MB |"
        )
    hour = document["hour"]
    lines += [
        "",
        f"{hour['searches']:,} searches in sessions of {PER_SESSION} by 8 visitors took "
        f"{hour['seconds'] / 60:.1f} minutes: memory {hour['mb_before']:.0f} MB before, "
        f"{hour['mb_after_a_tenth']:.0f} MB after a tenth of them, {hour['mb_after']:.0f} MB "
        f"after all, {hour['mb_most']:.0f} MB at most, {len(hour['errors'])} errors.",
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    lines = (__doc__ or "").splitlines()
    parser = argparse.ArgumentParser(
        prog="python -m bench.dashboard",
        description=lines[0],
        epilog="\n".join(lines[1:]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--short", action="store_true", help="small sizes; bounds do not count")
    parser.add_argument("--visitors", type=int, nargs="+", help="at once; default 1 8 32")
    parser.add_argument("--seconds", type=float, help="for each of them; default 60")
    parser.add_argument("--images", type=int, default=3000, help="in the Gallery's collection")
    parser.add_argument("--searches", type=int, default=IN_AN_HOUR, help="an hour's worth")
    parser.add_argument("--out", type=Path, help="a file for the JSON document")
    options = parser.parse_args(arguments)
    options.visitors = options.visitors or ([1, 4] if options.short else [1, 8, 32])
    options.seconds = options.seconds or (5 if options.short else 60)
    with tempfile.TemporaryDirectory() as folder:
        document = measure(Path(folder), options)
    print(tables(document))
    for error in dict.fromkeys(document["errors"]):
        print(f"error: {error}", file=sys.stderr)
    if options.out:
        options.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    missed = [one for one in document["figures"] if not one["holds"]]
    return 1 if document["errors"] or (missed and not options.short) else 0


def _milliseconds(what: str, values: Sequence[float], bound: float) -> Figure:
    more = f"median of {len(values)}, most {max(values):.0f} ms"
    return Figure(what, _middle(values), "ms", bound, more)


def _p95(values: Sequence[float]) -> float:
    return sorted(values)[min(len(values) - 1, int(0.95 * len(values)))]


def _middle(values: Sequence[float]) -> float:
    return statistics.median(values)


if __name__ == "__main__":
    from mmrag.system.measuring import measure_alone

    sys.exit(measure_alone(main))
