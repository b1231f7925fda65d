"""Bytes on each card and each host, item by item, and at the three moments that matter: loading, a step, a save.

Model states follow DeepSpeed's own documented estimates (docs of `estimate_zero2_model_states_mem_needs` and `…zero3…`), split by item
and extended to weights that do not learn. Activations are what transformers' modules keep for the backward pass, counted by hooks
on saved tensors (a test holds the formula to the count).
"""

from __future__ import annotations

from dataclasses import dataclass

from nosology.config import TrainConfig
from nosology.training.planning.architecture import Architecture
from nosology.training.planning.hardware import GIB, Card

PINNED = 1.5  # DeepSpeed's factor for host memory: pinned buffers and what the allocator rounds up
QLORA_BYTES = 0.5 + 0.127 / 8  # a weight in nf4 with double quantization: 64 weights share an 8-bit scale, 256 scales a 32-bit one
MAX_LIVE = 1_000_000_000  # DeepSpeed's default of stage3_max_live_parameters: gathered weights that stay for a moment
BUCKET = 50_000_000  # elements of a reduce or prefetch bucket, as `zero.deepspeed_config` sets them
WORKER_GIB = 2.5  # host memory of a training process itself: Python, torch, Ray, the GPU's libraries
LOGIT_BYTES = 16  # an element of the logits: itself, its fp32 copy, the softmax of that and the gradients


@dataclass(frozen=True, slots=True)
class States:
    """Bytes of the model's states on one card and on one host."""

    weights: float
    gradients: float
    optimizer: float
    gathered: float
    host: float


def states(
    learning: float, frozen: float, largest: float, *, stage: int, gpus: int, gpus_per_node: int, offload_optimizer: bool = False,
    offload_weights: bool = False, live: float = 0, frozen_bytes: float = 2.0, mixed: bool = True, born_bytes: float = 4.0 * PINNED,
) -> States:  # fmt: skip
    """Model states under ZeRO.

    Args:
        learning, frozen: parameters that learn, and that do not.
        largest: parameters of the largest module, which stage 3 gathers whole.
        live: parameters that stage 3 keeps gathered at a time; at least `largest`.
        frozen_bytes: of a weight that does not learn, on the card.
        born_bytes: of a weight in a host's memory while the model is made: of the whole model in each process below stage 3, of the largest
            module at stage 3. DeepSpeed's estimate takes fp32 and its factor for pinned memory.
        mixed: bf16 with an fp32 copy and fp32 gradients; False is fp32 throughout.
    """
    size = 2.0 if mixed else 4.0
    fullest = min(gpus, gpus_per_node) / gpus  # share of the cards that the fullest node has
    weights = size * learning + (frozen_bytes if mixed else 4.0) * frozen
    host = 0.0
    gathered = 0.0
    if mixed:
        whole, shared, adam = (2.0, 4.0, 12.0) if stage >= 2 else (6.0, 0.0, 12.0)
    else:
        # from stage 1 on the optimizer has a copy of its own of the weights
        whole, shared, adam = (4.0, 0.0, 8.0 if stage == 0 else 12.0) if stage < 2 else (0.0, 4.0, 12.0)
    if stage == 3:
        whole, shared = 0.0, 4.0
        weights /= gpus
        gathered = size * max(live, largest) + (size * largest if learning > frozen else 0.0)
    split = gpus if stage >= 1 else 1
    gradients = whole * learning + shared * learning / gpus
    optimizer = adam * learning / split
    if offload_optimizer:
        host = (4.0 + adam) * learning * fullest * PINNED
        gradients = whole * learning if stage < 2 else 0.0  # stage 1 keeps those of the other cards' parts
        optimizer = 0.0
        if stage == 3 and offload_weights:
            host += (size * learning + frozen_bytes * frozen) * fullest * PINNED
            weights = 0.0
    born = largest if stage == 3 else learning + frozen
    host = max(host, born_bytes * born * min(gpus, gpus_per_node))
    return States(weights, gradients, optimizer, gathered, host)


def activation_bytes(architecture: Architecture, sequence: int, *, full: bool, mixed: bool = True, rank: int = 16) -> float:
    """Bytes that one layer keeps of one token for the backward pass.

    Norms keep their input in fp32 (and, where their weight learns, what they normalised); linear layers their input where a weight or an
    adapter learns on it; the block's inside four tensors of its width; attention its queries and its mask.
    """
    size = 2 if mixed else 4
    d, q, kv = architecture.hidden_size, architecture.query_size, architecture.key_size
    norm = 4 + (4 if architecture.num_norms > 2 else size) * full  # Gemma multiplies in fp32
    kept = d * (architecture.num_norms * norm + 2 * size) + 4 * size * architecture.intermediate_size + 4 * size * q
    if architecture.qk_norm:
        kept += (q + kv) * (4 + size * full)
    if architecture.softcap:  # eager attention: scores, tanh and probabilities of every head
        kept += architecture.num_heads * sequence * ((6 if mixed else 4) + 1 * size)
    else:
        kept += size * sequence  # the mask, in the type of the scores
    if not full:
        kept += len(architecture.linear_shapes) * rank * size
    return float(kept)


@dataclass(frozen=True, slots=True)
class Memory:
    """GiB by item. `gpu` are those of a step; the peaks are the largest of loading, a step and a save."""

    gpu: dict[str, float]
    gpu_load: float
    gpu_save: float
    host: dict[str, float]  # of one node
    disk: dict[str, float]  # on the storage of the run

    @property
    def gpu_step(self) -> float:
        return sum(self.gpu.values())

    @property
    def gpu_peak(self) -> float:
        return max(self.gpu_load, self.gpu_step, self.gpu_save)

    @property
    def host_peak(self) -> float:
        return sum(self.host.values())


def parameters(architecture: Architecture, config: TrainConfig) -> tuple[int, int]:
    """Parameters that learn, and that do not."""
    if config.method == "full":
        return architecture.num_parameters, 0
    return architecture.lora_parameters(config.rank, config.targets), architecture.num_parameters


def memory(
    architecture: Architecture, config: TrainConfig, sequence: int, card: Card, gpus_per_node: int, data_gib: float = 0.0,
    answers: int | None = None,
) -> Memory:  # fmt: skip
    """Memory of a run of `config` on blocks of `sequence` tokens, with `config.workers` cards.

    Args:
        answers: most tokens of a block on which the loss counts; None is all of them. The head is asked for these places alone.
        data_gib: of the training blocks, which each process maps.
    """
    mixed = config.precision == "bf16"
    size = 2 if mixed else 4
    stage = max(config.zero, 1) if mixed else config.zero
    learning, frozen = parameters(architecture, config)
    gpus, per_node = config.workers, min(config.workers, gpus_per_node)
    share = per_node / gpus
    total = architecture.num_parameters
    frozen_bytes = 2.0
    if config.method == "qlora":
        linear = architecture.linear_parameters
        frozen_bytes = (linear * QLORA_BYTES + 2.0 * (total - linear)) / total
    held = states(
        learning, frozen, architecture.largest_module, stage=stage, gpus=gpus, gpus_per_node=gpus_per_node, mixed=mixed,
        offload_optimizer=config.offload != "none", offload_weights=config.offload == "all",
        live=min(total, max(MAX_LIVE, architecture.largest_module + BUCKET)), frozen_bytes=frozen_bytes,
        # transformers loads in the precision of the run; a base in 4 bits goes to the card file by file
        born_bytes=4.0 * PINNED if stage == 3 else 0.6 if config.method == "qlora" else float(size),
    )  # fmt: skip
    tokens = config.batch_size * sequence
    layer = activation_bytes(architecture, sequence, full=config.method == "full", mixed=mixed, rank=config.rank) * tokens
    layers = architecture.num_layers
    # recomputed, a layer keeps its input alone, and one layer at a time is whole again, with the gradients inside it
    kept = layers * tokens * architecture.hidden_size * size + 1.5 * layer
    activations = kept if config.gradient_checkpointing else layers * layer
    columns = min(sequence, config.batch_size * (answers or sequence))  # the places of one row are asked of the others too
    counted = min(columns, answers or sequence)
    logits = config.batch_size * architecture.vocabulary * (columns * size + counted * (LOGIT_BYTES - size))
    # gradients that no accumulation keeps grow as the activations that they are made of go; stage 3 keeps a place for them
    transient = config.accumulation_steps == 1 and stage < 3
    gradients = max(0.0, held.gradients - activations - logits) if transient else held.gradients
    buckets = size * min(BUCKET, learning) * (2 if config.use_gpu else 1) if stage >= 2 else 0.0  # of two, one is on its way
    prefetched = size * min(BUCKET, total) if stage == 3 else 0.0
    gathered = held.gathered + prefetched
    backward = {"weights": held.weights, "gradients": gradients, "optimizer": held.optimizer, "gathered_layers": gathered,
                "activations": activations, "logits": logits, "buffers": buckets}  # fmt: skip
    # torch's Adam, which runs where there is no GPU, makes a tensor of the size of what it updates
    update = {**backward, "gradients": held.gradients, "gathered_layers": 0.0, "activations": 0.0, "logits": 0.0,
              "buffers": buckets + (0.0 if config.use_gpu else 4.0 * learning / (gpus if stage else 1))}  # fmt: skip
    gpu = max(backward, update, key=lambda moment: sum(moment.values()))
    fragments = 0.03 * sum(gpu.values())
    items = {name: value / GIB for name, value in gpu.items()} | {"fragmentation": fragments / GIB, "reserved": card.reserved_gib}
    resident = (held.weights + held.optimizer) / GIB + card.reserved_gib
    largest = architecture.largest_module * size / GIB
    # loading: stage 3 takes one module after the other; else the whole model is moved at once
    load = resident + 2 * largest if stage == 3 else resident
    # a save gathers one parameter after the other with its two moments
    save = resident + held.gradients / GIB + 4 * architecture.largest_module * 3 / GIB * (config.method == "full")
    weights_file = size * (total if config.method == "full" else learning)
    checkpoint = weights_file + 12 * learning
    host = {"processes": WORKER_GIB * per_node, "data": data_gib * per_node, "model_states": held.host / GIB,
            "checkpoint_copy": (12 * learning + weights_file) * (share if config.method == "full" else 1.0) / GIB}  # fmt: skip
    disk = {"base": 2 * total / GIB, "checkpoints": (config.keep_checkpoints + 1) * checkpoint / GIB, "data": data_gib}  # fmt: skip
    return Memory(items, load, save, host, disk)
