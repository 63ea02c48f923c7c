"""Seams: where windows of motion meet, and where the head is pasted back into the photograph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mooe.face.crop import PortraitCrop

_STRIP = 0.08  # of the crop's side: how far inside its border the paste seam is looked for


@dataclass(frozen=True)
class BoundaryExcess:
    """Change at window boundaries against elsewhere.

    Attributes:
        ratio: mean change at the boundaries over the mean elsewhere; 1 is no seam.
        rank: mean share of the other steps that change less than a boundary does; .5 is no seam.
    """

    ratio: float
    rank: float


def boundary_excess(change: NDArray[np.floating], boundaries: Sequence[int]) -> BoundaryExcess:
    """Compare the steps into the boundary frames with all the others.

    Args:
        change: [F - 1], size of the step from frame i to i + 1.
        boundaries: frames b that begin a window (1 <= b < F): the step from b - 1 to b.

    Raises:
        ValueError: there is no boundary, or nothing else, in the clip.
    """
    steps = np.array(sorted({b - 1 for b in boundaries if 1 <= b <= len(change)}), int)
    others = np.delete(change, steps)
    if not len(steps) or not len(others):
        raise ValueError("There is no window boundary in the clip: give a longer one.")
    ranks = [(others < change[step]).mean() + 0.5 * (others == change[step]).mean() for step in steps]
    ratio = float(change[steps].mean()) / max(float(others.mean()), 1e-9)
    return BoundaryExcess(ratio, float(np.mean(ranks)))


@dataclass(frozen=True)
class PasteSeam:
    """The border of the pasted head against the photograph's own gradient there, in grey levels (0 to 255) a
    pixel.

    Attributes:
        excess: largest rise of the mean gradient across the border on any line along it; a hard edge of d
            levels on flat ground gives d.
        gradient: the photograph's mean gradient across the border.
        outside: mean absolute difference from the photograph outside the crop (0 but for video compression).
    """

    excess: float
    gradient: float
    outside: float


def paste_seam(frame: NDArray[np.uint8], picture: NDArray[np.uint8], crop: PortraitCrop) -> PasteSeam | None:
    """Look for a seam along those sides of the crop that lie inside the picture.

    Args:
        frame: the full picture with the head pasted back, uint8 RGB [height, width, 3].
        picture: the photograph, of the same shape.
        crop: where the head was pasted.

    Returns:
        The seam, or None when the crop covers the picture.
    """
    height, width = picture.shape[:2]
    rows = slice(max(crop.top, 0), min(crop.top + crop.side, height))
    columns = slice(max(crop.left, 0), min(crop.left + crop.side, width))
    depth = max(int(_STRIP * crop.side), 2)
    # Each strip is turned so that its border runs along the columns, outermost row first.
    strips: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
    for inside, turn, index, length in (
        (crop.top > 0, False, crop.top, height),
        (crop.top + crop.side < height, False, crop.top + crop.side - depth, height),
        (crop.left > 0, True, crop.left, width),
        (crop.left + crop.side < width, True, crop.left + crop.side - depth, width),
    ):
        if inside:
            across = slice(max(index - 2, 0), min(index + depth + 2, length))
            place = (rows, across) if turn else (across, columns)
            strips.append((_across(frame[place], turn), _across(picture[place], turn)))
    if not strips:
        return None
    outside = np.ones((height, width), bool)
    outside[rows, columns] = False
    difference = np.abs(frame[outside].astype(np.float32) - picture[outside])
    return PasteSeam(
        max(float((new - old).max()) for new, old in strips),
        float(np.mean([old.mean() for _, old in strips])),
        float(difference.mean()) if difference.size else 0.0,
    )


def _across(strip: NDArray[np.uint8], turn: bool) -> NDArray[np.float32]:
    """Mean absolute gradient across the border for each line along it."""
    grey = strip.astype(np.float32).mean(axis=2)
    grey = grey.T if turn else grey
    return np.asarray(np.abs(np.diff(grey, axis=0)).mean(axis=1), np.float32)
