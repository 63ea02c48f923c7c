"""All judges over one clip in one pass."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mooe.face.tracker import FaceTracker
from mooe.metrics.emotion import EmotionJudge, EmotionVerdict, emotion_verdict
from mooe.metrics.identity import IdentityJudge
from mooe.metrics.tracks import FaceTracks, TrackRecorder

EMOTION_EVERY = 4  # frames from one look of the emotion judge to the next
_CHANGE_SIDE = 128  # frames are compared at this size


@dataclass(frozen=True)
class ClipJudgement:
    """What the judges say of a clip of F frames.

    Attributes:
        tracks: landmarks, blendshapes and head rotation of every frame.
        emotions: float32 [N, 7], probabilities of ``JUDGED_EMOTIONS`` at every n-th frame with a face.
        identities: float32 [M], cosine of every m-th frame with the portrait; empty without one.
        changes: float32 [F - 1], mean absolute difference of neighbouring frames in grey levels (0 to 255).
    """

    tracks: FaceTracks
    emotions: NDArray[np.float32]
    identities: NDArray[np.float32]
    changes: NDArray[np.float32]

    @property
    def verdict(self) -> EmotionVerdict:
        return emotion_verdict(self.emotions)


class ClipJudge:
    """Looks at clips; the judges are loaded once.

    Args:
        emotion_every: the emotion is judged on every n-th frame.
        identity_every: the identity is judged on every n-th frame.
    """

    def __init__(self, *, emotion_every: int = EMOTION_EVERY, identity_every: int = 12) -> None:
        self._emotion_every, self._identity_every = emotion_every, identity_every
        self._emotion, self._identity = EmotionJudge(), IdentityJudge()

    def judge(
        self,
        frames: Iterable[NDArray[np.uint8]],
        portrait: NDArray[np.uint8] | None = None,
        fps: float = 25.0,
    ) -> ClipJudgement:
        """Judge a clip.

        Args:
            frames: uint8 RGB [height, width, 3] each, read once in order.
            portrait: uint8 RGB image of the person, any size.
            fps: frames a second.

        Raises:
            NoFaceError: the portrait or the whole clip shows no face.
        """
        recorder = TrackRecorder(fps)
        emotions, identities, changes = [], [], []
        before: NDArray[np.float32] | None = None
        with FaceTracker(max_faces=1) as tracker:
            reference = None
            if portrait is not None:
                reference = self._identity.embed(portrait, tracker.detect_one(portrait).landmarks)
            for index, frame in enumerate(frames):
                faces = tracker.detect(frame)
                recorder.add(faces[0] if faces else None)
                if faces and index % self._emotion_every == 0:
                    emotions.append(self._emotion.probabilities(frame, faces[0].landmarks))
                if faces and reference is not None and index % self._identity_every == 0:
                    identities.append(self._identity.embed(frame, faces[0].landmarks) @ reference)
                small = _small_grey(frame)
                if before is not None:
                    changes.append(np.abs(small - before).mean())
                before = small
        return ClipJudgement(
            recorder.finish(),
            np.array(emotions, np.float32).reshape(-1, 7),
            np.array(identities, np.float32),
            np.array(changes, np.float32),
        )


def _small_grey(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    factor = _CHANGE_SIDE / max(frame.shape[:2])
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA).astype(np.float32)
