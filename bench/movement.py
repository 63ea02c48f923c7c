"""Lips, blinks, jitter, head and seams of generated clips."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bench.generated import ClipFolder, ClipSpec, silence
from bench.tables import show
from mooe.audio import load_audio
from mooe.face.crop import PortraitCrop
from mooe.face.tracker import FaceTracker
from mooe.media import read_image, read_video
from mooe.metrics import ClipJudgement
from mooe.metrics.lips import Closure, lip_closure, lip_gap, lip_lag, mouth_in_silence
from mooe.metrics.motion import accelerations, count_blinks, head_motion, jitter
from mooe.metrics.phones import (
    expected_opening,
    load_phone_times,
    recognise_phone_times,
    silent_frames,
)
from mooe.metrics.seams import boundary_excess, paste_seam
from mooe.motion.sampling import CARRIED, window_starts

_NOTHING = Closure(0, 0, 0, 0)
_SILENCE_SECONDS = 6.0


def measure_lips(
    clips: ClipFolder, portrait: Path, labelled: list[Path], real: list[Path], seed: int
) -> dict[str, Any]:
    """Lag, closures and silence on speech with labels (JSON beside it), closures on real speech."""
    pairs, rows = [], []
    closures = {"labelled": _NOTHING, "real": _NOTHING}
    for speech in [*labelled, *real]:
        judged = clips.judgement(ClipSpec(portrait, speech, (), seed))
        if judged is None:
            continue
        gap = lip_gap(judged.tracks)
        quiet, lag = None, None
        if speech in labelled:
            phones = load_phone_times(speech.with_suffix(".json"))
            expected = expected_opening(phones, len(gap))
            pairs.append((gap, expected))
            lag = lip_lag([(gap, expected)])
            quiet = mouth_in_silence(gap, silent_frames(phones, len(gap)))
        else:
            phones = recognise_phone_times(load_audio(speech))
        closure = lip_closure(gap, phones)
        closures["labelled" if speech in labelled else "real"] += closure
        rows.append(
            {
                "speech": speech.stem,
                "lag": lag and lag.frames,
                "correlation": lag and lag.correlation,
                "shut": closure.rate,
                "shut_by_chance": closure.chance,
                "bilabials": closure.of,
                "gap_p90": float(np.percentile(gap, 90)),
                "silence_opened": quiet and quiet.opened,
                "silence_movement": quiet and quiet.movement,
            }
        )
    pooled = lip_lag(pairs) if pairs else None
    result = {
        "lag_frames": pooled and pooled.frames,
        "lag_correlation": pooled and pooled.correlation,
        "closure": {
            kind: {"rate": closure.rate, "chance": closure.chance, "of": closure.of}
            for kind, closure in closures.items()
            if closure.of
        },
        "clips": rows,
        "no_sound": _without_sound(clips, portrait, seed),
    }
    if rows:
        show("Lips", list(rows[0]), [["" if v is None else v for v in row.values()] for row in rows])
    show("Lips, all clips", ["", ""], [[name, str(result[name])] for name in result if name != "clips"])
    return result


def _without_sound(clips: ClipFolder, portrait: Path, seed: int) -> dict[str, float] | None:
    """The mouth in a clip of pure silence."""
    judged = clips.judgement(ClipSpec(portrait, silence(_SILENCE_SECONDS, clips.folder), (), seed))
    if judged is None:
        return None
    gap = lip_gap(judged.tracks)
    return {
        "gap_mean": float(gap.mean()),
        "gap_max": float(gap.max()),
        "gap_deviation": float(gap.std()),
        "jawOpen_mean": float(judged.tracks.blendshape("jawOpen").mean()),
    }


def measure_motion(clips: ClipFolder, portraits: list[Path], speeches: list[Path], seed: int) -> dict[str, Any]:
    """Blinks, jitter, head rotation, window and paste-back seams of neutral clips."""
    rows = []
    for portrait in portraits:
        for speech in speeches:
            spec = ClipSpec(portrait, speech, (), seed)
            judged = clips.judgement(spec)
            if judged is not None:
                rows.append({"clip": spec.name, **_motion_of(judged), **_paste_of(clips, spec)})
    blinks = sum(row["blinks"] for row in rows)
    minutes = sum(row["seconds"] for row in rows) / 60
    result = {
        "blinks_per_minute": blinks / minutes if minutes else None,
        "jitter_rigid": float(np.mean([row["jitter_rigid"] for row in rows])) if rows else None,
        "jitter_mouth": float(np.mean([row["jitter_mouth"] for row in rows])) if rows else None,
        "clips": rows,
    }
    if rows:
        names = [name for name in rows[0] if name != "clip"]
        table = [[name, *(_short(row[name]) for row in rows)] for name in names]
        show("Motion", ["", *(row["clip"].split("__s")[0] for row in rows)], table)
    return result


def _short(value: object) -> object:
    return " ".join(f"{part:.1f}" for part in value) if isinstance(value, tuple) else value


def _motion_of(judged: ClipJudgement) -> dict[str, Any]:
    tracks = judged.tracks
    blinks, trembling, head = count_blinks(tracks), jitter(tracks), head_motion(tracks)
    boundaries = [start + CARRIED for start in window_starts(len(tracks))[1:]]
    row: dict[str, Any] = {
        "seconds": len(tracks) / tracks.fps,
        "blinks": len(blinks.frames),
        "blink_closure": blinks.closure,
        "jitter_rigid": trembling.rigid,
        "jitter_mouth": trembling.mouth,
        "head_deviation": head.deviation,
        "head_range": head.range,
        "head_speed_mean": head.speed_mean,
        "head_speed_p95": head.speed_p95,
        "faces_found": float(tracks.found.mean()),
    }
    if boundaries:
        jerk = boundary_excess(accelerations(tracks), [boundary - 1 for boundary in boundaries])
        pixels = boundary_excess(judged.changes, boundaries)
        row |= {"seam_acceleration": jerk.ratio, "seam_acceleration_rank": jerk.rank}
        row |= {"seam_pixels": pixels.ratio, "seam_pixels_rank": pixels.rank}
    return row


def _paste_of(clips: ClipFolder, spec: ClipSpec) -> dict[str, Any]:
    """The worst paste-back seam of a few frames of a full-picture clip."""
    picture, path = read_image(spec.portrait), clips.video(spec)
    with FaceTracker() as tracker:
        crop = PortraitCrop.from_face(tracker.detect_one(picture), clips.size, picture.shape[:2])
    seams = []
    if path is not None:
        with read_video(path) as video:
            height, width = picture.shape[:2]
            if (video.info.width, video.info.height) != (width + width % 2, height + height % 2):
                return {}
            for index, frame in enumerate(video):
                if index % 25 == 0:
                    seams.append(paste_seam(frame[:height, :width], picture, crop))
    found = [asdict(seam) for seam in seams if seam is not None]
    return {f"paste_{name}": max(seam[name] for seam in found) for name in found[0]} if found else {}
