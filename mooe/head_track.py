"""RecordedHead: the head motion of a film, for a portrait to follow."""

from __future__ import annotations

from os import PathLike

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from mooe.decoder.mesh import HEAD_PIVOT
from mooe.errors import MooeError
from mooe.face.alignment import rotation_matrix
from mooe.reenactment import Performance, film_performance

Array = NDArray[np.float32]
_SMOOTHING = 1.5  # frames, standard deviation: the tracker trembles from frame to frame, heads do not
_SHORTEST = 5


class RecordedHead:
    """Head poses of a film about their mean, played forwards and backwards for as long as they are asked for.

    Args:
        poses: ``[F, 6]``: rotation vectors in radians and translations in eye distances, 25 a second.

    Raises:
        MooeError: there are fewer than 5 frames.
    """

    def __init__(self, poses: Array) -> None:
        if len(poses) < _SHORTEST:
            raise MooeError(f"The film has only {len(poses)} frames: give one of at least {_SHORTEST}.")
        # mirrored at its ends, the motion comes to rest there and can turn back without a kink
        smooth = gaussian_filter1d(poses, _SMOOTHING, axis=0, mode="mirror")
        self._poses = np.asarray(smooth - smooth.mean(0), np.float32)

    @classmethod
    def from_performance(cls, performance: Performance) -> RecordedHead:
        """The head of a tracked performance."""
        turned = Rotation.from_matrix(performance.rotation.astype(np.float64))
        usual = turned.mean()
        rotation = (usual.inv() * turned).as_rotvec()
        # a turn about the point between the ears, as the decoder makes it, moves the head's middle by itself
        swing = np.stack([HEAD_PIVOT - rotation_matrix(turn) @ HEAD_PIVOT for turn in rotation])
        translation = performance.translation @ usual.as_matrix() - swing
        return cls(np.concatenate([rotation, translation], 1).astype(np.float32))

    @classmethod
    def from_video(cls, path: str | PathLike[str]) -> RecordedHead:
        """The head of the largest face of a film.

        Raises:
            MooeError: the file is no video or too short.
            NoFaceError: no frame has a face.
        """
        return cls.from_performance(film_performance(path))

    def __len__(self) -> int:
        return len(self._poses)

    def poses(self, first: int, count: int) -> Array:
        """See :meth:`mooe.motion.driving.HeadTrack.poses`."""
        period = 2 * len(self._poses) - 2
        place = np.arange(first, first + count) % period
        return self._poses[np.minimum(place, period - place)]
