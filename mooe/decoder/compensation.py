"""Interfaces of the learned stages that refine the mesh flow and fill what the photograph does not show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]


@dataclass(frozen=True)
class RenderMaps:
    """What geometry knows about one frame, all at the frame size.

    Attributes:
        flow: float32 ``[size, size, 2]``, source pixel (pixel-index coordinates, x then y) of each frame pixel.
        region: uint8 ``[size, size]``: 0 outside the face, 1 face, 2 open mouth, 3 open eye, 4 lids.
        points: float32 ``[478, 2]``, driven landmarks in frame pixels.
        source_points: float32 ``[478, 2]``, the photograph's landmarks in frame pixels.
    """

    flow: Float
    region: NDArray[np.uint8]
    points: Float
    source_points: Float

    @property
    def face_mask(self) -> NDArray[np.bool_]:
        """True on the face, mouth and eyes included, ``[size, size]``."""
        return self.region > 0

    @property
    def mouth_mask(self) -> NDArray[np.bool_]:
        """True inside the open lips, ``[size, size]``."""
        return self.region == 2

    @property
    def lid_mask(self) -> NDArray[np.bool_]:
        """True on the lids, ``[size, size]``."""
        return self.region == 4


@runtime_checkable
class Together(Protocol):
    """A stage of either kind that also takes several frames at once: lists for what changes from frame to frame."""

    def many(self, *arguments: Any) -> list[tuple[Float, Float]]:
        """What the stage's call gives, for each frame."""
        ...


class MotionCompensation(Protocol):
    """Stage 2: what geometry does not know of hair, ears, neck, shoulders and background."""

    def __call__(self, photo: NDArray[np.uint8], maps: RenderMaps) -> tuple[Float, Float]:
        """Flow residual ``[size, size, 2]`` in frame pixels and visibility ``[size, size]`` in 0..1.

        ``photo`` is the head crop uint8 ``[size, size, 3]``. Visibility 1 keeps warped pixels, 0 leaves the place
        to :class:`AppearanceCompensation`.
        """
        ...


class AppearanceCompensation(Protocol):
    """Stage 3: pixels the photograph does not show."""

    def __call__(self, frame: NDArray[np.uint8], maps: RenderMaps, visibility: Float) -> tuple[Float, Float]:
        """Colours ``[size, size, 3]`` (0..255) and their weight ``[size, size]`` in 0..1 over ``frame``."""
        ...
