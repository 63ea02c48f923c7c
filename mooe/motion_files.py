"""Motion in files: the CSV of Live Link Face, which face rigs and game engines read, and NumPy's .npz.

The CSV has a row a frame: timecode, the 52 ARKit weights, and yaw, pitch and roll of the head and of both eyes in
radians. Positive yaw turns to the viewer's right, positive pitch down, positive roll to the viewer's left
(anticlockwise), all relative to the portrait. It does not hold the head's translation, nor what of the face the 52
shapes do not show; the .npz holds all of it.
"""

from __future__ import annotations

import csv
import io
import re
from os import PathLike
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from mooe.errors import MotionError
from mooe.face.regions import ARKIT_NAMES
from mooe.face.topology import arkit_to_displacement
from mooe.media.outputs import as_output_error, replacing
from mooe.motion.controls import RADIANS_PER_WEIGHT
from mooe.motion.lips import keep_apart
from mooe.pipeline_output import FaceMotion

Array = NDArray[np.float32]

FRAME_RATE = 25
MOTION_SUFFIXES = (".csv", ".npz")

# The order of the app's own files
_SIDED_EYE = ("eyeBlink", "eyeLookDown", "eyeLookIn", "eyeLookOut", "eyeLookUp", "eyeSquint", "eyeWide")
LIVE_LINK_SHAPES: tuple[str, ...] = (
    *(f"{name}{side}" for side in ("Left", "Right") for name in _SIDED_EYE),
    "jawForward", "jawRight", "jawLeft", "jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "mouthRight",
    "mouthLeft", "mouthSmileLeft", "mouthSmileRight", "mouthFrownLeft", "mouthFrownRight", "mouthDimpleLeft",
    "mouthDimpleRight", "mouthStretchLeft", "mouthStretchRight", "mouthRollLower", "mouthRollUpper",
    "mouthShrugLower", "mouthShrugUpper", "mouthPressLeft", "mouthPressRight", "mouthLowerDownLeft",
    "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight", "browDownLeft", "browDownRight", "browInnerUp",
    "browOuterUpLeft", "browOuterUpRight", "cheekPuff", "cheekSquintLeft", "cheekSquintRight", "noseSneerLeft",
    "noseSneerRight", "tongueOut",
)  # fmt: skip
_ANGLES = tuple(f"{part}{angle}" for part in ("Head", "LeftEye", "RightEye") for angle in ("Yaw", "Pitch", "Roll"))
LIVE_LINK_HEADER: tuple[str, ...] = (
    "Timecode",
    "BlendshapeCount",
    *(name[0].upper() + name[1:] for name in LIVE_LINK_SHAPES),
    *_ANGLES,
)
_ORDER = [ARKIT_NAMES.index(name) for name in LIVE_LINK_SHAPES]
# hours, minutes, seconds, frames with a fraction
_TIMECODE = re.compile(r"(\d+):(\d+):(\d+)[:;](\d+(?:\.\d+)?)")
_FRAME_RATES = (24, 25, 30, 48, 50, 60, 120)
_LONGEST_SECONDS = 6 * 3600


def write_motion(path: str | PathLike[str], motion: FaceMotion) -> None:
    """Write a motion of 25 frames a second, whole or not at all.

    Args:
        path: ends in .csv or .npz; replaced if it is there.
        motion: of F frames.

    Raises:
        MotionError: the ending is another one.
        OutputError: the file cannot be written.
    """
    target = Path(path)
    writers = {".csv": _csv_bytes, ".npz": _npz_bytes}
    writer = writers.get(target.suffix.lower())
    if writer is None:
        raise MotionError(f"A motion is written as .csv or .npz, not as {target.name}: choose such a name.")
    content = writer(motion)
    with replacing(target) as temporary, as_output_error(target):
        temporary.write_bytes(content)


def read_motion(path: str | PathLike[str]) -> FaceMotion:
    """Read a motion and bring it to 25 frames a second.

    Args:
        path: a .csv of Live Link Face or its like (columns by name, any order and case), or a .npz of `write_motion`.

    Raises:
        MotionError: it cannot be read or used; the message says why.
    """
    source = Path(path)
    if source.suffix.lower() not in MOTION_SUFFIXES:
        raise MotionError(f"The motion {source} must be a .csv of Live Link Face or a .npz: give such a file.")
    try:
        return _read_npz(source) if source.suffix.lower() == ".npz" else _read_csv(source)
    except OSError as error:
        reason = error.strerror or "it is not readable"
        raise MotionError(f"The motion {source} cannot be read ({reason}): check the path.") from error


def _csv_bytes(motion: FaceMotion) -> bytes:
    weights = motion.arkit_weights()
    head = Rotation.from_rotvec(motion.rotation.astype(np.float64)).as_euler("YXZ")
    angles = np.concatenate([head, _eye_angles(weights, "Left"), _eye_angles(weights, "Right")], 1)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(LIVE_LINK_HEADER)
    for frame, (row, turn) in enumerate(zip(weights[:, _ORDER], angles, strict=True)):
        numbers = [f"{value:.8f}" for value in (*row, *turn)]
        writer.writerow([_timecode(frame), len(numbers), *numbers])
    return text.getvalue().encode()


def _eye_angles(weights: Array, side: str) -> NDArray[np.float64]:
    """Yaw, pitch and roll [F, 3] of an eye from its eyeLook weights."""

    def weight(direction: str) -> Array:
        return weights[:, ARKIT_NAMES.index(f"eyeLook{direction}{side}")]

    # the person's left is the viewer's right
    outwards = weight("Out") - weight("In")
    yaw = outwards if side == "Left" else -outwards
    pitch = weight("Down") - weight("Up")
    return np.stack([yaw, pitch, np.zeros_like(yaw)], 1).astype(np.float64) * RADIANS_PER_WEIGHT


def _timecode(frame: int) -> str:
    seconds, rest = divmod(frame, FRAME_RATE)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{rest:02d}.000"


def _npz_bytes(motion: FaceMotion) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        displacement=motion.displacement.astype(np.float32),
        rotation=motion.rotation.astype(np.float32),
        translation=motion.translation.astype(np.float32),
        arkit=motion.arkit_weights(),
        fps=np.array(FRAME_RATE, np.float32),
    )
    return buffer.getvalue()


def _read_npz(path: Path) -> FaceMotion:
    try:
        with np.load(path, allow_pickle=False) as data:
            parts = {name: np.asarray(data[name], np.float32) for name in ("displacement", "rotation", "translation")}
            rate = float(data["fps"])
    except (KeyError, ValueError, BadZipFile, EOFError) as error:
        raise MotionError(f"The motion {path} is not a .npz that mooe wrote: export it again.") from error
    count = len(parts["displacement"]) if parts["displacement"].ndim else 0
    shapes = {"displacement": (count, 478, 3), "rotation": (count, 3), "translation": (count, 3)}
    for name, shape in shapes.items():
        if not count or parts[name].shape != shape or not np.isfinite(parts[name]).all():
            raise MotionError(f"{name!r} in {path} must hold finite numbers of the shape {shape}: export it again.")
    if not 1 <= rate <= 1000:
        raise MotionError(f"'fps' in {path} must be from 1 to 1000: export it again.")
    times = np.arange(count) / rate
    return FaceMotion(*(_resample(part, times) for part in parts.values()))


def _read_csv(path: Path) -> FaceMotion:
    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))
    except (UnicodeDecodeError, csv.Error) as error:
        raise MotionError(f"The motion {path} is not a CSV: give a file of Live Link Face.") from error
    header = [name.strip().lower() for name in rows[0]] if rows else []
    body = [row for row in rows[1:] if row]
    missing = [name for name in LIVE_LINK_SHAPES if name.lower() not in header]
    if missing:
        raise MotionError(f"The motion {path} lacks the column {missing[0]}: give a file of Live Link Face.")
    if not body or any(len(row) != len(header) for row in body):
        raise MotionError(f"The motion {path} has no rows or incomplete ones: record or export it again.")
    weights = np.zeros((len(body), len(ARKIT_NAMES)), np.float32)
    for name, row in zip(LIVE_LINK_SHAPES, _ORDER, strict=True):
        weights[:, row] = _column(path, body, header, name)
    angles = [f"head{angle}" for angle in ("yaw", "pitch", "roll")]
    turned = all(angle in header for angle in angles)
    euler = np.stack([_column(path, body, header, a) if turned else np.zeros(len(body)) for a in angles], 1)
    times = _times(path, [row[header.index("timecode")] for row in body] if "timecode" in header else [])
    times = np.arange(len(body)) / FRAME_RATE if times is None else times
    rotation = Rotation.from_euler("YXZ", euler).as_rotvec().astype(np.float32)
    weights, rotation = _resample(np.clip(weights, 0, 1), times), _resample(rotation, times)
    displacement = keep_apart(arkit_to_displacement(weights))
    return FaceMotion(displacement, rotation, np.zeros_like(rotation))


def _column(path: Path, body: list[list[str]], header: list[str], name: str) -> NDArray[np.float64]:
    index = header.index(name.lower())
    try:
        values = np.array([float(row[index]) for row in body])
    except ValueError as error:
        raise MotionError(f"The column {name} of {path} holds something that is no number: export it again.") from error
    if not np.isfinite(values).all():
        raise MotionError(f"The column {name} of {path} holds numbers that are not finite: export it again.")
    return values


def _times(path: Path, codes: list[str]) -> NDArray[np.float64] | None:
    """Seconds [F] from the first row; None if there are no timecodes.

    The file does not tell the frames a second: the smallest usual rate that its frame numbers allow is taken.
    """
    matches = [_TIMECODE.fullmatch(code.strip()) for code in codes]
    if not matches or any(match is None for match in matches):
        return None
    fields = np.array([[float(part) for part in match.groups()] for match in matches if match])
    rate = next((rate for rate in _FRAME_RATES if fields[:, 3].max() < rate), _FRAME_RATES[-1])
    seconds = fields[:, :3] @ (3600, 60, 1) + fields[:, 3] / rate
    seconds -= seconds[0]
    if (np.diff(seconds) <= 0).any() or seconds[-1] > _LONGEST_SECONDS:
        raise MotionError(f"The timecodes of {path} do not rise, or last longer than six hours: export it again.")
    return seconds


def _resample(values: NDArray[np.float32], times: NDArray[np.float64]) -> Array:
    """Values [F, ...] at rising seconds [F] -> at 25 frames a second, linear between."""
    count = int(np.floor(times[-1] * FRAME_RATE + 1e-6)) + 1
    wanted = np.arange(count) / FRAME_RATE
    if count == len(times) and np.allclose(times, wanted, atol=1e-6):
        return np.asarray(values, np.float32)
    after = np.clip(np.searchsorted(times, wanted), 1, max(len(times) - 1, 1))
    if len(times) == 1:
        return np.repeat(values, count, 0).astype(np.float32)
    before = after - 1
    share = np.clip((wanted - times[before]) / (times[after] - times[before]), 0, 1)
    share = share.reshape(-1, *[1] * (values.ndim - 1))
    return (values[before] * (1 - share) + values[after] * share).astype(np.float32)
