"""The square head crop: cutting it out of a photograph and pasting frames back."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mooe.errors import PortraitError
from mooe.face.tracker import Face

Image = NDArray[np.uint8]
_FACE_HEIGHTS = 2.05  # side of the crop in face heights: hair above, shoulders below
_LEAST_FACE_HEIGHTS = 1.25  # in pictures that are hardly larger than the face
_RISE = 0.06  # the crop's centre above the face's, in face heights
_TOP, _CHIN = 10, 152
_SEAM = 0.06  # width of the soft border of the paste mask, share of the side


def _resize(square: Image, side: int) -> Image:
    interpolation = cv2.INTER_AREA if side < square.shape[0] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(square, (side, side), interpolation=interpolation), np.uint8)


def _move_inside(start: int, side: int, length: int) -> int:
    """The first pixel of a stretch of ``side`` moved into ``length`` pixels where it fits."""
    if side > length:
        return (length - side) // 2
    return min(max(start, 0), length - side)


@dataclass(frozen=True)
class PortraitCrop:
    """A square of whole pixels around a head, which may reach over the picture's border.

    Attributes:
        left, top: first column and row of the square in the picture (may be negative).
        side: side in the picture's pixels.
        size: side of the frames cut from it.
    """

    left: int
    top: int
    side: int
    size: int

    @classmethod
    def from_face(cls, face: Face, size: int, picture_size: tuple[int, int]) -> PortraitCrop:
        """The crop for a tracked face.

        It stays within the picture as long as the face does.

        Args:
            face: landmarks in the picture's pixels.
            size: side of the frames in pixels.
            picture_size: height and width of the picture.

        Raises:
            PortraitError: when ``size`` is below 16 pixels.
        """
        if size < 16:
            raise PortraitError(f"The frame size {size} is too small: use at least 16 pixels.")
        points = face.landmarks[:, :2]
        low, high = points.min(0), points.max(0)
        upright = float(np.linalg.norm(points[_TOP] - points[_CHIN]))
        height = max(upright, float((high - low).max()))
        side = max(16.0, min(_FACE_HEIGHTS * height, max(min(picture_size), _LEAST_FACE_HEIGHTS * height)))
        even = int(side / 2) * 2
        x, y = (low + high) / 2
        corner = (x - even / 2, y - _RISE * height - even / 2)
        left, top = (
            _move_inside(round(float(start)), even, length)
            for start, length in zip(corner, picture_size[::-1], strict=True)
        )
        return cls(left, top, even, size)

    def free_sides(self, height: int, width: int) -> tuple[bool, bool, bool, bool]:
        """Whether the left, top, right and bottom side lie inside the picture, so that frames must join there."""
        return (
            self.left > 0,
            self.top > 0,
            self.left + self.side < width,
            self.top + self.side < height,
        )

    @property
    def scale(self) -> float:
        """Frame pixels per picture pixel."""
        return self.size / self.side

    def native(self) -> PortraitCrop:
        """The same square at the picture's own resolution."""
        return PortraitCrop(self.left, self.top, self.side, self.side)

    def to_crop(self, points: NDArray[np.floating]) -> NDArray[np.float32]:
        """Picture coordinates ``[..., 2 or 3]`` in pixels -> frame coordinates (z only scaled)."""
        offset = np.zeros(points.shape[-1], np.float32)
        offset[:2] = self.left, self.top
        return ((points - offset) * self.scale).astype(np.float32)

    def cut(self, image: Image) -> Image:
        """The head crop uint8 ``[size, size, 3]``; beyond the picture its border pixels are repeated."""
        height, width = image.shape[:2]
        rows = np.clip(np.arange(self.top, self.top + self.side), 0, height - 1)
        columns = np.clip(np.arange(self.left, self.left + self.side), 0, width - 1)
        square = image[rows[:, None], columns[None]]
        if self.size == self.side:
            return square
        return _resize(square, self.size)

    def overlap(self, height: int, width: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Rows and columns of what the square and a picture share: in the square, and in the picture."""
        x0, y0 = max(self.left, 0), max(self.top, 0)
        x1, y1 = max(min(self.left + self.side, width), x0), max(min(self.top + self.side, height), y0)
        inner = (slice(y0 - self.top, y1 - self.top), slice(x0 - self.left, x1 - self.left))
        return inner, (slice(y0, y1), slice(x0, x1))

    def paste(self, frame: Image, picture: Image) -> Image:
        """A copy of ``picture`` with ``frame`` ``[size, size, 3]`` blended in; nothing outside the square changes."""
        height, width = picture.shape[:2]
        if frame.shape[0] != self.side:
            frame = _resize(frame, self.side)
        out = picture.copy()
        inner, outer = self.overlap(height, width)
        frame, below, target = frame[inner], picture[outer], out[outer]
        if not frame.size:
            return out
        rows, columns = self._ramps(height, width)
        rows, columns = rows[inner[0]], columns[inner[1]]
        target[:] = frame
        for i in _runs(rows < 1):
            _mix(target[i], frame[i], below[i], rows[i, None] * columns[None])
        for j in _runs(columns < 1):
            for i in _runs(rows == 1):
                part = (i, j)
                _mix(target[part], frame[part], below[part], np.broadcast_to(columns[j], (1, columns[j].size)))
        return out

    def paste_mask(self, height: int, width: int) -> NDArray[np.float32]:
        """Weight of the frame over the picture, float32 ``[side, side]``.

        It falls to 0 at those sides of the square that lie inside the ``height`` x ``width`` picture and
        stays 1 at sides beyond it, where there is nothing to blend with.
        """
        rows, columns = self._ramps(height, width)
        return rows[:, None] * columns[None]

    def _ramps(self, height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        seam = max(_SEAM * self.side, 1.0)
        i = np.arange(self.side, dtype=np.float32)

        def ramp(first: bool, last: bool) -> NDArray[np.float32]:
            near = np.full(self.side, np.inf, np.float32)
            if first:
                near = np.minimum(near, i)
            if last:
                near = np.minimum(near, self.side - 1 - i)
            t = np.clip(near / seam, 0, 1)
            return np.asarray(t * t * (3 - 2 * t), np.float32)

        left, top, right, bottom = self.free_sides(height, width)
        return ramp(top, bottom), ramp(left, right)


def _runs(mask: NDArray[np.bool_]) -> list[slice]:
    """The stretches where ``mask`` is true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [slice(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _mix(target: Image, frame: Image, below: Image, mask: NDArray[np.float32]) -> None:
    weight = np.ascontiguousarray(np.broadcast_to(mask, frame.shape[:2]))
    target[:] = cv2.blendLinear(frame, below, weight, 1 - weight)
