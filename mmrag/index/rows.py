"""From images to rows: read, hash, and encode what is new, alike in one process and in many."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from mmrag.encoders.encoder import Encoder, Prepared, Vectors
from mmrag.errors import ImageError, NotStorableError
from mmrag.galleries.gallery import Gallery
from mmrag.images.decode import read_bytes
from mmrag.index.schema import MAX_ID, MAX_METADATA, MAX_PATH, MAX_TEXT
from mmrag.types import GalleryImage


@dataclass
class Candidate:
    """An image in progress; its hashes are known once its file has been read.

    The first half of `row_hash` tells whether a stored vector is still right, the second whether
    the rest of the row is. `looks` names what is odd about a decoded picture.
    """

    image: GalleryImage
    content_hash: str = ""
    row_hash: str = ""
    looks: tuple[str, ...] = ()


# A candidate with its vector (dim,), the error that excluded it, or None if its vector is known.
Outcome = tuple[Candidate, Vectors | ImageError | None]


class Embedder(Protocol):
    """An embedder of images: this process, or workers elsewhere."""

    def __call__(
        self, images: Sequence[GalleryImage], held: Mapping[str, str]
    ) -> Generator[Outcome]:
        """Outcomes in any order; `held` maps image ids to the row hashes of known vectors."""


@dataclass(frozen=True)
class Source:
    """Images and the source of their vectors; `embed` says what is embedded.

    Without an `embedder`, `encoder` embeds here; with one, `encoder` only knows its `info`.
    """

    gallery: Gallery
    encoder: Encoder
    embed: str
    embedder: Embedder | None = None


def embed_images(
    encoder: Encoder,
    images: Iterable[GalleryImage],
    held: Mapping[str, str],
    *,
    embed: str = "image",
    batch_size: int | None = None,
    workers: int | None = None,
    read: Callable[[GalleryImage], bytes] | None = None,
) -> Generator[Outcome]:
    """Encode the `images` whose vectors are not known, streaming in bounded memory.

    Args:
        encoder: computes the vectors.
        images: consumed as the model keeps up.
        held: image id to row hash, of known vectors.
        embed: what becomes the vector: "image", "text" or "both" composed.
        batch_size: images per forward pass; default: what suits the device.
        workers: decoding threads; default `MMRAG_DECODE_WORKERS`.
        read: gives an image's bytes; default: those of its file.
    """
    fetch = read or (lambda image: read_bytes(image.path))

    def load(candidate: Candidate) -> Prepared | None:
        image = candidate.image
        data = _read(candidate, embed, fetch)
        if held.get(image.image_id, "")[:32] == candidate.row_hash[:32]:
            return None
        prepared = encoder.prepare(
            None if embed == "text" else data, None if embed == "image" else image.text or None
        )
        candidate.looks = prepared.looks
        return prepared

    candidates = (Candidate(image) for image in images)
    yield from encoder.encode_stream(candidates, load, batch_size, workers)


def row_hash(embed: str, content_hash: str, path: str, text: str, metadata: str) -> str:
    """64 hexadecimal digits; `metadata` as `metadata_json` writes it."""
    picture = content_hash if embed != "text" else ""
    words = text if embed != "image" else ""
    return _digest([embed, picture, words]) + _digest([content_hash, path, text, metadata])


def metadata_json(metadata: dict[str, Any]) -> str:
    """Metadata as JSON, by the driver's own encoder: what it refuses cannot be stored."""
    return orjson.dumps(metadata, option=orjson.OPT_SORT_KEYS).decode()


def make_row(candidate: Candidate, vector: list[float]) -> dict[str, Any]:
    """A row as `ImageIndex.write` takes it."""
    image = candidate.image
    return {
        "image_id": image.image_id,
        "content_hash": candidate.content_hash,
        "row_hash": candidate.row_hash,
        "path": image.path,
        "text": image.text,
        "metadata": image.metadata,
        "vector": vector,
    }


def check_storable(image: GalleryImage, embed: str) -> str:
    """The metadata as JSON; NotStorableError if a row cannot hold it, or for nothing to embed."""
    if embed == "text" and not image.text.strip():
        raise NotStorableError("has no text to embed")
    try:
        metadata = metadata_json(image.metadata)
        sizes = {
            "id": (len(image.image_id.encode()), MAX_ID),
            "path": (len(image.path.encode()), MAX_PATH),
            "text": (len(image.text.encode()), MAX_TEXT),
            "metadata": (len(metadata.encode()), MAX_METADATA),
        }
    except (UnicodeEncodeError, TypeError, ValueError) as error:
        raise NotStorableError(f"its text or metadata cannot be stored: {error}") from error
    for name, (size, limit) in sizes.items():
        if size > limit:
            raise NotStorableError(f"its {name} is longer than {limit:,} bytes")
    return metadata


def _read(candidate: Candidate, embed: str, fetch: Callable[[GalleryImage], bytes]) -> bytes:
    """Read the image's bytes and set `candidate`'s hashes; ImageError if it cannot be stored."""
    image = candidate.image
    metadata = check_storable(image, embed)
    data = fetch(image)
    candidate.content_hash = hashlib.sha256(data).hexdigest()
    candidate.row_hash = row_hash(embed, candidate.content_hash, image.path, image.text, metadata)
    return data


def _digest(parts: list[str]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
