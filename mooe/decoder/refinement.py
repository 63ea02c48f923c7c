"""From frames and maps to the inputs of the learned stages, and their outputs back into the frame.

Training and rendering go through the same functions. Pictures are float tensors in 0..1, ``[B, 3, size, size]``.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from mooe.decoder.compensation import RenderMaps
from mooe.decoder.compensator import APPEARANCE_SIZE, FLOW_UNIT, MOTION_SIZE, PortraitCompensator
from mooe.decoder.decoder import PortraitDecoder, fade_window
from mooe.decoder.images import Float, Image, resize
from mooe.decoder.portrait import SourcePortrait
from mooe.errors import ConfigError

_KEYPOINTS = (10, 152, 234, 454, 33, 263, 4, 61, 291, 13, 14, 105, 334)
_HEAT_WIDTH = 0.03  # of the frame's side
_CORNERS = (33, 263, 61, 291)  # outer eye corners and mouth corners: the square's middle
_SQUARE_SIDE = 1.02  # of the face's height in the photograph
_TOP, _CHIN = 10, 152
_LEAST_WEIGHT = 1e-3
_MOUTH_REACH = 2  # pixels of the face square that the fill goes beyond the open mouth
_KINDS = 4  # of the region map, without the outside


def small_flow(flow: Float) -> Float:
    """A backward flow ``[size, size, 2]`` (pixel indices) less the identity, averaged to ``[64, 64, 2]``, pixels."""
    shift = np.array(flow, np.float32)
    shift[..., 0] -= np.arange(flow.shape[1], dtype=np.float32)
    shift[..., 1] -= np.arange(flow.shape[0], dtype=np.float32)[:, None]
    return np.asarray(cv2.resize(shift, (MOTION_SIZE, MOTION_SIZE), interpolation=cv2.INTER_AREA), np.float32)


def warp(picture: Tensor, shift: Tensor) -> Tensor:
    """Sample ``[B, C, h, w]`` at the identity plus ``shift`` ``[B, 2, h, w]`` (shares of the side), bilinearly."""
    identity = torch.eye(2, 3, device=picture.device, dtype=picture.dtype).expand(len(picture), 2, 3)
    grid = F.affine_grid(identity, list(picture.shape), align_corners=False)
    return F.grid_sample(picture, grid + 2 * shift.permute(0, 2, 3, 1), padding_mode="border", align_corners=False)


def _heat(points: Tensor) -> Tensor:
    """Gaussians at key points ``[B, 478, 2]`` (shares of the side): ``[B, 1, 64, 64]``."""
    places = (torch.arange(MOTION_SIZE, device=points.device, dtype=points.dtype) + 0.5) / MOTION_SIZE
    chosen = points[:, list(_KEYPOINTS)]
    across, down = (
        torch.exp(-(((places - chosen[..., k, None]) / _HEAT_WIDTH) ** 2) / 2) for k in range(2)
    )
    return torch.einsum("bny,bnx->byx", down, across)[:, None]


def region_shares(region: Tensor) -> Tensor:
    """The region map uint8 ``[B, h, w]`` as shares of face, mouth, eyes and lids ``[B, 4, h, w]``."""
    kinds = torch.arange(1, _KINDS + 1, device=region.device, dtype=region.dtype)
    return (region[:, None] == kinds[:, None, None]).float()


def motion_inputs(photo: Tensor, shift: Tensor, regions: Tensor, points: Tensor, source_points: Tensor) -> Tensor:
    """What motion compensation sees, ``[B, 14, 64, 64]``.

    Args:
        photo: the head crop ``[B, 3, size, size]``.
        shift: geometry's flow less the identity, shares of the side, ``[B, 2, 64, 64]``.
        regions: from :func:`region_shares`.
        points, source_points: landmarks ``[B, 478, 2]``, shares of the side.
    """
    small = F.adaptive_avg_pool2d(photo, MOTION_SIZE)
    shares = F.adaptive_avg_pool2d(regions, MOTION_SIZE)
    heat = torch.cat([_heat(points), _heat(source_points)], 1)
    return torch.cat([warp(small, shift), small, shift / FLOW_UNIT, shares, heat], 1)


def outside_face(inputs: Tensor) -> Tensor:
    """1 where motion compensation may act, 0 on the face, whose flow is exact; ``[B, 1, 64, 64]`` of its inputs."""
    face = inputs[:, 8:12].sum(1, keepdim=True)
    near = F.max_pool2d(face, 3, 1, 1)
    return (1 - F.avg_pool2d(near, 3, 1, 1, count_include_pad=False)).clamp(0, 1)


def face_square(points: Tensor, source_points: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """First column and row of the square about a face, whole pixels ``[B, 2]``, and its side ``[B]``.

    The side depends on the photograph alone, so that it does not change as the mouth opens.

    Args:
        points: where the square's face is, ``[B, 478, 2]``, shares of the frame's side.
        source_points: the photograph's landmarks, likewise.
        size: side of the frame in pixels.
    """
    height = (source_points[:, _CHIN] - source_points[:, _TOP]).norm(dim=-1)
    side = (_SQUARE_SIDE * height * size).round().clamp(min=8.0)
    # a face that nearly fills 128 px of a 256-px frame is not resampled at all
    usual = APPEARANCE_SIZE * size / 256
    side = torch.where((side - usual).abs() < 0.06 * usual, torch.full_like(side, round(usual)), side)
    middle = points[:, list(_CORNERS)].mean(1) * size
    return (middle - side[:, None] / 2).round(), side


def cut_square(picture: Tensor, corner: Tensor, side: Tensor) -> Tensor:
    """Cut squares out of ``[B, C, h, w]`` and scale them to 128 px; corner and side in the picture's pixels."""
    size = picture.shape[-1]
    scale = side / size
    center = (2 * corner + side[:, None]) / size - 1
    theta = picture.new_zeros(len(picture), 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = scale
    theta[:, :, 2] = center
    shape = [len(picture), picture.shape[1], APPEARANCE_SIZE, APPEARANCE_SIZE]
    grid = F.affine_grid(theta, shape, align_corners=False)
    return F.grid_sample(picture, grid, padding_mode="border", align_corners=False)


def appearance_inputs(
    frame: Tensor, photo: Tensor, shift: Tensor, regions: Tensor, visibility: Tensor, points: Tensor,
    source_points: Tensor,
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:  # fmt: skip
    """What appearance compensation sees, where it may act, and the squares that both were cut from.

    Args:
        frame: what geometry drew ``[B, 3, size, size]``.
        photo, shift, regions, points, source_points: as of :func:`motion_inputs`.
        visibility: ``[B, 1, size, size]``.

    Returns:
        ``[B, 13, 128, 128]``; where it may act ``[B, 1, 128, 128]`` in 0..1; corners and sides of the squares.
    """
    size = frame.shape[-1]
    corner, side = face_square(points, source_points, size)
    own = face_square(source_points, source_points, size)
    pieces = cut_square(torch.cat([frame, regions, visibility], 1), corner, side)
    drawn, shares, visible = pieces.split([3, _KINDS, 1], 1)
    ratio = shift.shape[-1] / size
    moved = cut_square(shift, corner * ratio, side * ratio) / FLOW_UNIT
    inputs = torch.cat([drawn, cut_square(photo, *own), shares, visible, moved], 1)
    return inputs, allowed(shares, visible), (corner, side)


def allowed(shares: Tensor, visible: Tensor) -> Tensor:
    """Where the fill may act: the open mouth and its rim, the lids, and what is not visible; ``[B, 1, h, w]``."""
    mouth, lids = shares[:, 1:2], shares[:, 3:4]
    reach = 2 * _MOUTH_REACH + 1
    mouth = F.avg_pool2d(F.max_pool2d(mouth, reach, 1, _MOUTH_REACH), 3, 1, 1)
    return torch.maximum(torch.maximum(mouth, F.avg_pool2d(lids, 3, 1, 1)), 1 - visible).clamp(0, 1)


def picture_tensor(picture: Image, device: torch.device) -> Tensor:
    """uint8 ``[h, w, 3]`` -> ``[1, 3, h, w]`` in 0..1."""
    return torch.from_numpy(picture).to(device).permute(2, 0, 1)[None].float() / 255


def refined_decoder(portrait: SourcePortrait, model: PortraitCompensator | None) -> PortraitDecoder:
    """The decoder of a portrait with those learned stages that ``model`` has; by geometry alone without a model."""
    if model is None:
        return PortraitDecoder(portrait)
    refiner = PortraitRefiner(model, portrait)
    return PortraitDecoder(
        portrait,
        None if model.motion is None else refiner.motion,
        None if model.appearance is None else refiner.appearance,
    )


class PortraitRefiner:
    """The learned stages for one portrait: gives the decoder its ``motion`` and its ``appearance``.

    Args:
        model: trained weights.
        portrait: whose head crop is drawn.
    """

    def __init__(self, model: PortraitCompensator, portrait: SourcePortrait) -> None:
        self.model = model.eval().to(memory_format=torch.channels_last)
        self.device = next(model.parameters()).device
        self.photo = picture_tensor(portrait.frame, self.device)
        # frames join the picture without a seam
        self._window = fade_window(portrait.size, portrait.crop.free_sides(*portrait.picture.shape[:2]))
        self._maps: RenderMaps | None = None
        self._prepared: tuple[Tensor, Tensor, Tensor, Tensor] | None = None

    def _tensors(self, maps: RenderMaps) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Shift, region shares, points and source points of a frame; the same for both stages."""
        if self._maps is maps and self._prepared is not None:
            return self._prepared
        size = maps.region.shape[0]

        def tensor(array: NDArray[np.generic]) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)[None]

        shift = tensor(small_flow(maps.flow)).permute(0, 3, 1, 2) / size
        places = tensor(maps.points) / size, tensor(maps.source_points) / size
        self._maps, self._prepared = maps, (shift, region_shares(tensor(maps.region)), *places)
        return self._prepared

    @torch.no_grad()
    def motion(self, photo: Image, maps: RenderMaps) -> tuple[Float, Float]:
        """Stage 2; see :class:`~mooe.decoder.compensation.MotionCompensation`."""
        size = maps.region.shape[0]
        if self.model.motion is None:
            raise ConfigError("The model has no motion book: leave motion compensation out.")
        inputs = motion_inputs(self.photo, *self._tensors(maps))
        found = self.model.motion(inputs)
        free = outside_face(inputs)
        flow = (found.flow * free * size)[0].permute(1, 2, 0).cpu().numpy()
        visibility = (1 - free * (1 - found.visibility))[0, 0].cpu().numpy()
        return resize(flow, (size, size)) * self._window, resize(visibility, (size, size))

    @torch.no_grad()
    def appearance(self, frame: Image, maps: RenderMaps, visibility: Float) -> tuple[Float, Float]:
        """Stage 3; see :class:`~mooe.decoder.compensation.AppearanceCompensation`."""
        if self.model.appearance is None:
            raise ConfigError("The model has no appearance book: leave appearance compensation out.")
        fill, weight = frame.astype(np.float32), np.zeros(frame.shape[:2], np.float32)
        seen = torch.from_numpy(np.ascontiguousarray(visibility)).to(self.device)[None, None]
        shift, regions, points, source_points = self._tensors(maps)
        inputs, free, (corner, side) = appearance_inputs(
            picture_tensor(frame, self.device), self.photo, shift, regions, seen, points, source_points
        )
        found = self.model.appearance(inputs)
        pieces = torch.cat([255 * found.change, found.weight * free], 1)[0].permute(1, 2, 0).cpu().numpy()
        length = int(side[0])
        pieces = resize(pieces, (length, length))
        left, top = (int(x) for x in corner[0])
        x0, y0 = max(left, 0), max(top, 0)
        x1, y1 = min(left + length, frame.shape[1]), min(top + length, frame.shape[0])
        if x0 < x1 and y0 < y1:
            part = pieces[y0 - top : y1 - top, x0 - left : x1 - left]
            fill[y0:y1, x0:x1] += part[..., :3]
            weight[y0:y1, x0:x1] = np.where(part[..., 3] > _LEAST_WEIGHT, part[..., 3], 0)
        return np.clip(fill, 0, 255), weight
