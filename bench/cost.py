"""Speed, memory and repeatability of ``mooe generate``."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from bench.generated import ClipFolder, ClipSpec, repeated_speech
from bench.tables import show
from mooe.errors import MooeError


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

    def checksum(weights: tuple[tuple[str, float], ...] = (), other: int = 0, *options: str, again: str = "") -> str:
        path = clips.video(ClipSpec(portrait, speech, weights, seed + other, options), again=again)
        if path is None:
            raise MooeError("A clip for the section determinism is missing: let it be made.")
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    # A rendering of its own: the clips of other sections may come from an older version of the code.
    first = checksum(again="_first")
    result = {
        "same seed, same bytes": first == checksum(again="_again"),
        "weight 0 is neutral": first == checksum((("happy", 0.0),)),
        "intensity 0 is neutral": first == checksum((("happy", 1.0),), 0, "--intensity", "0"),
        "another seed, other bytes": first != checksum((), 1),
    }
    show("Determinism", ["", ""], [[law, "yes" if holds else "NO"] for law, holds in result.items()])
    return result
