"""One optimizer step, on one process (`LocalStepper`) or under DeepSpeed on many (`DeepSpeedStepper`), behind one protocol.

Both hand out the state of a run in the same world-size-free form: for each parameter that learns its full-precision value and the two
moments of Adam, gathered, spread over the workers in parts of about the same size; and take it back at any number of workers and any
ZeRO stage.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol, cast

from nosology.errors import ConfigError, ModelError
from nosology.training import order, zero
from nosology.training.checkpoint import Snapshot

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
        """Back-propagate this worker's share of one round; the optimizer steps after the last round of a step.

        Args:
            loss: what it adds to the step's loss: the sum of its losses over the number of targets of the whole step.
        """
        ...

    def gradient_norm(self) -> float:
        """Norm of the last step's gradient before clipping."""
        ...

    def total(self, values: Sequence[float]) -> list[float]:
        """Sums over the workers; collective."""
        ...

    def share(self, text: str) -> str:
        """Rank 0's text, on every worker; collective."""
        ...

    def gather(self, text: str) -> list[str]:
        """Every worker's text, on every worker; collective."""
        ...

    def on_collective(self, tell: Callable[[str], None]) -> None:
        """Call `tell` with the name of every collective operation before it begins."""
        ...

    def snapshot(self, step: int, fields: Mapping[str, Any]) -> Snapshot:
        """This worker's part of the state, on the CPU; collective."""
        ...

    def restore(self, state: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
        """Go on from a checkpoint's state; collective.

        Raises:
            ModelError: it is of another model or another adapter.
        """
        ...


def _learning(module: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}


def _buffers(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """What the module keeps beside its parameters, such as the mean of a normalisation."""
    named = dict(module.named_parameters(remove_duplicate=False))
    return {name: tensor.detach().cpu().clone() for name, tensor in module.state_dict().items() if name not in named}


def _texts(module: torch.nn.Module) -> dict[str, str]:
    """What transformers wants beside the weights of a whole model or of a head, by file; taken now, because another thread writes it."""
    model, found = cast("Any", module), {}
    adapted = getattr(model, "peft_config", None)
    if adapted is not None:
        model = model.get_base_model()
        if not type(model).__name__.endswith("ForSequenceClassification"):
            return {}
    if hasattr(model, "config"):
        model.config.architectures = [type(model).__name__]
        found["config.json"] = model.config.to_json_string(use_diff=True)
    if getattr(model, "generation_config", None) is not None:
        found["generation_config.json"] = model.generation_config.to_json_string(use_diff=True)
    return found


def _owners(sizes: Mapping[str, int], parts: int) -> dict[str, int]:
    """Part of each tensor: the one that has least so far. The same on every worker."""
    loads = [0] * parts
    owners = {}
    for name, size in sizes.items():
        owners[name] = loads.index(min(loads))
        loads[owners[name]] += size
    return owners


def _telling(name: str, original: Callable[..., Any], tell: Callable[[str], None]) -> Callable[..., Any]:
    original = getattr(original, "__wrapped__", original)  # of a training before this one in the same process

    @functools.wraps(original)
    def call(*arguments: Any, **options: Any) -> Any:
        tell(f"{name} of DeepSpeed")
        return original(*arguments, **options)

    return call


def _check_names(module: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    own = _learning(module)
    saved = {name.rpartition("|")[0] for name in tensors}
    if saved != set(own):
        raise ModelError(f"the checkpoint holds {len(saved)} parameters, this model learns {len(own)}: another model or another adapter")


def place() -> tuple[int, int]:
    """Rank of this process in its group, and the size of the group; known before the model is built."""
    import torch

    group = torch.distributed
    return (group.get_rank(), group.get_world_size()) if group.is_available() and group.is_initialized() else (0, 1)


class LocalStepper:
    """One process without DeepSpeed: tests, small heads, scripts."""

    rank, world_size = 0, 1

    def __init__(self, build: Callable[[], torch.nn.Module], config: TrainConfig) -> None:
        import torch

        zero.check(config)
        self._config = config
        self.device = torch.device("cuda" if config.use_gpu else "cpu")
        self.module = self.bare = build().to(self.device)
        for parameter in _learning(self.bare).values():  # small steps would be lost in bf16; autocast works with either
            parameter.data = parameter.data.float()
        self._optimizer = torch.optim.AdamW(list(_learning(self.bare).values()), lr=config.learning_rate, weight_decay=config.weight_decay)
        self.autocast: AbstractContextManager[Any] = nullcontext()
        if config.precision == "bf16":
            self.autocast = torch.autocast(self.device.type, torch.bfloat16)
        self._rounds = order.rounds(config.accumulation_steps * config.workers, 1)
        self._turn = 0
        self._norm = 0.0

    def learn(self, loss: torch.Tensor, learning_rate: float) -> None:
        import torch

        loss.backward()  # type: ignore[no-untyped-call]
        self._turn += 1
        if self._turn % self._rounds:
            return
        self._norm = float(torch.nn.utils.clip_grad_norm_(_learning(self.bare).values(), self._config.gradient_clip))
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def gradient_norm(self) -> float:
        return self._norm

    def total(self, values: Sequence[float]) -> list[float]:
        return list(values)

    def share(self, text: str) -> str:
        return text

    def gather(self, text: str) -> list[str]:
        return [text]

    def on_collective(self, tell: Callable[[str], None]) -> None:
        """One process has none."""

    def snapshot(self, step: int, fields: Mapping[str, Any]) -> Snapshot:
        learning = _learning(self.bare)
        full = self._config.method == "full"
        weights = {name: p.detach().cpu().clone() for name, p in self.bare.named_parameters() if full or p.requires_grad}
        tensors: dict[str, torch.Tensor] = {}
        count = 0
        for name, parameter in learning.items():
            tensors[f"{name}|value"] = parameter.detach().float().cpu().clone()
            held = self._optimizer.state.get(parameter)
            if held:  # a parameter that no loss has reached has no moments
                count = int(held["step"])
                tensors |= {f"{name}|{key}": held[key].cpu().clone() for key in MOMENTS}
        whole = weights | _buffers(self.bare) if full else weights
        return Snapshot(step, 0, 1, self.bare, whole, tensors, {}, {"adam_step": count, **fields}, _texts(self.bare))

    def restore(self, state: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
        import torch

        _check_names(self.bare, tensors)
        for name, parameter in _learning(self.bare).items():
            parameter.data.copy_(tensors[f"{name}|value"])
            if f"{name}|exp_avg" in tensors:
                held: dict[str, Any] = {key: tensors[f"{name}|{key}"].to(self.device).clone() for key in MOMENTS}
                self._optimizer.state[parameter] = {"step": torch.tensor(float(state["adam_step"])), **held}


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
        self._rounds: int = settings["gradient_accumulation_steps"]
        # without ZeRO DeepSpeed clips the gradient and does not tell its norm
        self._plain, self._norm = settings["zero_optimization"]["stage"] == 0, 0.0
        if config.offload == "nvme" and not deepspeed.ops.op_builder.AsyncIOBuilder().is_compatible():
            raise ConfigError("train.offload: nvme needs libaio with its headers, which DeepSpeed compiles against, on every node (Debian: "
                              "apt-get install libaio-dev)")  # fmt: skip
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
        self._owners = _owners({name: int(getattr(p, "ds_numel", p.numel())) for name, p in self.bare.named_parameters()}, self.world_size)

    def learn(self, loss: torch.Tensor, learning_rate: float) -> None:
        import torch

        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        # DeepSpeed takes the mean over workers and rounds
        self.module.backward(loss * (self.world_size * self._rounds))
        if self._plain and self.module.is_gradient_accumulation_boundary():
            self._norm = float(torch.nn.utils.get_total_norm([p.grad for p in _learning(self.bare).values() if p.grad is not None]))
        self.module.step()

    def gradient_norm(self) -> float:
        return self._norm if self._plain else float(self.module.get_global_grad_norm() or 0.0)

    def total(self, values: Sequence[float]) -> list[float]:
        import torch

        tensor = torch.tensor(list(values), dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(tensor)
        return [float(value) for value in tensor.tolist()]

    def share(self, text: str) -> str:
        import torch

        box = [text]
        torch.distributed.broadcast_object_list(box, src=0)
        return box[0]

    def gather(self, text: str) -> list[str]:
        import torch

        box = [""] * self.world_size
        torch.distributed.all_gather_object(box, text)
        return box

    def on_collective(self, tell: Callable[[str], None]) -> None:
        from deepspeed.comm import comm

        backend: Any = comm.cdb
        for name in ("all_reduce", "all_gather", "all_gather_into_tensor", "reduce", "reduce_scatter_tensor", "broadcast", "barrier",
                     "all_gather_coalesced", "reduce_scatter"):  # fmt: skip
            original = getattr(backend, name, None)
            if original is not None:
                setattr(backend, name, _telling(name, original, tell))

    def _torch_optimizer(self) -> torch.optim.Optimizer:
        """The optimizer that holds the moments, below ZeRO's wrapper where there is one."""
        optimizer: torch.optim.Optimizer = getattr(self._optimizer, "optimizer", self._optimizer)
        return optimizer

    def _value(self, parameter: torch.nn.Parameter, key: str | None, keep: bool) -> torch.Tensor | None:
        """Full-precision value (or a moment) of a parameter, gathered, on the CPU of whoever keeps it; collective."""
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

        if hasattr(parameter, "ds_id") or hasattr(parameter, "_hp_mapping"):
            found = safe_get_full_optimizer_state(parameter, key) if key else safe_get_full_fp32_param(parameter)
        else:
            found = self._torch_optimizer().state[parameter][key] if key else parameter.detach()
        return found.detach().float().cpu().clone() if keep else None

    @contextmanager
    def _at_hand(self, place: int) -> Iterator[None]:
        """Within, what stage 3 keeps of a group of parameters on NVMe is in memory; on disk again after."""
        swapped = self._config.offload == "nvme" and self._optimizer._swappable_optimizer_subgroup(place)
        if swapped:
            self._optimizer._optimizer_states_and_gradient_swap_in(place)
        yield
        if swapped:
            self._optimizer._optimizer_states_and_gradient_swap_out(place)

    def _take(self, parameter: torch.nn.Parameter, key: str | None, value: torch.Tensor) -> None:
        """Put a whole value (or moment) where ZeRO keeps its shards."""
        from deepspeed import utils

        if not hasattr(parameter, "ds_id"):
            if key:
                utils.safe_set_full_optimizer_state(parameter, value, key)
            else:
                utils.safe_set_full_fp32_param(parameter, value)
            return
        # stage 3's own way fails where the workers do not divide the size: the last shards are padded, and it reads past the end
        shard = value.new_zeros(cast("Any", parameter).ds_tensor.numel())
        piece = value.flatten()[self.rank * shard.numel() :][: shard.numel()]
        shard[: piece.numel()] = piece
        if key:
            utils.safe_set_local_optimizer_state(parameter, shard, key)
        else:
            utils.safe_set_local_fp32_param(parameter, shard)

    def snapshot(self, step: int, fields: Mapping[str, Any]) -> Snapshot:
        import deepspeed

        full = self._config.method == "full"
        weights: dict[str, torch.Tensor] = {}
        tensors: dict[str, torch.Tensor] = {}
        for name, parameter in self.bare.named_parameters():
            mine = self._owners[name] == self.rank
            if parameter.requires_grad:
                for key in (None, *MOMENTS):  # one at a time, so that no more than a parameter is ever whole
                    gathered = self._value(parameter, key, keep=mine or (not full and self.rank == 0))
                    if gathered is not None and not key and (mine if full else self.rank == 0):
                        weights[name] = gathered.to(parameter.dtype)
                    if gathered is not None and mine:
                        tensors[f"{name}|{key or 'value'}"] = gathered
            elif full:
                with deepspeed.zero.GatheredParameters([parameter]):
                    if mine:
                        weights[name] = parameter.detach().cpu().clone()
        owners = self._owners if full else {}
        if full:
            buffers = _buffers(self.bare)
            owners = {**owners, **dict.fromkeys(buffers, 0)}
            weights |= buffers if self.rank == 0 else {}
        # some optimizers count in one parameter's state alone
        count = max((int(held["step"]) for held in self._torch_optimizer().state.values() if "step" in held), default=step)
        texts = _texts(self.bare) if self.rank == 0 else {}
        return Snapshot(step, self.rank, self.world_size, self.bare, weights, tensors, owners, {"adam_step": count, **fields}, texts)

    def restore(self, state: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
        import deepspeed
        import torch

        adam_step = int(state["adam_step"])
        _check_names(self.bare, tensors)
        optimizer = self._torch_optimizer()
        # the moments are made at the first step; make them now, so that there is a place to put ours. Stage 3 keeps its flat
        # parameters apart, because the optimizer sees one at a time
        apart = getattr(self._optimizer, "fp32_partitioned_groups_flat", None)
        for place, flat in enumerate(apart or [parameter for group in optimizer.param_groups for parameter in group["params"]]):
            with self._at_hand(place):
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
                for key, value in values.items():
                    self._take(parameter, None if key == "value" else key, value)
            else:
                for key in MOMENTS:
                    optimizer.state[parameter][key].copy_(values[key])
