"""Protocols by name: one TOML file per benchmark here, or a file of the user's own.

A user's file holds one protocol, such as:

    name = "with-concept"
    text = "a picture of {shared_concept}; {caption}"
    metrics = ["mAP@10"]
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from mmrag.errors import EvalSetError
from mmrag.eval_sets.eval_set import EvalQuery, EvalSet, Qrels
from mmrag.eval_sets.protocol import GALLERIES, Protocol
from mmrag.system.text_files import read_text

_HERE = Path(__file__).parent


@cache
def protocols(benchmark: str) -> dict[str, Protocol]:
    """The shipped protocols of a benchmark by name, its default one first; empty for others."""
    path = _HERE / f"{benchmark}.toml"
    if benchmark not in benchmarks():
        return {}
    return {
        name: Protocol.parse({"name": name, "benchmark": benchmark, **values}, str(path))
        for name, values in _read(path).items()
    }


@cache
def benchmarks() -> list[str]:
    """The benchmarks that protocols ship for."""
    return sorted(path.stem for path in _HERE.glob("*.toml"))


def benchmark_of(eval_set: EvalSet) -> str:
    """The benchmark that an eval set was imported from; empty for another set."""
    if eval_set.protocol is not None and eval_set.protocol.benchmark:
        return eval_set.protocol.benchmark
    name = eval_set.name.partition("-")[0]
    return name if name in benchmarks() else ""


def find_protocol(reference: str, benchmark: str) -> Protocol:
    """Find a protocol by name among a benchmark's, or load it from a TOML file.

    Raises:
        EvalSetError: there is none; names those there are.
    """
    shipped = protocols(benchmark)
    if reference in shipped:
        return shipped[reference]
    path = Path(reference)
    if path.suffix == ".toml" or os.sep in reference:
        return Protocol.parse({"name": path.stem, **_read(path)}, str(path))
    there = f"it has {', '.join(shipped)}" if shipped else "it has none"
    of = f"of {benchmark}" if benchmark else "for this eval set"
    raise EvalSetError(
        f"There is no protocol {reference!r} {of}; {there}, and FILE.toml names one of your own."
    )


def apply_protocol(eval_set: EvalSet, protocol: Protocol) -> EvalSet:
    """The eval set as the protocol asks and scores it; nothing is written.

    Raises:
        EvalSetError: it is of another benchmark, or lacks what the protocol needs.
    """
    if eval_set.protocol == protocol:
        return eval_set
    benchmark = benchmark_of(eval_set)
    if protocol.benchmark and protocol.benchmark != benchmark:
        raise EvalSetError(
            f"The protocol {protocol.title!r} does not fit {eval_set.name!r}, an eval set "
            f"{f'of {benchmark}' if benchmark else 'of no benchmark with protocols'}."
        )
    queries = [_asked(query, protocol) for query in eval_set.queries]
    made = replace(
        eval_set,
        queries=queries,
        qrels=_qrels(eval_set, protocol),
        exclude_query_image=protocol.reference == "out",
        primary_metric=next(iter(protocol.metrics), eval_set.primary_metric),
        protocol=protocol,
    )
    there = eval_set.gallery_kind or ("split" if benchmark else "")
    if protocol.gallery in ("", there):
        return made
    if protocol.gallery == "queries" and there == "split":
        return _of_queries(made)
    raise EvalSetError(
        f"The protocol {protocol.title!r} searches {GALLERIES[protocol.gallery]}, but "
        f"{eval_set.name!r} holds {GALLERIES[there]}; make it with `mmrag eval-set import "
        f"{benchmark or 'FORMAT'} SOURCE DESTINATION --protocol {protocol.name}`."
    )


def with_protocol(eval_set: EvalSet, reference: str | None) -> EvalSet:
    """Apply the protocol that `find_protocol` finds to an eval set; None leaves it as it is."""
    if reference is None:
        return eval_set
    return apply_protocol(eval_set, find_protocol(reference, benchmark_of(eval_set)))


def _asked(query: EvalQuery, protocol: Protocol) -> EvalQuery:
    """The query with its text; `caption` in the metadata keeps the original if it differs."""
    metadata: dict[str, Any] = dict(query.metadata)
    kept = metadata.pop("caption", None)
    caption = kept if isinstance(kept, str) else query.text
    text = protocol.render(caption, metadata, query.query_id)
    if text != caption:
        metadata["caption"] = caption
    return replace(query, text=text, metadata=metadata)


def _qrels(eval_set: EvalSet, protocol: Protocol) -> Qrels:
    before = eval_set.protocol.right if eval_set.protocol else "target"
    if protocol.right == before:
        return eval_set.qrels
    if protocol.right == "target":
        raise EvalSetError(
            f"{eval_set.name!r} judges other images right than the protocol {protocol.title!r}; "
            f"import it with --protocol {protocol.name}."
        )
    ids = {image.image_id for image in eval_set.images}
    return {
        query.query_id: {
            name: 1 for name, grade in _grades(query.metadata).items() if grade == 1 and name in ids
        }
        for query in eval_set.queries
    }


def _grades(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    found = metadata.get("target_soft")
    return found if isinstance(found, dict) else {}


def _of_queries(eval_set: EvalSet) -> EvalSet:
    """The eval set with a gallery of reference and right images alone."""
    wanted = {str(query.metadata.get("reference")) for query in eval_set.queries}
    wanted.update(i for judged in eval_set.qrels.values() for i, grade in judged.items() if grade)
    return replace(
        eval_set,
        # Another name, for a collection of its own.
        name=f"{eval_set.name}-queries",
        gallery_kind="queries",
        images=[image for image in eval_set.images if image.image_id in wanted],
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_text(path))
    except OSError as error:
        raise EvalSetError(f"{path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise EvalSetError(f"{path} is not TOML: {error}.") from error
