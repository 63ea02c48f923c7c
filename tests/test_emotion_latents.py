"""Laws of Emotion-to-Latents and of the emotion bank."""

from pathlib import Path

import pytest
import torch
from emotion_models import FRAMES, LATENT_DIM, assert_same_weights, labels, make_latents_model

from mooe.emotion import ACTION_UNITS
from mooe.emotion.bank import EmotionBank
from mooe.emotion.encoders import EncodedControl
from mooe.emotion.latents import EmotionToLatents


@pytest.mark.parametrize("learnable", ["queries", "keys_values"])
def test_latents_are_exactly_zero_at_strength_zero_and_linear_near_it(learnable: str) -> None:
    model = make_latents_model(learnable=learnable)
    with torch.no_grad():
        assert not model(labels("neutral")).any()
        latents = model(labels("happy", "happily_surprised"))
        assert latents.shape == (2, FRAMES, 16, LATENT_DIM)
        assert not torch.allclose(latents[0], latents[1])
        once, twice = model(labels("happy") * 1e-3), model(labels("happy") * 2e-3)
    assert once.any()
    assert (twice - 2 * once).abs().max() < 0.01 * twice.abs().max()


def test_latents_of_a_constant_emotion_are_computed_once_and_equal_those_per_frame() -> None:
    model = make_latents_model()
    with torch.no_grad():
        constant = model(labels("sad:.6"))
        changing = labels("sad:.6")
        changing[:, -1] = 0
        per_frame = model(changing)
    assert constant.stride(1) == 0
    assert torch.allclose(constant[:, :-1], per_frame[:, :-1], atol=1e-6)
    assert not per_frame[:, -1].any()


def test_a_batch_of_latents_equals_single_ones() -> None:
    model = make_latents_model()
    with torch.no_grad():
        batch = model(labels("sad:.6", "angry"))
        assert torch.allclose(batch[1:], model(labels("angry")), atol=1e-6)


def test_any_subset_of_controls_gives_latents() -> None:
    model = make_latents_model(text_dim=24)
    units = torch.zeros(1, FRAMES, len(ACTION_UNITS))
    text = EncodedControl(torch.randn(1, 1, 3, 24), torch.tensor([[0.5]]))
    with torch.no_grad():
        assert not model(action_units=units).any()
        units[..., 5] = 0.8
        outputs = [
            model(labels("happy")),
            model(action_units=units),
            model(text=text).expand(-1, FRAMES, -1, -1),
            model(labels("happy"), action_units=units),
            model(labels("happy"), action_units=units, text=text),
        ]
    for index, latents in enumerate(outputs):
        assert latents.shape == (1, FRAMES, 16, LATENT_DIM)
        assert not any(torch.allclose(latents, other) for other in outputs[:index])
    with pytest.raises(ValueError, match="needs a control"):
        model()
    with pytest.raises(ValueError, match="audio_dim=None"):
        model(audio=text)


def test_saved_latents_model_loads_bit_for_bit(tmp_path: Path) -> None:
    model = make_latents_model(learnable="keys_values")
    model.save_pretrained(tmp_path)
    again = EmotionToLatents.from_pretrained(tmp_path)
    assert_same_weights(model, again)
    with torch.no_grad():
        assert torch.allclose(again(labels("fearful:.3")), model(labels("fearful:.3")), atol=1e-6)


# --- bank ---------------------------------------------------------------------------------------------


def test_a_new_bank_changes_nothing_and_a_trained_one_keeps_neutral_exact() -> None:
    plain, banked = make_latents_model(), make_latents_model(use_bank=True, bank_entries=8)
    missing, unexpected = banked.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected and all(name.startswith("bank.") for name in missing)
    wish = labels("happy", "sad:.3")
    with torch.no_grad():
        assert torch.equal(banked(wish), plain(wish))
        assert banked.bank is not None
        torch.nn.init.normal_(banked.bank.to_out.weight)
        assert not torch.allclose(banked(wish), plain(wish))
        assert not banked(labels("neutral")).any()


def test_each_latent_finds_its_prototype_and_training_pulls_them_together() -> None:
    torch.manual_seed(0)
    bank = EmotionBank(LATENT_DIM, num_entries=6)
    latents = bank.prototypes.detach()[[4, 1, 1, 3]][None]
    exact = bank(latents)
    assert exact.codes.tolist() == [[4, 1, 1, 3]]
    assert exact.loss == 0
    away = latents + 0.1 * torch.randn_like(latents)
    optimizer = torch.optim.Adam(bank.parameters(), lr=0.01)
    before = float(bank(away).loss.detach())
    for _ in range(60):
        optimizer.zero_grad()
        bank(away).loss.backward()
        optimizer.step()
    assert float(bank(away).loss.detach()) < 0.5 * before


def test_bank_losses_are_collected_only_when_asked_for() -> None:
    model = make_latents_model(use_bank=True)
    model(labels("happy"))
    with model.collect_bank_losses() as losses:
        model(labels("happy"))
        model(labels("sad"))
    model(labels("happy"))
    assert len(losses) == 2
    losses[0].backward()
    assert model.bank is not None and model.bank.prototypes.grad is not None
    with make_latents_model().collect_bank_losses() as none:
        make_latents_model()(labels("happy"))
    assert not none
