"""Small typed wrappers of the image operations the decoder needs."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Float = NDArray[np.float32]
_FADE = 0.08  # share of a frame over which motion ends at its border
_FINE = 3  # enlarged twofold, fine detail would be softer than bicubic samples are


class Layer(NamedTuple):
    """A piece of picture to lay over a frame.

    Attributes:
        rows, columns: where it lies.
        color: float32 ``[h, w, 3]``, 0..255.
        coverage: float32 ``[h, w, 1]``, 0..1.
    """

    rows: slice
    columns: slice
    color: Float
    coverage: Float


def sample(photo: Image, flow: Float) -> Image:
    """Bicubic samples of ``photo`` at ``flow`` ``[h, w, 2]`` (pixel indices); beyond its border it is mirrored."""
    # one map of both coordinates is twice as fast as two maps, but not in OpenCV's type hints
    grid = np.ascontiguousarray(flow, np.float32)
    return cv2.remap(photo, grid, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)  # type: ignore[call-overload, no-any-return]


class FinePhoto:
    """A photograph that is looked at between its pixels many times.

    It is enlarged once, by Lanczos interpolation, and then sampled bilinearly: nearer to Lanczos samples of the
    photograph than bicubic ones are, in half their time.

    Args:
        photo: uint8 ``[H, W, 3]``.
        alpha: uint8 ``[H, W]``, how much of what is behind a layer it hides; everything if it is left out.

    Attributes:
        shape: height and width.
    """

    def __init__(self, photo: Image, alpha: NDArray[np.uint8] | None = None) -> None:
        height, width = self.shape = (photo.shape[0], photo.shape[1])
        # A fourth channel takes a third off the time of sampling, even where nothing of it is wanted
        layer = cv2.cvtColor(photo, cv2.COLOR_RGB2RGBA)
        if alpha is not None:
            layer[..., 3] = alpha
        self._fine = cv2.warpAffine(
            layer, np.array([[1 / _FINE, 0, 0], [0, 1 / _FINE, 0]]),
            (width * _FINE, height * _FINE), flags=cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT,
        )  # fmt: skip

    def sample(self, flow: Float) -> Image:
        """Samples at ``flow`` ``[h, w, 2]`` (the photograph's pixel indices); beyond its border it is mirrored."""
        return np.asarray(cv2.cvtColor(self.sample_layer(flow), cv2.COLOR_RGBA2RGB), np.uint8)

    def sample_layer(self, flow: Float) -> Image:
        """The same with alpha as a fourth channel."""
        grid = np.multiply(flow, np.float32(_FINE))
        return cv2.remap(self._fine, grid, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)  # type: ignore[call-overload, no-any-return]


def sample_weight(weight: Float, flow: Float) -> Float:
    """Bilinear samples of a map ``[h, w]`` at ``flow`` (pixel indices); beyond its border the border is repeated."""
    return cv2.remap(weight, flow, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload, no-any-return]


def resize(image: Float, shape: tuple[int, ...]) -> Float:
    """A float32 image scaled to ``shape`` (height, width): by area when it shrinks, else bilinear."""
    interpolation = cv2.INTER_AREA if image.shape[0] > shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (shape[1], shape[0]), interpolation=interpolation), np.float32)


def resize_bytes(image: Image, shape: tuple[int, ...]) -> Image:
    """A uint8 image scaled to ``shape`` (height, width): by area when it shrinks, else bicubic."""
    interpolation = cv2.INTER_AREA if image.shape[0] > shape[0] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (shape[1], shape[0]), interpolation=interpolation), np.uint8)


def blur(image: Float, sigma: float) -> Float:
    """Gaussian blur of a float32 image."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)


def local_mean(image: Float, weight: Float, sigma: float) -> Float:
    """Weighted Gaussian mean of a map ``[h, w]``; 0 where there is no weight."""
    return np.asarray(blur(image * weight, sigma) / (blur(weight, sigma) + 1e-3), np.float32)


def mix(first: Image, second: Image, weight: float) -> Image:
    """``first`` with ``second`` over it at ``weight`` (0..1)."""
    return np.asarray(cv2.addWeighted(first, 1 - weight, second, weight, 0), np.uint8)


def shade(image: Image, log_gain: Float, colors: Float) -> None:
    """Multiply ``image`` ``[h, w, 3]`` in place by the exponential of ``log_gain``, scaled to its shape.

    Args:
        image: what is shaded.
        log_gain: ``[h', w']``.
        colors: ``[3]``, how much of it each channel takes.
    """
    if log_gain.shape != image.shape[:2]:
        log_gain = resize(log_gain, image.shape[:2])
    image[:] = cv2.multiply(image, cv2.merge([cv2.exp(log_gain * share) for share in colors]), dtype=cv2.CV_8U)


def lay_over(frame: Image, layer: Layer) -> None:
    """Blend a layer into ``frame`` in place."""
    below = frame[layer.rows, layer.columns].astype(np.float32)
    blended = below + (layer.color - below) * layer.coverage
    frame[layer.rows, layer.columns] = np.clip(np.rint(blended), 0, 255).astype(np.uint8)


def enlarge_flow(flow: Float, factor: float, shape: tuple[int, ...]) -> Float:
    """A backward flow for an image ``factor`` times as large, of ``shape`` (height, width)."""
    if factor == 1.0:
        return flow
    large = resize(flow - places(*flow.shape[:2]), shape)
    return np.asarray(cv2.scaleAdd(large, factor, places(shape[0], shape[1])), np.float32)


def enlarge_flow_part(flow: Float, factor: float, rows: slice, columns: slice) -> Float:
    """Some rows and columns of what :func:`enlarge_flow` gives, without computing the rest."""
    if factor == 1.0:
        return flow[rows, columns]
    moved = enlarge_part(flow - places(*flow.shape[:2]), factor, rows, columns)
    at = places(*moved.shape[:2]) + np.array([columns.start, rows.start], np.float32)
    return np.asarray(moved * np.float32(factor) + at, np.float32)


def enlarge_part(image: Float, factor: float, rows: slice, columns: slice) -> Float:
    """Some rows and columns of a float32 image scaled by ``factor``, bilinearly."""
    shape = rows.stop - rows.start, columns.stop - columns.start
    corner = (np.array([columns.start, rows.start]) + 0.5) / factor - 0.5
    onto = np.column_stack([np.eye(2) / factor, corner])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    part = cv2.warpAffine(image, onto, shape[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(part, np.float32)


@lru_cache(maxsize=4)
def places(height: int, width: int) -> Float:
    """Each pixel's own place, ``[height, width, 2]``; not to be written to."""
    return np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).astype(np.float32)


def fade_window(size: int, free_sides: tuple[bool, bool, bool, bool]) -> Float:
    """1 inside, falling to exactly 0 at those sides of a frame where it joins the picture; ``[size, size, 1]``."""
    near = np.arange(size, dtype=np.float32)
    distances = [near[None], near[:, None], near[None, ::-1], near[::-1, None]]
    window = np.ones((size, size), np.float32)
    for free, distance in zip(free_sides, distances, strict=True):
        if free:
            t = np.clip(distance / (_FADE * size), 0, 1)
            window = window * (t * t * (3 - 2 * t))
    return window[..., None].astype(np.float32)


def shown_part(weight: NDArray[Any]) -> tuple[slice, slice] | None:
    """Rows and columns outside which a map ``[h, w]`` is 0; None if it is 0 everywhere."""
    rows, columns = np.flatnonzero(weight.any(1)), np.flatnonzero(weight.any(0))
    if not len(rows):
        return None
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def on_canvas(part: tuple[slice, slice] | None, factor: float) -> tuple[slice, slice] | None:
    """A part of a frame on a canvas ``factor`` times as large; None if there is none, or not a pixel of it there."""
    if part is None:
        return None
    rows, columns = (slice(int(p.start * factor), int(p.stop * factor)) for p in part)
    return None if rows.start == rows.stop or columns.start == columns.stop else (rows, columns)
