"""The text encoder: a BERT-type directory, read from disk, whose mean-pooled vectors stand for phrases.

Shapes: B texts, T tokens, D width of the vectors (384 for all-MiniLM-L6-v2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nosology import config, storage
from nosology.errors import ModelError

if TYPE_CHECKING:
    import torch

# all-MiniLM-L6-v2 (Apache-2.0) as sentence-transformers published it.
DIGESTS = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
MOST_TOKENS = 64  # of a phrase or a title
Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Encoder:
    """A loaded encoder. `tokenizer` and `model` are transformers objects (fast tokenizer, evaluation mode, fp32)."""

    directory: Path
    digest: str
    tokenizer: Any
    model: Any

    def embed(
        self, texts: Sequence[str], *, batch_size: int = 64, max_tokens: int = MOST_TOKENS, progress: Callable[[int], None] | None = None
    ) -> Vectors:
        """One vector a text: last layer, mean over its tokens, L2-normalised.

        Texts run sorted by length, so that a batch pads little; torch's own thread count is used as it stands.

        Args:
            texts: phrases; what exceeds `max_tokens` is cut.
            batch_size: texts in a forward pass.
            max_tokens: tokens kept of each text.
            progress: called with the number of texts done since the last call.

        Returns:
            float32 [len(texts), D], in the order of `texts`.
        """
        import torch

        width = int(self.model.config.hidden_size)
        vectors_BD = np.zeros((len(texts), width), dtype=np.float32)
        rows: list[list[int]] = []
        for start in range(0, len(texts), 4096):
            chunk = list(texts[start : start + 4096])
            rows.extend(self.tokenizer(chunk, truncation=True, max_length=max_tokens, padding=False)["input_ids"])
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        pad = int(self.tokenizer.pad_token_id or 0)
        with torch.inference_mode():
            for start in range(0, len(order), batch_size):
                part = order[start : start + batch_size]
                longest = max(len(rows[i]) for i in part)
                ids_BT = torch.full((len(part), longest), pad, dtype=torch.long)
                mask_BT = torch.zeros((len(part), longest), dtype=torch.long)
                for row, i in enumerate(part):
                    ids_BT[row, : len(rows[i])] = torch.tensor(rows[i])
                    mask_BT[row, : len(rows[i])] = 1
                states_BTD = self.model(input_ids=ids_BT, attention_mask=mask_BT).last_hidden_state
                vectors_BD[part] = pooled(states_BTD, mask_BT).numpy()
                if progress:
                    progress(len(part))
        return vectors_BD


def pooled(states_BTD: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
    """Unit vectors (B, D): the mean over the tokens that the mask (1 and 0) keeps. What is trained and what is searched with are this."""
    import torch

    weight_BT1 = mask_BT.unsqueeze(-1).to(states_BTD.dtype)
    return torch.nn.functional.normalize((states_BTD * weight_BT1).sum(1) / weight_BT1.sum(1), dim=-1)


def encoder_directory(path: str | Path | None) -> Path:
    """Where the encoder lies; None is the one that `make models` installs.

    Raises:
        ModelError: the directory lacks a file, or the default one is not the published model.
    """
    directory = Path(path) if path else config.home() / "encoder"
    remedy = "Give another directory in model.encoder." if path else "Run `make models`."
    for name in ("config.json", *DIGESTS):
        if not (directory / name).is_file():
            raise ModelError(f"encoder {directory}: {name} is missing. {remedy}")
    if path is None:
        for name, expected in DIGESTS.items():
            if storage.digest(str(directory / name)) != expected:
                raise ModelError(f"encoder {directory}: {name} is not the file of all-MiniLM-L6-v2 (SHA-256 differs). {remedy}")
    return directory


def encoder_digest(path: str | Path | None = None) -> str:
    """SHA-256 of the weights of an encoder directory; None is the default one. Raises as `encoder_directory`."""
    return storage.digest(str(encoder_directory(path) / "model.safetensors"))


def load_encoder(path: str | Path | None = None) -> Encoder:
    """The encoder of a directory; None is the default one, whose digests are checked.

    Raises:
        ModelError: see `encoder_directory`; or the files cannot be read as a BERT-type model.
    """
    directory = encoder_directory(path)
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
        model = AutoModel.from_pretrained(directory, local_files_only=True, dtype=torch.float32)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"encoder {directory}: transformers cannot load it ({type(error).__name__}). Give another directory.") from None
    model.eval()
    return Encoder(directory, storage.digest(str(directory / "model.safetensors")), tokenizer, model)
