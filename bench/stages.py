"""Stage by stage: milliseconds a frame, real-time factor, memory, and the arithmetic floor of each stage.

    python bench/stages.py --portrait A.jpg --speech examples/speech.wav --seconds 2,10,60

makes each clip in a process of its own through ``MoEEPipeline.stream`` and :class:`VideoWriter`, as ``mooe generate``
does, and prints a table and, with ``--out``, JSON. The floor is the time that a stage's counted multiplications and
additions take at this machine's measured rate of matrix products, on as many threads; stages of table look-ups,
interpolation and encoding have no such count. Motion is sampled beside drawing and encoding, so the stages add up to
more than the clip takes. With ``--keep`` the clips stay in a folder, such as for ``bench/drift.py``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

STAGES = ("audio", "motion", "decoder", "video")


def measure_clip(
    portrait: Path, speech: Path, seconds: float, size: int, steps: int, emotion: str, keep: Path | None = None
) -> dict[str, Any]:
    """Make one clip in this process; seconds by stage, operations by stage, memory."""
    import torch

    from bench.generated import repeated_speech
    from mooe import MoEEPipeline
    from mooe.cli import SWITCH_SECONDS
    from mooe.commands.speech_options import sound_for_listeners
    from mooe.decoder.kernels import load_kernels
    from mooe.decoder.refinement import refined_decoder
    from mooe.media import VideoWriter, read_image
    from mooe.memory import keep_freed_memory
    from mooe.report import StageClock, peak_rss_mb

    keep_freed_memory()
    sys.setswitchinterval(SWITCH_SECONDS)
    with tempfile.TemporaryDirectory() as temporary:
        folder = keep or Path(temporary)
        sound = repeated_speech(speech, seconds, folder)
        pipeline = MoEEPipeline.from_pretrained()
        load_kernels()
        clock = StageClock()
        with clock.stage("portrait"):
            source = pipeline.encode_portrait(read_image(portrait), size=size)
        loaded, begun, first_frame = peak_rss_mb(), time.perf_counter(), None
        stream = pipeline.stream(
            source, sound, emotion or None, num_inference_steps=steps, generator=torch.Generator().manual_seed(0),
            ahead=True,
        )  # fmt: skip
        height, width = source.picture.shape[:2]
        course, processor = [], time.process_time()
        listened, sample_rate = sound_for_listeners(sound)
        with VideoWriter(
            folder / f"clip_{seconds:g}s.mp4", width, height, audio=listened, sample_rate=sample_rate, force=True
        ) as writer:
            for chunk in stream:
                first_frame = first_frame or time.perf_counter() - begun
                with clock.stage("video"):
                    while chunk.frames:
                        writer.write(chunk.frames.pop(0))
                course.append(_resident_mb())
        wall, processor = time.perf_counter() - begun, time.process_time() - processor
        peak = peak_rss_mb()  # of the clip: counting takes memory of its own
        decoder, last = refined_decoder(source, pipeline.compensator), chunk.motion
        pose = (last.displacement[-1], last.rotation[-1], last.translation[-1])
        operations = count_operations(
            pipeline, steps, bool(emotion), lambda: decoder.render_full(*pose), (height, width)
        )
    stages = {**stream.timings, **clock.seconds}
    return {
        "seconds": seconds, "frames": stream.num_frames, "wall": wall, "first_frame": first_frame,
        "real_time_factor": (wall + stages["portrait"]) / seconds, "portrait": stages["portrait"],
        "ms": {name: 1000 * stages.get(name, 0.0) / stream.num_frames for name in STAGES},
        "memory_mb": peak, "memory_loaded_mb": loaded,
        "memory_course_mb": course[:: max(len(course) // 20, 1)], "processor_s": processor,
        "floor_ms": {name: 1000 * count / rate(dtype) for name, (count, dtype) in operations.items()},
        "gflop": {name: count / 1e9 for name, (count, _) in operations.items()},
    }  # fmt: skip


def _resident_mb() -> float:
    """Resident memory of this process now, in MB."""
    import psutil

    return float(psutil.Process().memory_info().rss) / 1e6


def count_operations(
    pipeline: Any, steps: int, emotional: bool, draw: Callable[[], object], shape: tuple[int, int]
) -> dict[str, tuple[float, Any]]:
    """Floating-point operations a frame by stage, and the precision they are made in.

    Args:
        pipeline: made the clip.
        steps: denoising steps.
        emotional: whether there was an emotion.
        draw: draws a frame of the clip.
        shape: height and width of the frames.
    """
    import torch

    from bench.operations import audio_operations, decoder_operations, motion_operations, video_operations

    return {
        "audio": (audio_operations(), torch.float32),
        "motion": (motion_operations(pipeline, steps, emotional), pipeline.unet.dtype),
        "decoder": (decoder_operations(draw), torch.float32),
        "video": (video_operations(*shape), torch.float32),
    }


def rate(dtype: Any) -> float:
    """Floating-point operations a second of a large matrix product, the best of some."""
    import torch

    side, times = 1024, []
    matrix = torch.ones(side, side, dtype=dtype)
    for _ in range(8):
        start = time.perf_counter()
        matrix @ matrix
        times.append(time.perf_counter() - start)
    return 2 * side**3 / min(times)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Stages of a clip: time, memory, arithmetic floor.")
    parser.add_argument("--portrait", type=Path, default=ROOT / "examples/portraits/grace_hopper.jpg")
    parser.add_argument("--speech", type=Path, default=ROOT / "examples/speech.wav")
    parser.add_argument("--seconds", default="2,10,60", help="lengths, with commas between, such as 2,10,60,600")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--emotion", default="", help="such as happy")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--keep", type=Path, help="folder in which the clips stay")
    parser.add_argument("--out", type=Path, help="JSON file")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        import torch

        torch.set_num_threads(given.threads)
        found = measure_clip(
            given.portrait, given.speech, float(given.seconds), given.size, given.steps, given.emotion, given.keep
        )
        print(json.dumps(found))
        return
    results = [_in_own_process(given, length) for length in given.seconds.split(",")]
    _show(results)
    if given.out:
        from mooe.media import write_json

        write_json(given.out, {"threads": given.threads, "clips": results})


def _in_own_process(given: argparse.Namespace, length: str) -> dict[str, Any]:
    """Peak memory is a process's own."""
    options = {
        "portrait": given.portrait, "speech": given.speech, "seconds": length, "size": given.size, "steps": given.steps,
        "emotion": given.emotion, "threads": given.threads,
    }  # fmt: skip
    if given.keep:
        given.keep.mkdir(parents=True, exist_ok=True)
        options["keep"] = given.keep
    line = [sys.executable, __file__, "--one", *[part for k, v in options.items() for part in (f"--{k}", str(v))]]
    environment = os.environ | {"OMP_NUM_THREADS": str(given.threads)}
    done = subprocess.run(line, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(done.stderr[-1000:])
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _show(results: list[dict[str, Any]]) -> None:
    from bench.tables import show

    rows: list[list[object]] = []
    for name in STAGES:
        floor = results[0]["floor_ms"].get(name)
        count = results[0]["gflop"].get(name)
        rows.append([f"{name}, ms a frame", *(r["ms"][name] for r in results), floor or "", count or ""])
    for title, key in (
        ("portrait, s", "portrait"), ("first frames after, s", "first_frame"), ("real-time factor", "real_time_factor"),
        ("processor time, s", "processor_s"), ("peak memory, MB", "memory_mb"),
        ("of it before the clip, MB", "memory_loaded_mb"),
    ):  # fmt: skip
        rows.append([title, *(r[key] for r in results), "", ""])
    header = ["", *(f"{r['seconds']:g} s" for r in results), "floor, ms a frame", "GFLOP a frame"]
    show("Stages", header, rows)


if __name__ == "__main__":
    main()
