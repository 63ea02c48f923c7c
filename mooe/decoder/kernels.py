"""Making the decoder's compiled parts ready before the first frame is waited for."""

from __future__ import annotations

import numpy as np

from mooe.decoder.decoder import PortraitDecoder
from mooe.decoder.portrait import encode_portrait
from mooe.face.regions import ARKIT_NAMES
from mooe.face.topology import arkit_to_displacement, arkit_vector, canonical_points
from mooe.face.tracker import Face

_SIDE, _EYES = 128, 40.0  # pixels: of the picture, between the outer eye corners


def load_kernels() -> None:
    """Compile all that numba has to compile, or read it from its cache: a made-up face is drawn once.

    The first time on a machine that takes a quarter of a minute, later half a second.
    """
    points = canonical_points() * (_EYES, -_EYES, -_EYES) + (_SIDE / 2, _SIDE / 2, 0)
    face = Face(points.astype(np.float32), dict.fromkeys(ARKIT_NAMES, 0.0), np.eye(4, dtype=np.float32), 1.0)
    portrait = encode_portrait(np.full((_SIDE, _SIDE, 3), 128, np.uint8), face, _SIDE)
    speaking = arkit_to_displacement(arkit_vector({"jawOpen": 0.7, "eyeBlinkLeft": 0.5, "eyeLookInLeft": 0.4}))
    still = np.zeros(3, np.float32)
    PortraitDecoder(portrait).render_full(speaking, still, still)
