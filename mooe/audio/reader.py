"""Speech features on their way from an encoder to the motion model, of which only those still needed are held."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


class FeatureReader:
    """Gives rows of a stream of features by their numbers, in constant memory.

    Args:
        parts: pieces of features, float32 [f, D] each.
        first: number of the first row that comes.
    """

    def __init__(self, parts: Iterator[np.ndarray], first: int = 0) -> None:
        self._parts = parts
        self._held: np.ndarray | None = None
        self._first = first
        self.ended = False

    @property
    def available(self) -> int:
        """How many rows of the clip have come so far; all of them once :attr:`ended`."""
        return self._first + (0 if self._held is None else len(self._held))

    def read(self, until: int) -> None:
        """Take pieces until row ``until - 1`` is there or no more come."""
        while not self.ended and self.available < until:
            part = next(self._parts, None)
            if part is None:
                self.ended = True
            else:
                self._held = part if self._held is None else np.concatenate([self._held, part])

    def rows(self, numbers: np.ndarray) -> np.ndarray:
        """Rows float32 [n, D] by their numbers [n]; before the first and after the last one held, that one."""
        if self._held is None:
            raise IndexError("no features have been read")
        return self._held[np.clip(numbers - self._first, 0, len(self._held) - 1)]

    def forget(self, before: int) -> None:
        """Let go of the rows before number ``before``, but for the last one."""
        if self._held is not None:
            drop = int(np.clip(before - self._first, 0, len(self._held) - 1))
            self._held, self._first = self._held[drop:].copy() if drop else self._held, self._first + drop
