"""One optimizer step, on one process (`LocalStepper`) or under DeepSpeed on many (`DeepSpeedStepper`), behind one protocol.

Both keep the state of a LoRA run in the same world-size-free form: for each parameter that learns, its full-precision value and
the two moments of Adam, gathered. A full fine-tune under DeepSpeed keeps DeepSpeed's own sharded files instead.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from nosology.errors import ModelError
from nosology.training import checkpoint, zero

if TYPE_CHECKING:
    import torch

    from nosology.config import TrainConfig

MOMENTS = ("exp_avg", "exp_avg_sq")


class Stepper(Protocol):
    """A module together with its optimizer and its process group."""

    module: torch.nn.Module  # what the objective calls
    bare: torch.nn.Module  # the same without DeepSpeed's wrapper
    device: torch.device
    rank: int
    world_size: int
    autocast: AbstractContextManager[Any]  # around the forward pass

    def learn(self, loss: torch.Tensor, learning_rate: float) -> None:
        """Back-propagate one micro-batch; the optimizer steps after every `accumulation_steps` of them."""
        ...

    def gradient_norm(self) -> float:
        """Norm of the last step's gradient before clipping."""
        ...

    def mean(self, value: float) -> float:
        """Mean over the workers; collective."""
        ...

    def total(self, value: float) -> float:
        """Sum over the workers; collective."""
        ...

    def share(self, text: str) -> str:
        """Rank 0's text, on every worker; collective."""
        ...

    def save(self, folder: Path, step: int) -> None:
        """Write weights and optimizer state into a folder that every worker sees; collective. Checked on rank 0."""
        ...

    def load(self, folder: Path) -> int:
        """Continue from a checkpoint; collective. Returns the steps done."""
        ...


def _learning(module: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}


def _buffers(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """What the module keeps beside its parameters, such as the mean of a normalisation."""
    named = dict(module.named_parameters(remove_duplicate=False))
    return {name: tensor.detach().cpu() for name, tensor in module.state_dict().items() if name not in named}


class LocalStepper:
    """One process without DeepSpeed: tests, small heads, scripts."""

    rank, world_size = 0, 1

    def __init__(self, build: Callable[[], torch.nn.Module], config: TrainConfig) -> None:
        import torch

        zero.check(config)
        self._config = config
        self.device = torch.device("cuda" if config.use_gpu else "cpu")
        self.module = self.bare = build().to(self.device)
        self._optimizer = torch.optim.AdamW(list(_learning(self.bare).values()), lr=config.learning_rate, weight_decay=config.weight_decay)
        self.autocast: AbstractContextManager[Any] = nullcontext()
        if config.precision == "bf16":
            self.autocast = torch.autocast(self.device.type, torch.bfloat16)
        self._micro = 0
        self._norm = 0.0

    def learn(self, loss: torch.Tensor, learning_rate: float) -> None:
        import torch

        (loss / self._config.accumulation_steps).backward()  # type: ignore[no-untyped-call]
        self._micro += 1
        if self._micro % self._config.accumulation_steps:
            return
        self._norm = float(torch.nn.utils.clip_grad_norm_(_learning(self.bare).values(), self._config.gradient_clip))
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def gradient_norm(self) -> float:
        return self._norm

    def mean(self, value: float) -> float:
        return value

    def total(self, value: float) -> float:
        return value

    def share(self, text: str) -> str:
        return text

    def save(self, folder: Path, step: int) -> None:
        learning = _learning(self.bare)
        lora = self._config.method != "full"
        named = learning if lora else dict(self.bare.named_parameters())
        weights = {name: tensor.detach().cpu() for name, tensor in named.items()}
        checkpoint.save_weights(self.bare, weights if lora else weights | _buffers(self.bare), folder)
        tensors: dict[str, torch.Tensor] = {}
        count = 0
        for name, parameter in learning.items():
            tensors[f"{name}|value"] = parameter.detach().float().cpu()
            held = self._optimizer.state.get(parameter)
            if held:  # a parameter that no loss has reached has no moments
                count = int(held["step"])
                tensors |= {f"{name}|{key}": held[key].cpu() for key in MOMENTS}
        checkpoint.save_state(folder, step, tensors, adam_step=count)

    def load(self, folder: Path) -> int:
        import torch

        state, tensors = checkpoint.load_state(folder)
        _check_names(self.bare, tensors)
        for name, parameter in _learning(self.bare).items():
            parameter.data.copy_(tensors[f"{name}|value"])
            if f"{name}|exp_avg" in tensors:
                held: dict[str, Any] = {key: tensors[f"{name}|{key}"].to(self.device).clone() for key in MOMENTS}
                self._optimizer.state[parameter] = {"step": torch.tensor(float(state["adam_step"])), **held}
        return int(state["step"])


def _check_names(module: torch.nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    saved, own = {name.rpartition("|")[0] for name in tensors}, set(_learning(module))
    if saved != own:
        raise ModelError(f"the checkpoint holds {len(saved)} parameters, this model learns {len(own)}: another model or another adapter")


class DeepSpeedStepper:
    """A worker of a torch.distributed group (gloo or NCCL, already initialised) with DeepSpeed ZeRO 0-3."""

    def __init__(self, build: Callable[[], torch.nn.Module], config: TrainConfig) -> None:
        os.environ.setdefault("DS_ACCELERATOR", "cuda" if config.use_gpu else "cpu")
        logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
        import deepspeed
        import torch

        logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
        self.rank, self.world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
        self._config = config
        settings = zero.deepspeed_config(config, self.world_size)
        if not config.use_gpu:  # it would be compiled at the first use, a minute on two cores; gloo does without
            deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        deepspeed.init_distributed(dist_backend="nccl" if config.use_gpu else "gloo", auto_mpi_discovery=False, verbose=False)
        if config.zero == 3:
            from transformers import integrations

            # while this object lives, from_pretrained creates parameters sharded
            self._sharded_load = cast("Any", integrations).HfDeepSpeedConfig(settings)
        self.bare = build()
        parameters = list(_learning(self.bare).values())
        self.module, self._optimizer, _, _ = deepspeed.initialize(model=self.bare, model_parameters=parameters, config=settings)
        self.device = torch.device(self.module.device)
        self.autocast: AbstractContextManager[Any] = nullcontext()  # DeepSpeed casts the module itself

    def learn(self, loss: torch.Tensor, learning_rate: float) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self.module.backward(loss)
        self.module.step()

    def gradient_norm(self) -> float:
        norm = self.module.get_global_grad_norm()
        return float(norm) if norm is not None else 0.0

    def mean(self, value: float) -> float:
        return self.total(value) / self.world_size

    def total(self, value: float) -> float:
        import torch

        tensor = torch.tensor([value], dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(tensor)
        return float(tensor)

    def share(self, text: str) -> str:
        import torch

        box = [text]
        torch.distributed.broadcast_object_list(box, src=0)
        return box[0]

    def _torch_optimizer(self) -> torch.optim.Optimizer:
        """The optimizer that holds the moments, below ZeRO's wrapper where there is one."""
        optimizer: torch.optim.Optimizer = getattr(self._optimizer, "optimizer", self._optimizer)
        return optimizer

    def _value(self, parameter: torch.nn.Parameter, key: str | None = None) -> torch.Tensor:
        """Full-precision value (or a moment) of a parameter, gathered; collective."""
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

        if hasattr(parameter, "ds_id") or hasattr(parameter, "_hp_mapping"):
            found = safe_get_full_optimizer_state(parameter, key) if key else safe_get_full_fp32_param(parameter)
        else:
            found = self._torch_optimizer().state[parameter][key] if key else parameter.detach()
        tensor: torch.Tensor = found.detach().float().cpu()
        return tensor

    def _weights(self, learning_only: bool) -> dict[str, torch.Tensor]:
        """Weights by name on rank 0's CPU; gathers one sharded parameter at a time; collective."""
        import deepspeed

        state: dict[str, torch.Tensor] = {}
        for name, parameter in self.bare.named_parameters():
            if learning_only and not parameter.requires_grad:
                continue
            with deepspeed.zero.GatheredParameters([parameter]):
                if self.rank == 0:
                    state[name] = parameter.detach().cpu().clone()
        if not learning_only and self.rank == 0:
            state |= _buffers(self.bare)
        return state

    def save(self, folder: Path, step: int) -> None:
        learning = _learning(self.bare)
        lora = self._config.method != "full"
        weights = self._weights(learning_only=lora)
        tensors: dict[str, torch.Tensor] = {}
        if lora:
            for name, parameter in learning.items():
                gathered = {key or "value": self._value(parameter, key) for key in (None, *MOMENTS)}
                if self.rank == 0:
                    tensors |= {f"{name}|{key}": tensor for key, tensor in gathered.items()}
        else:
            # under 'deepspeed', one file a worker; DeepSpeed's own barrier makes them complete when this returns
            with checkpoint.writing(folder / "deepspeed", folder):
                self.module.save_checkpoint(str(folder / "deepspeed"), tag="state")
        if self.rank == 0:
            checkpoint.save_weights(self.bare, weights, folder)
            held = next((held for held in self._torch_optimizer().state.values() if "step" in held), {"step": step})
            checkpoint.save_state(folder, step, tensors if lora else None, adam_step=int(held["step"]))

    def load(self, folder: Path) -> int:
        state, tensors = checkpoint.load_state(folder)
        if self._config.method != "full":
            self._restore(tensors, int(state["adam_step"]))
        else:
            loaded, _ = self.module.load_checkpoint(str(folder / "deepspeed"), tag="state")
            if loaded is None:
                raise ModelError("DeepSpeed found no state in the checkpoint")
        return int(state["step"])

    def _restore(self, tensors: dict[str, torch.Tensor], adam_step: int) -> None:
        """Put gathered values and moments back into whatever shards this world size and stage make of them."""
        import deepspeed
        import torch
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

        _check_names(self.bare, tensors)
        optimizer = self._torch_optimizer()
        # the moments are made at the first step; make them now, so that there is a place to put ours. Stage 3 keeps its flat
        # parameters apart, because the optimizer sees one at a time
        apart = getattr(self._optimizer, "fp32_partitioned_groups_flat", None)
        for flat in apart or [parameter for group in optimizer.param_groups for parameter in group["params"]]:
            held = optimizer.state[flat]
            count = torch.tensor(float(adam_step)) if torch.is_tensor(held.get("step", torch.tensor(0.0))) else adam_step
            optimizer.state[flat] = {"step": count, **{key: torch.zeros_like(flat) for key in MOMENTS}}
        link = getattr(self._optimizer, "_lazy_init_hp_params_optimizer_state", None)
        if link:  # stages 1 and 2 find the shards of a parameter's moments through these links
            link()
        for name, parameter in _learning(self.bare).items():
            values = {key: tensors[f"{name}|{key}"].to(self.device) for key in ("value", *MOMENTS)}
            with deepspeed.zero.GatheredParameters([parameter], modifier_rank=0):
                if self.rank == 0 or not hasattr(parameter, "ds_id"):
                    parameter.data.copy_(values["value"])
            if hasattr(parameter, "ds_id") or hasattr(parameter, "_hp_mapping"):
                safe_set_full_fp32_param(parameter, values["value"])
                for key in MOMENTS:
                    safe_set_full_optimizer_state(parameter, values[key], key)
            else:
                for key in MOMENTS:
                    optimizer.state[parameter][key].copy_(values[key])
