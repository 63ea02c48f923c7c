"""Laws of the edges where one part of a face comes to lie before another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mooe.decoder import PortraitDecoder, SourcePortrait, encode_portrait
from mooe.decoder.folds import draw_folds, fold_weight
from mooe.decoder.images import enlarge_flow
from mooe.face.topology import arkit_to_displacement, arkit_vector
from mooe.face.tracker import FaceTracker

ZERO = np.zeros(3, np.float32)
STILL = np.zeros((478, 3), np.float32)
TURN = np.array([0.0, 0.4, 0.0], np.float32)


@pytest.fixture(scope="module")
def portraits() -> tuple[SourcePortrait, SourcePortrait]:
    """One photograph in a small frame and in one as large as its head crop."""
    path = Path(__file__).parent.parent / "examples" / "portraits" / "grace_hopper.jpg"
    photo = np.asarray(Image.open(path).convert("RGB"))
    with FaceTracker() as tracker:
        face = tracker.detect_one(photo)
    coarse = encode_portrait(photo, face, 96)
    return coarse, encode_portrait(photo, face, coarse.crop.side)


def drawn(portrait: SourcePortrait, folds: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """The person with the head turned, at the photograph's resolution, and where the flow jumps."""
    geometry = PortraitDecoder(portrait)._geometry(arkit_to_displacement(arkit_vector({"jawOpen": 0.5})), TURN, ZERO)
    factor = portrait.crop.side / portrait.size
    frame = portrait.native.copy()
    flow = geometry.maps.flow
    portrait.native_layers.draw(frame, enlarge_flow(flow, factor, frame.shape[:2]))
    if folds:
        draw_folds(frame, portrait.native_layers, flow, geometry.maps, geometry.moved, portrait.window, factor)
    return frame.astype(float), fold_weight(geometry.maps)


def test_edges_of_a_coarse_frame_are_those_of_a_fine_one(portraits: tuple[SourcePortrait, SourcePortrait]) -> None:
    coarse, fine = portraits
    plain, sharp, wanted = (drawn(coarse, False)[0], drawn(coarse, True)[0], drawn(fine, True)[0])
    changed = np.abs(sharp - plain).max(-1) > 4
    assert changed.any()
    before, after = (np.abs(frame - wanted)[changed].mean() for frame in (plain, sharp))
    assert after < 0.6 * before


def test_what_does_not_fold_is_left(portraits: tuple[SourcePortrait, SourcePortrait]) -> None:
    coarse, _ = portraits
    weight = drawn(coarse, True)[1]
    assert weight is not None and 0 < weight.mean() < 0.1
    rest = PortraitDecoder(coarse).maps(coarse.points - coarse.neutral, ZERO, ZERO)
    assert fold_weight(rest) is None
