"""Things made ahead by threads come in order, each once, with their errors in place."""

import threading
import time

import pytest

from vlseg.data import made_ahead


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_in_order_and_each_once(threads: int) -> None:
    made = []

    def make(index: int) -> int:
        time.sleep(0.002 * (index % 3))
        made.append(index)
        return index * index

    assert list(made_ahead(make, 20, threads)) == [index * index for index in range(20)]
    assert sorted(made) == list(range(20))
    assert list(made_ahead(make, 0, threads)) == []


def test_the_next_is_made_while_one_is_used() -> None:
    second = threading.Event()

    def make(index: int) -> int:
        if index == 1:
            second.set()
        return index

    stream = made_ahead(make, 4, 1)
    assert next(stream) == 0
    assert second.wait(5)
    assert list(stream) == [1, 2, 3]


@pytest.mark.parametrize("threads", [0, 2])
def test_an_error_comes_where_its_result_is_due(threads: int) -> None:
    def make(index: int) -> int:
        if index == 2:
            raise ValueError("the third")
        return index

    stream = made_ahead(make, 5, threads)
    assert [next(stream), next(stream)] == [0, 1]
    with pytest.raises(ValueError, match="the third"):
        next(stream)


def test_one_that_is_left_alone_makes_no_more() -> None:
    made = []
    stream = made_ahead(lambda index: made.append(index), 1000, 2)
    next(stream)
    stream.close()
    assert len(made) < 20
