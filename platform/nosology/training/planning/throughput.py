"""Seconds of one optimizer step, from the floating-point operations that it does and the bytes that it moves.

A forward pass does two operations a parameter and token; a backward pass as many for the activations and, where the weights learn, as
many again for the weights (so 6 N a token for a full fine-tuning and 4 N for LoRA), and recomputed activations cost another forward
pass. Attention comes on top. What this counts is what a well-tuned run reaches, not the peak: the shares of it are fitted on published
measurements (`bench/planner.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nosology.training.planning.architecture import Architecture
from nosology.training.planning.hardware import Card

# fitted on published measurements together with the shares in `hardware`; see bench/planner.py
LINK_SHARE, NODE_SHARE = 0.722, 0.723  # of the bandwidth that collectives reach inside a node, and between nodes
ELEMENTWISE = 4.77  # times that each written element passes through memory
FP8_GAIN = 2.0  # speed of a layer's products in fp8 over bf16
FUSED = 0.08  # share of the element-wise traffic that is left in the stacks that train in fp8, which fuse it

HOST_BYTES_PER_SECOND = 20e9  # of a card to the memory of its host and back (PCIe 4.0 x16, shared with others)
HOST_ADAM = 4e9  # parameters a second that a node's processor updates: assumed, not measured


@dataclass(frozen=True, slots=True)
class Layout:
    """How a model and its batch lie on the cards."""

    gpus: int
    micro_batch: int  # sequences a card and forward pass
    accumulation: int
    sequence: int  # tokens
    method: Literal["lora", "qlora", "full"] = "full"
    sharded: bool = True  # weights gathered layer by layer (ZeRO 3, FSDP)
    recompute: float = 1.0  # share of the forward pass that the backward pass does again
    rank: int = 16
    targets: tuple[str, ...] | None = None
    gpus_per_node: int = 8
    tensor: int = 1  # cards that share each matrix product; this product's own training uses 1
    pipeline: int = 1  # cards that hold a part of the layers each; likewise
    fp8: bool = False
    host_bytes: float = 0.0  # moved to or from host memory by each card in a step (offload)
    host_parameters: float = 0.0  # that each node's processor updates in a step (offload)

    @property
    def data_parallel(self) -> int:
        return self.gpus // (self.tensor * self.pipeline)

    @property
    def tokens(self) -> int:
        """Tokens of one optimizer step."""
        return self.micro_batch * self.sequence * self.accumulation * self.data_parallel


@dataclass(frozen=True, slots=True)
class Step:
    """Seconds of one optimizer step, and what they are spent on."""

    seconds: float
    communication_seconds: float
    tokens_per_second: float  # of all cards
    model_flops_share: float  # MFU: operations that the model needs, recomputation left out, over the peak


def _bandwidth(card: Card, layout: Layout) -> float:
    """Bytes a second and card of a collective over the data-parallel group."""
    if layout.gpus <= layout.gpus_per_node:
        return card.link_bytes_per_second * LINK_SHARE
    inside = layout.gpus_per_node / (layout.tensor * layout.pipeline)
    # the adapters of a node carry the collectives of as many groups as its tensor-parallel ranks make
    groups = layout.tensor if inside >= 1 else 1
    return card.node_bytes_per_second * layout.gpus_per_node / 8 * NODE_SHARE / groups


def step(architecture: Architecture, layout: Layout, card: Card) -> Step:
    """The time of one optimizer step of `layout.tokens` tokens."""
    learns = layout.method == "full"
    d, layers = architecture.hidden_size, architecture.num_layers
    tokens = layout.micro_batch * layout.sequence
    part = layout.tensor * layout.pipeline
    passes = (3 if learns else 2) + layout.recompute
    lora = 0 if learns else architecture.lora_parameters(layout.rank, layout.targets)
    head = architecture.vocabulary * d
    weights = architecture.linear_parameters + head
    forward = 2 * weights * tokens
    attention = layers * 4 * architecture.query_size * layout.sequence * tokens * 0.5  # causal: half of the square
    attention_passes = 3.5 + layout.recompute  # the backward kernel recomputes the scores
    gemm = card.peak_flops * card.gemm_share
    faster = FP8_GAIN if layout.fp8 else 1.0
    compute = (passes * 2 * architecture.linear_parameters * tokens / faster + passes * 2 * head * tokens + 6 * lora * tokens) / gemm
    compute += attention * attention_passes / (card.peak_flops * card.attention_share)
    elementwise = passes * layers * tokens * architecture.activation_width * 2 * ELEMENTWISE / card.memory_bytes_per_second
    compute += elementwise * (FUSED if layout.fp8 else 1.0)
    if layout.method == "qlora":  # each product first makes its weights out of 4 bits
        compute += passes * architecture.linear_parameters * 2.5 / card.memory_bytes_per_second
    compute /= part
    hop = (layout.tensor - 1) / layout.tensor
    exchanges = 4 + 2 * layout.recompute
    across = layers / layout.pipeline * exchanges * tokens * d * 2 * 2 * hop / (card.link_bytes_per_second * LINK_SHARE)
    compute += across
    group, bandwidth = layout.data_parallel, _bandwidth(card, layout)
    share = (group - 1) / group
    bytes_of_weights = 2 * architecture.num_parameters / part
    # every weight is gathered for the forward and for the backward pass; a gradient is scattered
    communication = (3 if learns else 2) * bytes_of_weights * share / bandwidth if layout.sharded and group > 1 else 0.0
    micro = compute + communication  # what overlaps is in the fitted share of the bandwidth
    bubble = (layout.accumulation + layout.pipeline - 1) / layout.accumulation
    learning = architecture.num_parameters if learns else lora
    once = 28 * learning / (group if layout.sharded else 1) / part / card.memory_bytes_per_second  # Adam reads and writes its state
    once += 0.0 if layout.sharded else 4 * learning / part * share / bandwidth
    once += layout.host_bytes / HOST_BYTES_PER_SECOND + layout.host_parameters / HOST_ADAM
    seconds = layout.accumulation * micro * bubble + once
    needed = (3 if learns else 2) * forward + attention * 3
    done = needed * layout.accumulation * group / layout.gpus
    return Step(
        seconds=seconds, communication_seconds=layout.accumulation * communication + once,
        tokens_per_second=layout.tokens / seconds, model_flops_share=done / seconds / card.peak_flops,
    )  # fmt: skip
