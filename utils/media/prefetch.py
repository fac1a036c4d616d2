"""Work done in a second thread while the first is busy, a few steps ahead or behind: bounds the memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
_END = object()


def ahead(items: Iterable[Item], count: int) -> Iterator[Item]:
    """The same items in the same order, each made in a thread up to `count` before it is asked for.

    What their making raises is raised where the item would come.
    """
    items = iter(items)
    with ThreadPoolExecutor(1) as pool:
        waiting = deque(pool.submit(next, items, _END) for _ in range(count))
        while (item := waiting.popleft().result()) is not _END:
            waiting.append(pool.submit(next, items, _END))
            yield item


@contextmanager
def behind(work: Callable[[Item], object], count: int) -> Iterator[Callable[[Item], None]]:
    """Give a function that hands items to `work` in a thread, in order, and waits only where `count` are not done yet.

    All are done when the block ends. What `work` raises is raised at a later call, or at the end.
    """
    with ThreadPoolExecutor(1) as pool:
        waiting = deque()

        def hand_over(item: Item):
            waiting.append(pool.submit(work, item))
            if len(waiting) > count:
                waiting.popleft().result()

        yield hand_over
        for job in waiting:
            job.result()
