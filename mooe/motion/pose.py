"""HeadPosePredictor: head motion from prosody, aware of its own past (after Audio2Head; Wang et al., IJCAI 2021)."""

from __future__ import annotations

import numpy as np
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from numpy.typing import NDArray
from torch import Tensor, nn

Array = NDArray[np.float32]

# A pose every fifth frame; five poses a second are all that heads in conversation need, and what lies between is
# interpolated, so motion is smooth by construction
FRAMES_PER_KNOT = 5
POSE_DIM = 6
# Radians and eye distances that bring poses to about unit variance
_POSE_SCALE = (0.03, 0.03, 0.02, 0.01, 0.01, 0.01)
# Drawn poses, smoothed by a spline as well, move by so much less than people's heads, as trackers see both
_LIVELINESS = 1.8
# Rotation and translation at which the decoder is still at its best
POSE_LIMIT = (0.14, 0.17, 0.12, 0.05, 0.05, 0.05)


def knot_features(prosody: Array) -> Array:
    """Pool prosody ``[F, P]`` over each knot's frames: means and maxima, ``[K, 2 P]`` with K = ceil(F / 5)."""
    missing = -len(prosody) % FRAMES_PER_KNOT
    padded = np.pad(prosody, ((0, missing), (0, 0)), mode="edge")
    groups = padded.reshape(-1, FRAMES_PER_KNOT, prosody.shape[1])
    return np.concatenate([groups.mean(1), groups.max(1)], 1).astype(np.float32)


class HeadPosePredictor(ModelMixin, ConfigMixin):
    """Two recurrent layers that draw the next pose from the sound around it, the emotion and the poses before.

    Args:
        prosody_dim: width of the prosody; each knot sees means and maxima of its own and the next knot's frames.
        num_emotions: emotion weights given with each knot.
        hidden_dim: width of the recurrent layers.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(self, prosody_dim: int = 8, num_emotions: int = 6, hidden_dim: int = 64) -> None:
        super().__init__()
        inputs = 4 * prosody_dim + num_emotions + 2 * POSE_DIM
        self.prosody_mean: Tensor
        self.prosody_std: Tensor
        self.register_buffer("prosody_mean", torch.zeros(2 * prosody_dim))
        self.register_buffer("prosody_std", torch.ones(2 * prosody_dim))
        self.recurrent = nn.GRU(inputs, hidden_dim, num_layers=2, batch_first=True)
        self.out = nn.Linear(hidden_dim, 2 * POSE_DIM)

    def inputs(self, sound: Tensor, emotion: Tensor, previous: Tensor, before: Tensor) -> Tensor:
        """Stack a knot's inputs: pooled prosody ``[B, K + 1, 2 P]``, emotion ``[B, K, 6]``, the last two poses."""
        normalised = (sound - self.prosody_mean) / self.prosody_std
        return torch.cat([normalised[:, :-1], normalised[:, 1:], emotion, previous, previous - before], -1)

    def forward(self, inputs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Mean change of the (scaled) pose and its log deviation, ``[B, K, 6]`` each, and the recurrent state."""
        hidden, state = self.recurrent(inputs, state)
        mean, spread = self.out(hidden).chunk(2, -1)
        return mean, spread.clamp(-5, 1), state


def scale_pose(pose: Array) -> Array:
    """Rotation and translation ``[..., 6]`` (radians, eye distances) -> the predictor's unit."""
    scaled: Array = (pose / np.array(_POSE_SCALE)).astype(np.float32)
    return scaled


def soft_limit(pose: Array) -> Array:
    """Keep poses ``[..., 6]`` within what the decoder draws well, without a kink."""
    limit = np.array(POSE_LIMIT, np.float32)
    limited: Array = limit * np.tanh(pose / limit)
    return limited


class PoseSampler:
    """Draws head motion chunk by chunk; a fixed seed gives the same motion however the speech is cut.

    Args:
        predictor: the network.
        generator: source of randomness.
        amount: gain of the motion; 0 holds still.
        temperature: share of the predicted deviation that is drawn.
    """

    def __init__(
        self,
        predictor: HeadPosePredictor,
        generator: torch.Generator,
        amount: float = 1.0,
        temperature: float = 1.0,
    ) -> None:
        self.predictor, self.generator = predictor, generator
        self.amount, self.temperature = amount, temperature
        self._state: Tensor | None = None
        self._poses = [torch.zeros(1, 1, POSE_DIM), torch.zeros(1, 1, POSE_DIM)]

    @torch.no_grad()
    def _next(self, sound: Tensor, emotion: Tensor) -> Tensor:
        before, previous = self._poses[-2:]
        inputs = self.predictor.inputs(sound, emotion, previous, before)
        mean, spread, self._state = self.predictor(inputs, self._state)
        noise = torch.randn(mean.shape, generator=self.generator)
        pose = previous + mean + self.temperature * spread.exp() * noise
        self._poses = [previous, pose]
        return pose

    def state(self) -> dict[str, Tensor | None]:
        """All that has to be kept to go on from here."""
        return {"hidden": self._state, "poses": torch.cat(self._poses), "generator": self.generator.get_state()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from what :meth:`state` gave."""
        self._state = state["hidden"]
        self._poses = list(state["poses"].split(1))
        self.generator.set_state(state["generator"])

    def take(self, sound: Array, emotion: Array) -> Array:
        """Poses of the next K knots.

        Args:
            sound: pooled prosody of these knots and the one after, ``[K + 1, 2 P]``.
            emotion: emotion weights ``[K, 6]``.

        Returns:
            float32 ``[K, 6]``: rotation vector in radians, translation in eye distances.
        """
        knots = []
        for k in range(len(emotion)):
            pose = self._next(torch.from_numpy(sound[None, k : k + 2]), torch.from_numpy(emotion[None, k : k + 1]))
            knots.append(pose[0, 0].numpy())
        poses = np.stack(knots) * np.array(_POSE_SCALE, np.float32)
        return soft_limit((poses * (_LIVELINESS * self.amount)).astype(np.float32))


def interpolate_knots(knots: Array, num_frames: int, first_frame: int = 0, first_knot: int = 0) -> Array:
    """Poses at knots ``[K, D]`` -> poses of frames ``[num_frames, D]`` by uniform cubic B-splines.

    A B-spline smooths besides interpolating, which takes the last jitter out of the drawn poses. Beyond the first and
    the last of the knots given, that one is repeated.

    Args:
        knots: poses at knots.
        num_frames: frames wanted.
        first_frame: number of the first of them.
        first_knot: number of the first knot.
    """
    position = np.arange(first_frame, first_frame + num_frames) / FRAMES_PER_KNOT
    index = np.minimum(position.astype(int), first_knot + len(knots) - 1)
    u = (position - index)[:, None]
    basis = ((1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3)
    near = [np.clip(index - first_knot + k, 0, len(knots) - 1) for k in (-1, 0, 1, 2)]
    frames = sum(b * knots[row] for b, row in zip(basis, near, strict=True)) / 6
    result: Array = np.asarray(frames, np.float32)
    return result
