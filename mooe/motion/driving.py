"""MotionDriver: from speech features, emotion and a seed to what each window of the sampler is told."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from mooe.audio.prosody import PROSODY_DIM
from mooe.emotion.latents import EmotionToLatents
from mooe.emotion.timeline import EmotionTimeline
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
        timeline: emotion over time.
        generator: source of the seeds of head motion, blinks and gaze.
        head_motion: gain of the head's motion.
        blink_rate: blinks a minute.
        blink_length: of a blink, 1 is usual.
    """

    def __init__(
        self,
        unet: MotionUNet,
        emotion_encoder: EmotionToLatents,
        pose_predictor: HeadPosePredictor,
        features: Array,
        timeline: EmotionTimeline,
        generator: torch.Generator,
        *,
        head_motion: float,
        blink_rate: float,
        blink_length: float = 1.0,
    ) -> None:
        self._unet, self._emotion_encoder = unet, emotion_encoder
        self._features = features
        self._length = len(features)
        # windows reach past the end; what they see there is the clip's last moment held
        padded = self._length + WINDOW
        self._emotion = timeline.weights(padded)
        # one seed a process, so that changing one control leaves the others as they were
        seeds = torch.randint(0, 2**31 - 1, (3,), generator=generator).tolist()
        self._pose = self._head_pose(pose_predictor, padded, head_motion, seeds[0])
        blink = BlinkSchedule(np.random.default_rng(seeds[1]), blink_rate, blink_length).take(padded)
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
        emotion = self._emotion[span]
        latents = None
        if emotion.any():
            label = torch.from_numpy(emotion)[None].to(device)
            with torch.no_grad():
                latents = self._emotion_encoder(label)
        return WindowInputs(features, controls, latents)
