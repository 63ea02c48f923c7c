"""The console script `mooe`."""

from __future__ import annotations

import math
import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mooe.commands import evaluate, reenact
from mooe.commands.demo import demo
from mooe.commands.emotion_options import (
    ActionUnitOption,
    ArkitOption,
    EmotionOptions,
    ExportOption,
    GatesOption,
    MotionOutputs,
    PromptOption,
    TimelineOption,
    VoiceOption,
)
from mooe.commands.inspect import inspect
from mooe.commands.lora import LoraOption
from mooe.commands.speech_options import (
    AudioOption,
    BlinkRateOption,
    HeadMotionOption,
    HeadOptions,
    LanguageOption,
    PoseFromOption,
    ResumeOption,
    SpeechOptions,
    TextOption,
    VoiceNameOption,
)
from mooe.commands.terminal import MAX_VIDEO_SIDE, check_size, native_logs_hidden
from mooe.errors import ConfigError, MooeError, OutputError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from mooe.audio import Speech
    from mooe.audio.source import SpeechSource
    from mooe.pipeline import MoEEChunk, MoEEPipeline, MoEEStream
    from mooe.report import StageClock

MAX_SEED = 2**63 - 1

app = typer.Typer(
    name="mooe",
    help="Talking-portrait video with emotion.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


app.command()(inspect)
app.command()(demo)


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
            "lora": self.lora,
            **self.speech.settings(),
            **self.head.settings(),
            **self.controls.settings(),
            **self.chosen_sampling(),
        }


    def job(self) -> dict[str, Any]:
        """All that decides the result's bytes, for --resume."""
        from mooe.commands.resuming import fingerprint
        from mooe.report import versions

        files = {"portrait": self.portrait, "audio": self.speech.audio, "pose_from": self.head.pose_from}
        contents = {f"{name}_sha256": fingerprint(path) for name, path in files.items()}
        settings = {name: value for name, value in self.settings().items() if name != "pose_from"}
        return {**settings, **contents, "face": self.face, "model": self.model, "versions": versions()}


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
    out: Annotated[Path, typer.Option(help="The video to make, ending in .mp4.")],
    audio: AudioOption = None,
    text: TextOption = None,
    voice: VoiceNameOption = None,
    language: LanguageOption = None,
    emotion: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[:WEIGHT]",
            help="neutral, happy, sad, angry, disgusted, fearful, surprised, a compound such as happily_surprised, or "
            "contempt, weight 0 to 1; several mix.",
        ),
    ] = None,
    intensity: Annotated[float, typer.Option(help="Factor on all emotion weights, 0 to 1.")] = 1.0,
    prompt: PromptOption = None,
    emotion_from_voice: VoiceOption = False,
    au: ActionUnitOption = None,
    arkit: ArkitOption = None,
    timeline: TimelineOption = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same video.")] = 0,
    steps: Annotated[int | None, typer.Option(help="Denoising steps [default: the model's own].")] = None,
    audio_scale: Annotated[
        float | None, typer.Option(help="Guidance scale of the speech, 0 to 10 [default: the model's own].")
    ] = None,
    emotion_scale: Annotated[
        float | None, typer.Option(help="Guidance scale of the emotion, 0 to 10 [default: the model's own].")
    ] = None,
    head_motion: HeadMotionOption = None,
    blink_rate: BlinkRateOption = None,
    pose_from: PoseFromOption = None,
    face: Annotated[int, typer.Option(help="Which face, if there are several: 0 is the largest.")] = 0,
    size: Annotated[int, typer.Option(help="Side of the animated head crop in pixels, 128 to 1024.")] = 256,
    no_paste_back: Annotated[
        bool, typer.Option("--no-paste-back", help="Give the head crop, not the full picture.")
    ] = False,
    report: Annotated[Path | None, typer.Option(help="Write times, memory and versions to this .json.")] = None,
    resume: ResumeOption = False,
    gates: GatesOption = None,
    export: ExportOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace existing results.")] = False,
    model: Annotated[
        str | None, typer.Option(help="A folder or hub name of other weights, or 'debug' [default: built in].")
    ] = None,
    lora: LoraOption = None,
) -> None:
    """Make a talking video from a portrait and speech."""
    request = Request(
        portrait, SpeechOptions(audio, text, voice, language), out, emotion or [], intensity, seed, steps, audio_scale,
        emotion_scale, face, size, not no_paste_back, report, force, model, lora or [],
        HeadOptions(head_motion, blink_rate, pose_from), resume,
        EmotionOptions(prompt, emotion_from_voice, au or (), arkit or (), timeline), MotionOutputs(gates, export),
    )  # fmt: skip
    with native_logs_hidden():
        _generate(request)


app.command("evaluate")(evaluate.evaluate)
app.command("reenact")(reenact.reenact)


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

    with native_logs_hidden():
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

        from mooe.audio.source import open_speech
        from mooe.media import read_image, shrink_to
    with clock.stage("reading"):
        image = shrink_to(read_image(request.portrait), MAX_VIDEO_SIDE)
    with clock.stage("speaking" if request.speech.text else "reading"):
        speech = request.speech.speech()
        source = open_speech(speech)
    with clock.stage("loading"):
        pipeline = _load_pipeline(request.model, request.lora)
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
        on_frames(len(chunk.frames))

    if clip is None:
        write_video(request.out, stream, speech, clock, on_chunk, force=request.force)
    else:
        write_in_parts(
            request.out, stream, speech, clock, on_chunk, force=request.force, clip=clip, progress=gates.state
        )
    clock.seconds.update(stream.timings)
    recorder.write(lambda: stream.audio)
    return gates.means(source.num_frames)


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
