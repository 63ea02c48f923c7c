"""Glasses drawn over photographed eyes: rims, bridges and temples of many shapes and materials, and where they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mooe.decoder.glasses import HEIGHT, WIDTH, eye_axes, eye_picture
from mooe.errors import ConfigError, MooeError
from mooe.face.tracker import FaceTracker
from mooe.media import read_image

Float = NDArray[np.float32]
Image = NDArray[np.uint8]
_FINE = 3  # drawn so many times as finely
_ROOM = 1.5  # of the cut about the eyes, so that it can be shifted and turned
# Dark, brown, grey, gold, red, blue, pale: RGB of what glasses are made of
_COLORS = np.array(
    [[18, 18, 20], [62, 38, 22], [95, 95, 100], [176, 142, 84], [120, 28, 30], [34, 48, 92], [222, 214, 205]],
    np.float32,
)
_LIKELY = (0.36, 0.2, 0.14, 0.12, 0.06, 0.05, 0.07)


@dataclass(frozen=True)
class Eyes:
    """What is about one person's eyes.

    Attributes:
        picture: uint8 ``[h, w, 3]``, wider than what the network sees.
        landmarks: ``[478, 2]`` in its pixels.
    """

    picture: Image
    landmarks: Float


def read_eyes(folder: Path) -> list[Eyes]:
    """The eyes of the portraits of a folder; pictures in which no face is found are left out.

    Raises:
        ConfigError: no portrait is left.
    """
    found = []
    with FaceTracker(max_faces=1) as tracker:
        for path in sorted(folder.iterdir()):
            try:
                photo = read_image(path)
                landmarks = tracker.detect_one(photo).landmarks[:, :2]
            except MooeError:
                continue
            found.append(_cut(photo, landmarks))
    if not found:
        raise ConfigError(f"No face was found in the pictures of {folder}: give a folder of portraits.")
    return found


def _cut(photo: Image, landmarks: Float) -> Eyes:
    axes = eye_axes(landmarks)
    scale = max(float(np.linalg.norm(axes[:, 0])), 1.0)
    width, height = int(WIDTH * _ROOM), int(HEIGHT * _ROOM)
    middle = axes[:, :2] @ np.array([WIDTH / 2, HEIGHT / 2]) + axes[:, 2]
    corner = middle - scale * np.array([width, height]) / 2
    upright = np.column_stack([scale * np.eye(2), corner]).astype(np.float32)
    moved = ((landmarks - 0.5 - corner) / scale + 0.5).astype(np.float32)
    return Eyes(eye_picture(photo, upright, width, height), moved)


def sample_eyes(eyes: Eyes, rng: np.random.Generator, wearing: float = 0.6) -> tuple[Image, Float]:
    """One picture for the network, with glasses drawn in a share ``wearing`` of them, and its mask ``[128, 192]``."""
    axes = eye_axes(eyes.landmarks)
    angle, scale = rng.normal(0, 0.035), np.exp(rng.normal(0, 0.06))
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    center = np.array([WIDTH / 2, HEIGHT / 2])
    axes[:, 2] += axes[:, :2] @ (center - turn @ center + rng.normal(0, 3, 2))
    axes[:, :2] = axes[:, :2] @ turn
    picture = eye_picture(eyes.picture, axes)
    if rng.random() < 0.5:
        picture = np.ascontiguousarray(picture[:, ::-1])
    mask = np.zeros((HEIGHT, WIDTH), np.float32)
    if rng.random() < wearing:
        picture, mask = draw_glasses(picture, rng)
    return _printed(picture, rng), mask


def draw_glasses(picture: Image, rng: np.random.Generator) -> tuple[Image, Float]:
    """Draw random glasses on a picture of :func:`~mooe.decoder.glasses.eye_picture`; the picture and their mask."""
    eyes, unit = np.array([[58.0, 58.0], [134.0, 58.0]]), 112.0
    eyes[:, 1] += rng.uniform(-0.03, 0.12) * unit
    spread = rng.uniform(0.94, 1.14)
    middle = eyes.mean(0)
    eyes = middle + (eyes - middle) * [spread, 1]
    shape, thickness = _Lens.sample(rng), _thickness(rng)
    rims, lenses = [], []
    for side, center in zip((-1, 1), eyes, strict=True):
        ring = shape.ring(side) * unit
        outward = ring / np.maximum(np.linalg.norm(ring, axis=1, keepdims=True), 1e-6)
        rims.append(center + ring + outward * (thickness * unit)[:, None])
        lenses.append(center + ring)
    outer, inner = _fill(rims), _fill(lenses)
    mask = np.clip(outer - inner, 0, 1)
    lines = _bridge(eyes, shape, rng, unit) + _temples(eyes, shape, rng, unit)
    for line, width in lines:
        drawn = _stroke(line, width)
        mask = np.maximum(mask, drawn * (1 - inner))
    tilt = cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), float(rng.normal(0, 1.5)), 1.0)
    turned, lens = (np.asarray(cv2.warpAffine(layer, tilt, (WIDTH, HEIGHT)), np.float32) for layer in (mask, inner))
    return _compose(picture, turned, lens, rng), turned


@dataclass(frozen=True)
class _Lens:
    half_width: float
    half_height: float
    squareness: float
    narrowing: float
    lift: float

    @classmethod
    def sample(cls, rng: np.random.Generator) -> _Lens:
        width = rng.uniform(0.22, 0.33)
        return cls(
            width, min(width * rng.uniform(0.5, 1.05), 0.30), rng.uniform(1.9, 5.0), rng.uniform(-0.05, 0.25),
            rng.uniform(-0.02, 0.09),
        )  # fmt: skip

    def ring(self, side: int) -> NDArray[np.float64]:
        """Outline in eye distances about the eye, x growing to the side of the temple for ``side`` 1; ``[96, 2]``."""
        angle = np.linspace(0, 2 * np.pi, 96, endpoint=False)
        x = self.half_width * np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** (2 / self.squareness)
        y = self.half_height * np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** (2 / self.squareness)
        x = x * (1 - self.narrowing * np.clip(y / self.half_height, 0, 1))
        y = y - self.lift * np.clip(x / self.half_width, 0, 1) ** 2 * np.clip(0.5 - y / self.half_height, 0, 1.5)
        return np.stack([side * x, y], 1)


def _thickness(rng: np.random.Generator) -> NDArray[np.float64]:
    """Of the rim about the outline, eye distances ``[96]``; half-rims and brow lines among them."""
    angle = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    base = np.exp(rng.uniform(np.log(0.009), np.log(0.05)))
    above = np.clip(0.5 - np.sin(angle), 0, 1)
    if rng.random() < 0.3:
        return np.asarray(base * (rng.uniform(0.15, 0.5) + rng.uniform(0.8, 2.0) * above))
    return np.asarray(base * (1 + rng.uniform(-0.1, 0.5) * above))


def _fill(rings: list[NDArray[np.float64]]) -> Float:
    layer = np.zeros((HEIGHT * _FINE, WIDTH * _FINE), np.uint8)
    for ring in rings:
        cv2.fillPoly(layer, [np.rint((ring + 0.5) * _FINE - 0.5).astype(np.int32)], 255)
    return np.asarray(cv2.resize(layer, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), np.float32) / np.float32(255)


def _stroke(line: NDArray[np.float64], width: float) -> Float:
    layer = np.zeros((HEIGHT * _FINE, WIDTH * _FINE), np.uint8)
    points = np.rint((line + 0.5) * _FINE - 0.5).astype(np.int32)
    cv2.polylines(layer, [points], False, 255, max(1, round(width * _FINE)), cv2.LINE_AA)
    return np.asarray(cv2.resize(layer, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), np.float32) / np.float32(255)


_Line = tuple[NDArray[np.float64], float]


def _bridge(eyes: NDArray[np.float64], shape: _Lens, rng: np.random.Generator, unit: float) -> list[_Line]:
    start, stop = eyes[0, 0] + shape.half_width * unit * 0.97, eyes[1, 0] - shape.half_width * unit * 0.97
    if stop <= start:
        start, stop = eyes.mean(0)[0] - 3, eyes.mean(0)[0] + 3
    along = np.linspace(0, 1, 12)
    arch = rng.uniform(0.0, 0.07) * unit * np.sin(np.pi * along)
    lines = []
    for _ in range(2 if rng.random() < 0.12 else 1):
        height = eyes[0, 1] + rng.uniform(-0.7, 0.25) * shape.half_height * unit
        lines.append(
            (np.stack([start + along * (stop - start), height - arch], 1), unit * np.exp(rng.uniform(-4.7, -2.9)))
        )
    return lines


def _temples(eyes: NDArray[np.float64], shape: _Lens, rng: np.random.Generator, unit: float) -> list[_Line]:
    width, height = unit * np.exp(rng.uniform(-4.5, -2.8)), rng.uniform(-0.85, -0.2) * shape.half_height * unit
    rise, reach = rng.uniform(-8, 6), rng.uniform(0.3, 1.2)
    lines = []
    for side, center in zip((-1, 1), eyes, strict=True):
        start = center + np.array([side * shape.half_width * unit * 0.98, height])
        border = 0.0 if side < 0 else WIDTH - 1.0
        stop = np.array([start[0] + min(reach, 1.0) * (border - start[0]), start[1] + rise])
        lines.append((np.stack([start, stop]), width))
    return lines


def _compose(picture: Image, mask: Float, lens: Float, rng: np.random.Generator) -> Image:
    photo = picture.astype(np.float32)
    light = np.quantile(photo.mean(-1), 0.85) / 200
    color = _COLORS[rng.choice(len(_COLORS), p=_LIKELY)] * np.exp(rng.normal(0, 0.25)) * max(light, 0.25)
    material = np.broadcast_to(color, photo.shape) * (1 + rng.uniform(0, 0.4) * _blotches(rng)[..., None])
    # light from above on what is round
    edge = cv2.Sobel(cv2.GaussianBlur(mask, (0, 0), 1.0), cv2.CV_32F, 0, 1)
    gloss = rng.uniform(0, 220) * max(light, 0.25) * np.clip(edge, 0, 1) * (0.6 + 0.4 * _blotches(rng))
    material = material + gloss[..., None]
    shadow = cv2.GaussianBlur(np.roll(mask, int(rng.integers(2, 7)), 0), (0, 0), rng.uniform(1.2, 4.0))
    photo = photo * (1 - rng.uniform(0, 0.4) * shadow[..., None])
    if rng.random() < 0.35:
        tint = rng.uniform(0, 0.15)
        photo = photo * (1 - tint * lens[..., None]) + rng.uniform(0, 60) * tint * lens[..., None]
    if rng.random() < 0.35:
        glare = np.clip(_blotches(rng) * 3 - rng.uniform(1.5, 2.5), 0, 1) * lens * rng.uniform(0.1, 0.7)
        photo = photo + (235 * max(light, 0.4) - photo) * glare[..., None]
    opacity = rng.uniform(0.35, 0.7) if color.mean() > 150 * max(light, 0.25) and rng.random() < 0.6 else 1.0
    photo = photo + (material - photo) * (opacity * mask)[..., None]
    return np.asarray(np.clip(photo, 0, 255), np.uint8)


def _blotches(rng: np.random.Generator) -> Float:
    """Smooth noise in [-1, 1], ``[128, 192]``."""
    coarse = rng.uniform(-1, 1, (int(rng.integers(3, 14)), int(rng.integers(4, 20)))).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC), np.float32)


def _printed(picture: Image, rng: np.random.Generator) -> Image:
    """The picture in other light, grey, soft, noisy or compressed."""
    photo = picture.astype(np.float32) * np.exp(rng.normal(0, 0.25)) * np.exp(rng.normal(0, 0.06, 3))
    if rng.random() < 0.2:
        photo = np.repeat(photo.mean(-1, keepdims=True), 3, -1)
    if rng.random() < 0.5:
        photo = cv2.GaussianBlur(photo, (0, 0), rng.uniform(0.3, 1.6))
    photo = photo + rng.normal(0, rng.uniform(0, 6), photo.shape)
    image = np.clip(photo, 0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        _, packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 90))])
        image = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)
    return image
