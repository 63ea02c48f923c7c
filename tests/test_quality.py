"""Laws of the comparison of videos."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mooe.errors import DependencyError, MooeError
from mooe.metrics.quality import QualityJudge

PORTRAITS = Path(__file__).parent.parent / "examples" / "portraits"


@pytest.fixture(scope="module")
def judge() -> QualityJudge:
    try:
        return QualityJudge()
    except DependencyError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    image = Image.open(PORTRAITS / "astronaut.png").convert("RGB").resize((256, 256))
    return np.asarray(image)


def blurred(photo: np.ndarray, sigma: float) -> np.ndarray:
    return np.asarray(cv2.GaussianBlur(photo, (0, 0), sigma))


def test_a_video_equals_itself(judge: QualityJudge, photo: np.ndarray) -> None:
    found = judge.compare([photo, photo], [photo, photo], photo).summary()
    assert found["frames"] == 2
    for name in ("l1", "vgg16_hed_distance", "akd", "aed", "mouth_l1", "mouth_vgg16_hed_distance"):
        assert found[name] == pytest.approx(0, abs=1e-5)
    for name in ("ssim", "mouth_ssim", "sharpness_ratio", "csim", "csim_reference"):
        assert found[name] == pytest.approx(1, abs=1e-4)


def test_more_blur_is_worse_in_every_figure(judge: QualityJudge, photo: np.ndarray) -> None:
    little, much = (judge.compare([blurred(photo, s)], [photo]).summary() for s in (0.7, 2.5))
    for name in ("psnr", "ssim", "mouth_psnr", "mouth_ssim", "sharpness_ratio", "csim_reference"):
        assert little[name] > much[name]
    for name in ("l1", "vgg16_hed_distance", "aed", "mouth_vgg16_hed_distance"):
        assert little[name] < much[name]


def test_another_person_is_farther_from_the_portrait(judge: QualityJudge, photo: np.ndarray) -> None:
    other = np.asarray(Image.open(PORTRAITS / "grace_hopper.jpg").convert("RGB"))
    same, different = (judge.compare([f], portrait=photo).summary()["csim"] for f in (blurred(photo, 0.6), other))
    assert same > different + 0.2


def test_frames_without_a_face_are_counted(judge: QualityJudge, photo: np.ndarray) -> None:
    found = judge.compare([np.zeros_like(photo), photo], [photo, photo]).summary()
    assert found["frames_without_face"] == 1


def test_unlike_videos_are_refused(judge: QualityJudge, photo: np.ndarray) -> None:
    with pytest.raises(MooeError, match="number of frames"):
        judge.compare([photo], [photo, photo])
    with pytest.raises(MooeError, match="size"):
        judge.compare([photo[:128]], [photo])
    with pytest.raises(MooeError, match="reference"):
        judge.compare([photo])
