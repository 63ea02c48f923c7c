"""The portrait decoder: driven points and head pose -> frames, keeping the photograph's own pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from mooe.decoder.background import LayeredPhoto
from mooe.decoder.compensation import AppearanceCompensation, MotionCompensation, RenderMaps, Together
from mooe.decoder.edges import canvas_box, darken_lip_line, draw_edge, lip_line_strength
from mooe.decoder.folds import draw_folds
from mooe.decoder.glasses import Glasses
from mooe.decoder.images import (
    Float,
    Image,
    Layer,
    enlarge_flow,
    enlarge_flow_part,
    lay_over,
    mix,
    on_canvas,
    places,
    resize,
    resize_bytes,
    sample,
    sample_weight,
    shade,
    shown_part,
)
from mooe.decoder.mesh import FACE_POINTS, MovedMesh, pose_points
from mooe.decoder.portrait import SourcePortrait
from mooe.face.alignment import rotation_matrix
from mooe.face.regions import LEFT_EYE, LIPS_INNER, RIGHT_EYE

BATCH = 8  # frames that go through the learned stages together
_MOST_THREADS = 4  # that draw frames; more would wait for the interpreter
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class _Geometry:
    face: Float
    moved: MovedMesh
    rotation: Float
    translation: Float
    displacement: Float
    maps: RenderMaps

    @property
    def target(self) -> Float:
        return self.moved.target


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
        self._alphas: dict[int, Float] = {}  # by the side of the layers they are of

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
        return self._draw([self._geometry(displacement, rotation, translation)], paste_back=False)[0]

    def render_full(self, displacement: Float, rotation: Float, translation: Float) -> Image:
        """The whole picture with the head animated at the picture's resolution; uint8 ``[H, W, 3]``.

        Arguments as in :meth:`render`. Pixels outside the head crop are the photograph's, exactly.
        """
        return self._draw([self._geometry(displacement, rotation, translation)], paste_back=True)[0]

    def render_many(
        self, displacement: Float, rotation: Float, translation: Float, *, paste_back: bool = True
    ) -> Iterator[Image]:
        """Frames one after the other, several at a time through the learned stages, which takes less time.

        Args:
            displacement: ``[F, 478, 3]``; rotation, translation: ``[F, 3]``; each as in :meth:`render`.
            paste_back: whole pictures as of :meth:`render_full`, not head crops.
        """
        learned = self.motion is not None or self.appearance is not None
        batch = BATCH if learned else _threads()
        for first in range(0, len(displacement), batch):
            part = slice(first, first + batch)
            moments = zip(displacement[part], rotation[part], translation[part], strict=True)
            yield from self._draw(_each(lambda moment: self._geometry(*moment), moments), paste_back)

    def _geometry(self, displacement: Float, rotation: Float, translation: Float) -> _Geometry:
        portrait = self.portrait
        displacement = np.asarray(displacement, np.float32)
        matrix = rotation_matrix(rotation)
        translation = np.asarray(translation, np.float32)
        face = portrait.driver(displacement)
        flow, region, moved = self._flow(face, face - portrait.points, matrix, translation)
        irises = portrait.alignment.to_image(pose_points(face[FACE_POINTS:], matrix, translation))
        points = np.concatenate([moved.target[:FACE_POINTS], irises[:, :2]])
        maps = RenderMaps(flow, region, points, portrait.landmarks[:, :2])
        return _Geometry(face, moved, matrix, translation, displacement, maps)

    def _flow(
        self, face: Float, change: Float, rotation: Float, translation: Float
    ) -> tuple[Float, NDArray[np.uint8], MovedMesh]:
        """Backward flow and regions of a face ``[478, 3]`` that differs by ``change`` from the photograph's."""
        portrait = self.portrait
        moved = portrait.mesh.drive(face, change, portrait.alignment, rotation, translation)
        flow, region = moved.rasterize((portrait.size, portrait.size))
        rest = places(portrait.size, portrait.size)
        return rest + (flow - rest) * self.portrait.window, region, moved

    def _draw(self, geometries: Sequence[_Geometry], paste_back: bool) -> list[Image]:
        portrait = self.portrait
        maps = [geometry.maps for geometry in geometries]
        flows, visibility = [m.flow for m in maps], [np.ones(m.region.shape, np.float32) for m in maps]
        if self.motion is not None:
            motion = self.motion
            found = (
                motion.many(portrait.frame, maps) if isinstance(motion, Together)
                else [motion(portrait.frame, one) for one in maps]
            )  # fmt: skip
            flows = [(flow + residual).astype(np.float32) for flow, (residual, _) in zip(flows, found, strict=True)]
            visibility = [seen for _, seen in found]
        factor = portrait.crop.side / portrait.size if paste_back else 1.0
        canvases = [self._canvas(paste_back) for _ in geometries]
        frames = [frame for _, frame in canvases]
        _each(
            lambda one: self._draw_geometry(one[0], one[1], one[2], factor, paste_back),
            zip(frames, flows, geometries, strict=True),
        )
        if self.appearance is not None:
            small = frames if factor == 1.0 else [resize_bytes(f, maps[0].region.shape) for f in frames]
            appearance = self.appearance
            fills = (
                appearance.many(small, maps, visibility) if isinstance(appearance, Together)
                else [appearance(*one) for one in zip(small, maps, visibility, strict=True)]
            )  # fmt: skip
            for frame, before, (fill, weight) in zip(frames, small, fills, strict=True):
                _blend(frame, before, fill, weight * self.portrait.window[..., 0], factor)
        return [self._pasted(picture, frame) for picture, frame in canvases]

    def _canvas(self, paste_back: bool) -> tuple[Image | None, Image]:
        """A copy of the picture, if it is wanted, and what is drawn on."""
        portrait = self.portrait
        if not paste_back:
            return None, portrait.frame.copy()
        _, outer = portrait.crop.overlap(*portrait.picture.shape[:2])
        picture = portrait.picture.copy()
        # What is drawn ends before the square's border does, so the picture needs no seam. Mostly the square lies
        # within the picture and is drawn in place.
        within = picture[outer].shape == portrait.native.shape
        return picture, picture[outer] if within else portrait.native.copy()

    def _pasted(self, picture: Image | None, frame: Image) -> Image:
        if picture is None:
            return frame
        inner, outer = self.portrait.crop.overlap(*picture.shape[:2])
        if picture[outer].shape != frame.shape:
            picture[outer] = frame[inner]
        return picture

    def _draw_geometry(
        self, frame: Image, flow: Float, geometry: _Geometry, factor: float, paste_back: bool
    ) -> None:
        """Draw by geometry, along ``flow``, over a copy of the photograph in place."""
        portrait = self.portrait
        photo, layers, lids = (
            (portrait.bare_native, portrait.native_layers, portrait.native_lids) if paste_back
            else (portrait.bare_frame, portrait.frame_layers, portrait.frame_lids)
        )  # fmt: skip
        small, flow = flow, enlarge_flow(flow, factor, photo.shape[:2])
        layers.draw(frame, flow)
        draw_folds(frame, layers, small, geometry.maps, geometry.moved, portrait.window, factor)
        self._close_openings(frame, photo, lids, flow, geometry, factor)
        gone = portrait.shading.smile_gone(geometry.displacement)
        if gone > 0:
            portrait.smile_folds.flatten(frame, small, gone)
        self._shade(frame, portrait.shading.log_gain(geometry.displacement), geometry, factor)
        eyes = portrait.eyes.render(
            layers.fine, geometry.target, geometry.displacement, geometry.rotation, geometry.translation, factor
        )
        mouth = portrait.mouth.render(
            photo, geometry.face, geometry.target, geometry.rotation, geometry.translation, factor
        )
        for layer in [*eyes, *([mouth] if mouth else [])]:
            lay_over(frame, layer)
        self._shade(frame, self._relight(layers, geometry), geometry, factor)
        if portrait.glasses is not None:
            self._put_on(portrait.glasses, frame, geometry, factor, paste_back)

    def _put_on(
        self, glasses: Glasses, frame: Image, geometry: _Geometry, factor: float, paste_back: bool
    ) -> None:
        """Lay the glasses over the face: they turn with the head and nothing else moves them."""
        portrait = self.portrait
        weight = glasses.native_weight if paste_back else glasses.frame_weight
        worn = portrait.fine_native_glasses if paste_back else portrait.fine_frame_glasses
        flow = self._flow(portrait.points, np.zeros_like(portrait.points), geometry.rotation, geometry.translation)[0]
        part = on_canvas(shown_part(sample_weight(glasses.frame_weight, flow)), factor)
        if part is not None:
            rows, columns = part
            flow = enlarge_flow_part(flow, factor, rows, columns)
            share = sample_weight(weight, flow)
            lay_over(frame, Layer(rows, columns, worn.sample(flow).astype(np.float32), share[..., None]))

    def _shade(self, frame: Image, gain: Float | None, geometry: _Geometry, factor: float) -> None:
        """Multiply a frame by log luminance ``[size, size]`` of the photograph, which is carried along by the flow."""
        if gain is None:
            return
        gain = sample_weight(gain, geometry.maps.flow)
        part = shown_part(np.abs(gain) > 2e-3)
        box = on_canvas(part, factor)
        if part is not None and box is not None:
            shade(frame[box], gain[part], self.portrait.relighting.colors)

    def _relight(self, layers: LayeredPhoto, geometry: _Geometry) -> Float:
        """What the light adds to the person, skin, eyes and mouth alike."""
        portrait = self.portrait
        posed = pose_points(geometry.face, geometry.rotation, geometry.translation)
        return portrait.relighting.log_gain(portrait.alignment.to_image(posed)) * self._person(layers)

    def _person(self, layers: LayeredPhoto) -> Float:
        """How much of the person each pixel of the photographed frame shows, ``[size, size]`` in 0..1."""
        side = len(layers.alpha)
        if side not in self._alphas:
            self._alphas[side] = resize((layers.alpha / 255).astype(np.float32), self.portrait.frame.shape)
        return self._alphas[side]

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
            box = canvas_box(geometry.target[list(ring)], reach, factor, frame.shape)
            if box is None:
                continue
            if weight > 0:
                frame[box] = mix(frame[box], sample(lids, flow[box]), weight)
            draw_edge(frame, photo, lids, weight, geometry.target[list(ring)], geometry.moved, factor)
        lips = list(LIPS_INNER)
        if np.abs(geometry.target[lips] - geometry.moved.source[lips]).max() > 0.5:
            draw_edge(frame, photo, lids, 0.0, geometry.target[lips], geometry.moved, factor)
        strength = lip_line_strength(geometry.face, portrait.neutral, portrait.mouth.photo_opening)
        darken_lip_line(frame, geometry.target, strength, portrait.alignment.scale, factor)


def _threads() -> int:
    """How many threads draw frames: as many as torch may use."""
    return min(torch.get_num_threads(), _MOST_THREADS)


def _each(function: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
    """``function`` of each item, on several threads: what takes time in drawing lets go of the interpreter."""
    given = list(items)
    workers = min(_threads(), len(given))
    if workers < 2:
        return [function(item) for item in given]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(function, given))


def _blend(frame: Image, small: Image, fill: Float, weight: Float, factor: float) -> None:
    """Lay ``fill`` over a frame in place, both as they are at the frame size; finer detail of the frame stays.

    The larger the frame, the less of it: what the books learnt at the frame size would blur teeth that are drawn finer.
    """
    part = shown_part(weight)
    box = on_canvas(part, factor)
    if part is None or box is None:
        return
    change = (fill[part] - small[part]) * (np.clip(weight[part], 0, 1)[..., None] / max(factor, 1.0))
    if factor != 1.0:
        change = resize(change.astype(np.float32), frame[box].shape)
    frame[box] = np.clip(np.rint(frame[box] + change), 0, 255).astype(np.uint8)
