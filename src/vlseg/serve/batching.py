"""Work of several requests done together: what arrives while a model computes goes into its next batch."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Bounds:
    """Of a batch: the rows and pixels that it holds at most, unless one item alone has more, and the wait in seconds.

    A batch waits for others only when it would hold a single item although more requests are open.
    """

    rows: int
    pixels: int
    window: float = 0.003


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
    """

    run: Callable[[Sequence[Item]], Sequence[Result]]
    worker: Executor
    bounds: Bounds
    crowd: Callable[[], int] = lambda: 1
    seen: Callable[[int], None] = lambda count: None
    _waiting: "deque[_Waiting[Item, Result]]" = field(default_factory=deque)
    _task: "asyncio.Task[None] | None" = None

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
        while self._waiting:
            first = self._waiting[0]
            if first.answer.done():  # whoever asked has left
                self._waiting.popleft()
                continue
            rows, pixels = rows + first.rows, pixels + first.pixels
            if batch and (rows > self.bounds.rows or pixels > self.bounds.pixels):
                break
            batch.append(self._waiting.popleft())
        return batch

    async def _answer(self, batch: "list[_Waiting[Item, Result]]") -> None:
        loop = asyncio.get_running_loop()
        try:
            results = await loop.run_in_executor(self.worker, self.run, [one.item for one in batch])
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
        for one, result in zip(batch, results, strict=True):
            if not one.answer.done():
                one.answer.set_result(result)
