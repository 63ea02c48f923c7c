"""Judges of finished clips: emotion, identity, lips, motion and seams.

They need the packages of the extra ``metrics``; a judge whose package is missing raises DependencyError with
the command that installs it.
"""

from mooe.metrics.clip import ClipJudge, ClipJudgement
from mooe.metrics.emotion import JUDGED_EMOTIONS, EmotionJudge, EmotionVerdict, emotion_verdict
from mooe.metrics.identity import IdentityJudge, identity_cosine
from mooe.metrics.tracks import FaceTracks, track_frames

__all__ = [
    "JUDGED_EMOTIONS",
    "ClipJudge",
    "ClipJudgement",
    "EmotionJudge",
    "EmotionVerdict",
    "FaceTracks",
    "IdentityJudge",
    "emotion_verdict",
    "identity_cosine",
    "track_frames",
]
