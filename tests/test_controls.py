"""Laws of the emotion controls: what is asked for, by which way, at what time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from mooe import MoEEPipeline, MooeError
from mooe.decoder import SourcePortrait
from mooe.emotion import EMOTION_ACTION_UNITS, EMOTIONS, EmotionMix, EmotionTimeline, parse_emotion
from mooe.emotion.controls import (
    EmotionRequest,
    Keyframe,
    TextReading,
    merge_mixtures,
    parse_expression,
    split_stages,
)
from mooe.emotion.tags import parse_tags
from mooe.errors import ConfigError, EmotionError, EmotionWarning
from mooe.face.regions import ARKIT_NAMES
from mooe.face.topology import arkit_to_displacement, arkit_vector
from mooe.motion.additive import (
    add_expression,
    blink_as_drawn,
    moderate_gape,
    shut_as_spoken,
    speech_activity,
    widen_opened,
)
from mooe.motion.lips import lip_gap
from mooe.pipeline import MoEEPipelineOutput

FRAMES = 100


def read_words(texts: Sequence[str]) -> list[TextReading]:
    """A reader that knows the names of the emotions, for laws that are not about reading."""
    readings = []
    for text in texts:
        named = [name for name in EMOTIONS if name in text]
        mix = parse_emotion(dict.fromkeys(named, 0.8)) if named else EmotionMix.neutral()
        readings.append(TextReading(mix, bool(named)))
    return readings


def total(**request: object) -> np.ndarray:
    return EmotionRequest(**request).resolve(read_words).tracks(FRAMES, FRAMES).total()  # type: ignore[arg-type]


def arkit(**request: object) -> np.ndarray:
    return EmotionRequest(**request).resolve(read_words).tracks(FRAMES, FRAMES).arkit  # type: ignore[arg-type]


# --- controls and how they add up -------------------------------------------------------------------


def test_a_label_alone_is_itself() -> None:
    for spec in ("happy:.6", ["happy:.25", "sad:.5"], {"fear": 0.5}, "appalled", None):
        assert np.array_equal(total(emotion=spec), np.tile(parse_emotion(spec).weights, (FRAMES, 1)))
    timeline = EmotionTimeline(((0.4, parse_emotion("happy")), (1.2, parse_emotion("sad:.5"))))
    assert np.array_equal(total(emotion=timeline), timeline.weights(FRAMES))


def test_every_control_alone_asks_for_the_same() -> None:
    happy = parse_emotion("happy:.8").weights
    units = {f"AU{unit}": 0.8 * full for unit, full in EMOTION_ACTION_UNITS["happy"].items()}
    for request in ({"emotion": "happy:.8"}, {"prompt": "so happy"}, {"action_units": units}):
        assert total(**request)[50] == pytest.approx(happy)
    heard = np.tile(happy, (FRAMES, 1))
    tracks = EmotionRequest(voice=0.5).resolve(read_words).tracks(FRAMES, FRAMES, heard)
    assert tracks.total()[50] == pytest.approx(happy / 2)


def test_controls_that_agree_change_nothing_and_others_mix_at_the_strength_of_the_strongest() -> None:
    assert total(emotion="happy:.8", prompt="happy")[9] == pytest.approx(parse_emotion("happy:.8").weights)
    mixed = total(emotion="sad:.8", prompt="happy")[9]
    assert mixed == pytest.approx(parse_emotion(["sad:.4", "happy:.4"]).weights)
    rows = np.random.default_rng(0).dirichlet(np.ones(6), (3, 5)).astype(np.float32)
    assert merge_mixtures(rows).sum(-1) == pytest.approx(1)
    assert merge_mixtures(rows[[2, 0, 1]]) == pytest.approx(merge_mixtures(rows), abs=1e-6)


def test_intensity_scales_all_controls_and_zero_is_nothing() -> None:
    request = {"emotion": ["happy:.4", "contempt:.5"], "prompt": "sad", "arkit": ["jawOpen=.6"], "voice": 1.0}
    full = EmotionRequest(**request).resolve(read_words)  # type: ignore[arg-type]
    assert full.hears_voice
    half = EmotionRequest(**request, intensity=0.5)  # type: ignore[arg-type]
    assert arkit(**request, intensity=0.5) == pytest.approx(arkit(**request) / 2)
    assert half.resolve(read_words).tracks(9, 9).total() == pytest.approx(full.tracks(9, 9).total() / 2)
    nothing = EmotionRequest(**request, intensity=0.0).resolve(read_words)  # type: ignore[arg-type]
    assert not nothing.hears_voice
    assert not nothing.tracks(9, 9).total().any() and not nothing.tracks(9, 9).arkit.any()


def test_contempt_is_asked_for_like_an_emotion() -> None:
    for spec in ("contempt:.5", ["happy:.3", "contempt:.5"], {"happy": 0.3, "contemptuous": 0.5}):
        mix, shapes = parse_expression(spec)
        assert shapes[ARKIT_NAMES.index("mouthDimpleRight")] > 0
        assert mix == parse_emotion(None if spec == "contempt:.5" else "happy:.3")
    with pytest.raises(EmotionError, match="between 0 and 1"):
        parse_expression("contempt:2")


@pytest.mark.parametrize(
    "request_",
    [
        {"emotion": "hapy"}, {"intensity": 2.0}, {"voice": -1.0}, {"voice": float("nan")}, {"action_units": ["AU3=1"]},
        {"arkit": {"smile": 0.5}}, {"arkit": ["mouthSmile"]}, {"prompt": "[happy"}, {"prompt": "[hapy] hello"},
        {"prompt": "[]"}, {"timeline": []}, {"timeline": [Keyframe(1.0), Keyframe(0.5)]},
        {"timeline": [Keyframe(0.0, ease=-1.0)]}, {"timeline": [Keyframe(0.0, emotion="hapy")]},
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_in_a_sentence(request_: dict[str, object]) -> None:
    with pytest.raises(EmotionError, match=r"[.?]$"):
        EmotionRequest(**request_).check()  # type: ignore[arg-type]


# --- prompts and tags ---------------------------------------------------------------------------------


def test_texts_that_say_nothing_are_neutral_and_noted() -> None:
    for text, part in (("", "is empty"), ("  ", "is empty"), ("qwertz", "'qwertz' names no emotion")):
        timeline = EmotionRequest(prompt=text).resolve(read_words)
        assert not timeline.tracks(5, 5).total().any()
        (note,) = timeline.notes
        assert part in note and "neutral" in note
    assert not EmotionRequest(prompt="happy").resolve(read_words).notes


def test_stages_of_a_prompt_follow_one_another() -> None:
    assert split_stages("a shy smile that turns into surprise") == ["a shy smile", "surprise"]
    assert split_stages("happy, then sad and then angry") == ["happy", "sad", "angry"]
    assert split_stages("strengthened by then") == ["strengthened by then"]
    track = total(prompt="happy that turns into sad")
    assert track[0] == pytest.approx(parse_emotion("happy:.8").weights)
    assert track[-1] == pytest.approx(parse_emotion("sad:.8").weights)


def test_tags_are_taken_out_and_hold_until_the_next() -> None:
    tagged = parse_tags(r"Hello. [happy] We won! [sad:0.6 + fear:.2] But \[sigh\] you")
    assert tagged.text == "Hello. We won! But [sigh] you"
    assert [spec for _, spec in tagged.tags] == [("happy",), ("sad:0.6", "fear:.2")]
    assert tagged.text[tagged.tags[0][0] :].startswith("We won")
    assert tagged.shares() == pytest.approx([5 / 20, 10 / 20])
    assert parse_tags("no tag at all").tags == ()


def test_a_prompt_with_tags_is_the_transcript() -> None:
    track = total(prompt="aaaaa [happy] bbbbb [neutral] cccccccccc")
    assert not track[0].any()
    assert track[30] == pytest.approx(parse_emotion("happy").weights)
    assert not track[-1].any()
    assert total(prompt="[happy] aaa") == pytest.approx(total(emotion="happy"))


# --- timeline files -----------------------------------------------------------------------------------


TIMELINE = """
keyframes:
  - at: 0
    emotion: neutral
  - at: 2.0
    ease: 0.4
    emotion: [happy:.5, contempt:.2]
    prompt: surprised
    voice: 0.5
    au: {AU12L: 0.5}
    arkit: {jawOpen: 0.2}
  - at: 3.0
    emotion: {sad: 0.7}
    intensity: 0.5
"""


def test_a_timeline_file_holds_any_control(tmp_path: Path) -> None:
    path = tmp_path / "time line.yaml"
    path.write_text(TIMELINE, encoding="utf-8")
    timeline = EmotionRequest(timeline=path).resolve(read_words)
    heard = np.tile(parse_emotion("angry").weights, (FRAMES, 1))
    tracks = timeline.tracks(FRAMES, FRAMES, heard)
    assert not tracks.total()[:40].any() and not tracks.arkit[:40].any()
    assert tracks.label[50] == pytest.approx(parse_emotion("happy:.5").weights)
    assert tracks.text[50] == pytest.approx(parse_emotion("surprised:.8").weights)
    assert tracks.audio[50] == pytest.approx(parse_emotion("angry:.5").weights)
    shapes = dict(zip(ARKIT_NAMES, tracks.arkit[50], strict=True))
    assert shapes["mouthSmileLeft"] == pytest.approx(0.5) and shapes["jawOpen"] == pytest.approx(0.2)
    assert shapes["mouthDimpleRight"] > 0
    assert tracks.total()[80] == pytest.approx(parse_emotion("sad:.35").weights)
    assert not tracks.arkit[80].any()


def test_keyframes_from_python_are_those_of_the_file() -> None:
    keyframes = [Keyframe(0.0, "happy"), Keyframe(2.0, {"sad": 0.7}, intensity=0.5)]
    track = total(timeline=keyframes)
    assert track[0] == pytest.approx(parse_emotion("happy").weights)
    assert track[-1] == pytest.approx(parse_emotion("sad:.35").weights)
    assert np.abs(np.diff(track, axis=0)).max() < 0.25


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("keyframes: []", "at least one keyframe"),
        ("keyframes:\n  - {at: 0, emotoin: happy}", "did you mean 'emotion'"),
        ("keyframes:\n  - {at: soon}", "finite number"),
        ("keyframes:\n  - {at: 1, emotion: hapy}", "keyframe at 1 s"),
        ("keyframes:\n  - {at: 1, au: {AU99: 1}}", "Unknown action unit"),
        ("frames: 3", "not a key"),
        ("[", "not valid YAML"),
    ],
)
def test_bad_timeline_files_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises((EmotionError, ConfigError), match=message):
        EmotionRequest(timeline=path).check()
    with pytest.raises(ConfigError, match="cannot be read"):
        EmotionRequest(timeline=tmp_path / "missing.yaml").check()


# --- weights laid over the motion ---------------------------------------------------------------------


def test_weights_move_their_shapes_and_leave_other_frames() -> None:
    motion = np.zeros((4, 478, 3), np.float32)
    weights = np.zeros((4, 52), np.float32)
    weights[2] = arkit_vector({"mouthSmile": 0.8})
    moved = add_expression(motion, weights, np.zeros(4, np.float32))
    assert np.array_equal(moved[[0, 1, 3]], motion[[0, 1, 3]])
    assert moved[2, 291, 1] > 0.02


def test_lips_that_speech_shuts_stay_shut() -> None:
    weights = np.tile(arkit_vector({"jawOpen": 0.6}), (2, 1))
    motion = np.zeros((2, 478, 3), np.float32)
    moved = add_expression(motion, weights, np.array([0.0, 1.0], np.float32))
    gap = lip_gap(moved)[:, 4]
    assert gap[0] > 0.05 > 0.01 > gap[1]


def test_an_emotion_parts_no_lips_that_speech_shuts() -> None:
    # five frames each: lips shut in speech, in silence, without an emotion, and open
    spoken = arkit_to_displacement(np.stack([arkit_vector({"jawOpen": w}) for w in (0.0, 0.0, 0.0, 0.3)])).repeat(5, 0)
    gaping = spoken + arkit_to_displacement(arkit_vector({"jawOpen": 0.4, "mouthUpperUp": 0.5, "mouthSmile": 0.3}))
    speaking = np.array([1, 0, 1, 1], np.float32).repeat(5)
    emotion = np.zeros((4, 6), np.float32)
    emotion[[0, 1, 3], EMOTIONS.index("surprised")] = 1
    ends = spoken[[0, *range(20), 19]]
    moved = shut_as_spoken(gaping, ends, speaking, emotion.repeat(5, 0))
    parts = [shut_as_spoken(gaping[p], ends[p.start : p.stop + 2], speaking[p], emotion.repeat(5, 0)[p])
             for p in (slice(0, 3), slice(3, 20))]  # fmt: skip
    assert np.allclose(np.concatenate(parts), moved, atol=1e-6)  # no seam where windows meet
    assert np.array_equal(moved[10:15], gaping[10:15])
    kept = [7, 16, 17, 18]
    assert np.allclose(moved[kept], gaping[kept], atol=1e-6)
    assert lip_gap(gaping)[2].max() > 0.1 and np.abs(lip_gap(moved)[2]).max() < 0.01
    # brows, lids and the corners' spread stay the emotion's
    assert np.allclose(moved[2, [105, 159, 334]], gaping[2, [105, 159, 334]], atol=0.01)
    assert moved[2, 291, 0] - moved[2, 61, 0] > spoken[2, 291, 0] - spoken[2, 61, 0] + 0.02


def test_anger_and_fear_shut_the_mouth_in_silence_and_surprise_leaves_it_open() -> None:
    spoken = np.zeros((7, 478, 3), np.float32)
    open_mouth = np.tile(arkit_to_displacement(arkit_vector({"jawOpen": 0.4, "mouthUpperUp": 0.5})), (5, 1, 1))

    def gap(speaking: float, **weights: float) -> float:
        emotion = np.tile(EmotionMix.from_mapping(weights).weights, (5, 1))
        moved = shut_as_spoken(open_mouth, spoken, np.full(5, speaking, np.float32), emotion)
        return float(lip_gap(moved)[2].max())

    assert gap(0, surprised=1) > 0.1 > gap(0, angry=0.5, surprised=0.5) > gap(0, fearful=1) > gap(0, angry=1)
    assert abs(gap(0, angry=1)) < 0.01
    assert all(abs(gap(1, **{name: 1})) < 0.01 for name in EMOTIONS)


def test_emotional_mouths_do_not_gape() -> None:
    asked = np.linspace(0, 1, 21, dtype=np.float32)
    opening = arkit_to_displacement(np.stack([arkit_vector({"jawOpen": w, "mouthUpperUp": w}) for w in asked]))
    emotion = np.zeros((21, 6), np.float32)
    assert np.array_equal(moderate_gape(opening, emotion), opening)
    before, widest = lip_gap(opening)[:, 2:7].max(1), {}
    for name in EMOTIONS:
        emotion = np.tile(EmotionMix.from_mapping({name: 1.0}).weights, (21, 1))
        gap = lip_gap(moderate_gape(opening, emotion))[:, 2:7].max(1)
        assert np.allclose(gap[before < 0.15], before[before < 0.15], atol=1e-6)
        assert (np.diff(gap) > 0).all() and before.max() > 0.4
        widest[name] = gap.max()
    # anger shouts, a little wider than people open their mouths in talk
    assert widest.pop("angry") > max(widest.values()) and max(widest.values()) < 0.3


def test_mouths_get_wider_as_they_open_unless_they_are_rounded_or_wide() -> None:
    def faces(**weights: float) -> np.ndarray:
        return arkit_to_displacement(
            np.stack([arkit_vector({"jawOpen": jaw, **weights}) for jaw in np.linspace(0, 0.5, 11)])
        )

    def gained(displacement: np.ndarray) -> np.ndarray:
        moved = widen_opened(displacement)
        assert np.array_equal(moved[..., 1:], displacement[..., 1:])
        wider = [d[:, 291, 0] - d[:, 61, 0] for d in (moved, displacement)]
        return wider[0] - wider[1]

    talk = gained(faces())
    assert talk[0] == 0 and (np.diff(talk) > 0).all()
    assert (gained(faces(mouthPucker=0.8)) < 0.3 * talk[-1]).all()
    assert (gained(faces(mouthSmile=1.0)) < 0.3 * talk[-1]).all()
    assert np.array_equal(widen_opened(faces(), 0.0), faces())


def test_eyes_blink_that_an_emotion_holds_open() -> None:
    blink = np.array([0, 0.5, 1, 1], np.float32)
    spoken = arkit_to_displacement(np.stack([arkit_vector({"eyeBlink": w}) for w in blink]))
    wide = spoken + arkit_to_displacement(arkit_vector({"eyeWide": 2.0, "browInnerUp": 0.5}))
    emotion = np.zeros((4, 6), np.float32)
    emotion[:3, 5] = 1
    moved = blink_as_drawn(wide, spoken, blink, emotion)
    assert np.array_equal(moved[[0, 3]], wide[[0, 3]])
    assert np.allclose(moved[2, [159, 386]], spoken[2, [159, 386]], atol=1e-6)
    assert wide[1, 159, 1] > moved[1, 159, 1] > spoken[1, 159, 1]
    assert np.array_equal(moved[:, [105, 334, 61]], wide[:, [105, 334, 61]])


def test_silence_is_no_speech_but_a_p_is() -> None:
    energy = np.array([0.0] * 20 + [1.2] * 10 + [0.1] * 2 + [1.2] * 10, np.float32)
    activity = speech_activity(energy)
    assert not activity[:15].any()
    assert (activity[20:] == 1).all()


# --- through the pipeline -----------------------------------------------------------------------------

Run = Callable[..., MoEEPipelineOutput]


@pytest.fixture(scope="module")
def pipe() -> MoEEPipeline:
    pipe = MoEEPipeline.from_pretrained("debug")
    pipe.text_reader = read_words
    return pipe


@pytest.fixture(scope="module")
def run(pipe: MoEEPipeline, portrait: SourcePortrait) -> Run:
    speech = (np.random.default_rng(0).standard_normal(16000) * 0.05).astype(np.float32)

    def call(**wish: object) -> MoEEPipelineOutput:
        generator = torch.Generator().manual_seed(1)
        return pipe(portrait, speech, num_inference_steps=1, paste_back=False, generator=generator, **wish)

    return call


def test_ways_that_ask_for_the_same_give_the_same_film(run: Run) -> None:
    label = run(emotion="happy:.8")
    for wish in ({"prompt": "happy"}, {"timeline": [Keyframe(0.0, "happy:.8")]}, {"prompt": "[happy:.8] well"}):
        assert np.array_equal(run(**wish).frames, label.frames)
    assert not np.array_equal(label.frames, run().frames)


def test_weights_are_seen_in_the_motion_and_no_expert_takes_part(run: Run) -> None:
    neutral, smiling = run(), run(arkit={"mouthSmileLeft": 0.8})
    row = ARKIT_NAMES.index("mouthSmileLeft")
    assert (smiling.motion.arkit_weights() - neutral.motion.arkit_weights())[:, row].mean() > 0.3
    assert not smiling.gates.any()
    assert np.array_equal(run(action_units={"AU12L": 0.8}).frames, smiling.frames)


def test_neutral_by_any_way_is_neutral_exactly(run: Run) -> None:
    neutral = run().frames
    with pytest.warns(EmotionWarning, match="neutral"):
        assert np.array_equal(run(prompt="qwertz").frames, neutral)
    everything = {"emotion": "contempt", "prompt": "sad", "arkit": {"jawOpen": 1.0}, "emotion_from_voice": True}
    assert np.array_equal(run(**everything, intensity=0.0).frames, neutral)


def test_the_voice_is_heard_when_asked_for(pipe: MoEEPipeline, run: Run) -> None:
    kept, pipe.voice_reader = pipe.voice_reader, lambda _, features: np.tile(
        parse_emotion("angry:.6").weights, (len(features), 1)
    )
    try:
        assert np.array_equal(run(emotion_from_voice=True).frames, run(emotion="angry:.6").frames)
    finally:
        pipe.voice_reader = kept


def test_wrong_controls_are_refused_before_work(run: Run) -> None:
    for wish in ({"action_units": {"AU12": 2}}, {"arkit": {"nose": 1}}, {"timeline": "missing.yaml"}):
        with pytest.raises(MooeError, match=r"\.$"):
            run(**wish)
