"""The portrait decoder: driven points and head pose -> frames, keeping the photograph's own pixels."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mooe.decoder.compensation import AppearanceCompensation, MotionCompensation, RenderMaps
from mooe.decoder.mesh import pose_points, topology
from mooe.decoder.portrait import SourcePortrait
from mooe.decoder.rasterizer import rasterize_flow
from mooe.face.alignment import rotation_matrix

Image = NDArray[np.uint8]
Float = NDArray[np.float32]


@dataclass(frozen=True)
class _Geometry:
    face: Float
    target: Float
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
        return self._compose(self.portrait.frame, geometry, 1.0)

    def render_full(self, displacement: Float, rotation: Float, translation: Float) -> Image:
        """The whole picture with the head animated at the picture's resolution; uint8 ``[H, W, 3]``.

        Arguments as in :meth:`render`. Pixels outside the head crop are the photograph's, exactly.
        """
        portrait = self.portrait
        geometry = self._geometry(displacement, rotation, translation)
        native = portrait.crop.native()
        frame = self._compose(portrait.native, geometry, native.size / portrait.size)
        return native.paste(frame, portrait.picture)

    def _geometry(self, displacement: Float, rotation: Float, translation: Float) -> _Geometry:
        portrait = self.portrait
        displacement = np.asarray(displacement, np.float32)
        matrix = rotation_matrix(rotation)
        translation = np.asarray(translation, np.float32)
        face = portrait.driver(displacement)
        target, depth = portrait.mesh.drive(
            face, face - portrait.points, portrait.alignment, matrix, translation
        )
        mesh = topology()
        flow, region = rasterize_flow(
            mesh.triangles, mesh.kinds, target - 0.5, portrait.mesh.source - 0.5, depth, (portrait.size,) * 2
        )
        points = np.concatenate(
            [target[:468], portrait.alignment.to_image(pose_points(face[468:], matrix, translation))[:, :2]]
        )
        maps = RenderMaps(flow, region, points, portrait.landmarks[:, :2])
        return _Geometry(face, target, matrix, translation, displacement, maps)

    def _compose(self, photo: Image, geometry: _Geometry, factor: float) -> Image:
        portrait, maps = self.portrait, geometry.maps
        flow, visibility = maps.flow, np.ones(maps.region.shape, np.float32)
        if self.motion is not None:
            residual, visibility = self.motion(portrait.frame, maps)
            flow = (flow + residual).astype(np.float32)
        frame = _warp(photo, flow, factor)
        layers = portrait.eyes.render(
            photo, geometry.target, geometry.displacement, geometry.rotation, geometry.translation, factor
        )
        mouth = portrait.mouth.render(
            photo, geometry.face, geometry.target, geometry.rotation, geometry.translation, factor
        )
        for rows, columns, color, coverage in [*layers, *([mouth] if mouth else [])]:
            below = frame[rows, columns].astype(np.float32)
            frame[rows, columns] = np.clip(np.rint(below + (color - below) * coverage), 0, 255).astype(np.uint8)
        if self.appearance is not None:
            small = frame if factor == 1.0 else cv2.resize(frame, maps.region.shape[::-1], interpolation=cv2.INTER_AREA)
            fill, weight = self.appearance(small, maps, visibility)
            frame = _blend(frame, fill, weight)
        return frame


def _warp(photo: Image, flow: Float, factor: float) -> Image:
    """Sample ``photo`` by a backward flow given at ``1 / factor`` of its size."""
    if factor != 1.0:
        size = photo.shape[:2]
        identity_x = np.arange(flow.shape[1], dtype=np.float32)
        identity_y = np.arange(flow.shape[0], dtype=np.float32)[:, None]
        shift = flow.copy()
        shift[..., 0] -= identity_x
        shift[..., 1] -= identity_y
        flow = cv2.resize(shift * np.float32(factor), size[::-1], interpolation=cv2.INTER_LINEAR)
        flow[..., 0] += np.arange(size[1], dtype=np.float32)
        flow[..., 1] += np.arange(size[0], dtype=np.float32)[:, None]
    return cv2.remap(photo, flow, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def _blend(frame: Image, fill: Float, weight: Float) -> Image:
    size = frame.shape[1::-1]
    if fill.shape[:2] != frame.shape[:2]:
        fill = cv2.resize(fill.astype(np.float32), size, interpolation=cv2.INTER_CUBIC)
        weight = cv2.resize(weight.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    blended = frame + (fill - frame) * np.clip(weight, 0, 1)[..., None]
    return np.clip(np.rint(blended), 0, 255).astype(np.uint8)
