"""A limit on what requests may cost together, kept before they are sent."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field

from mmrag.errors import BudgetReached, MmragError


@dataclass
class Budget:
    """US dollars that may be spent; None is no limit.

    A request's maximum cost is reserved before it is sent, then replaced by the actual cost. An
    evaluation's limit is the run's, over all commands that resume it (`carry_over`).
    """

    limit: float | None = None
    spent: float = 0.0
    reserved: float = field(default=0.0, init=False)
    _carried: set[str] = field(default_factory=set, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.limit is not None and not (math.isfinite(self.limit) and self.limit >= 0):
            raise MmragError(f"A cost limit is zero or more US dollars, not {self.limit}.")

    def reserve(self, most: float) -> None:
        """Set `most` US dollars aside.

        Raises:
            BudgetReached: the limit could be exceeded.
        """
        if not self._fits(most + self.reserved):
            raise BudgetReached(
                f"The limit of ${self.limit:g} is reached: ${self.spent:.4f} are spent, and the "
                f"next request can cost up to ${most:.4f}. What is finished is kept; to go on, "
                "give the same command a higher --max-cost."
            )
        self.reserved += most

    async def reserve_in_turn(self, most: float) -> None:
        """`reserve`, but wait while only requests under way on this event loop are in the way."""
        while self._fits(most) and not self._fits(most + self.reserved):
            await asyncio.sleep(0.01)
        self.reserve(most)

    def carry_over(self, work: str, spent: float) -> None:
        """Count what other commands spent on the same piece of work, once for each piece."""
        if work not in self._carried:
            self._carried.add(work)
            self.spent += spent

    def settle(self, reserved: float, spent: float) -> None:
        """Release a reservation and book the amount spent."""
        self.reserved = max(0.0, self.reserved - reserved)
        self.spent += spent

    def _fits(self, more: float) -> bool:
        # A little slack, so that rounding of sums does not stop a request.
        return self.limit is None or self.spent + more <= self.limit + 1e-9
