"""Pictures of one size that share a run of the model: as many as come together lately, not as many as fit.

gathered = Gathering(run, max_batch=8, wait_s=0.01)      # run: a list of pictures to a list of results, async
result = await gathered(picture)
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

MEMORY_S = 0.3


class Gathering:
    """A queue before the model; one run at a time. While it runs, what comes waits together for the next one.

    A run counts as full with as many pictures as were here at once within MEMORY_S, and starts with the last of them:
    three callers share runs of three, and a caller that is alone never waits. Ray Serve's own batching does not know
    who is there and holds every run back until it has max_batch pictures or the wait is over.

    Args:
        run: of a list of pictures; gives one result for each, in order. What it raises, all of them raise.
        max_batch: pictures that a run takes at most.
        wait_s: a run that finds the model idle waits so long for its company.
        clock: monotonic seconds.
    """

    def __init__(
        self, run: Callable[[list[Any]], Awaitable[list[Any]]], *, max_batch: int, wait_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._run, self._max_batch, self._wait_s, self._clock = run, max_batch, wait_s, clock
        self._waiting: deque[tuple[Any, asyncio.Future[Any]]] = deque()
        self._present = self._company = 0
        self._company_s = clock()
        self._came = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    async def __call__(self, picture: Any) -> Any:
        """The picture's result. One that is cancelled while it waits takes part in no run."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._present += 1
        try:
            self._note_company()
            self._waiting.append((picture, answer))
            self._came.set()
            if self._running is None:
                self._running = asyncio.create_task(self._work())
            return await answer
        finally:
            self._present -= 1

    def _note_company(self) -> None:
        now_s = self._clock()
        if self._present >= self._company or now_s - self._company_s > MEMORY_S:
            self._company, self._company_s = self._present, now_s

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._wait_for_company()
                await self._run_once([self._waiting.popleft() for _ in range(min(self._max_batch, len(self._waiting)))])
        finally:
            self._running = None

    async def _wait_for_company(self) -> None:
        try:
            async with asyncio.timeout(self._wait_s):
                while len(self._waiting) < min(self._company, self._max_batch):
                    self._came.clear()
                    await self._came.wait()
        except TimeoutError:
            return

    async def _run_once(self, members: list[tuple[Any, asyncio.Future[Any]]]) -> None:
        members = [(picture, answer) for picture, answer in members if not answer.done()]
        if not members:
            return
        try:
            results = await self._run([picture for picture, _ in members])
        except Exception as error:
            for _, answer in members:
                if not answer.done():
                    answer.set_exception(error)
            return
        for (_, answer), result in zip(members, results, strict=True):
            if not answer.done():
                answer.set_result(result)
