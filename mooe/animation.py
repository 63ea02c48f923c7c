"""A portrait that is read and drawn: the steps before and after the motion, whatever it comes from."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mooe.decoder import SourcePortrait, encode_at_rest
from mooe.decoder.compensator import PortraitCompensator
from mooe.decoder.refinement import refined_decoder
from mooe.errors import ConfigError
from mooe.face import FaceTracker
from mooe.pipeline_output import FaceMotion, Frame


def read_portrait(image: NDArray[np.uint8] | Image.Image, face_index: int = 0, size: int = 256) -> SourcePortrait:
    """Track a portrait's face and prepare it; once a portrait, for any number of clips.

    Args:
        image: uint8 RGB ``[H, W, 3]`` or a PIL image.
        face_index: which face, 0 is the largest.
        size: side of the head crop in pixels, at which its motion is computed.

    Raises:
        NoFaceError: there is no such face.
        ConfigError: the size cannot be used.
    """
    if size < 64 or size % 8:
        raise ConfigError(f"The size {size} cannot be used: choose a multiple of 8 from 64 on, such as 256.")
    pixels = np.asarray(image.convert("RGB")) if isinstance(image, Image.Image) else image
    with FaceTracker() as tracker:
        face = tracker.detect_one(pixels, face_index)
        return encode_at_rest(pixels, face, tracker, size)


def render_motion(
    portrait: SourcePortrait,
    motion: FaceMotion,
    *,
    paste_back: bool = True,
    compensator: PortraitCompensator | None = None,
) -> Iterator[Frame]:
    """Frames of a portrait that moves as `motion` says.

    Args:
        portrait: from `read_portrait`.
        motion: of F frames.
        paste_back: give the whole picture with the head in it, not the head crop.
        compensator: learned stages of the decoder; without it the face is drawn by geometry alone.

    Yields:
        uint8 ``[H, W, 3]``, F times.
    """
    decoder = refined_decoder(portrait, compensator)
    yield from decoder.render_many(motion.displacement, motion.rotation, motion.translation, paste_back=paste_back)
