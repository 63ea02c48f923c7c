"""Laws of the decoder's learned stages, their corpus and their training."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mooe import MoEEPipeline
from mooe.decoder import PortraitDecoder, SourcePortrait, encode_portrait
from mooe.decoder.codebooks import Codebook, CodebookRetrieval, redundancy
from mooe.decoder.compensator import PortraitCompensator
from mooe.decoder.decoder import BATCH
from mooe.decoder.eyes import gaze_shifts
from mooe.decoder.refinement import (
    PortraitRefiner,
    allowed,
    cut_square,
    lid_closing,
    refined_decoder,
    region_shares,
)
from mooe.errors import ConfigError, MooeError
from mooe.face.topology import arkit_to_displacement, arkit_vector
from mooe.face.tracker import FaceTracker
from mooe.media import VideoWriter
from training.common import LoopConfig, TrainingLoop
from training.corpus.films import film_frames
from training.corpus.frames import FrameSample, load_shard, person_of, plan, run_job, save_shard
from training.corpus.puppets import PuppetMaker, drive_to, random_turn, without_gaze
from training.corpus.tones import TONES
from training.patch_discriminator import PatchDiscriminator
from training.train_decoder import CompensatorConfig, DecoderConfig, DecoderStage, build_discriminator, build_model

PORTRAITS = Path(__file__).parent.parent / "examples" / "portraits"
ACTING = arkit_to_displacement(arkit_vector({"jawOpen": 0.5, "eyeBlink": 0.4}))
TURN, SHIFT = np.array([0.05, 0.12, 0.03], np.float32), np.zeros(3, np.float32)


def small_model(**changes: object) -> PortraitCompensator:
    torch.manual_seed(0)
    sizes = {
        "motion_codes": 24, "appearance_codes": 24, "motion_channels": (8, 8, 16), "appearance_channels": (8, 8, 16),
        "motion_dim": 16, "appearance_dim": 16, "motion_code_dim": 8, "appearance_code_dim": 8,
    }  # fmt: skip
    return PortraitCompensator(**{**sizes, **changes}).eval()


def shaken(model: PortraitCompensator) -> PortraitCompensator:
    """The model with every weight random, so that nothing is off by its start at zero."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.fixture(scope="module")
def tracker():
    with FaceTracker(max_faces=1) as tracker:
        yield tracker


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return np.asarray(Image.open(PORTRAITS / "grace_hopper.jpg").convert("RGB"))


@pytest.fixture(scope="module")
def portrait(photo: np.ndarray, tracker: FaceTracker) -> SourcePortrait:
    return encode_portrait(photo, tracker.detect_one(photo), 256)


@pytest.fixture(scope="module")
def samples(photo: np.ndarray, tracker: FaceTracker) -> list[FrameSample]:
    maker = PuppetMaker(photo, tracker.detect_one(photo))
    return [maker.puppet(tracker, np.random.default_rng(seed)) for seed in (3, 4)]


class TestCodebook:
    @pytest.mark.parametrize("share_codes", [True, False])
    def test_scales_use_their_share_alone(self, share_codes: bool) -> None:
        book = Codebook(30, 4, 3, share_codes)
        for scale in range(3):
            _, indices, _ = book.quantize(torch.randn(2, 200, 4), scale)
            first = 0 if share_codes else 10 * scale
            assert indices.min() >= first and indices.max() < 10 * (scale + 1)

    def test_shares_are_nested(self) -> None:
        book = Codebook(30, 4, 3)
        assert all(torch.equal(book.vectors(s), book.vectors(s + 1)[: 10 * (s + 1)]) for s in range(2))

    def test_a_code_is_its_own_nearest(self) -> None:
        book = Codebook(30, 8, 3).eval()
        chosen, indices, loss = book.quantize(book.vectors(2)[None], 2)
        assert torch.equal(indices[0], torch.arange(30)) and float(loss.detach()) < 1e-6
        assert torch.allclose(chosen[0], book.vectors(2), atol=1e-6)

    def test_gradients_pass_the_quantisation(self) -> None:
        queries = torch.randn(1, 5, 4, requires_grad=True)
        Codebook(30, 4, 3).quantize(queries, 0)[0].sum().backward()
        assert queries.grad is not None and bool(queries.grad.abs().sum() > 0)

    def test_dead_codes_come_back(self) -> None:
        book = Codebook(12, 4, 1).train()
        queries = torch.nn.functional.normalize(torch.randn(1, 3, 4), dim=-1)
        for _ in range(500):
            book.quantize(queries, 0)
        assert book.usage() <= 0.25
        assert book.revive(0) >= 9
        assert book.usage() == 1.0

    def test_codes_become_the_means_of_what_they_serve(self) -> None:
        generator = torch.Generator().manual_seed(0)
        directions = torch.nn.functional.normalize(torch.randn(6, 4, generator=generator), dim=-1)
        book = Codebook(4, 4, 1).train()
        for _ in range(1500):
            book.quantize(directions[None] + 0.01 * torch.randn(1, 6, 4, generator=generator), 0)
        chosen = book.eval().quantize(directions[None], 0)[1][0]
        for code in chosen.unique():
            mean = torch.nn.functional.normalize(directions[chosen == code].mean(0), dim=-1)
            assert float(mean @ book.codes[code]) > 0.999

    def test_looking_things_up_changes_nothing(self) -> None:
        book, features = Codebook(30, 8, 1).train(), torch.randn(2, 6, 8, 8)
        retrieval = CodebookRetrieval(book, 0, 6, 2, 16, 4, 2).train()
        before = [tensor.clone() for part in (book, retrieval) for tensor in part.buffers()]
        with torch.no_grad():
            retrieval(features, book)
        retrieval.eval(), book.eval()
        retrieval(features, book)
        assert all(map(torch.equal, before, (tensor for part in (book, retrieval) for tensor in part.buffers())))

    def test_where_all_queries_lie_does_not_matter(self) -> None:
        features = torch.randn(2, 6, 8, 8)
        book, again = (Codebook(30, 8, 1).train() for _ in range(2))
        again.load_state_dict(book.state_dict())
        retrieval = CodebookRetrieval(book, 0, 6, 2, 16, 4, 2).train()
        first = retrieval(features, book).indices
        with torch.no_grad():
            retrieval.to_code.bias.add_(torch.randn(8))
        assert torch.equal(retrieval(features, again).indices, first)

    def test_redundancy_is_correlation(self) -> None:
        one = torch.randn(1, 4000, 1, generator=torch.Generator().manual_seed(0))
        alike = one.expand(-1, -1, 4) * torch.tensor([1.0, 2.0, 3.0, -4.0])
        assert float(redundancy(alike)) == pytest.approx(0.75, abs=1e-3)
        apart = torch.randn(1, 4000, 4, generator=torch.Generator().manual_seed(1))
        assert float(redundancy(apart)) < 0.01


class TestStages:
    def test_untrained_is_geometry_exactly(self, portrait: SourcePortrait) -> None:
        plain, refined = PortraitDecoder(portrait), refined_decoder(portrait, small_model())
        for name in ("render", "render_full"):
            first, second = (getattr(decoder, name)(ACTING, TURN, SHIFT) for decoder in (plain, refined))
            assert np.array_equal(first, second)

    def test_no_model_is_geometry(self, portrait: SourcePortrait) -> None:
        decoder = refined_decoder(portrait, None)
        assert decoder.motion is None and decoder.appearance is None

    def test_the_fill_stays_at_mouth_and_lids(self, portrait: SourcePortrait) -> None:
        plain = PortraitDecoder(portrait)
        refined = refined_decoder(portrait, shaken(small_model(use_motion_book=False)))
        before, after = (d.render(ACTING, TURN, SHIFT).astype(int) for d in (plain, refined))
        changed = np.abs(after - before).max(-1) > 0
        regions = region_shares(torch.from_numpy(plain.maps(ACTING, TURN, SHIFT).region)[None])
        free = allowed(regions, torch.ones(1, 1, 256, 256))[0, 0].numpy()
        near = np.asarray(torch.nn.functional.max_pool2d(torch.from_numpy(free)[None, None], 5, 1, 2)[0, 0] > 0)
        assert changed.any()
        assert not changed[~near].any()

    def test_nothing_is_filled_where_nothing_opens_or_closes(self, portrait: SourcePortrait) -> None:
        plain = PortraitDecoder(portrait)
        refined = refined_decoder(portrait, shaken(small_model(use_motion_book=False)))
        turned = np.zeros((478, 3), np.float32), TURN, SHIFT
        maps = plain.maps(*turned)
        assert not maps.mouth_mask.any() and max(lid_closing(maps)) == 0
        assert np.array_equal(refined.render(*turned), plain.render(*turned))
        closing = [lid_closing(plain.maps(arkit_to_displacement(arkit_vector({"eyeBlinkLeft": w})), TURN, SHIFT))
                   for w in (0.0, 0.3, 0.6, 1.0)]  # fmt: skip
        assert all(a[1] <= b[1] for a, b in itertools.pairwise(closing)) and closing[-1][1] == 1.0
        assert all(one[0] == 0 for one in closing)

    def test_flow_changes_outside_the_face_alone(self, portrait: SourcePortrait) -> None:
        maps = PortraitDecoder(portrait).maps(ACTING, TURN, SHIFT)
        ((flow, visibility),) = PortraitRefiner(shaken(small_model()), portrait).motion([maps])
        assert np.abs(flow).max() > 0
        inner = np.zeros((256, 256), bool)
        points = portrait.landmarks[[33, 263, 61, 291], :2].astype(int)
        inner[points[:, 1].min() : points[:, 1].max(), points[:, 0].min() : points[:, 0].max()] = True
        assert np.abs(flow[inner & maps.face_mask]).max() < 1e-6
        assert visibility.min() >= 0 and visibility.max() <= 1

    @pytest.mark.parametrize("paste_back", [False, True])
    def test_frames_drawn_together_are_those_drawn_alone(self, portrait: SourcePortrait, paste_back: bool) -> None:
        decoder = refined_decoder(portrait, shaken(small_model()))
        shares = np.linspace(0, 0.4, BATCH + 4, dtype=np.float32)[:, None]
        motion = shares[..., None] * ACTING, shares * TURN, shares * SHIFT
        together = list(decoder.render_many(*motion, paste_back=paste_back))
        render = decoder.render_full if paste_back else decoder.render
        assert len(together) == len(shares)
        # of hair and shoulders every other frame is asked for
        for frame, *moment in [*zip(together, *motion, strict=True)][::2]:
            alone = render(*moment)
            # convolutions of one frame and of several may round differently
            assert np.abs(frame.astype(int) - alone).mean() < 0.02

    def test_grey_stays_grey(self, photo: np.ndarray, tracker: FaceTracker) -> None:
        grey = TONES["grey"](photo, np.random.default_rng(0))
        source = encode_portrait(grey, tracker.detect_one(grey), 256)
        frame = refined_decoder(source, shaken(small_model())).render(ACTING, TURN, SHIFT)
        assert np.ptp(frame.astype(int), axis=-1).max() <= 3

    @pytest.mark.parametrize("size", [64, 200, 256])
    def test_any_frame_size(self, photo: np.ndarray, tracker: FaceTracker, size: int) -> None:
        source = encode_portrait(photo, tracker.detect_one(photo), size)
        frame = refined_decoder(source, shaken(small_model())).render(ACTING, TURN, SHIFT)
        assert frame.shape == (size, size, 3)

    def test_a_square_is_cut_without_resampling(self) -> None:
        picture = torch.rand(1, 3, 256, 256)
        square = cut_square(picture, torch.tensor([[40.0, 60.0]]), torch.tensor([64.0]))
        assert torch.allclose(square, picture[..., 60:124, 40:104], atol=1e-4)

    @pytest.mark.parametrize("scales", [(), (32, 16), (16, 20)])
    def test_unknown_scales_are_refused(self, scales: tuple[int, ...]) -> None:
        with pytest.raises(ConfigError, match="scales"):
            small_model(scales=scales)

    @pytest.mark.parametrize(
        "changes",
        [{"use_motion_book": False}, {"use_appearance_book": False}, {"scales": (16,)}, {"share_codes": False}],
    )
    def test_saved_models_load_bit_for_bit(
        self, tmp_path: Path, portrait: SourcePortrait, changes: dict[str, object]
    ) -> None:
        model = shaken(small_model(**changes))
        model.save_pretrained(tmp_path)
        loaded = PortraitCompensator.from_pretrained(tmp_path)
        first, second = (refined_decoder(portrait, m).render(ACTING, TURN, SHIFT) for m in (model, loaded))
        assert np.array_equal(first, second)


def test_a_pipeline_keeps_its_learned_decoder(tmp_path: Path) -> None:
    pipeline = MoEEPipeline.from_pretrained("debug")
    pipeline.save_pretrained(tmp_path / "without")
    assert MoEEPipeline.from_pretrained(tmp_path / "without").compensator is None
    pipeline.register_modules(compensator=shaken(small_model()))
    pipeline.save_pretrained(tmp_path / "with")
    loaded = MoEEPipeline.from_pretrained(tmp_path / "with").compensator
    pairs = zip(pipeline.compensator.state_dict().values(), loaded.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


class TestCorpus:
    def test_driving_to_landmarks_reaches_them(self, portrait: SourcePortrait) -> None:
        decoder = PortraitDecoder(portrait)
        moved = decoder.portrait.alignment.to_image(portrait.points + 0.02).astype(np.float32)
        points = decoder.maps(*drive_to(portrait, moved)).points
        outside_eyes = np.linalg.norm(points[:468] - moved[:468, :2], axis=1)
        assert np.median(outside_eyes) < 1.0

    def test_puppets_look_where_their_photograph_does(self) -> None:
        lids = arkit_to_displacement(arkit_vector({"eyeBlink": 0.3, "browInnerUp": 0.4}))
        look = lids + arkit_to_displacement(arkit_vector({"eyeLookOutLeft": 0.5, "eyeLookInRight": 0.5}))
        assert np.abs(gaze_shifts(look)).max() > 0.02
        assert np.abs(gaze_shifts(without_gaze(look))).max() < 1e-3
        assert np.abs(without_gaze(lids) - lids).max() < 2e-3

    def test_turns_are_at_most_twelve_degrees(self) -> None:
        rng = np.random.default_rng(0)
        assert max(np.linalg.norm(random_turn(rng)) for _ in range(200)) <= np.deg2rad(12.01)

    def test_known_flow_is_the_better_one(self, samples: list[FrameSample]) -> None:
        from mooe.decoder.refinement import warp

        for s in samples:
            source, target = (
                torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(x).permute(2, 0, 1)[None].float(), 64)
                for x in (s.source, s.target)
            )
            flow, residual = (torch.from_numpy(x).permute(2, 0, 1)[None] / 256 for x in (s.flow, s.residual))
            known = torch.from_numpy(s.known)[None, None] & (torch.from_numpy(s.region[2::4, 2::4]) == 0)
            errors = [float(((warp(source, f) - target).abs() * known).mean()) for f in (flow, flow + residual)]
            assert errors[1] < errors[0]

    def test_shards_come_back_as_they_were(self, samples: list[FrameSample], tmp_path: Path) -> None:
        save_shard(tmp_path / "puppets" / "a-000.npz", samples)
        for saved, sample in zip(load_shard(tmp_path / "puppets" / "a-000.npz"), samples, strict=True):
            assert np.array_equal(saved.render, sample.render) and np.array_equal(saved.points, sample.points)
            assert np.allclose(saved.residual, sample.residual, atol=0.02)

    def test_persons_held_out_are_never_in_training(self, tmp_path: Path) -> None:
        for name in ("ann.jpg", "bob/one.jpg", "bob/two.jpg"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        jobs = plan("puppets", tmp_path, tmp_path / "out", 2, ["bob"])
        assert len(jobs) == 6
        for job in jobs:
            assert ("test" in job.path.parts) == (person_of(job.source, tmp_path) == "bob")
        save_shard(jobs[0].path, [])
        assert jobs[0] not in plan("puppets", tmp_path, tmp_path / "out", 2, ["bob"])

    def test_useless_files_give_an_empty_shard(self, tmp_path: Path) -> None:
        Image.new("RGB", (64, 64)).save(tmp_path / "black.png")
        (job,) = plan("puppets", tmp_path, tmp_path / "out", 1, [])
        assert run_job(job) == 0
        assert load_shard(job.path) == []
        with pytest.raises(MooeError, match="nothing of use"):
            plan("films", tmp_path, tmp_path / "out", 1, [])

    def test_films_give_pairs_of_the_same_face(self, portrait: SourcePortrait, tmp_path: Path) -> None:
        decoder = PortraitDecoder(portrait)
        path = tmp_path / "a film.mp4"
        with VideoWriter(path, 256, 256) as film:
            for share in np.linspace(0, 1, 12):
                film.write(decoder.render(np.float32(share) * ACTING, np.float32(share) * TURN, SHIFT))
        pairs = film_frames(path, np.random.default_rng(0))
        assert pairs
        for pair in pairs:
            assert not pair.known.any()
            moved, still = (
                np.abs(picture.astype(float) - pair.target)[60:200, 60:200].mean()
                for picture in (pair.render, pair.source)
            )
            assert moved < 1.5 * still

    @pytest.mark.parametrize("tone", sorted(TONES))
    def test_tones_keep_size_and_kind(self, tone: str) -> None:
        image = np.random.default_rng(0).integers(0, 256, (90, 70, 3)).astype(np.uint8)
        toned = TONES[tone](image, np.random.default_rng(1))
        assert toned.shape == image.shape and toned.dtype == np.uint8 and not np.array_equal(toned, image)


class TestTraining:
    def stage(
        self, folder: Path, samples: list[FrameSample], steps: int, adversarial: float = 0.0
    ) -> tuple[TrainingLoop, PortraitCompensator]:
        torch.manual_seed(0)
        model = build_model(CompensatorConfig(motion_codes=24, appearance_codes=24))
        loop = LoopConfig(
            folder, steps, 2e-3, warmup_steps=2, decay_share=0.0, log_every=100, mixed_precision="no", report_to="none"
        )
        config = DecoderConfig(loop, folder, batch_size=2, adversarial_from=0.0)
        config.weights.adversarial = adversarial
        discriminator = build_discriminator(config)
        stage = DecoderStage(config, samples, [], model, discriminator)
        modules = {"compensator": model} if discriminator is None else {"compensator": model, "judge": discriminator}
        training = TrainingLoop(loop, modules, stage, model.save_pretrained)
        training.prepare()
        model.train()
        return training, model

    def test_the_loss_falls(self, samples: list[FrameSample], tmp_path: Path) -> None:
        training, _ = self.stage(tmp_path, samples, 16)
        before = np.mean([float(training.loss(s)[0].detach()) for s in range(4)])
        training.run()
        assert np.mean([float(training.loss(s)[0].detach()) for s in range(4)]) < 0.97 * before

    @pytest.mark.parametrize("adversarial", [0.0, 0.1])
    def test_a_broken_run_equals_an_unbroken_one(
        self, samples: list[FrameSample], tmp_path: Path, adversarial: float
    ) -> None:
        unbroken, model = self.stage(tmp_path / "unbroken", samples, 4, adversarial)
        unbroken.run()
        self.stage(tmp_path / "broken", samples, 2, adversarial)[0].run()
        second, resumed = self.stage(tmp_path / "broken", samples, 4, adversarial)
        second.run()
        for a, b in zip(model.parameters(), resumed.parameters(), strict=True):
            assert torch.allclose(a, b, atol=1e-6)

    def test_the_discriminator_learns_and_teaches_apart(self) -> None:
        torch.manual_seed(0)
        discriminator = PatchDiscriminator(2)
        true, filled = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32, requires_grad=True)
        weight = torch.zeros(2, 1, 32, 32)
        weight[..., :16] = 1
        learning, teaching = discriminator.losses(true, filled, torch.rand(2, 2, 32, 32), weight)
        learning.backward(retain_graph=True)
        assert filled.grad is None
        weights = [p for p in discriminator.parameters() if p.ndim > 1]
        assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in weights)
        discriminator.zero_grad(set_to_none=True)
        teaching.backward()
        assert all(p.grad is None for p in discriminator.parameters())
        # what lies where nothing counts, further than a patch reaches, is not taught
        assert filled.grad is not None and bool(filled.grad[..., :16].abs().sum() > 0)
        assert not bool(filled.grad[..., 28:].abs().sum() > 0)
