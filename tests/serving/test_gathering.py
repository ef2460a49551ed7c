"""Runs of the model are as large as the company that is there, and nobody waits for pictures that do not come."""

import asyncio
import time

import pytest

from edge_deeplab.serving.gathering import MEMORY_S, Gathering

RUN_S = 0.02
LONG_S = 30.0  # a wait that no test would live through


def gather(*, max_batch=8, wait_s=LONG_S, clock=time.monotonic):
    sizes = []

    async def run(pictures):
        sizes.append(len(pictures))
        await asyncio.sleep(RUN_S)
        return [2 * picture for picture in pictures]

    return Gathering(run, max_batch=max_batch, wait_s=wait_s, clock=clock), sizes


async def call(gathered, numbers):
    return [await gathered(number) for number in numbers]


def test_a_caller_alone_never_waits():
    async def main():
        gathered, sizes = gather()
        assert await call(gathered, range(5)) == [0, 2, 4, 6, 8]
        assert sizes == [1] * 5

    asyncio.run(main())


def test_callers_who_come_together_share_runs_that_start_with_the_last_of_them():
    async def main():
        gathered, sizes = gather()
        callers = (call(gathered, range(k, k + 6)) for k in (0, 10, 20))
        answers = await asyncio.wait_for(asyncio.gather(*callers), LONG_S / 2)
        assert answers == [[2 * number for number in range(k, k + 6)] for k in (0, 10, 20)]
        assert sum(sizes) == 18
        assert sizes.count(3) >= 4

    asyncio.run(main())


def test_no_run_is_larger_than_allowed():
    async def main():
        gathered, sizes = gather(max_batch=2, wait_s=0.01)
        await asyncio.gather(*(call(gathered, range(3)) for _ in range(5)))
        assert sum(sizes) == 15
        assert max(sizes) == 2

    asyncio.run(main())


def test_company_that_left_is_waited_for_no_longer_than_the_wait_and_then_forgotten():
    async def main():
        now_s = [0.0]
        gathered, sizes = gather(wait_s=0.05, clock=lambda: now_s[0])
        await asyncio.gather(*(call(gathered, [k]) for k in range(3)))
        start_s = time.monotonic()
        await gathered(7)  # the clock stands still: two others are still expected
        assert time.monotonic() - start_s >= 0.05
        now_s[0] = MEMORY_S + 0.01
        start_s = time.monotonic()
        await gathered(8)
        assert time.monotonic() - start_s < 0.05
        assert sizes[-2:] == [1, 1]

    asyncio.run(main())


def test_what_a_run_raises_all_of_its_pictures_raise_and_the_next_run_works():
    async def main():
        async def run(pictures):
            await asyncio.sleep(0)
            if 13 in pictures:
                raise ValueError("thirteen")
            return pictures

        gathered = Gathering(run, max_batch=8, wait_s=0.0)
        answers = await asyncio.gather(*(gathered(number) for number in (12, 13)), return_exceptions=True)
        assert all(isinstance(answer, ValueError) for answer in answers)
        assert await gathered(14) == 14

    asyncio.run(main())


def test_who_goes_away_takes_part_in_no_run():
    async def main():
        gathered, sizes = gather(wait_s=0.0)
        first = asyncio.create_task(gathered(1))
        await asyncio.sleep(RUN_S / 4)
        gone, stays = asyncio.create_task(gathered(2)), asyncio.create_task(gathered(3))
        await asyncio.sleep(0)
        gone.cancel()
        assert await first == 2
        assert await stays == 6
        with pytest.raises(asyncio.CancelledError):
            await gone
        assert sizes == [1, 1]

    asyncio.run(main())
