"""Work on other threads, a bounded number of items ahead of its consumer."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from mmrag import config

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_ahead(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    ahead: int,
    workers: int | None = None,
) -> Iterator[tuple[Item, Result | Exception]]:
    """Map `function` over `items` on threads, in order, at most `ahead` items beyond the consumer.

    Threads suit decoding: Pillow and torch both release the interpreter lock while they work. An
    exception of `function` is yielded in place of the result.
    """
    workers = workers or config.decode_workers()
    ahead = max(ahead, workers)
    queue: deque[tuple[Item, Future[Result]]] = deque()
    source = iter(items)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="mmrag-decode")
    try:
        while True:
            while len(queue) < ahead:
                try:
                    item = next(source)
                except StopIteration:
                    break
                queue.append((item, pool.submit(function, item)))
            if not queue:
                return
            item, future = queue.popleft()
            error = future.exception()
            if error is None:
                yield item, future.result()
            elif isinstance(error, Exception):
                yield item, error
            else:
                raise error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
