"""A known vector per encoder, kept at its first load and compared at every later one.

The fingerprint identifies the weights; this tells whether the libraries around them still compute
the same.
"""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image

from mmrag import config
from mmrag.encoders.encoder import Encoder, Vectors
from mmrag.errors import CheckpointError, MmragError
from mmrag.system.sqlite import open_cache

# Precisions that share a fingerprint agree to 0.999.
LEAST_COSINE = 0.99
_TEXT = "a red mug with white stripes on a wooden table"
_PACKAGES = ("sentence-transformers", "transformers", "torch")
_TABLE = (
    "CREATE TABLE IF NOT EXISTS known (fingerprint TEXT PRIMARY KEY, name TEXT NOT NULL, "
    "vector BLOB NOT NULL, made TEXT NOT NULL, versions TEXT NOT NULL, cosine REAL)"
)


@dataclass(frozen=True)
class Known:
    """A kept vector: its encoder, when and with what it was made, and the last load's cosine."""

    name: str
    fingerprint: str
    made: str
    versions: str
    cosine: float | None


def compare_known(encoder: Encoder) -> float | None:
    """The cosine of an encoder's known vector and the kept one: 1 the first time.

    None if `MMRAG_HOME` cannot be written: nothing is compared then.

    Raises:
        CheckpointError: they differ.
    """
    vector = _known_vector(encoder)
    found = encoder.info.composed or encoder.info.fingerprint
    row = (found, encoder.info.name, vector.tobytes(), datetime.now(UTC).date().isoformat())
    try:
        with open_cache(_path(), _TABLE) as connection:
            connection.execute(
                "INSERT OR IGNORE INTO known VALUES (?, ?, ?, ?, ?, NULL)", [*row, _versions()]
            )
            [(kept, made, versions)] = connection.execute(
                "SELECT vector, made, versions FROM known WHERE fingerprint = ?", [found]
            )
            cosine = float(np.frombuffer(kept, "<f4") @ vector)
            connection.execute("UPDATE known SET cosine = ? WHERE fingerprint = ?", [cosine, found])
    except MmragError:
        return None
    if cosine < LEAST_COSINE:
        raise CheckpointError(
            f"{encoder.info.name} no longer computes what it did when it was first loaded "
            f"({made}, {versions}): the cosine of its known vector is {cosine:.3f}. Install those "
            f"versions again; or remove {_path()} and index anew with --replace."
        )
    return cosine


def known_vectors() -> list[Known]:
    """All kept vectors, by name."""
    if not _path().is_file():
        return []
    with open_cache(_path(), _TABLE) as connection:
        rows = connection.execute(
            "SELECT name, fingerprint, made, versions, cosine FROM known ORDER BY name, made"
        )
        return [Known(*row) for row in rows]


def _known_vector(encoder: Encoder) -> Vectors:
    """The vector of a picture and a text, or of the text alone: (dim,) little-endian float32."""
    across, down = np.meshgrid(np.arange(96), np.arange(64))
    picture = Image.fromarray(
        np.stack([across * 2, down * 3, (across + down) % 64 * 4], axis=-1).astype(np.uint8)
    )
    try:
        [vector] = encoder.encode([picture], [_TEXT], query=True)
    except MmragError:
        # It takes no pictures.
        [vector] = encoder.encode(texts=[_TEXT], query=True)
    return np.ascontiguousarray(vector, "<f4")


def _path() -> Path:
    return config.home() / "known_vectors.sqlite"


def _versions() -> str:
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES)
