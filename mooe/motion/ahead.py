"""Making the next item of a stream while the present one is used."""

from __future__ import annotations

import contextvars
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def made_ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, each made in a thread of its own while the one before is used.

    One item is made ahead, not more, so memory does not grow. What making an item raises is raised where the item is
    asked for. When the items are no longer wanted, the one under way is finished before this ends.

    Args:
        items: what is asked for its next item by one thread at a time.
    """
    context = contextvars.copy_context()
    with ThreadPoolExecutor(1, thread_name_prefix="mooe-ahead") as thread:
        coming = thread.submit(context.run, _next, items)
        while (found := coming.result()) is not None:
            coming = thread.submit(context.run, _next, items)
            yield found[0]


def _next(items: Iterator[Item]) -> tuple[Item] | None:
    """The next item, or None after the last; a StopIteration cannot pass through a future."""
    for item in items:
        return (item,)
    return None
