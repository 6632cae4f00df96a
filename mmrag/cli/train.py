"""`train`: fine-tune an encoder, or train a small one from scratch."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmrag.cli.options import json_option, print_json, printable
from mmrag.system.words import counted

if TYPE_CHECKING:
    from mmrag.training.tried import Tried


@click.command()
@click.argument("eval_set")
@click.option("--encoder", metavar="E", required=True, help="As for search, or new:CONFIGURATION.")
@click.option("--out", metavar="DIR", required=True, help="Folder for the trained encoder.")
@click.option(
    "--held-out",
    metavar="EVAL_SET",
    help="Measured before and after. Default: a tenth of the queries, put aside.",
)
@click.option(
    "--epochs",
    type=click.FloatRange(0, min_open=True),
    default=10.0,
    show_default=True,
    help="Passes over the training queries.",
)
@click.option("--steps", type=click.IntRange(1), help="Instead of --epochs.")
@click.option(
    "--batch-size", type=click.IntRange(2), default=64, show_default=True, help="Queries per batch."
)
@click.option(
    "--accumulate",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Batches per step of the optimiser.",
)
@click.option(
    "--hard-negatives",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Pictures judged 0 to add to the batch, per query.",
)
@click.option(
    "--group-size",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Fill two thirds of each batch with groups of queries that are easily confused.",
)
@click.option(
    "--learning-rate", type=float, default=1e-3, show_default=True, help="Highest learning rate."
)
@click.option(
    "--temperature",
    type=float,
    default=0.05,
    show_default=True,
    help="Temperature of the contrastive loss.",
)
@click.option(
    "--augment",
    type=click.Choice(["none", "light", "strong"]),
    default="light",
    show_default=True,
    help="How strongly training pictures are augmented.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Seed of the weights, the batches and the augmentation.",
)
@click.option(
    "--init-from",
    metavar="FILE_OR_ENCODER",
    help="For new:…: take what fits from a file of the picture tower's weights, or an encoder.",
)
@click.option(
    "--freeze",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Freeze this many of the picture tower's first layers.",
)
@click.option(
    "--variants",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Run each picture through the frozen layers once, in this many variants.",
)
@click.option(
    "--layer-decay",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    help="Each layer of the picture tower learns at this share of the rate of the one above it.",
)
@click.option(
    "--patience",
    type=click.IntRange(1),
    help="Stop after this many checks without a better hit rate@1 on the held-out queries.",
)
@click.option(
    "--check-every",
    type=click.IntRange(1),
    default=50,
    show_default=True,
    help="Steps between checks.",
)
@click.option("--checkpoint", metavar="FILE", help="Weights of E.")
@click.option("--text-model", metavar="DIR", help="Text model of E.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps.")
@click.option("--precision", default="auto", show_default=True, help="auto, fp32, bf16 or fp16.")
@click.option("--half", is_flag=True, help="Save the weights in 16 bits: half the size.")
@json_option
def train(
    eval_set: str,
    encoder: str,
    out: str,
    held_out: str | None,
    epochs: float,
    steps: int | None,
    batch_size: int,
    accumulate: int,
    hard_negatives: int,
    group_size: int,
    learning_rate: float,
    temperature: float,
    augment: str,
    seed: int,
    init_from: str | None,
    freeze: int,
    variants: int,
    layer_decay: float,
    patience: int | None,
    check_every: int,
    checkpoint: str | None,
    text_model: str | None,
    device: str,
    precision: str,
    half: bool,
    as_json: bool,
) -> None:
    """Train an encoder on the labelled queries of EVAL_SET.

    E is an encoder to fine-tune (official models take a --learning-rate of 1e-5 or so), or
    new:CONFIGURATION for fresh weights (visualized-bge-tiny, visualized-bge-photos,
    visualized-bge-photos-small, clip-tiny), which --init-from replaces with pretrained ones where
    it can. Run the command again to resume interrupted training. Other trainings on the same
    queries, in folders beside --out, are listed at the end.

    \b
    Example:
      mmrag train grocery-train --encoder new:visualized-bge-tiny \\
          --held-out grocery-val --augment strong --out my-encoder
      mmrag index photos --encoder my-encoder
      mmrag train grocery-train --encoder new:visualized-bge-photos --init-from lite0.pth \\
          --freeze 7 --variants 4 --augment strong --out my-encoder
    """
    from mmrag.cli.progress import progress_bar
    from mmrag.eval_sets.eval_set import EvalSet
    from mmrag.training.train import TrainingSettings
    from mmrag.training.train import train as run_training
    from mmrag.training.tried import tried

    settings = TrainingSettings(
        epochs=epochs,
        steps=steps,
        batch_size=batch_size,
        accumulate=accumulate,
        hard_negatives=hard_negatives,
        group_size=group_size,
        learning_rate=learning_rate,
        temperature=temperature,
        augment=augment,
        seed=seed,
        device=device,
        precision=precision,
        half=half,
        init_from=init_from,
        freeze=freeze,
        variants=variants,
        layer_decay=layer_decay,
        patience=patience,
        check_every=check_every,
    )
    report = run_training(
        EvalSet.load(eval_set),
        encoder,
        Path(out),
        settings,
        held_out=EvalSet.load(held_out) if held_out else None,
        checkpoint=checkpoint,
        text_model=text_model,
        progress=lambda done, total: progress_bar(
            initial=done, total=total, unit="step", desc="Training"
        ),
    )
    others = tried(Path(out))
    if as_json:
        print_json({**asdict(report), "tried": [asdict(one) for one in others]})
        return
    made = counted(report.steps, "step")
    click.echo(f"{made} in {report.seconds:.0f} s; the encoder is in {report.out}.")
    click.echo(f"{'held-out queries':24}{'':8}{'before':>24}{'after':>24}")
    click.echo(f"{'':24}{'queries':>8}" + 2 * "".join(f"{'@' + str(k):>8}" for k in (1, 5, 10)))
    for name, after in report.metrics_after.items():
        cells = [
            f"{metrics[f'hit_rate@{k}']:8.3f}"
            for metrics in (report.metrics_before[name], after)
            for k in (1, 5, 10)
        ]
        click.echo(f"{printable(name):24}{after['queries']:8.0f}" + "".join(cells))
    click.echo("Hit rate: share of queries with a right image among the first 1, 5, 10.")
    if len(others) > 1:
        _show_tried(others)


def _show_tried(others: list[Tried]) -> None:
    click.echo(
        f"\n{'tried on these queries':24}{'steps':>8}{'s':>8}{'@1':>8}{'@10':>8}  differs in"
    )
    for one in others:
        said = ", ".join(f"{key} {value}" for key, value in one.differs.items())
        metrics = "".join(f"{one.metrics[f'hit_rate@{k}']:8.3f}" for k in (1, 10))
        click.echo(
            f"{printable(one.name):24}{one.steps:8}{one.seconds:8.0f}{metrics}  {printable(said)}"
        )
