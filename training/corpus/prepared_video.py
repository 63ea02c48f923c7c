"""One video -> clips of the filmed corpus and a record of what was kept and why."""

from __future__ import annotations

import base64
import dataclasses
import errno
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mooe.audio import SAMPLE_RATE, HamaSpeechEncoder, SpeechEncoder, load_audio
from mooe.audio.prosody import PROSODY_DIM
from mooe.emotion.action_units import ACTION_UNITS
from mooe.emotion.taxonomy import EMOTIONS, EmotionMix
from mooe.errors import AudioError, MooeError
from mooe.media import write_json
from training.corpus.crops import CropWish, write_crops
from training.corpus.filmed import CLIPS_FOLDER, FilmedClip
from training.corpus.filming import (
    Motion,
    QualityLimits,
    Stretch,
    action_units,
    emotion_of_units,
    lip_sync,
    resting_face,
    split_track,
    stretch_motion,
)
from training.corpus.sources import VideoSource
from training.corpus.tracking import FaceTrack, sound_offset, track_video

Array = NDArray[np.float32]
RECORDS_FOLDER, CROPS_FOLDER = "videos", "crops"
# Mean voicing above which somebody speaks, so that lips must follow
_SPOKEN = 0.12
_REJECTED_PICTURES = 6


@dataclass(frozen=True)
class PrepareSettings:
    """What decides the result for a video; a record made with other settings is made anew.

    Attributes:
        limits: of quality.
        allow_silent: keep videos without sound, for how the face looks and not for lips.
        min_sync: least correlation of lips and loudness in clips with speech.
        pseudo_labels: guess the emotion of unlabelled clips from action units.
        crop_size: side of head-crop videos in pixels; 0 writes none.
    """

    limits: QualityLimits = field(default_factory=QualityLimits)
    allow_silent: bool = False
    min_sync: float = 0.1
    pseudo_labels: bool = False
    crop_size: int = 0


@dataclass(frozen=True)
class Job:
    """A video to prepare into ``output``."""

    source: VideoSource
    output: Path
    settings: PrepareSettings

    @property
    def record(self) -> Path:
        return self.output / RECORDS_FOLDER / f"{self.source.name}.json"

    def stamp(self) -> str:
        """Changes with the file, what is known of it, and the settings."""
        status = self.source.path.stat() if self.source.path.exists() else None
        known = {
            "file": None if status is None else [status.st_size, status.st_mtime_ns],
            "source": [self.source.speaker, self.source.emotion, self.source.intensity, self.source.skipped],
            "settings": dataclasses.asdict(self.settings),
        }
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]


def finished_record(job: Job) -> dict[str, Any] | None:
    """The record of an earlier run, if nothing has changed since."""
    try:
        record: dict[str, Any] = json.loads(job.record.read_text(encoding="utf-8"))
        if record["stamp"] != job.stamp():
            return None
        kept = [job.output / CLIPS_FOLDER / f"{clip['name']}.npz" for clip in record["clips"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return record if all(path.is_file() for path in kept) else None


def prepare_video(job: Job) -> dict[str, Any]:
    """Prepare one video; what is wrong with the video itself is in the record's ``error``.

    Raises:
        OSError: the disk is full or may not be written; nothing of the video counts as done.
    """
    source = job.source
    record: dict[str, Any] = {
        "name": source.name, "path": str(source.path), "speaker": source.speaker, "stamp": job.stamp(),
        "seconds": 0.0, "error": source.skipped, "clips": [], "rejected": [],
    }  # fmt: skip
    if not source.skipped:
        _remove_old(job)
        try:
            _fill(record, job)
        except MooeError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in (errno.ENOSPC, errno.EDQUOT):
                raise error.__cause__ from error
            record["error"] = str(error)
    job.record.parent.mkdir(parents=True, exist_ok=True)
    write_json(job.record, record)
    return record


def _remove_old(job: Job) -> None:
    """Clips of a run with other settings would be trained on as well."""
    for folder, suffix in ((CLIPS_FOLDER, "npz"), (CROPS_FOLDER, "mp4")):
        for path in (job.output / folder).glob(f"{job.source.name}-[0-9][0-9][0-9].{suffix}"):
            path.unlink()
    job.record.unlink(missing_ok=True)


def _fill(record: dict[str, Any], job: Job) -> None:
    settings = job.settings
    waveform = _sound(job)
    track = track_video(job.source.path)
    record["seconds"] = round(float(track.times[-1]), 2)
    stretches = split_track(track, settings.limits)
    good = np.zeros(len(track.times), bool)
    for stretch in stretches:
        good[stretch.start : stretch.stop] = not stretch.reason
        if stretch.reason:
            _reject(record, track, stretch, stretch.reason)
    if not good.any():
        return
    rest = resting_face(track, good)
    kept = [(s, stretch_motion(track, s, rest)) for s in stretches if not s.reason]
    units = [action_units(motion.blendshapes) for _, motion in kept]
    calm = np.median(np.concatenate(units), axis=0)
    encoder = HamaSpeechEncoder()
    features = None if waveform is None else encoder.encode(waveform)
    crops = []
    for (stretch, motion), intensities in zip(kept, units, strict=True):
        sound, spoken, sync = _clip_sound(features, motion, encoder)
        if spoken and sync < settings.min_sync:
            _reject(record, track, stretch, "lips do not move with the sound")
            continue
        emotion, labelled = _label(job, intensities, calm)
        name = f"{job.source.name}-{len(record['clips']):03d}"
        FilmedClip(
            features=sound, displacement=motion.displacement, rotation=motion.rotation,
            translation=motion.translation, gaze=motion.gaze, blink=motion.blink, emotion=emotion,
            action_units=intensities, audible=features is not None, speaker=job.source.speaker, labelled=labelled,
            encoder=encoder.name,
        ).save(job.output / CLIPS_FOLDER / f"{name}.npz")  # fmt: skip
        crops.append(CropWish(job.output / CROPS_FOLDER / f"{name}.mp4", motion.start, motion.landmarks / track.factor))
        record["clips"].append(_clip_record(name, motion, emotion, labelled, spoken, sync, track, intensities))
    if settings.crop_size and crops:
        (job.output / CROPS_FOLDER).mkdir(parents=True, exist_ok=True)
        write_crops(job.source.path, crops, waveform, settings.crop_size)


def _sound(job: Job) -> Array | None:
    """Sound from the first picture on, or None for a silent video that is welcome."""
    path = job.source.path
    try:
        waveform = load_audio(path)
    except AudioError:
        if job.settings.allow_silent:
            return None
        raise
    offset = round(sound_offset(path) * SAMPLE_RATE)
    return np.pad(waveform, (offset, 0)) if offset > 0 else waveform[-offset:]


def _clip_sound(features: Array | None, motion: Motion, encoder: SpeechEncoder) -> tuple[Array, bool, float]:
    """A clip's speech features ``[F, D]``, whether somebody speaks, and how well the lips follow."""
    frames = len(motion.displacement)
    if features is None:
        return np.zeros((frames, encoder.feature_dim), np.float32), False, 0.0
    first = round(motion.start * 25)
    rows = np.clip(np.arange(first, first + frames), 0, len(features) - 1)
    sound = features[rows]
    prosody = sound[:, -PROSODY_DIM:]
    return sound, float(prosody[:, 3].mean()) > _SPOKEN, lip_sync(motion, prosody[:, 1])


def _label(job: Job, units: Array, calm: Array) -> tuple[Array, str]:
    if job.source.emotion is not None:
        return EmotionMix.from_mapping({job.source.emotion: job.source.intensity}).weights, "label"
    if job.settings.pseudo_labels:
        return emotion_of_units(units, calm), "action units"
    return np.zeros(len(EMOTIONS), np.float32), "none"


def _clip_record(
    name: str, motion: Motion, emotion: Array, labelled: str, spoken: bool, sync: float, track: FaceTrack, units: Array
) -> dict[str, Any]:
    strongest = np.argsort(-units.mean(0))[:4]
    numbers = list(ACTION_UNITS)
    return {
        "name": name,
        # the first picture may come a hair before 0, which would read -0.0
        "start": round(max(motion.start, 0.0), 2),
        "seconds": round(len(motion.displacement) / 25, 2),
        "emotion": {e: round(float(w), 2) for e, w in zip(EMOTIONS, emotion, strict=True) if w > 0},
        "labelled": labelled,
        "sync": round(sync, 2) if spoken else None,
        "action_units": {str(numbers[i]): round(float(units[:, i].mean()), 2) for i in strongest},
        "thumbnail": _picture(track, motion.start + len(motion.displacement) / 50),
    }


def _reject(record: dict[str, Any], track: FaceTrack, stretch: Stretch, reason: str) -> None:
    start, stop = float(track.times[stretch.start]), float(track.times[stretch.stop - 1])
    shown = len(record["rejected"]) < _REJECTED_PICTURES
    record["rejected"].append(
        {
            "start": round(start, 2),
            "seconds": round(stop - start, 2),
            "reason": reason,
            "thumbnail": _picture(track, (start + stop) / 2) if shown else "",
        }
    )


def _picture(track: FaceTrack, time: float) -> str:
    """The thumbnail nearest in time, as base64 JPEG."""
    _, image = min(track.thumbnails, key=lambda entry: abs(entry[0] - time))
    done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 70])
    return base64.b64encode(data.tobytes()).decode() if done else ""
