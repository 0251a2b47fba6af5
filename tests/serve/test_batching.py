"""Batches: who is in one, and what happens to the others when one fails or leaves."""

import asyncio
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from served import run

from vlseg.serve.batching import Batcher, Bounds


def batcher(batches: list[list[int]], bounds: Bounds, **more: object) -> Batcher[int, int]:
    def squares(items: Sequence[int]) -> list[int]:
        batches.append(list(items))
        if -1 in items:
            raise ValueError("minus one")
        return [item**2 for item in items]

    return Batcher(squares, ThreadPoolExecutor(1), bounds, **more)


def test_those_who_wait_go_together_in_order() -> None:
    batches: list[list[int]] = []

    async def asked() -> list[int]:
        ask = batcher(batches, Bounds(rows=4, pixels=100), crowd=lambda: 9)
        return await asyncio.gather(*(ask(item, rows=1, pixels=10) for item in range(10)))

    assert run(asked()) == [item**2 for item in range(10)]
    assert batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


@pytest.mark.parametrize(("rows", "pixels"), [(3, 1), (1, 60)])
def test_rows_and_pixels_bound_a_batch_but_one_alone_may_be_larger(rows: int, pixels: int) -> None:
    batches: list[list[int]] = []

    async def asked() -> list[int]:
        ask = batcher(batches, Bounds(rows=6, pixels=120), crowd=lambda: 9)
        large = ask(7, rows=9, pixels=500)
        return await asyncio.gather(large, *(ask(item, rows=rows, pixels=pixels) for item in range(4)))

    assert run(asked()) == [49, 0, 1, 4, 9]
    assert batches == [[7], [0, 1], [2, 3]]


@pytest.mark.parametrize(
    ("seconds", "beside", "largest"), [(0.25, 0.0, 2), (0.05, 0.0, 1), (9.0, 0.0, 8), (0.05, 0.37, 3)]
)
def test_a_batch_is_no_longer_than_it_should_take(seconds: float, beside: float, largest: int) -> None:
    """By what a row took in the first batch, of which nothing is known; or than what takes turns with it."""
    batches: list[int] = []

    def slow(items: Sequence[int]) -> list[int]:
        batches.append(len(items))
        time.sleep(0.11 * len(items))
        return list(items)

    async def asked() -> list[int]:
        bounds = Bounds(rows=8, pixels=100, seconds=seconds)
        ask = Batcher(slow, ThreadPoolExecutor(1), bounds, crowd=lambda: 9, beside=lambda: beside)
        first = await ask(0, rows=1, pixels=1)
        return [first, *await asyncio.gather(*(ask(item, rows=1, pixels=1) for item in range(1, 9)))]

    assert run(asked()) == list(range(9))
    assert batches[0] == 1
    assert max(batches[1:]) == largest


def test_a_single_request_waits_for_nobody() -> None:
    async def asked() -> float:
        ask = batcher([], Bounds(rows=4, pixels=100, window=5.0))
        begin = asyncio.get_running_loop().time()
        await ask(3, rows=1, pixels=1)
        return asyncio.get_running_loop().time() - begin

    assert run(asked()) < 1


def test_one_that_fails_fails_alone() -> None:
    batches: list[list[int]] = []

    async def asked() -> list[object]:
        ask = batcher(batches, Bounds(rows=4, pixels=100), crowd=lambda: 9)
        items = (ask(item, rows=1, pixels=1) for item in (2, -1, 3))
        return await asyncio.gather(*items, return_exceptions=True)

    first, error, last = run(asked())
    assert (first, last) == (4, 9)
    assert isinstance(error, ValueError)
    assert batches == [[2, -1, 3], [2], [-1], [3]]


def test_one_that_leaves_is_not_computed_and_holds_nobody_up() -> None:
    batches: list[list[int]] = []
    release = threading.Event()

    def slow(items: Sequence[int]) -> list[int]:
        batches.append(list(items))
        release.wait(5)
        return list(items)

    async def asked() -> list[object]:
        ask = Batcher(slow, ThreadPoolExecutor(1), Bounds(rows=4, pixels=100))
        first = asyncio.create_task(ask(1, rows=1, pixels=1))
        await asyncio.sleep(0.05)
        others = [asyncio.create_task(ask(item, rows=1, pixels=1)) for item in (2, 3)]
        await asyncio.sleep(0)
        others[0].cancel()
        first.cancel()  # its batch is under way
        release.set()
        return await asyncio.gather(first, *others, return_exceptions=True)

    left, gone, answered = run(asked())
    assert isinstance(left, asyncio.CancelledError)
    assert isinstance(gone, asyncio.CancelledError)
    assert answered == 3
    assert batches == [[1], [3]]
