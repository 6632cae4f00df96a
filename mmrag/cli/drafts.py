"""`eval-set draft` and `check-drafts`: queries proposed from a collection's own pictures."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from mmrag.cli.options import encoder_options, json_option, open_encoder, print_json, printable
from mmrag.cli.rerank_options import usage_line
from mmrag.cli.vision_options import AskChoice, ask_options, open_asker, show_problems
from mmrag.system.words import counted

_FOLDER = click.Path(path_type=Path)


@click.command()
@click.argument("collection")
@click.option("--out", type=_FOLDER, required=True, help="The eval set; created if new.")
@click.option(
    "--queries",
    type=click.IntRange(1),
    default=200,
    show_default=True,
    help="How many queries to propose.",
)
@click.option("--uri", metavar="U", help="As for `index`.")
@click.option(
    "--near-duplicate",
    type=click.FloatRange(-1, 1),
    help="Leave out pairs with at least this cosine. Default: set by the encoder.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed for choosing pairs.")
@ask_options
@json_option
def draft(
    collection: str,
    out: Path,
    queries: int,
    uri: str | None,
    near_duplicate: float | None,
    seed: int,
    asking: AskChoice,
    as_json: bool,
) -> None:
    """Propose composed queries from a collection's own pictures.

    Each draft is a pair of pictures, at one of several distances, and an instruction that leads
    from the first to the second: from differences in their metadata, or by a vision model, which
    also gives paraphrases and names neighbours that fit as well. Nothing counts until a person has
    accepted it on the dashboard's Judge page.

    \b
    Example:
      mmrag eval-set draft photos --out my-set --queries 200
      mmrag eval-set draft photos --out my-set --by vision --max-cost 1
    """
    from mmrag.cli.progress import progress_bar
    from mmrag.index.image_index import ImageIndex
    from mmrag.labels.drafting import draft as propose
    from mmrag.labels.drafting import set_of_collection
    from mmrag.labels.rubrics import DEFAULT_WORDING

    asker = open_asker(asking)
    with ImageIndex.open(uri, collection=collection) as index:
        eval_set = set_of_collection(index, out, out.resolve().name)
        with progress_bar(total=None, unit="pair", disable=not sys.stderr.isatty()) as bar:
            made = propose(
                index,
                eval_set,
                queries,
                asker=asker,
                wording=asking.prompt or DEFAULT_WORDING,
                near_duplicate=near_duplicate,
                seed=seed,
                progress=bar.update,
            )
    show_problems(made.problems)
    if as_json:
        usage = asdict(made.usage)
        print_json({"eval_set": str(out), "drafted": made.new, "usage": usage})
        return
    wait = counted(made.new, "draft waits", "drafts wait")
    click.echo(f"{wait} in {printable(str(out))}; accept or reject each on the Judge page.")
    if asker is not None:
        click.echo(usage_line(made.usage))


@click.command("check-drafts")
@click.argument("folder", type=_FOLDER)
@click.argument("collection")
@click.option("--uri", metavar="U", help="As for `index`.")
@encoder_options
@ask_options
@json_option
def check_drafts(
    folder: Path,
    collection: str,
    uri: str | None,
    asking: AskChoice,
    as_json: bool,
    **encoder: Any,
) -> None:
    """Report how many drafts need both picture and text, have several answers, or repeat another.

    Each is asked by picture, by words and by both, in the COLLECTION it was drafted from, with that
    collection's encoder. The first 20 pictures of each search are pooled; a vision model (--by), or
    for drafts worded from metadata the metadata, decides which of them are right too. The findings
    are shown beside each draft on the Judge page.

    \b
    Example:
      mmrag eval-set check-drafts my-set photos
    """
    from mmrag.cli.progress import progress_bar
    from mmrag.eval_sets.eval_set import EvalSet
    from mmrag.index.image_index import ImageIndex
    from mmrag.labels.checking import check_drafts as check
    from mmrag.labels.rubrics import DEFAULT_RUBRIC, load_rubric
    from mmrag.search.searcher import Searcher

    asker = open_asker(asking)
    rubric = load_rubric(asking.prompt or DEFAULT_RUBRIC)
    eval_set = EvalSet.load(folder)
    loaded = open_encoder(**encoder)
    with (
        ImageIndex.open(uri, collection=collection) as index,
        progress_bar(total=None, unit="picture", disable=not sys.stderr.isatty()) as bar,
    ):
        found = check(
            eval_set,
            Searcher(index, loaded),
            asker=asker,
            rubric=rubric,
            progress=bar.update,
        )
    show_problems(found.problems)
    if as_json:
        print_json(found)
        return
    for line in found.lines:
        click.echo(line)
    for one, earlier in found.duplicates.items():
        click.echo(printable(f"{one} repeats {earlier}"))
    if asker is not None:
        click.echo(usage_line(found.usage))
