"""`demo`: the catalogue that ships with mmrag, searched and scored in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mmrag.cli.options import json_option, print_json, printable
from mmrag.errors import MmragError

if TYPE_CHECKING:
    from mmrag.eval_sets.eval_set import EvalSet
    from mmrag.runs.run import Run

EXAMPLES = ("theme", "colour", "pattern", "product")
METRICS = ("hit_rate@1", "hit_rate@10", "nDCG@10")


@click.command()
@json_option
def demo(as_json: bool) -> None:
    """Search and score the catalogue with the encoders that ship with mmrag.

    Needs neither network nor key; the first time takes about half a minute.

    \b
    Example:
      mmrag demo
    """
    from mmrag import demo as shown
    from mmrag.eval_sets.eval_set import EvalSet
    from mmrag.eval_sets.known_sets import CATALOGUE
    from mmrag.runs.compare import run_table

    made = prepare_demo()
    eval_set = EvalSet.load(CATALOGUE)
    whole = [shown.on_queries(run, shown.composed(eval_set)) for run in made]
    table = run_table(whole, METRICS)
    best = shown.numbers(made[-1], eval_set)
    if as_json:
        print_json({"numbers": best, "table": table})
        return
    _examples(made[-1], eval_set)
    _show_table(table)
    click.echo(
        f"\nThe shipped encoder demo, share of composed queries with a right image first:\n"
        f"  all {best.composed_first:.1%} (in the first 10: {best.composed_in_10:.1%}), "
        f"combinations it never saw {best.unseen_first:.1%}\n"
        f"  queries with paraphrases {best.original_first:.1%}, "
        f"in those other words {best.paraphrased_first:.1%}"
    )
    click.echo("\nSee it: `make dashboard`. With your own pictures: `mmrag index FOLDER`.")


def prepare_demo() -> list[Run]:
    """Index and evaluate the catalogue, with a progress bar, as far as that is not done yet."""
    from mmrag import demo as shown
    from mmrag.cli.progress import progress_bar
    from mmrag.runs.store import RunStore

    if not shown.is_possible():
        raise MmragError("The catalogue or the shipped encoders are not here; use a whole clone.")
    bar = progress_bar(total=100, unit="%", bar_format="{desc:45} {percentage:3.0f} %|{bar}|")

    def at(low: float, high: float) -> Any:
        def show(share: float, what: str) -> None:
            bar.set_description_str(what)
            bar.update(round(100 * (low + share * (high - low))) - bar.n)

        return show

    with bar, RunStore() as store:
        shown.index_catalogue(at(0, 0.5))
        return shown.runs(store, at(0.5, 1))


def _examples(run: Run, eval_set: EvalSet) -> None:
    """One query of each kind, with what was found."""
    images = {image.image_id: image for image in eval_set.images}
    for category in EXAMPLES:
        query = next(q for q in eval_set.queries if q.category == category)
        picture = query.metadata.get("theme") or query.metadata.get("shows") or "a picture"
        if isinstance(picture, dict):
            picture = " ".join(map(str, picture.values()))
        click.echo(f"\n{printable(f'[{picture}]')} + “{printable(query.text or '')}”")
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
