"""Sampling motion for speech of any length: overlapping windows that carry their last frames over.

Each window is denoised with the previous window's last frames given clean, so motion runs on without a seam, and
memory does not depend on how long the speech is.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from torch import Tensor

from mooe.emotion.adapters import MoEEAdapters
from mooe.motion.controls import INTENSITY
from mooe.motion.unet import Conditioning, MotionUNet

WINDOW = 40
CARRIED = 8
# A UNet with its experts, and the scheduler, hold a window's state: one window at a time, whatever the thread
_TURNS: WeakKeyDictionary[MotionUNet, threading.RLock] = WeakKeyDictionary()


@dataclass
class WindowInputs:
    """What drives one window of F frames, batch size 1.

    Attributes:
        features: speech features with context, ``[1, F + 32, D]``.
        controls: ``[1, F, num_controls]``.
        emotion_latents: ``[1, F, n, d]``, or None where the whole window is neutral.
    """

    features: Tensor
    controls: Tensor
    emotion_latents: Tensor | None


@dataclass
class Guidance:
    """Guidance scales: 1 follows the condition as it is; more exaggerates it, at the cost of a pass each.

    Attributes:
        audio: scale of the sound.
        emotion: scale of the emotion.
    """

    audio: float = 1.0
    emotion: float = 1.0


def window_starts(num_frames: int) -> list[int]:
    """First frames of the windows that cover ``num_frames`` frames."""
    return list(range(0, max(num_frames - CARRIED, 1), WINDOW - CARRIED))


def set_steps(scheduler: SchedulerMixin, steps: int, device: torch.device | str | None = None) -> None:
    """Prepare a scheduler for so many denoising steps, each of which counts.

    Flow-matching schedulers of diffusers otherwise end on the training's smallest noise level (.001 before the shift),
    and the step from there to 0 changes nothing that can be seen. Here the levels are 1, 1 - 1/steps ... 1/steps
    (before the shift), and the last step goes from 1/steps to 0, as with the pipelines of Stable Diffusion 3 and Flux.
    Schedulers that take no noise levels keep their own.
    """
    if "sigmas" in inspect.signature(scheduler.set_timesteps).parameters:
        levels = [1 - step / steps for step in range(steps)]
        scheduler.set_timesteps(sigmas=levels, device=device)
    else:
        scheduler.set_timesteps(steps, device=device)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Let torch compute with so many threads inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def guided_latents(
    unet: MotionUNet,
    adapters: MoEEAdapters,
    guidance: Guidance,
    sample: Tensor,
    timestep: Tensor,
    conditioning: Conditioning,
    silent: Conditioning | None,
    emotional: bool,
    known: Tensor,
) -> Tensor:
    """Clean latents with guidance: away from neutral, then away from silence; a pass of the UNet for each.

    To be called within :meth:`mooe.emotion.adapters.MoEEAdapters.condition`, which tells the emotion.

    Args:
        unet: the video UNet.
        adapters: emotion experts attached to it.
        guidance: guidance scales.
        sample: noised latents, clean where ``known`` is 1, ``[B, F, C, h, w]``.
        timestep: noise level times 1000, of each window ``[B]`` or of all.
        conditioning: sound and controls.
        silent: the same without the sound, or None where the sound is not exaggerated.
        emotional: whether any window has an emotion.
        known: mask ``[B, F, 1, h, w]``.

    Returns:
        Clean latents ``[B, F, C, h, w]`` in float32.
    """

    def clean_latents(condition: Conditioning) -> Tensor:
        return unet(sample, timestep.float().reshape(-1), condition, known).float()

    predicted = clean_latents(conditioning)
    if guidance.emotion != 1 and emotional:
        with adapters.condition(None):
            neutral = clean_latents(conditioning)
        predicted = neutral + guidance.emotion * (predicted - neutral)
    if silent is not None:
        mute = clean_latents(silent)
        predicted = mute + guidance.audio * (predicted - mute)
    return predicted


class WindowSampler:
    """Denoises one window after the other.

    Args:
        unet: the video UNet.
        adapters: emotion experts attached to it.
        scheduler: any of diffusers' flow-matching schedulers.
        generator: source of the noise.
        steps: denoising steps a window.
        guidance: guidance scales.
        on_step: called after each step with the step's number, the timestep and the latents; may return new latents.
    """

    def __init__(
        self,
        unet: MotionUNet,
        adapters: MoEEAdapters,
        scheduler: SchedulerMixin,
        generator: torch.Generator,
        steps: int,
        guidance: Guidance,
        on_step: Callable[[int, Tensor, Tensor], Tensor | None] | None = None,
    ) -> None:
        self.unet, self.adapters, self.scheduler = unet, adapters, scheduler
        self.generator, self.steps, self.guidance, self.on_step = generator, steps, guidance, on_step
        # Behind the first window the other half of the processors draws and writes meanwhile. With all of them, threads
        # that wait for each other take the drawing's turns: measured on two cores, that made a film slower than one
        # thread for each.
        self._first_threads = torch.get_num_threads()
        self.threads = max(1, self._first_threads // 2)
        self._carried: Tensor | None = None

    def state(self) -> dict[str, Tensor | None]:
        """All that has to be kept to go on from here."""
        return {"carried": self._carried, "generator": self.generator.get_state()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from what :meth:`state` gave."""
        self._carried = state["carried"].to(self.unet.device)
        self.generator.set_state(state["generator"])

    def spoken(self, inputs: WindowInputs) -> Tensor:
        """Latents that sound, blink, gaze and pose alone make likely, no emotion: float32 ``[1, F + 1, C, h, w]``.

        They are the linear prior of the UNet, so they cost no pass of it, and they look a frame past the window: of all
        the sound about that frame only the last is not known yet.
        """
        controls = torch.cat([inputs.controls, inputs.controls[:, -1:]], 1)
        controls[..., INTENSITY] = 0
        features = torch.cat([inputs.features, inputs.features[:, -1:]], 1)
        with torch.no_grad():
            return self.unet.condition(features, controls).prior.float()

    def window(self, inputs: WindowInputs) -> tuple[Tensor, Tensor | None]:
        """Sample the next window; threads that share the UNet take turns.

        Returns:
            Latents ``[1, F, C, h, w]`` in float32, the carried-over frames first, and expert gates ``[F, 6]`` (None
            for a neutral window).
        """
        threads = self._first_threads if self._carried is None else self.threads
        with _TURNS.setdefault(self.unet, threading.RLock()), torch.no_grad(), _threads(threads):
            return self._window(inputs)

    def _window(self, inputs: WindowInputs) -> tuple[Tensor, Tensor | None]:
        unet = self.unet
        # asked once a window: diffusers walks all modules for the answer
        device, dtype = unet.device, unet.dtype
        frames, size = inputs.controls.shape[1], unet.config["latent_size"]
        shape = (1, frames, unet.config["latent_channels"], size, size)
        sample = torch.randn(shape, generator=self.generator, dtype=torch.float32).to(device)
        known = torch.zeros(1, frames, 1, size, size, device=device)
        clean = torch.zeros_like(sample)
        if self._carried is not None:
            count = self._carried.shape[1]
            known[:, :count] = 1
            clean[:, :count] = self._carried
        set_steps(self.scheduler, self.steps, device)
        conditioning = unet.condition(inputs.features, inputs.controls)
        silent = None
        if self.guidance.audio != 1:
            absent = torch.zeros(1, dtype=torch.bool, device=device)
            silent = unet.condition(inputs.features, inputs.controls, absent)
        # one condition for all steps: the experts fold the latents into their weights once
        with self.adapters.condition(inputs.emotion_latents), self.adapters.collect_gates() as record:
            for number, timestep in enumerate(self.scheduler.timesteps):
                sample = torch.where(known > 0, clean, sample)
                predicted = guided_latents(
                    unet, self.adapters, self.guidance, sample.to(dtype), timestep, conditioning, silent,
                    inputs.emotion_latents is not None, known,
                )  # fmt: skip
                level = (timestep.float() / 1000).clamp(min=1e-4)
                sample = self.scheduler.step((sample - predicted) / level, timestep, sample, return_dict=False)[0]
                if self.on_step is not None:
                    changed = self.on_step(number, timestep, sample)
                    sample = sample if changed is None else changed
        gates = record.global_gates()
        sample = torch.where(known > 0, clean, sample)
        self._carried = sample[:, -CARRIED:]
        return sample, None if gates is None else gates[0].cpu()
