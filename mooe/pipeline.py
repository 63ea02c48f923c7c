"""MoEEPipeline: portrait + speech + a wish for the emotion -> a video of that person speaking so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mooe.audio import FRAME_RATE, HamaSpeechEncoder, SpeechEncoder, frame_count, load_audio
from mooe.decoder import SourcePortrait, encode_at_rest
from mooe.decoder.compensator import PortraitCompensator
from mooe.decoder.refinement import refined_decoder
from mooe.emotion import EmotionMix, EmotionSpec, EmotionTimeline, parse_emotion
from mooe.emotion.adapters import MoEEAdapters
from mooe.emotion.latents import EmotionToLatents
from mooe.errors import AudioError, ConfigError
from mooe.face import FaceTracker
from mooe.motion.codec import MotionCodec
from mooe.motion.driving import MotionDriver
from mooe.motion.pose import HeadPosePredictor
from mooe.motion.sampling import Guidance, WindowSampler, iterate_windows
from mooe.motion.unet import MotionUNet
from mooe.pipeline_output import FaceMotion, Frame, MoEEChunk, MoEEPipelineOutput, MoEEStream
from mooe.weights import load_embedded, make_debug, own_memory

Audio = NDArray[np.float32] | Tensor | str | PathLike[str]
StepCallback = Callable[["MoEEPipeline", int, Tensor, dict[str, Tensor]], dict[str, Tensor]]
OUTPUT_TYPES = ("np", "pil", "pt", "latent")


@dataclass
class _Settings:
    """One call's settings, checked."""

    timeline: EmotionTimeline
    generator: torch.Generator
    steps: int
    guidance: Guidance
    head_motion: float
    blink_rate: float
    on_step: Callable[[int, Tensor, Tensor], Tensor | None] | None = None


class MoEEPipeline(DiffusionPipeline):
    """One portrait, one voice, one wish for the emotion -> a talking video.

    Args:
        codec: displacements <-> motion latents.
        unet: denoises motion latents.
        adapters: the Mixture of Emotion Experts, attached to the UNet.
        emotion_encoder: emotion controls -> emotion latents.
        pose_predictor: head motion from prosody.
        scheduler: a flow-matching scheduler of diffusers.
        compensator: learned stages of the decoder; without it faces are drawn by geometry alone.

    The speech encoder is no component with weights of its own; replace :attr:`speech_encoder` to use another.
    """

    model_cpu_offload_seq = "emotion_encoder->pose_predictor->unet"
    _optional_components = ["compensator"]  # noqa: RUF012 (diffusers' name and type)

    def __init__(
        self,
        codec: MotionCodec,
        unet: MotionUNet,
        adapters: MoEEAdapters,
        emotion_encoder: EmotionToLatents,
        pose_predictor: HeadPosePredictor,
        scheduler: SchedulerMixin,
        compensator: PortraitCompensator | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(
            codec=codec,
            unet=unet,
            adapters=adapters,
            emotion_encoder=emotion_encoder,
            pose_predictor=pose_predictor,
            scheduler=scheduler,
            compensator=compensator,
        )
        for module in (codec, unet, adapters, emotion_encoder, pose_predictor, compensator):
            if module is not None:
                own_memory(module.eval())
        adapters.attach(unet.unet)
        self.speech_encoder: SpeechEncoder = HamaSpeechEncoder()

    @classmethod
    def from_pretrained(cls, name_or_path: str | PathLike[str] | None = None, **kwargs: Any) -> MoEEPipeline:
        """Load a pipeline.

        Args:
            name_or_path: None for the weights inside the package; ``"debug"`` for a tiny model with random weights;
                otherwise a folder that :meth:`save_pretrained` wrote or a name on a model hub.
            kwargs: passed to diffusers; ``torch_dtype`` sets the UNet's precision (bfloat16 where the processor
                computes in it, else float32).

        Raises:
            WeightsError: weights are missing, corrupt or of another model.
        """
        if name_or_path is not None and str(name_or_path) == "debug":
            return make_debug(cls)
        return load_embedded(cls, name_or_path, super().from_pretrained, **kwargs)

    def encode_portrait(self, image: Frame | Image.Image, face_index: int = 0, size: int = 256) -> SourcePortrait:
        """Track a portrait's face and prepare it; once a portrait, for any number of clips.

        Args:
            image: uint8 RGB ``[H, W, 3]`` or a PIL image.
            face_index: which face, 0 is the largest.
            size: side of the head crop in pixels, at which its motion is computed.

        Raises:
            NoFaceError: there is no such face.
        """
        if size < 64 or size % 8:
            raise ConfigError(f"The size {size} cannot be used: choose a multiple of 8 from 64 on, such as 256.")
        pixels = np.asarray(image.convert("RGB")) if isinstance(image, Image.Image) else image
        with FaceTracker() as tracker:
            face = tracker.detect_one(pixels, face_index)
            return encode_at_rest(pixels, face, tracker, size)

    def stream(
        self,
        portrait: SourcePortrait,
        audio: Audio,
        emotion: EmotionSpec | EmotionTimeline = None,
        intensity: float = 1.0,
        *,
        num_inference_steps: int = 6,
        audio_scale: float = 1.0,
        emotion_scale: float = 1.0,
        head_motion: float = 1.0,
        blink_rate: float = 18.0,
        paste_back: bool = True,
        generator: torch.Generator | None = None,
        on_step: Callable[[int, Tensor, Tensor], Tensor | None] | None = None,
    ) -> MoEEStream:
        """Make a clip chunk by chunk; see :meth:`__call__` for the arguments."""
        waveform = self._waveform(audio)
        settings = self._check(
            emotion,
            intensity,
            num_inference_steps,
            audio_scale,
            emotion_scale,
            head_motion,
            blink_rate,
            generator,
        )
        settings.on_step = on_step
        stream = MoEEStream(waveform, frame_count(len(waveform)), FRAME_RATE, iter(()))
        stream.chunks = self._chunks(stream, portrait, settings, paste_back)
        return stream

    @torch.no_grad()
    def __call__(
        self,
        portrait: SourcePortrait | Frame | Image.Image,
        audio: Audio,
        emotion: EmotionSpec | EmotionTimeline = None,
        intensity: float = 1.0,
        *,
        num_inference_steps: int = 6,
        audio_scale: float = 1.0,
        emotion_scale: float = 1.0,
        head_motion: float = 1.0,
        blink_rate: float = 18.0,
        paste_back: bool = True,
        generator: torch.Generator | None = None,
        output_type: str = "np",
        return_dict: bool = True,
        callback_on_step_end: StepCallback | None = None,
    ) -> MoEEPipelineOutput | tuple[Any, ...]:
        """Make a whole clip; for long speech use :meth:`stream`, which does not keep the frames.

        Args:
            portrait: from :meth:`encode_portrait`, or an image.
            audio: a file, or mono float32 at 16 kHz in [-1, 1].
            emotion: "happy", "happy:.8", {"happy": .8, "surprised": .4}, a list of such, a timeline, or None.
            intensity: factor on the emotion's weights in [0, 1].
            num_inference_steps: denoising steps a window.
            audio_scale: guidance scale of the sound; 1 is no guidance.
            emotion_scale: guidance scale of the emotion; 1 is no guidance.
            head_motion: gain of the head's motion.
            blink_rate: blinks a minute.
            paste_back: give the whole picture with the head in it, not the head crop.
            generator: seeded source of all randomness, on the CPU.
            output_type: "np", "pil", "pt" or "latent".
            return_dict: give a :class:`MoEEPipelineOutput`, not a tuple.
            callback_on_step_end: called after each denoising step with the pipeline, the step, the timestep and
                ``{"latents": ...}``; may return changed latents.

        Raises:
            MooeError: something in the arguments cannot be used.
        """
        # 1. Check inputs
        if output_type not in OUTPUT_TYPES:
            raise ConfigError(f"The output type '{output_type}' is unknown: use one of {', '.join(OUTPUT_TYPES)}.")
        source = portrait if isinstance(portrait, SourcePortrait) else self.encode_portrait(portrait)

        # 2. Set out the stream
        stream = self.stream(
            source, audio, emotion, intensity, num_inference_steps=num_inference_steps, audio_scale=audio_scale,
            emotion_scale=emotion_scale, head_motion=head_motion, blink_rate=blink_rate, paste_back=paste_back,
            generator=generator, on_step=_step_callback(self, callback_on_step_end),
        )  # fmt: skip

        # 3. Sample and decode window by window
        chunks = list(stream)

        # 4. Collect
        motion = FaceMotion.join([c.motion for c in chunks])
        gates = np.concatenate([c.gates for c in chunks])
        if output_type == "latent":
            frames: Any = self.codec.encode(torch.from_numpy(motion.displacement).to(self.codec.device))
        else:
            frames = _convert([f for c in chunks for f in c.frames], output_type)
        output = MoEEPipelineOutput(frames=frames, audio=stream.audio, fps=FRAME_RATE, motion=motion, gates=gates)
        return output if return_dict else output.to_tuple()

    def _waveform(self, audio: Audio) -> NDArray[np.float32]:
        if isinstance(audio, str | PathLike):
            return load_audio(audio)
        waveform = np.asarray(audio.cpu() if isinstance(audio, Tensor) else audio, np.float32)
        if waveform.ndim != 1 or not len(waveform) or not np.isfinite(waveform).all():
            raise AudioError("The speech must be a one-dimensional array of finite numbers at 16 kHz, and not empty.")
        return waveform

    @staticmethod
    def _check(
        emotion: EmotionSpec | EmotionTimeline, intensity: float, steps: int, audio_scale: float,
        emotion_scale: float, head_motion: float, blink_rate: float, generator: torch.Generator | None,
    ) -> _Settings:  # fmt: skip
        if not 1 <= steps <= 1000:
            raise ConfigError(f"{steps} denoising steps cannot be made: choose 1 to 1000, such as 6.")
        for name, value, most in (
            ("audio scale", audio_scale, 10.0), ("emotion scale", emotion_scale, 10.0),
            ("head motion", head_motion, 3.0), ("blink rate", blink_rate, 60.0),
        ):  # fmt: skip
            if not 0 <= value <= most:
                raise ConfigError(f"The {name} {value} is out of range: choose a number from 0 to {most:g}.")
        if isinstance(emotion, EmotionTimeline):
            parse_emotion(None, intensity)
            timeline = EmotionTimeline(tuple((t, mix.scaled(intensity)) for t, mix in emotion.keyframes))
        else:
            timeline = EmotionTimeline.constant(parse_emotion(emotion, intensity))
        if generator is None:
            generator = torch.Generator().manual_seed(torch.seed() % 2**63)
        return _Settings(timeline, generator, steps, Guidance(audio_scale, emotion_scale), head_motion, blink_rate)

    def _chunks(
        self, stream: MoEEStream, portrait: SourcePortrait, settings: _Settings, paste_back: bool
    ) -> Iterator[MoEEChunk]:
        with stream.timed("audio"):
            features = self.speech_encoder.encode(stream.audio)
        driver = MotionDriver(
            self.unet, self.emotion_encoder, self.pose_predictor, features, settings.timeline, settings.generator,
            head_motion=settings.head_motion, blink_rate=settings.blink_rate,
        )  # fmt: skip
        sampler = WindowSampler(
            self.unet, self.adapters, self.scheduler, settings.generator, settings.steps, settings.guidance,
            settings.on_step,
        )  # fmt: skip
        decoder = refined_decoder(portrait, self.compensator)
        render = decoder.render_full if paste_back else decoder.render
        windows = iterate_windows(stream.num_frames, driver.window, sampler)
        while True:
            with stream.timed("motion"):
                window = next(windows, None)
                if window is None:
                    return
                first, latents, gates = window
                displacement = self.codec.decode(latents)[0].cpu().numpy()
                pose = driver.pose(first, len(displacement))
            motion = FaceMotion(displacement, pose[:, :3], pose[:, 3:])
            with stream.timed("decoder"):
                frames = [
                    render(d, r, t)
                    for d, r, t in zip(motion.displacement, motion.rotation, motion.translation, strict=True)
                ]
            shares = np.zeros((len(motion), 6), np.float32) if gates is None else gates.numpy()
            yield MoEEChunk(frames, motion, shares, first)


def _step_callback(
    pipeline: MoEEPipeline, callback: StepCallback | None
) -> Callable[[int, Tensor, Tensor], Tensor | None] | None:
    if callback is None:
        return None

    def on_step(step: int, timestep: Tensor, latents: Tensor) -> Tensor | None:
        returned = callback(pipeline, step, timestep, {"latents": latents})
        return returned.get("latents") if returned else None

    return on_step


def _convert(frames: list[Frame], output_type: str) -> Any:
    if output_type == "pil":
        return [Image.fromarray(f) for f in frames]
    stacked = np.stack(frames)
    if output_type == "pt":
        return torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 255
    return stacked


__all__ = ["EmotionMix", "FaceMotion", "MoEEChunk", "MoEEPipeline", "MoEEPipelineOutput", "MoEEStream"]
