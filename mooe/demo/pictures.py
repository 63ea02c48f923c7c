"""Pictures of the page: faces to choose from, the experts' gates over time, the waveform."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import cv2
import numpy as np
from numpy.typing import NDArray

from mooe.demo.mood import COLOURS
from mooe.emotion import EMOTIONS
from mooe.face.tracker import Face

Image = NDArray[np.uint8]
_CHOSEN, _OTHER = (46, 139, 255), (255, 255, 255)
_COLUMNS = 200
_FRAME_RATE = 25


def with_boxes(image: Image, faces: Sequence[Face], chosen: int) -> Image:
    """The picture with a numbered box around each face, the chosen one's blue."""
    drawn = image.copy()
    thick = max(2, round(max(image.shape[:2]) / 250))
    for number, face in enumerate(faces):
        left, top, right, bottom = (round(x) for x in face.box)
        colour = _CHOSEN if number == chosen else _OTHER
        # a dark line around the light one is seen on any picture
        cv2.rectangle(drawn, (left, top), (right, bottom), (20, 20, 20), thick + 2)
        cv2.rectangle(drawn, (left, top), (right, bottom), colour, thick)
        if len(faces) > 1:
            place, scale = (left + 2 * thick, bottom - 3 * thick), thick / 3
            cv2.putText(drawn, str(number + 1), place, cv2.FONT_HERSHEY_SIMPLEX, scale, (20, 20, 20), thick + 3)
            cv2.putText(drawn, str(number + 1), place, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, thick)
    return drawn


def face_at(faces: Sequence[Face], x: float, y: float) -> int:
    """The number of the face nearest to a point in the picture (0 if there is none)."""
    distances = [np.hypot(face.center[0] - x, face.center[1] - y) / face.size for face in faces]
    return int(np.argmin(distances)) if distances else 0


def peaks(waveform: NDArray[np.float32]) -> list[float]:
    """Loudness over time for drawing, at most 200 numbers in [0, 1]."""
    parts = [part for part in np.array_split(np.abs(waveform), _COLUMNS) if len(part)]
    largest = max((float(part.max()) for part in parts), default=0.0) or 1.0
    return [round(float(part.max()) / largest, 3) for part in parts]


def gates_areas(gates: NDArray[np.float32]) -> str:
    """The share of each emotion expert over time as stacked areas, an SVG that stretches to its place."""
    if not len(gates):
        return ""
    rows = np.stack([part.mean(0) for part in np.array_split(gates, min(len(gates), _COLUMNS))])
    rows = np.concatenate([rows, rows[-1:]])
    edges = np.concatenate([np.zeros((len(rows), 1)), np.cumsum(rows, 1)], 1)
    places = np.linspace(0, 1000, len(rows))
    shapes = []
    for number, name in enumerate(EMOTIONS):
        lower, upper = (100 - 100 * edges[:, number + side].clip(0, 1) for side in (0, 1))
        points = [*zip(places, upper, strict=True), *zip(places[::-1], lower[::-1], strict=True)]
        outline = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        shapes.append(f'<polygon points="{outline}" fill="{COLOURS[name]}"><title>{escape(name)}</title></polygon>')
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1000 100" preserveAspectRatio="none" role="img" '
        f'aria-label="Share of each emotion expert over time: {_in_words(gates)}">{"".join(shapes)}</svg>'
    )


def gates_plot(gates: NDArray[np.float32]) -> str:
    """The areas with their legend and the time axis, as HTML."""
    seconds = len(gates) / _FRAME_RATE
    key = "".join(
        f'<li><i style="background:{COLOURS[name]}"></i>{name} {100 * share:.0f} %</li>'
        for name, share in zip(EMOTIONS, gates.mean(0), strict=True)
    )
    quiet = "" if gates.any() else "<p>The film is neutral: no expert takes part.</p>"
    return (
        f'<figure class="mooe-gates"><div class="areas">{gates_areas(gates)}{quiet}</div>'
        f'<div class="axis"><span>0 s</span><span>{seconds / 2:.1f} s</span><span>{seconds:.1f} s</span></div>'
        f"<ul>{key}</ul></figure>"
    )


def _in_words(gates: NDArray[np.float32]) -> str:
    return ", ".join(f"{name} {100 * share:.0f} %" for name, share in zip(EMOTIONS, gates.mean(0), strict=True))
