"""Small charts as PNG, drawn with Pillow: lines over time, a confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mooe.emotion.taxonomy import EMOTIONS
from mooe.media.outputs import as_output_error, replacing

Box = tuple[int, int, int, int]
Color = tuple[int, int, int]

# Told apart by people who do not see red or green as others do (Okabe and Ito, 2008)
COLORS: tuple[Color, ...] = (
    (230, 159, 0), (0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233), (120, 120, 120),
)  # fmt: skip
_INK, _FAINT, _WAVE = (40, 40, 40), (215, 215, 215), (150, 150, 160)
_WIDTH, _MARGIN = 1000, 60
_FONT_SIZE = 14


class Chart:
    """A white picture with axes to draw on.

    Args:
        width, height: pixels.
    """

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width, height), "white")
        self._draw = ImageDraw.Draw(self.image)
        self._font = ImageFont.load_default(_FONT_SIZE)

    def text(self, place: tuple[float, float], text: str, anchor: str = "la", color: Color = _INK) -> None:
        """Write at a place; `anchor` as in Pillow."""
        self._draw.text(place, text, fill=color, font=self._font, anchor=anchor)

    def axes(
        self, box: Box, x_ticks: Mapping[float, str], y_ticks: Mapping[float, str], spans: tuple[float, float]
    ) -> None:
        """Frame and ticks of a field whose x and y run from 0 to `spans`."""
        left, top, right, bottom = box
        self._draw.rectangle(box, outline=_INK)
        for value, label in y_ticks.items():
            y = bottom - value / spans[1] * (bottom - top)
            self._draw.line((left, y, right, y), fill=_FAINT)
            self.text((left - 6, y), label, "rm")
        for value, label in x_ticks.items():
            x = left + value / spans[0] * (right - left)
            self._draw.line((x, bottom, x, bottom + 4), fill=_INK)
            self.text((x, bottom + 6), label, "ma")

    def line(self, box: Box, xs: Sequence[float], ys: Sequence[float], color: Color) -> None:
        """A line through points whose coordinates are shares of the box, y upwards."""
        left, top, right, bottom = box
        points = [(left + x * (right - left), bottom - y * (bottom - top)) for x, y in zip(xs, ys, strict=True)]
        self._draw.line(points if len(points) > 1 else points * 2, fill=color, width=2, joint="curve")

    def bars(self, box: Box, lows: Sequence[float], highs: Sequence[float], color: Color) -> None:
        """A vertical bar in each column of pixels, from low to high as shares of the box's height."""
        left, top, _, bottom = box
        for column, (low, high) in enumerate(zip(lows, highs, strict=True)):
            span = (left + column, bottom - high * (bottom - top), left + column, bottom - low * (bottom - top))
            self._draw.line(span, fill=color)

    def cell(self, box: Box, share: float, label: str) -> None:
        """A filled cell, darker the larger the share in [0, 1], with a number in it."""
        shade = tuple(round(255 - share * (255 - dark)) for dark in COLORS[1])
        self._draw.rectangle(box, fill=shade, outline=_FAINT)
        middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        self.text(middle, label, "mm", (255, 255, 255) if share > 0.55 else _INK)

    def save(self, path: str | PathLike[str]) -> None:
        """Write a PNG, whole or not at all (raises OutputError)."""
        target = Path(path)
        with replacing(target) as temporary, as_output_error(target):
            self.image.save(temporary, format="PNG")


def draw_gates(
    path: str | PathLike[str],
    waveform: NDArray[np.float32],
    gates: NDArray[np.float32],
    frame_rate: float = 25.0,
    sample_rate: int = 16_000,
) -> None:
    """Draw the waveform and, under it, the gate of each expert over time.

    Args:
        path: the PNG to write; replaced if it is there.
        waveform: the speech, float32 [n] in [-1, 1].
        gates: share of each expert, [F, 6] in the order of `EMOTIONS`; other numbers of experts are numbered.
        frame_rate, sample_rate: of gates and waveform, a second.

    Raises:
        OutputError: the file cannot be written.
    """
    chart = Chart(_WIDTH, 460)
    seconds = max(len(gates) / frame_rate, 1e-3)
    wave, field = (_MARGIN, 20, _WIDTH - 20, 130), (_MARGIN, 150, _WIDTH - 20, 390)
    columns = wave[2] - wave[0]
    pieces = np.array_split(waveform[: round(seconds * sample_rate)].astype(np.float64), columns)
    loudest = max(float(np.abs(waveform).max(initial=0)), 1e-6)
    lows = [0.5 + (piece.min() / loudest / 2 if len(piece) else 0.0) for piece in pieces]
    highs = [0.5 + (piece.max() / loudest / 2 if len(piece) else 0.0) for piece in pieces]
    chart.bars(wave, lows, highs, _WAVE)
    chart.axes(field, _second_ticks(seconds), {0: "0", 0.5: "0.5", 1: "1"}, (seconds, 1.0))
    times = ((np.arange(len(gates)) + 0.5) / len(gates)).tolist()
    names = EMOTIONS if gates.shape[1] == len(EMOTIONS) else [f"expert {i + 1}" for i in range(gates.shape[1])]
    for index, name in enumerate(names):
        color = COLORS[index % len(COLORS)]
        chart.line(field, times, gates[:, index].clip(0, 1).tolist(), color)
        chart.text((_MARGIN + index * 140, 432), name, color=color)
    chart.save(path)


def confusion_chart(names: Sequence[str], rows: Mapping[str, Mapping[str, int]], title: str) -> Chart:
    """A confusion matrix: a row an emotion asked for, a column an emotion seen.

    Args:
        names: the columns.
        rows: counts by name asked for, then by name seen.
        title: stands above.
    """
    cell, left, top = 92, 160, 70
    chart = Chart(left + cell * len(names) + 20, top + 44 * len(rows) + 30)
    chart.text((16, 12), title)
    for column, name in enumerate(names):
        chart.text((left + (column + 0.5) * cell, top - 10), name, "mb")
    for row, (asked, counts) in enumerate(rows.items()):
        y, total = top + row * 44, max(sum(counts.values()), 1)
        chart.text((left - 8, y + 22), asked, "rm")
        for column, name in enumerate(names):
            count = counts.get(name, 0)
            box = (left + column * cell, y, left + (column + 1) * cell - 1, y + 43)
            chart.cell(box, count / total, str(count) if count else "")
    return chart


def curve_chart(curves: Mapping[str, Sequence[tuple[float, float]]], title: str) -> Chart:
    """Curves of points (intensity in [0, 1], value from 0 on), one a name, points in rising order of the intensity."""
    chart = Chart(640, 420)
    field = (_MARGIN, 50, 460, 370)
    chart.text((16, 12), title)
    ticks = {0.0: "0", 0.25: ".25", 0.5: ".5", 0.75: ".75", 1.0: "1"}
    most = max(1.0, *(y for points in curves.values() for _, y in points))
    chart.axes(field, ticks, {0.0: "0", most / 2: f"{most / 2:.2g}", most: f"{most:.2g}"}, (1.0, most))
    for index, (name, points) in enumerate(curves.items()):
        color = COLORS[index % len(COLORS)]
        chart.line(field, [x for x, _ in points], [max(y, 0) / most for _, y in points], color)
        chart.text((480, 50 + 22 * index), name, color=color)
    return chart


def stack_charts(charts: Sequence[Chart]) -> Chart:
    """Charts one under the other."""
    width, height = max(chart.image.width for chart in charts), sum(chart.image.height for chart in charts)
    stacked, top = Chart(width, height), 0
    for chart in charts:
        stacked.image.paste(chart.image, (0, top))
        top += chart.image.height
    return stacked


def _second_ticks(seconds: float) -> dict[float, str]:
    step = next(step for step in (0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 1e9) if seconds / step <= 12)
    return {float(tick): f"{tick:g} s" for tick in np.arange(0, seconds + 1e-6, step)}
