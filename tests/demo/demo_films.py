"""Films of faces, made for the tests of the demo."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mooe.animation import read_portrait, render_motion
from mooe.face.regions import ARKIT_NAMES
from mooe.face.topology import arkit_to_displacement
from mooe.media import VideoWriter, read_image
from mooe.pipeline_output import FaceMotion

FRAMES = 20
"""Length of the film that the fixture `driving` gives."""


def film_of_a_face(portrait: Path, path: Path, frames: int) -> Path:
    """Write a film, with sound, of a face that opens its mouth and shuts it again."""
    weights = np.zeros((frames, len(ARKIT_NAMES)), np.float32)
    weights[:, ARKIT_NAMES.index("jawOpen")] = 0.3 - 0.3 * np.cos(np.linspace(0, 2 * np.pi, frames))
    still = np.zeros((frames, 3), np.float32)
    motion = FaceMotion(arkit_to_displacement(weights), still, still)
    source = read_portrait(read_image(portrait))
    sound = np.random.default_rng(0).standard_normal(frames * 640).astype(np.float32) * 0.05
    with VideoWriter(path, source.size, source.size, audio=sound) as writer:
        for frame in render_motion(source, motion, paste_back=False):
            writer.write(frame)
    return path
