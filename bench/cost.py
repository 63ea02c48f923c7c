"""Speed, memory and repeatability of ``mooe generate``."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from bench.generated import ClipFolder, ClipSpec, repeated_speech
from bench.tables import show


def measure_speed(clips: ClipFolder, portrait: Path, speech: Path, seed: int, seconds: list[float]) -> dict[str, Any]:
    """Real-time factor and peak memory from the reports, for several lengths."""
    result: dict[str, Any] = {}
    for length in seconds:
        spec = ClipSpec(portrait, repeated_speech(speech, length, clips.folder), (), seed)
        report = clips.report(spec)
        if report is not None:
            result[f"{length:g}"] = report
    rows = [
        [length, report["real_time_factor"], report["peak_rss_mb"], _stages(report)]
        for length, report in result.items()
    ]
    show("Cost", ["seconds of speech", "real-time factor", "peak memory, MB", "seconds by stage"], rows)
    return result


def _stages(report: dict[str, Any]) -> str:
    return ", ".join(f"{name} {seconds:.1f}" for name, seconds in report["stages"].items())


def measure_determinism(clips: ClipFolder, portrait: Path, speech: Path, seed: int) -> dict[str, Any]:
    """Whether the same seed gives the same bytes, another one others, and weight 0 those of neutral."""
    neutral = ClipSpec(portrait, speech, (), seed)
    # A rendering of its own: the clips of other sections may come from an older version of the code.
    first = _checksum(clips.video(neutral, again="_first"))
    result = {
        "same seed, same bytes": first == _checksum(clips.video(neutral, again="_again")),
        "weight 0 is neutral": first == _checksum(clips.video(ClipSpec(portrait, speech, (("happy", 0.0),), seed))),
        "intensity 0 is neutral": first
        == _checksum(clips.video(ClipSpec(portrait, speech, (("happy", 1.0),), seed, ("--intensity", "0")))),
        "another seed, other bytes": first != _checksum(clips.video(ClipSpec(portrait, speech, (), seed + 1))),
    }
    show("Determinism", ["", ""], [[law, "yes" if holds else "NO"] for law, holds in result.items()])
    return result


def _checksum(path: Path | None) -> str:
    if path is None:
        return "missing"
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
