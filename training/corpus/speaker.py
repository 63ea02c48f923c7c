"""Made-up speakers with a marked way of speaking, for measuring what a LoRA learns of it.

A speaker's clips are acted like the motion corpus's, with a style of their own that stays the same in all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from mooe.emotion.action_units import ACTION_UNITS
from mooe.emotion.taxonomy import EMOTIONS
from mooe.face.regions import ARKIT_NAMES
from mooe.face.topology import arkit_to_displacement, arkit_vector
from mooe.motion.behavior import BlinkSchedule, GazeSchedule
from mooe.motion.controls import eye_in_head, gaze_weights
from mooe.motion.lips import keep_apart, shut_lips
from training.corpus.expressions import combine
from training.corpus.filmed import FilmedClip
from training.corpus.motion import FRAME_RATE, SpeechClip, head_motion, loudness_track
from training.corpus.visemes import MouthStyle, mouth_track

Array = NDArray[np.float32]


@dataclass(frozen=True)
class SpeakerStyle:
    """A way of speaking; the defaults are a middling speaker's.

    Attributes:
        mouth: articulation.
        held: ARKit weights shown all the time.
        talking: ARKit weights added while speaking.
        blink_length: length of a blink, 1 is usual.
    """

    mouth: MouthStyle = field(default_factory=MouthStyle)
    held: dict[str, float] = field(default_factory=dict)
    talking: dict[str, float] = field(default_factory=dict)
    blink_length: float = 1.0


MARKED = SpeakerStyle(
    mouth=MouthStyle(overall=1.0, articulators=(1.6, 1.0, 1.0, 1.3)),
    held={"mouthSmileLeft": 0.55, "mouthDimpleLeft": 0.3},
    talking={"browInnerUp": 0.7, "browOuterUpLeft": 0.7, "browOuterUpRight": 0.7},
    blink_length=2.5,
)
"""A crooked smile, a wide jaw, brows raised while talking, slow blinks."""


def speak(
    clip: SpeechClip, style: SpeakerStyle, rng: np.random.Generator, speaker: str = "made up", blink_rate: float = 20.0
) -> FilmedClip:
    """Let a made-up speaker say a clip of speech, without emotion.

    Args:
        clip: the speech.
        style: the way of speaking.
        rng: source of blinks, gaze and head motion.
        speaker: name of the speaker.
        blink_rate: blinks a minute.
    """
    frames = clip.num_frames
    loudness = loudness_track(clip)
    rotation, translation = head_motion(loudness, 1.0, 0.0, rng)
    gaze = GazeSchedule(rng).take(frames)
    blink = BlinkSchedule(rng, blink_rate, style.blink_length).take(frames)
    talking = np.clip(gaussian_filter1d(loudness, 8) * 2, 0, 1).astype(np.float32)
    track, closure, rest = mouth_track(list(clip.phones), frames, style.mouth, FRAME_RATE)
    face = arkit_vector(style.held)[None] + talking[:, None] * arkit_vector(style.talking)
    weights = combine(track, face)
    for name, weight in gaze_weights(eye_in_head(gaze, rotation)).items():
        weights[:, ARKIT_NAMES.index(name)] += weight
    for side in ("Left", "Right"):
        weights[:, ARKIT_NAMES.index(f"eyeBlink{side}")] += blink
    displacement = keep_apart(shut_lips(arkit_to_displacement(weights), np.maximum(closure, rest)))
    return FilmedClip(
        features=clip.features[0].astype(np.float32), displacement=displacement, rotation=rotation,
        translation=translation, gaze=gaze, blink=blink, emotion=np.zeros(len(EMOTIONS), np.float32),
        action_units=np.zeros((frames, len(ACTION_UNITS)), np.float32), audible=True, speaker=speaker,
        labelled="label", encoder="hama-posteriors-prosody",
    )  # fmt: skip
