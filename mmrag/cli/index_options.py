"""Options for how a collection is made and how it is searched."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import click

from mmrag.index.kinds import (
    CONSISTENCY_LEVELS,
    BuildOptions,
    IndexKind,
    SearchOptions,
    parse_params,
)

Command = TypeVar("Command", bound=Callable[..., Any])


def build_options(command: Command) -> Command:
    """Add --index-type, --partition-key, --replace and related options, as argument `build`."""

    @click.option(
        "--index-type",
        metavar="KIND",
        help="FLAT, HNSW, IVF_FLAT, IVF_SQ8, AUTOINDEX, or another kind that your Milvus server "
        "has, such as IVF_PQ or DISKANN. Default: exact search, and HNSW from 20,000 images on.",
    )
    @click.option(
        "--index-param",
        multiple=True,
        metavar="KEY=VALUE",
        help="Build parameter of the index kind, such as M=16. May be repeated.",
    )
    @click.option(
        "--partition-key",
        metavar="KEY",
        help="Keep images with the same value of this metadata key together.",
    )
    @click.option(
        "--replace",
        is_flag=True,
        help="Build a new collection beside the one in use, and switch when it is complete.",
    )
    @click.option(
        "--prune",
        is_flag=True,
        help="Remove the rows of vanished pictures however many there are; without it, a run stops "
        "rather than remove more than a tenth of the rows (and more than ten).",
    )
    @click.option(
        "--bulk-storage",
        metavar="URL",
        help="With --replace on a server: pass the rows as files in the server's own storage "
        "(s3://BUCKET/FOLDER), for millions of images.",
    )
    @wraps(command)
    def wrapped(
        *args: Any,
        index_type: str | None,
        index_param: tuple[str, ...],
        partition_key: str | None,
        replace: bool,
        prune: bool,
        bulk_storage: str | None,
        **kwargs: Any,
    ) -> Any:
        if bulk_storage and not replace:
            raise click.UsageError("--bulk-storage needs --replace.")
        if index_param and not index_type:
            raise click.UsageError("--index-param needs --index-type.")
        kind = IndexKind(index_type, parse_params(index_param)) if index_type else None
        build = BuildOptions(kind, partition_key, replace, bulk_storage, prune)
        return command(*args, build=build, **kwargs)

    return wrapped  # type: ignore[return-value]


def search_options(command: Command) -> Command:
    """Add --search-param, --consistency and --partition, as argument `searching`."""

    @click.option(
        "--search-param",
        multiple=True,
        metavar="KEY=VALUE",
        help="Search parameter of the index, such as ef=64 or nprobe=16. May be repeated.",
    )
    @click.option(
        "--consistency",
        type=click.Choice(CONSISTENCY_LEVELS, case_sensitive=False),
        default="Session",
        show_default=True,
        help="Strong also sees what others wrote a moment ago, and takes up to 0.2 s longer.",
    )
    @click.option(
        "--partition", metavar="VALUE", help="Only images with this value of the partition key."
    )
    @wraps(command)
    def wrapped(
        *args: Any,
        search_param: tuple[str, ...],
        consistency: str,
        partition: str | None,
        **kwargs: Any,
    ) -> Any:
        options = SearchOptions(parse_params(search_param), consistency, partition)
        return command(*args, searching=options, **kwargs)

    return wrapped  # type: ignore[return-value]
