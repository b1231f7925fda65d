"""From our configuration to DeepSpeed's, as a pure function; combinations that cannot work are refused here, before a launch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nosology.errors import ConfigError
from nosology.training import order

if TYPE_CHECKING:
    from nosology.config import TrainConfig


def check(config: TrainConfig) -> None:
    """ConfigError, with the reason, for a combination that does not work. docs/training.md lists them; a test tries each."""
    for fails, reason in REFUSED:
        if fails(config):
            raise ConfigError(reason)


REFUSED: tuple[tuple[Callable[[TrainConfig], bool], str], ...] = (
    (lambda c: c.offload in ("optimizer", "all") and c.zero == 0,
     "train.offload needs train.zero of 1, 2 or 3: without ZeRO the optimizer state cannot move"),
    (lambda c: c.offload == "all" and c.zero != 3,
     "train.offload: all needs train.zero of 3: below it every GPU works on all weights. Take offload: optimizer"),
    (lambda c: c.offload == "nvme" and c.zero != 3,
     "train.offload: nvme needs train.zero of 3, which alone can keep its optimizer state on a disk. Take offload: optimizer"),
    (lambda c: (c.offload == "nvme") != (c.offload_folder is not None),
     "train.offload: nvme and train.offload_folder go together: a folder on a fast disk that each node has for itself"),
    (lambda c: c.offload in ("optimizer", "all") and not c.use_gpu,
     "train.offload moves state from a GPU to host memory; without train.use_gpu it is there already"),
    (lambda c: c.patience is not None and c.evaluate_steps is None,
     "train.patience counts evaluations, and train.evaluate_steps is not set"),
    (lambda c: c.least_workers is not None and c.least_workers > c.workers,
     "train.least_workers is more than train.workers, which is the most that there will be"),
    (lambda c: c.objective == "rerank" and not c.negatives,
     "train.negatives 0: rerank learns to tell the right title from wrong ones. Take 4 or more"),
    (lambda c: c.objective == "embed" and not c.negatives and c.batch_size == 1,
     "train.negatives 0 and train.batch_size 1: embed would have nothing to choose among. Raise one of them"),
    (lambda c: c.method == "qlora" and not c.use_gpu,
     "train.method: qlora needs train.use_gpu: its 4-bit products are GPU kernels. Take method: lora"),
    (lambda c: c.method == "qlora" and c.zero == 3,
     "train.method: qlora does not go with train.zero of 3: ZeRO 3 would share out packed 4-bit weights whose shapes it does not know; with "
     "a base in 4 bits zero of 0, 1 or 2 has room"),
    (lambda c: c.method == "qlora" and c.precision != "bf16",
     "train.method: qlora needs train.precision: bf16, the type that its products are made in"),
    (lambda c: c.method == "qlora" and c.objective not in ("generate", "prefer"),
     "train.method: qlora is for the objectives generate and prefer: heads and their encoders are small. Take method: lora"),
)  # fmt: skip


def deepspeed_config(config: TrainConfig, world_size: int) -> dict[str, Any]:
    """The dictionary that `deepspeed.initialize` takes, in a group that has `world_size` of its `config.workers`.

    fp16 does not occur: TrainConfig offers fp32 and bf16 only, because DeepSpeed refuses fp16 on CPU and bf16 needs no loss scale.
    Off the GPU the optimizer is torch's own (`torch_adam`), which spares the compilation of DeepSpeed's CPU Adam (30-75 s).
    """
    check(config)
    rounds = order.rounds(config.accumulation_steps * config.workers, world_size)
    # in bf16 an fp32 copy of the weights is needed, which DeepSpeed keeps from stage 1 on: stage 0 is run as 1, with the same results
    stage = max(config.zero, 1) if config.precision == "bf16" else config.zero
    zero: dict[str, Any] = {"stage": stage}
    if stage >= 1:
        zero |= {"overlap_comm": config.use_gpu, "contiguous_gradients": config.zero >= 2, "reduce_bucket_size": 50_000_000}
    if config.zero == 3:
        # small parameters stay whole: gathering a LoRA factor or a norm costs more than it saves
        zero |= {"stage3_param_persistence_threshold": 10_000, "stage3_prefetch_bucket_size": 50_000_000,
                 "stage3_gather_16bit_weights_on_model_save": False}  # fmt: skip
    if config.offload == "nvme":
        zero["offload_optimizer"] = {"device": "nvme", "nvme_path": config.offload_folder, "pin_memory": config.use_gpu}
    elif config.offload != "none":
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": True}
    if config.offload == "all":
        zero["offload_param"] = {"device": "cpu", "pin_memory": True}
    optimizer = {
        "lr": config.learning_rate, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": config.weight_decay,
        "adam_w_mode": True, "torch_adam": not config.use_gpu,
    }  # fmt: skip
    return {
        "train_micro_batch_size_per_gpu": config.batch_size,
        "gradient_accumulation_steps": rounds,
        "train_batch_size": config.batch_size * rounds * world_size,
        "gradient_clipping": config.gradient_clip,
        "optimizer": {"type": "AdamW", "params": optimizer},
        "bf16": {"enabled": config.precision == "bf16"},
        "data_types": {"grad_accum_dtype": "fp32"},
        "zero_optimization": zero,
        "aio": {"block_size": 1 << 20, "queue_depth": 32, "thread_count": 1, "single_submit": False, "overlap_events": True},
        "zero_allow_untested_optimizer": False,
        "wall_clock_breakdown": False,
        "steps_per_print": 1 << 40,
    }
