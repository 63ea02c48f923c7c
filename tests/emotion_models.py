"""Small emotion models and inputs that the tests of the emotion station share."""

import torch
from torch import Tensor

from mooe.emotion import EmotionTimeline, parse_emotion
from mooe.emotion.latents import EmotionToLatents

FRAMES = 4
LATENT_DIM = 32
NUM_LATENTS = 16  # the model's default


def make_latents_model(**config: object) -> EmotionToLatents:
    torch.manual_seed(0)
    return EmotionToLatents(latent_dim=LATENT_DIM, encoder_dim=16, num_heads=2, **config).eval()  # type: ignore[arg-type]


def labels(*mixes: str, frames: int = FRAMES) -> Tensor:
    rows = [torch.from_numpy(EmotionTimeline.constant(parse_emotion(mix)).weights(frames)) for mix in mixes]
    return torch.stack(rows)


def assert_same_weights(model: torch.nn.Module, other: torch.nn.Module) -> None:
    state, other_state = model.state_dict(), other.state_dict()
    assert state.keys() == other_state.keys()
    assert all(torch.equal(tensor, other_state[name]) for name, tensor in state.items())
