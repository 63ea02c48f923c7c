"""MotionDriver: from speech features, emotion and a seed to what each window of the sampler is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from mooe.audio.prosody import PROSODY_DIM
from mooe.audio.reader import FeatureReader
from mooe.emotion.latents import EmotionToLatents
from mooe.face.topology import arkit_to_displacement, arkit_vector
from mooe.motion.additive import SPEECH_REACH, speech_activity, widen_opened
from mooe.motion.behavior import (
    BROW_LIFT,
    NOD_LOOKAHEAD,
    NOD_PAST,
    BlinkSchedule,
    BrowLiftSchedule,
    GazeSchedule,
    NodSchedule,
)
from mooe.motion.controls import Controls
from mooe.motion.manner import BrowManner, start_manners
from mooe.motion.pose import (
    FRAMES_PER_KNOT,
    POSE_DIM,
    POSE_LIMIT,
    HeadPosePredictor,
    PoseSampler,
    interpolate_knots,
    knot_features,
    soft_limit,
)
from mooe.motion.sampling import WINDOW, WindowInputs
from mooe.motion.unet import AUDIO_CONTEXT, MotionUNet

Array = NDArray[np.float32]
# Frames of sound past a window's end that its last head poses look at
POSE_LOOKAHEAD = 4 * FRAMES_PER_KNOT
_HELD_BROWS = 0.7  # share by which brows that a whole emotion holds are raised less with accents


class HeadTrack(Protocol):
    """Head poses from elsewhere than the predictor."""

    def poses(self, first: int, count: int) -> Array:
        """Poses of frames ``first`` to ``first + count``, ``[count, 6]``: rotation vectors, eye distances."""
        ...


class EmotionTrack(Protocol):
    """Emotion over time, such as an :class:`~mooe.emotion.timeline.EmotionTimeline`."""

    def weights(self, num_frames: int, *, first_frame: int = 0) -> Array:
        """Weights of frames ``first_frame`` on, ``[num_frames, 6]`` in the order of ``EMOTIONS``."""
        ...


class MotionDriver:
    """Prepares the controls of a clip as the speech comes and cuts windows from them, in constant memory.

    Args:
        unet: for its device.
        emotion_encoder: emotion weights -> emotion latents.
        pose_predictor: head motion from prosody.
        features: speech features of D numbers a frame, the prosody last.
        emotion: weights of the emotions over time.
        generator: source of the seeds of head motion, blinks and gaze.
        head_motion: gain of the head's motion.
        blink_rate: blinks a minute.
        blink_length: of a blink, 1 is usual.
        brow_manners: how brows wander beside what the UNet does, and weights.
        brow_lifts: gain of the brows that are raised with accents.
        mouth_widening: gain of how much wider mouths get as they open.
        head_track: head poses to use instead of the predictor's.
        lookahead: frames of sound to wait for past a window's end; the last one is held beyond.
    """

    def __init__(
        self,
        unet: MotionUNet,
        emotion_encoder: EmotionToLatents,
        pose_predictor: HeadPosePredictor,
        features: FeatureReader,
        emotion: EmotionTrack,
        generator: torch.Generator,
        *,
        head_motion: float,
        blink_rate: float,
        blink_length: float = 1.0,
        brow_manners: Sequence[tuple[BrowManner, float]] = (),
        brow_lifts: float = 1.0,
        mouth_widening: float = 1.0,
        head_track: HeadTrack | None = None,
        lookahead: int = POSE_LOOKAHEAD,
    ) -> None:
        self._unet, self._emotion_encoder, self._predictor = unet, emotion_encoder, pose_predictor
        self._features, self._emotion, self._head_track = features, emotion, head_track
        self._lookahead = lookahead
        # one seed a process, so that changing one control leaves the others as they were
        seeds = torch.randint(0, 2**31 - 1, (3,), generator=generator).tolist()
        self._head_motion = head_motion
        self._sampler = PoseSampler(pose_predictor, torch.Generator().manual_seed(seeds[0]), head_motion)
        self._blinks = BlinkSchedule(np.random.default_rng(seeds[1]), blink_rate, blink_length)
        self._gazes = GazeSchedule(np.random.default_rng(seeds[2]))
        self._nods = NodSchedule(np.random.default_rng([seeds[0], 1]))
        self._brow_lifts, self._mouth_widening = brow_lifts, mouth_widening
        self._lifts = BrowLiftSchedule(np.random.default_rng([seeds[2], 2]))
        self._manners = start_manners(np.random.default_rng([seeds[2], 1]), brow_manners)
        # drawn so far and still needed: knots, and blink (1), gaze (2), pose (6) and emotion (6) of frames
        self._knots, self._first_knot = np.zeros((0, POSE_DIM), np.float32), 0
        self._frames, self._first = np.zeros((0, 15), np.float32), 0
        self._raised = np.zeros(0, np.float32)  # how far brows are raised in these frames

    @property
    def num_frames(self) -> int:
        """Frames of the clip as far as it has been heard; all of them once :attr:`ended`."""
        return self._features.available

    @property
    def ended(self) -> bool:
        """Whether all of the speech has been heard."""
        return self._features.ended

    def listen(self, until: int) -> None:
        """Hear what the frames before ``until`` need; waits for live sound."""
        self._features.read(until + self._lookahead)

    def pose(self, first: int, count: int) -> Array:
        """Head poses of frames ``first`` to ``first + count`` of the last window, ``[count, 6]``."""
        start = first - self._first
        return self._frames[start : start + count, 3 : 3 + POSE_DIM]

    def blinks(self, first: int, count: int) -> Array:
        """How far lids are to be closed in ``count`` frames of the last window from ``first`` on, ``[count]``."""
        return self._frames[first - self._first :, 0][:count]

    def speaking(self, first: int, count: int) -> Array:
        """Whether somebody speaks in ``count`` frames of the last window from ``first`` on, ``[count]`` in [0, 1]."""
        heard = np.arange(first - SPEECH_REACH, first + count + SPEECH_REACH)
        return speech_activity(self._features.rows(heard)[:, -PROSODY_DIM])[SPEECH_REACH:-SPEECH_REACH]

    def finish(self, displacement: Array, first: int) -> Array:
        """Displacements of the last window's frames from ``first`` on with what is drawn beside the UNet.

        To be asked for each frame once, in order.

        Args:
            displacement: what the UNet made, ``[F, 478, 3]``.
            first: number of the first of these frames.
        """
        displacement = widen_opened(displacement, self._mouth_widening)
        now = slice(first - self._first, first - self._first + len(displacement))
        held = np.minimum(self._frames[now, 3 + POSE_DIM :].sum(1), 1)
        raised = self._brow_lifts * (1 - _HELD_BROWS * held) * self._raised[now]
        if raised.any():
            displacement = displacement + raised[:, None, None] * arkit_to_displacement(arkit_vector(BROW_LIFT))
        for manner in self._manners:
            displacement = displacement + manner.take(len(displacement))
        return displacement

    def window(self, start: int, length: int = WINDOW) -> WindowInputs:
        """Inputs of the window of ``length`` frames from frame ``start`` on; windows must come in order."""
        device = self._unet.device
        self._draw(start, start + length)
        self._features.forget(start - AUDIO_CONTEXT)
        around = np.arange(start - AUDIO_CONTEXT, start + length + AUDIO_CONTEXT)
        features = torch.from_numpy(self._features.rows(around))[None].to(device)
        frames = self._frames[:length]
        blink, gaze, pose, emotion = frames[:, 0], frames[:, 1:3], frames[:, 3:9], frames[:, 9:]
        stacked = Controls(emotion.sum(1), blink, gaze, pose[:, :3], pose[:, 3:]).stack()
        controls = torch.from_numpy(stacked)[None].to(device)
        latents = None
        if emotion.any():
            label = torch.from_numpy(np.ascontiguousarray(emotion))[None].to(device)
            with torch.no_grad():
                latents = self._emotion_encoder(label)
        return WindowInputs(features, controls, latents)

    def state(self) -> dict[str, Any]:
        """All that has to be kept to go on from here, as arrays, tensors, numbers and plain dictionaries."""
        return {
            "knots": self._knots, "first_knot": self._first_knot, "frames": self._frames, "first": self._first,
            "pose": self._sampler.state(), "blinks": self._blinks.state(), "gazes": self._gazes.state(),
            "nods": self._nods.state(), "lifts": self._lifts.state(), "raised": self._raised,
            "manners": {str(number): manner.state() for number, manner in enumerate(self._manners)},
        }  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state` gave."""
        self._knots, self._first_knot = state["knots"], int(state["first_knot"])
        self._frames, self._first = state["frames"], int(state["first"])
        self._sampler.restore(state["pose"])
        self._blinks.restore(state["blinks"])
        self._gazes.restore(state["gazes"])
        self._nods.restore(state["nods"])
        self._lifts.restore(state["lifts"])
        self._raised = state["raised"]
        for number, manner in enumerate(self._manners):
            manner.restore(state["manners"][str(number)])

    def _draw(self, start: int, stop: int) -> None:
        """Draw the controls up to frame ``stop`` and let go of those before ``start``."""
        drawn = self._first + len(self._frames)
        if stop > drawn:
            count = stop - drawn
            new = np.concatenate(
                [
                    self._blinks.take(count)[:, None],
                    self._gazes.take(count),
                    self._poses(drawn, count),
                    self._emotion.weights(count, first_frame=drawn),
                ],
                axis=1,
            )
            self._frames = np.concatenate([self._frames, new])
            self._raised = np.concatenate([self._raised, self._lifts.take(self._beats(drawn, count))])
        kept = start - self._first
        self._frames, self._raised, self._first = self._frames[kept:], self._raised[kept:], start

    def _beats(self, first: int, count: int) -> Array:
        """Prosody by which beats are drawn, with its surroundings."""
        heard = np.arange(first - NOD_PAST, first + count + NOD_LOOKAHEAD)
        return self._features.rows(heard)[:, -PROSODY_DIM:]

    def _poses(self, first: int, count: int) -> Array:
        if self._head_track is not None:
            return soft_limit(self._head_track.poses(first, count) * self._head_motion)
        last = (first + count - 1) // FRAMES_PER_KNOT + 2
        if self._features.ended:
            # windows reach past the end of the speech, but not further than one of them
            last = min(last, -(-(self._features.available + WINDOW) // FRAMES_PER_KNOT) - 1)
        drawn = self._first_knot + len(self._knots)
        if last >= drawn:
            self._knots = np.concatenate([self._knots, self._draw_knots(drawn, last + 1)])
        keep = max(first // FRAMES_PER_KNOT - 1, self._first_knot)
        self._knots, self._first_knot = self._knots[keep - self._first_knot :], keep
        poses = interpolate_knots(self._knots, count, first, keep)
        nods = self._head_motion * self._nods.take(self._beats(first, count))
        # a head that is low already nods less, and none goes past what is drawn well
        poses[:, 0] += nods * np.clip(1 - poses[:, 0] / POSE_LIMIT[0], 0, 1)
        return poses

    def _draw_knots(self, first: int, stop: int) -> Array:
        """Draw the head poses of knots ``first`` to ``stop``."""
        heard = np.arange(first * FRAMES_PER_KNOT, (stop + 1) * FRAMES_PER_KNOT)
        sound = knot_features(self._features.rows(heard)[:, -PROSODY_DIM:])
        emotion = self._emotion.weights((stop - first) * FRAMES_PER_KNOT, first_frame=first * FRAMES_PER_KNOT)
        device = self._predictor.device
        self._predictor.to("cpu")
        poses = self._sampler.take(sound, emotion[::FRAMES_PER_KNOT])
        self._predictor.to(device)
        return poses
