"""`mooe evaluate VIDEO --audio A`: lips, lids and head of a talking video, from its speech and a face tracker."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mooe.errors import AudioError

if TYPE_CHECKING:
    from mooe.metrics.phones import PhoneTime
    from mooe.metrics.tracks import FaceTracks


def evaluate_speech(
    video: Path, audio: Path, phones: Path | None = None, tracks: FaceTracks | None = None
) -> dict[str, Any]:
    """Measure a talking video.

    Args:
        video: a video of one face.
        audio: a file with its speech.
        phones: its phone times (see :func:`mooe.metrics.phones.load_phone_times`); if None, those beside ``audio`` in a
            file of the same name ending in .json, or else those that hama's recogniser hears.
        tracks: of the video's face, where they are known already.

    Returns:
        Groups of figures: ``lips`` (lag in frames, positive is late; correlation at that lag and at 0; share of p, b, m
        with shut lips, and by chance), ``sync`` (the offset at which a network of ours finds mouth and sound to belong
        together, in frames, positive is late; how much nearer they are there than elsewhere; their distance as they
        are), ``silence`` (frames, share with an open mouth, LipLeak, mean gap and its deviation in eye distances),
        ``blinks``, ``jitter``, ``head`` and ``beats``. What cannot be measured is None.

    Raises:
        MooeError: a file cannot be read, or no face is found.
    """
    from mooe.audio import SAMPLE_RATE, load_audio
    from mooe.media import read_video
    from mooe.metrics.phones import MIDDLE_DELAY, load_phone_times, phone_spans, recognise_phone_times, silent_frames
    from mooe.metrics.tracks import track_frames

    waveform = load_audio(audio)
    if tracks is None:
        with read_video(video) as film:
            tracks = track_frames(film, film.info.fps)
    labels = _labels_beside(audio) if phones is None else load_phone_times(phones)
    spoken = labels or phone_spans(recognise_phone_times(waveform, delay=MIDDLE_DELAY), len(waveform) / SAMPLE_RATE)
    quiet = silent_frames(spoken, len(tracks), tracks.fps)
    return _finite(
        {
            "phones": "labels" if labels else "recogniser",
            "seconds": len(tracks) / tracks.fps,
            "faces_found": float(tracks.found.mean()),
            "lips": _lips(tracks, spoken),
            "sync": _sync(tracks, waveform),
            "silence": _silence(tracks, quiet),
            **_motion(tracks),
            "beats": _beats(tracks, waveform),
        }
    )


def _labels_beside(audio: Path) -> list[PhoneTime] | None:
    """Phone times in a .json of the same name; None where there is none, or it is something else, such as a report."""
    from mooe.metrics.phones import load_phone_times

    try:
        return load_phone_times(audio.with_suffix(".json"))
    except AudioError:
        return None


def figures_table(figures: dict[str, Any]) -> str:
    """The figures as lines of text."""
    lines = []
    for name, value in figures.items():
        group = value if isinstance(value, dict) else {"": value}
        lines += [f"{f'{name} {inner}'.strip():<28} {_shown(figure)}" for inner, figure in group.items()]
    return "\n".join(lines)


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return " ".join(map(_shown, value)) if isinstance(value, list | tuple) else "-" if value is None else str(value)


def _lips(tracks: FaceTracks, spoken: list[PhoneTime]) -> dict[str, Any]:
    import numpy as np

    from mooe.metrics.lips import lip_closure, lip_gap, lip_lag
    from mooe.metrics.phones import expected_opening

    gap = lip_gap(tracks)
    expected = expected_opening(spoken, len(gap), tracks.fps)
    closure = lip_closure(gap, spoken, tracks.fps)
    figures: dict[str, Any] = dict.fromkeys(("lag_frames", "correlation_at_lag", "correlation"))
    if min(gap.std(), expected.std()) > 1e-6:
        figures["correlation"] = float(np.corrcoef(gap, expected)[0, 1])
        try:
            lag = lip_lag([(gap, expected)])
        except ValueError:  # shorter than three times the longest lag
            pass
        else:
            figures |= {"lag_frames": lag.frames, "correlation_at_lag": lag.correlation}
    shut = {"shut_on_pbm": closure.rate, "shut_by_chance": closure.chance, "pbm": closure.of}
    return {**figures, **shut, "gap_p90": float(np.percentile(gap, 90))}


def _sync(tracks: FaceTracks, waveform: Any) -> dict[str, Any]:
    from mooe.metrics.sync import measure_sync

    found = measure_sync(tracks, waveform)
    return dict.fromkeys(("offset_frames", "confidence", "distance")) if found is None else asdict(found)


def _silence(tracks: FaceTracks, quiet: Any) -> dict[str, Any]:
    from mooe.metrics.lips import lip_gap, lip_leak, mouth_in_silence, open_share

    gap = lip_gap(tracks)
    found = mouth_in_silence(gap, quiet)
    if found is None:
        return {"frames": 0, **dict.fromkeys(("open_share", "lip_leak", "gap", "movement"))}
    return {
        "frames": found.frames, "open_share": open_share(gap, quiet), "lip_leak": lip_leak(tracks, quiet),
        "gap": found.gap, "movement": found.movement,
    }  # fmt: skip


def _motion(tracks: FaceTracks) -> dict[str, Any]:
    from mooe.metrics.motion import count_blinks, head_motion, jitter

    blinks = count_blinks(tracks)
    try:
        trembling: dict[str, Any] = asdict(jitter(tracks))
    except ValueError:  # too short for the filter
        trembling = {"rigid": None, "mouth": None}
    return {
        "blinks": {"per_minute": blinks.per_minute, "closure": blinks.closure, "count": len(blinks.frames)},
        "jitter": trembling,
        "head": asdict(head_motion(tracks)),
    }


def _beats(tracks: FaceTracks, waveform: Any) -> dict[str, Any] | None:
    from mooe.metrics.beats import beat_alignment, head_beats, sound_beats

    found = beat_alignment(head_beats(tracks), sound_beats(waveform))
    return None if found is None else asdict(found)


def _finite(content: Any) -> Any:
    """The same with None for what is not a number, which JSON does not know."""
    import math

    if isinstance(content, dict):
        return {name: _finite(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
