"""Work of several requests done together: what arrives while a model computes goes into its next batch."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Bounds:
    """Of a batch, unless one item alone is beyond them: what it holds at most.

    Attributes:
        rows: at most.
        pixels: at most.
        window: seconds that a batch waits for others, which it does only while it has fewer items than are open.
        seconds: that it should take, by what a row took before. Who asks for little does not wait on the same thread
            for a large batch of others; where a row is slow there is next to nothing to win by batches.
    """

    rows: int
    pixels: int
    window: float = 0.003
    seconds: float = 0.5


@dataclass
class _Waiting(Generic[Item, Result]):
    item: Item
    rows: int
    pixels: int
    answer: "asyncio.Future[Result]"


@dataclass
class Batcher(Generic[Item, Result]):
    """Gives single items, gets results of batches. All methods are for the event loop's thread.

    Attributes:
        run: results of a batch, in order; called on the worker.
        worker: of one thread, which may serve several batchers.
        bounds: of a batch.
        crowd: how many requests are open.
        seen: told how many items a batch had.
        beside: seconds of the least work of another batcher on the worker. Both take turns, so a batch may be as long
            as that: else the one whose items are small would fall behind.
        row_seconds: what a row took lately; 0 while nothing is known.
    """

    run: Callable[[Sequence[Item]], Sequence[Result]]
    worker: Executor
    bounds: Bounds
    crowd: Callable[[], int] = lambda: 1
    seen: Callable[[int], None] = lambda count: None
    beside: Callable[[], float] = lambda: 0.0
    row_seconds: float = 0.0
    _waiting: "deque[_Waiting[Item, Result]]" = field(default_factory=deque)
    _task: "asyncio.Task[None] | None" = None

    @property
    def ahead(self) -> float:
        """Seconds of work that waits, by what a row took before; 0 while nothing is known."""
        return self.row_seconds * sum(one.rows for one in self._waiting if not one.answer.done())

    async def __call__(self, item: Item, *, rows: int, pixels: int) -> Result:
        """The item's result; cancelled before its batch began, it takes part in none.

        Raises:
            Exception: what `run` raised for this item alone.
        """
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(item, rows, pixels, answer))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        return await answer

    async def _work(self) -> None:
        while self._waiting:
            if self.crowd() > len(self._waiting) and len(self._waiting) < self.bounds.rows:
                await asyncio.sleep(self.bounds.window)
            batch = self._next()
            if batch:
                self.seen(len(batch))
                await self._answer(batch)

    def _next(self) -> "list[_Waiting[Item, Result]]":
        batch: list[_Waiting[Item, Result]] = []
        rows = pixels = 0
        longest = max(self.bounds.seconds, self.beside())
        while self._waiting:
            first = self._waiting[0]
            if first.answer.done():  # whoever asked has left
                self._waiting.popleft()
                continue
            rows, pixels = rows + first.rows, pixels + first.pixels
            slow = rows * self.row_seconds > longest
            if batch and (slow or rows > self.bounds.rows or pixels > self.bounds.pixels):
                break
            batch.append(self._waiting.popleft())
        return batch

    async def _answer(self, batch: "list[_Waiting[Item, Result]]") -> None:
        loop = asyncio.get_running_loop()
        try:
            results, seconds = await loop.run_in_executor(self.worker, self._timed, [one.item for one in batch])
        except Exception as error:
            if len(batch) > 1:  # which one it was, and the answers to the others
                for one in batch:
                    if not one.answer.done():
                        await self._answer([one])
            elif not batch[0].answer.done():
                batch[0].answer.set_exception(error)
            return
        except BaseException:
            for one in batch:
                one.answer.cancel()
            raise
        took = seconds / sum(one.rows for one in batch)
        self.row_seconds = 0.7 * self.row_seconds + 0.3 * took if self.row_seconds else took
        for one, result in zip(batch, results, strict=True):
            if not one.answer.done():
                one.answer.set_result(result)

    def _timed(self, items: Sequence[Item]) -> tuple[Sequence[Result], float]:
        begin = time.perf_counter()
        return self.run(items), time.perf_counter() - begin
