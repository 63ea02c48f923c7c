"""Pairs of frames from films: one moment is the photograph, later moments are what the decoder has to draw.

The way is that of ``mooe reenact``: the film is tracked, its motion is carried over to the first moment as a portrait.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mooe.audio import FRAME_RATE
from mooe.decoder import PortraitDecoder, encode_at_rest
from mooe.decoder.compensator import MOTION_SIZE
from mooe.decoder.images import Image, sample
from mooe.decoder.refinement import small_flow
from mooe.errors import MooeError
from mooe.face.tracker import FaceTracker
from mooe.media import read_video
from mooe.metrics.tracks import FaceTracks, track_frames
from mooe.reenactment import Performance, performance_of, retarget
from training.corpus.frames import FRAME_SIZE, FrameSample
from training.corpus.puppets import target_flow

_STRETCH = 200  # frames of a film that are looked at for one shard
_PAIRS = 24  # in a shard
_FARTHEST = 0.05  # of the frame's side: where landmarks miss by more, the film was cut or the tracker lost the face
_LEAST_FACE = 56  # pixels; smaller faces teach blur


def film_frames(path: Path, rng: np.random.Generator) -> list[FrameSample]:
    """Pairs from one stretch of a film.

    Raises:
        MooeError: the file is no film, or its face is missing or too small.
    """
    frames, fps = _stretch(path, rng)
    tracks = track_frames(frames, fps)
    if np.median(np.ptp(tracks.landmarks[tracks.found][..., 1], axis=1)) < _LEAST_FACE:
        raise MooeError("the face is too small to learn from.")
    performance = performance_of(tracks)
    clock = np.minimum(np.rint(np.arange(len(performance)) / FRAME_RATE * fps).astype(int), len(frames) - 1)
    seen = np.flatnonzero(tracks.found[clock])
    early = seen[: max(1, round(0.6 * len(seen)))]
    first = int(rng.choice(early))
    later = seen[seen > first]
    chosen = np.sort(rng.permutation(later)[:_PAIRS])
    return _pairs(frames, tracks, performance, clock, first, chosen)


def _stretch(path: Path, rng: np.random.Generator) -> tuple[list[Image], float]:
    with read_video(path) as film:
        fps = film.info.fps
        count = film.info.frames or sum(1 for _ in film)
    start = int(rng.integers(0, max(1, count - _STRETCH + 1)))
    with read_video(path) as film:
        return list(islice(film, start, start + _STRETCH)), fps


def _pairs(
    frames: list[Image], tracks: FaceTracks, performance: Performance, clock: NDArray[np.signedinteger], first: int,
    chosen: NDArray[np.signedinteger],
) -> list[FrameSample]:  # fmt: skip
    """Samples of the moments ``chosen``, drawn from the moment ``first``."""
    picture = frames[clock[first]]
    with FaceTracker(max_faces=1) as tracker:
        portrait = encode_at_rest(picture, tracker.detect_one(picture), tracker, FRAME_SIZE)
    decoder = PortraitDecoder(portrait)
    rest = replace(
        performance,
        displacement=performance.displacement[first:],
        rotation=performance.rotation[first:],
        translation=performance.translation[first:],
    )
    motion = retarget(rest, portrait, "relative")
    unknown = np.zeros((MOTION_SIZE, MOTION_SIZE, 2), np.float32)
    samples = []
    for moment in chosen:
        index = int(moment) - first
        arguments = motion.displacement[index], motion.rotation[index], motion.translation[index]
        maps = decoder.maps(*arguments)
        landmarks = portrait.crop.to_crop(tracks.landmarks[clock[moment]])[:, :2]
        if np.linalg.norm(maps.points - landmarks, axis=1).mean() > _FARTHEST * FRAME_SIZE:
            continue
        target = sample(portrait.crop.cut(frames[clock[moment]]), target_flow(maps.points, landmarks))
        pair = FrameSample(
            portrait.frame, decoder.render(*arguments), target, maps.region, small_flow(maps.flow), unknown,
            unknown[..., 0] > 0, maps.points, maps.source_points,
        )  # fmt: skip
        samples.append(pair)
    return samples
