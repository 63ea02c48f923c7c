"""Put trained weights together as a pipeline folder, in half precision.

python training/pack_pipeline.py --runs runs --out mooe/assets/pipeline
python training/pack_pipeline.py --runs runs --distilled runs/distill/weights --out fast   # train_distill.py's student
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from diffusers import FlowMatchEulerDiscreteScheduler

from mooe.decoder.compensator import PortraitCompensator
from mooe.emotion.adapters import MoEEAdapters
from mooe.emotion.latents import EmotionToLatents
from mooe.motion.codec import MotionCodec
from mooe.motion.pose import HeadPosePredictor
from mooe.motion.unet import MotionUNet
from mooe.pipeline import MoEEPipeline


def main() -> None:
    """Read each stage's weights and write the pipeline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, help="folder with codec, motion, emotion and pose")
    parser.add_argument("--out", type=Path, required=True, help="pipeline folder; replaced")
    parser.add_argument("--decoder", type=Path, help="weights of the decoder's learned stages, if they shall be used")
    parser.add_argument("--distilled", type=Path, help="weights of train_distill.py, instead of the runs' own motion")
    options = parser.parse_args()
    runs = options.runs
    trained = options.distilled or runs
    pipeline = MoEEPipeline(
        MotionCodec.from_pretrained(runs / "codec"),
        MotionUNet.from_pretrained(trained / "motion/weights"),
        MoEEAdapters.from_pretrained(trained / "emotion/weights/adapters"),
        EmotionToLatents.from_pretrained(trained / "emotion/weights/emotion_encoder"),
        HeadPosePredictor.from_pretrained(runs / "pose/weights"),
        FlowMatchEulerDiscreteScheduler(shift=2.0),
        PortraitCompensator.from_pretrained(options.decoder) if options.decoder else None,
    )
    for module in (
        pipeline.codec,
        pipeline.unet,
        pipeline.adapters,
        pipeline.emotion_encoder,
        pipeline.pose_predictor,
        pipeline.compensator,
    ):
        if module is not None:
            module.half()
    temporary = options.out.with_name("pipeline.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    pipeline.save_pretrained(temporary)
    shutil.rmtree(options.out, ignore_errors=True)
    temporary.rename(options.out)


if __name__ == "__main__":
    main()
