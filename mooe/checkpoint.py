"""States of a clip under way on disk: nested dictionaries of arrays, tensors and numbers in one ``.npz`` file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mooe.errors import OutputError
from mooe.media.outputs import as_output_error, replacing

_PLAIN = "plain"  # entry that holds all that is no array, as JSON


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a state, whole or not at all (raises OutputError)."""
    arrays: dict[str, np.ndarray] = {}
    plain = _take_arrays(state, "", arrays)
    with replacing(path) as temporary, as_output_error(path), temporary.open("wb") as file:
        np.savez(file, **{_PLAIN: np.array(json.dumps(plain))}, **arrays)  # type: ignore[arg-type]


def load_state(path: Path) -> dict[str, Any]:
    """Read what :func:`save_state` wrote (raises OutputError when the file is damaged)."""
    try:
        with np.load(path, allow_pickle=False) as data:
            arrays = {name: data[name] for name in data.files}
        restored: dict[str, Any] = _put_arrays(json.loads(str(arrays.pop(_PLAIN))), arrays)
        return restored
    except (OSError, ValueError, KeyError) as error:
        raise OutputError(f"{path} is damaged ({error}): delete it and start anew.") from error


def _take_arrays(value: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, dict):
        return {key: _take_arrays(inner, f"{name}/{key}", arrays) for key, inner in value.items()}
    if isinstance(value, torch.Tensor | np.ndarray):
        tensor = isinstance(value, torch.Tensor)
        arrays[name] = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value
        return {"tensor" if tensor else "array": name}
    return value


def _put_arrays(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if not isinstance(value, dict):
        return value
    if value.keys() == {"tensor"}:
        return torch.from_numpy(arrays[value["tensor"]])
    if value.keys() == {"array"}:
        return arrays[value["array"]]
    return {key: _put_arrays(inner, arrays) for key, inner in value.items()}
