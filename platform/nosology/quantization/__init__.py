"""From base and adapter to one servable artefact: INT8 weights and activations in the compressed-tensors format.

    artefact/  config.json, model.safetensors, tokenizer files, generation_config.json, manifest.json (written last)

Weights are rounded to nearest with one scale per output channel; activations get one scale per token when the model runs. vLLM
runs this in INT8 on CPU and GPU; transformers stores INT8 and computes the same rounding in floating point.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from nosology import storage
from nosology.errors import InputError, ModelError
from nosology.quantization.manifest import (
    NAME,
    artefact_digest,
    check_directory,
    check_generator,
    check_trained,
    check_weights,
    identity,
    weights_digest,
)

if TYPE_CHECKING:
    import torch

    from nosology.config import ModelConfig, QuantizeConfig
    from nosology.engines import Engine, Message

_INT8: dict[str, Any] = {"num_bits": 8, "type": "int", "symmetric": True}


def scheme(ignore: Sequence[str]) -> dict[str, Any]:
    """The `quantization_config` of config.json; `ignore` names the linear layers that stay as they are."""
    return {
        "quant_method": "compressed-tensors",
        "format": "int-quantized",
        "quantization_status": "compressed",
        "config_groups": {
            "group_0": {
                "targets": ["Linear"],
                "weights": {**_INT8, "strategy": "channel", "dynamic": False},
                "input_activations": {**_INT8, "strategy": "token", "dynamic": True},
            }
        },
        "ignore": list(ignore),
    }


def round_to_int8(weight_OI: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights (O, I) as int8, and their scales (O, 1): the largest weight of a row becomes 127."""
    import torch

    scale_O1 = (weight_OI.abs().amax(1, keepdim=True).float() / 127).clamp_min(1e-12)
    return (weight_OI.float() / scale_O1).round().clamp(-127, 127).to(torch.int8), scale_O1


def resolve(model: ModelConfig, source: str) -> tuple[Path, Path | None]:
    """Base and adapter that a source means.

    Args:
        model: `base`, where the source does not say it.
        source: run folder of `train`, folder of an adapter, or a model directory.

    Raises:
        InputError: the source is none of these.
        ModelError: the adapter's base is not there.
    """
    from nosology.training import checkpoint

    folder = storage.local_path(source)
    found = checkpoint.chosen(folder / "checkpoints")
    if found:
        folder = found.folder
    if (folder / "adapter_config.json").is_file():
        named = model.base or json.loads((folder / "adapter_config.json").read_bytes()).get("base_model_name_or_path")
        if not named or not (Path(named) / "config.json").is_file():
            raise ModelError("the adapter's base is not where it was at training; set model.base")
        return Path(named), folder
    if (folder / "config.json").is_file():
        return folder, None
    raise InputError("no checkpoint, adapter or model", file=source, remedy="Give the run folder of train, or a model directory")


def quantize(config: QuantizeConfig, model: ModelConfig, source: str, out: str) -> dict[str, Any]:
    """Merge, round, write `out`/artefact, and load its manifest again.

    Args:
        config: the scheme.
        model: where the base lies, if the source does not say.
        source: run folder of `train`, folder of an adapter, or a model directory.
        out: local folder.

    Returns:
        artefact (folder), digest (of the manifest), base, adapter (digests), bytes, bytes_before, layers, largest_error (of a
        weight, in shares of its row's largest).

    Raises:
        InputError, ModelError: see `resolve`; the base has no tokenizer with a chat template; base, tokenizer, template or code set are
            not those that it was trained with.
        StorageError: the disk is full or refuses; what was written of the artefact is removed.
    """
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    from nosology.curation.templates import end_of_turn, use_template
    from nosology.terminology.codeset import code_set

    cast("Any", logging).disable_progress_bar()
    base, adapter = resolve(model, source)
    check_generator(adapter or base)
    places = [folder for folder in (adapter, base, Path(model.base or base)) if folder]
    tokens = next((folder for folder in places if (folder / "tokenizer.json").is_file()), None)
    if tokens is None:
        raise ModelError(f"model {base}: no tokenizer.json")
    tokenizer: Any = AutoTokenizer.from_pretrained(str(tokens), local_files_only=True)
    if not tokenizer.chat_template or tokenizer.eos_token_id is None:
        raise ModelError(f"model {tokens}: its tokenizer has no chat template or no end token, so serving could not ask as training did")
    use_template(tokenizer, "model")
    check_directory(str(base))
    check_weights(str(base))
    check_trained(adapter or base, identity(tokenizer, weights_digest(base) if adapter else "none", code_set().digest))
    merged: Any = AutoModelForCausalLM.from_pretrained(str(base), local_files_only=True, use_safetensors=True, dtype="auto")
    if adapter:
        from peft import PeftModel

        merged = PeftModel.from_pretrained(merged, str(adapter)).merge_and_unload()
    target = storage.local_path(out) / "artefact"
    shutil.rmtree(target, ignore_errors=True)
    with storage.named_errors(str(target)):
        target.mkdir(parents=True)

    head = merged.get_output_embeddings()
    linear = {name for name, layer in merged.named_modules() if isinstance(layer, torch.nn.Linear) and layer is not head}
    ignored = [name for name, layer in merged.named_modules() if layer is head]
    tied = bool(merged.config.tie_word_embeddings)
    tensors: dict[str, torch.Tensor] = {}
    before, worst = 0, 0.0
    for name, tensor in merged.state_dict().items():
        if tied and name in {f"{layer}.weight" for layer in ignored}:
            continue
        before += tensor.numel() * tensor.element_size()
        layer_name = name.removesuffix(".weight")
        if name.endswith(".weight") and layer_name in linear:
            values, scales = round_to_int8(tensor)
            worst = max(worst, float(((values * scales - tensor.float()).abs() / (scales * 127)).max()))
            tensors[name], tensors[f"{layer_name}.weight_scale"] = values.contiguous(), scales
        else:
            tensors[name] = tensor.contiguous().clone()
    stops = merged.generation_config.eos_token_id  # vLLM ends an answer at one of these, and some bases name no end of a turn
    stops = {end_of_turn(tokenizer), *(stops if isinstance(stops, list) else [] if stops is None else [stops])}
    merged.generation_config.eos_token_id = sorted(stops)
    settings = merged.config.to_dict() | {"quantization_config": scheme(ignored)}
    try:
        with storage.named_errors(str(target / "model.safetensors")):
            save_file(tensors, str(target / "model.safetensors"), metadata={"format": "pt"})
        storage.write_bytes(str(target / "config.json"), json.dumps(settings, indent=1).encode())
        with storage.named_errors(str(target)):
            merged.generation_config.save_pretrained(str(target))
            tokenizer.save_pretrained(str(target))
        manifest = _manifest(config, target, tokenizer, base, adapter)
        storage.write_json(str(target / NAME), manifest)
    except storage.StorageError:
        shutil.rmtree(target, ignore_errors=True)  # without a manifest nobody reads it, and the space may be what is short
        raise
    check_directory(str(target))
    return {
        "artefact": str(target), "digest": artefact_digest(str(target)), "base": manifest["base"], "adapter": manifest["adapter"],
        "bytes": (target / "model.safetensors").stat().st_size, "bytes_before": before, "layers": len(linear),
        "largest_error": round(worst, 6),
    }  # fmt: skip


def _manifest(config: QuantizeConfig, target: Path, tokenizer: Any, base: Path, adapter: Path | None) -> dict[str, Any]:
    from nosology.terminology.codeset import code_set

    return {
        "scheme": config.scheme,
        "base": weights_digest(base),
        "adapter": storage.digest(str(adapter / "adapter_model.safetensors")) if adapter else None,
        "template": hashlib.sha256(tokenizer.chat_template.encode()).hexdigest(),
        "tokenizer": storage.digest(str(target / "tokenizer.json")),
        "code_set": code_set().digest,
        "files": {path.name: storage.digest(str(path)) for path in sorted(target.iterdir())},
    }


def agreement(before: Engine, after: Engine, prompts: Sequence[Sequence[Message]], choices: Sequence[Sequence[str]]) -> dict[str, float]:
    """How far two engines answer alike.

    Returns:
        n, agreement (share of prompts with the same first choice), mean_shift (mean total-variation distance of the probabilities).

    Raises:
        InputError: no prompts.
    """
    if not prompts:
        raise InputError("no prompts to compare two engines on")
    left, right = before.choose(prompts, choices), after.choose(prompts, choices)
    same = sum(a.index(max(a)) == b.index(max(b)) for a, b in zip(left, right, strict=True))
    shift = sum(sum(abs(p - q) for p, q in zip(a, b, strict=True)) / 2 for a, b in zip(left, right, strict=True))
    return {"n": float(len(prompts)), "agreement": same / len(prompts), "mean_shift": shift / len(prompts)}
