"""Decoding beside the model: in order, bounded, errors in their place."""

from __future__ import annotations

import threading

import pytest

from mmrag.images.streaming import map_ahead


def test_order_and_bound() -> None:
    """However long the source, no more than `ahead` results wait for the consumer."""
    taken = 0
    lock = threading.Lock()

    def source() -> object:
        nonlocal taken
        for i in range(2000):
            with lock:
                taken += 1
            yield i

    for i, (item, result) in enumerate(map_ahead(lambda x: x * x, source(), ahead=10, workers=4)):
        assert (item, result) == (i, i * i)
        assert taken - i <= 11


def test_errors_are_results() -> None:
    results = dict(map_ahead(lambda x: 1 // x, [2, 0, 1], ahead=2, workers=2))
    assert results[2] == 0
    assert results[1] == 1
    assert isinstance(results[0], ZeroDivisionError)


def test_an_abandoned_stream_stops_its_threads() -> None:
    before = threading.active_count()
    stream = map_ahead(lambda x: x, range(10_000), ahead=8, workers=4)
    next(stream)
    stream.close()
    assert threading.active_count() == before


@pytest.mark.parametrize("items", [[], [1]])
def test_short_sources(items: list[int]) -> None:
    assert list(map_ahead(lambda x: x, items, ahead=8)) == [(item, item) for item in items]
