"""The options of `search` and `ask` that make a query."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from mmrag.cli.options import printable

_OPTIONS = [
    click.option(
        "--image",
        "pictures",
        multiple=True,
        metavar="P",
        help="The query picture. Repeat it for several pictures of one thing.",
    ),
    click.option("--text", metavar="T", help="The instruction or description."),
    click.option(
        "--query-template",
        metavar="T",
        help='Template around --text, which replaces {text}: "Find a picture that {text}."',
    ),
    click.option("--without-text", metavar="T", help="What is not wanted, in words."),
    click.option("--without-image", metavar="P", help="What is not wanted, as a picture."),
    click.option(
        "--without-weight",
        type=click.FloatRange(0),
        default=0.5,
        show_default=True,
        metavar="W",
        help="How much of what is not wanted is subtracted from the query's vector.",
    ),
]


def query_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --image, --text and --without-…; the command gets them as one `query: Query`."""

    @functools.wraps(command)
    def with_query(
        *args: Any,
        pictures: tuple[str, ...],
        text: str | None,
        query_template: str | None,
        without_text: str | None,
        without_image: str | None,
        without_weight: float,
        **kwargs: Any,
    ) -> Any:
        from mmrag.types import Query

        images = tuple(filter(None, pictures))
        if not images and not text:
            raise click.UsageError("Give --image, --text, or both, to say what to find.")
        without = None
        if without_text or without_image:
            without = Query(without_image or None, without_text)
        if query_template is not None:
            from mmrag.eval_sets.eval_set import EvalQuery
            from mmrag.eval_sets.templates import templated

            [asked] = templated([EvalQuery("of this command", None, text)], query_template)
            text = asked.text
            click.echo(f"Asked: {printable(text or '')}", err=True)
        query = Query(text=text, images=images, without=without, without_weight=without_weight)
        return command(*args, query=query, **kwargs)

    decorated: Callable[..., Any] = with_query
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated
