"""A speaker's brow manner: what is missing in the model's brows beside the speaker's film, as a random process."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import solve_discrete_lyapunov

from mooe.audio.reader import FeatureReader
from mooe.emotion import parse_emotion
from mooe.emotion.timeline import EmotionTimeline
from mooe.head_track import RecordedHead
from mooe.motion.driving import HeadTrack, MotionDriver
from mooe.motion.manner import BrowManner, brow_weights, companion
from mooe.motion.pose import FRAMES_PER_KNOT
from mooe.motion.sampling import Guidance, WindowSampler
from mooe.motion.streaming import MotionStream
from mooe.pipeline import MoEEPipeline
from training.corpus.filmed import FilmedCorpus

Array = NDArray[np.float32]
Double = NDArray[np.float64]

# Of the model's motion that is looked at: a minute
_MOST_FRAMES = 1500
_STRIDE = 397  # frames of lent sound from where one clip begins to where the next does
_LAGS = 3  # of the autocovariances, from 0: an order-2 process has three
# Fewer knots than this (20 s) say little of what varies over seconds
_FEWEST_KNOTS = 100
# Share of the film's variance below which what is missing is noise
_LEAST = 0.1
_NOTHING = 1e-6  # of a variance of ARKit weights
_RIDGE = 0.02  # of the mean variance: a film is short
_STEADY = 0.98  # largest eigenvalue: beyond it brows would wander off for minutes


def free_motion(
    pipeline: MoEEPipeline,
    features: Array,
    emotion: str = "neutral",
    seed: int = 0,
    head: HeadTrack | None = None,
    steps: int = 2,
    blink_rate: float = 18.0,
) -> Array:
    """Displacements ``[F, 478, 3]`` that the model makes of speech features ``[F, D]``.

    The head turns as in ``head``, or as the predictor has it.
    """
    generator = torch.Generator().manual_seed(seed)
    driver = MotionDriver(
        pipeline.unet, pipeline.emotion_encoder, pipeline.pose_predictor,
        FeatureReader(iter([features.astype(np.float32)])), EmotionTimeline.constant(parse_emotion(emotion)), generator,
        head_motion=1.0, blink_rate=blink_rate, blink_length=pipeline.blink_length,
        brow_manners=pipeline.brow_manners, brow_lifts=0.0, mouth_widening=0.0, head_track=head,
    )  # fmt: skip
    sampler = WindowSampler(pipeline.unet, pipeline.adapters, pipeline.scheduler, generator, steps, Guidance())
    parts = []
    with torch.no_grad():
        motion = MotionStream(driver, sampler)
        while motion.listen():
            first, latents, _ = motion.window()
            parts.append(driver.finish(pipeline.codec.decode(latents)[0].cpu().numpy(), first))
    return np.concatenate(parts)


def brow_manner(pipeline: MoEEPipeline, corpus: FilmedCorpus, sound: Array | None) -> BrowManner | None:
    """What the brows of the model lack beside a speaker's film; see :func:`fit_manner`.

    Args:
        pipeline: with the adapter in place.
        corpus: the film.
        sound: speech features ``[N, D]`` for clips without sound; None for silence there.
    """
    film = list(corpus.displacements())
    if sum(map(len, film)) < _FEWEST_KNOTS * FRAMES_PER_KNOT:
        return None
    learning = pipeline.unet.training
    pipeline.unet.eval()
    model: list[Array] = []
    for number, clip in enumerate(corpus.clips()):
        if sum(map(len, model)) < _MOST_FRAMES:
            heard = clip.features
            if sound is not None and not clip.audible:
                heard = sound.take(_STRIDE * number + np.arange(clip.num_frames), axis=0, mode="wrap")
            head = elsewhere(clip.rotation, clip.translation)
            model.append(free_motion(pipeline, heard, seed=number, head=head))
    pipeline.unet.train(learning)
    return fit_manner(film, model)


def elsewhere(rotation: Array, translation: Array) -> RecordedHead:
    """A head that turns as much as one in film ``[F, 3]`` and not as it did there: mirrored, and backwards in time."""
    mirror = np.array([1, -1, -1], np.float32)
    return RecordedHead(np.concatenate([rotation * mirror, translation * -mirror], 1)[::-1].copy())


def fit_manner(film: Sequence[Array], model: Sequence[Array]) -> BrowManner | None:
    """The movement of the brows that brings the model's to the film's, by the moments of both.

    The autocovariance of the film's brows less that of the model's is what is missing; an order-2 autoregression has
    it (Yule-Walker equations), where it is one that a process can have.

    Args:
        film: displacements ``[F, 478, 3]`` of the speaker's clips.
        model: of the model's, made of other sound and other turns of the head.

    Returns:
        None where the film is short or the model's brows move as much as the film's.
    """
    seen, made = ([_knots(clip) for clip in clips] for clips in (film, model))
    if min(sum(map(len, seen)), sum(map(len, made))) < _FEWEST_KNOTS:
        return None
    wanted, there = _autocovariance(seen), _autocovariance(made)
    difference = float(np.trace(wanted[0] - there[0]))
    if difference <= max(_LEAST * np.trace(wanted[0]), _NOTHING):
        return None
    missing = _possible(wanted - there)
    # what chance takes away in one direction and adds in another would else be added alone
    return _process(missing * (difference / np.trace(missing[0])))


def _knots(displacement: Array) -> Double:
    count = len(displacement) // FRAMES_PER_KNOT
    weights = brow_weights(displacement[: count * FRAMES_PER_KNOT])
    mean: Double = weights.reshape(count, FRAMES_PER_KNOT, -1).mean(1)
    return mean


def _autocovariance(clips: Sequence[Double]) -> Double:
    """E[x(k + lag) x(k)'] within clips, ``[lags, 5, 5]``; a clip's own level is no movement."""
    total, count = np.zeros((_LAGS, *2 * clips[0].shape[1:])), np.zeros((_LAGS, 1, 1))
    for clip in clips:
        x = clip - clip.mean(0)
        for lag in range(min(_LAGS, len(x))):
            total[lag] += x[lag:].T @ x[: len(x) - lag]
            count[lag] += len(x) - lag
    return total / np.maximum(count, 1)


def _toeplitz(covariance: Double) -> Double:
    """The covariance of x(k), x(k - 1) ... together, from autocovariances ``[n, d, d]``."""
    count = len(covariance)
    rows = [[covariance[j - i] if j >= i else covariance[i - j].T for j in range(count)] for i in range(count)]
    return np.block(rows)


def _possible(covariance: Double) -> Double:
    """The autocovariances nearest to those given that leave no combination of knots a negative variance, about."""
    count, width = len(covariance), covariance.shape[-1]
    values, vectors = np.linalg.eigh(_toeplitz(covariance))
    whole = (vectors * np.maximum(values, 0)) @ vectors.T
    blocks = whole.reshape(count, width, count, width).transpose(0, 2, 1, 3)
    mean = [np.mean([blocks[i, i + lag] for i in range(count - lag)], 0) for lag in range(count)]
    mean[0] = mean[0] + _RIDGE * np.trace(mean[0]) / width * np.eye(width)
    return np.array(mean)


def _process(covariance: Double) -> BrowManner:
    """The process of order 2 with these autocovariances; slower ones are made steady."""
    width = covariance.shape[-1]
    solved = np.linalg.solve(_toeplitz(covariance[:2]), np.vstack([covariance[1].T, covariance[2].T]))
    transition = np.stack([solved[:width].T, solved[width:].T])
    growth = float(np.abs(np.linalg.eigvals(companion(transition))).max())
    if growth > _STEADY:
        # eigenvalues scale with the lags' powers
        transition = transition * np.array([_STEADY / growth, (_STEADY / growth) ** 2])[:, None, None]
    left = covariance[0] - transition[0] @ covariance[1].T - transition[1] @ covariance[2].T
    values, vectors = np.linalg.eigh((left + left.T) / 2)
    noise = vectors * np.sqrt(np.maximum(values, 0))
    return BrowManner(transition, noise * _lost(transition, noise, covariance[0]))


def _lost(transition: Double, noise: Double, wanted: Double) -> float:
    """Factor on the noise with which brows drawn between the knots move as much as ``wanted``.

    Splines smooth what is drawn at the knots: (x(k - 1) + 4 x(k) + x(k + 1)) / 6 at a knot.
    """
    width = len(noise)
    square = np.zeros((2 * width, 2 * width))
    square[:width, :width] = noise @ noise.T
    step = companion(transition)
    joint = solve_discrete_lyapunov(step, square)
    after = step @ joint
    now, once, twice = (np.trace(m[:width, :width]) for m in (joint, after, step @ after))
    drawn = (18 * now + 16 * once + 2 * twice) / 36
    return float(np.sqrt(np.trace(wanted) / drawn)) if drawn > 0 else 0.0
