"""Run a training script with its weights cut over processes on CPUs: accelerate offers FSDP on GPUs alone.

torchrun --nproc-per-node 2 tests/sharded_training.py training/train_motion.py --config ...
"""

from __future__ import annotations

import runpy
import sys

import torch
from diffusers.training_utils import EMAModel
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from training.common import TrainingLoop


def prepare(loop: TrainingLoop) -> torch.device:
    """What :meth:`TrainingLoop.prepare` comes to with configs/accelerate/fsdp.yaml, on CPUs."""
    mesh = init_device_mesh("cpu", (loop.accelerator.num_processes,))
    fully_shard(loop.objective, mesh=mesh, reshard_after_forward=True)
    loop.parameters = [p for p in loop.objective.parameters() if p.requires_grad]
    config = loop.config
    loop.optimizer = torch.optim.AdamW(
        loop.parameters, lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.99)
    )
    loop.ema = EMAModel(loop.parameters, decay=config.ema_decay, use_ema_warmup=True, power=0.75)
    return loop.accelerator.device


if __name__ == "__main__":
    TrainingLoop.prepare = prepare  # type: ignore[method-assign]
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
