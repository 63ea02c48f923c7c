"""MotionDriver: from speech features, emotion and a seed to what each window of the sampler is told."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mooe.audio.prosody import PROSODY_DIM
from mooe.emotion.latents import EmotionToLatents
from mooe.motion.behavior import BlinkSchedule, GazeSchedule
from mooe.motion.controls import Controls
from mooe.motion.pose import (
    FRAMES_PER_KNOT,
    HeadPosePredictor,
    PoseSampler,
    interpolate_knots,
    knot_features,
)
from mooe.motion.sampling import WINDOW, WindowInputs, context_frames
from mooe.motion.unet import MotionUNet

Array = NDArray[np.float32]


class MotionDriver:
    """Prepares the controls of a whole clip (a few numbers a frame) and cuts windows from them.

    Args:
        unet: for its device.
        emotion_encoder: emotion weights -> emotion latents.
        pose_predictor: head motion from prosody.
        features: speech features ``[F, D]``, the prosody last.
        emotion: weights ``[padded_length, 6]`` in the order of ``EMOTIONS``.
        generator: source of the seeds of head motion, blinks and gaze.
        head_motion: gain of the head's motion.
        blink_rate: blinks a minute.
    """

    def __init__(
        self,
        unet: MotionUNet,
        emotion_encoder: EmotionToLatents,
        pose_predictor: HeadPosePredictor,
        features: Array,
        emotion: Array,
        generator: torch.Generator,
        *,
        head_motion: float,
        blink_rate: float,
    ) -> None:
        self._unet, self._emotion_encoder = unet, emotion_encoder
        self._features = features
        self._length = len(features)
        padded = padded_length(self._length)
        self._emotion = emotion
        # one seed a process, so that changing one control leaves the others as they were
        seeds = torch.randint(0, 2**31 - 1, (3,), generator=generator).tolist()
        self._pose = self._head_pose(pose_predictor, padded, head_motion, seeds[0])
        blink = BlinkSchedule(np.random.default_rng(seeds[1]), blink_rate).take(padded)
        gaze = GazeSchedule(np.random.default_rng(seeds[2])).take(padded)
        self._controls = Controls(self._emotion.sum(1), blink, gaze, self._pose[:, :3], self._pose[:, 3:]).stack()

    def _head_pose(self, predictor: HeadPosePredictor, length: int, amount: float, seed: int) -> Array:
        knots = -(-length // FRAMES_PER_KNOT)
        frames = np.minimum(np.arange((knots + 1) * FRAMES_PER_KNOT), self._length - 1)
        sound = knot_features(self._features[frames, -PROSODY_DIM:])
        emotion = self._emotion[np.minimum(np.arange(knots) * FRAMES_PER_KNOT, len(self._emotion) - 1)]
        device = predictor.device
        sampler = PoseSampler(predictor.to("cpu"), torch.Generator().manual_seed(seed), amount)
        poses = sampler.take(sound, emotion)
        predictor.to(device)
        return interpolate_knots(poses, length)

    def pose(self, first: int, count: int) -> Array:
        """Head poses of frames ``first`` to ``first + count``, ``[count, 6]``."""
        return self._pose[first : first + count]

    def window(self, start: int) -> WindowInputs:
        """Inputs of the window from frame ``start`` on."""
        device = self._unet.device
        frames = np.clip(np.array(context_frames(start)), 0, self._length - 1)
        features = torch.from_numpy(self._features[frames])[None].to(device)
        span = slice(start, start + WINDOW)
        controls = torch.from_numpy(self._controls[span])[None].to(device)
        return WindowInputs(features, controls, self._latents(span))

    @torch.no_grad()
    def _latents(self, span: slice) -> Tensor | None:
        """Emotion latents of the frames of a window; None if all of them are neutral."""
        if not self._emotion[span].any():
            return None
        label = torch.from_numpy(self._emotion[span])[None].to(self._unet.device)
        return self._emotion_encoder(label)


def padded_length(num_frames: int) -> int:
    """Frames of controls that a clip needs: windows reach past its end, where its last moment is held."""
    return num_frames + WINDOW
