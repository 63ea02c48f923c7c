"""MotionStream: latents of a clip, window by window, as its speech comes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mooe.motion.atlas import lower_face_mask
from mooe.motion.driving import MotionDriver
from mooe.motion.sampling import CARRIED, WINDOW, WindowSampler

# Live speech: frames of the first window and new ones of those after it, and frames of sound waited for. With the
# steps of mooe.audio.windows the first window can start after 0.96 s of sound, and each later one when 0.64 s more
# have come.
LIVE_FIRST = 8
LIVE_STEP = 16
LIVE_LOOKAHEAD = 10
# Share of a frame's difference from the mean of its neighbours that is added to it below the eyes. Mouths that are
# computed from phones, which the UNet has learnt from, have about half of the movement above 6 Hz that people's have.
_CRISPNESS = 0.3


def articulate(latents: Tensor) -> Tensor:
    """Quick movements of mouth and jaw made larger, slow ones left alone.

    An unsharp mask over time: at 25 frames a second the gain is 1.08 at 3 Hz, 1.28 at 6 Hz and 1.54 at 10 Hz. What is
    above the mouth stays as it is, so that lids do not overshoot.

    Args:
        latents: ``[1, F, C, h, w]``; at its ends a frame is its own neighbour.
    """
    near = torch.cat([latents[:, :1], latents, latents[:, -1:]], 1)
    quick = latents - (near[:, :-2] + near[:, 2:]) / 2
    below = torch.from_numpy(lower_face_mask(latents.shape[-1])).to(latents.device)
    return latents + _CRISPNESS * below * quick


class MotionStream:
    """Samples one window after the other; each carries its last frames over to the next.

    Args:
        driver: tells each window what to do.
        sampler: denoises it.
        live: whether to take short windows, for which less sound has to be waited for.
    """

    def __init__(self, driver: MotionDriver, sampler: WindowSampler, live: bool = False) -> None:
        self.driver, self.sampler = driver, sampler
        self._first, self._step = (LIVE_FIRST, LIVE_STEP) if live else (WINDOW, WINDOW - CARRIED)
        self.position = 0  # first frame that is still to be made
        # of the last window's new frames, and of a frame before and after them; None if neutral
        self.spoken: Tensor | None = None

    @property
    def _length(self) -> int:
        return CARRIED + self._step if self.position else self._first

    def listen(self) -> bool:
        """Hear what the next window needs; whether there is a next window."""
        start = self.position - CARRIED if self.position else 0
        self.driver.listen(start + self._length)
        return self.position < self.driver.num_frames

    def window(self) -> tuple[int, Tensor, Tensor | None]:
        """Sample the next window, after :meth:`listen`.

        Returns:
            The number of the first new frame, latents ``[1, n, C, h, w]`` of the new frames, and expert gates
            ``[n, 6]`` (None for a neutral window).
        """
        skip = CARRIED if self.position else 0
        start = self.position - skip
        inputs = self.driver.window(start, self._length)
        latents, gates = self.sampler.window(inputs)
        latents = articulate(latents)
        stop = min(latents.shape[1], self.driver.num_frames - start)
        self.spoken = None
        if inputs.emotion_latents is not None:
            spoken = self.sampler.spoken(inputs)
            self.spoken = torch.cat([spoken[:, max(skip - 1, 0)][:, None], spoken[:, skip : stop + 1]], 1)
        first, self.position = self.position, start + stop
        return first, latents[:, skip:stop], None if gates is None else gates[skip:stop]

    def state(self) -> dict[str, Any]:
        """All that has to be kept to go on from here, as arrays, tensors, numbers and plain dictionaries."""
        return {"position": self.position, "driver": self.driver.state(), "sampler": self.sampler.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state` gave.

        The driver must hear the speech from at least :data:`mooe.motion.unet.AUDIO_CONTEXT` frames before the carried
        ones on.
        """
        self.position = int(state["position"])
        self.driver.restore(state["driver"])
        self.sampler.restore(state["sampler"])
