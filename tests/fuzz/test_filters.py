# ruff: noqa: E501
"""Filters, on a real store: an expression that Milvus refuses is a sentence, and changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrag import ImageIndex, open_gallery
from mmrag.encoders.encoder import Encoder
from mmrag.index.browse import matching_ids

from .cases import ODD_TEXTS, case, fuzz

PIECES = st.sampled_from(
    [
        'metadata["price"]',
        "metadata",
        "text",
        "path",
        "key",
        "vector",
        "nothing",
        "<",
        ">=",
        "==",
        "!=",
        "in",
        "like",
        "not",
        "and",
        "or",
        "(",
        ")",
        "[",
        "]",
        "3",
        "1e400",
        "-",
        '"%"',
        "'x'",
        '"',
        "\\",
        "null",
        "true",
        "json_contains",
        "exists",
        "{x}",
        ";",
        "--",
        "drop",
    ]
)
EXPRESSIONS = st.lists(PIECES, max_size=8).map(" ".join) | ODD_TEXTS.map(lambda text: text[:2000])


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, tiny: Encoder) -> Iterator[ImageIndex]:
    from PIL import Image

    root = tmp_path_factory.mktemp("pictures")
    for name, colour in [("a.png", "red"), ('b" or key != ".png', "blue")]:
        Image.new("RGB", (9, 9), colour).save(root / name)
    (root / "m.json").write_text('[{"image": "a.png", "price": 3, "text": "a mug"}]')
    with ImageIndex.open(root / "store.db", encoder=tiny) as opened:
        opened.add(open_gallery(root, root / "m.json"))
        yield opened


def test_expressions(index: ImageIndex) -> None:
    vector = np.zeros((1, index.info().dim), np.float32)
    vector[0, 0] = 1
    everything = matching_ids(index)

    @fuzz(250)
    @given(EXPRESSIONS)
    def run(expression: str) -> None:
        with case(__file__):
            (rows,) = index.search(vector, 5, expression)
            assert {row["image_id"] for row in rows} <= set(everything)
        with case(__file__):
            assert set(matching_ids(index, filter=expression)) <= set(everything)

    run()
    assert matching_ids(index) == everything


def test_words_and_ids_are_no_expressions(index: ImageIndex, tmp_path: Path) -> None:
    everything = matching_ids(index)

    @fuzz(100)
    @given(ODD_TEXTS | EXPRESSIONS)
    def run(text: str) -> None:
        with case(__file__):
            assert set(matching_ids(index, words=text)) <= set(everything)
            found = index.get([text], ["path"]) if _is_text(text) else {}
            assert set(found) <= {text}
        with case(__file__):
            if _is_text(text) and text not in everything:
                index.delete([text])

    run()
    assert matching_ids(index) == everything


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
