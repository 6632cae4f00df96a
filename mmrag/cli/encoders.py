"""`encoders` and `download`."""

from __future__ import annotations

import sys
from functools import partial

import click

from mmrag.cli.options import json_option, print_json
from mmrag.encoders import default_encoder_name, download_encoder, list_encoders


@click.command()
@json_option
def encoders(as_json: bool) -> None:
    """List the encoders and whether their weights are here.

    \b
    Example:
      mmrag encoders
    """
    known = list_encoders()
    if as_json:
        print_json(known)
        return
    for description in known:
        state = "here" if description.available else f"not here: {description.how_to_get}"
        default = " (default)" if description.name == default_encoder_name() else ""
        click.echo(f"{description.name}{default}: {description.dim} dimensions, {state}")
    click.echo("clip:ARCH/PRETRAINED: every CLIP that open_clip knows, e.g. clip:ViT-B-32/openai")


@click.command()
@click.argument("name")
@json_option
def download(name: str, as_json: bool) -> None:
    """Fetch the official weights of NAME into MMRAG_HOME; go on where a download broke off.

    \b
    Example:
      mmrag download visualized-bge-base
    """
    from tqdm import tqdm

    files = download_encoder(name, partial(tqdm, file=sys.stderr))
    if as_json:
        print_json({"name": name, "files": [str(file) for file in files]})
    else:
        click.echo(f"{name} is here; use it with --encoder {name}.")
