"""A trained head or encoder as one directory of transformers, adapter merged, that `model.encoder` takes (`embed`) or `from_pretrained`."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from nosology import storage
from nosology.errors import ModelError

if TYPE_CHECKING:
    from nosology.config import TrainConfig

_KINDS = {"embed": "AutoModel", "rerank": "AutoModelForSequenceClassification", "classify": "AutoModelForSequenceClassification"}
_OF_CHECKPOINT = re.compile(r"adapter_config\.json|state\.json|part-\d+\.json|.*\.safetensors\..*")
_BESIDE = ("*.json", "*.jinja", "*.txt", "*.model")  # tokenizer, template and what was trained on what


def export(config: TrainConfig, base: Path, checkpoint: Path, out: Path) -> str:
    """Write the model of a checkpoint whole, and read it again.

    Args:
        config: objective and method.
        base: directory of the backbone.
        checkpoint: folder with the adapter or the parts of the model, and the tokenizer.
        out: folder to write; replaced where it exists.

    Returns:
        The folder.

    Raises:
        ModelError: the checkpoint lacks a tensor.
        StorageError: the disk is full or refuses.
    """
    import torch
    import transformers
    from transformers.utils import logging

    cast("Any", logging).disable_progress_bar()
    cast("Any", logging).set_verbosity_error()  # that a head is new is no news
    kind: Any = getattr(transformers, _KINDS[config.objective])
    if (checkpoint / "adapter_config.json").is_file():
        from peft import PeftModel

        head = checkpoint / "config.json"  # of a head: how wide it is, and what its outputs are called
        settings = {"config": transformers.AutoConfig.from_pretrained(head, local_files_only=True)} if head.is_file() else {}
        module = kind.from_pretrained(
            base, local_files_only=True, use_safetensors=True, dtype=torch.float32, ignore_mismatched_sizes=True, **settings
        )
        module = PeftModel.from_pretrained(module, str(checkpoint)).merge_and_unload()
    else:
        module, told = kind.from_pretrained(checkpoint, local_files_only=True, use_safetensors=True, dtype="auto", output_loading_info=True)
        if told["missing_keys"]:  # transformers would make them up
            raise ModelError(f"checkpoint {checkpoint.name} lacks {len(told['missing_keys'])} tensors of its model. Train again")
    made = out.with_name(f".{out.name}-new")  # a kill leaves the one before, or none
    shutil.rmtree(made, ignore_errors=True)
    with storage.named_errors(str(out)):
        module.save_pretrained(str(made))
        for path in (path for pattern in _BESIDE for path in checkpoint.glob(pattern)):
            if not (made / path.name).exists() and not _OF_CHECKPOINT.match(path.name):
                shutil.copyfile(path, made / path.name)
    kind.from_pretrained(made, local_files_only=True)
    with storage.named_errors(str(out)):
        shutil.rmtree(out, ignore_errors=True)
        made.rename(out)
    return str(out)
