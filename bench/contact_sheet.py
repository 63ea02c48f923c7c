"""Clips side by side in one picture.

    python bench/contact_sheet.py OUT.png CLIP... [--frames 8 | --every N] [--zoom mouth|eyes]
    python bench/contact_sheet.py OUT.png CLIP... --slice mouth|eyes

Rows are clips, columns frames at even times. A slice shows one line of pixels over time instead: down the
middle of the mouth or across the eyes; trembling shows as a ragged edge, a jump as a step.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mooe.errors import MooeError
from mooe.face.regions import LEFT_EYE, LIPS_INNER, LIPS_OUTER, RIGHT_EYE
from mooe.face.tracker import FaceTracker
from mooe.media import read_video

Picture = NDArray[np.uint8]
LABEL_HEIGHT = 14
# What is looked at: landmarks, and the box's width and height in eye distances.
ZOOMS: dict[str, tuple[tuple[int, ...], float, float]] = {
    "mouth": (LIPS_OUTER + LIPS_INNER, 1.2, 1.0),
    "eyes": (RIGHT_EYE + LEFT_EYE, 1.6, 0.8),
    "face": (LIPS_OUTER + RIGHT_EYE + LEFT_EYE, 2.2, 2.4),
}
SLICE_LENGTH = 400  # frames at most


def zoom_box(frame: Picture, zoom: str) -> tuple[slice, slice]:
    """Rows and columns of the frame around the part of the largest face."""
    points, wide, high = ZOOMS[zoom]
    with FaceTracker(max_faces=1) as tracker:
        landmarks = tracker.detect_one(frame).landmarks[:, :2]
    eyes = float(np.linalg.norm(landmarks[RIGHT_EYE[0]] - landmarks[LEFT_EYE[0]]))
    x, y = landmarks[list(points)].mean(axis=0)
    low = np.maximum([y - high * eyes / 2, x - wide * eyes / 2], 0).astype(int)
    return (
        slice(low[0], int(y + high * eyes / 2) + 1),
        slice(low[1], int(x + wide * eyes / 2) + 1),
    )


def load_frames(path: Path, limit: int | None = None) -> list[Picture]:
    """The frames of a clip, up to a limit."""
    frames = []
    with read_video(path) as video:
        for frame in video:
            frames.append(frame)
            if limit and len(frames) == limit:
                break
    return frames


def label(picture: Picture, text: str) -> Picture:
    """Write a line above a picture."""
    canvas = Image.new("RGB", (picture.shape[1], picture.shape[0] + LABEL_HEIGHT), "black")
    canvas.paste(Image.fromarray(picture), (0, LABEL_HEIGHT))
    ImageDraw.Draw(canvas).text((2, 1), text, fill="white")
    return np.array(canvas, np.uint8)


def frame_row(path: Path, count: int, every: int | None, zoom: str | None, width: int) -> Picture:
    """Some frames of a clip beside each other."""
    frames = load_frames(path)
    if every:
        chosen = list(range(0, len(frames), every))
    else:
        chosen = [round((i + 0.5) * len(frames) / count - 0.5) for i in range(count)]
    box = zoom_box(frames[0], zoom) if zoom else (slice(None), slice(None))
    cells = []
    for number, index in enumerate(chosen):
        cell = frames[index][box]
        size = (width, round(width * cell.shape[0] / cell.shape[1]))
        smaller = cell.shape[1] > width
        scaled = cv2.resize(cell, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)
        name = f"{path.stem} " if number == 0 else ""
        cells.append(label(np.asarray(scaled, np.uint8), f"{name}{index / 25:.2f}s"))
    return np.concatenate(cells, axis=1)


def slice_row(path: Path, part: str) -> Picture:
    """One line of pixels over time: time runs to the right, three pixels a frame."""
    frames = load_frames(path, SLICE_LENGTH)
    rows, columns = zoom_box(frames[0], "face")
    parts_rows, parts_columns = zoom_box(frames[0], part)
    if part == "mouth":
        column = (parts_columns.start + parts_columns.stop) // 2
        lines = [frame[rows, column] for frame in frames]
    else:
        row = (parts_rows.start + parts_rows.stop) // 2
        lines = [frame[row, columns] for frame in frames]
    picture = np.repeat(np.stack(lines, axis=1), 3, axis=1)
    scale = max(1, round(300 / picture.shape[0]))
    return label(np.repeat(picture, scale, axis=0), f"{path.stem}, {part}")


def stack(rows: Sequence[Picture]) -> Picture:
    """Rows above each other, narrower ones filled up with black."""
    width = max(row.shape[1] for row in rows)
    return np.concatenate([np.pad(row, ((0, 2), (0, width - row.shape[1]), (0, 0))) for row in rows])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Clips side by side in one picture.")
    parser.add_argument("out", type=Path, help="the picture, .png")
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--frames", type=int, default=8, help="frames a clip")
    parser.add_argument("--every", type=int, help="every n-th frame instead")
    parser.add_argument("--zoom", choices=list(ZOOMS))
    parser.add_argument("--slice", choices=["mouth", "eyes"], help="one line of pixels over time")
    parser.add_argument("--width", type=int, default=160, help="width of a frame in the picture")
    given = parser.parse_args()
    if given.out.suffix.lower() != ".png":
        parser.error("the picture must end in .png.")
    try:
        if given.slice:
            rows = [slice_row(path, given.slice) for path in given.clips]
        else:
            rows = [frame_row(path, given.frames, given.every, given.zoom, given.width) for path in given.clips]
    except MooeError as error:
        sys.exit(str(error))
    Image.fromarray(stack(rows)).save(given.out)


if __name__ == "__main__":
    main()
