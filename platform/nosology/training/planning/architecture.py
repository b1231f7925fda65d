"""Shapes of a decoder, and the parameters that they make: of a model directory's config.json, or of a well-known model by its name.

Symbols: d hidden size, f intermediate size, q and kv widths of the queries and of the keys, V vocabulary, L layers.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from nosology import storage
from nosology.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Architecture:
    """A decoder of the Llama kind. Counts are of parameters, sizes of elements."""

    model_type: str  # as transformers names it
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_size: int
    intermediate_size: int
    vocabulary: int
    tied: bool = False  # the head is the word embedding
    gated: bool = True  # the block has a gate beside the upward projection
    qkv_bias: bool = False
    qk_norm: bool = False
    num_norms: int = 2  # a layer
    softcap: bool = False  # attention logits pass a tanh, which only the eager kernel does

    @property
    def query_size(self) -> int:
        return self.num_heads * self.head_size

    @property
    def key_size(self) -> int:
        return self.num_kv_heads * self.head_size

    @property
    def linear_shapes(self) -> dict[str, tuple[int, int]]:
        """(out, in) of a layer's linear layers, by the name that a LoRA target has."""
        d, f, q, kv = self.hidden_size, self.intermediate_size, self.query_size, self.key_size
        gate = {"gate_proj": (f, d)} if self.gated else {}
        return {"q_proj": (q, d), "k_proj": (kv, d), "v_proj": (kv, d), "o_proj": (d, q), **gate, "up_proj": (f, d), "down_proj": (d, f)}

    @property
    def linear_parameters(self) -> int:
        """Parameters of all layers' linear weights: what LoRA adapts and QLoRA quantizes."""
        return self.num_layers * sum(rows * columns for rows, columns in self.linear_shapes.values())

    @property
    def small_parameters(self) -> int:
        """Norms and biases."""
        layer = self.num_norms * self.hidden_size
        layer += self.query_size + 2 * self.key_size if self.qkv_bias else 0
        layer += 2 * self.head_size if self.qk_norm else 0
        return self.num_layers * layer + self.hidden_size

    @property
    def embedding_parameters(self) -> int:
        return self.vocabulary * self.hidden_size * (1 if self.tied else 2)

    @property
    def num_parameters(self) -> int:
        return self.linear_parameters + self.small_parameters + self.embedding_parameters

    @property
    def largest_module(self) -> int:
        """Parameters of the largest module that is gathered at once."""
        return max(self.vocabulary * self.hidden_size, *(rows * columns for rows, columns in self.linear_shapes.values()))

    @property
    def activation_width(self) -> int:
        """Elements a token and layer that element-wise operations write: norms, projections, residuals, the block's inside."""
        inside = self.intermediate_size * (4 if self.gated else 2)
        return (self.num_norms + 4) * self.hidden_size + 2 * self.query_size + 2 * self.key_size + inside

    def lora_parameters(self, rank: int, targets: tuple[str, ...] | None) -> int:
        """Parameters of the two factors of every target.

        Raises:
            ConfigError: none of the targets is a layer of this architecture.
        """
        shapes = [shape for name, shape in self.linear_shapes.items() if targets is None or name in targets]
        if not shapes:
            raise ConfigError(f"train.targets: no layer of this model carries one of these names; it has {', '.join(self.linear_shapes)}")
        return self.num_layers * rank * sum(rows + columns for rows, columns in shapes)


def _llama(hidden: int, layers: int, heads: int, kv_heads: int, intermediate: int, vocabulary: int, **more: Any) -> Architecture:
    fields = {"model_type": "llama", "head_size": hidden // heads, **more}
    return Architecture(hidden_size=hidden, num_layers=layers, num_heads=heads, num_kv_heads=kv_heads, intermediate_size=intermediate,
                        vocabulary=vocabulary, **fields)  # fmt: skip


_QWEN2 = {"model_type": "qwen2", "qkv_bias": True}
_QWEN3 = {"model_type": "qwen3", "qk_norm": True, "head_size": 128}
_GEMMA2 = {"model_type": "gemma2", "num_norms": 4, "softcap": True, "tied": True}
# the shapes that each model's own config.json gives, by a pattern of the names that its directories carry
KNOWN: dict[str, Architecture] = {
    r"llama-?3[.\d]*-1b": _llama(2048, 16, 32, 8, 8192, 128256, tied=True),
    r"llama-?3[.\d]*-3b": _llama(3072, 28, 24, 8, 8192, 128256, tied=True),
    r"llama-?3[.\d]*-8b": _llama(4096, 32, 32, 8, 14336, 128256),
    r"llama-?3[.\d]*-70b": _llama(8192, 80, 64, 8, 28672, 128256),
    r"llama-?2-7b": _llama(4096, 32, 32, 32, 11008, 32000),
    r"llama-?2-13b": _llama(5120, 40, 40, 40, 13824, 32000),
    r"llama-?2-70b": _llama(8192, 80, 64, 8, 28672, 32000),
    r"biomistral-7b|mistral-7b.*v0\.[12]": _llama(4096, 32, 32, 8, 14336, 32000, model_type="mistral"),
    r"mistral-7b": _llama(4096, 32, 32, 8, 14336, 32768, model_type="mistral"),
    r"gemma-?2-9b": _llama(3584, 42, 16, 8, 14336, 256000, head_size=256, **_GEMMA2),
    r"gemma-?2-27b": _llama(4608, 46, 32, 16, 36864, 256000, head_size=128, **_GEMMA2),
    r"qwen-?2[.\d]*-7b": _llama(3584, 28, 28, 4, 18944, 152064, **_QWEN2),
    r"qwen-?2[.\d]*-14b": _llama(5120, 48, 40, 8, 13824, 152064, **_QWEN2),
    r"qwen-?2[.\d]*-32b": _llama(5120, 64, 40, 8, 27648, 152064, **_QWEN2),
    r"qwen-?2[.\d]*-72b": _llama(8192, 80, 64, 8, 29568, 152064, **_QWEN2),
    r"qwen-?3-4b": _llama(2560, 36, 32, 8, 9728, 151936, tied=True, **_QWEN3),
    r"qwen-?3-8b": _llama(4096, 36, 32, 8, 12288, 151936, **_QWEN3),
    r"qwen-?3-14b": _llama(5120, 40, 40, 8, 17408, 151936, **_QWEN3),
    r"qwen-?3-32b": _llama(5120, 64, 64, 8, 25600, 151936, **_QWEN3),
}  # fmt: skip
_OF_TYPE: dict[str, dict[str, Any]] = {
    "llama": {}, "mistral": {}, "qwen2": {"qkv_bias": True}, "qwen3": {"qk_norm": True}, "gemma2": {"num_norms": 4, "softcap": True},
}  # fmt: skip


def of_name(name: str) -> Architecture | None:
    """The well-known architecture that a directory of this name holds, if there is one."""
    plain = name.lower().replace("_", "-")
    return next((known for pattern, known in KNOWN.items() if re.search(pattern, plain)), None)


def of_config(config: dict[str, Any], file: str) -> Architecture:
    """The architecture that a config.json describes.

    Raises:
        ConfigError: a type that this version does not know, or a field that is missing.
    """
    kind = config.get("model_type")
    if kind not in _OF_TYPE:
        raise ConfigError(f"{file}: model_type {str(kind)[:40]}; the planner knows {', '.join(_OF_TYPE)}")
    try:
        heads = int(config["num_attention_heads"])
        found = Architecture(
            model_type=kind, hidden_size=int(config["hidden_size"]), num_layers=int(config["num_hidden_layers"]), num_heads=heads,
            num_kv_heads=int(config.get("num_key_value_heads") or heads),
            head_size=int(config.get("head_dim") or config["hidden_size"] // heads), intermediate_size=int(config["intermediate_size"]),
            vocabulary=int(config["vocab_size"]), tied=bool(config.get("tie_word_embeddings", kind == "gemma2")), **_OF_TYPE[kind],
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{file}: the shapes of a {kind} model are not all there ({type(error).__name__})") from None
    return dataclasses.replace(found, qkv_bias=True) if config.get("attention_bias") else found


def of_model(base: str) -> tuple[Architecture, str]:
    """The architecture of a model directory, and where it is known from.

    Args:
        base: directory; it need not exist here when its name is that of a well-known model, for a plan is made before the GPUs are there.

    Raises:
        ConfigError: no such directory, and no well-known name.
    """
    file = storage.join(base, "config.json")
    if storage.exists(file):
        return of_config(storage.read_json(file), file), file
    name = PurePosixPath(base).name
    known = of_name(name)
    if known is None:
        raise ConfigError(f"model.base: no config.json in {base}, and {name} is not the name of a model whose shapes are known here")
    return known, "the model's name"
