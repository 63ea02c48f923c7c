"""The person in front of what is behind: a head that turns moves before its background and does not bend it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from mooe.decoder.images import FinePhoto, Float, Image, blur, places, sample
from mooe.decoder.person import mark_person
from mooe.face.regions import FACE_OVAL

_UNSURE, _SURE = 0.06, 0.35  # of the network's certainty: from here to there a pixel turns from background to person
_LEAST_FACE = 0.85  # share of the face that must be marked, or the network did not understand the picture
_ROOM = 0.004  # of the side: beyond the person's edge, painted over behind it
_BESIDE = 0.02  # of the side: from here the person's colours beside an edge are taken,
_INSIDE = 0.95  # where alpha is at least this
_SPECK = 0.004  # of the side
_REACH = 0.006  # of the side: a move by so much shows the layers alone
_SOFT = 0.008  # of the side: by which the way to the edge is smoothed

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class LayeredPhoto:
    """A photo as two layers: it is ``person + (1 - alpha) behind + lacking``.

    Attributes:
        person: uint8 ``[h, w, 3]``, the person's colours times ``alpha``.
        alpha: uint8 ``[h, w]``, 255 where nothing of the background shows.
        behind: uint8 ``[h, w, 3]``, the background, also where the person hides it.
        lacking: int16 ``[h, w, 3]``, what the layers do not explain at the person's edge; it goes as the person moves.
    """

    person: Image
    alpha: Bytes
    behind: Image
    lacking: NDArray[np.int16]

    @classmethod
    def of(cls, photo: Image, person: Image, alpha: Bytes, behind: Image) -> LayeredPhoto:
        """The layers, and what they lack of the photo."""
        together = np.empty_like(photo)
        nothing = np.zeros(photo.shape, np.int16)
        rest = places(*alpha.shape)
        _lay_person(np.dstack([person, alpha]), behind, nothing, rest, 1.0, together)
        return cls(person, alpha, behind, photo.astype(np.int16) - together)

    @cached_property
    def fine(self) -> FinePhoto:
        """The person, ready to be sampled."""
        return FinePhoto(self.person, self.alpha)

    def draw(self, frame: Image, flow: Float) -> None:
        """Draw the person along ``flow`` ``[h, w, 2]`` (pixel indices) before the background, on ``frame`` in place."""
        _lay_person(self.fine.sample_layer(flow), self.behind, self.lacking, flow, self._reach, frame)

    @property
    def _reach(self) -> float:
        return max(1.0, _REACH * self.behind.shape[0])

    def composed(
        self, person: Float, move: Float, rows: NDArray[np.intp], columns: NDArray[np.intp]
    ) -> Float:
        """The same at N pixels, not rounded, ``[N, 3]``.

        Args:
            person: samples of the person with their alpha, ``[N, 4]``.
            move: how far from each pixel they were taken, ``[N]``, pixels along the longer axis.
            rows, columns: of the pixels.
        """
        still = np.maximum(1 - move / self._reach, 0)[:, None]
        color = person[:, :3] + (1 - person[:, 3:] / 255) * self.behind[rows, columns]
        return np.clip(color + still * self.lacking[rows, columns], 0, 255).astype(np.float32)


def separate(photo: Image, landmarks: Float, window: Float) -> LayeredPhoto:
    """Tell the person from the background.

    Where the network does not find the face that is known to be there, all counts as the person.

    Args:
        photo: square head crop, uint8 ``[side, side, 3]``.
        landmarks: ``[478, 2+]`` in its pixels.
        window: ``[side, side, 1]``, 0 at those sides where the crop joins the picture, 1 inside.
    """
    face = np.zeros(photo.shape[:2], np.uint8)
    hull = cv2.convexHull(np.rint(landmarks[list(FACE_OVAL), :2]).astype(np.int32))
    cv2.fillConvexPoly(face, hull, 1)
    alpha = np.clip((mark_person(photo) - _UNSURE) / (_SURE - _UNSURE), 0, 1)
    if not face.any() or alpha[face > 0].mean() < _LEAST_FACE:
        return LayeredPhoto.of(photo, photo, np.full(photo.shape[:2], 255, np.uint8), photo)
    alpha[face > 0] = 1
    _, islands = cv2.connectedComponents((alpha > 0).astype(np.uint8))
    alpha[islands != islands[face > 0][0]] = 0  # other people and what was taken for them
    room = max(1, round(_ROOM * photo.shape[0]))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * room + 1, 2 * room + 1))
    filled = _fill(photo, cv2.dilate((alpha > 0).astype(np.uint8), disc) > 0)
    # At the frame's border nothing moves, and it joins a picture in which nothing was separated
    behind = (photo + window * (filled.astype(np.float32) - photo)).astype(np.float32)
    person = _without(photo, alpha[..., None].astype(np.float32), behind)
    return LayeredPhoto.of(photo, *(np.rint(x).astype(np.uint8) for x in (person, 255 * alpha, behind)))


def _without(photo: Image, share: Float, behind: Float) -> Float:
    """The person's colours times alpha, ``share`` ``[side, side, 1]``, at whose edge the background shows through.

    That background is guessed, so what it leaves may be no colour of the person: it is kept among those beside it.
    """
    colors = photo.astype(np.float32)
    square = np.ones((2 * round(_BESIDE * photo.shape[0]) + 1,) * 2, np.uint8)
    inside = share > _INSIDE
    darkest = cv2.erode(np.where(inside, colors, np.float32(255)), square)
    brightest = cv2.dilate(np.where(inside, colors, np.float32(0)), square)
    own = (colors - (1 - share) * behind) / np.maximum(share, 1e-3)
    return np.asarray(share * np.clip(own, darkest, np.maximum(brightest, darkest)), np.float32)


def _fill(photo: Image, hidden: NDArray[np.bool_]) -> Image:
    """The photo with ``hidden`` pixels painted over: what lies beside them is mirrored at their edge."""
    if hidden.all() or not hidden.any():
        return photo
    _, nearest = cv2.distanceTransformWithLabels(
        hidden.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    free = np.argwhere(~hidden)
    edge = np.zeros((int(nearest.max()) + 1, 2), np.float32)
    edge[nearest[free[:, 0], free[:, 1]]] = free[:, ::-1]
    here = places(*photo.shape[:2])
    way = edge[nearest] - here
    weight = hidden.astype(np.float32)
    # The edge's own bends would be seen in the mirror
    width = max(_SOFT * photo.shape[0], 0.5)
    smooth = np.stack([blur(way[..., k] * weight, width) for k in range(2)], -1)
    step = 2 * weight[..., None] * smooth / np.maximum(blur(weight, width), 1e-3)[..., None]
    mirrored = (here + step).astype(np.float32)
    filled = sample(photo, mirrored)
    # Deep inside, the mirror shows the person again: that is hardly ever uncovered
    seen = sample(np.repeat(255 * hidden[..., None], 3, -1).astype(np.uint8), mirrored)[..., 0]
    filled = cv2.inpaint(filled, ((seen > 0) & hidden).astype(np.uint8), 3, cv2.INPAINT_TELEA).astype(np.uint8)
    # a mirror so close to a ragged edge leaves single pixels of other colours
    calm = cv2.medianBlur(filled, 2 * max(1, round(_SPECK * photo.shape[0])) + 1)
    return np.asarray(np.where(hidden[..., None], calm, filled), np.uint8)


# The types are told so that views of all kinds take one compilation
@numba.njit("void(u1[:,:,:], u1[:,:,:], i2[:,:,:], f4[:,:,:], f8, u1[:,:,:])", cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _lay_person(layer, behind, lacking, flow, reach, frame):  # type: ignore[no-untyped-def]
    """``frame = layer + (1 - alpha) behind + lacking``, uint8; ``layer`` has the alpha as its fourth channel.

    ``lacking`` counts wholly where ``flow`` does not move, and not at all where it does by ``reach`` pixels.
    """
    for y in range(layer.shape[0]):
        for x in range(layer.shape[1]):
            through = 255 - int(layer[y, x, 3])
            still = 1.0 - max(abs(flow[y, x, 0] - x), abs(flow[y, x, 1] - y)) / reach
            for k in range(3):
                value = int(layer[y, x, k])
                if through > 0:
                    value += (through * int(behind[y, x, k]) + 127) // 255
                if still > 0.0 and lacking[y, x, k] != 0:
                    value += round(still * lacking[y, x, k])
                frame[y, x, k] = min(max(value, 0), 255)
