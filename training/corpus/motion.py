"""The motion corpus: speech with phone times -> displacements of the face's points, head pose and controls.

Everything is drawn anew each time a clip is asked for (style, emotion, its onset and offset, blinks, gaze, head
motion), so a clip of speech stands for as many takes as training has steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from mooe.emotion.taxonomy import EMOTIONS
from mooe.errors import ConfigError
from mooe.face.regions import ARKIT_NAMES
from mooe.face.topology import arkit_to_displacement
from mooe.motion.behavior import BlinkSchedule, GazeSchedule
from mooe.motion.controls import Controls, eye_in_head, gaze_weights
from mooe.motion.lips import keep_apart, shut_lips
from mooe.motion.unet import AUDIO_CONTEXT
from training.corpus.expressions import EXPRESSIONS, combine, compound, sample_expression
from training.corpus.visemes import MouthStyle, Phone, mouth_track

Array = NDArray[np.float32]
FRAME_RATE = 25


@dataclass(frozen=True)
class SpeechClip:
    """A clip of speech: encoder features (one or more renderings of the same speech) and phone times."""

    name: str
    features: tuple[Array, ...]
    phones: tuple[Phone, ...]

    @property
    def num_frames(self) -> int:
        return len(self.features[0])


@dataclass
class Take:
    """One acted take of F frames.

    Attributes:
        features: speech features with context on either side, ``[F + 32, D]``.
        displacement: ``[F, 478, 3]`` in the head frame.
        controls: what the UNet is told.
        emotion: emotion weights over time ``[F, 6]`` in the order of ``EMOTIONS``.
        speech: displacements of the same speech by a middling speaker without emotion, ``[F, 478, 3]``: what sound
            alone can tell.
        alternative: displacements of the same speech with another emotion or none, ``[F, 478, 3]``, if asked for.
        audible: whether there is sound to follow.
        speech_known: whether ``speech`` is to be learnt from; filmed emotional takes do not tell it.
    """

    features: Array
    displacement: Array
    controls: Controls
    emotion: Array
    speech: Array
    alternative: Array | None = None
    audible: bool = True
    speech_known: bool = True


def head_postures(activity: Array, rng: np.random.Generator) -> Array:
    """Where the head rests for a while before it settles elsewhere, as people do between phrases.

    Together with drift and nods the ranges come to lie between those measured on acted sentences (pitch 5, yaw 2,
    roll 2 degrees within some seconds) and on free speech (12, 8, 6).

    Args:
        activity: how much is being spoken, ``[F]`` in [0, 1]; who is silent stays where they are.
        rng: source of randomness.

    Returns:
        Tilt, yaw and roll in radians, ``[F, 3]``.
    """
    reach = np.radians(rng.uniform((0.5, 0.5, 0.2), (2.2, 2.4, 1.2)))
    changes = rng.random(len(activity)) < np.clip(activity, 0.05, 1) / (FRAME_RATE * rng.uniform(1.2, 2.5))
    places = rng.standard_normal((int(changes.sum()) + 1, 3)) * reach
    # half a second from one to the next
    return np.asarray(gaussian_filter1d(places[np.cumsum(changes)], 5.0, axis=0, mode="nearest"), np.float32)


def head_motion(loudness: Array, energy: float, pitch: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Head rotation and translation ``[F, 3]``: postures, slow drift, nods on stress, stillness in silence.

    Args:
        loudness: ``[F]`` in [0, 1].
        energy: gain of the motion.
        pitch: mean pitch in radians, up positive.
        rng: source of randomness.
    """
    frames, pad = len(loudness), 100
    spread = np.radians(rng.uniform((0.8, 0.6, 0.4), (1.9, 1.8, 1.4)))
    noise = rng.standard_normal((frames + 2 * pad, 6))
    drift = gaussian_filter1d(noise, rng.uniform(11, 18), axis=0)
    drift /= drift.std(0) + 1e-6
    activity = gaussian_filter1d(np.pad(loudness, pad, mode="edge"), 15)
    drift = (drift * (0.45 + 0.7 * activity[:, None]))[pad:-pad]
    stress = np.maximum(np.diff(gaussian_filter1d(loudness, 2.0), prepend=loudness[:1]), 0)
    nod = gaussian_filter1d(stress * rng.uniform(0.5, 1.3), 3.0)
    tilt, yaw, roll = drift[:, :3].T * spread[:, None] + head_postures(activity[pad:-pad], rng).T
    # rotation about x turns the face downwards when positive
    rotation = np.stack([tilt + nod - pitch, yaw, roll + 0.3 * yaw], 1) * np.sqrt(energy)
    translation = drift[:, 3:] * rng.uniform(0.004, 0.012, 3) * np.sqrt(energy)
    return rotation.astype(np.float32), translation.astype(np.float32)


def loudness_track(clip: SpeechClip) -> Array:
    """How much is being spoken, from the vowels' times, ``[F]`` in [0, 1]."""
    track = np.zeros(clip.num_frames, np.float32)
    for phone in clip.phones:
        if any(c in phone.symbol for c in "aeiouɑæʌɐɛəɪɔʊɜɒyøœ"):
            track[int(phone.start * FRAME_RATE) : int(phone.end * FRAME_RATE) + 1] = 1
    return gaussian_filter1d(track, 1.5).astype(np.float32)


def emotion_envelope(num_frames: int, rng: np.random.Generator) -> Array:
    """Strength over time ``[F]``: often held, sometimes rising or falling (onset .3 to 1 s), never quite still."""
    envelope = np.ones(num_frames, np.float32)
    times = np.arange(num_frames) / FRAME_RATE
    kind = rng.random()
    if kind < 0.3:
        start, length = rng.uniform(0, max(times[-1], 0.5)), rng.uniform(0.3, 1.0)
        envelope = np.clip((times - start) / length, 0, 1)
        if kind < 0.1:
            envelope = 1 - envelope
        envelope = envelope * envelope * (3 - 2 * envelope)
    wobble = gaussian_filter1d(rng.standard_normal(num_frames + 100), 12)[50 : 50 + num_frames] * 3.0
    return (envelope * np.clip(1 + 0.07 * wobble, 0.7, 1.15)).astype(np.float32)


class MotionCorpus:
    """Takes drawn from clips of speech.

    Args:
        clips: the speech.
        window: frames in a take.
    """

    def __init__(self, clips: list[SpeechClip], window: int) -> None:
        self.clips, self.window = clips, window

    def sounds(self) -> Iterator[Array]:
        """The speech features of each clip, ``[F, D]``, for their statistics."""
        return (clip.features[0] for clip in self.clips)

    def sample(
        self,
        rng: np.random.Generator,
        *,
        neutral: float = 0.4,
        compound: float = 0.15,
        alternative: bool = False,
    ) -> Take:
        """Draw a take.

        Args:
            rng: source of randomness.
            neutral: share of takes without emotion.
            compound: share of the emotional takes that mix two emotions.
            alternative: also act the same speech with another emotion or none.
        """
        clip = self.clips[int(rng.integers(len(self.clips)))]
        first = int(rng.integers(max(clip.num_frames - self.window, 0) + 1))
        weights = np.zeros(len(EMOTIONS), np.float32)
        if rng.random() >= neutral:
            count = 2 if rng.random() < compound else 1
            chosen = rng.choice(len(EMOTIONS), count, replace=False)
            shares = rng.dirichlet(np.full(count, 4.0))
            weights[chosen] = shares * np.sqrt(rng.uniform(0.04, 1.0))
        return self.act(clip, weights, rng, first=first, alternative=alternative)

    def act(
        self,
        clip: SpeechClip,
        weights: Array,
        rng: np.random.Generator,
        *,
        first: int = 0,
        alternative: bool = False,
    ) -> Take:
        """Act ``window`` frames of ``clip`` from frame ``first`` on with the emotion ``weights`` ``[6]``."""
        span = slice(first, first + self.window)
        features = clip.features[int(rng.integers(len(clip.features)))]
        loudness = loudness_track(clip)
        envelope = emotion_envelope(clip.num_frames, rng)
        wished = weights[None] * envelope[:, None]
        emotion = (wished / np.maximum(wished.sum(1, keepdims=True), 1)).astype(np.float32)
        track, closure, rest = mouth_track(list(clip.phones), clip.num_frames, MouthStyle.sample(rng), FRAME_RATE)
        gain = (1 + emotion @ [EXPRESSIONS[n].articulation - 1 for n in EMOTIONS]).astype(np.float32)
        parted = (emotion @ [EXPRESSIONS[n].parted for n in EMOTIONS]).astype(np.float32)
        shut = np.maximum(closure, rest * (1 - parted))
        strength = float(weights.sum())
        energy = 1 + sum(float(w) * (EXPRESSIONS[n].head_energy - 1) for w, n in zip(weights, EMOTIONS, strict=True))
        pitch = sum(float(w) * EXPRESSIONS[n].head_pitch for w, n in zip(weights, EMOTIONS, strict=True))
        rotation, translation = head_motion(loudness, energy, pitch * rng.uniform(0.5, 1.2), rng)
        gaze = GazeSchedule(rng).take(clip.num_frames)
        blink = BlinkSchedule(rng, float(rng.uniform(14, 45))).take(clip.num_frames)
        upper = self._upper_face(blink, gaze, rotation, loudness, rng)
        faces = np.stack([sample_expression(n, rng) for n in EMOTIONS])
        displacement = self._displace(track * gain[:, None], compound(emotion, faces), upper, shut, span)
        other = None
        if alternative:
            swapped = np.zeros_like(emotion)
            if strength == 0 or rng.random() < 0.7:
                swapped[:, int(rng.integers(len(EMOTIONS)))] = rng.uniform(0.4, 1.0)
            other = hold_last(self._displace(track, compound(swapped, faces), upper, shut, span), self.window)
        tracks = (emotion.sum(1), blink, gaze, rotation, translation)
        controls = Controls(*(hold_last(track[span], self.window) for track in tracks))
        return Take(
            sound_window(features, first, self.window),
            hold_last(displacement, self.window), controls, hold_last(emotion[span], self.window),
            hold_last(self._plain_speech(clip, span), self.window), other,
        )  # fmt: skip

    @staticmethod
    def _plain_speech(clip: SpeechClip, span: slice) -> Array:
        track, closure, rest = mouth_track(list(clip.phones), clip.num_frames, MouthStyle(), FRAME_RATE)
        displacement = arkit_to_displacement(track[span])
        return keep_apart(shut_lips(displacement, np.maximum(closure, rest)[span]))

    @staticmethod
    def _upper_face(blink: Array, gaze: Array, rotation: Array, loudness: Array, rng: np.random.Generator) -> Array:
        """Blinks, gaze that stays with the viewer, lids that follow it, brows that lift a little on stress."""
        track = np.zeros((len(blink), len(ARKIT_NAMES)), np.float32)
        direction = eye_in_head(gaze, rotation)
        for name, weight in gaze_weights(direction).items():
            track[:, ARKIT_NAMES.index(name)] = weight
        lids = np.maximum(blink, 0.35 * np.maximum(-direction[:, 1], 0))
        brows = rng.uniform(0, 0.25) * np.maximum(gaussian_filter1d(loudness, 6) - 0.4, 0)
        for name, weight in (("eyeBlink", lids), ("browOuterUp", brows)):
            for side in ("Left", "Right"):
                track[:, ARKIT_NAMES.index(name + side)] = weight
        track[:, ARKIT_NAMES.index("browInnerUp")] = brows
        return track

    @staticmethod
    def _displace(mouth: Array, face: Array, upper: Array, closure: Array, span: slice) -> Array:
        weights = combine(mouth[span], face[span])
        blinks = [ARKIT_NAMES.index(f"eyeBlink{side}") for side in ("Left", "Right")]
        wide = [ARKIT_NAMES.index(f"eyeWide{side}") for side in ("Left", "Right")]
        squint = [ARKIT_NAMES.index(f"eyeSquint{side}") for side in ("Left", "Right")]
        shut = upper[span][:, blinks]
        # a blink overrides whatever the emotion does to the lids
        weights[:, blinks] = np.maximum(weights[:, blinks], 0) * (1 - shut)
        weights[:, wide] *= 1 - shut
        weights[:, squint] *= 1 - 0.6 * shut
        displacement = arkit_to_displacement(weights + upper[span])
        return keep_apart(shut_lips(displacement, closure[span]))


def sound_window(features: Array, first: int, window: int) -> Array:
    """A window's features with context ``[window + 32, D]``; beyond either end the edge is held."""
    frames = np.arange(first - AUDIO_CONTEXT, first + window + AUDIO_CONTEXT)
    return features[np.clip(frames, 0, len(features) - 1)].astype(np.float32)


def hold_last(values: Array, length: int) -> Array:
    """Hold the last frame until ``length``."""
    missing = length - len(values)
    return values if missing <= 0 else np.concatenate([values, np.repeat(values[-1:], missing, 0)])


def load_clips(folder: Path) -> list[SpeechClip]:
    """Read all clips that ``training/corpus/features.py`` wrote to ``folder``.

    Raises:
        ConfigError: there are none.
    """
    clips = []
    for path in sorted(folder.glob("*/*.npz")):
        with np.load(path) as data:
            phones = tuple(
                Phone(str(symbol), float(start), float(end))
                for symbol, start, end in zip(data["phones"], data["starts"], data["ends"], strict=True)
            )
            renderings = (data["features"], *data["augmented"])
        if len(renderings[0]):
            clips.append(SpeechClip(path.stem, renderings, phones))
    if not clips:
        raise ConfigError(f"There are no speech features in {folder}: run training/corpus/features.py first.")
    return clips
