"""Many requests side by side, on a separate event loop beside the caller's thread."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, TypeVar

from mmrag.errors import BudgetReached, Cancelled

Client = TypeVar("Client")
Result = TypeVar("Result")


def run_beside(work: Callable[[Callable[[Result], None]], Awaitable[None]]) -> Generator[Result]:
    """Run a coroutine and yield its results as it hands them over.

    This works even if the calling thread already runs an event loop, as in notebooks. Leaving the
    iteration, even by an interrupt, cancels what is under way.

    Args:
        work: called with the function that takes each result.

    Raises:
        Exception: whatever the coroutine raised.
    """
    # Results, and last the end: (True, None or the exception).
    outcomes: queue.Queue[tuple[bool, Any]] = queue.Queue()

    async def begin() -> None:
        await work(lambda thing: outcomes.put((False, thing)))

    loop = asyncio.new_event_loop()
    main = loop.create_task(begin())
    thread = threading.Thread(target=_run, args=(loop, main, outcomes), name="mmrag-requests")
    thread.start()
    try:
        while True:
            over, outcome = outcomes.get()
            if not over:
                yield outcome
            elif outcome is None:
                return
            else:
                raise outcome
    finally:
        if not loop.is_closed():
            # The loop may close between the check and the call.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(main.cancel)
        thread.join()


def run_jobs(
    jobs: Sequence[Callable[[Client], Awaitable[Result]]],
    open_client: Callable[[], AbstractAsyncContextManager[Client]],
    concurrency: int,
) -> Generator[tuple[int, Result]]:
    """Run jobs, at most `concurrency` at once, and yield results as they become ready.

    Yields:
        (position, result).

    Raises:
        Exception: the first that a job raised. After `BudgetReached`, the jobs under way, which are
            paid for, are finished and yielded first.
    """
    return run_beside(lambda put: _main(jobs, open_client, concurrency, put))


def _run(
    loop: asyncio.AbstractEventLoop,
    main: asyncio.Task[None],
    outcomes: queue.Queue[tuple[bool, Any]],
) -> None:
    end: BaseException | None = None
    try:
        loop.run_until_complete(main)
    except asyncio.CancelledError:
        end = Cancelled("Stopped.")
    # Whatever it is, the caller's thread raises it.
    except BaseException as error:  # noqa: BLE001
        end = error
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        outcomes.put((True, end))


async def _main(
    jobs: Sequence[Callable[[Client], Awaitable[Result]]],
    open_client: Callable[[], AbstractAsyncContextManager[Client]],
    concurrency: int,
    put: Callable[[tuple[int, Result]], None],
) -> None:
    waiting = iter(enumerate(jobs))
    reached: list[BudgetReached] = []

    async def work(client: Client) -> None:
        for position, job in waiting:
            try:
                put((position, await job(client)))
            except BudgetReached as error:
                reached.append(error)
            if reached:
                return

    async with open_client() as client:
        workers = [asyncio.create_task(work(client)) for _ in range(min(concurrency, len(jobs)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
    if reached:
        raise reached[0]
