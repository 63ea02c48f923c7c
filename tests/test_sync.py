"""Laws of the synchronisation metric."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mooe.audio import load_audio
from mooe.audio.encoder import HamaSpeechEncoder
from mooe.face.regions import ARKIT_NAMES
from mooe.face.topology import canonical_points
from mooe.metrics.lips import lip_leak
from mooe.metrics.sync import (
    LONGEST_OFFSET,
    MOUTH_DIM,
    SOUND_DIM,
    SYNC_POINTS,
    SyncNetwork,
    load_sync_network,
    log_mel,
    measure_sync,
    mouth_features,
    offset_distances,
    sound_features,
    sync_from_distances,
    tracked_mouth,
)
from mooe.metrics.tracks import FaceTracks
from mooe.motion.sampling import WINDOW
from training.corpus.motion import MotionCorpus, SpeechClip
from training.corpus.visemes import Phone
from training.train_sync import sync_loss

SPEECH = Path(__file__).resolve().parent.parent / "examples/speech.wav"
IMAGE_AXES = np.array([1, -1, -1], np.float32)


def tracks_of(points: np.ndarray, fps: float = 25.0, scale: float = 100.0) -> FaceTracks:
    """Head-frame points [F, 478, 3] as a tracker would see them from the front."""
    count = len(points)
    landmarks = (points * IMAGE_AXES * scale + 256).astype(np.float32)
    shapes = np.zeros((count, len(ARKIT_NAMES)), np.float32)
    return FaceTracks(landmarks, shapes, np.zeros((count, 3), np.float32), np.ones(count, bool), fps)


@pytest.fixture(scope="module")
def spoken() -> np.ndarray:
    """The example's speech acted by the corpus: head-frame points [F, 478, 3]."""
    phones = json.loads(SPEECH.with_suffix(".json").read_text(encoding="utf-8"))["phones"]
    features = HamaSpeechEncoder().encode(load_audio(SPEECH))
    clip = SpeechClip("speech", (features,), tuple(Phone(str(s), float(a), float(b)) for s, a, b in phones))
    corpus = MotionCorpus([clip], clip.num_frames)
    take = corpus.act(clip, np.zeros(6, np.float32), np.random.default_rng(0))
    return canonical_points() + take.displacement


@pytest.mark.parametrize("offset", [-7, 0, 4])
def test_the_offset_of_a_shifted_mouth_is_found(spoken: np.ndarray, offset: int) -> None:
    found = measure_sync(tracks_of(np.roll(spoken, offset, axis=0)), load_audio(SPEECH))
    assert found is not None
    assert abs(found.offset_frames - offset) <= 1


def test_a_shifted_mouth_is_further_off(spoken: np.ndarray) -> None:
    sound = load_audio(SPEECH)
    right, wrong = (measure_sync(tracks_of(np.roll(spoken, k, axis=0)), sound) for k in (0, 40))
    assert right is not None and wrong is not None
    assert right.distance < wrong.distance
    assert right.confidence > wrong.confidence


def test_size_place_and_turn_of_the_head_do_not_matter(spoken: np.ndarray) -> None:
    angle = np.radians(8)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]], np.float32)
    plain = tracked_mouth(tracks_of(spoken))
    moved = tracked_mouth(tracks_of(spoken @ turn.T + 0.3, scale=220.0))
    assert np.abs(mouth_features(plain) - mouth_features(moved)).max() < 0.02


def test_other_frame_rates_are_brought_to_25(spoken: np.ndarray) -> None:
    tracks = tracks_of(spoken)
    double = tracks_of(np.repeat(spoken, 2, axis=0), fps=50.0)
    assert len(tracked_mouth(double)) == len(tracks)
    assert np.abs(tracked_mouth(double) - tracked_mouth(tracks)).mean() < 0.01


def test_short_clips_and_still_mouths_have_no_figure(spoken: np.ndarray) -> None:
    sound = load_audio(SPEECH)
    assert measure_sync(tracks_of(spoken[:40]), sound) is None
    assert measure_sync(tracks_of(np.repeat(spoken[:1], 100, axis=0)), sound) is None


def test_distances_of_a_known_shift() -> None:
    vectors = torch.nn.functional.normalize(torch.randn(80, 16, generator=torch.Generator().manual_seed(0)), dim=-1)
    for offset in (-LONGEST_OFFSET, -2, 0, 5):
        late = torch.roll(vectors, offset, 0)
        distances = offset_distances(late, vectors)
        assert sync_from_distances(distances).offset_frames == offset
        assert float(distances.min()) < 0.5


def test_features_have_a_row_a_frame() -> None:
    sound = load_audio(SPEECH)
    mel, phones = log_mel(sound), HamaSpeechEncoder().encode(sound)
    assert sound_features(phones, mel).shape == (-(-len(sound) // 640), SOUND_DIM)
    assert np.allclose(log_mel(sound * 0.2), mel, atol=0.1)  # loudness is normalised
    assert mouth_features(np.zeros((3, len(SYNC_POINTS), 3), np.float32)).shape == (3, MOUTH_DIM)


def test_the_network_learns_to_tell_shifts_apart() -> None:
    """Mouths that are a projection of their sound are found after a few steps."""
    torch.manual_seed(0)
    network = SyncNetwork(channels=16, embedding_dim=8)
    project = torch.randn(SOUND_DIM, MOUTH_DIM) / SOUND_DIM**0.5
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for _ in range(25):
        sound = torch.randn(4, 2 * WINDOW, SOUND_DIM)
        loss, _ = sync_loss(*network(sound @ project, sound), network.log_sharpness.exp(), 10)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]


def test_the_embedded_network_is_small_and_loads_once() -> None:
    assert sum(p.numel() * p.element_size() for p in load_sync_network().parameters()) < 2**20
    assert load_sync_network() is load_sync_network()


def test_lip_leak_counts_open_mouths_in_quiet_frames(spoken: np.ndarray) -> None:
    shut = np.repeat(canonical_points()[None], 10, axis=0)
    wide = shut.copy()
    wide[:, [14, 87, 178, 88, 95, 317, 402, 318, 324], 1] -= 0.3
    tracks = tracks_of(np.concatenate([shut, wide]))
    assert lip_leak(tracks) == 0.5
    assert lip_leak(tracks, np.arange(20) < 10) == 0.0
    assert np.isnan(lip_leak(tracks, np.zeros(20, bool)))
