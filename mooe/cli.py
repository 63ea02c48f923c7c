"""The console script `mooe`."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mooe.errors import ConfigError, MooeError, OutputError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from mooe.pipeline import MoEEPipeline, MoEEStream
    from mooe.report import StageClock

MAX_SEED = 2**63 - 1
# Beyond this many pixels a side, players' H.264 decoders give up and encoding outlasts everything else.
MAX_VIDEO_SIDE = 1920
MIN_SIZE, MAX_SIZE, SIZE_STEP = 128, 1024, 8

app = typer.Typer(
    name="mooe",
    help="Talking-portrait video with emotion.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@dataclass(frozen=True)
class Request:
    """What `mooe generate` was asked for."""

    portrait: Path
    audio: Path
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
    report: Path | None
    force: bool
    model: str | None
    lora: list[str]

    def check(self) -> None:
        """Refuse what cannot work, before anything slow starts (raises MooeError)."""
        from mooe.commands.lora import parse_lora
        from mooe.emotion import parse_emotion
        from mooe.media.outputs import check_output

        parse_emotion(self.emotion, self.intensity)
        for wish in self.lora:
            parse_lora(wish)
        if not 0 <= self.seed <= MAX_SEED:
            raise ConfigError(f"--seed {self.seed} cannot be used: give a whole number from 0 to 2^63 - 1.")
        if self.steps is not None and not 1 <= self.steps <= 1000:
            raise ConfigError(f"--steps {self.steps} cannot be used: give 1 to 1000.")
        for option, scale in (("--audio-scale", self.audio_scale), ("--emotion-scale", self.emotion_scale)):
            if scale is not None and not (math.isfinite(scale) and 0 <= scale <= 10):
                raise ConfigError(f"{option} {scale} cannot be used: give a number from 0 to 10.")
        if not MIN_SIZE <= self.size <= MAX_SIZE or self.size % SIZE_STEP:
            raise ConfigError(
                f"--size {self.size} cannot be used: give a multiple of {SIZE_STEP} from {MIN_SIZE} to {MAX_SIZE}."
            )
        for target in filter(None, (self.out, self.report)):
            for source in (self.portrait, self.audio):
                if _same_file(source, target):
                    raise OutputError(f"{target} is read and written at once: choose another name for the result.")
        check_output(self.out, ".mp4", force=self.force)
        if self.report is not None:
            check_output(self.report, ".json", force=self.force)

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
            "lora": self.lora,
            **self.chosen_sampling(),
        }


@app.callback(invoke_without_command=True)
def mooe(version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False) -> None:
    """Talking-portrait video with emotion."""
    if version:
        from mooe import __version__

        print(f"mooe {__version__}")
        raise typer.Exit()


@app.command()
def generate(
    portrait: Annotated[Path, typer.Option(help="The photograph: JPEG, PNG or WebP with a face.")],
    audio: Annotated[Path, typer.Option(help="The speech: WAV, MP3, M4A, or a video with sound.")],
    out: Annotated[Path, typer.Option(help="The video to make, ending in .mp4.")],
    emotion: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[:WEIGHT]",
            help="neutral, happy, sad, angry, disgusted, fearful or surprised, weight 0 to 1; several make a compound.",
        ),
    ] = None,
    intensity: Annotated[float, typer.Option(help="Factor on all emotion weights, 0 to 1.")] = 1.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same video.")] = 0,
    steps: Annotated[int | None, typer.Option(help="Denoising steps [default: the model's own].")] = None,
    audio_scale: Annotated[
        float | None, typer.Option(help="Guidance scale of the speech, 0 to 10 [default: the model's own].")
    ] = None,
    emotion_scale: Annotated[
        float | None, typer.Option(help="Guidance scale of the emotion, 0 to 10 [default: the model's own].")
    ] = None,
    face: Annotated[int, typer.Option(help="Which face, if there are several: 0 is the largest.")] = 0,
    size: Annotated[int, typer.Option(help="Side of the animated head crop in pixels, 128 to 1024.")] = 256,
    no_paste_back: Annotated[
        bool, typer.Option("--no-paste-back", help="Give the head crop, not the full picture.")
    ] = False,
    report: Annotated[Path | None, typer.Option(help="Write times, memory and versions to this .json.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace existing results.")] = False,
    model: Annotated[
        str | None, typer.Option(help="A folder or hub name of other weights, or 'debug' [default: built in].")
    ] = None,
    lora: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE[:WEIGHT]", help="A speaker's way of speaking, weight 0 to 2; several add up."),
    ] = None,
) -> None:
    """Make a talking video from a portrait and speech."""
    request = Request(
        portrait, audio, out, emotion or [], intensity, seed, steps, audio_scale, emotion_scale, face, size,
        not no_paste_back, report, force, model, lora or [],
    )  # fmt: skip
    with _native_logs_hidden():
        _generate(request)


@app.command()
def doctor(
    plan: Annotated[str | None, typer.Option(help="Estimate memory and speed of a larger size instead: svd.")] = None,
) -> None:
    """Tell what is installed, what works, and what to do about the rest."""
    if plan is not None:
        from mooe.commands.plan import make_plan, plan_text

        print(plan_text(make_plan(plan)))
        return
    from mooe.doctor import diagnose

    with _native_logs_hidden():
        diagnosis = diagnose()
    print(diagnosis.text())
    raise typer.Exit(0 if diagnosis.usable else 1)


def _generate(request: Request) -> None:
    request.check()
    warnings.filterwarnings("ignore")
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
        import torch

        from mooe.audio import SAMPLE_RATE, load_audio
        from mooe.media import read_image, shrink_to
    with clock.stage("reading"):
        image = shrink_to(read_image(request.portrait), MAX_VIDEO_SIDE)
        waveform = load_audio(request.audio)
    with clock.stage("loading"):
        pipeline = _load_pipeline(request.model, request.lora)
    with clock.stage("portrait"):
        portrait = pipeline.encode_portrait(image, face_index=request.face, size=request.size)
    stream = pipeline.stream(
        portrait,
        waveform,
        emotion=request.emotion,
        intensity=request.intensity,
        paste_back=request.paste_back,
        generator=torch.Generator().manual_seed(request.seed),
        **request.chosen_sampling(),
    )
    progress.update(task, description="animating", total=stream.num_frames)

    def advance(count: int) -> None:
        progress.update(task, advance=count, description="animating")

    gate_means = _write_video(request, stream, clock, advance)
    clock.seconds.update(stream.timings)
    return stream.num_frames, len(waveform) / SAMPLE_RATE, gate_means


def _write_video(
    request: Request, stream: MoEEStream, clock: StageClock, on_frames: Callable[[int], None]
) -> dict[str, float]:
    """Write the chunks as they are made; gives the mean of each gate."""
    import numpy as np

    from mooe.audio import iter_audio
    from mooe.emotion import EMOTIONS
    from mooe.media import VideoWriter
    from mooe.media.video import SOUND_RATE

    gate_sum = np.zeros(len(EMOTIONS))
    with contextlib.ExitStack() as stack:
        writer: VideoWriter | None = None
        for chunk in stream:
            with clock.stage("video"):
                if writer is None:
                    height, width = chunk.frames[0].shape[:2]
                    writer = VideoWriter(
                        request.out,
                        width,
                        height,
                        # Listeners get the full bandwidth; the model hears 16 kHz.
                        audio=iter_audio(request.audio, chunk_seconds=1.0, sample_rate=SOUND_RATE),
                        sample_rate=SOUND_RATE,
                        force=request.force,
                    )
                    stack.enter_context(writer)
                for frame in chunk.frames:
                    writer.write(frame)
            gate_sum += chunk.gates.sum(0)
            on_frames(len(chunk.frames))
        with clock.stage("video"):
            stack.close()
    return dict(zip(EMOTIONS, (gate_sum / stream.num_frames).tolist(), strict=True))


def _load_pipeline(model: str | None, loras: Sequence[str] = ()) -> MoEEPipeline:
    import diffusers
    import transformers

    from mooe.commands.lora import load_loras, parse_lora
    from mooe.pipeline import MoEEPipeline

    for library in (diffusers, transformers):
        library.logging.set_verbosity_error()
        library.logging.disable_progress_bar()
    pipeline = MoEEPipeline.from_pretrained(model)
    load_loras(pipeline, [parse_lora(lora) for lora in loras])
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


@contextlib.contextmanager
def _native_logs_hidden() -> Iterator[None]:
    """Keep what native libraries log off the terminal; Python's own standard error still gets there.

    MediaPipe writes several lines past Python to the file descriptor, and has no switch for them.
    """
    try:
        descriptor = sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):
        yield
        return
    sys.stderr.flush()
    python_stderr = sys.stderr
    kept = os.dup(descriptor)
    with open(kept, "w", encoding=python_stderr.encoding, errors="backslashreplace", buffering=1) as own:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), descriptor)
        sys.stderr = own
        try:
            yield
        finally:
            own.flush()
            sys.stderr = python_stderr
            os.dup2(kept, descriptor)


def run(arguments: Sequence[str]) -> int:
    """Run the command line and give the exit code: 0, 2 for what the user can mend, 130 for Ctrl-C."""
    try:
        result = app(list(arguments), prog_name="mooe", standalone_mode=False)
    except (MooeError, typer.TyperException) as error:
        return _complain(error.format_message() if isinstance(error, typer.TyperException) else str(error))
    except MemoryError:
        return _complain("There is not enough memory for this: use a smaller picture or a smaller --size.")
    except (ImportError, OSError) as error:
        if "cannot open shared object file" not in str(error):
            raise
        from mooe.doctor import SYSTEM_LIBRARIES

        return _complain(f"A system library is missing ({error}): run '{SYSTEM_LIBRARIES}' or what your system has.")
    except (KeyboardInterrupt, typer.Abort):
        return 130
    return result if isinstance(result, int) else 0


def _complain(message: str) -> int:
    if message:
        sentence = " ".join(message.split())
        print("mooe:", sentence if sentence.endswith((".", "?", "!")) else f"{sentence}.", file=sys.stderr)
    return 2


def _stop(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


def main() -> None:
    """Entry point of the console script."""
    # Threads that spin while they wait cost ten times their work on a busy machine; must be set before torch loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # So that a `kill` cleans up as Ctrl-C does.
    signal.signal(signal.SIGTERM, _stop)
    sys.exit(run(sys.argv[1:]))
