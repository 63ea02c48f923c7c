"""From frames and maps to the inputs of the learned stages, and their outputs back into the frame.

Training and rendering go through the same functions. Pictures are float tensors in 0..1, ``[B, 3, size, size]``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from mooe.decoder.compensation import RenderMaps
from mooe.decoder.compensator import APPEARANCE_SIZE, FLOW_UNIT, MOTION_SIZE, PortraitCompensator
from mooe.decoder.decoder import PortraitDecoder
from mooe.decoder.images import Float, Image, resize
from mooe.decoder.portrait import SourcePortrait
from mooe.errors import ConfigError
from mooe.weights import fast_dtype

_KEYPOINTS = (10, 152, 234, 454, 33, 263, 4, 61, 291, 13, 14, 105, 334)
_HEAT_WIDTH = 0.03  # of the frame's side
# where appearance compensation looks, and the two landmarks between which its square's middle lies
PLACES = {"mouth": (61, 291), "right eye": (33, 133), "left eye": (362, 263)}
_LIDS = ((159, 145), (386, 374))  # middle of the upper and the lower lid, right and left
_LID_MOVED, _LID_RANGE = 0.9, 0.3  # opening, against the photograph's, below which lids are looked at; and fully
_MOUTH_MIDDLE, _EYES_OUTER = (13, 14), (33, 263)
_WIDE, _WIDE_RANGE = 0.09, 0.12  # gap of the lips in eye distances from which less is filled in, and to which
_SQUARE_SIDE = 0.51  # of the face's height in the photograph
_TOP, _CHIN = 10, 152
_LEAST_WEIGHT = 1e-3
_MOUTH_REACH = 2  # pixels of the square that the fill goes beyond the open mouth
_KINDS = 4  # of the region map, without the outside


def small_flow(flow: Float) -> Float:
    """A backward flow ``[size, size, 2]`` (pixel indices) less the identity, averaged to ``[64, 64, 2]``, pixels."""
    shift = np.array(flow, np.float32)
    shift[..., 0] -= np.arange(flow.shape[1], dtype=np.float32)
    shift[..., 1] -= np.arange(flow.shape[0], dtype=np.float32)[:, None]
    return np.asarray(cv2.resize(shift, (MOTION_SIZE, MOTION_SIZE), interpolation=cv2.INTER_AREA), np.float32)


@lru_cache(maxsize=8)
def _grid(height: int, width: int, device: torch.device) -> Tensor:
    """Pixel centres of a picture as ``grid_sample`` counts them, ``[1, h, w, 2]`` in -1..1 (x, y)."""
    across, down = ((2 * torch.arange(n, device=device) + 1) / n - 1 for n in (width, height))
    return torch.stack(torch.meshgrid(across, down, indexing="xy"), -1)[None]


def warp(picture: Tensor, shift: Tensor) -> Tensor:
    """Sample ``[B, C, h, w]`` at the identity plus ``shift`` ``[B, 2, h, w]`` (shares of the side), bilinearly."""
    grid = _grid(*picture.shape[-2:], picture.device)
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
    found = region[:, None] == kinds[:, None, None]
    return found.view(torch.uint8).float()  # bytes are converted twice as fast as truth values


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


def detail_squares(points: Tensor, source_points: Tensor, place: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """First column and row of squares about mouths and eyes, whole pixels ``[B, 2]``, and their sides ``[B]``.

    The side depends on the photograph alone, so that it does not change as the mouth opens.

    Args:
        points: of the face, ``[B, 478, 2]``, shares of the frame's side.
        source_points: the photograph's landmarks, likewise.
        place: int64 ``[B]``, which of :data:`PLACES`.
        size: side of the frame in pixels.
    """
    height = (source_points[:, _CHIN] - source_points[:, _TOP]).norm(dim=-1)
    side = (_SQUARE_SIDE * height * size).round().clamp(min=8.0)
    # in a 256-px frame that a face half fills nothing is resampled at all
    usual = APPEARANCE_SIZE * size / 256
    side = torch.where((side - usual).abs() < 0.06 * usual, torch.full_like(side, round(usual)), side)
    corners = torch.tensor(list(PLACES.values()), device=points.device)[place]
    middle = points.gather(1, corners[..., None].expand(-1, -1, 2)).mean(1) * size
    return (middle - side[:, None] / 2).round(), side


def cut_square(picture: Tensor, corner: Tensor, side: Tensor) -> Tensor:
    """Cut squares out of ``[B, C, h, w]`` and scale them to 64 px; corner and side in the picture's pixels."""
    size = picture.shape[-1]
    scale = side / size
    center = (2 * corner + side[:, None]) / size - 1
    grid = _grid(APPEARANCE_SIZE, APPEARANCE_SIZE, picture.device) * scale[:, None, None, None] + center[:, None, None]
    return F.grid_sample(picture, grid, padding_mode="border", align_corners=False)


def photo_squares(photo: Tensor, source_points: Tensor, place: Tensor) -> Tensor:
    """The photograph's own mouths and eyes, ``[B, 3, 64, 64]``; arguments as of :func:`appearance_inputs`."""
    return cut_square(photo, *detail_squares(source_points, source_points, place, photo.shape[-1]))


def appearance_inputs(
    frame: Tensor, own: Tensor, shift: Tensor, regions: Tensor, visibility: Tensor, points: Tensor,
    source_points: Tensor, place: Tensor,
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:  # fmt: skip
    """What appearance compensation sees of a mouth or an eye, where it may act, and the squares it was cut from.

    Args:
        frame: what geometry drew ``[B, 3, size, size]``.
        own: the same place of the photograph, from :func:`photo_squares`.
        shift, regions, points, source_points: as of :func:`motion_inputs`.
        visibility: ``[B, 1, size, size]``.
        place: int64 ``[B]``, which of :data:`PLACES`.

    Returns:
        ``[B, 13, 64, 64]``; where it may act ``[B, 1, 64, 64]`` in 0..1; corners and sides of the squares.
    """
    size = frame.shape[-1]
    corner, side = detail_squares(points, source_points, place, size)
    drawn, shares, visible = (cut_square(picture, corner, side) for picture in (frame, regions, visibility))
    ratio = shift.shape[-1] / size
    moved = cut_square(shift, corner * ratio, side * ratio) / FLOW_UNIT
    inputs = torch.cat([drawn, own, shares, visible, moved], 1)
    return inputs, allowed(shares, visible), (corner, side)


def mouth_share(maps: RenderMaps) -> float:
    """How much of a mouth's fill is used, 1 to .2.

    Photographs and films show few mouths that are wide open: what is filled into those is a mean of smaller ones, and
    paler than the dark that geometry draws.
    """
    upper, lower = maps.points[_MOUTH_MIDDLE[0]], maps.points[_MOUTH_MIDDLE[1]]
    unit = float(np.linalg.norm(maps.source_points[_EYES_OUTER[0]] - maps.source_points[_EYES_OUTER[1]]))
    wide = (float(np.linalg.norm(upper - lower)) / max(unit, 1e-6) - _WIDE) / _WIDE_RANGE
    return 1 - 0.8 * float(np.clip(wide, 0, 1))


def lid_closing(maps: RenderMaps) -> list[float]:
    """How far the right and the left lid have come down from where the photograph has them, 0 to 1."""
    found = []
    for upper, lower in _LIDS:
        gap, gap_now = (float(np.linalg.norm(p[upper] - p[lower])) for p in (maps.source_points, maps.points))
        found.append(float(np.clip((_LID_MOVED - gap_now / max(gap, 1e-6)) / _LID_RANGE, 0, 1)))
    return found


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
        None if model.motion is None else MotionRefiner(refiner),
        None if model.appearance is None else AppearanceRefiner(refiner),
    )


class PortraitRefiner:
    """The learned stages for one portrait, on several frames at once.

    Args:
        model: trained weights.
        portrait: whose head crop is drawn.
    """

    def __init__(self, model: PortraitCompensator, portrait: SourcePortrait) -> None:
        self.model = model.eval().to(memory_format=torch.channels_last)
        self.device = next(model.parameters()).device
        self.photo = picture_tensor(portrait.frame, self.device)
        self._window = portrait.window  # frames join the picture without a seam
        self._own: dict[int, Tensor] = {}  # the photograph's squares
        self._maps: list[RenderMaps] = []
        self._prepared: tuple[Tensor, Tensor, Tensor, Tensor] | None = None

    def _tensors(self, maps: Sequence[RenderMaps]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Shift, region shares, points and source points of frames; the same for both stages."""
        if self._prepared is not None and [*map(id, self._maps)] == [*map(id, maps)]:
            return self._prepared
        size = maps[0].region.shape[0]

        def tensor(arrays: Sequence[NDArray[np.generic]]) -> Tensor:
            return torch.from_numpy(np.stack(arrays)).to(self.device)

        shift = tensor([small_flow(m.flow) for m in maps]).permute(0, 3, 1, 2) / size
        places = (tensor([getattr(m, name) for m in maps]) / size for name in ("points", "source_points"))
        points, source_points = places
        self._maps = list(maps)
        self._prepared = shift, region_shares(tensor([m.region for m in maps])), points, source_points
        return self._prepared

    def _precision(self) -> torch.autocast:
        """bfloat16 where the processor computes in it, as in training."""
        return torch.autocast(self.device.type, fast_dtype(), enabled=fast_dtype() != torch.float32)

    @torch.no_grad()
    def motion(self, maps: Sequence[RenderMaps]) -> list[tuple[Float, Float]]:
        """Stage 2; see :class:`MotionRefiner`."""
        size = maps[0].region.shape[0]
        if self.model.motion is None:
            raise ConfigError("The model has no motion book: leave motion compensation out.")
        # hair and shoulders move slowly: every other frame is asked for, the ones between lie half way
        asked = [*range(0, len(maps), 2), *([len(maps) - 1] if len(maps) % 2 == 0 else [])]
        inputs = motion_inputs(
            self.photo.expand(len(asked), -1, -1, -1), *(tensor[asked] for tensor in self._tensors(maps))
        )
        with self._precision():
            found = self.model.motion(_channels_last(inputs))
        free = outside_face(inputs)
        both = torch.cat([found.flow.float() * free * size, 1 - free * (1 - found.visibility.float())], 1)
        before = [index // 2 for index in range(len(maps) - 1)] + [len(asked) - 1]
        after = [(index + 1) // 2 for index in range(len(maps) - 1)] + [len(asked) - 1]
        both = (both[before] + both[after]) / 2
        flows, visibility = both[:, :2].permute(0, 2, 3, 1).cpu().numpy(), both[:, 2].cpu().numpy()
        return [
            (resize(flow, (size, size)) * self._window, resize(seen, (size, size)))
            for flow, seen in zip(flows, visibility, strict=True)
        ]

    @torch.no_grad()
    def appearance(
        self, frames: Sequence[Image], maps: Sequence[RenderMaps], visibility: Sequence[Float]
    ) -> list[tuple[Float, Float]]:
        """Stage 3; see :class:`AppearanceRefiner`."""
        if self.model.appearance is None:
            raise ConfigError("The model has no appearance book: leave appearance compensation out.")
        fills = [(frame.astype(np.float32), np.zeros(frame.shape[:2], np.float32)) for frame in frames]
        asked = [(index, *one) for index, one_maps in enumerate(maps) for one in _places(one_maps)]
        if not asked:
            return fills
        asked.sort(key=lambda one: one[1])
        drawn = torch.cat([picture_tensor(frame, self.device) for frame in frames])
        seen = torch.from_numpy(np.stack(visibility)).to(self.device)[:, None]
        squares = [
            self._squares(drawn, seen, maps, [index for index, where, _ in asked if where == place], place)
            for place in sorted({place for _, place, _ in asked})
        ]
        inputs, free, corners, sides = (torch.cat(parts) for parts in zip(*squares, strict=True))
        with self._precision():
            found = [(self.model.appearance(_channels_last(rows)), count) for rows, count in _portions(inputs)]
        change, weight = (
            torch.cat([getattr(one, name)[:count] for one, count in found]).float() for name in ("change", "weight")
        )
        pieces = torch.cat([255 * change, weight * free], 1).permute(0, 2, 3, 1).cpu().numpy()
        for (index, _, strength), piece, corner, side in zip(asked, pieces, corners, sides, strict=True):
            _lay_in(*fills[index], piece, strength, (int(corner[0]), int(corner[1])), int(side))
        return [(np.clip(fill, 0, 255), weight) for fill, weight in fills]

    def _squares(
        self, drawn: Tensor, seen: Tensor, maps: Sequence[RenderMaps], rows: list[int], place: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Inputs, where to act, corners and sides of the squares at one place of some of the frames."""
        tensors: Sequence[Tensor] = (drawn, *self._tensors(maps), seen)
        if len(rows) < len(maps):  # mostly all frames are wanted, and large tensors need not be copied
            tensors = [tensor[rows] for tensor in tensors]
        drawn, shift, regions, points, source_points, seen = tensors
        where = torch.full((len(rows),), place, device=self.device)
        if place not in self._own:
            self._own[place] = photo_squares(self.photo, source_points[:1], where[:1])
        own = self._own[place].expand(len(rows), -1, -1, -1)
        inputs, free, (corners, sides) = appearance_inputs(
            drawn, own, shift, regions, seen, points, source_points, where
        )
        return inputs, free, corners, sides


def _places(maps: RenderMaps) -> list[tuple[int, float]]:
    """Where a frame is looked at, by numbers of :data:`PLACES`, and how strongly: open mouths, lids that come down."""
    lids = [(1 + side, closing) for side, closing in enumerate(lid_closing(maps)) if closing > 0]
    return [(0, mouth_share(maps)), *lids] if maps.mouth_mask.any() else lids


class MotionRefiner:
    """Stage 2, a :class:`~mooe.decoder.compensation.MotionCompensation`."""

    def __init__(self, refiner: PortraitRefiner) -> None:
        self._refiner = refiner

    def __call__(self, photo: Image, maps: RenderMaps) -> tuple[Float, Float]:
        """Flow residual and visibility of one frame."""
        return self.many(photo, [maps])[0]

    def many(self, photo: Image, maps: Sequence[RenderMaps]) -> list[tuple[Float, Float]]:
        """Those of several frames."""
        return self._refiner.motion(maps)


class AppearanceRefiner:
    """Stage 3, an :class:`~mooe.decoder.compensation.AppearanceCompensation`."""

    def __init__(self, refiner: PortraitRefiner) -> None:
        self._refiner = refiner

    def __call__(self, frame: Image, maps: RenderMaps, visibility: Float) -> tuple[Float, Float]:
        """Colours and their weight of one frame."""
        return self.many([frame], [maps], [visibility])[0]

    def many(
        self, frames: Sequence[Image], maps: Sequence[RenderMaps], visibility: Sequence[Float]
    ) -> list[tuple[Float, Float]]:
        """Those of several frames."""
        return self._refiner.appearance(frames, maps, visibility)


def _portions(inputs: Tensor) -> Iterator[tuple[Tensor, int]]:
    """Portions of rows, and how many of each count: 16, 12, 8, 4 or 1, the last filled up with zeros.

    How many squares some frames need is chance, and oneDNN keeps a program for each size of batch that it has met,
    megabytes each: a hundred and more in a minute of speech.
    """
    for rows in inputs.split(16):
        missing = -len(rows) % 4 if len(rows) > 1 else 0
        yield F.pad(rows, (0, 0, 0, 0, 0, 0, 0, missing)), len(rows)


def _channels_last(inputs: Tensor) -> Tensor:
    return inputs.contiguous(memory_format=torch.channels_last)


def _lay_in(
    fill: Float, weight: Float, piece: Float, strength: float, corner: tuple[int, int], side: int
) -> None:
    """Add the fill of a square ``[64, 64, 4]`` to that of a frame, and set its weight, in place."""
    piece = resize(piece, (side, side))
    left, top = corner
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + side, fill.shape[1]), min(top + side, fill.shape[0])
    if x0 < x1 and y0 < y1:
        part = piece[y0 - top : y1 - top, x0 - left : x1 - left]
        own = np.where(part[..., 3] > _LEAST_WEIGHT, strength * part[..., 3], 0)
        stronger = own > weight[y0:y1, x0:x1]
        fill[y0:y1, x0:x1] += part[..., :3] * stronger[..., None]
        weight[y0:y1, x0:x1] = np.where(stronger, own, weight[y0:y1, x0:x1])
