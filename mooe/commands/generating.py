"""What `mooe generate` does once its options are read."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mooe.commands.emotion_options import EmotionOptions, MotionOutputs
from mooe.commands.speech_options import HeadOptions, SpeechOptions
from mooe.commands.terminal import MAX_VIDEO_SIDE, books_wanted, check_size
from mooe.errors import ConfigError, OutputError
from mooe.memory import keep_freed_memory

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from mooe.audio import Speech
    from mooe.audio.source import SpeechSource
    from mooe.pipeline import MoEEChunk, MoEEPipeline, MoEEStream
    from mooe.report import StageClock

MAX_SEED = 2**63 - 1


@dataclass(frozen=True)
class Request:
    """What `mooe generate` was asked for."""

    portrait: Path
    speech: SpeechOptions
    out: Path
    emotion: list[str]
    intensity: float
    seed: int
    steps: int | None
    audio_scale: float | None
    emotion_scale: float | None
    face: int
    size: int
    paste_back: bool
    books: bool | None
    report: Path | None
    force: bool
    model: str | None
    lora: list[str]
    head: HeadOptions
    resume: bool
    controls: EmotionOptions
    motion: MotionOutputs

    def check(self) -> None:
        """Refuse what cannot work, before anything slow starts (raises MooeError)."""
        from mooe.commands.lora import parse_lora
        from mooe.media.outputs import check_output

        self.controls.check(self.emotion, self.intensity)
        for wish in self.lora:
            parse_lora(wish)
        if not 0 <= self.seed <= MAX_SEED:
            raise ConfigError(f"--seed {self.seed} cannot be used: give a whole number from 0 to 2^63 - 1.")
        if self.steps is not None and not 1 <= self.steps <= 1000:
            raise ConfigError(f"--steps {self.steps} cannot be used: give 1 to 1000.")
        for option, scale in (("--audio-scale", self.audio_scale), ("--emotion-scale", self.emotion_scale)):
            if scale is not None and not (math.isfinite(scale) and 0 <= scale <= 10):
                raise ConfigError(f"{option} {scale} cannot be used: give a number from 0 to 10.")
        check_size(self.size)
        self.speech.check()
        self.head.check()
        for target in filter(None, (self.out, self.report, *self.motion.paths())):
            for source in filter(None, (self.portrait, self.speech.audio, self.head.pose_from)):
                if _same_file(source, target):
                    raise OutputError(f"{target} is read and written at once: choose another name for the result.")
        check_output(self.out, ".mp4", force=self.force)
        if self.report is not None:
            check_output(self.report, ".json", force=self.force)
        self.motion.check(force=self.force)
        if self.resume and self.motion.paths():
            raise ConfigError("--gates and --export need the clip in one go: leave out --resume, or make them apart.")

    def chosen_sampling(self) -> dict[str, Any]:
        """The sampling arguments that were given; the pipeline has its own defaults for the others."""
        given = {
            "num_inference_steps": self.steps,
            "audio_scale": self.audio_scale,
            "emotion_scale": self.emotion_scale,
        }
        return {name: value for name, value in given.items() if value is not None}

    def settings(self) -> dict[str, Any]:
        """What the report repeats."""
        return {
            "seed": self.seed,
            "emotion": self.emotion or ["neutral"],
            "intensity": self.intensity,
            "size": self.size,
            "paste_back": self.paste_back,
            "books": books_wanted(self.books),
            "lora": self.lora,
            **self.speech.settings(),
            **self.head.settings(),
            **self.controls.settings(),
            **self.chosen_sampling(),
        }

    def job(self) -> dict[str, Any]:
        """All that decides the result's bytes, for --resume."""
        from mooe.commands.lora import parse_lora
        from mooe.commands.resuming import fingerprint
        from mooe.report import versions

        files = {
            "portrait": self.portrait,
            "audio": self.speech.audio,
            "pose_from": self.head.pose_from,
            "timeline": self.controls.timeline,
        }
        contents: dict[str, Any] = {f"{name}_sha256": fingerprint(path) for name, path in files.items()}
        contents["lora_sha256"] = [fingerprint(Path(parse_lora(wish)[0])) for wish in self.lora]
        settings = {name: value for name, value in self.settings().items() if name != "pose_from"}
        return {**settings, **contents, "face": self.face, "model": self.model, "versions": versions()}


def generate_clip(request: Request) -> None:
    """Make the clip, its report, and say so."""
    request.check()
    warnings.filterwarnings("ignore")
    keep_freed_memory()
    with _progress() as progress:
        task = progress.add_task("starting", total=None)

        def show(stage: str) -> None:
            progress.update(task, description=stage)

        from mooe.report import StageClock

        clock = StageClock(on_start=show)
        frames, audio_seconds, gates = _make_clip(request, clock, progress, task)
        progress.update(task, description="done")
    total = clock.total
    if request.report is not None:
        from mooe.media.outputs import write_json
        from mooe.report import build_report

        content = build_report(
            audio_seconds=audio_seconds,
            frames=frames,
            stages=clock.seconds,
            total_seconds=total,
            loading_seconds=clock.seconds["loading"],
            settings=request.settings(),
            gate_means=gates,
        )
        write_json(request.report, content)
    print(f"{request.out}: {frames} frames, {audio_seconds:.1f} s of speech, made in {total:.1f} s")


def _make_clip(
    request: Request, clock: StageClock, progress: Progress, task: TaskID
) -> tuple[int, float, dict[str, float]]:
    """Run the pipeline into a file; gives the number of frames, the seconds of speech, the mean of each gate."""
    with clock.stage("loading"):
        import mediapipe.tasks.python.vision  # noqa: F401 (the tracker's library: loaded here, not while it works)
        import torch

        from mooe.audio.source import open_speech
        from mooe.decoder.kernels import load_kernels
        from mooe.media import read_image, shrink_to

        load_kernels()
    with clock.stage("reading"):
        image = shrink_to(read_image(request.portrait), MAX_VIDEO_SIDE)
    with clock.stage("speaking" if request.speech.text else "reading"):
        speech = request.speech.speech()
        source = open_speech(speech)
    with clock.stage("loading"):
        pipeline = _load_pipeline(request.model, request.lora, books_wanted(request.books))
    with clock.stage("portrait"):
        portrait = pipeline.encode_portrait(image, face_index=request.face, size=request.size)
        head = request.head.arguments()

    def start(state: dict[str, Any] | None) -> MoEEStream:
        return pipeline.stream(
            portrait,
            source,
            emotion=request.emotion,
            intensity=request.intensity,
            **request.controls.arguments(),
            paste_back=request.paste_back,
            generator=torch.Generator().manual_seed(request.seed),
            state=state,
            ahead=True,
            **head,
            **request.chosen_sampling(),
        )

    progress.update(task, description="animating", total=source.num_frames)

    def advance(count: int) -> None:
        progress.update(task, advance=count, description="animating")

    gate_means = _write_video(request, start, speech, source, clock, advance)
    return source.num_frames, source.seconds, gate_means


def _write_video(
    request: Request,
    start: Callable[[dict[str, Any] | None], MoEEStream],
    speech: Path | Speech,
    source: SpeechSource,
    clock: StageClock,
    on_frames: Callable[[int], None],
) -> dict[str, float]:
    """Write the chunks as they are made; gives the mean of each gate."""
    from mooe.commands.resuming import ResumableClip
    from mooe.commands.writing import GateMeans, write_in_parts, write_video

    clip = ResumableClip(request.out, request.job()) if request.resume else None
    begun = clip.state if clip else None
    gates = GateMeans(begun["progress"] if begun else None)
    stream = start(begun["stream"] if begun else None)
    on_frames(int(begun["stream"]["position"]) if begun else 0)

    for note in stream.notes:
        print("mooe:", note, file=sys.stderr)
    recorder = request.motion.recorder()

    def on_chunk(chunk: MoEEChunk) -> None:
        gates.add(chunk)
        recorder.add(chunk)
        on_frames(len(chunk.motion))

    if clip is None:
        write_video(request.out, stream, speech, clock, on_chunk, force=request.force)
    else:
        write_in_parts(
            request.out, stream, speech, clock, on_chunk, force=request.force, clip=clip, progress=gates.state
        )
    clock.seconds.update(stream.timings)
    recorder.write(lambda: stream.audio)
    return gates.means(source.num_frames)


def _load_pipeline(model: str | None, loras: Sequence[str] = (), books: bool = True) -> MoEEPipeline:
    import diffusers
    import transformers

    from mooe.commands.lora import load_loras, parse_lora
    from mooe.pipeline import MoEEPipeline

    for library in (diffusers, transformers):
        library.logging.set_verbosity_error()
        library.logging.disable_progress_bar()
    pipeline = MoEEPipeline.from_pretrained(model)
    load_loras(pipeline, [parse_lora(lora) for lora in loras])
    if not books:
        pipeline.register_modules(compensator=None)
    return pipeline


def _same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return False


def _progress() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(file=sys.stderr)
    return Progress(
        TextColumn("{task.description:<10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("frames"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
