"""Laws of the portrait decoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mooe.decoder import PortraitDecoder, RenderMaps, SourcePortrait, encode_portrait
from mooe.decoder.compensator import PortraitCompensator
from mooe.decoder.eyes import EYES
from mooe.decoder.images import FinePhoto, sample
from mooe.decoder.mesh import topology
from mooe.decoder.neutral import LID_PAIRS, LOWER_LIP, UPPER_LIP
from mooe.decoder.rasterizer import rasterize_flow, rasterize_polygon, rasterize_shaded
from mooe.decoder.refinement import refined_decoder
from mooe.errors import PortraitError
from mooe.face.regions import LIPS_OUTER
from mooe.face.topology import arkit_to_displacement, arkit_vector
from mooe.face.tracker import Face, FaceTracker

ZERO = np.zeros(3, np.float32)
STILL = np.zeros((478, 3), np.float32)


def shape(**weights: float) -> np.ndarray:
    return arkit_to_displacement(arkit_vector(weights))


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(np.mean((a.astype(float) - b) ** 2), 1e-9)))


@pytest.fixture(scope="module")
def tracker():
    with FaceTracker() as tracker:
        yield tracker


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    path = Path(__file__).parent.parent / "examples" / "portraits" / "grace_hopper.jpg"
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.fixture(scope="module")
def portrait(photo: np.ndarray, tracker: FaceTracker) -> SourcePortrait:
    return encode_portrait(photo, tracker.detect_one(photo), 256)


@pytest.fixture(scope="module")
def decoder(portrait: SourcePortrait) -> PortraitDecoder:
    return PortraitDecoder(portrait)


class TestRasterizer:
    def test_identity_flow_returns_each_pixel(self, portrait: SourcePortrait) -> None:
        mesh = topology()
        points = portrait.mesh.source - 0.5
        flow, _ = rasterize_flow(
            mesh.triangles, mesh.kinds, points, points, np.zeros(len(points), np.float32), (256, 256)
        )
        columns, rows = np.meshgrid(np.arange(256), np.arange(256))
        assert np.abs(flow - np.stack([columns, rows], -1)).max() < 0.05

    def test_near_triangles_hide_far_ones(self) -> None:
        points = np.array([[0, 0], [10, 0], [0, 10], [0, 0], [10, 0], [0, 10]], np.float32)
        source = points + np.array([[0]] * 3 + [[100]] * 3, np.float32)
        triangles = np.array([[0, 1, 2], [3, 4, 5]], np.int32)
        for depth, shift in (((0, 1), 100), ((1, 0), 0)):
            flow, _ = rasterize_flow(
                triangles, np.ones(2, np.uint8), points, source, np.repeat(depth, 3).astype(np.float32), (12, 12)
            )
            assert flow[2, 2] == pytest.approx((2 + shift, 2 + shift), abs=1e-4)

    def test_polygon_coverage_sums_to_its_area(self) -> None:
        corners = np.array([[2.3, 1.7], [17.9, 4.2], [11.1, 15.6]])
        (ax, ay), (bx, by), (cx, cy) = corners
        area = abs((bx - ax) * (cy - ay) - (cx - ax) * (by - ay)) / 2
        assert rasterize_polygon(corners, (20, 24)).sum() == pytest.approx(area, rel=1e-4)
        assert rasterize_polygon(corners[[0, 1, 0, 1]], (20, 24)).max() < 1e-6

    def test_shaded_meshes_keep_what_is_nearest(self) -> None:
        points = np.array([[0, 0, 0], [9, 0, 0], [0, 9, 0], [0, 0, 5], [9, 0, 5], [0, 9, 5]], np.float32)
        colors = np.repeat(np.array([[200, 0, 0], [0, 200, 0]], np.float32), 3, 0)
        for order in ([0, 1], [1, 0]):
            triangles = np.array([[0, 1, 2], [3, 4, 5]], np.int32)[order]
            color, _ = rasterize_shaded(triangles, points, colors, (10, 10), np.zeros(3, np.float32))
            assert color[2, 2] == pytest.approx((0, 200, 0))


class TestGeometry:
    def test_at_zero_the_lips_are_just_closed(self, portrait: SourcePortrait) -> None:
        face = portrait.driver(STILL)
        assert np.abs(face[UPPER_LIP, 1] - face[LOWER_LIP, 1]).max() < 1e-5

    def test_a_full_blink_shuts_both_eyes(self, portrait: SourcePortrait) -> None:
        face = portrait.driver(shape(eyeBlink=1.0))
        upper, lower = LID_PAIRS.T
        assert np.abs(face[upper, 1] - face[lower, 1]).max() < 1e-4

    def test_lips_and_lids_never_cross(self, portrait: SourcePortrait) -> None:
        generator = np.random.default_rng(0)
        for _ in range(20):
            face = portrait.driver(generator.normal(0, 0.05, (478, 3)).astype(np.float32))
            assert (face[UPPER_LIP, 1] - face[LOWER_LIP, 1]).min() > -1e-5
            assert (face[LID_PAIRS[:, 0], 1] - face[LID_PAIRS[:, 1], 1]).min() > -1e-5

    def test_motion_fades_at_the_crops_border(self, decoder: PortraitDecoder) -> None:
        maps = decoder.maps(shape(jawOpen=0.6), np.array([0.1, 0.15, 0.1]), np.array([0.05, 0.05, 0]))
        free = decoder.portrait.crop.free_sides(*decoder.portrait.picture.shape[:2])
        edges = (maps.flow[:, 0, 0], maps.flow[0, :, 1], maps.flow[:, -1, 0] - 255, maps.flow[-1, :, 1] - 255)
        assert any(free)
        for is_free, edge in zip(free, edges, strict=True):
            assert not is_free or np.abs(edge).max() < 0.1

    @pytest.mark.parametrize("turn", [(0.1, 0.2, 0.1), (-0.1, -0.2, -0.1)])
    def test_turns_leave_no_hole_and_no_black(self, decoder: PortraitDecoder, turn: tuple[float, ...]) -> None:
        moved = np.array([0.1, -0.1, 0.0])
        frame = decoder.render(shape(jawOpen=0.5, eyeBlink=0.5), np.array(turn), moved)
        dark = (frame.max(-1) < 4).mean() - (decoder.portrait.frame.max(-1) < 4).mean()
        assert dark < 0.01
        flow = decoder.maps(STILL, np.array(turn), moved).flow
        assert np.isfinite(flow).all() and flow.min() > -60 and flow.max() < 316


class TestRender:
    def test_at_rest_the_photograph_comes_back(self, decoder: PortraitDecoder) -> None:
        source = decoder.portrait
        rest = source.points - source.neutral
        assert psnr(decoder.render(rest, ZERO, ZERO), source.frame) > 36
        full = decoder.render_full(rest, ZERO, ZERO)
        assert full.shape == source.picture.shape and psnr(full, source.picture) > 40

    def test_same_input_same_bytes(self, portrait: SourcePortrait) -> None:
        arguments = shape(jawOpen=0.4, mouthSmile=0.5), np.array([0.05, 0.1, 0]), ZERO
        first, second = (PortraitDecoder(portrait).render(*arguments) for _ in range(2))
        assert first.shape == (256, 256, 3) and first.dtype == np.uint8
        assert np.array_equal(first, second)

    def test_pixels_outside_the_head_are_untouched(self, decoder: PortraitDecoder) -> None:
        source = decoder.portrait
        full = decoder.render_full(shape(jawOpen=0.6), np.array([0.05, 0.1, 0.05]), ZERO)
        crop = source.crop
        outside = np.ones(full.shape[:2], bool)
        outside[max(crop.top, 0) : crop.top + crop.side, max(crop.left, 0) : crop.left + crop.side] = False
        assert np.array_equal(full[outside], source.picture[outside])

    def test_the_open_mouth_is_neither_hole_nor_stretched_skin(self, decoder: PortraitDecoder) -> None:
        displacement = shape(jawOpen=0.6)
        frame = decoder.render(displacement, ZERO, ZERO)
        inside = decoder.maps(displacement, ZERO, ZERO).mouth_mask
        assert inside.sum() > 150
        pixels = frame[inside].astype(float)
        assert pixels.mean() < 0.75 * decoder.portrait.tone.skin.mean()
        assert pixels.std(0).mean() > 8

    def test_closed_lids_look_like_skin(self, decoder: PortraitDecoder) -> None:
        open_eyes = decoder.render(STILL, ZERO, ZERO).astype(float)
        shut = decoder.render(shape(eyeBlink=1.0), ZERO, ZERO).astype(float)
        maps = decoder.maps(STILL, ZERO, ZERO)
        eye = maps.region == 3
        skin = decoder.portrait.tone.skin
        far = [np.abs(np.median(image[eye], 0) - skin).mean() for image in (open_eyes, shut)]
        assert far[1] < far[0]
        lid = np.median(shut[eye], 0)
        assert np.abs(lid / lid.sum() - skin / skin.sum()).max() < 0.05  # nor grey

    def test_what_wide_lids_uncover_has_no_seam_over_the_pupil(
        self, photo: np.ndarray, tracker: FaceTracker
    ) -> None:
        face = tracker.detect_one(photo)
        painted = photo.copy()
        for ring, iris in EYES:
            points = face.landmarks[list(ring), :2]
            (x0, y0), (_, y1) = np.floor(points.min(0)).astype(int), np.ceil(points.max(0)).astype(int)
            dark = (slice(y0, y1 + 1), slice(x0, round(float(face.landmarks[iris[0], 0]))))
            painted[dark] = painted[dark] // 4
        first, second = (PortraitDecoder(encode_portrait(picture, face, 512)) for picture in (photo, painted))
        wide = shape(eyeWide=2.5)
        share = second.render(wide, ZERO, ZERO).mean(-1) / np.maximum(first.render(wide, ZERO, ZERO).mean(-1), 1)
        still, now = (first.maps(drive, ZERO, ZERO) for drive in (STILL, wide))
        uncovered = (now.region == 3) & (still.region != 3)
        for _, iris in EYES:
            column = round(float(first.portrait.landmarks[iris[0], 0]))
            rows = np.flatnonzero(uncovered[:, column])
            assert len(rows) >= 2
            assert np.abs(share[rows, column - 2] - share[rows, column + 1]).mean() < 0.25

    def test_a_grey_photograph_stays_grey(self, photo: np.ndarray, tracker: FaceTracker) -> None:
        grey = np.repeat(np.rint(photo.mean(-1, keepdims=True)).astype(np.uint8), 3, -1)
        decoder = PortraitDecoder(encode_portrait(grey, tracker.detect_one(grey), 256))
        frame = decoder.render(shape(jawOpen=0.6, mouthSmile=0.4), ZERO, ZERO)
        assert np.ptp(frame.astype(int), axis=-1).max() <= 3

    def test_lips_of_a_grey_photograph_are_no_teeth(self, photo: np.ndarray, tracker: FaceTracker) -> None:
        grey = np.repeat(np.rint(photo.mean(-1, keepdims=True)).astype(np.uint8), 3, -1)
        face = tracker.detect_one(grey)
        eyes = np.linalg.norm(face.landmarks[33] - face.landmarks[263])
        lips = rasterize_polygon(face.landmarks[list(LIPS_OUTER), :2] - np.float32(0.5), grey.shape[:2]) > 0.5
        grey[lips] = round(0.62 * encode_portrait(grey, face, 256).tone.exposure)
        parted = face.landmarks.copy()
        parted[[13, 312, 311, 310, 82, 81, 80], 1] -= 0.04 * eyes  # a tracker's mistake on closed lips
        parted[[14, 317, 402, 318, 87, 178, 88], 1] += 0.04 * eyes
        source = encode_portrait(grey, Face(parted, face.blendshapes, face.pose, face.score), 256)
        smile = shape(jawOpen=0.15, mouthUpperUp=0.7, mouthLowerDown=0.5, mouthSmile=0.5)
        decoder = PortraitDecoder(source)
        inside = decoder.maps(smile, ZERO, ZERO).mouth_mask
        bright = np.quantile(decoder.render(smile, ZERO, ZERO)[inside], 0.9)
        assert source.mouth.photo_opening > 0.5 and bright > 0.8 * source.tone.exposure

    def test_large_pictures_are_capped_to_even_sides(self, photo: np.ndarray, tracker: FaceTracker) -> None:
        large = np.asarray(Image.fromarray(photo).resize((1641, 2101)))
        source = encode_portrait(large, tracker.detect_one(large), 128)
        assert max(source.picture.shape) <= 1920
        assert source.picture.shape[0] % 2 == 0 and source.picture.shape[1] % 2 == 0
        full = PortraitDecoder(source).render_full(shape(jawOpen=0.3), ZERO, ZERO)
        assert full.shape == source.picture.shape

    def test_a_fill_of_one_pixel_does_no_harm_in_a_tiny_picture(
        self, photo: np.ndarray, tracker: FaceTracker
    ) -> None:
        def one_pixel(frame: np.ndarray, maps: RenderMaps, visibility: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            weight = np.zeros(frame.shape[:2], np.float32)
            weight[131, 127] = 1
            return frame.astype(np.float32), weight

        tiny = np.asarray(Image.fromarray(photo).resize((40, 52)))
        source = encode_portrait(tiny, tracker.detect_one(tiny), 256)
        decoder = PortraitDecoder(source, appearance=one_pixel)
        assert decoder.render_full(shape(jawOpen=0.3), ZERO, ZERO).shape == source.picture.shape

    def test_a_picture_of_the_wrong_kind_is_refused(self, portrait: SourcePortrait, tracker: FaceTracker) -> None:
        face = tracker.detect_one(portrait.picture)
        with pytest.raises(PortraitError):
            encode_portrait(portrait.picture[..., 0], face)

    @pytest.mark.parametrize(
        ("weights", "name", "least"),
        [
            ({"jawOpen": 0.5}, "jawOpen", 0.2),
            ({"mouthSmile": 0.8}, "mouthSmileLeft", 0.3),
            ({"eyeBlink": 1.0}, "eyeBlinkRight", 0.2),
            ({"eyeLookOutLeft": 0.7, "eyeLookInRight": 0.7}, "eyeLookOutLeft", 0.1),
        ],
    )
    def test_the_tracker_sees_what_was_asked(
        self, decoder: PortraitDecoder, tracker: FaceTracker, weights: dict[str, float], name: str, least: float
    ) -> None:
        rest, moved = (
            tracker.detect_one(decoder.render(displacement, ZERO, ZERO)).blendshapes[name]
            for displacement in (STILL, shape(**weights))
        )
        assert moved > rest + least


class TinyMotion(torch.nn.Module):
    """Flow residual and visibility from the crop and the region map by one convolution."""

    def __init__(self, shift: float = 0.0) -> None:
        super().__init__()
        self.shift = shift
        self.convolution = torch.nn.Conv2d(4, 1, 3, padding=1)

    @torch.no_grad()
    def forward(self, photo: np.ndarray, maps: RenderMaps) -> tuple[np.ndarray, np.ndarray]:
        stack = np.concatenate([photo / 255, maps.region[..., None] / 4], -1).astype(np.float32)
        visibility = self.convolution(torch.from_numpy(stack).permute(2, 0, 1)[None]).sigmoid()[0, 0].numpy()
        return np.full((*photo.shape[:2], 2), self.shift, np.float32), visibility


class TinyAppearance(torch.nn.Module):
    """Fills one colour where the motion stage sees nothing."""

    @torch.no_grad()
    def forward(
        self, frame: np.ndarray, maps: RenderMaps, visibility: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        color = torch.from_numpy(frame.astype(np.float32)).mean((0, 1))
        return np.broadcast_to(color.numpy(), frame.shape).astype(np.float32), 1 - visibility


class TestCompensation:
    def test_no_residual_changes_nothing(self, portrait: SourcePortrait) -> None:
        arguments = shape(jawOpen=0.2), np.array([0, 0.1, 0]), ZERO
        plain = PortraitDecoder(portrait).render(*arguments)
        assert np.array_equal(PortraitDecoder(portrait, motion=TinyMotion()).render(*arguments), plain)

    def test_a_flow_residual_moves_the_person(self, portrait: SourcePortrait) -> None:
        moved = PortraitDecoder(portrait, motion=TinyMotion(shift=5.0)).render(STILL, ZERO, ZERO)
        plain = PortraitDecoder(portrait).render(STILL, ZERO, ZERO)
        assert psnr(moved[185:225, 90:130], plain[190:230, 95:135]) > 30

    @pytest.mark.parametrize("full", [False, True])
    def test_fill_is_blended_by_its_weight(self, portrait: SourcePortrait, full: bool) -> None:
        torch.manual_seed(0)
        stages = PortraitDecoder(portrait, TinyMotion(), TinyAppearance())
        plain = PortraitDecoder(portrait)
        name = "render_full" if full else "render"
        filled, bare = (getattr(d, name)(STILL, ZERO, ZERO).astype(float) for d in (stages, plain))
        assert filled.shape == bare.shape
        assert filled.std() < bare.std()


def test_looking_between_pixels_is_exact_at_them_and_no_blurrier_than_bicubic() -> None:
    def waves(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        wave = np.sin(1.3 * x + 0.4) * np.cos(0.9 * y)  # some five pixels a period
        return np.repeat(127.5 + 100 * wave[..., None], 3, -1)

    x, y = np.meshgrid(np.arange(90), np.arange(80))
    photo = np.rint(waves(x, y)).astype(np.uint8)
    places = np.stack([x, y], -1).astype(np.float32)
    fine = FinePhoto(photo)
    assert np.array_equal(fine.sample(places), photo)
    between = places[10:-10, 10:-10] + np.float32([0.37, 0.81])
    truth = waves(between[..., 0], between[..., 1])
    errors = [np.abs(found - truth).mean() for found in (fine.sample(between), sample(photo, between))]
    assert errors[0] < errors[1]


def test_loaded_kernels_are_all_that_drawing_needs(portrait: SourcePortrait) -> None:
    from mooe.decoder import eyes, rasterizer
    from mooe.decoder.kernels import load_kernels

    def compiled() -> list[int]:
        kernels = [*vars(eyes).values(), *vars(rasterizer).values()]
        return [len(kernel.signatures) for kernel in kernels if hasattr(kernel, "signatures")]

    load_kernels()
    before = compiled()
    assert any(before)
    smile = arkit_to_displacement(arkit_vector({"jawOpen": 0.5, "mouthSmileLeft": 0.8, "eyeLookUpLeft": 0.5}))
    turn = np.array([0.05, 0.1, 0.02], np.float32)
    PortraitDecoder(portrait).render_full(smile, turn, 0 * turn)
    assert compiled() == before


def test_a_head_that_reaches_over_the_border_is_drawn_as_within(photo: np.ndarray, tracker: FaceTracker) -> None:
    face = tracker.detect_one(photo)
    left, top, right, bottom = (int(x) for x in face.box)
    tight = np.ascontiguousarray(photo[top : (top + bottom) // 2 * 2 - top, left:right])
    landmarks = face.landmarks - np.array([left, top, 0], np.float32)
    portrait = encode_portrait(tight, Face(landmarks, face.blendshapes, face.pose, 1.0), 256)
    assert portrait.crop.left < 0 or portrait.crop.top < 0
    still = np.zeros(3, np.float32)
    decoder = PortraitDecoder(portrait)
    drawn = decoder.render_full(shape(jawOpen=0.6, mouthSmileLeft=0.7), still, still)
    assert drawn.shape == portrait.picture.shape
    # the same place of the head crop, drawn at its own resolution
    inner, outer = portrait.crop.overlap(*portrait.picture.shape[:2])
    frame = Image.fromarray(decoder.render(shape(jawOpen=0.6, mouthSmileLeft=0.7), still, still))
    side = portrait.crop.side
    assert psnr(np.asarray(frame.resize((side, side)))[inner], drawn[outer]) > 25


def test_the_appearance_book_meets_few_sizes_of_batches(portrait: SourcePortrait) -> None:
    """However many mouths and eyes some frames need; each size that it meets takes memory that stays."""
    model = PortraitCompensator(use_motion_book=False)
    assert model.appearance is not None
    met: list[int] = []
    model.appearance.register_forward_pre_hook(lambda _, inputs: met.append(len(inputs[0])))
    acting = [{"jawOpen": 0.5}, {"jawOpen": 0.5, "eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}]
    for count, weights in ((count, weights) for count in range(1, 9) for weights in acting):
        still = np.zeros((count, 3), np.float32)
        moved = shape(**weights)[None].repeat(count, 0)
        drawn = refined_decoder(portrait, model).render_many(moved, still, still, paste_back=False)
        assert len(list(drawn)) == count
    assert sum(range(1, 9)) * (1 + 3) <= sum(met) < sum(range(1, 9)) * (1 + 3) + 4 * len(met)
    assert len(set(met)) <= 5


def test_frames_do_not_depend_on_the_number_of_threads(portrait: SourcePortrait) -> None:
    shares = np.linspace(0, 1, 5, dtype=np.float32)[:, None]
    moved, still = shares[..., None] * shape(jawOpen=0.6, eyeBlinkLeft=1.0), shares * np.float32([0, 0.2, 0.1])
    before, drawn = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            drawn.append(np.stack(list(PortraitDecoder(portrait).render_many(moved, still, still))))
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(*drawn)


def test_codes_of_motion_are_looked_up_in_float32() -> None:
    # in bfloat16 neighbouring codes are mistaken for each other
    model = PortraitCompensator(use_appearance_book=False).eval()
    assert model.motion is not None
    seen: list[torch.dtype] = []
    for retrieval in model.motion.retrievals.values():
        retrieval.to_code.register_forward_hook(lambda module, given, queries: seen.append(queries.dtype))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        model.motion(torch.zeros(1, 14, 64, 64))
    assert seen == [torch.float32] * 3
