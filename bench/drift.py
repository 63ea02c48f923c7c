"""Whether a long film drifts: colour, the face's geometry and the head's pose in each tenth of it.

    python bench/drift.py LONG.mp4 --out R.json

tracks samples of each tenth and prints how it differs from the first one: the mean colour of skin (grey levels), the
mean shape of the rigid points and the outline after the head's pose is taken out (thousandths of the eye distance),
mean and deviation of the head's rotation (degrees), and the 90th percentile of the lip gap. Two halves of the first
tenth are compared the same way, which shows what is no drift.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.generated import be_polite  # noqa: E402
from bench.tables import show  # noqa: E402
from mooe.errors import MooeError  # noqa: E402
from mooe.face.alignment import HeadAlignment, rotation_vector  # noqa: E402
from mooe.face.regions import FACE_OVAL, LEFT_EYE, RIGHT_EYE, RIGID  # noqa: E402
from mooe.face.tracker import Face, FaceTracker  # noqa: E402
from mooe.media import read_video, write_json  # noqa: E402

_PARTS = 10
_SHAPE = sorted({*RIGID, *FACE_OVAL, RIGHT_EYE[0], LEFT_EYE[0], 1, 4, 168})
_CHEEKS = (50, 280, 151)  # middles of the cheeks and the forehead
_PATCH = 0.08  # half side of a patch of skin, eye distances


@dataclass
class Part:
    """What was seen in a part of the film; a row a sampled frame."""

    colors: list[NDArray[np.float64]] = field(default_factory=list)
    shapes: list[NDArray[np.float32]] = field(default_factory=list)
    rotations: list[NDArray[np.float32]] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)

    def add(self, frame: NDArray[np.uint8], face: Face) -> None:
        """Look at a frame."""
        alignment = HeadAlignment.from_landmarks(face.landmarks)
        head = alignment.to_head(face.landmarks)
        self.shapes.append(head[_SHAPE, :2])
        self.rotations.append(np.degrees(rotation_vector(alignment.rotation)))
        self.gaps.append(float(np.linalg.norm(head[13, :2] - head[14, :2])))
        reach = max(round(_PATCH * alignment.scale), 1)
        patches = []
        for point in _CHEEKS:
            x, y = face.landmarks[point, :2].astype(int)
            patches.append(frame[max(y - reach, 0) : y + reach, max(x - reach, 0) : x + reach].reshape(-1, 3))
        self.colors.append(np.concatenate(patches).mean(0))

    def half(self, number: int) -> Part:
        """Its first or second half."""
        middle = len(self.gaps) // 2
        span = slice(0, middle) if number == 0 else slice(middle, None)
        return Part(self.colors[span], self.shapes[span], self.rotations[span], self.gaps[span])

    def beside(self, other: Part) -> dict[str, Any]:
        """How it differs from another part."""
        color = np.mean(self.colors, 0) - np.mean(other.colors, 0)
        shape = np.mean(self.shapes, 0) - np.mean(other.shapes, 0)
        pose = np.mean(self.rotations, 0) - np.mean(other.rotations, 0)
        return {
            "color": color.tolist(), "shape": float(1000 * np.sqrt((shape**2).sum(-1).mean())), "pose": pose.tolist(),
            "pose_deviation": np.std(self.rotations, 0).tolist(), "gap_p90": float(np.percentile(self.gaps, 90)),
            "frames": len(self.gaps),
        }  # fmt: skip


def look_at(film: Path, samples: int) -> list[Part]:
    """Sample the film evenly, in ten parts.

    Args:
        film: the video.
        samples: frames a part that are tracked.

    Raises:
        MooeError: it cannot be read, or is too short.
    """
    parts = [Part() for _ in range(_PARTS)]
    with read_video(film) as video, FaceTracker(max_faces=1) as tracker:
        count = video.info.frames
        step = count // (_PARTS * samples)
        if step < 1:
            raise MooeError(f"{film} has only {count} frames: give a longer film or fewer --samples.")
        for number, frame in enumerate(video):
            part = number * _PARTS // count
            if number % step == 0 and part < _PARTS and (faces := tracker.detect(frame)):
                parts[part].add(frame, faces[0])
    if any(len(part.gaps) < 4 for part in parts):
        raise MooeError(f"{film} shows no face most of the time: give a film of a face.")
    return parts


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Drift of colour, geometry and pose over a long film.")
    parser.add_argument("film", type=Path)
    parser.add_argument("--samples", type=int, default=100, help="frames of each tenth that are tracked")
    parser.add_argument("--out", type=Path, help="JSON file")
    given = parser.parse_args()
    be_polite()
    try:
        parts = look_at(given.film, given.samples)
    except MooeError as error:
        sys.exit(str(error))
    first = parts[0]
    halves, tenths = first.half(1).beside(first.half(0)), [part.beside(first) for part in parts]
    rows = [["halves of 1", *_row(halves)], *([str(n + 1), *_row(part)] for n, part in enumerate(tenths))]
    header = ["tenth", "skin colour", "shape", "pose (x y z)", "pose deviation", "lip gap, 90 %", "frames"]
    show("Beside the first tenth", header, rows)
    if given.out:
        write_json(given.out, {"halves_of_the_first": halves, "tenths": tenths})


def _row(part: dict[str, Any]) -> Sequence[object]:
    numbers = {name: " ".join(f"{x:.2f}" for x in part[name]) for name in ("color", "pose", "pose_deviation")}
    return (
        numbers["color"], part["shape"], numbers["pose"], numbers["pose_deviation"], part["gap_p90"], part["frames"],
    )  # fmt: skip


if __name__ == "__main__":
    main()
