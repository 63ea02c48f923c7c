"""The training commands as a user runs them: several processes, killed and resumed, wrong settings."""

from __future__ import annotations

import base64
import json
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import numpy as np
import pytest
import torch

from mooe.motion.codec import MotionCodec
from mooe.motion.unet import MotionUNet
from training.corpus.clips import save_npz
from training.corpus.motion import MotionCorpus, load_clips

ROOT = Path(__file__).resolve().parent.parent
FRAMES = 60


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny corpus of speech features, with its codec."""
    folder = tmp_path_factory.mktemp("corpus")
    symbols = ["sil", *"mɑbisupoʃ", "sil"]
    ends = np.cumsum([0.4, *[0.16] * 9, FRAMES / 25 - 0.4 - 9 * 0.16]).astype(np.float32)
    for number in range(2):
        sound = np.random.default_rng(number).random((FRAMES, 20), np.float32)
        save_npz(
            folder / "features" / "000" / f"{number:05d}.npz",
            features=sound, augmented=np.zeros((0, FRAMES, 20), np.float32), phones=np.array(symbols),
            starts=np.concatenate([[0], ends[:-1]]), ends=ends,
        )  # fmt: skip
    codec = MotionCodec(map_size=16, patch_size=4)
    whole = MotionCorpus(load_clips(folder / "features"), FRAMES)
    rng = np.random.default_rng(0)
    codec.fit(torch.from_numpy(np.concatenate([whole.sample(rng).displacement for _ in range(8)])))
    codec.save_pretrained(folder / "codec")
    return folder


def command(corpus: Path, output: Path, processes: int, batch_size: int, *extra: str) -> list[str]:
    if processes == 1:
        settings = str(ROOT / "configs" / "accelerate" / "cpu.yaml")
        launcher = ["accelerate.commands.launch", "--config_file", settings]
    else:
        # accelerate itself starts several processes on CPUs only through MPI
        launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return [
        sys.executable, "-m", *launcher,
        str(ROOT / "training" / "train_motion.py"), "--config", str(ROOT / "configs" / "motion.yaml"), *extra,
        "--set", f"features={corpus / 'features'}", f"codec={corpus / 'codec'}", "window=12",
        f"batch_size={batch_size}", f"warmup_batch={batch_size}", "audio_warmup_steps=1", "unet.audio_dim=20",
        "unet.latent_channels=48", "unet.latent_size=4", "unet.block_out_channels=[16, 16]",
        f"loop.output={output}", "loop.steps=4", "loop.decay_share=0.0", "loop.warmup_steps=1", "loop.log_every=1",
        "loop.report_to=none", "loop.keep_checkpoints=1",
    ]  # fmt: skip


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}


def run(words: list[str], *settings: str) -> None:
    done = subprocess.run([*words, *settings], env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def run_here(monkeypatch: pytest.MonkeyPatch, words: list[str], *settings: str) -> None:
    """Run a training script, with its arguments, in this process: another one would load the libraries first."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setattr(sys, "argv", [*words, *settings])
    # as many threads as the other processes have: sums of another order round otherwise, which Adam enlarges
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        runpy.run_path(words[0], run_name="__main__")
    finally:
        torch.set_num_threads(threads)


def script_of(words: list[str]) -> list[str]:
    """A command of :func:`command` without its launcher."""
    return words[words.index(str(ROOT / "training" / "train_motion.py")) :]


def weights(output: Path) -> dict[str, torch.Tensor]:
    state = torch.load(output / "checkpoint-4" / "state.pt", weights_only=True)
    result: dict[str, torch.Tensor] = state["modules"]["unet"]
    return result


@pytest.fixture(scope="module")
def one_process(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    output = tmp_path_factory.mktemp("one")
    run(command(corpus, output, 1, 4))
    return weights(output)


@pytest.mark.slow
def test_two_processes_equal_one_with_twice_the_batch(
    corpus: Path, tmp_path: Path, one_process: dict[str, torch.Tensor]
) -> None:
    run(command(corpus, tmp_path, 2, 2))
    both = weights(tmp_path)
    assert set(both) == set(one_process)
    for name, value in both.items():
        # not element by element: Adam makes a step of a gradient that is nothing but rounding
        difference = float((value.float() - one_process[name].float()).norm())
        assert difference < 1e-4 * max(float(one_process[name].float().norm()), 1.0), name


@pytest.mark.slow
def test_weights_cut_over_two_processes_equal_whole_ones_and_resume(
    corpus: Path, tmp_path: Path, one_process: dict[str, torch.Tensor]
) -> None:
    words = command(corpus, tmp_path, 2, 2)
    script = words.index(str(ROOT / "training" / "train_motion.py"))
    words.insert(script, str(ROOT / "tests" / "sharded_training.py"))
    run(words, "loop.steps=2")
    run(words)
    for name, value in weights(tmp_path).items():
        difference = float((value.float() - one_process[name].float()).norm())
        assert difference < 1e-4 * max(float(one_process[name].float().norm()), 1.0), name
    whole = MotionUNet.from_pretrained(tmp_path / "weights")
    assert all(torch.isfinite(parameter).all() for parameter in whole.parameters())


@pytest.mark.slow
def test_a_killed_run_goes_on_as_if_unbroken(
    corpus: Path, tmp_path: Path, one_process: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    saving = [*script_of(command(corpus, tmp_path, 1, 4)), "loop.checkpoint_minutes=0"]
    kill_after_step_two([sys.executable, *saving], tmp_path)
    run_here(monkeypatch, saving)
    for name, value in weights(tmp_path).items():
        assert torch.allclose(value, one_process[name], atol=1e-6), name


def kill_after_step_two(words: list[str], output: Path) -> None:
    """Start a run and kill it, whatever it does, once its second step is saved."""
    process = subprocess.Popen(
        words, env=environment(), start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not (output / "checkpoint-2").exists() and process.poll() is None:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def save_clips(folder: Path, width: int, side: int = 0) -> None:
    """Two filmed clips with features of ``width`` numbers, and crops of ``side`` pixels if not 0."""
    from mooe.media import VideoWriter
    from training.corpus.filmed import FilmedClip

    (folder / "crops").mkdir(parents=True)
    for number in range(2):
        rng = np.random.default_rng(number)
        FilmedClip(
            features=rng.random((16, width), np.float32),
            displacement=0.02 * rng.standard_normal((16, 478, 3)).astype(np.float32),
            rotation=np.zeros((16, 3), np.float32), translation=np.zeros((16, 3), np.float32),
            gaze=np.zeros((16, 2), np.float32), blink=np.zeros(16, np.float32), emotion=np.zeros(6, np.float32),
            action_units=np.zeros((16, 25), np.float32), audible=True, speaker="a", labelled="none", encoder="test",
        ).save(folder / "clips" / f"v-{number:03d}.npz")  # fmt: skip
        if side:
            with VideoWriter(folder / "crops" / f"v-{number:03d}.mp4", side, side) as video:
                for frame in range(16):
                    video.write(np.full((side, side, 3), 10 * frame + 30 * number, np.uint8))


def lora_command(folder: Path) -> list[str]:
    from mooe.pipeline import MoEEPipeline

    MoEEPipeline.from_pretrained("debug").save_pretrained(folder / "model")
    save_clips(folder / "clips", 390)
    return [
        str(ROOT / "training" / "train_lora.py"), "--config", str(ROOT / "configs" / "lora_speaker.yaml"),
        "--data", str(folder / "clips"), "--set", f"model={folder / 'model'}", "window=12", "batch_size=2",
        "emotion_share=0.5",
    ]  # fmt: skip


def svd_command(folder: Path) -> list[str]:
    from tests.test_svd import save_tiny_svd

    save_tiny_svd(folder / "svd")
    save_clips(folder / "clips", 20, side=32)
    return [
        str(ROOT / "training" / "train_svd.py"), "--config", str(ROOT / "configs" / "svd.yaml"),
        "--set", f"filmed={folder / 'clips'}", f"svd={folder / 'svd'}", "window=4", "token_dim=16", "audio_dim=20",
        "loop.mixed_precision='no'", "part=speech",
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("stage", [lora_command, svd_command])
def test_other_stages_killed_go_on_as_if_unbroken(
    stage: Callable[[Path], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [
        *stage(tmp_path), "loop.steps=4", "loop.decay_share=0.0", "loop.warmup_steps=1", "loop.report_to=none",
        "loop.keep_checkpoints=1",
    ]  # fmt: skip
    run_here(monkeypatch, words, f"loop.output={tmp_path / 'unbroken'}")
    saving = [*words, "loop.checkpoint_minutes=0", f"loop.output={tmp_path / 'killed'}"]
    kill_after_step_two([sys.executable, *saving], tmp_path / "killed")
    run_here(monkeypatch, saving)
    one, other = (
        torch.load(tmp_path / name / "checkpoint-4" / "state.pt", weights_only=True)["modules"]
        for name in ("unbroken", "killed")
    )
    assert one.keys() == other.keys()
    for part, values in one.items():
        for name, value in values.items():
            assert torch.allclose(value, other[part][name], atol=1e-6), f"{part}.{name}"


def test_unknown_settings_are_named(corpus: Path, tmp_path: Path) -> None:
    words = command(corpus, tmp_path, 1, 2)
    done = subprocess.run([*words, "loop.step=3"], env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "'step'" in done.stderr and "did you mean 'steps'" in done.stderr


def test_a_preview_shows_the_weights_and_leaves_them_alone(tmp_path: Path, examples: Path) -> None:
    from mooe.media import read_video
    from mooe.pipeline import MoEEPipeline
    from training.extras import PreviewConfig, make_preview, preview_pipeline

    pipe = MoEEPipeline.from_pretrained("debug")
    before = {name: value.clone() for name, value in pipe.unet.state_dict().items()}
    wish = PreviewConfig(examples / "portraits" / "grace_hopper.jpg", examples / "speech.wav", seconds=0.4)
    preview = make_preview(wish, lambda: preview_pipeline(pipe.codec, pipe.unet, pipe.adapters, pipe.emotion_encoder))
    assert preview is not None and make_preview(None, lambda: pipe) is None
    preview(tmp_path / "step-1.mp4")
    with read_video(tmp_path / "step-1.mp4") as video:
        assert sum(1 for _ in video) == 10
    assert all(torch.equal(before[name], value) for name, value in pipe.unet.state_dict().items())


def test_what_a_stage_cannot_do_is_refused(tmp_path: Path) -> None:
    from mooe.errors import ConfigError, OutputError
    from training.common import LoopConfig, setup_unet
    from training.extras import push_to_hub, tracker_names

    loop = LoopConfig(tmp_path, 1, 1e-3, gradient_checkpointing=True)
    with pytest.raises(ConfigError, match="no UNet"):
        setup_unet(None, loop)
    with pytest.raises(ConfigError, match="paper"):
        tracker_names("paper")
    assert tracker_names("none") is None
    with pytest.raises(OutputError, match="could not be uploaded"):
        push_to_hub(tmp_path, "not a name / at all")


class _Hub(BaseHTTPRequestHandler):
    """As much of a model hub as an upload needs: it takes every file as it is, and keeps it."""

    files: ClassVar[dict[str, bytes]] = {}

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        address = f"http://{self.headers['Host']}/me/model"
        answer: dict[str, object] = {"url": address, "id": "me/model"}
        if "/preupload/" in self.path:
            paths = [file["path"] for file in json.loads(body)["files"]]
            answer = {"files": [{"path": p, "uploadMode": "regular", "shouldIgnore": False} for p in paths]}
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            answer = {"commitUrl": f"{address}/commit/0", "commitOid": "0", "pullRequestUrl": None}
        self._answer(answer)

    def do_GET(self) -> None:
        self._answer({})

    def _answer(self, answer: dict[str, object]) -> None:
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *words: object) -> None:
        pass


def test_weights_arrive_at_a_hub_whole(tmp_path: Path) -> None:
    weights_file = tmp_path / "weights" / "diffusion_pytorch_model.safetensors"
    weights_file.parent.mkdir()
    weights_file.write_bytes(bytes(range(256)) * 20)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    code = "import sys; from pathlib import Path; from training.extras import push_to_hub\n"
    code += "push_to_hub(Path(sys.argv[1]), 'me/model')"
    # the client reads the address of the hub when it is imported
    hub = {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_TOKEN": "token", "HF_HUB_DISABLE_XET": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, str(weights_file.parent)], env=environment() | hub, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
    finally:
        server.shutdown()
    assert done.returncode == 0, done.stderr[-2000:]
    assert _Hub.files[weights_file.name] == weights_file.read_bytes()
