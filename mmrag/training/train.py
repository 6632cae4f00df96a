"""Contrastive training of an encoder on an eval set."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch.nn import functional as F

from mmrag.encoders.device import QUANTISED, resolve_device, resolve_precision, torch_dtype
from mmrag.encoders.encoder import Encoder
from mmrag.errors import MmragError
from mmrag.eval_sets.eval_set import EvalQuery, EvalSet
from mmrag.evaluation.exact_search import hit_rates, rank_in_memory
from mmrag.images.streaming import map_ahead
from mmrag.system.durable import write_file
from mmrag.training.batches import Batch, BatchMaker, Side
from mmrag.training.early_stop import BestSoFar
from mmrag.training.models import EncoderFiles, open_model
from mmrag.training.pretrained import freeze, init_from, parameter_groups
from mmrag.training.state import STATE_FILE, TrainingState
from mmrag.training.tried import LOG

if TYPE_CHECKING:
    from mmrag.encoders.clip import CLIPModel
    from mmrag.encoders.visualized_bge import VisualizedBGE


class Progress(Protocol):
    """The part of `tqdm` used here."""

    def update(self, n: int) -> object:
        """Note n more steps done."""

    def set_postfix_str(self, text: str) -> object:
        """Show text behind the bar."""


@dataclass(frozen=True)
class TrainingSettings:
    """All that decides the outcome, besides encoder, eval set and library versions.

    With `half`, the trained weights are rounded to 16 bits before they are measured and saved.
    `init_from` is what `pretrained.init_from` takes; the picture tower's first `freeze` layers stay
    unchanged, with `variants` of each picture computed once (0: anew at each step), and the layers
    above learn more slowly from the top down by `layer_decay`. With `patience`, the held-out
    queries are measured every `check_every` steps; after that many checks without a better hit
    rate@1 the training stops, and the best weights are kept.
    """

    epochs: float = 10.0
    steps: int | None = None
    batch_size: int = 64
    accumulate: int = 1
    hard_negatives: int = 0
    group_size: int = 1
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.05
    temperature: float = 0.05
    augment: str = "light"
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    half: bool = False
    init_from: str | None = None
    freeze: int = 0
    variants: int = 0
    layer_decay: float = 1.0
    patience: int | None = None
    check_every: int = 50

    def __post_init__(self) -> None:
        if self.augment not in ("none", "light", "strong"):
            raise MmragError(f"augment must be none, light or strong, not {self.augment!r}.")
        if min(self.batch_size, self.accumulate) < 1 or self.temperature <= 0:
            raise MmragError("batch_size and accumulate must be 1 or more, temperature above 0.")
        if self.variants and not self.freeze:
            raise MmragError("variants are of what a frozen part makes; say how much with freeze.")

    def said(self) -> dict[str, Any]:
        """The values, without later additions that have their defaults."""
        later = ("init_from", "freeze", "variants", "layer_decay", "patience", "check_every")
        defaults = {one.name: one.default for one in fields(self)}
        return {
            key: value
            for key, value in asdict(self).items()
            if key not in later or value != defaults[key]
        }


@dataclass(frozen=True)
class TrainingReport:
    """The folder of the encoder, and hit rates on held-out queries before and after training."""

    out: str
    epochs: float
    steps: int
    seconds: float
    losses: list[float]
    metrics_before: dict[str, dict[str, float]]
    metrics_after: dict[str, dict[str, float]]
    checks: dict[int, float] = field(default_factory=dict)
    """Hit rate@1 on the held-out queries by step, where the training could stop early."""


def train(
    eval_set: EvalSet,
    encoder: str,
    out: str | os.PathLike[str],
    settings: TrainingSettings | None = None,
    *,
    held_out: EvalSet | None = None,
    checkpoint: str | None = None,
    text_model: str | None = None,
    checkpoint_seconds: float = 60.0,
    progress: Callable[[int, int], Progress] | None = None,
) -> TrainingReport:
    """Train `encoder` to find the right images of `eval_set` and write it to `out`.

    The loss is the cross-entropy of the right picture among all pictures of the batch (InfoNCE;
    A. van den Oord et al., arXiv:1807.03748); pictures that are also right do not count as wrong.
    AdamW, linear warm-up, cosine schedule. Interrupted training resumes when started again with
    the same arguments, and ends with the same weights.

    Args:
        eval_set: labelled queries: composed, text alone and image alone.
        encoder: what `load_encoder` takes, or `new:CONFIGURATION` for fresh weights:
            `new:visualized-bge-tiny`, `new:clip-tiny`, or `new:` and a JSON file like those.
        out: folder for the encoder; `load_encoder(out)` loads it.
        settings: see `TrainingSettings`.
        held_out: set measured before and after; by default every tenth query of each category of
            `eval_set` is put aside for this.
        checkpoint: weights file, as `load_encoder` takes it.
        text_model: as `load_encoder` takes it.
        checkpoint_seconds: how often the state is saved.
        progress: makes a progress bar from (done, total) steps.

    Raises:
        MmragError: `out` holds another encoder or another training.
    """
    settings = settings or TrainingSettings()
    out = Path(out)
    if (out / "config.json").is_file() and not (out / STATE_FILE).is_file():
        raise MmragError(f"{out} already holds an encoder; name another folder with --out.")
    if held_out is None:
        eval_set, held_out = hold_out(eval_set)
    files = open_model(encoder, eval_set, settings.seed, checkpoint, text_model)
    model = files.model
    if settings.init_from:
        init_from(model, settings.init_from)
        begun = Path(settings.init_from).name
        files.card["source"] = f"begun from {begun}, trained on {eval_set.name}"
    if settings.freeze:
        freeze(model, settings.freeze)
    maker = BatchMaker(
        eval_set,
        model,
        settings.batch_size,
        settings.hard_negatives,
        settings.group_size,
        settings.augment,
        settings.seed,
    )
    per_epoch = math.ceil(maker.queries / (settings.batch_size * settings.accumulate))
    total = settings.steps or max(1, round(settings.epochs * per_epoch))
    sets = [_content(eval_set), _content(held_out)]
    arguments = [encoder, checkpoint, text_model, settings.said(), total]
    state = TrainingState(out, _digest([arguments, sets]))
    device = resolve_device(settings.device)
    model.to(device)
    started = time.perf_counter()
    optimizer = torch.optim.AdamW(
        parameter_groups(
            model, settings.weight_decay, settings.learning_rate, settings.layer_decay
        ),
        betas=(0.9, 0.98),
    )
    losses: list[float] = []
    before: dict[str, dict[str, float]] = {}
    best = BestSoFar(settings.patience, out)
    if state.exists():
        losses, before = state.load(model, optimizer)
        best.load()
    else:
        before = _measure(files, held_out)
        state.save(model, optimizer, losses, before)
    if settings.variants:
        maker.freeze(settings.freeze, settings.variants)
    model.train()
    bar = progress(len(losses), total) if progress else None
    saved = time.monotonic()
    dtype = torch_dtype(_precision(settings.precision, device, model.dim))
    first = len(losses) * settings.accumulate
    numbers = range(first, total * settings.accumulate)
    running = 0.0
    for number, batch in map_ahead(maker.batch, numbers, ahead=3, workers=2):
        if isinstance(batch, Exception):
            raise batch
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            loss = _loss(model, batch, settings.temperature) / settings.accumulate
        torch.autograd.backward(loss)
        running += float(loss.detach())
        if (number + 1) % settings.accumulate:
            continue
        step = len(losses)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * _schedule(step, total, settings.warmup)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(running)
        running = 0.0
        if not math.isfinite(losses[-1]):
            raise MmragError(
                f"The loss became {losses[-1]} at step {step}; try a lower --learning-rate "
                f"or precision fp32 (after removing {out})."
            )
        if bar:
            bar.set_postfix_str(f"loss {np.mean(losses[-20:]):.3f}")
            bar.update(1)
        if best.patience is not None and len(losses) % settings.check_every == 0:
            best.check(len(losses), _first_hits(_measure(files, held_out)), model)
            if best.is_over():
                break
        if time.monotonic() - saved > checkpoint_seconds:
            state.save(model, optimizer, losses, before)
            saved = time.monotonic()
    model.eval()
    best.restore(model)
    if settings.half:
        model.half().float()
    after = _measure(files, held_out)
    report = TrainingReport(
        out=str(out),
        epochs=len(losses) / per_epoch,
        steps=len(losses),
        seconds=time.perf_counter() - started,
        losses=losses,
        metrics_before=before,
        metrics_after=after,
        checks=best.checks,
    )
    log: dict[str, Any] = {"encoder": encoder, "eval_set": eval_set.name, "sets": _digest(sets)}
    log |= {"settings": asdict(settings), **asdict(report)}
    write_file(out / LOG, json.dumps(log, indent=1))
    model.to(torch.float16 if settings.half else torch.float32)
    files.save(out)
    state.remove()
    best.remove()
    return report


def hold_out(eval_set: EvalSet) -> tuple[EvalSet, EvalSet]:
    """Put every tenth query of each category aside: (the rest, those put aside)."""
    seen: Counter[str] = Counter()
    kept: list[EvalQuery] = []
    aside: list[EvalQuery] = []
    for query in eval_set.queries:
        (kept if seen[query.category] % 10 else aside).append(query)
        seen[query.category] += 1
    return eval_set.with_queries(kept), eval_set.with_queries(aside)


def _precision(name: str, device: torch.device, dim: int) -> str:
    """`auto` stays in fp32 for small models on a CPU: converting costs more than it saves there."""
    if name in QUANTISED:
        raise MmragError(f"Training needs precision fp32, bf16 or fp16; {name} is for encoding.")
    if name == "auto" and device.type == "cpu" and dim < 384:
        return "fp32"
    return resolve_precision(name, device)


def _loss(model: VisualizedBGE | CLIPModel, batch: Batch, temperature: float) -> torch.Tensor:
    device = next(model.parameters()).device
    pictures = _embed(model, batch.pictures)
    queries = torch.cat([_embed(model, side) for side in batch.queries])
    order = [row for side in batch.queries for row in side.rows]
    scores = queries.float() @ pictures.float().T / temperature
    scores = scores.masked_fill(torch.from_numpy(batch.masked[order]).to(device), -torch.inf)
    return F.cross_entropy(scores, torch.from_numpy(batch.target[order]).to(device))


def _embed(model: VisualizedBGE | CLIPModel, side: Side) -> torch.Tensor:
    pixels = None if side.pixels is None else torch.from_numpy(side.pixels)
    return F.normalize(model.embed(pixels, side.texts).float(), dim=-1)


def _first_hits(metrics: dict[str, dict[str, float]]) -> float:
    return next(iter(metrics.values()))["hit_rate@1"]


def _measure(files: EncoderFiles, held_out: EvalSet) -> dict[str, dict[str, float]]:
    model = files.model
    was_training = model.training
    model.eval()
    encoder = Encoder(model, files.info())
    with torch.no_grad():
        metrics = hit_rates(rank_in_memory(encoder, held_out, batch_size=64), held_out)
    model.train(was_training)
    return metrics


def _schedule(step: int, total: int, warmup: float) -> float:
    """Rise linearly to 1 over the warm-up's share of the steps, then fall by half a cosine to 0."""
    warm = max(1, round(warmup * total))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))


def _content(eval_set: EvalSet) -> list[Any]:
    """All of an eval set that affects a training."""
    images = [(image.image_id, image.text) for image in eval_set.images]
    return [images, [asdict(query) for query in eval_set.queries], eval_set.qrels]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
