"""Cards and the nodes that they sit in. Peaks are the makers' data sheets (dense, no sparsity); prices are anchors to be replaced.

Sources: NVIDIA data sheets of A100, H100, H200, B200 (SXM) and of DGX A100, H100, B200; memory is what torch reports as the whole
card. The price of an A100-80 is this product's own anchor (25 to 35 USD an hour for a node of eight); those of A100-40, H100 and H200 are
what AWS asked for reserved blocks of capacity in January 2025; of a B200 none is known here. `plan.usd_per_gpu_hour` takes their place.
"""

from __future__ import annotations

from dataclasses import dataclass

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Card:
    """One accelerator (or the cores of one CPU worker), and its share of the node around it."""

    memory_gib: float
    peak_flops: float  # bf16, dense
    memory_bytes_per_second: float
    link_bytes_per_second: float  # to the others of its node, in one direction
    node_bytes_per_second: float  # all network adapters of a node of eight together, in one direction
    watts: float  # of the node at its nameplate, divided by its cards
    usd_per_hour: float | None
    gemm_share: float = 0.8  # of the peak that large matrix products reach inside a training step
    attention_share: float = 0.2  # of the peak that fused attention reaches
    reserved_gib: float = 1.5  # CUDA context, libraries and communication buffers


# those of H200 and B200 are the H100's, for want of measurements; gemm_share and attention_share are fitted on published measurements; bench/planner.py says on which and shows the error of others
CARDS: dict[str, Card] = {
    "a100-40": Card(39.4, 312e12, 1.555e12, 300e9, 200e9, 812, 1.844, gemm_share=0.921, attention_share=0.324),
    "a100-80": Card(79.2, 312e12, 2.039e12, 300e9, 200e9, 812, 3.75, gemm_share=0.921, attention_share=0.324),
    "h100": Card(79.1, 989.4e12, 3.35e12, 450e9, 400e9, 1275, 4.916, gemm_share=0.792, attention_share=0.177),
    "h200": Card(139.8, 989.4e12, 4.8e12, 450e9, 400e9, 1275, 5.408, gemm_share=0.792, attention_share=0.177),
    "b200": Card(178.4, 2250e12, 8.0e12, 900e9, 400e9, 1790, None, gemm_share=0.792, attention_share=0.177),
    # a worker of a few cores; gloo over loopback
    "cpu": Card(16.0, 1e11, 2e10, 1e9, 1e9, 100, None, gemm_share=0.5, attention_share=0.2, reserved_gib=0.6),
}
