"""`bench`: measure everything that a user waits for, and compare results."""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmrag.cli.options import json_option, print_json, printable
from mmrag.errors import MmragError
from mmrag.system import leash, shipped
from mmrag.system.measuring import alone
from mmrag.system.words import counted

if TYPE_CHECKING:
    from mmrag.measurements import BenchRow

_THRESHOLD = 0.1


@click.group(invoke_without_command=True)
@click.option("--encoder", multiple=True, metavar="E", help="May be repeated. Default: all sizes.")
@click.option("--reranker", multiple=True, metavar="R", help="May be repeated. Default: two sizes.")
@click.option("--device", multiple=True, metavar="D", help="cpu, cuda, mps. Default: all here.")
@click.option("--precision", multiple=True, metavar="P", help="Default: all that suit the device.")
@click.option("--only", metavar="WORDS", help="As pytest's -k: encode, 'decode or search', ...")
@click.option("--uri", metavar="U", help="A Milvus server to measure as well as Milvus Lite.")
@click.option("--all", "every", is_flag=True, help="One line per benchmark, not per encoder.")
@click.option("--quick", is_flag=True, help="Small sizes, to check that it works.")
@click.option(
    "--save",
    is_flag=True,
    help="Keep the result with earlier ones: in bench/results, or MMRAG_HOME/bench.",
)
@json_option
@click.pass_context
def bench(context: click.Context, /, **options: Any) -> None:
    """Measure encoding, reranking, decoding, search, queries and evaluation, and print tables.

    The first table has a line per encoder (--all: per benchmark).

    Leave the machine alone meanwhile. Encode rows give the speed relative to the tutorials' loop
    and the share of the hardware's limit, both measured in the same run.

    \b
    Example:
      mmrag bench --encoder visualized-bge-base --only encode
      mmrag bench --save
      mmrag bench --save --only search
      mmrag bench compare
    """
    if context.invoked_subcommand is None:
        _run(**options)


def _run(
    encoder: tuple[str, ...],
    reranker: tuple[str, ...],
    device: tuple[str, ...],
    precision: tuple[str, ...],
    only: str | None,
    uri: str | None,
    every: bool,
    quick: bool,
    save: bool,
    as_json: bool,
) -> None:
    from mmrag.measurements import check_folder, read_results, results_folder, save_result

    if importlib.util.find_spec("pytest_benchmark") is None:
        raise MmragError("Measuring needs pytest-benchmark: pip install 'mmrag[bench]'")
    command = [
        sys.executable,
        "-m",
        "pytest",
        str(shipped.ROOT / "bench"),
        f"--rootdir={shipped.ROOT}",
        "-v",
        "--benchmark-quiet",
        "-p",
        "no:cacheprovider",
    ]
    chosen = {"encoder": encoder, "reranker": reranker, "device": device, "precision": precision}
    for name, values in chosen.items():
        command += [f"--{name}={value}" for value in values]
    command += ["-k", only] if only else []
    command += [f"--uri={uri}"] if uri else []
    command += ["--quick"] if quick else []
    if save:
        check_folder(results_folder())
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "result.json"
        whole = _suite([*command, f"--benchmark-json={out}"]) == 0
        if not out.is_file() or not out.stat().st_size:
            raise MmragError("The bench suite did not finish; its messages are above.")
        result = read_results(out)
        saved = save_result(result) if save else None
    if as_json:
        rows = [{**vars(row), "spread": row.spread} for row in result.rows]
        print_json(
            {
                "machine": result.machine,
                "commit": result.commit,
                "dirty": result.dirty,
                "saved": str(saved) if saved else None,
                "rows": rows,
            }
        )
    else:
        machine = result.machine
        click.echo(
            printable(", ".join([*machine["gpus"], machine["cpu"], f"{machine['cores']} cores"]))
        )
        families = [] if every else family_lines(result.rows)
        if families:
            _table(families, _FAMILIES)
        rest = [row for row in result.rows if not (families and row.group in _IN_FAMILIES)]
        if rest:
            _table([_cells(row) for row in rest], _HEAD)
        if saved:
            click.echo(f"Saved: {saved}")
    if not whole:
        raise MmragError("Some benchmarks failed, and are not in the result; see above.")


def _suite(command: Sequence[str]) -> int:
    """Run pytest, its output on standard error; it ends with this process, however that ends."""
    paths = [str(shipped.ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    with alone() as lock:
        return leash.run(command, keep=[lock], stdout=sys.stderr, env=environment)


@bench.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--threshold",
    type=click.FloatRange(0),
    default=_THRESHOLD,
    show_default=True,
    help="Slowdown that counts as a regression, as a share.",
)
@json_option
def compare(files: tuple[Path, ...], threshold: float, as_json: bool) -> None:
    """Show what became slower: NEW against OLD, or a machine's newest result against earlier ones.

    Without files, each benchmark of the newest result is compared with the last earlier result of
    that machine that includes it. Exits with status 1 if there are regressions.

    \b
    Example:
      mmrag bench compare
      mmrag bench compare new.json old.json --threshold 0.2
    """
    from mmrag.measurements import compare_results, list_results, newest_and_before, read_results

    if files and len(files) != 2:
        raise click.UsageError("Give two files, NEW and OLD, or none.")
    if files:
        new, earlier = read_results(files[0]), [read_results(files[1])]
    else:
        new, earlier = newest_and_before(list_results())
    changes = compare_results(new, *earlier, threshold=threshold)
    if not changes:
        raise MmragError("The two results have no benchmark in common.")
    regressed = [change for change in changes if change.regressed]
    alone = len(new.rows) - len(changes)
    if as_json:
        rows = [
            {
                "group": change.row.group,
                "name": change.row.name,
                "seconds_before": change.before.seconds,
                "seconds": change.row.seconds,
                "ratio": change.ratio,
                "regressed": change.regressed,
                "commit_before": change.file.commit,
            }
            for change in changes
        ]
        print_json(
            {
                "new": new.commit,
                "old": earlier[0].commit,
                "changes": rows,
                "without_counterpart": alone,
            }
        )
    else:
        if new.machine_name != earlier[0].machine_name:
            click.echo(f"Two machines: {new.machine_name} against {earlier[0].machine_name}.")
        lines = [
            (
                change.row.group,
                printable(change.row.name),
                _number(change.before.value),
                _number(change.row.value),
                change.row.unit,
                change.file.commit[:8],
                f"{change.ratio:.2f}",
                "slower" if change.regressed else "",
            )
            for change in changes
        ]
        _table(lines, ("group", "benchmark", "before", "now", "", "before is", "time ratio", ""))
        if alone:
            whole = f"{counted(len(new.rows), 'benchmark')} of {new.commit[:8]}"
            click.echo(f"{alone} of {whole} were not measured before.")
    if regressed:
        raise MmragError(
            f"{len(regressed)} of {len(changes)} benchmarks are more than "
            f"{100 * threshold:.0f} % slower than before."
        )


_FAMILIES = (
    "encoder",
    "device",
    "precision",
    "images/s",
    "queries/s",
    "memory MB",
    "dimension",
    "bytes a vector",
)
# What the rates count, and whether one at a time.
_RATES = (("files", False), ("composed", True))
# The groups of benchmarks that the table of encoders covers.
_IN_FAMILIES = ("encode", "tutorial")


def family_lines(rows: Sequence[BenchRow]) -> list[tuple[str, ...]]:
    """One line per encoder and device, in the precision that `auto` chooses there.

    images/s counts files in batches, queries/s pictures with words, one at a time.
    """
    from mmrag.encoders.device import resolve_device, resolve_precision

    encoded = [row for row in rows if row.group == "encode" and "encoder" in row.params]
    lines = []
    for name, device in dict.fromkeys((r.params["encoder"], r.params["device"]) for r in encoded):
        own = [r for r in encoded if (r.params["encoder"], r.params["device"]) == (name, device)]
        measured = list(dict.fromkeys(str(r.params["precision"]) for r in own))
        precision = resolve_precision("auto", resolve_device(device))
        precision = precision if precision in measured else measured[0]
        own = [r for r in own if r.params["precision"] == precision]
        of = {(r.params["source"], r.params["batch_size"] == 1): r for r in own}
        memory = [r.figures["peak_memory_mb"] for r in own if "peak_memory_mb" in r.figures]
        dim, size = (own[0].figures.get(one, "") for one in ("dim", "bytes_per_vector"))
        cells = [_number(of[key].value) if key in of else "" for key in _RATES]
        cells += [f"{max(memory):,}" if memory else "", str(dim), str(size)]
        lines.append((printable(name), device, precision, *cells))
    return lines


_HEAD = ("group", "benchmark", "value", "", "spread", "x tutorial", "of limit", "more")
_OWN_COLUMNS = ("times_tutorial", "limit_share", "gflop_per_item", "limit_gflop_per_s", "load_s")


def _cells(row: Any) -> tuple[str, ...]:
    ratio, share = row.figures.get("times_tutorial"), row.figures.get("limit_share")
    more = [f"{k} {v}" for k, v in row.figures.items() if k not in _OWN_COLUMNS]
    return (
        row.group,
        printable(row.name),
        _number(row.value),
        row.unit,
        f"{100 * row.spread:.0f} %",
        "" if ratio is None else f"{ratio:.2f}",
        "" if share is None else f"{100 * share:.0f} %",
        printable(", ".join(more)),
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _table(lines: Sequence[tuple[str, ...]], head: tuple[str, ...]) -> None:
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    for line in (head, *lines):
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())
