"""How near a video comes to another one of the same moments: pixels, structure, landmarks, identity."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import zip_longest

import cv2
import numpy as np
from numpy.typing import NDArray

from mooe.errors import DependencyError, MooeError
from mooe.face.regions import LIPS_OUTER
from mooe.face.tracker import Face, FaceTracker
from mooe.metrics.identity import IdentityJudge
from mooe.metrics.perceptual import PerceptualDistance
from mooe.metrics.squares import cut_square, eye_line

Image = NDArray[np.uint8]
_MOUTH_SIDE = 0.9  # of the square about the mouth, eye distances
_MOUTH_PIXELS = 64
_FACE_SIDE = 2.2
_FACE_PIXELS = 160


@dataclass
class QualityReport:
    """Means over the frames compared; see :meth:`summary` for the names."""

    frames: int = 0
    without_face: int = 0
    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        """Add one frame's value."""
        self.values.setdefault(name, []).append(value)

    def summary(self) -> dict[str, float | int]:
        """Figures by name.

        ``psnr`` (dB), ``ssim``, ``l1`` (0 to 1) and ``vgg16_hed_distance`` over the whole frame; the same with
        ``mouth_`` before them in a square about the reference's mouth; ``akd``: average keypoint distance of the face
        landmarks in thousandths of the eye distance; ``aed``: average distance of identity embeddings; ``csim``:
        cosine of identity with the portrait; ``csim_reference``: the same with the reference's own frame;
        ``sharpness_ratio``: power of the Laplacian in the face against the reference's; ``flicker_ratio``: mean change
        from frame to frame against the reference's.
        """
        means = {name: float(np.mean(values)) for name, values in self.values.items()}
        if "change" in means:
            means["flicker_ratio"] = means.pop("change") / max(means.pop("reference_change"), 1e-9)
        return {"frames": self.frames, "frames_without_face": self.without_face, **means}


class QualityJudge:
    """Compares videos frame by frame; the judges are loaded once.

    Raises:
        DependencyError: a package of the extra ``metrics`` is missing.
    """

    def __init__(self) -> None:
        try:
            from skimage.metrics import structural_similarity
        except ImportError as error:
            raise DependencyError("The judge needs scikit-image: install mooe[metrics].") from error
        self._similarity = structural_similarity
        self._perceptual = PerceptualDistance()
        self._identity = IdentityJudge()

    def compare(
        self, frames: Iterable[Image], reference: Iterable[Image] | None = None, portrait: Image | None = None
    ) -> QualityReport:
        """Compare a video with a reference, a portrait, or both.

        Args:
            frames: uint8 RGB ``[H, W, 3]`` each.
            reference: the same moments as they should look, as many frames of the same size.
            portrait: picture of the person.

        Raises:
            MooeError: neither is given, or frames differ in size or number.
            NoFaceError: the portrait shows no face.
        """
        if reference is None and portrait is None:
            raise MooeError("There is nothing to compare with: give a reference video or a portrait.")
        report = QualityReport()
        with FaceTracker(max_faces=1) as tracker:
            known = None if portrait is None else self._identity.embed(portrait, tracker.detect_one(portrait).landmarks)
            before: tuple[Image, Image] | None = None
            pairs = zip_longest(frames, reference) if reference is not None else ((f, None) for f in frames)
            for frame, wanted in pairs:
                if frame is None or (reference is not None and wanted is None):
                    raise MooeError("The videos differ in their number of frames: compare videos of the same moments.")
                report.frames += 1
                face = _first(tracker, frame)
                if wanted is not None:
                    self._compare_frame(report, frame, wanted, face, _first(tracker, wanted))
                    if before is not None:
                        report.add("change", _difference(frame, before[0]))
                        report.add("reference_change", _difference(wanted, before[1]))
                    before = frame, wanted
                if face is None:
                    report.without_face += 1
                elif known is not None:
                    report.add("csim", float(self._identity.embed(frame, face.landmarks) @ known))
        return report

    def _compare_frame(
        self, report: QualityReport, frame: Image, wanted: Image, face: Face | None, target: Face | None
    ) -> None:
        if frame.shape != wanted.shape:
            raise MooeError("The videos differ in size: bring both to the same width and height.")
        self._compare_pictures(report, "", frame, wanted)
        if target is None:
            return
        middle, unit = eye_line(target.landmarks)
        mouth = target.landmarks[list(LIPS_OUTER), :2].mean(0)
        squares = [_square(x, mouth, _MOUTH_SIDE * unit, _MOUTH_PIXELS) for x in (frame, wanted)]
        self._compare_pictures(report, "mouth_", *squares)
        faces = [_square(x, middle, _FACE_SIDE * unit, _FACE_PIXELS) for x in (frame, wanted)]
        sharpness = [float(cv2.Laplacian(cv2.cvtColor(x, cv2.COLOR_RGB2GRAY), cv2.CV_32F).var()) for x in faces]
        report.add("sharpness_ratio", sharpness[0] / max(sharpness[1], 1e-6))
        if face is not None:
            distance = np.linalg.norm(face.landmarks[:, :2] - target.landmarks[:, :2], axis=1)
            report.add("akd", float(distance.mean() / unit * 1000))
            embeddings = [self._identity.embed(x, f.landmarks) for x, f in ((frame, face), (wanted, target))]
            report.add("aed", float(np.linalg.norm(embeddings[0] - embeddings[1])))
            report.add("csim_reference", float(embeddings[0] @ embeddings[1]))

    def _compare_pictures(self, report: QualityReport, prefix: str, frame: Image, wanted: Image) -> None:
        error = frame.astype(np.float64) - wanted
        report.add(f"{prefix}psnr", float(10 * np.log10(255**2 / max(float((error**2).mean()), 1e-6))))
        report.add(f"{prefix}l1", float(np.abs(error).mean() / 255))
        report.add(f"{prefix}ssim", float(self._similarity(frame, wanted, channel_axis=2)))
        report.add(f"{prefix}vgg16_hed_distance", self._perceptual(frame, wanted))


def _first(tracker: FaceTracker, frame: Image) -> Face | None:
    faces = tracker.detect(frame)
    return faces[0] if faces else None


def _difference(frame: Image, other: Image) -> float:
    return float(np.abs(frame.astype(np.float32) - other).mean())


def _square(picture: Image, center: NDArray[np.floating], side: float, size: int) -> Image:
    square = cut_square(picture, (float(center[0]), float(center[1])), side, size)
    return np.clip(np.rint(square), 0, 255).astype(np.uint8)
