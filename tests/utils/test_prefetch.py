"""Work in a second thread: the same items, the same order, the same errors, and never more of them than said."""

import threading
import time

import pytest

from utils.media.prefetch import background, parallel_map, prefetch


def test_items_come_in_order_from_another_thread():
    threads = set()

    def make():
        for i in range(50):
            threads.add(threading.get_ident())
            yield i

    assert list(prefetch(make(), 3)) == list(range(50))
    assert threads and threading.get_ident() not in threads
    assert list(prefetch([], 2)) == []


def test_no_more_than_said_are_made_before_they_are_asked_for():
    made = []
    items = prefetch((made.append(i) or i for i in range(100)), 2)
    for i in range(10):
        assert next(items) == i
        time.sleep(0.01)
        assert len(made) <= i + 3
    items.close()
    assert len(made) <= 13


def test_an_error_comes_where_its_item_would():
    def make():
        yield from range(3)
        raise ZeroDivisionError

    items = prefetch(make(), 2)
    assert [next(items) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ZeroDivisionError):
        next(items)


def test_all_is_done_in_order_when_the_block_ends():
    done = []
    with background(lambda i: (time.sleep(0.002), done.append(i)), 2) as add:
        for i in range(20):
            add(i)
            assert len(done) >= i - 2
    assert done == list(range(20))


@pytest.mark.parametrize("number", [1, 9])
def test_what_goes_wrong_behind_is_raised(number):
    """Soon, or at the end of the block where no later call could."""
    done = []
    with pytest.raises(ZeroDivisionError), background(lambda i: done.append(1 / (i - number)), 2) as add:
        for i in range(10):
            add(i)
    assert len(done) < 10


def test_items_are_worked_on_side_by_side_and_come_in_order():
    barrier, given = threading.Barrier(3), []

    def work(i):
        barrier.wait(timeout=30)  # passes only if three are worked on at a time
        return i * i

    for done, square in enumerate(parallel_map(work, (given.append(i) or i for i in range(12)), 3)):
        assert square == done * done and len(given) <= done + 4
    assert len(given) == 12 and list(parallel_map(work, [], 3)) == []


def test_an_error_among_parallel_items_comes_at_its_place():
    results = parallel_map(lambda i: 1 / (2 - i), range(5), 2)
    assert [next(results), next(results)] == [0.5, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
