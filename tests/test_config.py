"""Configuration: what is not understood is refused by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from mooe.config import from_dict, load_config, save_config, to_dict
from mooe.errors import ConfigError


@dataclass(frozen=True)
class Optimizer:
    learning_rate: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    kind: Literal["adamw", "sgd"] = "adamw"


@dataclass(frozen=True)
class Training:
    corpus: Path
    steps: int = 100
    resume: bool = True
    widths: list[int] = field(default_factory=lambda: [32, 64])
    limit: float | None = None
    shares: dict[str, float] = field(default_factory=dict)
    optimizer: Optimizer = field(default_factory=Optimizer)

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError("steps must be at least 1.")


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_fills_the_dataclass_and_defaults_the_rest(tmp_path: Path) -> None:
    path = write(
        tmp_path, "corpus: data/x\noptimizer:\n  learning_rate: 3e-4\n  betas: [0, 1]\nshares: {a: 1}\n"
    )
    config = load_config(path, Training, overrides=["steps=7", "optimizer.kind=sgd", "limit=2"])
    assert config == Training(
        corpus=Path("data/x"),
        steps=7,
        limit=2.0,
        shares={"a": 1.0},
        optimizer=Optimizer(3e-4, (0.0, 1.0), "sgd"),
    )
    assert isinstance(config.optimizer.betas[0], float)


def test_there_and_back(tmp_path: Path) -> None:
    config = Training(corpus=Path("a b/ü"), widths=[1], limit=0.5)
    assert from_dict(to_dict(config), Training) == config
    save_config(config, tmp_path / "out.yaml")
    assert load_config(tmp_path / "out.yaml", Training) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("corpus: x\nstepz: 3", r"'stepz' .* did you mean 'steps'\?"),
        ("corpus: x\noptimizer: {learning_rat: 1}", r"of optimizer: did you mean 'learning_rate'\?"),
        ("corpus: x\nqqq: 1", "known are corpus, steps"),
        ("steps: 3", "corpus is missing"),
        ("corpus: x\nsteps: many", "steps .* must be a whole number: got 'many'"),
        ("corpus: x\nsteps: 3.5", "steps .* must be a whole number"),
        ("corpus: x\nsteps: true", "steps .* must be a whole number"),
        ("corpus: x\nresume: 1", "resume .* must be true or false"),
        ("corpus: x\nwidths: 3", "widths .* must be a list"),
        ("corpus: x\nwidths: [3, a]", r"widths\[1\] .* must be a whole number"),
        ("corpus: x\nlimit: .nan", "limit .* must be a finite number"),
        ("corpus: x\nshares: {a: b}", r"shares\.a .* must be a finite number"),
        ("corpus: x\noptimizer: {betas: [1]}", "betas .* must be a list of 2 values"),
        ("corpus: x\noptimizer: {kind: adam}", "kind .* must be one of adamw, sgd"),
        ("corpus: x\noptimizer: 3", "optimizer .* must be a group of keys"),
        ("corpus: x\nsteps: 0", "steps must be at least 1"),
        ("corpus: x\ncorpus: y", "given twice"),
        ("corpus: [x", "not valid YAML"),
        ("- a\n- b", "must be a list of 'key: value' lines"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(write(tmp_path, text), Training)


@pytest.mark.parametrize("override", ["steps", "=3", "steps.x=1", "optimizer.=1", "a.b=1", "steps=[1"])
def test_bad_overrides_are_named(tmp_path: Path, override: str) -> None:
    with pytest.raises(ConfigError):
        load_config(write(tmp_path, "corpus: x\nsteps: 2"), Training, overrides=[override])


def test_a_missing_file_and_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "none.yaml", Training)
    defaults: Any = load_config(None, Training, overrides=["corpus=c"])
    assert defaults == Training(Path("c"))
