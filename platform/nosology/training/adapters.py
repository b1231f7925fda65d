"""Which parameters learn: a LoRA adapter (peft) on a frozen base, or all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nosology.errors import ConfigError, ModelError

if TYPE_CHECKING:
    import torch

    from nosology.config import TrainConfig


def attach(
    module: torch.nn.Module, config: TrainConfig, *, task: str | None = None, whole: tuple[str, ...] = (), apart: tuple[str, ...] = ()
) -> torch.nn.Module:  # fmt: skip
    """The module as it will be trained.

    Args:
        module: a transformers model.
        config: method, rank, alpha, dropout, targets and variant.
        task: peft's task type (`CAUSAL_LM`, `TOKEN_CLS` …); None for modules of another kind.
        whole: names of submodules that are trained in full and saved with the adapter, for instance a new head.
        apart: names of submodules that no loss reaches, so that they do not learn.

    Raises:
        ConfigError: no layer of the module carries a name in `targets`.
        ModelError: nothing would learn.
    """
    if config.method == "full":
        module.requires_grad_(True)
        for name, parameter in module.named_parameters():
            if name.rpartition(".")[0] in apart:
                parameter.requires_grad_(False)
        return module
    from peft import LoraConfig, get_peft_model

    lora = LoraConfig(
        r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout, task_type=task, bias="none",
        use_rslora=config.rank_stabilized, use_dora=config.decomposed,
        target_modules=list(config.targets) if config.targets else "all-linear", modules_to_save=list(whole) or None,
        exclude_modules=[name for name, _ in module.named_modules() if name in (*apart, *whole)] or None,
    )  # fmt: skip
    try:
        adapted: torch.nn.Module = get_peft_model(module, lora)
    except ValueError as error:
        raise ConfigError(f"train.targets: no layer of {type(module).__name__} carries one of these names") from error
    if not any(parameter.requires_grad for parameter in adapted.parameters()):
        raise ModelError("the adapter holds no parameter that learns")
    return adapted


def count(module: torch.nn.Module) -> tuple[int, int]:
    """Parameters that learn, and all parameters; counts the whole of a parameter that ZeRO-3 has sharded."""
    sizes = [(int(getattr(p, "ds_numel", p.numel())), p.requires_grad) for p in module.parameters()]
    return sum(size for size, learns in sizes if learns), sum(size for size, _ in sizes)
