"""The transformers model that an objective stands on, by directory: a decoder with its language head, or the body under a new head.

Shapes: S sequences, T tokens.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from nosology.errors import ConfigError, ModelError

if TYPE_CHECKING:
    import torch

    from nosology.config import ModelConfig, TrainConfig

OF_ENCODER = ("embed", "rerank", "classify")  # objectives that stand on an encoder, or on a decoder's body


def directory(config: TrainConfig, model: ModelConfig) -> Path:
    """Where the weights lie that training starts from.

    Raises:
        ConfigError: no base is named where one is needed.
        ModelError: the directory of the encoder is none.
    """
    if config.objective in OF_ENCODER and config.backbone == "encoder":
        from nosology.engines.encoder import encoder_directory

        return encoder_directory(model.encoder)
    if not model.base:
        raise ConfigError("model.base is not set: training starts from that model; give it as model.base=DIRECTORY")
    return Path(model.base)


def pretrained(kind: str, folder: Path, config: TrainConfig, **options: Any) -> tuple[Any, Mapping[str, Any]]:
    """A model in the precision and with the attention kernel that training wants; and what transformers says of its loading.

    Args:
        kind: transformers' class, for instance `AutoModelForCausalLM`.
        options: what `from_pretrained` takes beside.

    Raises:
        ModelError: the directory holds no model of that kind.
    """
    import torch
    import transformers
    from transformers.utils import logging

    cast("Any", logging).disable_progress_bar()
    cast("Any", logging).set_verbosity_error()
    dtype = torch.bfloat16 if config.precision == "bf16" and config.use_gpu else torch.float32
    try:
        # Gemma 2 caps its scores, which transformers has in the eager kernel alone
        family = transformers.AutoConfig.from_pretrained(folder, local_files_only=True).model_type
        module, told = getattr(transformers, kind).from_pretrained(
            folder, dtype=dtype, attn_implementation="eager" if family == "gemma2" else "sdpa", local_files_only=True, use_safetensors=True,
            output_loading_info=True, **options,
        )  # fmt: skip
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(f"{folder}: transformers cannot load it as {kind} ({type(error).__name__})") from None
    if hasattr(module.config, "use_cache"):
        module.config.use_cache = False
    if config.gradient_checkpointing:
        # ZeRO 3 takes a layer's weights away after its forward pass; only the reentrant form asks for them again
        module.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": config.zero == 3})
        module.enable_input_require_grads()
    return module, told


def head(folder: Path, config: TrainConfig, words: Words, **shape: Any) -> tuple[Any, tuple[str, ...]]:
    """A backbone under a head of a given shape, and the names of its modules that are new: what stands above the body, and what the body's
    files do not have. They are trained whole, whatever the method."""
    module, told = pretrained("AutoModelForSequenceClassification", folder, config, ignore_mismatched_sizes=True, **shape)
    module.config.pad_token_id = words.pad_id  # by which a decoder finds a text's last token
    keys = [*told["missing_keys"], *(key if isinstance(key, str) else key[0] for key in told["mismatched_keys"])]
    above = [name for name, part in module.named_children() if name != module.base_model_prefix and any(True for _ in part.parameters())]
    fresh = {key.rpartition(".")[0] for key in keys}
    inside = [name for name in fresh if name and not any(name == top or name.startswith(f"{top}.") for top in above)]
    return module, tuple(sorted([*above, *inside]))


class Words:
    """The tokenizer of a backbone, with the rule for texts that are too long."""

    def __init__(self, folder: Path, most_tokens: int = 512) -> None:
        """`most_tokens` of a sequence; fewer where the model has fewer positions."""
        from transformers import AutoConfig, AutoTokenizer

        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        if self.tokenizer.pad_token_id is None:
            if self.tokenizer.eos_token is None:
                raise ModelError(f"{folder}: its tokenizer has neither a padding nor an end token")
            self.tokenizer.pad_token = self.tokenizer.eos_token
        count = self.tokenizer.num_special_tokens_to_add
        self._between = "" if count(pair=True) > count(pair=False) else "\n"  # some set nothing between two texts
        # a padded decoder's last token must be the last of the text
        self.tokenizer.padding_side = self.tokenizer.truncation_side = "right"
        positions = getattr(AutoConfig.from_pretrained(folder, local_files_only=True), "max_position_embeddings", most_tokens)
        self.most_tokens = min(most_tokens, int(positions))

    @property
    def pad_id(self) -> int:
        return int(self.tokenizer.pad_token_id)

    def batch(self, texts: Sequence[str], others: Sequence[str] | None = None) -> dict[str, torch.Tensor]:
        """Texts, or pairs of texts, as (S, T) tensors, padded to the longest and cut at `most_tokens`: of a pair the longer part is cut."""
        encoded = self.tokenizer(
            list(texts), [f"{self._between}{text}" for text in others] if others is not None else None, padding=True, max_length=self.most_tokens, return_tensors="pt",
            truncation="longest_first",
        )  # fmt: skip
        return {name: encoded[name] for name in ("input_ids", "attention_mask", "token_type_ids") if name in encoded}

    def windows(self, texts: Sequence[str], most: int, overlap: int) -> tuple[dict[str, torch.Tensor], list[int]]:
        """Each text in overlapping windows, `most` of them at the most; and the place of its text for each window."""
        import torch

        encoded = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=self.most_tokens, stride=overlap, return_overflowing_tokens=True,
            return_tensors="pt",
        )  # fmt: skip
        owners = encoded.get("overflow_to_sample_mapping", torch.arange(len(texts))).tolist()
        taken = [place for place, owner in enumerate(owners) if place < most or owners[place - most] != owner]
        names = [name for name in ("input_ids", "attention_mask", "token_type_ids") if name in encoded]
        return {name: encoded[name][taken] for name in names}, [owners[place] for place in taken]

    def windowed(self, most: int, overlap: int) -> int:
        """Tokens of a text that so many windows hold, special ones included."""
        return self.most_tokens + (most - 1) * int(self.most_tokens - self.tokenizer.num_special_tokens_to_add() - overlap)

    def count_longer(self, texts: Iterable[str], tokens: int) -> int:
        """How many texts have more than so many tokens."""
        # no token but a special one is shorter than a byte
        long = (text for text in texts if len(text.encode()) > tokens - self.tokenizer.num_special_tokens_to_add())
        found = 0
        while part := list(itertools.islice(long, 256)):
            found += sum(len(ids) > tokens for ids in self.tokenizer(part)["input_ids"])
        return found


def inputs(batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What the model is called with."""
    return {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids") if name in batch}
