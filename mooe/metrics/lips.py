"""Whether the lips say what is heard."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mooe.face.regions import LIP_PAIRS, LIPS_INNER
from mooe.metrics.phones import PhoneTime
from mooe.metrics.tracks import FaceTracks

Track = NDArray[np.floating]

_UPPER_LIP, _LOWER_LIP = 13, 14
_RATIO_PAIRS = (2, 4, 6)  # of the nine pairs of inner-lip points
_SHUT_BELOW = 0.35  # of the clip's 90th percentile
_REACH = 2  # frames
_FOREIGN_SHIFT = 0.7  # seconds
LEAK_RATIO = 0.25  # of height to width from which on KeySync's LipLeak counts a mouth as open
OPEN_GAP = 0.05  # eye distances between lips that are seen as parted: .35 of a usual 90th percentile of talking


def lip_gap(tracks: FaceTracks) -> NDArray[np.float32]:
    """Distance [F] of the inner lips' middles (landmarks 13, 14) over that of the outer eye corners."""
    points = tracks.landmarks[..., :2]
    gap = np.linalg.norm(points[:, _UPPER_LIP] - points[:, _LOWER_LIP], axis=1)
    return np.asarray(gap / np.maximum(tracks.eye_distance(), 1e-6), np.float32)


def mouth_aspect_ratio(tracks: FaceTracks) -> NDArray[np.float32]:
    """Height of the gap between the inner lips over its width, [F]: three heights (Bigata et al., KeySync, 2025)."""
    points = tracks.landmarks[..., :2]
    upper, lower = ([LIP_PAIRS[k][side] for k in _RATIO_PAIRS] for side in (0, 1))
    heights = np.linalg.norm(points[:, upper] - points[:, lower], axis=2).mean(1)
    width = np.linalg.norm(points[:, LIPS_INNER[0]] - points[:, LIPS_INNER[10]], axis=1)
    return np.asarray(heights / np.maximum(width, 1e-6), np.float32)


@dataclass(frozen=True)
class Closure:
    """How often the lips shut where they must.

    Attributes:
        shut, of: number of p, b, m with shut lips, and of all of them.
        shut_foreign, of_foreign: the same with the times shifted, that is, by chance.
    """

    shut: int
    of: int
    shut_foreign: int
    of_foreign: int

    @property
    def rate(self) -> float:
        return self.shut / self.of if self.of else float("nan")

    @property
    def chance(self) -> float:
        return self.shut_foreign / self.of_foreign if self.of_foreign else float("nan")

    def __add__(self, other: Closure) -> Closure:
        return Closure(
            self.shut + other.shut,
            self.of + other.of,
            self.shut_foreign + other.shut_foreign,
            self.of_foreign + other.of_foreign,
        )


def lip_closure(gap: Track, phones: Sequence[PhoneTime], fps: float = 25.0) -> Closure:
    """Count the p, b, m on which the lips are shut.

    Shut means: within 2 frames of the phone's middle the gap falls under .35 of the clip's 90th percentile.
    Chance is the same for the times shifted by .7 s both ways, as far as they stay in the clip.

    Args:
        gap: [F] from :func:`lip_gap`.
        phones: phone times of the clip's speech.
        fps: frames a second.
    """
    limit = _SHUT_BELOW * float(np.percentile(gap, 90))
    middles = np.array([phone.middle for phone in phones if phone.is_bilabial])
    foreign = np.concatenate([middles - _FOREIGN_SHIFT, middles + _FOREIGN_SHIFT])
    own_hits, foreign_hits = _shut_at(gap, middles * fps, limit), _shut_at(gap, foreign * fps, limit)
    return Closure(int(own_hits.sum()), len(own_hits), int(foreign_hits.sum()), len(foreign_hits))


def _shut_at(gap: Track, places: NDArray[np.float64], limit: float) -> NDArray[np.bool_]:
    """Whether the gap falls under the limit near each place (in frames) that lies in the clip."""
    frames = np.floor(places).astype(int)
    frames = frames[(frames >= 0) & (frames < len(gap))]
    return np.array([gap[max(i - _REACH, 0) : i + _REACH + 1].min() < limit for i in frames], bool)


@dataclass(frozen=True)
class Lag:
    """Cross-correlation peak.

    Attributes:
        frames: how much later than expected the lips move, to a fraction of a frame (negative: earlier).
        correlation: Pearson's r there.
    """

    frames: float
    correlation: float


def lip_lag(pairs: Iterable[tuple[Track, Track]], longest: int = 12) -> Lag:
    """Lag of measured behind expected tracks, pooled over clips.

    Args:
        pairs: (measured [F], expected [F]) of each clip, such as :func:`lip_gap` and ``expected_opening``.
        longest: longest lag looked at, in frames; shorter clips are left out.

    Raises:
        ValueError: no clip is long enough.
    """
    lags = range(-longest, longest + 1)
    cross, power_measured, power_expected = (np.zeros(len(lags)) for _ in range(3))
    for measured, expected in pairs:
        length = min(len(measured), len(expected))
        if length < 3 * longest:
            continue
        a = np.asarray(measured[:length], np.float64) - np.mean(measured[:length])
        b = np.asarray(expected[:length], np.float64) - np.mean(expected[:length])
        scale = max(float(b.std()), 1e-9) / max(float(a.std()), 1e-9)  # clips count alike, wide mouths or not
        for index, lag in enumerate(lags):
            x = scale * a[max(lag, 0) : length + min(lag, 0)]
            y = b[max(-lag, 0) : length - max(lag, 0)]
            cross[index] += x @ y
            power_measured[index] += x @ x
            power_expected[index] += y @ y
    if not power_expected.any():
        raise ValueError(f"No clip has {3 * longest} frames: give longer clips.")
    correlation = cross / np.sqrt(np.maximum(power_measured * power_expected, 1e-18))
    best = int(correlation.argmax())
    offset = 0.0
    if 0 < best < len(lags) - 1:
        before, peak, after = (float(value) for value in correlation[best - 1 : best + 2])
        bend = before - 2 * peak + after
        offset = 0.5 * (before - after) / bend if bend < 0 else 0.0
    return Lag(float(lags[best]) + offset, float(correlation[best]))


@dataclass(frozen=True)
class Silence:
    """The mouth while nobody speaks.

    Attributes:
        frames: how many frames were looked at.
        gap: mean lip gap in eye distances.
        opened: mean lip gap as a share of the clip's 90th percentile.
        movement: standard deviation of the lip gap in eye distances.
    """

    frames: int
    gap: float
    opened: float
    movement: float


def mouth_in_silence(gap: Track, silent: NDArray[np.bool_]) -> Silence | None:
    """The lip gap [F] over the silent frames (bool [F]); None when there are none."""
    length = min(len(gap), len(silent))
    quiet = gap[:length][silent[:length]]
    if not len(quiet):
        return None
    wide = max(float(np.percentile(gap, 90)), 1e-6)
    return Silence(len(quiet), float(quiet.mean()), float(quiet.mean()) / wide, float(quiet.std()))


def open_share(gap: Track, quiet: NDArray[np.bool_] | None = None) -> float:
    """Share of the frames on which the mouth is open, such as while nobody speaks (LipLeak; nan without frames).

    Args:
        gap: [F] from :func:`lip_gap`.
        quiet: frames that count, bool [F]; all if None.
    """
    seen = gap if quiet is None else gap[: len(quiet)][quiet[: len(gap)]]
    return float(np.mean(seen > OPEN_GAP)) if len(seen) else float("nan")


def lip_leak(tracks: FaceTracks, quiet: NDArray[np.bool_] | None = None) -> float:
    """LipLeak: share of the frames that count (bool [F]; all if None) whose mouth is open as if it spoke."""
    ratio = mouth_aspect_ratio(tracks)
    seen = ratio if quiet is None else ratio[: len(quiet)][quiet[: len(ratio)]]
    return float(np.mean(seen > LEAK_RATIO)) if len(seen) else float("nan")
