"""Fit the corpus' expressions to how people's faces were measured to change when they act an emotion.

    python training/assets/calibrate_expressions.py PORTRAIT...

Each expression is drawn on the portraits by the decoder, MediaPipe reads the blend shapes, and a few damped
Gauss-Newton steps move the expression's ARKit weights so that the readings change from neutral as actors' do, staying
near the prototype of the Facial Action Coding System. No judge of emotion takes part: a judge only measures the result.
Prints the weights to put into ``training/corpus/expressions.py``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mooe.decoder import PortraitDecoder, encode_portrait
from mooe.face import FaceTracker
from mooe.face.topology import arkit_to_displacement, arkit_vector
from mooe.media.images import read_image
from mooe.motion.lips import keep_apart, shut_lips
from training.corpus.expressions import EXPRESSIONS, combine

Array = NDArray[np.float64]

# Change of the mean reading from neutral while talking, three actors at their strongest level
TARGETS: dict[str, dict[str, float]] = {
    "happy": {"mouthSmile": 0.43, "mouthUpperUp": 0.41, "eyeSquint": 0.22, "mouthLowerDown": 0.15, "browOuterUp": 0.1},
    "sad": {"eyeSquint": 0.42, "browOuterUp": -0.29, "eyeBlink": 0.14, "mouthFrown": 0.10, "browDown": 0.08},
    "angry": {
        "eyeSquint": 0.46, "browOuterUp": -0.40, "browInnerUp": -0.42, "browDown": 0.15, "jawOpen": 0.16,
        "mouthUpperUp": 0.16,
    },
    "disgusted": {
        "browInnerUp": -0.40, "eyeSquint": 0.37, "browOuterUp": -0.33, "mouthUpperUp": 0.26, "mouthStretch": 0.18,
        "mouthLowerDown": 0.16, "browDown": 0.16,
    },
    "fearful": {
        "browInnerUp": 0.27, "jawOpen": 0.17, "browOuterUp": 0.13, "eyeWide": 0.14, "mouthStretch": 0.13,
        "mouthSmile": 0.13,
    },
    "surprised": {"browInnerUp": 0.41, "browOuterUp": 0.38, "eyeWide": 0.20, "jawOpen": 0.17, "eyeSquint": -0.15},
}  # fmt: skip
READINGS = (
    "mouthSmile", "mouthUpperUp", "mouthLowerDown", "mouthFrown", "mouthStretch", "jawOpen", "eyeSquint", "eyeWide",
    "eyeBlink", "browInnerUp", "browOuterUp", "browDown",
)  # fmt: skip
SHAPES = (*READINGS, "cheekSquint", "noseSneer", "mouthShrugLower", "mouthPress")
SPEECH: tuple[dict[str, float], ...] = ({}, {"jawOpen": 0.2, "mouthLowerDown": 0.2, "mouthUpperUp": 0.08})
# What the tracker is known to under-read or that was not reported counts less
_DOUBTFUL = {"browDown": 0.5}
_UNREPORTED = 0.35
_STEP, _NEAR, _LOW, _HIGH = 0.3, 0.12, -1.0, 2.0


class Readings:
    """Mean blend-shape readings of an expression over portraits and mouth shapes."""

    def __init__(self, paths: list[Path]) -> None:
        self.tracker = FaceTracker(max_faces=1)
        self.decoders = []
        for path in paths:
            image = read_image(path)
            self.decoders.append(PortraitDecoder(encode_portrait(image, self.tracker.detect_one(image))))
        self.mouths = np.stack([arkit_vector(mouth) for mouth in SPEECH])
        self.rest = self.read(dict.fromkeys(SHAPES, 0.0), parted=0.0)

    def read(self, weights: dict[str, float], parted: float) -> Array:
        face = np.tile(arkit_vector(weights), (len(self.mouths), 1))
        drawn = arkit_to_displacement(combine(self.mouths, face))
        # the first mouth is at rest
        shut = np.array([1 - parted] + [0.0] * (len(self.mouths) - 1), np.float32)
        still, rows = np.zeros(3, np.float32), []
        for decoder in self.decoders:
            for displacement in keep_apart(shut_lips(drawn, shut)):
                faces = self.tracker.detect(decoder.render(displacement, still, still))
                if faces:
                    seen = faces[0].blendshapes
                    sides = [[v for n, v in seen.items() if n.startswith(name)] for name in READINGS]
                    rows.append([float(np.mean(s)) for s in sides])
        return np.mean(rows, 0)


def calibrate(name: str, readings: Readings, steps: int) -> dict[str, float]:
    """ARKit weights of an expression whose readings change as actors' do."""
    expression = EXPRESSIONS[name]
    start = np.array([expression.core.get(s, 0.0) for s in SHAPES])
    fixed = {k: v for k, v in expression.core.items() if k not in SHAPES}
    target = np.array([TARGETS[name].get(r, 0.0) for r in READINGS])
    trust = np.array([_DOUBTFUL.get(r, 1.0) if r in TARGETS[name] else _UNREPORTED for r in READINGS])

    def change(values: Array) -> Array:
        return readings.read({**fixed, **dict(zip(SHAPES, values, strict=True))}, expression.parted) - readings.rest

    weights = start.copy()
    for step in range(steps):
        now = change(weights)
        print(name, step, "error", np.round(float(np.abs((now - target) * trust).mean()), 4), flush=True)
        slopes = []
        for k in range(len(SHAPES)):
            moved = weights.copy()
            moved[k] += _STEP
            slopes.append((change(moved) - now) / _STEP)
        slope = np.stack(slopes, 1) * trust[:, None]
        pull = _NEAR**2 * np.eye(len(SHAPES))
        move = np.linalg.solve(slope.T @ slope + pull, slope.T @ ((target - now) * trust) + pull @ (start - weights))
        weights = np.clip(weights + 0.8 * np.clip(move, -0.8, 0.8), _LOW, _HIGH)
    now = change(weights)
    print(name, "end error", np.round(float(np.abs((now - target) * trust).mean()), 4))
    print("   ", {r: (round(float(a), 2), round(float(b), 2)) for r, a, b in zip(READINGS, now, target, strict=True)})
    return {**fixed, **{s: round(float(w), 2) for s, w in zip(SHAPES, weights, strict=True) if abs(w) >= 0.05}}


def main() -> None:
    """Calibrate every expression on the portraits given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("portraits", type=Path, nargs="+")
    parser.add_argument("--steps", type=int, default=3)
    options = parser.parse_args()
    readings = Readings(options.portraits)
    for name in EXPRESSIONS:
        print(name, calibrate(name, readings, options.steps), flush=True)


if __name__ == "__main__":
    main()
