"""A photograph made ready for decoding: done once, used for any number of frames and clips."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from mooe.decoder.background import LayeredPhoto, separate
from mooe.decoder.eyes import EyeLayer, smooth_lids
from mooe.decoder.glasses import Glasses, take_off_glasses
from mooe.decoder.images import FinePhoto, fade_window, resize
from mooe.decoder.mesh import PortraitMesh
from mooe.decoder.mouth import MouthLayer
from mooe.decoder.neutral import (
    FaceDriver,
    expression_relief,
    lift_lips,
    mouth_expression,
    neutral_points,
    photographed_frown,
    photographed_smile,
)
from mooe.decoder.relighting import Relighting
from mooe.decoder.shading import ExpressionShading
from mooe.decoder.smile_folds import SmileFolds
from mooe.decoder.tone import PortraitTone
from mooe.errors import PortraitError
from mooe.face.alignment import HeadAlignment
from mooe.face.crop import PortraitCrop
from mooe.face.tracker import Face

Image = NDArray[np.uint8]
Float = NDArray[np.float32]
MAX_PICTURE_SIDE = 1920
_SIDE_DEPTH = -0.4  # head-frame units behind the middle of the face; deeper sides fold over the hair in a turn
_SIDE_SOFTNESS = 0.06


@dataclass(frozen=True)
class SourcePortrait:
    """One encoded photograph.

    Attributes:
        picture: the whole photograph, uint8 ``[H, W, 3]``, even sides, the longer at most 1920.
        crop: where the head stands in it; frames have the side ``crop.size``.
        frame: the head crop, uint8 ``[size, size, 3]``.
        native: the head crop at the picture's resolution, uint8 ``[side, side, 3]``.
        glasses: what the portrait wears, if anything, and the head crop without it.
        frame_lids, native_lids: the head crop without glasses and the lashes over the upper lids, for closing eyes.
        landmarks: float32 ``[478, 3]`` in frame pixels.
        alignment: of the head in the frame.
        points: the photograph's landmarks in the head frame, float32 ``[478, 3]``.
        neutral: the person's neutral face in the head frame, float32 ``[478, 3]``.
        relief: what each emotion lets go of, float32 ``[6, 478, 3]``, from
            :func:`~mooe.decoder.neutral.expression_relief`.
        tone: exposure, white balance, toning.
        mesh, driver, mouth, eyes, shading, relighting: the portrait's parts of the decoder.
    """

    picture: Image
    crop: PortraitCrop
    frame: Image
    native: Image
    glasses: Glasses | None
    frame_lids: Image
    native_lids: Image
    landmarks: Float
    alignment: HeadAlignment
    points: Float
    neutral: Float
    relief: Float
    tone: PortraitTone
    mesh: PortraitMesh
    driver: FaceDriver
    mouth: MouthLayer
    eyes: EyeLayer
    shading: ExpressionShading
    relighting: Relighting

    @property
    def size(self) -> int:
        """Side of the frames in pixels."""
        return self.crop.size

    @property
    def bare_frame(self) -> Image:
        """:attr:`frame` without glasses."""
        return self.frame if self.glasses is None else self.glasses.frame

    @property
    def bare_native(self) -> Image:
        """:attr:`native` without glasses."""
        return self.native if self.glasses is None else self.glasses.native

    @cached_property
    def window(self) -> Float:
        """1 inside the frame, 0 at those sides where it joins the picture; ``[size, size, 1]``."""
        return fade_window(self.size, self.crop.free_sides(*self.picture.shape[:2]))

    @cached_property
    def frame_layers(self) -> LayeredPhoto:
        """:attr:`bare_frame` as person and background."""
        return separate(self.bare_frame, self.landmarks, self.window)

    @cached_property
    def native_layers(self) -> LayeredPhoto:
        """:attr:`bare_native` as person and background."""
        window = resize(self.window, self.native.shape)[..., None]
        return separate(self.bare_native, self.landmarks / self.crop.scale, window)

    @cached_property
    def smile_folds(self) -> SmileFolds:
        """What flattens the folds of the photograph's smile, read from :attr:`bare_native`."""
        scale = self.crop.scale
        return SmileFolds(self.bare_native, self.landmarks / scale, self.shading.smile, self.alignment.scale / scale)

    @cached_property
    def fine_frame_glasses(self) -> FinePhoto:
        """:attr:`frame` with the glasses, ready to be sampled."""
        return FinePhoto(self.frame)

    @cached_property
    def fine_native_glasses(self) -> FinePhoto:
        """:attr:`native` with the glasses, ready to be sampled."""
        return FinePhoto(self.native)


def _fit_picture(image: Image) -> tuple[Image, tuple[float, float]]:
    """The picture with even sides of at most 1920, and the scale in x and y."""
    height, width = image.shape[:2]
    factor = min(1.0, MAX_PICTURE_SIDE / max(height, width))
    if factor == 1.0:
        # one odd row or column is cut off, so that no pixel changes
        return np.ascontiguousarray(image[: height // 2 * 2, : width // 2 * 2]), (1.0, 1.0)
    new_width, new_height = (max(2, round(x * factor / 2) * 2) for x in (width, height))
    picture = cv2.resize(image, (new_width, new_height), interpolation=cv2.INTER_AREA)
    return np.asarray(picture, np.uint8), (new_width / width, new_height / height)


def _flatten_sides(landmarks: Float, alignment: HeadAlignment) -> Float:
    """Landmarks ``[478, 3]`` whose depth ends softly at :data:`_SIDE_DEPTH`.

    The sides of a face run almost along the line of sight. A small turn would fold them over the hair beside them,
    for which a photograph has no layer of its own: with less depth they narrow instead.
    """
    depth = -(landmarks[:, 2] - alignment.translation[2]) / alignment.scale
    flat = landmarks.copy()
    over = (depth - _SIDE_DEPTH) / _SIDE_SOFTNESS
    limited = _SIDE_DEPTH + _SIDE_SOFTNESS * np.logaddexp(over, 0.0)
    flat[:, 2] = alignment.translation[2] - limited * alignment.scale
    return flat.astype(np.float32)


def encode_portrait(
    image: Image, face: Face, size: int = 256, expression: Float | None = None, *, known: SourcePortrait | None = None
) -> SourcePortrait:
    """Prepare a photograph.

    Args:
        image: RGB uint8 ``[H, W, 3]``.
        face: the tracked face to animate, in the image's pixels.
        size: side of the head-crop frames in pixels.
        expression: what the photograph's mouth shows beside rest, ARKit weights ``[52]``; read from ``face`` when
            not given. :func:`mooe.decoder.rest.encode_at_rest` finds it more exactly.
        known: the same photograph, face and size with another expression, from which the glasses are taken.

    Raises:
        PortraitError: when the image is not an RGB array of bytes or is smaller than 16 pixels.
        NoFaceError: when the face is too small.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or min(image.shape[:2]) < 16:
        raise PortraitError("The portrait must be an RGB picture of at least 16 x 16 pixels.")
    picture, (scale_x, scale_y) = _fit_picture(image)
    landmarks = face.landmarks * np.array([scale_x, scale_y, scale_x], np.float32)
    scaled = Face(landmarks, face.blendshapes, face.pose, face.score)
    crop = PortraitCrop.from_face(scaled, size, picture.shape[:2])
    native = crop.native().cut(picture)
    frame = crop.cut(picture)
    points_px = crop.to_crop(landmarks)
    alignment = HeadAlignment.from_landmarks(points_px)
    points_px = _flatten_sides(points_px, alignment)
    points = alignment.to_head(points_px).astype(np.float32)
    glasses = take_off_glasses(frame, native, points_px, alignment.scale) if known is None else known.glasses
    bare, bare_native = (frame, native) if glasses is None else (glasses.frame, glasses.native)
    if expression is None:
        expression = mouth_expression(face.blendshapes)
    neutral = neutral_points(points, expression)
    frown = photographed_frown(face.blendshapes)
    tone = PortraitTone.measure(frame, points_px)
    mouth = MouthLayer(frame, points_px, neutral, alignment, tone)
    if mouth.lips_too_low:
        # a wide smile says less about where the lips rest than the teeth do
        neutral = lift_lips(neutral, mouth.lips_too_low)
        mouth = MouthLayer(frame, points_px, neutral, alignment, tone)
    return SourcePortrait(
        picture=picture,
        crop=crop,
        frame=frame,
        native=native,
        glasses=glasses,
        frame_lids=smooth_lids(bare, points_px, alignment.scale),
        native_lids=smooth_lids(bare_native, points_px / crop.scale, alignment.scale / crop.scale),
        landmarks=points_px,
        alignment=alignment,
        points=points,
        neutral=neutral,
        relief=expression_relief(frown, photographed_smile(face.blendshapes)),
        tone=tone,
        mesh=PortraitMesh.build(
            points_px, alignment, size, crop.free_sides(*picture.shape[:2]), mouth.lip_source(native)
        ),
        driver=FaceDriver(neutral),
        mouth=mouth,
        eyes=EyeLayer(points_px, alignment),
        shading=ExpressionShading(bare, points_px, points - neutral, alignment.scale, frown),
        relighting=Relighting(bare, points_px, alignment.scale),
    )
