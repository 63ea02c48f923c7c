"""Laws of the motion station: codec, lips, pose, blinks, windows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler

from mooe.face.regions import ARKIT_NAMES, LIP_PAIRS, LIPS_INNER, LIPS_OUTER
from mooe.face.topology import arkit_to_displacement, arkit_vector
from mooe.motion.arkit import displacement_to_arkit
from mooe.motion.atlas import lower_face_mask
from mooe.motion.behavior import NOD_LOOKAHEAD, NOD_PAST, BlinkSchedule, BrowLiftSchedule, GazeSchedule, NodSchedule
from mooe.motion.codec import MotionCodec
from mooe.motion.controls import Controls, eye_in_head, gaze_weights
from mooe.motion.lips import keep_apart, lip_gap, shut_lips
from mooe.motion.pose import FRAMES_PER_KNOT, HeadPosePredictor, PoseSampler, interpolate_knots, soft_limit
from mooe.motion.sampling import CARRIED, WINDOW, set_steps, window_starts
from mooe.motion.streaming import articulate
from mooe.motion.unet import AUDIO_CONTEXT, MotionUNet


def faces(count: int, seed: int = 0) -> np.ndarray:
    weights = np.random.default_rng(seed).random((count, 52), np.float32) ** 4
    return arkit_to_displacement(weights)


def test_codec_there_and_back() -> None:
    """Within half a hundredth of the eye distance on average and two hundredths at worst on the lips."""
    motion = torch.from_numpy(faces(100))
    codec = MotionCodec()
    codec.fit(motion)
    error = (codec.decode(codec.encode(motion)) - motion).norm(dim=-1)
    assert float(error.mean()) < 0.005
    assert float(error[:, list(LIPS_INNER + LIPS_OUTER)].max()) < 0.02


def test_fitted_latents_are_normalised() -> None:
    motion = torch.from_numpy(faces(400))
    codec = MotionCodec()
    codec.fit(motion, floor=0.0)
    latents = codec.encode(motion)
    assert float(latents.mean().abs()) < 1e-3 and float(latents.std()) == pytest.approx(1, abs=0.05)


def test_codec_is_linear_in_motion() -> None:
    codec = MotionCodec(map_size=16, patch_size=4)
    a, b = torch.from_numpy(faces(2))
    assert torch.allclose(codec.encode_raw(a + 2 * b), codec.encode_raw(a) + 2 * codec.encode_raw(b), atol=1e-4)


def test_shutting_closes_every_pair_and_zero_leaves_the_face() -> None:
    opened = arkit_to_displacement(arkit_vector({"jawOpen": 0.6, "mouthUpperUp": 0.4}))[None]
    assert lip_gap(opened).min() > 0.05
    assert np.abs(lip_gap(shut_lips(opened, np.ones(1, np.float32)))).max() < 1e-5
    assert np.array_equal(shut_lips(opened, np.zeros(1, np.float32)), opened)
    half = lip_gap(shut_lips(opened, np.full(1, 0.5, np.float32)))
    assert np.allclose(half, lip_gap(opened) / 2, atol=1e-5)


def test_lips_and_lids_never_cross() -> None:
    crossed = arkit_to_displacement(arkit_vector({"mouthClose": 1.0, "eyeBlink": 2.0}))[None]
    assert lip_gap(crossed).min() < 0
    apart = keep_apart(crossed)
    assert lip_gap(apart).min() > -1e-6
    untouched = arkit_to_displacement(arkit_vector({"jawOpen": 0.5}))[None]
    assert np.array_equal(keep_apart(untouched), untouched)


def test_arkit_weights_come_back_from_the_points() -> None:
    weights = np.zeros((3, 52), np.float32)
    for row, name in enumerate(("jawOpen", "mouthSmileLeft", "browInnerUp")):
        weights[row, ARKIT_NAMES.index(name)] = 0.7
    found = displacement_to_arkit(arkit_to_displacement(weights))
    assert found.min() >= 0 and found.max() <= 1
    assert np.abs(arkit_to_displacement(found) - arkit_to_displacement(weights)).max() < 0.02
    assert (found.argmax(1) == weights.argmax(1)).all()


@pytest.mark.parametrize("rate", [6.0, 20.0, 40.0])
def test_blinks_come_at_their_rate_and_close_fully(rate: float) -> None:
    track = BlinkSchedule(np.random.default_rng(3), rate).take(25 * 600)
    starts = np.sum((track[1:] >= 1) & (track[:-1] < 1))
    assert starts / 10 == pytest.approx(rate, rel=0.25)
    assert track.max() == 1 and track.min() == 0
    assert not BlinkSchedule(np.random.default_rng(3), 0).take(1000).any()


def test_schedules_do_not_depend_on_how_they_are_taken() -> None:
    for schedule in (BlinkSchedule, GazeSchedule):
        whole = schedule(np.random.default_rng(5)).take(900)
        parts = schedule(np.random.default_rng(5))
        assert np.array_equal(whole, np.concatenate([parts.take(n) for n in (1, 4, 200, 300, 395)]))


def syllables(frames: list[int], count: int) -> np.ndarray:
    """Prosody of murmured speech in which the syllables around these frames are louder, with its surroundings."""
    distance = np.abs(np.arange(-NOD_PAST, count + NOD_LOOKAHEAD)[:, None] - np.array(frames)[None]).min(1)
    prosody = np.zeros((len(distance), 8), np.float32)
    prosody[:, 1] = 0.7 + 0.5 * np.exp(-((distance / 3) ** 2))
    prosody[:, 3] = 0.9
    return prosody


BEATS = pytest.mark.parametrize("schedule", [NodSchedule, BrowLiftSchedule])


@BEATS
def test_heads_nod_and_brows_rise_on_stressed_syllables_alone(
    schedule: type[NodSchedule] | type[BrowLiftSchedule],
) -> None:
    sound = syllables([20, 60, 110], 150)
    beats = schedule(np.random.default_rng(0), share=1.0).take(sound)
    apexes = np.flatnonzero((beats[1:-1] > beats[:-2]) & (beats[1:-1] >= beats[2:])) + 1
    assert apexes.tolist() == [20, 60, 110] and beats.min() >= 0
    assert not schedule(np.random.default_rng(0), share=1.0).take(0 * sound).any()
    # what is loud without a voice, such as a knock, is not spoken
    sound[:, 3] = 0
    assert not schedule(np.random.default_rng(0), share=1.0).take(sound).any()


@BEATS
def test_beats_do_not_depend_on_how_the_speech_is_cut(
    schedule: type[NodSchedule] | type[BrowLiftSchedule],
) -> None:
    sound = syllables([8, 40, 44, 90, 131, 170], 200)
    whole, cut = (schedule(np.random.default_rng(1)) for _ in range(2))
    parts = []
    for first in range(0, 200, 7):
        stop = min(first + 7, 200)
        again = schedule(np.random.default_rng(5))
        again.restore(cut.state())
        cut = again
        parts.append(cut.take(sound[first : stop + NOD_PAST + NOD_LOOKAHEAD]))
    together = whole.take(sound)
    assert together.any() and np.array_equal(np.concatenate(parts), together)


def test_gaze_holds_while_the_head_turns() -> None:
    turned = eye_in_head(np.zeros((2, 2), np.float32), np.array([[0, 0.1, 0], [0.1, 0, 0]], np.float32))
    assert turned[0, 0] < 0  # head to the viewer's right, eyes to the left
    assert turned[1, 1] > 0  # head down, eyes up
    weights = gaze_weights(turned)
    moved = arkit_to_displacement(arkit_vector({n: w[0] for n, w in weights.items()}))
    assert moved[468, 0] < 0 and moved[473, 0] < 0  # both eyes go the same way


def test_head_motion_is_smooth_limited_and_still_at_zero() -> None:
    predictor = HeadPosePredictor(hidden_dim=8).eval()
    sound = np.random.default_rng(0).random((81, 16), np.float32)
    emotion = np.zeros((80, 6), np.float32)

    def poses(amount: float) -> np.ndarray:
        sampler = PoseSampler(predictor, torch.Generator().manual_seed(0), amount)
        return sampler.take(sound, emotion)

    assert np.abs(poses(1000.0)).max() < 0.2
    assert not poses(0.0).any()
    frames = interpolate_knots(poses(1.0), 80 * FRAMES_PER_KNOT)
    assert np.abs(np.diff(frames, n=2, axis=0)).max() < np.abs(np.diff(poses(1.0), axis=0)).max() / FRAMES_PER_KNOT
    limit = soft_limit(np.full((1, 6), 100.0, np.float32))
    assert (limit < 0.2).all()


def test_pose_sampling_continues_where_it_stopped() -> None:
    predictor = HeadPosePredictor(hidden_dim=8).eval()
    sound = np.random.default_rng(0).random((21, 16), np.float32)
    emotion = np.zeros((20, 6), np.float32)
    whole = PoseSampler(predictor, torch.Generator().manual_seed(0)).take(sound, emotion)
    parts = PoseSampler(predictor, torch.Generator().manual_seed(0))
    pieces = [parts.take(sound[:8], emotion[:7]), parts.take(sound[7:], emotion[7:])]
    assert np.allclose(whole, np.concatenate(pieces), atol=1e-6)


@pytest.mark.parametrize("frames", [1, 8, 39, 40, 41, 72, 73, 1000])
def test_windows_cover_every_frame_once(frames: int) -> None:
    covered = []
    for number, start in enumerate(window_starts(frames)):
        skip = 0 if number == 0 else CARRIED
        covered += range(start + skip, min(start + WINDOW, frames))
    assert covered == list(range(frames))


def tiny_unet() -> MotionUNet:
    torch.manual_seed(0)
    return MotionUNet(
        latent_channels=12, latent_size=4, audio_dim=20, audio_channels=8, condition_dim=16, map_channels=4,
        block_out_channels=(16, 16), num_attention_heads=2,
    ).eval()  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize("steps", [1, 2, 3, 6])
@pytest.mark.parametrize("shift", [1.0, 2.0])
def test_every_denoising_step_goes_down_by_the_same(steps: int, shift: float) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    set_steps(scheduler, steps)
    time = scheduler.sigmas / (shift - (shift - 1) * scheduler.sigmas)
    assert len(scheduler.timesteps) == steps
    assert torch.allclose(time, torch.linspace(1, 0, steps + 1), atol=1e-5)


def test_a_scheduler_that_takes_no_levels_keeps_its_own() -> None:
    scheduler = DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True)
    set_steps(scheduler, 4)
    assert len(scheduler.timesteps) == 4


def test_quick_movements_of_the_mouth_alone_are_articulated() -> None:
    size, frames = 8, 25
    time = torch.arange(frames)[None, :, None, None, None].float()
    below = torch.from_numpy(lower_face_mask(size)).bool()

    def gain(frequency: float) -> torch.Tensor:
        wave = torch.sin(2 * torch.pi * frequency / 25 * time).expand(1, frames, 3, size, size)
        return (articulate(wave) - wave)[:, 3:-3].abs().amax((0, 1, 2))

    still = torch.randn(1, 1, 3, size, size).expand(1, frames, 3, size, size)
    assert torch.allclose(articulate(still), still, atol=1e-6)
    slow, quick = gain(1.0), gain(8.0)
    assert (slow[below] < 0.05).all() and (quick[below] > 0.25).all()
    assert not slow[~below].any() and not quick[~below].any()


def test_unet_batch_equals_single() -> None:
    unet = tiny_unet()
    sample, known = torch.randn(2, 6, 12, 4, 4), torch.zeros(2, 6, 1, 4, 4)
    features, controls = torch.randn(2, 6 + 2 * AUDIO_CONTEXT, 20), torch.randn(2, 6, 10)
    level = torch.tensor([300.0, 900.0])
    both = unet(sample, level, unet.condition(features, controls), known)
    for row in range(2):
        pick = slice(row, row + 1)
        one = unet(sample[pick], level[pick], unet.condition(features[pick], controls[pick]), known[pick])
        assert torch.allclose(both[pick], one, atol=1e-5)


@torch.no_grad()
def test_unet_without_sound_does_not_hear() -> None:
    unet = tiny_unet()
    sample, known, controls = torch.randn(1, 6, 12, 4, 4), torch.zeros(1, 6, 1, 4, 4), torch.randn(1, 6, 10)
    level, absent = torch.tensor([500.0]), torch.tensor([False])
    outputs = []
    for seed in (0, 1):
        features = torch.randn(1, 6 + 2 * AUDIO_CONTEXT, 20, generator=torch.Generator().manual_seed(seed))
        outputs.append(unet(sample, level, unet.condition(features, controls, absent), known))
        assert not torch.equal(outputs[-1], unet(sample, level, unet.condition(features, controls), known))
    assert torch.equal(*outputs)


def test_controls_are_stacked_in_frames() -> None:
    frames = 7
    controls = Controls(
        np.ones(frames), np.zeros(frames), np.zeros((frames, 2)), np.zeros((frames, 3)), np.zeros((frames, 3))
    )
    assert controls.stack().shape == (frames, 10)


def test_pairs_of_lips_are_the_inner_ring() -> None:
    assert {i for pair in LIP_PAIRS for i in pair} == set(LIPS_INNER) - {78, 308}
