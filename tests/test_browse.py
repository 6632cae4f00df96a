"""Looking through a collection: words, labels and expressions."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from mmrag import ImageIndex
from mmrag.errors import IndexStoreError, MmragError
from mmrag.index.browse import indexed_folder, labels, matching_ids, overview, read_images

from .vectors import made_up, unit

IMAGES = {
    "fruit/apple/1.jpg": ("A Granny Smith apple", {"price": 2.5, "tags": ["green", "sour"]}),
    "fruit/apple/2.jpg": ("A red apple", {"price": 3, "tags": []}),
    "fruit/pear.jpg": ("", {"origin": {"land": "Österreich"}}),
    "mug.jpg": ("50% off_ \\ 'or' \"1==1\" apple pie mug", {"price": 2.5}),
}


@pytest.fixture
def index(milvus_uri: str) -> Iterator[ImageIndex]:
    with ImageIndex.open(milvus_uri, f"test_{uuid.uuid4().hex[:8]}", made_up(8)) as opened:
        opened.create("image")
        opened.write(
            [
                {
                    "image_id": image_id,
                    "content_hash": "",
                    "row_hash": "",
                    "path": f"/photos/{image_id}",
                    "text": text,
                    "metadata": metadata,
                    "vector": vector.tolist(),
                }
                for (image_id, (text, metadata)), vector in zip(
                    reversed(IMAGES.items()), unit(4, 8), strict=True
                )
            ]
        )
        yield opened
        opened.drop()


def test_all_words_have_to_occur_anywhere(index: ImageIndex) -> None:
    everything = tuple(sorted(IMAGES))
    assert matching_ids(index) == everything
    assert matching_ids(index, "  ") == everything
    assert matching_ids(index, "APPLE") == ("fruit/apple/1.jpg", "fruit/apple/2.jpg", "mug.jpg")
    assert matching_ids(index, "apple sour") == ("fruit/apple/1.jpg",)
    assert matching_ids(index, "pear österreich") == ("fruit/pear.jpg",)
    assert matching_ids(index, "2.5 mug") == ("mug.jpg",)
    assert matching_ids(index, "apple banana") == ()


@pytest.mark.parametrize("words", ["%", "_", "\\", "'or'", '"1==1"', "50% off_"])
def test_words_are_never_an_expression(index: ImageIndex, words: str) -> None:
    expected = tuple(
        sorted(i for i, (text, _) in IMAGES.items() if all(w in i + text for w in words.split()))
    )
    assert matching_ids(index, words) == expected
    assert expected in (("mug.jpg",), ())


def test_labels_narrow_down(index: ImageIndex) -> None:
    found = overview(index)
    assert found.image_ids == tuple(sorted(IMAGES))
    assert found.facets == {"price": {"2.5": 2, "3": 1}}
    assert overview(index, max_values=1).facets == {}
    assert matching_ids(index, where={"price": ["2.5"]}) == ("fruit/apple/1.jpg", "mug.jpg")
    assert matching_ids(index, where={"price": ["2.5", "3"], "folder 2": ["apple"]}) == (
        "fruit/apple/1.jpg",
        "fruit/apple/2.jpg",
    )
    assert matching_ids(index, "red", {"price": ["2.5"]}) == ()
    assert labels("a/b/c/d/e.jpg", {"x": 1, "y": [2], "z": None, "folder 1": "own"}) == {
        "folder 1": "own",
        "folder 2": "b",
        "folder 3": "c",
        "x": "1",
    }


def test_expressions_are_for_experts(index: ImageIndex) -> None:
    both = 'metadata["price"] > 2.6 or image_id like "mug%"'
    assert matching_ids(index, filter=both) == ("fruit/apple/2.jpg", "mug.jpg")
    assert matching_ids(index, "red", filter=both) == ("fruit/apple/2.jpg",)
    with pytest.raises(IndexStoreError, match=r"Filter 'metadata\['"):
        matching_ids(index, filter="metadata[")
    with pytest.raises(MmragError, match="control characters"):
        matching_ids(index, filter="price\n> 1")


def test_images_come_in_the_order_asked_for(index: ImageIndex) -> None:
    images = read_images(index, ["mug.jpg", "gone.jpg", "fruit/apple/2.jpg"])
    assert [image.image_id for image in images] == ["mug.jpg", "fruit/apple/2.jpg"]
    assert images[1].text == "A red apple"
    assert images[1].metadata == {"price": 3, "tags": []}
    assert indexed_folder(index) == "/photos"
