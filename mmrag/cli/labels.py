"""`eval-set judge`, `agreement`, `merge`, `split`, `sample`, `dedupe`: labels."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmrag.cli.drafts import check_drafts, draft
from mmrag.cli.options import json_option, print_json, printable
from mmrag.cli.rerank_options import usage_line
from mmrag.cli.vision_options import AskChoice, ask_options, open_asker, show_problems
from mmrag.errors import MmragError
from mmrag.system.words import counted

if TYPE_CHECKING:
    from mmrag.eval_sets.eval_set import EvalSet

_FOLDER = click.Path(path_type=Path)


@click.command()
@click.argument("folder", type=_FOLDER)
@click.option(
    "--run",
    "runs",
    multiple=True,
    metavar="RUN",
    help="A stored run whose first hits are judged; repeat it to compare several.",
)
@click.option(
    "--depth",
    type=click.IntRange(1, 100),
    default=10,
    show_default=True,
    help="How many hits of each run go into the pool.",
)
@click.option("--judge", metavar="NAME", help="Your name. Default: the account's.")
@click.option("--limit", type=click.IntRange(1), help="Stop after this many judgments.")
@click.option(
    "--second-pass",
    type=click.IntRange(0),
    default=50,
    show_default=True,
    metavar="N",
    help="With --by: judge this many pairs twice, to show how consistent the model is.",
)
@ask_options
def judge(
    folder: Path,
    runs: tuple[str, ...],
    depth: int,
    judge: str | None,
    limit: int | None,
    second_pass: int,
    asking: AskChoice,
) -> None:
    """Judge the first hits of runs, picture by picture: by hand, or by a vision model.

    Type 3 for right, 2 for partly, 1 for wrong, Enter to skip, u to undo, q to stop. Each judgment
    is stored at once. The dashboard's Judge page does the same with pictures side by side.

    With --by, a vision model grades the same pictures, and those that people have judged, by a
    rubric, with a reason. People always overrule it, and `eval-set agreement` shows how far it
    agrees with them.

    \b
    Example:
      mmrag eval-set judge my-set --run 20261127 --run 20261128 --judge Ada
      mmrag eval-set judge my-set --run 20261127 --by vision --max-cost 2
    """
    if not runs and asking.by is None:
        raise click.UsageError("Name at least one --run.")
    if asking.by is not None:
        if judge is not None:
            raise click.UsageError("--judge names a person; with --by it is the model.")
        _judge_by_model(folder, runs, depth, limit, second_pass, asking)
        return
    from mmrag.eval_sets.eval_set import EvalSet
    from mmrag.labels.judgments import GRADES, Judgment, JudgmentLog
    from mmrag.labels.session import JudgingSession
    from mmrag.runs.store import RunStore

    name = judge or getpass.getuser()
    eval_set = EvalSet.load(folder)
    with RunStore() as store:
        loaded = [store.load(store.find(one)) for one in runs]
    session = JudgingSession.of_runs(eval_set, loaded, depth, name)
    log = JudgmentLog(folder)
    keys = {"1": GRADES["wrong"], "2": GRADES["partly"], "3": GRADES["right"]}
    queries = {query.query_id: query for query in eval_set.queries}
    paths = {image.image_id: image.path for image in eval_set.images}
    given: list[tuple[str, str]] = []
    pending = session.pending()
    click.echo(f"{len(pending)} to judge as {printable(name)}; q stops.")
    click.echo("Pictures are named here; the Judge page of `mmrag dashboard` shows them.")
    place = 0
    while place < len(pending) and (limit is None or len(given) < limit):
        query_id, image_id = pending[place]
        query = queries[query_id]
        asked = " + ".join(filter(None, (*query.images, query.text)))
        click.echo(f"\n[{place + 1}/{len(pending)}] {printable(asked)}")
        click.echo(f"  -> {printable(paths[image_id])}")
        answer = click.prompt("  3 right, 2 partly, 1 wrong", default="", show_default=False)
        if answer == "q":
            break
        if answer == "u" and given:
            query_id, image_id = given.pop()
            log.add([Judgment(query_id, image_id, None, name)])
            place = pending.index((query_id, image_id))
            continue
        if answer in keys:
            log.add([Judgment(query_id, image_id, keys[answer], name)])
            given.append((query_id, image_id))
        place += 1
    click.echo(f"{len(given)} judged; {len(session.pending())} are left.")
    for line in session.verdicts():
        click.echo(line)


def _judge_by_model(
    folder: Path,
    runs: tuple[str, ...],
    depth: int,
    limit: int | None,
    second_pass: int,
    asking: AskChoice,
) -> None:
    from mmrag.cli.progress import progress_bar
    from mmrag.eval_sets.eval_set import EvalSet
    from mmrag.labels.report import judge_report
    from mmrag.labels.rubrics import DEFAULT_RUBRIC, load_rubric
    from mmrag.labels.session import JudgingSession
    from mmrag.labels.vision_judge import VisionJudge
    from mmrag.runs.store import RunStore
    from mmrag.types import Usage

    asker = open_asker(asking)
    assert asker is not None
    eval_set = EvalSet.load(folder)
    by = VisionJudge(eval_set, asker, load_rubric(asking.prompt or DEFAULT_RUBRIC))
    with RunStore() as store:
        loaded = [store.load(store.find(one)) for one in runs]
    session = JudgingSession.of_runs(eval_set, loaded, depth, by.name, again=True)
    pairs = by.pending(session.pending())[:limit]
    used, problems = Usage(), list[str]()
    for again in (False, True):
        wanted = by.to_repeat(second_pass) if again else pairs
        with progress_bar(
            total=len(wanted), unit="pair", disable=not (wanted and sys.stderr.isatty())
        ) as bar:
            done = by.judge(wanted, second_pass=again, progress=bar.update)
        used, problems = used + done.usage, problems + done.problems
        what = "a second time by" if again else "by"
        click.echo(printable(f"{done.done} judged {what} {by.name}."))
    show_problems(problems)
    click.echo(usage_line(used))
    click.echo(printable(judge_report(folder).sentence))


@click.command()
@click.argument("folder", type=_FOLDER)
@json_option
def agreement(folder: Path, as_json: bool) -> None:
    """Show how much each judge judged, and how far each pair of judges agrees.

    Cohen's kappa with its 95 % interval, over what both have judged; weighted (linear) for grades.

    \b
    Example:
      mmrag eval-set agreement my-set
    """
    from mmrag.labels.report import judge_report

    report = judge_report(folder)
    if as_json:
        print_json(report)
        return
    click.echo(printable(report.sentence))
    for pair in report.pairs:
        low, high = pair.agreement.ci95
        click.echo(
            printable(
                f"{pair.first} and {pair.second}: kappa {pair.agreement.kappa:.2f} "
                f"[{low:.2f}, {high:.2f}], weighted {pair.weighted.kappa:.2f}, "
                f"{pair.agreement.observed:.0%} the same, on {pair.agreement.items}"
            )
        )
        for category, own in pair.categories.items():
            click.echo(
                printable(
                    f"  {category or '(no category)'}: kappa {own.kappa:.2f} "
                    f"[{own.ci95[0]:.2f}, {own.ci95[1]:.2f}], on {own.items}"
                )
            )
    for name, own in report.consistency.items():
        click.echo(
            printable(
                f"{name} and its second pass: kappa {own.kappa:.2f} "
                f"[{own.ci95[0]:.2f}, {own.ci95[1]:.2f}], {own.observed:.0%} the same, "
                f"on {own.items}"
            )
        )
    for conflict in report.conflicts:
        words = ", ".join(f"{judge} {grade}" for judge, grade in conflict.grades.items())
        click.echo(printable(f"To settle: {conflict.query_id} {conflict.image_id}: {words}"))


@click.command()
@click.argument("folders", nargs=-1, required=True, type=_FOLDER)
@click.option("--out", type=_FOLDER, required=True, help="Folder of the new set.")
def merge(folders: tuple[Path, ...], out: Path) -> None:
    """Combine several eval sets into one.

    \b
    Example:
      mmrag eval-set merge shoes bags --out fashion
    """
    from mmrag.eval_sets.eval_set import EvalSet
    from mmrag.labels import editing

    _new(out)
    _written(editing.merge([EvalSet.load(one) for one in folders], out, out.name))


@click.command()
@click.argument("folder", type=_FOLDER)
@click.option(
    "--part",
    "parts",
    multiple=True,
    required=True,
    metavar="NAME=SHARE",
    help="Part and its share of the queries, e.g. dev=0.2; repeatable. Shares sum to 1.",
)
@click.option("--out", type=_FOLDER, required=True, help="Folder for the parts, one folder each.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the draw.")
def split(folder: Path, parts: tuple[str, ...], out: Path, seed: int) -> None:
    """Divide the queries into parts, each category in proportion.

    \b
    Example:
      mmrag eval-set split my-set --part dev=0.3 --part test=0.7 --out my-parts
    """
    from mmrag.eval_sets.eval_set import EvalSet
    from mmrag.labels import editing

    shares = {}
    for part in parts:
        name, _, share = part.partition("=")
        try:
            shares[name] = float(share)
        except ValueError:
            raise click.UsageError(f"{part!r} is not NAME=SHARE, for example dev=0.2.") from None
        if not name or Path(name).name != name or name in (".", ".."):
            raise click.UsageError(f"{name!r} cannot be the name of a folder.")
        _new(out / name)
    for one in editing.split(EvalSet.load(folder), shares, out, seed):
        _written(one)


@click.command()
@click.argument("folder", type=_FOLDER)
@click.option("--queries", type=click.IntRange(1), required=True, help="How many queries to draw.")
@click.option("--out", type=_FOLDER, required=True, help="Folder of the new set.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the draw.")
def sample(folder: Path, queries: int, out: Path, seed: int) -> None:
    """Draw queries at random, each category in proportion; the gallery stays whole.

    \b
    Example:
      mmrag eval-set sample my-set --queries 100 --out my-sample
    """
    from mmrag.eval_sets.eval_set import EvalSet
    from mmrag.labels import editing

    _new(out)
    _written(editing.sample(EvalSet.load(folder), queries, out, seed))


@click.command()
@click.argument("folder", type=_FOLDER)
@click.option("--out", type=_FOLDER, required=True, help="Folder of the new set.")
def dedupe(folder: Path, out: Path) -> None:
    """Keep each picture (by its bytes) and each query (picture and text) once.

    \b
    Example:
      mmrag eval-set dedupe my-set --out my-set-once
    """
    from mmrag.eval_sets.eval_set import EvalSet
    from mmrag.labels import editing

    _new(out)
    found = editing.dedupe(EvalSet.load(folder), out)
    for what, gone in (("picture", found.images), ("query", found.queries)):
        for one, stays in gone.items():
            click.echo(printable(f"{what} {one}: as {stays}"))
    _written(found.eval_set)


COMMANDS = (judge, draft, check_drafts, agreement, merge, split, sample, dedupe)


def _new(folder: Path) -> None:
    if (folder / "eval_set.json").exists():
        raise MmragError(f"There is an eval set in {folder} already; name another --out.")


def _written(made: EvalSet) -> None:
    made.save()
    click.echo(
        printable(
            f"{made.folder}: {counted(len(made.images), 'image')}, "
            f"{counted(len(made.queries), 'query')}, "
            f"{counted(sum(map(len, made.qrels.values())), 'judgment')}"
        )
    )
