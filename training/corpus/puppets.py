"""Cycle puppets: a photograph is moved away from its expression and back again.

The photograph is drawn with another expression and pose, the drawing is tracked anew and becomes the source, and its
face is driven back to how the photograph looks. What should come out is the photograph itself, with its real teeth,
lids and creases. Portraits have shut lips or a smile and hardly ever speak: so many cycles end where a drawing of the
photograph speaks, which keeps those real teeth that the puppet hides. Both ways go through the photograph's full
resolution, so that little sharpness is lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mooe.decoder import PortraitDecoder, SourcePortrait, encode_portrait
from mooe.decoder.compensation import RenderMaps
from mooe.decoder.compensator import MOTION_SIZE
from mooe.decoder.eyes import EYES, gaze_shifts
from mooe.decoder.images import Float, Image, sample, sample_weight
from mooe.decoder.mesh import HEAD_PIVOT, pose_points
from mooe.decoder.refinement import small_flow
from mooe.errors import NoFaceError
from mooe.face.alignment import HeadAlignment, rotation_matrix, rotation_vector
from mooe.face.topology import arkit_to_displacement, arkit_vector
from mooe.face.tracker import Face, FaceTracker
from mooe.media import read_image
from training.corpus.expressions import EXPRESSIONS, combine, sample_expression
from training.corpus.frames import FRAME_SIZE, FrameSample
from training.corpus.tones import random_tone
from training.corpus.visemes import viseme

PUPPETS = 2, 8  # in a shard, of a photograph with shut lips and of one that shows what is behind them
_SOUNDS = "ɑæɛəiɪɔuʊwmbfvszʃθtdlɹkj"
_CLOSED_SHARE = 0.5
_SPEAKING_SHARE = 0.6  # of the cycles that end where the photograph speaks: with its own teeth, where it bares them
_EMOTION_SHARE = 0.5
_BLINK_SHARE, _MOST_BLINK = 0.4, 0.5  # a lid that is quite shut hides an eye that no source shows
_WIDEST_TURN = np.deg2rad(12.0)
_TURN_DEVIATION = np.deg2rad(5.0)
_SHIFT_DEVIATION = 0.02  # eye distances
_REACH = 5.0  # pixels over which the target follows one landmark
_ROUNDS = 12  # of the inversion of a flow
_GAZE_ROUNDS = 8
_INEXACT = 0.5  # pixels beyond which a flow counts as not invertible


def random_weights(rng: np.random.Generator, closed_share: float = _CLOSED_SHARE) -> Float:
    """ARKit weights ``[52]`` of a face that is at rest, speaks or shows an emotion."""
    kind = rng.random()
    mouth = np.zeros(52, np.float32)
    if kind > closed_share:
        spoken = viseme(str(rng.choice(list(_SOUNDS))))
        if spoken is not None:
            mouth = spoken.vector * np.float32(rng.uniform(0.6, 1.3))
    face = np.zeros(52, np.float32)
    if rng.random() < _EMOTION_SHARE and kind > closed_share / 2:
        name = str(rng.choice(sorted(EXPRESSIONS)))
        face = sample_expression(name, rng) * np.float32(rng.uniform(0.3, 1.0))
    both = combine(mouth[None], face[None])[0]
    if rng.random() < _BLINK_SHARE:
        both = both + arkit_vector({"eyeBlink": float(rng.uniform(0.1, _MOST_BLINK))})
    return np.asarray(both, np.float32)


def random_turn(rng: np.random.Generator) -> Float:
    """A rotation vector ``[3]`` in radians, at most 12 degrees long."""
    turn = rng.normal(0, _TURN_DEVIATION, 3)
    length = float(np.linalg.norm(turn))
    return np.asarray(turn * min(1.0, _WIDEST_TURN / max(length, 1e-9)), np.float32)


def drive_to(portrait: SourcePortrait, landmarks: Float) -> tuple[Float, Float, Float]:
    """The motion that brings a portrait's face to given landmarks.

    Args:
        portrait: the face to move.
        landmarks: float32 ``[478, 3]`` in the portrait's frame pixels.

    Returns:
        Displacement ``[478, 3]``, rotation ``[3]`` and translation ``[3]`` as :meth:`PortraitDecoder.render` takes
        them.
    """
    wanted = HeadAlignment.from_landmarks(landmarks)
    own = portrait.alignment
    turn = own.rotation.T @ wanted.rotation
    shift = (wanted.translation - own.translation) * np.array([1, -1, 0], np.float32) / own.scale
    translation = own.rotation.T @ shift - HEAD_PIVOT + turn @ HEAD_PIVOT
    displacement = wanted.to_head(landmarks) - portrait.neutral
    return displacement.astype(np.float32), rotation_vector(turn), translation.astype(np.float32)


def without_gaze(displacement: Float) -> Float:
    """A displacement ``[478, 3]`` that leaves the irises where lids and brows put them.

    A puppet looks where its photograph does; what the tracker reads beside it is error.
    """
    still = displacement.copy()
    for _ in range(_GAZE_ROUNDS):
        for look, (_, iris) in zip(gaze_shifts(still), EYES, strict=True):
            still[list(iris)] -= look
    return still


def _identity(size: int) -> Float:
    return np.stack(np.meshgrid(*[np.arange(size, dtype=np.float32)] * 2), -1)


def _similarity(points: Float, onto: Float) -> Float:
    """The turn, size and shift ``[2, 3]`` that bring points ``[N, 2]`` nearest to others."""
    x, y = (points - points.mean(0)).T
    u, v = (onto - onto.mean(0)).T
    power = float((x * x + y * y).sum())
    a, b = float((x * u + y * v).sum()) / power, float((x * v - y * u).sum()) / power
    turned = np.array([[a, -b], [b, a]], np.float32)
    return np.concatenate([turned, (onto.mean(0) - turned @ points.mean(0))[:, None]], 1).astype(np.float32)


def target_flow(points: Float, landmarks: Float) -> Float:
    """Where a picture with ``landmarks`` has to be sampled to show them at ``points``, both ``[N, 2]`` pixels.

    A similarity for the whole, and what it leaves at the landmarks spread smoothly around them; float32
    ``[256, 256, 2]``, pixel indices.
    """
    matrix = _similarity(points[:468], landmarks[:468])
    rest = landmarks[:468] - (points[:468] @ matrix[:, :2].T + matrix[:, 2])
    step = FRAME_SIZE // MOTION_SIZE
    grid = np.arange(MOTION_SIZE, dtype=np.float32) * step + step / 2
    across = np.exp(-(((grid[:, None] - points[None, :468, 0]) / _REACH) ** 2) / 2)
    down = np.exp(-(((grid[:, None] - points[None, :468, 1]) / _REACH) ** 2) / 2)
    near = np.einsum("yn,xn,nk->yxk", down, across, np.concatenate([rest, np.ones((len(rest), 1))], 1), optimize=True)
    local = near[..., :2] / (near[..., 2:] + 0.3)
    shift = cv2.resize(local.astype(np.float32), (FRAME_SIZE, FRAME_SIZE), interpolation=cv2.INTER_LINEAR)
    place = _identity(FRAME_SIZE) + 0.5
    return np.asarray(place @ matrix[:, :2].T + matrix[:, 2] + shift - 0.5, np.float32)


def _inverse(flow: Float, places: Float) -> tuple[Float, Float]:
    """Where ``flow`` (pixel indices) comes to lie at ``places`` ``[h, w, 2]``, and by how much it misses them."""
    shift = [np.ascontiguousarray(x) for x in np.moveaxis(flow - _identity(flow.shape[0]), -1, 0)]
    found = places.copy()
    missed = np.zeros_like(places)
    for _ in range(_ROUNDS):
        missed = places - found - np.stack([sample_weight(s, found) for s in shift], -1)
        found = (found + missed).astype(np.float32)
    return found, np.linalg.norm(missed, axis=-1).astype(np.float32)


@dataclass(frozen=True)
class Cycle:
    """A puppet and the way back to the photograph.

    Attributes:
        portrait: the puppet, as source.
        motion: displacement, rotation and translation of the way back.
        maps: of the way back.
        target: what should come out in the puppet's head crop, landmarks at ``maps.points``, uint8 ``[256, 256, 3]``.
        forward: the flow that made the puppet, in the photograph's head crop, ``[256, 256, 2]``.
        spoken: the flow that made the target, likewise; the identity when it is the photograph.
        places: where the target was sampled in the puppet's head crop, ``[256, 256, 2]``, pixel indices.
    """

    portrait: SourcePortrait
    motion: tuple[Float, Float, Float]
    maps: RenderMaps
    target: Image
    forward: Float
    spoken: Float
    places: Float


class PuppetMaker:
    """Cycles of one photograph.

    Args:
        photo: uint8 ``[H, W, 3]``.
        face: its tracked face.
    """

    def __init__(self, photo: Image, face: Face) -> None:
        self.portrait = encode_portrait(photo, face, FRAME_SIZE)
        self.decoder = PortraitDecoder(self.portrait)
        scale = self.portrait.picture.shape[1] / photo.shape[1]
        self.landmarks = face.landmarks * np.float32(scale)

    def cycle(self, tracker: FaceTracker, rng: np.random.Generator) -> Cycle:
        """Draw a random puppet and find the way back, to the photograph or to the photograph speaking.

        Raises:
            NoFaceError: the tracker does not see the puppet's face.
        """
        drawn, forward, _ = self._act(random_weights(rng), rng)
        portrait = encode_portrait(drawn, tracker.detect_one(drawn), FRAME_SIZE)
        picture, landmarks = self.portrait.picture, self.landmarks
        there = _identity(FRAME_SIZE)
        if rng.random() < _SPEAKING_SHARE:
            picture, there, landmarks = self._act(random_weights(rng, closed_share=0.1), rng)
        wanted = portrait.crop.to_crop(landmarks)
        displacement, rotation, translation = drive_to(portrait, wanted)
        motion = without_gaze(displacement), rotation, translation
        maps = PortraitDecoder(portrait).maps(*motion)
        places = target_flow(maps.points, wanted[:, :2])
        target = sample(portrait.crop.cut(picture), places)
        return Cycle(portrait, motion, maps, target, forward, there, places)

    def _act(self, weights: Float, rng: np.random.Generator) -> tuple[Image, Float, Float]:
        """The photograph with an expression and a random turn; its flow in the head crop; its landmarks."""
        displacement = arkit_to_displacement(weights)
        turn, shift = random_turn(rng), rng.normal(0, _SHIFT_DEVIATION, 3).astype(np.float32)
        drawn = self.decoder.render_full(displacement, turn, shift)
        portrait, crop = self.portrait, self.portrait.crop
        points = pose_points(portrait.driver(displacement), rotation_matrix(turn), shift)
        landmarks = portrait.alignment.to_image(points) / crop.scale + (crop.left, crop.top, 0)
        return drawn, self.decoder.maps(displacement, turn, shift).flow, landmarks.astype(np.float32)

    def puppet(self, tracker: FaceTracker, rng: np.random.Generator) -> FrameSample:
        """One random cycle as a sample; errors as of :meth:`cycle`."""
        cycle = self.cycle(tracker, rng)
        residual, known = self._exact(cycle)
        return FrameSample(
            cycle.portrait.frame, PortraitDecoder(cycle.portrait).render(*cycle.motion), cycle.target,
            cycle.maps.region, small_flow(cycle.maps.flow), residual, known, cycle.maps.points,
            cycle.maps.source_points,
        )  # fmt: skip

    def _exact(self, cycle: Cycle) -> tuple[Float, NDArray[np.bool_]]:
        """What the way back's flow lacks to undo the way there ``[64, 64, 2]``, and where that is known."""
        own, crop = self.portrait.crop, cycle.portrait.crop
        there = (cycle.places + 0.5) / crop.scale + (crop.left, crop.top)
        places = ((there - (own.left, own.top)) * own.scale - 0.5).astype(np.float32)
        shift = cycle.spoken - _identity(FRAME_SIZE)
        places += np.stack([sample_weight(np.ascontiguousarray(shift[..., k]), places) for k in range(2)], -1)
        found, missed = _inverse(cycle.forward, places)
        inside = ((places > 0) & (places < FRAME_SIZE - 1)).all(-1) & (missed < _INEXACT)
        source = (found + 0.5) / own.scale + (own.left, own.top)
        lacking = ((source - (crop.left, crop.top)) * crop.scale - 0.5 - cycle.maps.flow).astype(np.float32)
        step = FRAME_SIZE // MOTION_SIZE
        blocks = lacking.reshape(MOTION_SIZE, step, MOTION_SIZE, step, 2).mean((1, 3))
        known = np.asarray(inside.reshape(MOTION_SIZE, step, MOTION_SIZE, step).all((1, 3)), bool)
        return np.where(known[..., None], blocks, 0).astype(np.float32), known


def cycle_puppets(path: Path, rng: np.random.Generator) -> list[FrameSample]:
    """Cycles of one photograph in one random tone; those whose face the tracker does not see are left out.

    Raises:
        PortraitError: the file cannot be read.
        NoFaceError: the photograph shows no face.
    """
    photo = random_tone(read_image(path), rng)
    samples: list[FrameSample] = []
    with FaceTracker(max_faces=1) as tracker:
        maker = PuppetMaker(photo, tracker.detect_one(photo))
        for _ in range(PUPPETS[maker.portrait.mouth.photo_opening > 0]):
            try:
                samples.append(maker.puppet(tracker, rng))
            except NoFaceError:
                continue
    return samples
