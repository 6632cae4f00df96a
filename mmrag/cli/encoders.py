"""`encoders` and `download`."""

from __future__ import annotations

from dataclasses import asdict

import click

from mmrag.cli.options import json_option, print_json
from mmrag.encoders import default_encoder_name, download_encoder, list_encoders


@click.command()
@click.option(
    "--search",
    metavar="TEXT",
    help="Only encoders whose name contains TEXT; also searches all that open_clip publishes.",
)
@json_option
def encoders(search: str | None, as_json: bool) -> None:
    """List the encoders: dimension, licence, size, and whether their weights are here.

    \b
    Example:
      mmrag encoders
      mmrag encoders --search siglip2
    """
    known = list_encoders(search)
    if as_json:
        print_json([{**asdict(one), "gigabytes": round(one.gigabytes, 2)} for one in known])
        return
    for one in known:
        default = " (default)" if one.name == default_encoder_name() else ""
        facts = [f"{one.dim} dimensions"]
        if one.parameters:
            facts.append(f"{one.parameters / 1e6:.0f} M parameters ({one.gigabytes:.1f} GB)")
        facts.append(one.licence + (", not for commercial use" if one.non_commercial else ""))
        facts.append("here" if one.available else f"not here: {one.how_to_get}")
        click.echo(f"{one.name}{default}: {', '.join(facts)}")
    if search is None:
        click.echo("clip:NAME: every CLIP that open_clip takes, e.g. clip:ViT-B-32/openai or")
        click.echo("  clip:hf-hub:OWNER/NAME; `mmrag encoders --search TEXT` lists them")
        click.echo(
            "api:PROVIDER/MODEL: a hosted one of cohere, voyage, gemini, jina, vllm, infinity"
        )
        click.echo("st:NAME_OR_FOLDER: every model of sentence-transformers")
    elif not known:
        click.echo(f"No encoder's name contains {search!r}.", err=True)


@click.command()
@click.argument("name")
@click.option(
    "--no-load", is_flag=True, help="Do not load it afterwards, which may need much memory."
)
@json_option
def download(name: str, no_load: bool, as_json: bool) -> None:
    """Fetch everything NAME needs into MMRAG_HOME, and load it once offline.

    An interrupted download resumes where it stopped.

    \b
    Example:
      mmrag download visualized-bge-base
      mmrag download clip:ViT-B-16-SigLIP2/webli
      mmrag download ce:Qwen/Qwen3-VL-Reranker-2B
    """
    from mmrag.cli.progress import progress_bar
    from mmrag.rerank import download_reranker, has_weights

    is_reranker = has_weights(name)
    fetch = download_reranker if is_reranker else download_encoder
    files = fetch(name, progress_bar, prove=not no_load)
    if as_json:
        print_json({"name": name, "files": [str(file) for file in files]})
    else:
        option = "--rerank" if is_reranker else "--encoder"
        loads = "" if no_load else " and loads without network"
        click.echo(f"{name} is here{loads}; use it with {option} {name}.")
