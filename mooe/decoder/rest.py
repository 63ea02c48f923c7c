"""A photograph's face at rest, found by analysis and synthesis.

A tracker's reading says which expression a photograph shows, but not how much of a shape takes it away. So the face is
drawn at rest and read again, and what is left of the expression is taken away too.
"""

from __future__ import annotations

import numpy as np

from mooe.decoder.decoder import PortraitDecoder
from mooe.decoder.neutral import mouth_expression
from mooe.decoder.portrait import Image, SourcePortrait, encode_portrait
from mooe.errors import NoFaceError
from mooe.face.tracker import Face, FaceTracker

_ROUNDS = 2
_LITTLE = 0.06  # weight of the strongest shape at which a face counts as at rest
_MOST = 1.3  # more of a shape than this is the person's face, not an expression


def encode_at_rest(image: Image, face: Face, tracker: FaceTracker, size: int = 256) -> SourcePortrait:
    """Prepare a photograph, its expression around the mouth removed as far as the tracker can see.

    Args:
        image, face, size: as of :func:`~mooe.decoder.portrait.encode_portrait`.
        tracker: reads the drawn face.

    Raises:
        PortraitError, NoFaceError: as of :func:`~mooe.decoder.portrait.encode_portrait`.
    """
    expression = mouth_expression(face.blendshapes)
    portrait = encode_portrait(image, face, size, expression)
    still = np.zeros(3, np.float32)
    for _ in range(_ROUNDS):
        drawn = PortraitDecoder(portrait).render(np.zeros((478, 3), np.float32), still, still)
        try:
            left = mouth_expression(tracker.detect_one(drawn).blendshapes, doubtful=False)
        except NoFaceError:
            break
        if left.max() < _LITTLE:
            break
        expression = np.minimum(expression + left, _MOST)
        portrait = encode_portrait(image, face, size, expression, known=portrait)
    return portrait
