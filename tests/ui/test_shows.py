"""What the pages begin with: photographs where they are indexed, drawings elsewhere."""

from __future__ import annotations

from unittest.mock import Mock

from mmrag.demo import DRAWINGS, PHOTOGRAPHS
from mmrag.ui import shows


def found(**encoders: str) -> dict[str, Mock]:
    """Collections by name: the eval set to its encoders, "a b"."""
    return {
        f"eval_{name}_{number:012x}": Mock(encoder=encoder)
        for name, several in encoders.items()
        for number, encoder in enumerate(several.split())
    }


def test_photographs_come_before_drawings() -> None:
    both = found(catalogue="demo demo-clip", grocery="photos photos-small", mine="photos")
    assert shows.first(both) is PHOTOGRAPHS
    own = shows.collections_of(DRAWINGS, both)
    assert {both[name].encoder for name in own.values()} == {"demo", "demo-clip"}
    assert all("catalogue" in name for name in own.values())


def test_a_show_needs_both_of_its_encoders() -> None:
    half = found(catalogue="demo demo-clip", grocery="photos demo-clip")
    assert shows.first(half) is DRAWINGS
    assert shows.first(found(mine="photos photos-small")) is None
    assert shows.of_set("grocery") is PHOTOGRAPHS
    assert shows.of_set("mine") is None
