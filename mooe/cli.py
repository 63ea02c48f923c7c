"""The console script `mooe`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated

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
from mooe.commands.generating import Request, generate_clip
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
from mooe.commands.terminal import BooksOption, native_logs_hidden
from mooe.errors import MooeError

SWITCH_SECONDS = 3e-4  # after which threads hand over Python's lock
app = typer.Typer(
    name="mooe",
    help="Talking-portrait video with emotion.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


app.command()(inspect)
app.command()(demo)


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
    books: BooksOption = None,
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
        emotion_scale, face, size, not no_paste_back, books, report, force, model, lora or [],
        HeadOptions(head_motion, blink_rate, pose_from), resume,
        EmotionOptions(prompt, emotion_from_voice, au or (), arkit or (), timeline), MotionOutputs(gates, export),
    )  # fmt: skip
    with native_logs_hidden():
        generate_clip(request)


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
    # Sampling and drawing take turns at Python's lock some thousand times a second of film; with the usual 5 ms of
    # patience that cost a tenth of the time.
    sys.setswitchinterval(SWITCH_SECONDS)
    # So that a `kill` cleans up as Ctrl-C does.
    signal.signal(signal.SIGTERM, _stop)
    sys.exit(run(sys.argv[1:]))
