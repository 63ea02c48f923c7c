"""Floating-point operations a frame of each stage, counted as they are made: what time cannot fall below.

Each count is a lower bound, and says what it leaves out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

_ROWS_PER_FRAME = 2  # phone probabilities of the embedded encoder
_TAPS = {"linear": 4, "cubic": 16}  # of an interpolated pixel
_BYTES_PER_WEIGHT = 4
_COLOUR_OPERATIONS = 15  # of a 3 x 3 matrix, per pixel


def motion_operations(pipeline: Any, steps: int, emotional: bool) -> float:
    """Sampling: matrix products and convolutions of all passes of the UNet and its experts over a window."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from mooe.motion.sampling import CARRIED, WINDOW, Guidance, WindowInputs, WindowSampler
    from mooe.motion.unet import AUDIO_CONTEXT

    with torch.no_grad():
        latents = pipeline.emotion_encoder(torch.eye(6)[None, :1].repeat(1, WINDOW, 1)) if emotional else None
    inputs = WindowInputs(
        torch.zeros(1, WINDOW + 2 * AUDIO_CONTEXT, pipeline.unet.config["audio_dim"]),
        torch.zeros(1, WINDOW, pipeline.unet.config["num_controls"]),
        latents,
    )
    sampler = WindowSampler(pipeline.unet, pipeline.adapters, pipeline.scheduler, torch.Generator(), steps, Guidance())
    with FlopCounterMode(display=False) as counter:
        sampler.window(inputs)
    return float(counter.get_total_flops() / (WINDOW - CARRIED))


def audio_operations() -> float:
    """The phone recogniser: each of its weights once for each row of probabilities; prosody is left out."""
    import hama

    model = Path(hama.__file__).parent / "assets" / "asr_waveform.hama"
    return 2.0 * _ROWS_PER_FRAME * model.stat().st_size / _BYTES_PER_WEIGHT


def decoder_operations(draw: Callable[[], object]) -> float:
    """Drawing: what interpolates and smooths pixels in a frame; the triangles and the blending are left out."""
    with _counted_pixels() as counted:
        draw()
    return sum(counted)


def video_operations(height: int, width: int) -> float:
    """Writing: the change of colour space; the encoder's own operations are left out."""
    return float(_COLOUR_OPERATIONS * height * width)


@contextmanager
def _counted_pixels() -> Iterator[list[float]]:
    """Collects the operations of OpenCV's interpolation and smoothing inside."""
    import cv2

    counted: list[float] = []

    def taps(kind: int) -> int:
        return _TAPS["cubic" if kind == cv2.INTER_CUBIC else "linear"]

    def counting(function: Callable[..., Any], count: Callable[..., float]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            result = function(*arguments, **named)
            counted.append(2.0 * np.size(result) * count(*arguments, **named))
            return result

        return call

    def sampled(*arguments: Any, **named: Any) -> float:
        return taps(named.get("interpolation", cv2.INTER_LINEAR))

    def mapped(image: Any, grid: Any, other: Any, interpolation: int, **named: Any) -> float:
        return taps(interpolation)

    def smoothed(image: Any, size: Any, sigma: float, **named: Any) -> float:
        return 2 * (2 * round(3 * sigma) + 1)

    with (
        patch.object(cv2, "remap", counting(cv2.remap, mapped)),
        patch.object(cv2, "resize", counting(cv2.resize, sampled)),
        patch.object(cv2, "warpAffine", counting(cv2.warpAffine, sampled)),
        patch.object(cv2, "GaussianBlur", counting(cv2.GaussianBlur, smoothed)),
    ):
        yield counted
