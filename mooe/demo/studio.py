"""Everything behind the page that is not the page: one model for all visitors, portraits, stills and films."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mooe.animation import render_motion
from mooe.audio import Speech, iter_audio, speak
from mooe.audio.constants import SAMPLE_RATE
from mooe.decoder import SourcePortrait
from mooe.demo.capabilities import speaking_voices
from mooe.demo.limits import check_portrait, check_text, read_speech
from mooe.demo.mood import mix_of
from mooe.demo.preview import EmotionPreview
from mooe.emotion import EMOTIONS, EmotionMix, EmotionTimeline
from mooe.errors import ConfigError, MooeError
from mooe.face import FaceTracker
from mooe.face.tracker import Face
from mooe.media import VideoWriter, read_image, shrink_to, write_json
from mooe.media.video import SOUND_RATE
from mooe.pipeline import MoEEPipeline
from mooe.pipeline_output import FaceMotion, MoEEChunk, MoEEStream
from mooe.report import StageClock, build_report

Image = NDArray[np.uint8]
MAX_SIDE = 1280
"""Longer side of a film in pixels; larger photographs are made smaller first."""
_PORTRAITS_KEPT = 8


class Cancelled(MooeError):
    """A visitor stopped a film."""


def stop_if(cancelled: Callable[[], bool]) -> None:
    """End a film whose visitor no longer wants it (raises Cancelled)."""
    if cancelled():
        raise Cancelled("Stopped: nothing of the film is kept.")


@dataclass(frozen=True)
class Wish:
    """What a visitor asks for.

    Attributes:
        portrait: the photograph's file.
        face: which face in it, 0 is the largest.
        voice: a recording's file.
        text: what to say instead of the recording.
        speaking_voice, language: the voice and the language that say it; None for the engine's own choice.
        weights: of the six emotions, in the order of ``EMOTIONS``.
        intensity: factor on them in [0, 1].
        keyframes: (seconds, weights) in any order; with any, they replace `weights`.
        seed: the same seed gives the same film.
        controls: further arguments of ``MoEEPipeline.stream``, such as ``head_motion``.
        speaker: name of a LoRA, or nothing.
        speaker_weight: its weight.
    """

    portrait: str | None
    face: int = 0
    voice: str | None = None
    text: str = ""
    speaking_voice: str | None = None
    language: str | None = None
    weights: tuple[float, ...] = (0.0,) * len(EMOTIONS)
    intensity: float = 1.0
    keyframes: tuple[tuple[float, tuple[float, ...]], ...] = ()
    seed: int = 0
    controls: dict[str, Any] = field(default_factory=dict)
    speaker: str = ""
    speaker_weight: float = 1.0

    def emotion(self) -> EmotionMix | EmotionTimeline:
        """The mixture, or the timeline where there are keyframes (raises EmotionError)."""
        if not self.keyframes:
            return mix_of(self.weights)
        return EmotionTimeline(tuple((at, mix_of(weights)) for at, weights in sorted(self.keyframes)))


@dataclass(frozen=True)
class Voice:
    """Speech for the model and the same for listeners.

    Attributes:
        audio: float32 at 16 kHz, or typed speech with the times of its phones, which move the lips.
        sound: mono float32 in blocks at `rate`.
        rate: samples a second of `sound`.
    """

    audio: NDArray[np.float32] | Speech
    sound: Iterable[NDArray[np.float32]]
    rate: int

    @property
    def waveform(self) -> NDArray[np.float32]:
        """What the model hears, float32 at 16 kHz."""
        return self.audio.waveform if isinstance(self.audio, Speech) else self.audio


@dataclass(frozen=True)
class Progress:
    """How far a film is: the stage, and the share of its frames that are done."""

    stage: str
    share: float


@dataclass(frozen=True)
class Film:
    """A finished film.

    Attributes:
        path: the mp4.
        report: the report's file.
        content: what the report says.
        photograph: the picture before, uint8 RGB, of the film's size.
        waveform: the speech, float32 at 16 kHz.
        gates: share of each emotion expert, ``[F, 6]``.
        notes: what the visitor should know of how the wish was understood.
    """

    path: Path
    report: Path
    content: dict[str, Any]
    photograph: Image
    waveform: NDArray[np.float32]
    gates: NDArray[np.float32]
    notes: tuple[str, ...]


class Studio:
    """Makes stills and films for many visitors with one model, which only one of them uses at any moment.

    Args:
        pipeline: the model.
        speakers: LoRA weights of speakers by name.

    Attributes:
        voices: voices that can speak a typed text.
        speakers: names of the speakers.
    """

    def __init__(self, pipeline: MoEEPipeline, speakers: dict[str, Path] | None = None) -> None:
        self.voices = speaking_voices()
        self.speakers = tuple(speakers or ())
        self._pipeline = pipeline
        self._lock = threading.RLock()
        self._portraits: OrderedDict[tuple[str, int], SourcePortrait] = OrderedDict()
        self._tracker = FaceTracker()
        self._preview = EmotionPreview(pipeline)
        for name, path in (speakers or {}).items():
            pipeline.load_lora_weights(path, adapter_name=name)
            pipeline.set_adapters([name], [0.0])

    def close(self) -> None:
        """Free the face tracker."""
        self._tracker.close()

    def picture(self, path: str | None) -> Image:
        """A visitor's photograph (raises PortraitError)."""
        return shrink_to(read_image(check_portrait(path)), MAX_SIDE)

    def faces(self, image: Image) -> list[Face]:
        """The faces in a photograph, largest first; none is no error."""
        with self._lock:
            return self._tracker.detect(image)

    def portrait(self, path: str | None, face: int = 0) -> SourcePortrait:
        """A photograph made ready for animation, kept for the next time (raises PortraitError)."""
        file = check_portrait(path)
        key = (_digest(file), face)
        with self._lock:
            if key not in self._portraits:
                self._portraits[key] = self._pipeline.encode_portrait(self.picture(str(file)), face)
            self._portraits.move_to_end(key)
            while len(self._portraits) > _PORTRAITS_KEPT:
                self._portraits.popitem(last=False)
            return self._portraits[key]

    def read_prompt(self, prompt: str) -> EmotionMix:
        """The mixture that a description asks for; neutral for an empty one."""
        if not prompt.strip():
            return EmotionMix.neutral()
        with self._lock:
            return self._pipeline.text_reader([prompt])[0].emotion

    def still(self, path: str | None, face: int, mix: EmotionMix) -> Image:
        """The head crop of a photograph at an emotion (raises PortraitError)."""
        with self._lock:
            return self._preview.draw(self.portrait(path, face), mix)

    def voice(self, wish: Wish) -> Voice:
        """The typed text spoken, or the recording (raises MooeError)."""
        if text := check_text(wish.text):
            spoken = speak(text, wish.speaking_voice or None, wish.language or None)
            return Voice(spoken, [spoken.sound], spoken.sound_rate)
        waveform = read_speech(wish.voice)
        sound = iter_audio(str(wish.voice), chunk_seconds=1.0, sample_rate=SOUND_RATE)
        return Voice(waveform, sound, SOUND_RATE)

    def animate(self, portrait: SourcePortrait, motion: FaceMotion) -> Iterator[Image]:
        """Frames of a portrait that moves as `motion` says; visitors take turns between them."""
        frames = render_motion(portrait, motion, compensator=self._pipeline.compensator)
        while True:
            with self._lock:
                frame = next(frames, None)
            if frame is None:
                return
            yield frame

    def film(
        self, wish: Wish, folder: Path, cancelled: Callable[[], bool] = lambda: False
    ) -> Iterator[Progress | Film]:
        """Make a film; gives how far it is, and at last the film.

        Args:
            wish: what to make.
            folder: where to; nothing is left in it when the film is not finished.
            cancelled: asked at each denoising step and chunk.

        Raises:
            Cancelled: `cancelled` said yes.
            MooeError: something in the wish cannot be used.
        """
        stages: list[str] = []
        clock = StageClock(on_start=stages.append)
        yield Progress("Reading the voice", 0.0)
        with clock.stage("reading"):
            emotion = wish.emotion()
            voice = self.voice(wish)
        stop_if(cancelled)
        yield Progress("Looking at the portrait", 0.0)
        with clock.stage("portrait"):
            portrait = self.portrait(wish.portrait, wish.face)
        stop_if(cancelled)

        def check(_number: int, _timestep: Tensor, _latents: Tensor) -> None:
            stop_if(cancelled)

        # what a speaker's LoRA says of blinks is read when the stream is set out
        with self._lock, self._speaking_as(wish):
            stream = self._pipeline.stream(
                portrait,
                voice.audio,
                emotion,
                wish.intensity,
                generator=torch.Generator().manual_seed(wish.seed),
                on_step=check,
                **wish.controls,
            )
        yield Progress("Animating", 0.0)
        path = folder / "mooe.mp4"
        gates: list[NDArray[np.float32]] = []
        yield from self._write(stream, wish, voice, path, clock, gates)
        clock.seconds.update(stream.timings)
        shares = np.concatenate(gates)
        content = _report(wish, stream, clock, shares)
        write_json(folder / "report.json", content)
        notes = tuple(getattr(stream, "notes", ()))
        yield Film(path, folder / "report.json", content, portrait.picture, voice.waveform, shares, notes)

    def _write(
        self,
        stream: MoEEStream,
        wish: Wish,
        voice: Voice,
        path: Path,
        clock: StageClock,
        gates: list[NDArray[np.float32]],
    ) -> Iterator[Progress]:
        """Write the chunks as they are made; their gates are added to `gates`."""
        done = 0
        with ExitStack() as stack:
            writer: VideoWriter | None = None
            while (chunk := self._next_chunk(stream, wish)) is not None:
                with clock.stage("video"):
                    if writer is None:
                        height, width = chunk.frames[0].shape[:2]
                        writer = VideoWriter(path, width, height, audio=voice.sound, sample_rate=voice.rate)
                        stack.enter_context(writer)
                    for frame in chunk.frames:
                        writer.write(frame)
                gates.append(chunk.gates)
                done += len(chunk.frames)
                yield Progress("Animating", done / stream.num_frames)
            yield Progress("Finishing the file", 1.0)
            with clock.stage("video"):
                stack.close()

    def _next_chunk(self, stream: MoEEStream, wish: Wish) -> MoEEChunk | None:
        # A chunk leaves nothing in the model that the next one needs, so visitors can take turns between chunks.
        with self._lock, self._speaking_as(wish):
            return next(stream.chunks, None)

    @contextmanager
    def _speaking_as(self, wish: Wish) -> Iterator[None]:
        if not wish.speaker:
            yield
            return
        if wish.speaker not in self.speakers:
            raise ConfigError(f"There is no speaker '{wish.speaker}': choose one from the list.")
        self._pipeline.set_adapters([wish.speaker], [wish.speaker_weight])
        try:
            yield
        finally:
            self._pipeline.set_adapters([wish.speaker], [0.0])


def _report(wish: Wish, stream: MoEEStream, clock: StageClock, gates: NDArray[np.float32]) -> dict[str, Any]:
    emotion = wish.emotion()
    keyframes = emotion.keyframes if isinstance(emotion, EmotionTimeline) else ((0.0, emotion),)
    return build_report(
        audio_seconds=len(stream.audio) / SAMPLE_RATE,
        frames=stream.num_frames,
        stages=clock.seconds,
        total_seconds=clock.total,
        loading_seconds=0.0,
        settings={
            "seed": wish.seed,
            "emotion": [{"at": round(at, 3), **mix.as_dict()} for at, mix in keyframes],
            "intensity": wish.intensity,
            **wish.controls,
            **({"speaker": wish.speaker, "speaker_weight": wish.speaker_weight} if wish.speaker else {}),
        },
        gate_means=dict(zip(EMOTIONS, gates.mean(0).tolist(), strict=True)),
    )


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else str(file)
