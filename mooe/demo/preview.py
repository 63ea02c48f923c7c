"""A still of a portrait at an emotion, sampled for it and drawn in a fraction of a second."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from mooe.audio.constants import SAMPLE_RATE
from mooe.decoder import SourcePortrait
from mooe.decoder.neutral import give_way
from mooe.decoder.refinement import refined_decoder
from mooe.emotion import EmotionMix
from mooe.motion.controls import Controls
from mooe.motion.sampling import Guidance, WindowInputs, WindowSampler
from mooe.motion.unet import AUDIO_CONTEXT
from mooe.pipeline import MoEEPipeline

# Against 40 frames and 12 steps, points are off by a twentieth (fear) to a seventh (sadness) of what the emotion moves
# them; 3 steps of 16 frames gain a fiftieth and take nearly twice the time.
_FRAMES = 12
_STEPS = 2


class EmotionPreview:
    """Draws stills with the weights that make the films: a short window of silence, its mean face.

    Args:
        pipeline: the pipeline.
    """

    def __init__(self, pipeline: MoEEPipeline) -> None:
        self._pipeline = pipeline
        length = _FRAMES + 2 * AUDIO_CONTEXT
        silence = np.zeros(length * SAMPLE_RATE // 25, np.float32)
        self._features = torch.from_numpy(pipeline.speech_encoder.encode(silence)[None, :length])

    @torch.no_grad()
    def displacement(self, mix: EmotionMix) -> NDArray[np.float32]:
        """How the mixture moves the 478 landmarks of a silent face, ``[478, 3]`` in eye distances."""
        pipeline = self._pipeline
        device = pipeline.unet.device
        weights = np.repeat(mix.weights[None], _FRAMES, 0)
        still = np.zeros((_FRAMES, 3), np.float32)
        controls = Controls(weights.sum(1), still[:, 0], still[:, :2], still, still).stack()
        emotion = None if mix.is_neutral else pipeline.emotion_encoder(torch.from_numpy(weights)[None].to(device))
        inputs = WindowInputs(self._features.to(device), torch.from_numpy(controls)[None].to(device), emotion)
        generator = torch.Generator().manual_seed(0)
        sampler = WindowSampler(
            pipeline.unet, pipeline.adapters, pipeline.scheduler, generator, _STEPS, Guidance()
        )  # fmt: skip
        latents, _ = sampler.window(inputs)
        moved: NDArray[np.float32] = pipeline.codec.decode(latents)[0].cpu().numpy().mean(0)
        return moved

    def draw(self, portrait: SourcePortrait, mix: EmotionMix) -> NDArray[np.uint8]:
        """The head crop at the mixture, uint8 RGB ``[size, size, 3]``."""
        still = np.zeros(3, np.float32)
        displacement = give_way(self.displacement(mix), portrait.relief, mix.weights)
        return refined_decoder(portrait, self._pipeline.compensator).render(displacement, still, still)
