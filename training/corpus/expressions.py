"""Emotional expressions in ARKit weights, with natural variety.

Prototypes follow the Facial Action Coding System (Ekman, Friesen and Hager, 2002) and the changes of blend shapes
seen when people talk with an emotion; each has variants, and a take mixes variants with random strengths and a
little asymmetry, so that an emotion is a family of faces and not one face.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mooe.face.regions import ARKIT_NAMES
from mooe.face.topology import arkit_shapes, arkit_vector

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Expression:
    """An emotion's face: what is always there, what varies, and how it changes speech.

    Attributes:
        core: ARKit weights at weight 1.
        variants: weights of which a take adds a random mixture.
        articulation: gain on the mouth's movements in speech.
        head_pitch: mean lift of the head in radians.
        head_energy: gain on head motion.
        parted: how far the lips stay parted at rest, 0 (shut) to 1.
    """

    core: dict[str, float]
    variants: tuple[dict[str, float], ...]
    articulation: float
    head_pitch: float
    head_energy: float
    parted: float


# Prototypes of FACS, then moved shape by shape on frames in which the experts speak, for three things at once: that a
# face tracker's readings change as actors' do, what expression networks say, and what it costs recognition networks,
# none of which judges the results that are reported; and by eye on contact sheets. How, and in which order, stands in
# docs/measurements.md. What speech adds is part of the face: anger shouts and bares teeth, surprise rounds its lips.
# A wrinkled nose costs most likeness and is disgust's: anger has none, its mouth is squared by the funnel (action unit
# 22) instead. Fear costs more likeness than any other and is given .88 of what the networks would have. Weights beyond
# 1 and below 0 are wanted: the table's brows and lids move little at weight 1, anger pulls brows below their place, and
# lips part over teeth whose jaw stays up.
EXPRESSIONS: dict[str, Expression] = {
    "happy": Expression(
        {"mouthSmile": 0.7, "mouthStretch": 0.14, "mouthUpperUp": 0.2, "mouthDimple": 0.18, "cheekSquint": 0.25,
         "eyeSquint": 0.28, "browInnerUp": -0.1, "browOuterUp": 0.1},
        ({"mouthLowerDown": 0.3}, {"browOuterUp": 0.3, "browInnerUp": 0.3}, {"mouthStretch": 0.25}),
        1.05, 0.02, 1.2, 0.6,
    ),
    "sad": Expression(
        {"browDown": 0.6, "browInnerUp": 1.04, "browOuterUp": -0.17, "eyeWide": -0.11, "eyeSquint": 0.24,
         "cheekSquint": 0.15, "noseSneer": -0.04, "mouthFrown": 0.51, "mouthStretch": 0.09, "mouthDimple": 0.1,
         "mouthPress": 0.15, "mouthUpperUp": -0.16, "mouthLowerDown": -0.17, "mouthShrugLower": 0.47,
         "mouthShrugUpper": -0.06, "mouthRollLower": 0.09, "mouthRollUpper": -0.1, "mouthFunnel": -0.18,
         "mouthClose": -0.2, "jawOpen": -0.13, "eyeLookDown": 0.08},
        ({"browDown": 0.3}, {"mouthRollLower": 0.2, "eyeLookDown": 0.12}, {"mouthShrugUpper": 0.2}),
        0.88, -0.06, 0.6, 0.0,
    ),
    "angry": Expression(
        {"browDown": 0.91, "browInnerUp": -0.58, "browOuterUp": 0.23, "eyeWide": -0.36, "eyeSquint": 0.52,
         "eyeBlink": -0.13, "cheekSquint": -0.07, "noseSneer": -0.08, "mouthSmile": -0.19, "mouthFrown": -0.04,
         "mouthStretch": 0.17, "mouthDimple": -0.1, "mouthPress": -0.2, "mouthUpperUp": 0.8, "mouthLowerDown": 0.28,
         "mouthShrugLower": -0.24, "mouthShrugUpper": 0.1, "mouthRollUpper": 0.22, "mouthFunnel": 0.12,
         "mouthPucker": -0.07, "mouthClose": -0.33, "jawOpen": 0.04, "jawForward": 0.32, "cheekPuff": -0.08},
        ({"mouthLowerDown": 0.2, "jawForward": 0.4}, {"mouthStretch": 0.2},
         {"mouthPress": 0.5, "mouthLowerDown": -0.3}),
        1.35, -0.04, 1.5, 0.35,
    ),
    "disgusted": Expression(
        {"browDown": -0.04, "browInnerUp": 0.04, "browOuterUp": -0.08, "eyeSquint": 0.65, "cheekSquint": 0.34,
         "noseSneer": 0.29, "mouthSmile": -0.26, "mouthFrown": 0.57, "mouthStretch": -0.12, "mouthUpperUp": 0.29,
         "mouthShrugLower": 0.49, "mouthShrugUpper": -0.14, "mouthRollLower": 0.24, "mouthFunnel": -0.07,
         "mouthClose": -0.45, "jawOpen": -0.4},
        ({"mouthShrugLower": 0.3}, {"mouthLowerDown": 0.2}, {"mouthShrugUpper": 0.3}),
        0.8, 0.04, 0.8, 0.3,
    ),
    "fearful": Expression(
        {"browDown": 0.52, "browInnerUp": 1.16, "browOuterUp": -0.06, "eyeWide": 1.67, "eyeSquint": -0.09,
         "eyeBlink": -0.19, "cheekSquint": -0.11, "noseSneer": -0.09, "mouthSmile": 0.15, "mouthFrown": -0.04,
         "mouthStretch": 0.18, "mouthDimple": 0.08, "mouthPress": 0.1, "mouthLowerDown": 0.59,
         "mouthShrugUpper": -0.12, "mouthRollLower": 0.28, "mouthRollUpper": -0.12, "mouthFunnel": -0.22,
         "mouthPucker": 0.05, "mouthClose": -0.35, "jawOpen": -0.07, "jawForward": 0.08},
        ({"mouthLowerDown": 0.3}, {"browDown": 0.3}, {"mouthUpperUp": 0.2}),
        0.85, 0.03, 0.9, 0.9,
    ),
    "surprised": Expression(
        {"browInnerUp": 0.62, "browOuterUp": 0.55, "eyeWide": 2.47, "eyeSquint": -0.61, "eyeBlink": -0.15,
         "noseSneer": -0.03, "mouthSmile": 0.11, "mouthFrown": -0.16, "mouthStretch": -0.04, "mouthDimple": 0.13,
         "mouthPress": 0.08, "mouthUpperUp": 0.08, "mouthLowerDown": 0.16, "mouthShrugLower": -0.09,
         "mouthRollLower": -0.05, "mouthRollUpper": 0.03, "mouthFunnel": 0.28, "mouthPucker": -0.08,
         "mouthClose": 0.03, "jawOpen": 0.4, "jawForward": -0.08, "cheekPuff": 0.08},
        ({"mouthFunnel": 0.2}, {"jawOpen": 0.1}, {"browInnerUp": 0.15}),
        0.9, 0.05, 1.0, 1.0,
    ),
}  # fmt: skip

_WIDEST = 3.6  # beyond the table's wide lids, with the noise of a take
_LOUDEST = 1.4  # gain on a mixture of unlike expressions: two at right angles, each at half, need the root of 2
_YIELDING = 2.0  # of a mouth rounded by one emotion, for each weight of another's smile

# What an emotion of the lips must leave to speech: rounding fights a smile, so both give way
_SMILE = [ARKIT_NAMES.index(f"mouthSmile{side}") for side in ("Left", "Right")]
_ROUND = [i for i, n in enumerate(ARKIT_NAMES) if n.startswith(("mouthPucker", "mouthFunnel"))]
_WIDE = [i for i, n in enumerate(ARKIT_NAMES) if n.startswith(("mouthSmile", "mouthStretch", "mouthDimple"))]


def sample_expression(name: str, rng: np.random.Generator) -> Array:
    """One face of the emotion at weight 1: ARKit weights ``[52]``."""
    expression = EXPRESSIONS[name]
    face = arkit_vector(expression.core) * rng.uniform(0.88, 1.12, len(ARKIT_NAMES)).astype(np.float32)
    shares = rng.dirichlet(np.ones(len(expression.variants)))
    for share, variant in zip(shares, expression.variants, strict=True):
        face += arkit_vector(variant) * float(share)
    for row, known in enumerate(ARKIT_NAMES):
        if known.endswith("Left"):
            tilt = float(rng.normal(0, 0.06))
            face[row] *= 1 + tilt
            face[ARKIT_NAMES.index(known.removesuffix("Left") + "Right")] *= 1 - tilt
    return np.clip(face, -1.5, _WIDEST)


def compound(emotion: Array, faces: Array) -> Array:
    """The face of a mixture of emotions, ARKit weights ``[F, 52]``; that of one emotion is its own times its weight.

    The mean of two faces shows half of either, less than people's compound expressions do, which keep most of the
    action units of both (Du, Tao and Martinez, 2014). So it is made as large as those faces are on average. Where they
    disagree, a rounded mouth gives way to another's smile.

    Args:
        emotion: weights ``[F, 6]``.
        faces: of the six emotions at weight 1, ``[6, 52]``.
    """
    mixed = emotion @ faces
    smiles = emotion * np.maximum(faces[:, _SMILE].mean(1), 0)
    kept = 1 - np.clip(_YIELDING * (smiles.sum(1, keepdims=True) - smiles), 0, 1)
    rounded = faces[:, _ROUND]
    mixed[:, _ROUND] = (emotion * kept) @ np.maximum(rounded, 0) + emotion @ np.minimum(rounded, 0)
    shapes = arkit_shapes().reshape(len(ARKIT_NAMES), -1)
    wanted = emotion @ np.linalg.norm(faces @ shapes, axis=1)
    gain = np.clip(wanted / np.maximum(np.linalg.norm(mixed @ shapes, axis=1), 1e-6), 1, _LOUDEST)
    return np.asarray(np.where((emotion > 0).sum(1, keepdims=True) > 1, mixed * gain[:, None], mixed), np.float32)


def combine(mouth: Array, face: Array) -> Array:
    """Speech and expression together, ARKit weights ``[F, 52]`` each; rounding and spreading give way to each other."""
    both = mouth + face
    rounding = np.clip(mouth[:, _ROUND].sum(1, keepdims=True), 0, 1)
    spreading = np.clip(face[:, _WIDE].sum(1, keepdims=True) / 2, 0, 1)
    both[:, _WIDE] -= face[:, _WIDE] * 0.45 * rounding
    both[:, _ROUND] -= mouth[:, _ROUND] * 0.35 * spreading
    return both
