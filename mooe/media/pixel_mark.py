"""An invisible mark in the pixels of a video that says: made by a machine.

The mark is written by the package invisible-watermark with the method dwtDctSvd: the largest singular value of each
block of the blue-difference plane, after a wavelet and a cosine transform, is moved to one of two places in its
quantisation cell. It survives H.264 at usual quality (crf 18 to 23, often 28), but neither a change of size nor a
crop, and no one who wants it gone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

TILE = 128
"""Side of a marked tile in pixels; each tile carries every bit once."""
BLOCK_PIXELS = 16
REFRESH = 50
"""Frames after which the tiles are marked anew, as the picture under them may have moved."""
ENOUGH = 50
"""Bits of 64 that must be right for the mark to count as found: by chance 4 files of a million get there."""

_BLOCK = BLOCK_PIXELS // 2  # coefficients of the wavelet's low band
_STRENGTH = 64
_MAX_TILES = 12
# A saturated colour has no room for the mark: its pixels, which the change of colour space would move far, stay.
_LARGEST_CHANGE = 12


def _payload() -> NDArray[np.uint8]:
    """64 bits, as many ones as zeros, so that an even picture agrees with no more than half of them."""
    half = np.unpackbits(np.frombuffer(hashlib.sha256(b"mooe").digest()[:4], np.uint8))
    return np.concatenate([half, 1 - half])


PAYLOAD = _payload()


def _codec() -> object:
    from imwatermark.dwtDctSvd import EmbedDwtDctSvd

    return EmbedDwtDctSvd(PAYLOAD.tolist(), wmLen=len(PAYLOAD), scales=[0, _STRENGTH, 0], block=_BLOCK)


def tiles(height: int, width: int) -> list[tuple[slice, slice]]:
    """Where the mark stands in a picture: at most twelve tiles along its border, where faces move least."""
    last_row, last_column = height // TILE - 1, width // TILE - 1
    border = [
        (row, column)
        for row in range(last_row + 1)
        for column in range(last_column + 1)
        if row in (0, last_row) or column in (0, last_column)
    ]
    chosen = border
    if len(border) > _MAX_TILES:
        chosen = [border[i] for i in np.linspace(0, len(border) - 1, _MAX_TILES).round().astype(int)]
    return [(slice(r * TILE, (r + 1) * TILE), slice(c * TILE, (c + 1) * TILE)) for r, c in chosen]


@dataclass
class PixelMark:
    """Marks the frames of one video.

    What the mark changes is worked out for every fiftieth frame and added to those after it, so the mark does not
    flicker, and costs next to nothing a frame. Pictures with a side under 128 pixels stay as they are.
    """

    _changes: list[tuple[Image, Image]] = field(default_factory=list)
    _frames: int = 0

    def apply(self, frame: Image) -> Image:
        """The next frame, RGB ``[H, W, 3]``, with the mark in it; the frame given stays as it is."""
        places = tiles(*frame.shape[:2])
        if self._frames % REFRESH == 0:
            codec = _codec()
            self._changes = [_change(codec, frame[place]) for place in places]
        self._frames += 1
        marked = frame.copy()
        for place, (more, less) in zip(places, self._changes, strict=True):
            marked[place] = cv2.subtract(cv2.add(frame[place], more), less)  # end at 0 and 255 instead of wrapping
        return marked


def _change(codec: object, tile: Image) -> tuple[Image, Image]:
    """What is added to a tile, and what is taken off it."""
    bgr = np.ascontiguousarray(tile[..., ::-1])
    marked = codec.encode(bgr)  # type: ignore[attr-defined]
    change = marked[..., ::-1].astype(np.int16) - tile
    fits = np.abs(change).max(-1, keepdims=True) <= _LARGEST_CHANGE
    change = np.where(fits, change, 0)
    return np.maximum(change, 0).astype(np.uint8), np.maximum(-change, 0).astype(np.uint8)


def read_pixel_mark(frames: Iterable[Image]) -> int | None:
    """Look for the mark.

    Args:
        frames: RGB ``[H, W, 3]``, of which every fiftieth of a video tells most.

    Returns:
        How many of the 64 bits agree, by the majority of all tiles; None where the pictures are too small to hold
        a tile. :data:`ENOUGH` are a find.
    """
    votes = [
        _codec().decode(np.ascontiguousarray(frame[place][..., ::-1]))  # type: ignore[attr-defined]
        for frame in frames
        for place in tiles(*frame.shape[:2])
    ]
    if not votes:
        return None
    return int(((np.mean(votes, 0) > 0.5) == PAYLOAD).sum())
