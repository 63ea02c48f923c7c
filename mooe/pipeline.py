"""MoEEPipeline: portrait + speech + a wish for the emotion -> a video of that person speaking so."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from os import PathLike
from typing import Any, cast

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from PIL import Image
from torch import Tensor

from mooe.animation import read_portrait
from mooe.audio import FRAME_RATE, HamaSpeechEncoder, SpeechEncoder
from mooe.audio.pretrained import check_encoder
from mooe.audio.reader import FeatureReader
from mooe.audio.source import Audio, SpeechSource, open_speech
from mooe.audio.synthesis import speak
from mooe.chunks import make_chunks
from mooe.decoder import SourcePortrait
from mooe.decoder.compensator import PortraitCompensator
from mooe.decoder.refinement import refined_decoder
from mooe.emotion import EmotionMix, EmotionSpec, EmotionTimeline
from mooe.emotion.adapters import MoEEAdapters
from mooe.emotion.controls import ControlSchedule, ControlTimeline, EmotionRequest, Keyframe, TextReader, WeightSpec
from mooe.emotion.latents import EmotionToLatents
from mooe.emotion.text import SentenceReader
from mooe.emotion.voice import ProsodyReader, VoiceReader
from mooe.errors import ConfigError, EmotionWarning
from mooe.motion.codec import MotionCodec
from mooe.motion.driving import POSE_LOOKAHEAD, HeadTrack, MotionDriver
from mooe.motion.lora import SpeakerLoraMixin
from mooe.motion.pose import HeadPosePredictor
from mooe.motion.sampling import CARRIED, Guidance, WindowSampler
from mooe.motion.streaming import LIVE_LOOKAHEAD, MotionStream
from mooe.motion.unet import AUDIO_CONTEXT, MotionUNet
from mooe.pipeline_output import FaceMotion, Frame, MoEEChunk, MoEEPipelineOutput, MoEEStream
from mooe.weights import load_embedded, make_debug, own_memory

StepCallback = Callable[["MoEEPipeline", int, Tensor, dict[str, Tensor]], dict[str, Tensor]]
OUTPUT_TYPES = ("np", "pil", "pt", "latent")


@dataclass
class _Settings:
    """One call's settings, checked."""

    controls: ControlTimeline
    generator: torch.Generator
    steps: int
    guidance: Guidance
    head_motion: float
    blink_rate: float
    head_track: HeadTrack | None = None
    on_step: Callable[[int, Tensor, Tensor], Tensor | None] | None = None


class MoEEPipeline(DiffusionPipeline, SpeakerLoraMixin):
    """One portrait, one voice, one wish for the emotion -> a talking video.

    Args:
        codec: displacements <-> motion latents.
        unet: denoises motion latents.
        adapters: the Mixture of Emotion Experts, attached to the UNet.
        emotion_encoder: emotion controls -> emotion latents.
        pose_predictor: head motion from prosody.
        scheduler: a flow-matching scheduler of diffusers.
        compensator: learned stages of the decoder; without it faces are drawn by geometry alone.

    What reads the speech, a prompt and the emotion of the voice are no components with weights in the pipeline's
    folder; replace :attr:`speech_encoder`, :attr:`text_reader` and :attr:`voice_reader` to use others.
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
        self.text_reader: TextReader = SentenceReader()
        self.voice_reader: VoiceReader = ProsodyReader()

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
        return read_portrait(image, face_index, size)

    def stream(
        self,
        portrait: SourcePortrait,
        audio: Audio | None = None,
        emotion: EmotionSpec | EmotionTimeline = None,
        intensity: float = 1.0,
        *,
        prompt: str | None = None,
        emotion_from_voice: bool | float = False,
        action_units: WeightSpec = None,
        arkit: WeightSpec = None,
        timeline: Sequence[Keyframe] | str | PathLike[str] | None = None,
        num_inference_steps: int = 2,
        audio_scale: float = 1.0,
        emotion_scale: float = 1.0,
        head_motion: float = 1.0,
        blink_rate: float = 18.0,
        head_track: HeadTrack | None = None,
        text: str | None = None,
        voice: str | None = None,
        language: str | None = None,
        paste_back: bool = True,
        generator: torch.Generator | None = None,
        on_step: Callable[[int, Tensor, Tensor], Tensor | None] | None = None,
        state: dict[str, Any] | None = None,
        ahead: bool = False,
    ) -> MoEEStream:
        """Make a clip chunk by chunk, in memory that does not grow with its length.

        ``audio`` may also be an iterator of live sound, pieces of mono float32 at 16 kHz: chunks then come while it is
        still being spoken, the first one after 0.96 s of sound. Such a clip is not that of the whole recording: the
        loudness is that of what was heard so far, the speech is recognised from 1.3 s of the past and 0.24 s of the
        future, and windows are shorter; blinks and gaze are the same. The emotion cannot come from a voice that is
        still to be heard, nor from a prompt whose parts are spread over the speech.

        ``state``, which :meth:`MoEEStream.state` gave after some chunk of the same clip, goes on behind that chunk.
        ``ahead`` draws the next chunk, and samples the motion of the one after it, in threads while a chunk is used,
        which gives the same frames in less time; weights and the generator must then be left alone until the last
        chunk. Live sound is never asked for ahead. See :meth:`__call__` for the other arguments.
        """
        check_encoder(self.speech_encoder, self.unet.config["audio_dim"])
        speech = open_speech(_spoken(audio, text, voice, language))
        request = EmotionRequest(emotion, intensity, prompt, float(emotion_from_voice), action_units, arkit, timeline)
        settings = self._check(
            request, num_inference_steps, audio_scale, emotion_scale, head_motion, blink_rate, generator
        )
        settings.on_step, settings.head_track = on_step, head_track
        schedule = self._schedule(settings.controls, speech)
        stream = MoEEStream(speech, FRAME_RATE, notes=settings.controls.notes)
        stream.motion = self._motion(speech, schedule, settings, state)
        decoder = refined_decoder(portrait, self.compensator)
        render = partial(decoder.render_many, paste_back=paste_back)
        stream.chunks = make_chunks(stream, self.codec, schedule, render, portrait.relief, ahead=ahead)
        return stream

    @torch.no_grad()
    def __call__(
        self,
        portrait: SourcePortrait | Frame | Image.Image,
        audio: Audio | None = None,
        emotion: EmotionSpec | EmotionTimeline = None,
        intensity: float = 1.0,
        *,
        prompt: str | None = None,
        emotion_from_voice: bool | float = False,
        action_units: WeightSpec = None,
        arkit: WeightSpec = None,
        timeline: Sequence[Keyframe] | str | PathLike[str] | None = None,
        num_inference_steps: int = 2,
        audio_scale: float = 1.0,
        emotion_scale: float = 1.0,
        head_motion: float = 1.0,
        blink_rate: float = 18.0,
        head_track: HeadTrack | None = None,
        text: str | None = None,
        voice: str | None = None,
        language: str | None = None,
        paste_back: bool = True,
        generator: torch.Generator | None = None,
        output_type: str = "np",
        return_dict: bool = True,
        callback_on_step_end: StepCallback | None = None,
    ) -> MoEEPipelineOutput | tuple[Any, ...]:
        """Make a whole clip; for long speech use :meth:`stream`, which does not keep the frames.

        Args:
            portrait: from :meth:`encode_portrait`, or an image.
            audio: a file, mono float32 at 16 kHz in [-1, 1], or what :func:`mooe.audio.speak` gave.
            emotion: "happy", "happy:.8", {"happy": .8, "surprised": .4}, a list of such, a timeline, or None.
            intensity: factor on all that is asked of the emotion, in [0, 1].
            prompt: free text, such as "a shy smile that turns into surprise", or the transcript with tags such as
                ``[happy]`` (see :mod:`mooe.emotion.tags`). Texts that name no emotion give neutral and an
                :class:`EmotionWarning`.
            emotion_from_voice: show the emotion that is heard in the speech; a number in [0, 1] is its share.
            action_units: FACS units, such as ``{"AU12": 0.8, "AU4L": 0.3}``.
            arkit: ARKit weights, such as ``{"mouthSmileLeft": 0.5}``.
            timeline: keyframes of all of these, or a YAML file of them (see :class:`Keyframe`). Controls add up.
            num_inference_steps: denoising steps a window.
            audio_scale: guidance scale of the sound; 1 is no guidance.
            emotion_scale: guidance scale of the emotion; 1 is no guidance.
            head_motion: gain of the head's motion.
            blink_rate: blinks a minute.
            head_track: head poses to follow instead of predicting them, such as
                :class:`mooe.head_track.RecordedHead`; ``head_motion`` scales them.
            text: what to say, instead of ``audio``; needs the extra ``tts``.
            voice: who says the text, see :func:`mooe.audio.speak`.
            language: language of the text, such as ``en-us``.
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
            source, audio, emotion, intensity, prompt=prompt, emotion_from_voice=emotion_from_voice,
            action_units=action_units, arkit=arkit, timeline=timeline, num_inference_steps=num_inference_steps,
            audio_scale=audio_scale, emotion_scale=emotion_scale, head_motion=head_motion, blink_rate=blink_rate,
            head_track=head_track, text=text, voice=voice, language=language, paste_back=paste_back,
            generator=generator, on_step=_step_callback(self, callback_on_step_end), ahead=True,
        )  # fmt: skip
        for note in stream.notes:
            warnings.warn(note, EmotionWarning, stacklevel=2)

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

    def _check(
        self,
        request: EmotionRequest, steps: int, audio_scale: float, emotion_scale: float, head_motion: float,
        blink_rate: float, generator: torch.Generator | None,
    ) -> _Settings:  # fmt: skip
        if not 1 <= steps <= 1000:
            raise ConfigError(f"{steps} denoising steps cannot be made: choose 1 to 1000, such as 2.")
        for name, value, most in (
            ("audio scale", audio_scale, 10.0), ("emotion scale", emotion_scale, 10.0),
            ("head motion", head_motion, 3.0), ("blink rate", blink_rate, 60.0),
        ):  # fmt: skip
            if not 0 <= value <= most:
                raise ConfigError(f"The {name} {value} is out of range: choose a number from 0 to {most:g}.")
        controls = request.resolve(self.text_reader)
        if generator is None:
            generator = torch.Generator().manual_seed(torch.seed() % 2**63)
        return _Settings(controls, generator, steps, Guidance(audio_scale, emotion_scale), head_motion, blink_rate)

    def _schedule(self, controls: ControlTimeline, speech: SpeechSource) -> ControlSchedule:
        """The controls laid over the speech."""
        if speech.live and (controls.hears_voice or controls.needs_length):
            raise ConfigError(
                "Live speech has no end to spread a prompt over and no voice to hear ahead: give labels or keyframes."
            )
        heard = None
        if controls.hears_voice:
            features = np.concatenate(list(speech.features(self.speech_encoder)))
            heard = self.voice_reader(speech.waveform, features)
        return ControlSchedule(controls, speech.num_frames, heard)

    def _motion(
        self, speech: SpeechSource, emotion: ControlSchedule, settings: _Settings, state: dict[str, Any] | None
    ) -> MotionStream:
        """The motion of a clip, ready to be sampled."""
        first = 0 if state is None else max(int(state["position"]) - CARRIED - AUDIO_CONTEXT, 0)
        features = FeatureReader(speech.features(self.speech_encoder, first), first)
        driver = MotionDriver(
            self.unet, self.emotion_encoder, self.pose_predictor, features, emotion, settings.generator,
            head_motion=settings.head_motion, blink_rate=settings.blink_rate, blink_length=self.blink_length,
            brow_manners=self.brow_manners, brow_lifts=self.brow_lifts, mouth_widening=self.mouth_widening,
            head_track=settings.head_track, lookahead=LIVE_LOOKAHEAD if speech.live else POSE_LOOKAHEAD,
        )  # fmt: skip
        sampler = WindowSampler(
            self.unet, self.adapters, self.scheduler, settings.generator, settings.steps, settings.guidance,
            settings.on_step,
        )  # fmt: skip
        motion = MotionStream(driver, sampler, speech.live)
        if state is not None:
            motion.restore(state)
        return motion


def _spoken(audio: Audio | None, text: str | None, voice: str | None, language: str | None) -> Audio:
    """The speech that was given, or the text spoken."""
    if (audio is None) == (text is None):
        raise ConfigError("Give either the speech or a text to speak, and not both.")
    return speak(text, voice, language) if text is not None else cast(Audio, audio)


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
