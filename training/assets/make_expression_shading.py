"""Make ``mooe/assets/expression_shading.safetensors``: how movements of the face change the shading of the skin.

Two kinds of map on the canonical face, one pair a movement. ``ratio``: change of log luminance at full strength; folds
of a smile are learned from photographs by ridge regression of their fine shading on a tracker's readings, with the
portraits' sex and mirrored pictures beside them; wrinkles, which lie elsewhere in every face and average out, are drawn
along the lines on which the Facial Action Coding System finds them. ``own``: how far a movement deepens the dark lines
that a face has there already. And one map ``fold``: where smiles fold, from the nose past the corners of the mouth.

    python training/assets/make_expression_shading.py --portraits FOLDER

File names of portraits that begin with "male" or "female" give the sex; others count as neither.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from mooe.decoder.shading import MOVEMENTS, canonical_pixels, face_flow
from mooe.errors import MooeError
from mooe.face.regions import LEFT_BROW, LEFT_EYE, LIPS_INNER, LIPS_OUTER, RIGHT_BROW, RIGHT_EYE
from mooe.face.tracker import Face, FaceTracker
from mooe.media.images import read_image

Float = NDArray[np.float32]
SIZE = 192
_LIMIT = 0.5
_RIDGE = 1.0
_DARK, _BRIGHT = -0.30, 0.12  # log luminance in a wrinkle's valley and on its ridges
_VALLEY, _RIDGES = 0.010, 0.024  # their widths, eye distances


def canonical_texture(image: NDArray[np.uint8], face: Face) -> tuple[Float, Float]:
    """Log luminance on the canonical face ``[SIZE, SIZE]``, and 1 where there is skin."""
    source = np.asarray(face.landmarks[:468, :2] - 0.5, np.float32)
    flow, skin = face_flow(canonical_pixels(SIZE), source, np.zeros(468, np.float32), (SIZE, SIZE))
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    sampled = cv2.remap(grey, flow[..., 0], flow[..., 1], cv2.INTER_LINEAR)
    return np.log(sampled + 12).astype(np.float32), skin


def fine_shading(texture: Float, skin: Float) -> Float:
    """A texture less what varies slowly over the face."""
    slow = cv2.GaussianBlur(texture * skin, (0, 0), SIZE * 0.055) / (
        cv2.GaussianBlur(skin, (0, 0), SIZE * 0.055) + 1e-3
    )
    return np.clip(cv2.GaussianBlur(texture, (0, 0), 0.6) - slow, -_LIMIT, _LIMIT) * skin


def learned_smile(files: list[Path]) -> Float:
    """Change of fine shading from no smile to a full one, ``[SIZE, SIZE]``."""
    rows, readings = [], []
    with FaceTracker() as tracker:
        for file in files:
            image = read_image(file)
            try:
                face = tracker.detect_one(image)
            except MooeError as error:
                print(f"{file.name}: {error}")
                continue
            rows.append(fine_shading(*canonical_texture(image, face)))
            smile = np.mean([face.blendshapes[f"mouthSmile{side}"] for side in ("Left", "Right")])
            squint = np.mean([face.blendshapes[f"eyeSquint{side}"] for side in ("Left", "Right")])
            sex = {"m": 0.5, "f": -0.5}.get(file.name[:1], 0.0)
            readings.append([1.0, sex, smile * (0.5 + squint)])
    a = np.array(readings, np.float64)
    a[:, 2] -= a[:, 2].mean()
    shading = np.stack(rows).reshape(len(rows), -1)
    mirrored = np.stack(rows)[:, :, ::-1].reshape(len(rows), -1)
    gram = 2 * a.T @ a + np.diag([0, 0, _RIDGE])
    solved = np.linalg.solve(gram, a.T @ (shading + mirrored))
    print(f"{len(rows)} portraits, smile readings' spread {a[:, 2].std():.2f}")
    return solved[2].reshape(SIZE, SIZE).astype(np.float32)


class Canvas:
    """Draws wrinkles on the canonical face.

    Attributes:
        unit: pixels an eye distance.
    """

    def __init__(self) -> None:
        self.points = canonical_pixels(SIZE)
        self.unit = float(np.linalg.norm(self.points[33] - self.points[263]))
        self.rows, self.columns = np.mgrid[:SIZE, :SIZE].astype(np.float32)

    def near(self, members: tuple[int, ...], radius: float) -> Float:
        """1 at landmarks, falling smoothly to nothing about ``radius`` eye distances away."""
        distance = np.min([np.hypot(self.columns - x, self.rows - y) for x, y in self.points[list(members)]], axis=0)
        return np.exp(-((distance / (radius * self.unit)) ** 2)).astype(np.float32)

    def wrinkle(self, line: NDArray[np.floating], depth: float = 1.0, width: float = 1.0) -> Float:
        """A wrinkle along a polyline ``[N, 2]`` in pixels, tapered at its ends."""
        total = np.zeros((SIZE, SIZE), np.float32)
        fine = np.stack(
            [np.interp(np.linspace(0, len(line) - 1, 160), np.arange(len(line)), line[:, k]) for k in range(2)], 1
        )
        distance = np.hypot(self.columns[..., None] - fine[:, 0], self.rows[..., None] - fine[:, 1]) / self.unit
        along = distance.argmin(-1) / (len(fine) - 1)
        taper = np.sin(np.pi * np.clip(along * 0.94 + 0.03, 0, 1)) ** 0.7
        closest = distance.min(-1)
        total += _DARK * np.exp(-((closest / (_VALLEY * width)) ** 2))
        total += _BRIGHT * np.exp(-((closest / (_RIDGES * width)) ** 2))
        return np.asarray(total * taper * depth, np.float32)

    def mirrored(self, drawing: Float) -> Float:
        """A drawing of one side on both sides."""
        return drawing + drawing[:, ::-1]


def _forehead_lines(canvas: Canvas) -> Float:
    brows = canvas.points[[70, 63, 105, 66, 107, 9, 336, 296, 334, 293, 300]]
    hair = canvas.points[[54, 103, 67, 109, 10, 10, 10, 338, 297, 332, 284]]
    total = np.zeros((SIZE, SIZE), np.float32)
    for share, depth in ((0.34, 0.7), (0.52, 1.0), (0.70, 0.8)):
        line = brows + (hair - brows) * share
        line[:, 1] += canvas.unit * 0.008 * np.cos(np.arange(len(line)) * 1.9 + 9 * share)
        total += canvas.wrinkle(line[1:-1], depth, 1.25)
    return total


def _frown_lines(canvas: Canvas) -> Float:
    points, unit = canvas.points, canvas.unit
    upright = points[9] + unit * np.array([[-0.055, -0.10], [-0.062, -0.02], [-0.050, 0.06]])
    root = points[168] + unit * np.array([[-0.08, 0.0], [0.0, 0.01], [0.08, 0.0]])
    shade = -0.12 * canvas.near((55, 285, 107, 336), 0.07)
    return canvas.mirrored(canvas.wrinkle(upright, 1.0, 1.3)) + canvas.wrinkle(root, 0.6, 1.3) + shade


def _sneer_lines(canvas: Canvas, smile: Float) -> Float:
    points, unit = canvas.points, canvas.unit
    total = np.zeros((SIZE, SIZE), np.float32)
    for drop, depth in ((0.02, 0.7), (0.08, 1.0), (0.14, 0.7)):
        line = points[168] + unit * np.array([[-0.02, drop + 0.07], [-0.11, drop + 0.02]])
        total += canvas.mirrored(canvas.wrinkle(line, depth, 1.2))
    # the fold from the wings of the nose is that of a smile, its upper half
    return total + 0.9 * smile * canvas.near((49, 279, 129, 358, 203, 423), 0.16)


def _corner_lines(canvas: Canvas) -> Float:
    points, unit = canvas.points, canvas.unit
    corner = points[61]
    down = corner + unit * np.array([[-0.02, 0.02], [-0.055, 0.10], [-0.06, 0.18]])
    chin = points[[204, 194, 201, 200, 421, 418, 424]].copy()
    chin[:, 1] -= 0.04 * unit
    return canvas.mirrored(canvas.wrinkle(down, 0.8, 1.5)) + canvas.wrinkle(chin, 0.35, 2.0)


def _grief_lines(canvas: Canvas) -> Float:
    points, unit = canvas.points, canvas.unit
    upright = points[9] + unit * np.array([[-0.055, 0.06], [-0.058, -0.02], [-0.066, -0.09], [-0.082, -0.16]])
    brows = canvas.points[[105, 66, 107, 9, 336, 296, 334]]
    hair = canvas.points[[67, 109, 10, 10, 10, 338, 297]]
    total = canvas.mirrored(canvas.wrinkle(upright, 1.1, 1.5))
    for share, depth in ((0.42, 0.7), (0.58, 0.5)):
        line = (brows + (hair - brows) * share)[1:-1]
        line[:, 1] -= unit * 0.03 * np.sin(np.pi * np.linspace(0, 1, len(line)))
        total = total + canvas.wrinkle(line, depth, 1.4)
    return total - 0.10 * canvas.near((55, 285), 0.05)


def smile_folds(canvas: Canvas) -> Float:
    """Where smiles fold, ``[SIZE, SIZE]`` in 0..1, lips left out."""
    line = (203, 206, 216, 205, 92, 61, 57, 202, 210, 212, 214, 423, 426, 436, 425, 322, 291, 287, 422, 430, 432, 434)
    near = cv2.GaussianBlur(np.minimum(1.5 * canvas.near(line, 0.08), 1), (0, 0), 3.0)
    return near * (1 - canvas.near(LIPS_OUTER + LIPS_INNER, 0.05))


def shading_tables(smile: Float) -> dict[str, NDArray[np.float16]]:
    """The shipped tables ``ratio`` and ``own``, float16 ``[movement, SIZE, SIZE]``, and ``fold`` ``[SIZE, SIZE]``."""
    canvas = Canvas()
    forehead = canvas.near((151, 108, 337, 69, 299, 104, 333), 0.16)
    brows = canvas.near((9, 8, 107, 336, 168), 0.12)
    folds = canvas.near((203, 423, 206, 426, 216, 436, 205, 425, 92, 322), 0.10)
    outer_eye = canvas.near((226, 446, 130, 359, 35, 265), 0.06)
    corners = canvas.near((61, 291, 57, 287, 202, 422, 211, 431), 0.08)
    nose = canvas.near((168, 6, 122, 351, 196, 419, 203, 423), 0.07)
    # lips and lids are drawn by the mesh, the mouth and the eyes
    smile = smile * (1 - canvas.near(LIPS_OUTER + LIPS_INNER, 0.06)) * (1 - canvas.near(RIGHT_EYE + LEFT_EYE, 0.05))
    smile = smile * (1 - canvas.near(RIGHT_BROW + LEFT_BROW, 0.08)) * (1 - canvas.near((2, 97, 326, 164), 0.07))
    ratio = {
        "smile": smile,
        "brow_raise": _forehead_lines(canvas),
        "brow_lower": _frown_lines(canvas),
        "sneer": _sneer_lines(canvas, smile),
        "frown": _corner_lines(canvas),
        "grief": _grief_lines(canvas),
    }
    own = {
        "smile": 0.8 * folds + 0.5 * outer_eye,
        "brow_raise": 1.0 * forehead,
        "brow_lower": 0.9 * brows,
        "sneer": 0.7 * nose,
        "frown": 0.7 * corners,
        "grief": 0.9 * brows + 0.5 * forehead,
    }
    return {
        "ratio": np.stack([ratio[name] for name in MOVEMENTS]).astype(np.float16),
        "own": np.stack([own[name] for name in MOVEMENTS]).astype(np.float16),
        "fold": smile_folds(canvas).astype(np.float16),
    }


def main() -> None:
    """Learn, draw and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--portraits", type=Path, required=True, help="folder of portraits to learn folds from")
    parser.add_argument("--leave-out", nargs="*", default=[], help="stems of portraits kept for tests")
    parser.add_argument("--out", type=Path, default=Path("mooe/assets/expression_shading.safetensors"))
    options = parser.parse_args()
    kinds = {".jpg", ".jpeg", ".png", ".webp"}
    files = [
        f for f in sorted(options.portraits.iterdir())
        if f.suffix.lower() in kinds and f.stem not in options.leave_out
    ]  # fmt: skip
    smile = learned_smile(files)
    save_file(shading_tables(smile), options.out)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
