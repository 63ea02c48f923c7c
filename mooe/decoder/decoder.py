"""The portrait decoder: driven points and head pose -> frames, keeping the photograph's own pixels."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from mooe.decoder.compensation import AppearanceCompensation, MotionCompensation, RenderMaps
from mooe.decoder.images import (
    Float,
    Image,
    blur,
    enlarge_flow,
    lay_over,
    mix,
    resize,
    resize_bytes,
    sample,
)
from mooe.decoder.mesh import pose_points, topology
from mooe.decoder.neutral import LOWER_LIP, UPPER_LIP
from mooe.decoder.portrait import SourcePortrait
from mooe.decoder.rasterizer import rasterize_flow
from mooe.face.alignment import rotation_matrix
from mooe.face.regions import LEFT_EYE, LIPS_INNER, RIGHT_EYE

_STILL = 0.012  # canvas pixels; sampling rounds less than 1/64 to nothing
_FADE = 0.08  # share of the frame over which motion ends at its border
_MIDDLE_OUTER, _MIDDLE_INNER = [37, 0, 267, 84, 17, 314], [82, 13, 312, 87, 14, 317]


@dataclass(frozen=True)
class _Geometry:
    face: Float
    target: Float
    source: Float
    depth: Float
    rotation: Float
    translation: Float
    displacement: Float
    maps: RenderMaps


class PortraitDecoder:
    """Draws one portrait with given face displacements and head pose.

    Stage 1 is geometry: the mesh's backward flow, the eyeballs under the lids, a mouth proxy behind the lips. The
    learned stages are optional and refine it.

    Args:
        portrait: from :func:`encode_portrait`.
        motion: stage 2, flow and visibility residuals.
        appearance: stage 3, fill of what the photograph does not show.
    """

    def __init__(
        self,
        portrait: SourcePortrait,
        motion: MotionCompensation | None = None,
        appearance: AppearanceCompensation | None = None,
    ) -> None:
        self.portrait = portrait
        self.motion = motion
        self.appearance = appearance
        self._window = _fade_window(
            portrait.size, portrait.crop.free_sides(*portrait.picture.shape[:2])
        )
        self._rest = np.stack(
            np.meshgrid(np.arange(portrait.size), np.arange(portrait.size)), -1
        ).astype(np.float32)

    def maps(self, displacement: Float, rotation: Float, translation: Float) -> RenderMaps:
        """Flow and regions of a frame by geometry alone; arguments as in :meth:`render`."""
        return self._geometry(displacement, rotation, translation).maps

    def render(self, displacement: Float, rotation: Float, translation: Float) -> Image:
        """Draw one head-crop frame.

        Args:
            displacement: float32 ``[478, 3]``, from the person's neutral face, head frame (unit: the outer
                eye-corner distance).
            rotation: float32 ``[3]``, rotation vector in radians relative to the portrait's own pose, about a point
                between the ears.
            translation: float32 ``[3]``, head frame.

        Returns:
            uint8 ``[size, size, 3]``.
        """
        geometry = self._geometry(displacement, rotation, translation)
        return self._compose(self.portrait.frame, self.portrait.frame_lids, geometry, 1.0)

    def render_full(self, displacement: Float, rotation: Float, translation: Float) -> Image:
        """The whole picture with the head animated at the picture's resolution; uint8 ``[H, W, 3]``.

        Arguments as in :meth:`render`. Pixels outside the head crop are the photograph's, exactly.
        """
        portrait = self.portrait
        geometry = self._geometry(displacement, rotation, translation)
        native = portrait.crop.native()
        frame = self._compose(portrait.native, portrait.native_lids, geometry, native.size / portrait.size)
        return native.paste(frame, portrait.picture)

    def _geometry(self, displacement: Float, rotation: Float, translation: Float) -> _Geometry:
        portrait = self.portrait
        displacement = np.asarray(displacement, np.float32)
        matrix = rotation_matrix(rotation)
        translation = np.asarray(translation, np.float32)
        face = portrait.driver(displacement)
        target, source, depth = portrait.mesh.drive(
            face, face - portrait.points, portrait.alignment, matrix, translation
        )
        mesh = topology()
        flow, region = rasterize_flow(
            mesh.triangles, mesh.kinds, target - 0.5, source - 0.5, depth, (portrait.size,) * 2
        )
        attached = cv2.remap(
            portrait.attachment, flow[..., 0], flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        flow = self._rest + (flow - self._rest) * (attached[..., None] * self._window)
        points = np.concatenate(
            [target[:468], portrait.alignment.to_image(pose_points(face[468:], matrix, translation))[:, :2]]
        )
        maps = RenderMaps(flow, region, points, portrait.landmarks[:, :2])
        return _Geometry(face, target, source, depth, matrix, translation, displacement, maps)

    def _compose(self, photo: Image, lids: Image, geometry: _Geometry, factor: float) -> Image:
        portrait, maps = self.portrait, geometry.maps
        flow, visibility = maps.flow, np.ones(maps.region.shape, np.float32)
        if self.motion is not None:
            residual, visibility = self.motion(portrait.frame, maps)
            flow = (flow + residual).astype(np.float32)
        flow = enlarge_flow(flow, factor, photo.shape[:2])
        frame = photo.copy()
        box = self._moving(maps.flow if self.motion is None else None, factor, photo.shape)
        frame[box] = sample(photo, flow[box])
        self._close_openings(frame, photo, lids, flow, geometry, factor)
        layers = portrait.eyes.render(
            photo, geometry.target, geometry.displacement, geometry.rotation, geometry.translation, factor
        )
        mouth = portrait.mouth.render(
            photo, geometry.face, geometry.target, geometry.rotation, geometry.translation, factor
        )
        for layer in [*layers, *([mouth] if mouth else [])]:
            lay_over(frame, layer)
        if self.appearance is not None:
            small = frame if factor == 1.0 else resize_bytes(frame, maps.region.shape)
            fill, weight = self.appearance(small, maps, visibility)
            frame = _blend(frame, fill, weight)
        return frame


    def _moving(
        self, flow: Float | None, factor: float, shape: tuple[int, ...]
    ) -> tuple[slice, slice]:
        """Rows and columns of the canvas outside which ``flow`` leaves all as it is (everywhere when unknown)."""
        if flow is None:
            return slice(0, shape[0]), slice(0, shape[1])
        moved = np.abs(flow - self._rest).max(-1) * factor > _STILL
        found = []
        for axis, length in ((1, shape[0]), (0, shape[1])):
            used = np.flatnonzero(moved.any(axis))
            first, last = (used[0] - 2, used[-1] + 3) if len(used) else (0, 0)
            found.append(slice(max(int(first * factor), 0), min(int(last * factor) + 1, length)))
        return found[0], found[1]

    def _close_openings(
        self, frame: Image, photo: Image, lids: Image, flow: Float, geometry: _Geometry, factor: float
    ) -> None:
        """Let closing lids unfold as skin, and draw the lines where lids or lips meet with antialiasing."""
        portrait = self.portrait
        opening = portrait.driver.lid_opening(geometry.displacement).reshape(2, -1)[:, 1:6].mean(1)
        reach = 0.25 * portrait.alignment.scale
        for ring, share in zip((RIGHT_EYE, LEFT_EYE), opening, strict=True):
            if share > 0.98:
                continue
            weight = float(np.clip((0.9 - share) / 0.6, 0, 1))
            box = _box(geometry.target[list(ring)], reach, factor, frame.shape)
            if box is None:
                continue
            if weight > 0:
                frame[box] = mix(frame[box], sample(lids, flow[box]), weight)
            self._draw_edge(frame, photo, lids, weight, ring, geometry, factor)
        lips = list(LIPS_INNER)
        if np.abs(geometry.target[lips] - geometry.source[lips]).max() > 0.5:
            self._draw_edge(frame, photo, lids, 0.0, LIPS_INNER, geometry, factor)
        self._darken_lip_line(frame, geometry, factor)

    def _darken_lip_line(self, frame: Image, geometry: _Geometry, factor: float) -> None:
        """The dark line between closed lips, which a photograph with an open mouth does not show and which lips
        that roll in take with them."""
        portrait = self.portrait
        gap = (geometry.face[UPPER_LIP, 1] - geometry.face[LOWER_LIP, 1]).mean()
        thickness, rest = (
            np.linalg.norm(points[_MIDDLE_OUTER, :2] - points[_MIDDLE_INNER, :2], axis=1).mean()
            for points in (geometry.face, portrait.neutral)
        )
        rolled = float(np.clip((0.75 - thickness / max(rest, 1e-4)) / 0.5, 0, 1))
        strength = max(portrait.mouth.photo_opening, rolled) * float(np.clip(1 - gap / 0.02, 0, 1))
        box = _box(geometry.target[list(LIPS_INNER)], 3.0, factor, frame.shape)
        if strength <= 0 or box is None:
            return
        unit = portrait.alignment.scale * factor
        low = np.array([box[1].start, box[0].start], np.float32)
        middle = (geometry.target[UPPER_LIP] + geometry.target[LOWER_LIP]) / 2
        corners = geometry.target[[LIPS_INNER[0], LIPS_INNER[10]]]
        line = np.concatenate([corners[:1], middle, corners[1:]]) * factor - low - 0.5
        shade = np.zeros(frame[box].shape[:2], np.uint8)
        width = max(1, round(0.012 * unit))
        cv2.polylines(shade, [np.rint(line * 16).astype(np.int32)], False, 255, width, cv2.LINE_AA, 4)
        soft = blur(shade.astype(np.float32) / np.float32(255), max(0.008 * unit, 0.6))[..., None]
        frame[box] = np.rint(frame[box] * (1 - 0.5 * strength * soft)).astype(np.uint8)

    def _draw_edge(
        self, frame: Image, photo: Image, lids: Image, weight: float, ring: tuple[int, ...],
        geometry: _Geometry, factor: float,
    ) -> None:  # fmt: skip
        """Sample the surroundings of an opening's edge again, twice as finely: what meets there lies apart in the
        photograph, and one sample a pixel would leave a broken line."""
        points = geometry.target[list(ring)] * factor
        box = _box(geometry.target[list(ring)], 3.0 / factor, factor, frame.shape)
        if box is None:
            return
        mesh, fine = topology(), 2
        low = np.array([box[1].start, box[0].start], np.float32)
        shape = (box[0].stop - box[0].start, box[1].stop - box[1].start)
        flow, _ = rasterize_flow(
            mesh.triangles, mesh.kinds, (geometry.target * factor - low) * fine - 0.5,
            geometry.source * factor - 0.5, geometry.depth, (shape[0] * fine, shape[1] * fine),
        )  # fmt: skip
        drawn = sample(photo, flow)
        if weight > 0:
            drawn = mix(drawn, sample(lids, flow), weight)
        drawn = resize_bytes(drawn, shape)
        edge = np.zeros(shape, np.uint8)
        line = np.rint((points - low - 0.5) * 16).astype(np.int32)
        cv2.polylines(edge, [line], True, 255, 3, cv2.LINE_AA, 4)
        share = edge.astype(np.float32)[..., None] / 255
        frame[box] = np.rint(frame[box] + (drawn.astype(np.float32) - frame[box]) * share).astype(np.uint8)


def _fade_window(size: int, free_sides: tuple[bool, bool, bool, bool]) -> Float:
    """1 inside, falling to exactly 0 at those sides of a frame where it joins the picture; ``[size, size, 1]``."""
    near = np.arange(size, dtype=np.float32)
    distances = [near[None], near[:, None], near[None, ::-1], near[::-1, None]]
    window = np.ones((size, size), np.float32)
    for free, distance in zip(free_sides, distances, strict=True):
        if free:
            t = np.clip(distance / (_FADE * size), 0, 1)
            window = window * (t * t * (3 - 2 * t))
    return window[..., None].astype(np.float32)


def _box(points: Float, margin: float, factor: float, shape: tuple[int, ...]) -> tuple[slice, slice] | None:
    """Rows and columns around frame ``points`` ``[N, 2]`` on a canvas ``factor`` times as large."""
    low = np.maximum(((points.min(0) - margin) * factor).astype(int), 0)
    high = np.minimum(((points.max(0) + margin) * factor).astype(int) + 1, shape[1::-1])
    if (high - low).min() < 2:
        return None
    return slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))


def _blend(frame: Image, fill: Float, weight: Float) -> Image:
    if fill.shape[:2] != frame.shape[:2]:
        fill, weight = (resize(x.astype(np.float32), frame.shape[:2]) for x in (fill, weight))
    blended = frame + (fill - frame) * np.clip(weight, 0, 1)[..., None]
    return np.clip(np.rint(blended), 0, 255).astype(np.uint8)
