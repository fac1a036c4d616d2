"""Work in other threads, in bounded memory: in advance (`prefetch`), afterwards (`background`), or side by side
(`parallel_map`)."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Item, Result = TypeVar("Item"), TypeVar("Result")
_END = object()


def prefetch(items: Iterable[Item], count: int) -> Iterator[Item]:
    """Yield the same items in the same order, computed in a thread up to `count` items in advance.

    An error of the computation is raised at the position of its item.
    """
    items = iter(items)
    with ThreadPoolExecutor(1) as pool:
        pending = deque(pool.submit(next, items, _END) for _ in range(count))
        while (item := pending.popleft().result()) is not _END:
            pending.append(pool.submit(next, items, _END))
            yield item


@contextmanager
def background(work: Callable[[Item], object], count: int) -> Iterator[Callable[[Item], None]]:
    """Yield a function that queues an item for `work(item)` in a thread, in order; it waits if `count` are pending.

    The block ends when all items are done. An error of `work` is raised at a later call, or at the end of the block.
    """
    with ThreadPoolExecutor(1) as pool:
        pending = deque()

        def submit(item: Item):
            pending.append(pool.submit(work, item))
            if len(pending) > count:
                pending.popleft().result()

        yield submit
        for job in pending:
            job.result()


def parallel_map(work: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """Yield `work(item)` for each item, in order, computed by `workers` threads, up to one item more in advance.

    An error of `work` is raised at the position of its item.
    """
    with ThreadPoolExecutor(workers) as pool:
        pending = deque()
        for item in items:
            pending.append(pool.submit(work, item))
            if len(pending) > workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
