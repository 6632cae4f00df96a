"""Waiting for the model: in order, and with a word about it."""

from __future__ import annotations

import threading

import pytest

from mmrag.ui.fair_lock import Turns
from tests.helpers import wait_until


def test_turns_come_in_the_order_of_asking_and_say_how_many_are_before() -> None:
    turns = Turns()
    order: list[int] = []
    said: dict[int, list[int]] = {1: [], 2: [], 3: []}
    go_on = threading.Semaphore(0)

    def visit(number: int) -> None:
        with turns.turn(said[number].append):
            order.append(number)
            assert go_on.acquire(timeout=20)

    threads = []
    with turns.turn():
        for number in said:
            threads.append(threading.Thread(target=visit, args=(number,)))
            threads[-1].start()
            assert wait_until(lambda n=number: turns.waiting == n)
        assert wait_until(lambda: all(said.values()))
    assert wait_until(lambda: said[3][-1] == 2)
    for _ in threads:
        go_on.release()
    for thread in threads:
        thread.join(20)
    assert order == [1, 2, 3]
    assert said[1] == [1]
    assert said[3][0] == 3
    assert sorted(said[3], reverse=True) == said[3]
    assert turns.waiting == 0


def test_nothing_is_said_to_who_does_not_wait() -> None:
    said: list[int] = []
    turns = Turns()
    with turns.turn(said.append):
        pass
    assert said == []


def test_who_leaves_gives_up_the_place() -> None:
    turns = Turns()
    inside = threading.Event()
    leave = threading.Event()

    def hold() -> None:
        with turns.turn():
            inside.set()
            assert leave.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    assert inside.wait(20)

    def go_away(_: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError), turns.turn(go_away):
        pytest.fail("it was not this visitor's turn")
    assert turns.waiting == 0
    leave.set()
    with turns.turn():
        holder.join(20)
