"""Options of `mooe generate` about speech and head: where the speech comes from, how head and lids move."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from mooe.errors import ConfigError

if TYPE_CHECKING:
    from mooe.audio import Speech

AudioOption = Annotated[Path | None, typer.Option(help="The speech: WAV, MP3, M4A, or a video with sound.")]
TextOption = Annotated[str | None, typer.Option(help="What to say, instead of --audio (needs the extra tts).")]
VoiceNameOption = Annotated[
    str | None,
    typer.Option(
        "--voice", help="Who says the text: such as af_heart, am_michael, bf_emma; 'espeak' speaks any language."
    ),
]
LanguageOption = Annotated[
    str | None, typer.Option(help="Language of the text, such as en-us, en-gb, es, fr-fr, hi, it or pt-br.")
]
HeadMotionOption = Annotated[
    float | None, typer.Option(help="Gain of the head's motion, 0 to 3: 0 holds still [default: 1].")
]
BlinkRateOption = Annotated[float | None, typer.Option(help="Blinks a minute, 0 to 60 [default: 18].")]
PoseFromOption = Annotated[
    Path | None, typer.Option(help="A video whose head motion the head shall follow; short ones go back and forth.")
]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Keep finished parts; after a stop, the same command goes on.")
]


@dataclass(frozen=True)
class SpeechOptions:
    """Where the speech comes from."""

    audio: Path | None = None
    text: str | None = None
    voice: str | None = None
    language: str | None = None

    def check(self) -> None:
        """Refuse what cannot work, before anything slow starts (raises ConfigError)."""
        if (self.audio is None) == (self.text is None):
            raise ConfigError("Give either --audio with a recording or --text with what to say, and not both.")
        if self.text is None and (self.voice is not None or self.language is not None):
            raise ConfigError("--voice and --language belong to --text: leave them out with --audio.")

    def settings(self) -> dict[str, Any]:
        """What the report repeats."""
        given = {"text": self.text, "voice": self.voice, "language": self.language}
        return {name: value for name, value in given.items() if value is not None}

    def speech(self) -> Path | Speech:
        """The recording, or the text spoken."""
        if self.audio is not None:
            return self.audio
        from mooe.audio import speak

        return speak(self.text or "", self.voice, self.language)


@dataclass(frozen=True)
class HeadOptions:
    """How head and lids move."""

    head_motion: float | None = None
    blink_rate: float | None = None
    pose_from: Path | None = None

    def check(self) -> None:
        """Refuse what cannot work (raises ConfigError)."""
        for option, value, most in (("--head-motion", self.head_motion, 3), ("--blink-rate", self.blink_rate, 60)):
            if value is not None and not (math.isfinite(value) and 0 <= value <= most):
                raise ConfigError(f"{option} {value} cannot be used: give a number from 0 to {most}.")

    def settings(self) -> dict[str, Any]:
        """What the report repeats."""
        return {name: str(value) if isinstance(value, Path) else value
                for name, value in asdict(self).items() if value is not None}  # fmt: skip

    def arguments(self) -> dict[str, Any]:
        """What the pipeline is given; tracks the video of ``--pose-from``."""
        given = {"head_motion": self.head_motion, "blink_rate": self.blink_rate}
        arguments: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if self.pose_from is not None:
            from mooe.head_track import RecordedHead

            arguments["head_track"] = RecordedHead.from_video(self.pose_from)
        return arguments


def sound_for_listeners(speech: Path | Speech) -> tuple[Iterator[np.ndarray], int]:
    """The speech as it goes into the video, in pieces of float32 [n], and its samples a second.

    Listeners get the full bandwidth; the model hears 16 kHz.
    """
    if isinstance(speech, Path):
        from mooe.audio import iter_audio
        from mooe.media.video import SOUND_RATE

        return iter_audio(speech, chunk_seconds=1.0, sample_rate=SOUND_RATE), SOUND_RATE
    return iter([speech.sound]), speech.sound_rate
