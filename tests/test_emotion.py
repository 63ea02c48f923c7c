"""Laws of names and mixtures, action units, and timelines."""

import numpy as np
import pytest

from mooe.emotion import (
    ACTION_UNITS,
    COMPOUND_EMOTIONS,
    EMOTION_ACTION_UNITS,
    EMOTIONS,
    EmotionMix,
    EmotionTimeline,
    action_units_to_arkit,
    parse_emotion,
)
from mooe.emotion.action_units import (
    is_pattern,
    parse_action_unit,
    parse_weights,
    pattern_weights,
    split_action_units,
)
from mooe.emotion.timeline import ease_between
from mooe.errors import EmotionError
from mooe.face.regions import ARKIT_NAMES

# --- names and mixtures ---------------------------------------------------------------------------


def test_a_name_with_a_weight_is_read() -> None:
    mix = parse_emotion("happy:.8")
    assert mix.as_dict() == {"happy": pytest.approx(0.8)}
    assert mix.strength == pytest.approx(0.8)
    assert mix.weights.dtype == np.float32


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (None, {}),
        ("neutral", {}),
        ("calm:.5", {}),
        ("Joy", {"happy": 1}),
        ("ANGER:1", {"angry": 1}),
        (["happy:.25", "sad:.5"], {"happy": 0.25, "sad": 0.5}),
        ({"fear": 0.5}, {"fearful": 0.5}),
        (["happy:.25", "joy:.25"], {"happy": 0.5}),
        ("happily-surprised:.5", {"happy": 0.25, "surprised": 0.25}),
    ],
)
def test_every_way_of_asking_gives_a_mixture(spec: object, expected: dict[str, float]) -> None:
    assert parse_emotion(spec).as_dict() == pytest.approx(expected)  # type: ignore[arg-type]


def test_the_strength_of_a_mixture_is_at_most_one() -> None:
    mix = parse_emotion(["happy", "sad", "happily_surprised:.5"])
    assert mix.strength == pytest.approx(1)
    assert mix.as_dict() == pytest.approx({"happy": 0.5, "sad": 0.4, "surprised": 0.1})


def test_the_fifteen_compounds_are_mixtures_of_two_at_full_strength() -> None:
    assert len(COMPOUND_EMOTIONS) == 15
    for name, shares in COMPOUND_EMOTIONS.items():
        mix = parse_emotion(name)
        assert mix.strength == pytest.approx(1)
        assert mix.as_dict() == pytest.approx(dict(shares))
        assert len(shares) == 2
    assert len({parse_emotion(name) for name in COMPOUND_EMOTIONS}) == 15


def test_intensity_scales_and_zero_is_neutral() -> None:
    mix = parse_emotion({"happy": 0.8}, intensity=0.5)
    assert mix.as_dict() == pytest.approx({"happy": 0.4})
    assert parse_emotion("happy", intensity=0) == EmotionMix.neutral()
    assert parse_emotion(mix) == mix


@pytest.mark.parametrize("weight", ["-.1", "1.1", "nan", "inf", "much", ""])
def test_a_weight_outside_zero_to_one_is_refused(weight: str) -> None:
    with pytest.raises(EmotionError, match="weight of 'happy' must be a number between 0 and 1"):
        parse_emotion(f"happy:{weight}")


@pytest.mark.parametrize("intensity", [-1.0, 1.5, float("nan")])
def test_an_intensity_outside_zero_to_one_is_refused(intensity: float) -> None:
    with pytest.raises(EmotionError, match="intensity must be"):
        parse_emotion("happy", intensity=intensity)


def test_an_unknown_name_gets_the_nearest_and_all_valid_names() -> None:
    with pytest.raises(EmotionError) as error:
        parse_emotion("hapy")
    assert "did you mean 'happy'?" in str(error.value)
    assert all(name in str(error.value) for name in ("neutral", *EMOTIONS, *COMPOUND_EMOTIONS))
    with pytest.raises(EmotionError) as error:
        parse_emotion("xyzzy:.5")
    assert "did you mean" not in str(error.value)


@pytest.mark.parametrize("spec", [3.5, [0.5], {1: 0.5}, {"happy": None}, ""])
def test_what_is_no_emotion_is_refused(spec: object) -> None:
    with pytest.raises(EmotionError):
        parse_emotion(spec)  # type: ignore[arg-type]


def test_mixture_weights_are_checked_and_read_only() -> None:
    with pytest.raises(EmotionError, match="6 weights"):
        EmotionMix(np.zeros(5, dtype=np.float32))
    with pytest.raises(EmotionError):
        EmotionMix(np.array([np.nan, 0, 0, 0, 0, 0], dtype=np.float32))
    with pytest.raises(ValueError, match="read-only"):
        EmotionMix.neutral().weights[0] = 1


# --- action units ---------------------------------------------------------------------------------


def test_action_units_move_known_blendshapes() -> None:
    for number, unit in ACTION_UNITS.items():
        assert unit.number == number
        assert set(unit.arkit) <= set(ARKIT_NAMES)
    assert set(EMOTION_ACTION_UNITS) == set(EMOTIONS)
    for units in EMOTION_ACTION_UNITS.values():
        assert all(0 <= weight <= 1 for weight in action_units_to_arkit(units).values())
    assert action_units_to_arkit({12: 0.5}) == {"mouthSmileLeft": 0.5, "mouthSmileRight": 0.5}
    with pytest.raises(EmotionError, match="Unknown action unit 3"):
        action_units_to_arkit({3: 1.0})


# --- timeline -------------------------------------------------------------------------------------


def test_a_constant_timeline_repeats_the_mixture() -> None:
    mix = parse_emotion("angry:.7")
    weights = EmotionTimeline.constant(mix).weights(5)
    assert weights.shape == (5, 6)
    assert weights.dtype == np.float32
    assert np.array_equal(weights, np.tile(mix.weights, (5, 1)))


def test_keyframes_are_reached_held_and_eased() -> None:
    happy, sad = parse_emotion("happy"), parse_emotion("sad:.5")
    timeline = EmotionTimeline(((0.4, happy), (1.2, sad)))
    weights = timeline.weights(50)
    assert np.array_equal(weights[:11], np.tile(happy.weights, (11, 1)))
    assert np.array_equal(weights[30:], np.tile(sad.weights, (20, 1)))
    assert weights[20] == pytest.approx((happy.weights + sad.weights) / 2)
    assert (np.diff(weights[10:31, 0]) < 0).all()


def test_an_onset_rises_from_exact_neutral() -> None:
    weights = EmotionTimeline.constant(parse_emotion("happy"), onset=0.4).weights(20)
    assert not weights[0].any()
    assert (weights[10:] == parse_emotion("happy").weights).all()


def test_a_timeline_in_parts_is_the_timeline_in_one() -> None:
    timeline = EmotionTimeline(((0.1, parse_emotion("happy")), (0.9, parse_emotion("sad"))))
    parts = [timeline.weights(10, first_frame=start) for start in (0, 10, 20)]
    assert np.array_equal(np.concatenate(parts), timeline.weights(30))


@pytest.mark.parametrize("times", [(), (-1.0,), (1.0, 1.0), (2.0, 1.0), (float("nan"),)])
def test_times_out_of_order_are_refused(times: tuple[float, ...]) -> None:
    with pytest.raises(EmotionError):
        EmotionTimeline(tuple((seconds, EmotionMix.neutral()) for seconds in times))


# --- action units as controls, contempt -------------------------------------------------------------


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_the_units_of_an_emotion_are_that_emotion_and_nothing_else(emotion: str) -> None:
    units = {f"AU{unit}": 0.5 * full for unit, full in EMOTION_ACTION_UNITS[emotion].items()}
    weights, rest = split_action_units(units)
    assert dict(zip(EMOTIONS, weights, strict=True)) == pytest.approx(
        parse_emotion(f"{emotion}:.5").as_dict() | {name: 0 for name in EMOTIONS if name != emotion}
    )
    assert not rest.any()


@pytest.mark.parametrize("number", ACTION_UNITS)
def test_a_single_unit_is_no_emotion_and_moves_its_own_shapes(number: int) -> None:
    weights, rest = split_action_units({f"AU{number}": 0.8})
    assert not weights.any()
    moved = {name: value for name, value in zip(ARKIT_NAMES, rest, strict=True) if value}
    assert moved == pytest.approx(action_units_to_arkit({number: 0.8}))


def test_a_side_of_a_unit_moves_that_side() -> None:
    for name in ("AU12L", "L12", "12l", "au 12 L"):
        _, rest = split_action_units({name: 0.5})
        assert rest[ARKIT_NAMES.index("mouthSmileLeft")] == 0.5
        assert rest.sum() == 0.5
    for wrong in ("AU3", "smile", "L12R", "AU26L", ""):
        with pytest.raises(EmotionError, match="action unit"):
            parse_action_unit(wrong)


def test_contempt_is_one_sided_and_no_mixture() -> None:
    weights = pattern_weights("Contempt", 1.0)
    sides = {name[-5:] for name, weight in zip(ARKIT_NAMES, weights, strict=True) if weight}
    assert sides == {"Right"}
    assert pattern_weights("scornful", 0.5) == pytest.approx(weights / 2)
    assert not any(is_pattern(name) for name in ("happy", "hatred", ""))


@pytest.mark.parametrize("wrong", [["AU12"], ["AU12=2"], ["AU12=nan"], {"AU12": "much"}, ["=1"]])
def test_weights_that_cannot_be_used_are_refused(wrong: object) -> None:
    with pytest.raises(EmotionError):
        split_action_units(parse_weights(wrong))  # type: ignore[arg-type]


def test_a_change_ends_at_its_keyframe_and_takes_its_time() -> None:
    levels = np.array([[0.0], [1.0], [0.0]], np.float32)
    track = ease_between(np.array([0.0, 2.0, 3.0]), levels, 100, ease=np.array([0.5, 0.4, 0.0]))[:, 0]
    assert track[:41].max() < 1e-6
    assert (np.diff(track[40:51]) > 0).all()
    assert track[50] == track[74] == 1
    assert track[75:].max() < 1e-6
