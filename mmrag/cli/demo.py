"""`demo`: photographs and drawings that ship with mmrag, searched and scored in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mmrag.cli.options import json_option, print_json, printable
from mmrag.errors import MmragError
from mmrag.system import shipped

if TYPE_CHECKING:
    from mmrag.demo import Show
    from mmrag.eval_sets.eval_set import EvalSet
    from mmrag.runs.run import Run

METRICS = ("hit_rate@1", "hit_rate@10", "nDCG@10")


@click.command()
@json_option
def demo(as_json: bool) -> None:
    """Search and score photographs and drawings with the encoders that ship with mmrag.

    Needs neither network nor key; the first run takes 30 to 90 seconds.

    \b
    Example:
      mmrag demo
    """
    from mmrag import demo as shown
    from mmrag.runs.compare import run_table

    found = []
    for show, made in prepare_demo():
        eval_set = show.eval_set()
        whole = [shown.on_queries(run, shown.composed(eval_set)) for run in made]
        numbers = shown.numbers(made[-1], eval_set)
        found.append((show, eval_set, made[-1], run_table(whole, METRICS), numbers))
    if as_json:
        shows = {s.title: {"numbers": n, "table": t} for s, _, _, t, n in found}
        # The drawings' values are at the top level too, as before there were photographs.
        print_json({**shows[found[-1][0].title], "shows": shows})
        return
    for show, eval_set, best, table, numbers in found:
        click.echo(f"\n== The {show.title}: {len(eval_set.images)}, {_asked(show, eval_set)} ==")
        _examples(show, best, eval_set)
        _show_table(table)
        new = numbers.unseen_first
        unseen = "" if new is None else f", combinations it never saw {new:.1%}"
        click.echo(
            f"\nThe shipped encoder {show.encoder}, share of composed queries with a right image "
            f"first:\n"
            f"  all {numbers.composed_first:.1%} (in the first 10: {numbers.composed_in_10:.1%})"
            f"{unseen}\n"
            f"  queries with paraphrases {numbers.original_first:.1%}, "
            f"in those other words {numbers.paraphrased_first:.1%}\n"
            f"  It knows {show.knows} only."
        )
    see = "make" if shipped.IS_CLONE else "mmrag"
    click.echo(f"\nSee it: `{see} dashboard`. With your own pictures: `mmrag index FOLDER`.")


def prepare_demo() -> list[tuple[Show, list[Run]]]:
    """Index and evaluate what ships, unless that is done already, with a progress bar."""
    from mmrag import demo as shown
    from mmrag.cli.progress import progress_bar
    from mmrag.runs.store import RunStore

    shows = shown.possible()
    if not shows:
        raise MmragError("What ships with mmrag is not here; use a whole clone.")
    bar = progress_bar(total=100, unit="%", bar_format="{desc:45} {percentage:3.0f} %|{bar}|")

    def at(low: float, high: float) -> Any:
        def show(share: float, what: str) -> None:
            bar.set_description_str(what)
            bar.update(round(100 * (low + share * (high - low))) - bar.n)

        return show

    with bar, RunStore() as store:
        shown.index_galleries(at(0, 0.4))
        part = 0.6 / len(shows)
        # The photographs last: the dashboard's Runs page opens with the latest runs.
        made = [
            (show, shown.runs(store, at(0.4 + i * part, 0.4 + (i + 1) * part), show))
            for i, show in enumerate(reversed(shows))
        ]
        return made[::-1]


def _asked(show: Show, eval_set: EvalSet) -> str:
    queries = f"{len(eval_set.queries):,} queries"
    return queries if show.every == 1 else f"one query in {show.every} ({queries})"


def _examples(show: Show, run: Run, eval_set: EvalSet) -> None:
    """Print one query of each kind, with its hits."""
    images = {image.image_id: image for image in eval_set.images}
    by_path = {image.path: image for image in eval_set.images}
    for category in show.examples:
        query = next(q for q in eval_set.queries if q.category == category)
        picture = query.metadata.get("theme") or query.metadata.get("shows") or "a picture"
        if query.image in by_path:
            picture = by_path[query.image].metadata["product"]
        if isinstance(picture, dict):
            picture = " ".join(map(str, picture.values()))
        beside = f"{printable(f'[{picture}]')} + " if query.image else ""
        click.echo(f"\n{beside}“{printable(query.text or '')}”")
        relevant = eval_set.relevant(query.query_id)
        for rank, image_id in enumerate(run.ranking()[query.query_id][:3], start=1):
            mark = "✓" if image_id in relevant else "·"
            click.echo(f"  {rank} {mark} {printable(images[image_id].text)[:88]}")


def _show_table(table: Any) -> None:
    from mmrag.runs.frames import p_value

    click.echo(f"\n{'composed queries':40}" + "".join(f"{m:>24}" for m in METRICS) + f"{'ms':>8}")
    for row in table.rows:
        cells = []
        for name in METRICS:
            one = row.metrics[name]
            cells.append(f"{one.mean:.3f} [{one.ci95[0]:.3f}, {one.ci95[1]:.3f}]")
        ms = "" if row.p50_ms is None else f"{row.p50_ms:.0f}"
        click.echo(f"{row.label:40}" + "".join(f"{cell:>24}" for cell in cells) + f"{ms:>8}")
        if row.differences:
            changes = [row.differences[name] for name in METRICS]
            words = [f"{d.delta:+.3f}, {p_value(d.p_holm)}" for d in changes]
            click.echo(f"{'  against the first':40}" + "".join(f"{w:>24}" for w in words))
    click.echo("Mean [95 % bootstrap interval]; p: paired randomisation test, Holm-corrected.")
    for note in table.notes:
        click.echo(f"Note: {printable(note)}")
