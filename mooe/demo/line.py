"""Visitors who wait for each other: films are made one after another, in the order in which they were asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mooe.errors import MooeError


class FullError(MooeError):
    """Too many wait already."""


class Line:
    """A line of visitors, of whom the first is served.

    Gradio's own queue is not used for films: what it cancels may still send a message, which then overwrites the
    answer to the visitor. Here a film that waits and one that is made end alike, by themselves.

    Args:
        longest: how many may wait behind the one that is served.
    """

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._places: list[object] = []
        self._moved = threading.Condition()

    @contextmanager
    def place(self) -> Iterator[Callable[[float], int]]:
        """A place at the end of the line, left with the `with` block.

        It gives a function that waits until the line moves, at most for so many seconds, and tells how many are
        before this place: at 0 it is served.

        Raises:
            FullError: too many wait already.
        """
        own = object()
        with self._moved:
            if len(self._places) > self._longest:
                raise FullError(f"{self._longest} films are waiting already: try again in a few minutes.")
            self._places.append(own)

        def before(seconds: float) -> int:
            with self._moved:
                if self._places[0] is not own:
                    self._moved.wait(seconds)
                return self._places.index(own)

        try:
            yield before
        finally:
            with self._moved:
                self._places.remove(own)
                self._moved.notify_all()
