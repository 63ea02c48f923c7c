"""The eyeballs under the lids: they move with the head and the gaze, and the lids slide over them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numba
import numpy as np

from mooe.decoder.images import FinePhoto, Float, Image, Layer, blur
from mooe.decoder.mesh import pose_points
from mooe.decoder.rasterizer import rasterize_polygon
from mooe.decoder.tone import LUMA
from mooe.face.alignment import HeadAlignment
from mooe.face.regions import ARKIT_NAMES, LEFT_EYE, LEFT_IRIS, RIGHT_EYE, RIGHT_IRIS
from mooe.face.topology import arkit_shapes

EYES = ((RIGHT_EYE, RIGHT_IRIS), (LEFT_EYE, LEFT_IRIS))
_LASH_LENGTH = 0.13  # how far lashes reach over the upper lid, head-frame units
_LASH_SPACING = 0.075
# skin between brow and fold, and below the eye
_LID_SKIN = ((222, 223, 224, 119, 118, 101), (442, 443, 444, 348, 347, 330))
_SKIN_SHARE, _SKIN_HUE = 0.65, 0.8  # of that skin in a closed lid's brightness and in its colour
_BAND = 0.012  # the lashes' roots stay
_LID_SHADE = 0.30  # how dark the eyeball gets right under a lid that has come down
_SHADE_REACH = 0.045  # head-frame units
_MOST_WHITE = 0.8  # share of one side in the white of an eye that a lid uncovers


@numba.njit(cache=True, fastmath=True, nogil=True)  # type: ignore[untyped-decorator]
def _profile(u, knots_u, knots_v):  # type: ignore[no-untyped-def]
    n = knots_u.shape[0]
    if u <= knots_u[0]:
        return knots_v[0]
    for i in range(1, n):
        if u <= knots_u[i]:
            t = (u - knots_u[i - 1]) / max(knots_u[i] - knots_u[i - 1], 1e-6)
            return knots_v[i - 1] + t * (knots_v[i] - knots_v[i - 1])
    return knots_v[n - 1]


@numba.njit(cache=True, fastmath=True, nogil=True)  # type: ignore[untyped-decorator]
def _uncover(u, v, iris, photo, slack_top, slack_low, side):  # type: ignore[no-untyped-def]
    du, dv = u - iris[0], v - iris[1]
    distance = math.sqrt(du * du + dv * dv)
    angle = math.atan2(dv, abs(du))
    for _ in range(13):
        top, low = _profile(u, photo[0], photo[1]), _profile(u, photo[2], photo[3])
        half = max((low - top) / 2, 0.5)
        ceiling = top + min(slack_top, 0.4 * half)
        floor = low - min(slack_low, 0.35 * half)
        if v >= ceiling and v <= floor:
            return u, v
        angle *= 0.8
        u = iris[0] + side * distance * math.cos(angle)
        v = iris[1] + distance * math.sin(angle)
    return u, min(max(v, ceiling), max(floor, ceiling))


@numba.njit(cache=True, fastmath=True, nogil=True)  # type: ignore[untyped-decorator]
def _eye_kernel(  # type: ignore[no-untyped-def]
    x_min, y_min, inverse, forward, photo, driven, iris, radius, gaze, reach, shade, out, other, share, white, light
):
    """Source coordinates of an eyeball's pixels, ``out``, and of what is mixed in where the lids hid them, ``other``.

    ``photo`` and ``driven`` hold lid profiles [4, n]: u and v of the upper, u and v of the lower lid, in the eye's own
    axes of the photograph (u along the corners, v down). ``share`` is that of ``out``, ``white`` how surely the place
    is beside the iris.
    """
    height, width = light.shape
    moved = math.sqrt(gaze[0] ** 2 + gaze[1] ** 2)
    for y in range(height):
        for x in range(width):
            px, py = x + x_min, y + y_min
            u = inverse[0, 0] * px + inverse[0, 1] * py + inverse[0, 2]
            v = inverse[1, 0] * px + inverse[1, 1] * py + inverse[1, 2]
            top, low = _profile(u, photo[0], photo[1]), _profile(u, photo[2], photo[3])
            top_now, low_now = _profile(u, driven[0], driven[1]), _profile(u, driven[2], driven[3])
            height_below = v - top_now
            down = max(top_now - top, 0.0)
            wider_top, wider_low = max(top - top_now, 0.0), max(low_now - low, 0.0)
            if moved > 0.01:
                distance = math.sqrt((u - iris[0] - gaze[0]) ** 2 + (v - iris[1] - gaze[1]) ** 2)
                t = (distance - radius * 1.05) / (radius * 1.3)
                t = min(max(t, 0.0), 1.0)
                weight = 1.0 - t * t * (3.0 - 2.0 * t)
                u -= gaze[0] * weight
                v -= gaze[1] * weight
            share[y, x], white[y, x] = 1.0, 0.0
            u_other, v_other = u, v
            if moved > 0.01 or wider_top > 0.0 or wider_low > 0.0:
                # What the photograph's lids hide is taken from the same distance to the pupil, further to the side, and
                # from the other side: in the middle half of either, or a seam would stand over the pupil.
                slack_top, slack_low = 0.25 * moved + wider_top, 0.2 * moved + wider_low
                du, dv = u - iris[0], v - iris[1]
                side = 1.0 if du >= 0 else -1.0
                u_own, v_own = _uncover(u, v, iris, photo, slack_top, slack_low, side)
                far = math.sqrt((u_own - u) ** 2 + (v_own - v) ** 2)
                if far > 0.0:
                    u_other, v_other = _uncover(u, v, iris, photo, slack_top, slack_low, -side)
                    far = min(2.0 * far / radius, 1.0)
                    t = min(abs(du) / (0.9 * radius), 1.0)
                    share[y, x] = 1.0 - far * (0.5 - 0.5 * t * t * (3.0 - 2.0 * t))
                    t = min(max((math.sqrt(du * du + dv * dv) / radius - 1.0) / 0.15, 0.0), 1.0)
                    white[y, x] = far * t
                    u, v = u_own, v_own
            other[y, x, 0] = forward[0, 0] * u_other + forward[0, 1] * v_other + forward[0, 2]
            other[y, x, 1] = forward[1, 0] * u_other + forward[1, 1] * v_other + forward[1, 2]
            out[y, x, 0] = forward[0, 0] * u + forward[0, 1] * v + forward[0, 2]
            out[y, x, 1] = forward[1, 0] * u + forward[1, 1] * v + forward[1, 2]
            # the shade of the upper lid comes down with it
            near = math.exp(-max(height_below, 0.0) / reach)
            light[y, x] = 1.0 - shade * near * min((down + wider_top) / (2.0 * reach), 1.0)


@lru_cache(maxsize=1)
def _gaze_maps() -> tuple[Float, Float]:
    """For each eye the matrix ``[3, 3 * 17]`` from what its ring and its iris centre moved to the gaze alone.

    Trackers and shape tables let the iris go along with a closing or widening lid. The motion is split by least
    squares into the ARKit shapes around the eye, and what lids and brows do to the iris is taken off.
    """
    shapes = arkit_shapes()
    maps = []
    for side, (ring, iris) in zip(("Right", "Left"), EYES, strict=True):
        names = [
            n for n in ARKIT_NAMES if n.startswith(("eye", "brow", "cheekSquint")) and n.endswith((side, "InnerUp"))
        ]
        rows = [ARKIT_NAMES.index(n) for n in names]
        points = [*ring, iris[0]]
        basis = shapes[rows][:, points].reshape(len(rows), -1).T.astype(np.float64)
        weights = np.linalg.solve(basis.T @ basis + 1e-4 * np.eye(len(rows)), basis.T)
        lids = np.array([0.0 if n.startswith("eyeLook") else 1.0 for n in names])
        along = shapes[rows, iris[0]].T.astype(np.float64) * lids
        own = np.zeros((3, basis.shape[0]))
        own[:, -3:] = np.eye(3)
        maps.append((own - along @ weights).astype(np.float32))
    return maps[0], maps[1]


def gaze_shifts(displacement: Float) -> Float:
    """What the gaze alone moves both irises' centres, ``[2, 3]`` (right, left), in ``[478, 3]``, head frame."""
    looks = [
        gaze_map @ displacement[[*ring, iris[0]]].reshape(-1)
        for gaze_map, (ring, iris) in zip(_gaze_maps(), EYES, strict=True)
    ]
    return np.stack(looks)


@dataclass(frozen=True)
class _Axes:
    """An eye's own axes in the photograph and its lids in them (crop pixels)."""

    frame: Float  # [3, 3]: own (u, v, 1) -> crop pixel
    depth_points: Float  # [3, 3] head-frame points of origin, unit u, unit v
    profile: Float
    iris: Float
    radius: float


def _lid_profile(points: Float, inverse: Float) -> Float:
    local = points @ inverse[:2, :2].T + inverse[:2, 2]
    upper = local[[0, 15, 14, 13, 12, 11, 10, 9, 8]]
    lower = local[:9]
    if upper[0, 0] > upper[-1, 0]:
        upper, lower = upper[::-1], lower[::-1]
    return np.ascontiguousarray(
        [
            np.maximum.accumulate(upper[:, 0]),
            upper[:, 1],
            np.maximum.accumulate(lower[:, 0]),
            np.maximum(lower[:, 1], upper[:, 1]),
        ],
        np.float32,
    )


class EyeLayer:
    """Both eyeballs of one portrait.

    Args:
        landmarks: crop landmarks ``[478, 3]`` (pixels).
        alignment: of the photograph in the crop.
    """

    def __init__(self, landmarks: Float, alignment: HeadAlignment) -> None:
        self.alignment = alignment
        self._axes = [self._measure(landmarks, ring, iris) for ring, iris in EYES]

    def _measure(self, landmarks: Float, ring: tuple[int, ...], iris: tuple[int, ...]) -> _Axes:
        a, b = landmarks[ring[0]], landmarks[ring[8]]
        if a[0] > b[0]:
            a, b = b, a
        origin = (a + b) / 2
        along = (b - a)[:2] / max(float(np.linalg.norm((b - a)[:2])), 1e-6)
        frame = np.eye(3, dtype=np.float32)
        frame[:2, 0], frame[:2, 1], frame[:2, 2] = along, (-along[1], along[0]), origin[:2]
        inverse = np.linalg.inv(frame)
        corners = np.repeat(origin[None], 3, 0)
        corners[1:, :2] += frame[:2, :2].T
        centre = landmarks[list(iris)][:, :2]
        local = centre @ inverse[:2, :2].T + inverse[:2, 2]
        radius = float(np.linalg.norm(local[1:] - local[0], axis=1).mean())
        profile = _lid_profile(landmarks[list(ring), :2], inverse)
        return _Axes(frame, self.alignment.to_head(corners), profile, local[0], radius)

    def render(
        self,
        photo: FinePhoto,
        target: Float,
        displacement: Float,
        rotation: Float,
        translation: Float,
        factor: float,
    ) -> list[Layer]:
        """Draw the open part of each eye.

        Args:
            photo: the crop at ``factor`` times its frame size.
            target: driven face points in frame pixels ``[V, 2]``.
            displacement: float32 ``[478, 3]``, head frame, for the gaze.
            rotation, translation: head pose.
            factor: canvas pixels per frame pixel.

        Returns:
            One layer for each eye that is open.
        """
        layers = []
        for axes, look, (ring, _) in zip(self._axes, gaze_shifts(displacement), EYES, strict=True):
            moved = self.alignment.to_image(pose_points(axes.depth_points, rotation, translation))[:, :2]
            shift = (self.alignment.scale * (self.alignment.rotation @ look)[:2] * (1, -1)).astype(np.float32)
            layer = self._render_eye(photo, axes, target[list(ring)], moved, shift, factor)
            if layer is not None:
                layers.append(layer)
        return layers

    def _render_eye(
        self, photo: FinePhoto, axes: _Axes, lids: Float, moved: Float, shift: Float, factor: float
    ) -> Layer | None:
        """One eye: driven ``lids`` ``[16, 2]``, where origin and axes ``moved`` ``[3, 2]``, gaze ``shift`` ``[2]``."""
        low = np.maximum(np.floor((lids.min(0) - 1) * factor).astype(int) - 1, 0)
        high = np.minimum(np.ceil((lids.max(0) + 1) * factor).astype(int) + 2, photo.shape[::-1])
        if (high - low).min() < 2:
            return None
        shape = (int(high[1] - low[1]), int(high[0] - low[0]))
        coverage = rasterize_polygon(lids * factor - 0.5 - low, shape)
        if coverage.max() < 0.03:
            return None
        posed = np.eye(3, dtype=np.float32)
        posed[:2, 0], posed[:2, 1], posed[:2, 2] = moved[1] - moved[0], moved[2] - moved[0], moved[0]
        inverse = np.linalg.inv(posed).astype(np.float32)
        gaze = (np.linalg.inv(axes.frame[:2, :2]) @ shift).astype(np.float32)
        # canvas pixel index -> frame pixel -> own axes, and back
        to_frame = np.diag([1 / factor, 1 / factor, 1.0]).astype(np.float32)
        to_frame[:2, 2] = 0.5 / factor
        maps, other = np.empty((2, *shape, 2), np.float32)
        share, white, light = np.empty((3, *shape), np.float32)
        _eye_kernel(
            float(low[0]), float(low[1]), inverse @ to_frame, np.linalg.inv(to_frame) @ axes.frame,
            axes.profile, _lid_profile(lids, inverse), axes.iris, axes.radius, gaze,
            _SHADE_REACH * self.alignment.scale, _LID_SHADE, maps, other, share, white, light,
        )  # fmt: skip
        color = photo.sample(maps).astype(np.float32)
        if share.min() < 1 or white.max() > 0:
            color = _mixed(color, photo.sample(other).astype(np.float32), share, white)
        color *= light[..., None]
        return Layer(slice(low[1], high[1]), slice(low[0], high[0]), color, coverage[..., None])


def _mixed(own: Float, other: Float, share: Float, white: Float) -> Float:
    """Colours ``[h, w, 3]`` from both sides of an iris; of the white the lighter one, for the other lies in shadow."""
    light, light_other = own.mean(-1) ** 2 + 1, other.mean(-1) ** 2 + 1
    most = np.minimum(share, _MOST_WHITE)
    lighter = most * light / (most * light + (1 - most) * light_other)
    weight = (share + white * (lighter - share))[..., None]
    return np.asarray(other + weight * (own - other), np.float32)


def smooth_lids(photo: Image, landmarks: Float, unit: float) -> Image:
    """The photograph without the lashes that stand over the upper lids: what a closing lid shows as it unfolds.

    Args:
        photo: uint8 ``[h, w, 3]``.
        landmarks: ``[478, 2]`` in the photo's pixels.
        unit: pixels per head-frame unit.
    """
    out = photo.copy()
    height, width = photo.shape[:2]
    kernel = np.ones((1, max(3, int(_LASH_SPACING * unit) | 1)), np.uint8)
    for (ring, _), around in zip(EYES, _LID_SKIN, strict=True):
        upper = landmarks[[ring[0], *ring[:7:-1]], :2] - np.float32(0.5)
        across = upper[-1] - upper[0]
        up = np.array([across[1], -across[0]]) / max(float(np.linalg.norm(across)), 1e-6)
        up = up if up[1] < 0 else -up
        low = np.maximum(np.floor(upper.min(0) - 0.12 * unit).astype(int), 0)
        high = np.minimum(np.ceil(upper.max(0) + 0.12 * unit).astype(int), (width, height))
        if (high - low).min() < 2:
            continue
        box = (slice(low[1], high[1]), slice(low[0], high[0]))
        shape = int(high[1] - low[1]), int(high[0] - low[0])
        weight = _above_lid((upper - low).astype(np.float32), up.astype(np.float32), unit, shape)
        closed = cv2.morphologyEx(photo[box], cv2.MORPH_CLOSE, kernel)
        closed = cv2.GaussianBlur(closed, (0, 0), max(0.012 * unit, 0.6)).astype(np.float32)
        # liner and the fold's shade would darken and grey the lid as it unfolds: it gets the tone of the skin around
        at = np.rint(landmarks[list(around), :2] - 0.5).astype(int).clip(0, (width - 1, height - 1))
        skin = np.quantile(cv2.blur(photo, (3, 3))[at[:, 1], at[:, 0]], 0.3, axis=0)
        luma = closed @ LUMA
        hue = closed / np.maximum(luma, 1.0)[..., None]
        hue += _SKIN_HUE * (skin / max(float(skin @ LUMA), 1.0) - hue)
        closed = hue * (luma + _SKIN_SHARE * (skin @ LUMA - blur(luma, max(0.06 * unit, 1.0))))[..., None]
        blended = photo[box] + (closed - photo[box]) * weight[..., None]
        out[box] = np.rint(blended).clip(0, 255).astype(np.uint8)
    return out


def _above_lid(upper: Float, up: Float, unit: float, shape: tuple[int, int]) -> Float:
    """1 right above a lid's margin, falling to 0 where lashes end and towards the corners; ``[h, w]``."""
    along = np.array([-up[1], up[0]])
    along = along if (upper[-1] - upper[0]) @ along > 0 else -along
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    pixels = np.stack([columns, rows], -1) - upper[0]
    s, height = pixels @ along, pixels @ up
    knots = (upper - upper[0]) @ along
    margin = np.interp(s, np.maximum.accumulate(knots), (upper - upper[0]) @ up)
    height = (height - margin) / unit
    across = np.clip(s / max(knots[-1], 1e-6), 0, 1)
    end = np.sin(np.pi * across) ** 0.5
    rising = np.clip((height - 0.5 * _BAND) / _BAND, 0, 1)
    falling = np.clip(1.5 - 1.5 * height / np.maximum(_LASH_LENGTH * end, 1e-3), 0, 1)
    return np.asarray(rising * falling * falling * (3 - 2 * falling) * np.minimum(end * 1.5, 1), np.float32)
