"""Behind the lips: teeth, gums, tongue and dark in the portrait's own tone, and the teeth the photograph shows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import cv2
import numpy as np
from numpy.typing import NDArray

from mooe.decoder.images import Layer, blur, resize
from mooe.decoder.mesh import pose_points
from mooe.decoder.neutral import LOWER_LIP, UPPER_LIP
from mooe.decoder.rasterizer import rasterize_polygon, rasterize_shaded
from mooe.decoder.tone import LUMA, PortraitTone
from mooe.errors import WeightsError
from mooe.face.alignment import HeadAlignment
from mooe.face.regions import LIPS_INNER, LIPS_OUTER
from mooe.face.topology import canonical_points

Float = NDArray[np.float32]
UPPER_TEETH, UPPER_GUM, LOWER_TEETH, LOWER_GUM, TONGUE = range(5)
_CHIN = (152, 148, 377, 175, 199)
_HINGE = np.array([0.0, 0.02, -0.62], np.float32)  # the jaw's axis, just before the ears
_JAW_GAIN = 1.3  # the joint also slides, so the teeth drop further than the chin's turn tells
_UPPER_EDGE = -0.044  # the upper front teeth end about 4 mm below the closed lips
_LOWER_EDGE = -0.028
_REST_EDGE = -0.035  # at rest the upper teeth end at least so far below the line where the lips meet
_LOWER_SHOWN = 0.028
_TONGUE_LIFT, _TONGUE_LIGHT = 0.05, 1.5  # in speech the tongue lies higher than at rest, and nearer the light
_BEHIND_LIPS = -0.035
_SHADOW_TINT = np.array([0.86, 1.04, 1.07], np.float32)  # lips pass red light into their own shade
_OPEN_PHOTO = 0.022, 0.045  # lip gap in the photograph from which its own teeth are kept, and kept fully
_FINE = 240.0  # pixels of the eye distance from which on teeth need not be drawn finer than twice
_ENAMEL = np.array([0.95, 0.91, 0.855], np.float32)  # mean albedo of the proxy's crowns
_TOOTH_LUMA = 0.84  # of a white surface in the same light, as in talk
_SMILE_LIGHT = 0.2  # more of it where a smile draws the lips back from the teeth,
_SMILE_WIDTH = 0.15  # all of it from so much wider a mouth on
_TOOTH_TINT = np.array([0.935, 1.035, 1.005], np.float32)  # what photographed teeth have beside the light's colour
_LIP_SEARCH, _LIP_SHARE = 0.05, 0.6  # how far an inner edge is looked for: head-frame units, share of the lip
_RED_LIP = 2.0  # how much redness counts against brightness where teeth are looked for
_MID_LIP = 0.6  # of the way from a lip's inner to its outer edge: there it has its colour
_SHALLOW = 0.5  # share by which the grooves of the lower teeth are lighter: so small, they would look like pegs
_THROAT, _THROAT_SHADE = 0.03, 0.6  # over how many eye distances from its edges the throat gets dark, and how dark
_GLOSS = 0.15  # wet highlights, share of the exposure
_MIN_OPENING = 0.004  # head-frame units below which the mouth counts as shut


@dataclass(frozen=True)
class _Proxy:
    points: Float
    normals: Float
    albedo: Float
    part: NDArray[np.uint8]
    faces: NDArray[np.int32]


@lru_cache(maxsize=1)
def _proxy() -> _Proxy:
    from safetensors.numpy import load

    path = resources.files("mooe").joinpath("assets/mouth_proxy.safetensors")
    try:
        table = load(path.read_bytes())
    except FileNotFoundError as error:
        raise WeightsError("mooe/assets/mouth_proxy.safetensors is missing: reinstall mooe.") from error
    return _Proxy(
        table["points"],
        table["normals"].astype(np.float32),
        table["albedo"].astype(np.float32) / np.float32(255),
        table["part"],
        table["faces"],
    )


def _round_ring(ring: Float) -> Float:
    """The lips' inner ring ``[20, 2]`` as a smooth curve through its points, with sharp corners; ``[80, 2]``."""
    t = np.arange(0, 1, 0.25, dtype=np.float32)[:, None]
    found = []
    for chain in (ring[:11], np.concatenate([ring[10:], ring[:1]])):
        ends = np.concatenate([chain[:1], chain, chain[-1:]])
        for p0, p1, p2, p3 in zip(ends[:-3], ends[1:-2], ends[2:-1], ends[3:], strict=True):
            # Catmull-Rom spline
            found.append(p1 + 0.5 * t * (p2 - p0 + t * (2 * p0 - 5 * p1 + 4 * p2 - p3 + t * (3 * (p1 - p2) + p3 - p0))))
    return np.concatenate(found).astype(np.float32)


def jaw_angle(neutral: Float, face: Float) -> float:
    """Rotation of the lower jaw in radians, from what the chin did between two faces ``[478, 3]`` (head frame)."""
    chin = neutral[list(_CHIN)].mean(0) - _HINGE
    now = face[list(_CHIN)].mean(0) - _HINGE
    turn = np.arctan2(chin[1], chin[2]) - np.arctan2(now[1], now[2])
    return float(np.clip(_JAW_GAIN * turn, 0.0, 0.7))


class MouthLayer:
    """The inside of one portrait's mouth.

    Args:
        frame: head crop uint8 ``[size, size, 3]``.
        landmarks: crop landmarks ``[478, 3]`` (pixels).
        neutral: neutral face ``[478, 3]``, head frame.
        alignment: of the photograph in the crop.
        tone: the portrait's tone.
    """

    def __init__(
        self,
        frame: NDArray[np.uint8],
        landmarks: Float,
        neutral: Float,
        alignment: HeadAlignment,
        tone: PortraitTone,
    ) -> None:
        proxy = _proxy()
        self.alignment, self.neutral, self.tone = alignment, neutral, tone
        self._frame_side = frame.shape[0]
        canonical = canonical_points()
        width = np.linalg.norm(neutral[61] - neutral[291]) / np.linalg.norm(canonical[61] - canonical[291])
        self._size = float(np.clip(width, 0.85, 1.2)) ** 0.5
        stomion = (neutral[13] + neutral[14]) / 2
        points = proxy.points * self._size
        self._plane = stomion + np.array([[0, 0, 0], [0.1, 0, 0], [0, 0.1, 0]], np.float32)
        self._photo_lips = landmarks[list(LIPS_INNER), :2]
        self._photo_outer = landmarks[list(LIPS_OUTER), :2]
        head = alignment.to_head(landmarks)
        low, high = _OPEN_PHOTO
        gap = float((head[UPPER_LIP, 1] - head[LOWER_LIP, 1]).max())
        self.photo_opening = float(np.clip((gap - low) / (high - low), 0, 1))
        self._photo_angle = jaw_angle(neutral, head)
        teeth = self._photo_teeth(frame)
        self._edge = _UPPER_EDGE if teeth is None else self._photo_edge(frame, head)
        #: how far the neutral lips lie too low for the teeth that the photograph bares, head-frame units
        self.lips_too_low = max(self._edge - _REST_EDGE, 0.0)
        upper = np.isin(proxy.part, (UPPER_TEETH, UPPER_GUM))
        points[upper, 1] += self._edge
        points[~upper, 1] += _LOWER_EDGE
        points[proxy.part == TONGUE, 1] += _TONGUE_LIFT
        points[~upper, 2] -= 0.025
        self._points = (points + stomion + (0, 0, _BEHIND_LIPS)).astype(np.float32)
        self._lower = ~upper
        self._faces = proxy.faces
        dark = 0.27 * tone.lips + 0.03 * tone.exposure
        self._shadow_tint = 1 + (_SHADOW_TINT - 1) * tone.chroma
        self._dark = tone.apply((dark * (0.85, 0.6, 0.6)).astype(np.float32))
        self._colors = self._shade(proxy, teeth)
        # photographed teeth were bared by a smile
        self._smile_gain = _SMILE_LIGHT if teeth is None else 0.0

    def _photo_teeth(self, frame: NDArray[np.uint8]) -> Float | None:
        """Colour of the teeth that the photograph bares, RGB ``[3]``; nothing when it shows none."""
        if self.photo_opening < 0.5:
            return None
        pixels = frame[rasterize_polygon(self._photo_lips - 0.5, frame.shape[:2]) > 0.9].astype(np.float32)
        if len(pixels) < 12:
            return None
        luma = pixels @ LUMA
        bright = pixels[luma >= np.quantile(luma, 0.6)].mean(0)
        red = (bright[0] - bright[1]) / max(float(bright @ LUMA), 1.0)
        lips_red = (self.tone.lips[0] - self.tone.lips[1]) / max(float(self.tone.lips @ LUMA), 1.0)
        # without colour, only their brightness tells teeth from lips
        least = (0.75 - 0.25 * self.tone.chroma) * self.tone.exposure
        if bright @ LUMA < least or (self.tone.chroma > 0 and red > 0.75 * lips_red):
            return None
        return np.asarray(bright, np.float32)

    def _photo_edge(self, frame: NDArray[np.uint8], head: Float) -> float:
        """Height of the bared upper teeth's edge over the closed lips, head-frame units."""
        found = []
        soft = cv2.GaussianBlur(frame, (0, 0), 0.6)
        steps = np.linspace(0.04, 0.96, 24)
        for upper, lower in ((82, 87), (13, 14), (312, 317)):
            image = self.alignment.to_image(head[[upper, lower]])[:, :2] - 0.5
            points = image[0] + steps[:, None] * (image[1] - image[0])
            colors = [cv2.getRectSubPix(soft, (1, 1), (float(x), float(y)))[0, 0] for x, y in points]
            luma = np.array(colors, np.float32) @ LUMA
            dark = np.flatnonzero(luma < 0.62 * np.quantile(luma, 0.85))
            first_bright = int(np.argmax(luma >= 0.8 * luma.max()))
            dark = dark[dark > first_bright]
            share = steps[dark[0]] if len(dark) else 1.0
            found.append(head[upper, 1] + share * (head[lower, 1] - head[upper, 1]))
        return float(np.median(found) - self._plane[0, 1])

    def lip_source(self, photo: NDArray[np.uint8]) -> Float:
        """Where the lips' inner edge really shows in the photograph, float32 ``[20, 2]`` in frame pixels.

        Over bared teeth the landmarks often lie on the teeth; a driven lip would drag that rim of teeth along. Each
        is moved outwards until the colour is the lip's beside it.

        Args:
            photo: the head crop at any resolution, the finer the better, uint8 ``[side, side, 3]``.
        """
        factor = np.float32(photo.shape[0] / self._frame_side)
        inner, outer = self._photo_lips * factor, self._photo_outer * factor
        inside = rasterize_polygon(inner - 0.5, photo.shape[:2]) > 0.9
        if self.photo_opening == 0.0 or inside.sum() < 6:
            return self._photo_lips.copy()
        pixels = photo[inside].astype(np.float32)
        luma = np.maximum(pixels @ LUMA, 1.0)
        # bright, and not as red as lips, of which the landmarks leave some inside
        toothlike = luma / luma.mean() - _RED_LIP * (pixels[:, 0] - pixels[:, 1]) / luma
        teeth = pixels[toothlike >= np.quantile(toothlike, 0.6)].mean(0)
        soft = cv2.GaussianBlur(photo, (0, 0), 0.6)

        def color(place: Float) -> Float:
            x, y = place - 0.5
            return np.asarray(cv2.getRectSubPix(soft, (1, 1), (float(x), float(y)))[0, 0], np.float32)

        found = inner.copy()
        for i in range(len(inner)):
            away = outer[i] - inner[i]
            length = max(float(np.linalg.norm(away)), 1e-6)
            lip = color(inner[i] + _MID_LIP * away)
            axis = teeth - lip
            span = float(axis @ axis)
            if span < 400.0:  # teeth and lip look alike: nothing to tell them apart by
                continue
            farthest = min(float(_LIP_SEARCH * self.alignment.scale * factor), _LIP_SHARE * length)
            for step in np.arange(0.0, farthest, 0.25):
                found[i] = inner[i] + away / length * (step + 0.2)
                if float((color(inner[i] + away / length * step) - lip) @ axis) < 0.35 * span:
                    break
        return np.asarray(found / factor, np.float32)

    def _shade(self, proxy: _Proxy, teeth: Float | None) -> Float:
        light = np.array([0.0, 0.42, 0.91], np.float32)
        diffuse = 0.82 + 0.18 * np.clip(proxy.normals @ light, 0, 1)
        depth = proxy.points[:, 2].max() - proxy.points[:, 2]
        occlusion = np.clip(1.06 - depth / 0.56, 0.06, 1.0)
        crowns = proxy.albedo.copy()
        below = proxy.part == LOWER_TEETH
        crowns[below] += _SHALLOW * (crowns[below].mean(0) - crowns[below])
        albedo = crowns.copy()
        tooth = np.isin(proxy.part, (UPPER_TEETH, LOWER_TEETH))
        albedo[tooth] *= _TOOTH_LUMA * _TOOTH_TINT
        # light that reaches the teeth has partly passed the lips
        warm = 0.8 + 0.2 * self.tone.lips / max(float(self.tone.lips @ LUMA), 1.0)
        color = albedo * self.tone.exposure * self.tone.white * warm
        if teeth is not None:
            color[tooth] = crowns[tooth] / _ENAMEL * teeth
        # gums and tongue are as red as this person's lips are
        flesh = proxy.albedo.mean(1, keepdims=True) / 0.45 * self.tone.lips
        color[~tooth] = 0.35 * color[~tooth] + 0.5 * flesh[~tooth]
        # what light the lower teeth get has come off lips and tongue
        color[np.isin(proxy.part, (LOWER_TEETH, LOWER_GUM))] *= 0.95 ** (2 * self._shadow_tint - 1)
        color[proxy.part == TONGUE] *= _TONGUE_LIGHT
        half = np.array([0.0, 0.22, 0.975], np.float32)
        gloss = _GLOSS * self.tone.exposure * np.clip(proxy.normals @ half, 0, 1) ** 24
        lit = color * diffuse[:, None] + gloss[:, None]
        return self.tone.apply((lit * occlusion[:, None]).astype(np.float32))

    def render(
        self,
        photo: NDArray[np.uint8],
        face: Float,
        target: Float,
        rotation: Float,
        translation: Float,
        factor: float,
    ) -> Layer | None:
        """Draw what the open lips show; nothing when they are shut.

        Args:
            photo: the crop at ``factor`` times its frame size, uint8 ``[h, w, 3]``.
            face: driven face in the head frame before the pose ``[478, 3]``.
            target: driven points in frame pixels ``[V, 2]``.
            rotation, translation: head pose.
            factor: canvas pixels per frame pixel.

        Returns:
            The layer, or nothing.
        """
        gap = face[UPPER_LIP, 1] - face[LOWER_LIP, 1]
        if gap.max() < _MIN_OPENING:
            return None
        lips = target[list(LIPS_INNER)]
        low = np.maximum(np.floor(lips.min(0) * factor).astype(int) - 3, 0)
        high = np.minimum(np.ceil(lips.max(0) * factor).astype(int) + 3, (photo.shape[1], photo.shape[0]))
        if (high - low).min() < 2:
            return None
        shape = (int(high[1] - low[1]), int(high[0] - low[0]))
        polygon = _round_ring(lips) * factor - 0.5 - low
        edge = max(0.006 * self.alignment.scale * factor, 0.5)
        # where the smooth curve cuts a corner of the mesh's opening, that corner is inside all the same
        inside = np.maximum(rasterize_polygon(polygon, shape), rasterize_polygon(lips * factor - 0.5 - low, shape))
        coverage = blur(inside, edge)
        color = self._draw(face, rotation, translation, factor, low, shape)
        color *= self._lip_shade(polygon, shape, factor) * self._smile_light(face)
        color = self._keep_photo(photo, color, face, rotation, translation, factor, low)
        return Layer(slice(low[1], high[1]), slice(low[0], high[0]), color, coverage[..., None])

    def _draw(
        self, face: Float, rotation: Float, translation: Float, factor: float, low: NDArray[np.int64],
        shape: tuple[int, int],
    ) -> Float:  # fmt: skip
        points = self._points.copy()
        angle = jaw_angle(self.neutral, face)
        aside = float((face[list(_CHIN), 0] - self.neutral[list(_CHIN), 0]).mean())
        cosine, sine = np.cos(angle), np.sin(angle)
        jaw = points[self._lower] - _HINGE
        y, z = jaw[:, 1] * cosine - jaw[:, 2] * sine, jaw[:, 1] * sine + jaw[:, 2] * cosine
        # the lower lip hides all but the teeth's edge, however far the mouth opens
        edge = self._plane[0] + np.array([0, _LOWER_EDGE, _BEHIND_LIPS], np.float32) - _HINGE
        shown = edge[1] * cosine - edge[2] * sine + _HINGE[1] - face[14, 1]
        drop = max(float(shown) - _LOWER_SHOWN, 0.0)
        points[self._lower] = np.stack([jaw[:, 0] + aside, y - drop, z], 1) + _HINGE
        image = self.alignment.to_image(pose_points(points, rotation, translation))
        finer = int(np.clip(np.ceil(2 * _FINE / (self.alignment.scale * factor)), 2, 6))
        image[:, :2] = (image[:, :2] * factor - 0.5 - low + 0.5) * finer - 0.5
        image[:, 2] *= -1
        big = (shape[0] * finer, shape[1] * finer)
        color, depth = rasterize_shaded(self._faces, image, self._colors, big, self._dark)
        empty = resize((depth < -1e29).astype(np.float32), shape)
        throat = blur(empty, max(_THROAT * self.alignment.scale * factor, 0.8))
        return resize(color, shape) * (1 - _THROAT_SHADE * np.clip(2 * throat - 1, 0, 1))[..., None]

    def _smile_light(self, face: Float) -> float:
        """How much brighter than in talk the teeth are."""
        width, rest = (float(np.linalg.norm(points[61] - points[291])) for points in (face, self.neutral))
        return 1 + self._smile_gain * float(np.clip((width / max(rest, 1e-6) - 1) / _SMILE_WIDTH, 0, 1))

    def _lip_shade(self, polygon: Float, shape: tuple[int, int], factor: float) -> Float:
        """The lips' shade on what is behind them, strongest under the upper lip; ``[h, w, 3]``."""
        unit = self.alignment.scale * factor
        lit = polygon + np.array([0.0, 0.008 * unit], np.float32)
        soft = blur(rasterize_polygon(lit, shape), max(0.022 * unit, 0.8))
        shade = 0.40 + 0.60 * np.clip((soft - 0.15) / 0.65, 0, 1)
        return np.asarray(shade[..., None] ** self._shadow_tint, np.float32)

    def _keep_photo(
        self, photo: NDArray[np.uint8], color: Float, face: Float, rotation: Float, translation: Float,
        factor: float, low: NDArray[np.int64],
    ) -> Float:  # fmt: skip
        """Lay the photograph's own open mouth, fixed to the skull, over the proxy."""
        if self.photo_opening == 0.0:
            return color
        rest = self.alignment.to_image(self._plane)[:, :2]
        moved = self.alignment.to_image(pose_points(self._plane, rotation, translation))[:, :2]
        forward = cv2.getAffineTransform(rest.astype(np.float32), moved.astype(np.float32))
        lips = self._photo_lips @ forward[:, :2].T + forward[:, 2]
        unit = self.alignment.scale * factor
        shape = color.shape[:2]
        mask = rasterize_polygon(lips * factor - 0.5 - low, shape)
        kept = blur(mask, max(0.020 * unit, 0.7))
        kept = np.clip((kept - 0.55) / 0.40, 0, 1) * self.photo_opening
        # what the photograph shows below the upper teeth moves with the jaw: it fades as the jaw leaves its place
        edge = self.alignment.to_image(
            pose_points(self._plane[:1] + np.array([0, self._edge - 0.01, 0], np.float32), rotation, translation)
        )[0, 1] * factor - low[1]  # fmt: skip
        below = np.clip((np.arange(shape[0]) - edge) / (0.02 * unit) + 0.5, 0, 1)[:, None]
        left_place = min(abs(jaw_angle(self.neutral, face) - self._photo_angle) / 0.08, 1.0)
        kept = (kept * (1 - below * left_place)).astype(np.float32)[..., None]
        to_photo = forward.copy()
        to_photo[:, 2] = forward[:, 2] * factor + (forward[:, :2] @ np.full(2, 0.5) - 0.5) - low
        source = cv2.warpAffine(
            photo, to_photo, shape[::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
        ).astype(np.float32)
        return np.asarray(color + (source - color) * kept, np.float32)
