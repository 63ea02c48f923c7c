"""Clips for the measurements: made by the command line of mooe when they are missing, judged once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mooe.media import read_image, read_video
from mooe.metrics import ClipJudge, ClipJudgement, FaceTracks

_COMMAND = (sys.executable, "-c", "from mooe.cli import main; main()", "generate")
_TRACKS = ("landmarks", "blendshapes", "rotations", "found")
_JUDGE_VERSION = 1  # raise it when a judge changes, and clips are judged anew


@dataclass(frozen=True)
class ClipSpec:
    """What to generate; `options` are further arguments of ``mooe generate``."""

    portrait: Path
    speech: Path
    emotions: tuple[tuple[str, float], ...] = ()
    seed: int = 0
    options: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        emotion = "+".join(f"{name}{weight:g}" for name, weight in self.emotions) or "neutral"
        options = "".join(self.options).replace("/", "_")
        return f"{self.portrait.stem}__{self.speech.stem}__{emotion}__s{self.seed}{options}"


class ClipFolder:
    """Clips of one folder, by the name of what they show.

    Args:
        folder: where the clips, their reports and judgements lie.
        size: side of the frames in pixels.
        generate: whether missing clips are made.
        options: further arguments of ``mooe generate`` for every clip.
    """

    def __init__(self, folder: Path, *, size: int, generate: bool, options: tuple[str, ...] = ()) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.size = folder, size
        self._generate, self._options = generate, options
        self._judge: ClipJudge | None = None

    def video(self, spec: ClipSpec, *, again: str = "") -> Path | None:
        """The clip, made if need be; None when it is missing and shall not or could not be made.

        Args:
            spec: what it shows.
            again: a mark for another rendering of the same clip.
        """
        path = self.folder / f"{spec.name}{again}.mp4"
        if path.exists() or not self._generate:
            return path if path.exists() else None
        arguments = [*_COMMAND, "--portrait", str(spec.portrait), "--audio", str(spec.speech)]
        for name, weight in spec.emotions:
            arguments += ["--emotion", f"{name}:{weight:g}"]
        arguments += ["--seed", str(spec.seed), "--size", str(self.size), *self._options, *spec.options]
        arguments += ["--report", str(path.with_suffix(".json")), "--force", "--out", str(path)]
        print(f"making {path.name}", flush=True)
        done = subprocess.run(arguments, capture_output=True, text=True)
        if done.returncode:
            print(f"  failed ({done.returncode}): {done.stderr.strip()[-600:]}", flush=True)
            return None
        return path

    def report(self, spec: ClipSpec, *, again: str = "") -> dict[str, Any] | None:
        """What ``--report`` wrote for the clip."""
        path = self.video(spec, again=again)
        if path is None or not path.with_suffix(".json").exists():
            return None
        content: dict[str, Any] = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        return content

    def judgement(self, spec: ClipSpec) -> ClipJudgement | None:
        """The judgement on the clip, made once."""
        path = self.video(spec)
        if path is None:
            return None
        stored, stamp = path.with_suffix(".judged.npz"), path.stat()
        key = f"{_JUDGE_VERSION} {stamp.st_size} {stamp.st_mtime_ns}"
        if stored.exists():
            with np.load(stored) as data:
                if str(data["key"]) == key:
                    tracks = FaceTracks(**{name: data[name] for name in _TRACKS}, fps=float(data["fps"]))
                    return ClipJudgement(tracks, data["emotions"], data["identities"], data["changes"])
        print(f"judging {path.name}", flush=True)
        self._judge = self._judge or ClipJudge()
        with read_video(path) as video:
            judged = self._judge.judge(video, read_image(spec.portrait), video.info.fps)
        arrays = {name: getattr(judged.tracks, name) for name in _TRACKS}
        arrays |= {name: getattr(judged, name) for name in ("emotions", "identities", "changes")}
        np.savez_compressed(stored, key=np.array(key), fps=np.array(judged.tracks.fps), **arrays)
        return judged


def repeated_speech(speech: Path, seconds: float, folder: Path) -> Path:
    """The speech repeated to so many seconds, as a WAV file in the folder."""
    from mooe.audio import SAMPLE_RATE, load_audio

    path = folder / f"{speech.stem}_{seconds:g}s.wav"
    if not path.exists():
        samples = np.resize(load_audio(speech), round(seconds * SAMPLE_RATE))
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(SAMPLE_RATE)
            file.writeframes((samples.clip(-1, 1) * 32767).astype("<i2").tobytes())
    return path


def silence(seconds: float, folder: Path) -> Path:
    """A WAV file without sound."""
    path = folder / f"silence_{seconds:g}s.wav"
    if not path.exists():
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16000)
            file.writeframes(bytes(2 * round(seconds * 16000)))
    return path


def be_polite() -> None:
    """Run at low priority, and so everything that is started from here."""
    if os.nice(0) < 10:
        os.nice(10)
