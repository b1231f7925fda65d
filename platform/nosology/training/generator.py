"""A small Llama-architecture generator and its tokenizer, made here from text that may be used; reproducible from a seed.

It is there so that training, quantization and serving take on a laptop the path that Llama 3.x directories take; it knows nothing
but the words of the code set. Its chat template is that of Llama 3 and its labels A to J are one token each.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import string
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nosology import storage
from nosology.errors import InputError

if TYPE_CHECKING:
    import torch

VOCABULARY = 4096
CONTEXT_TOKENS = 1024
_BEGIN, _END_TEXT, _START, _STOP, _END = "<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"
SPECIAL = (_BEGIN, _END_TEXT, _START, _STOP, _END, "<|pad|>")
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)


def make_tokenizer(texts: Iterable[str]) -> Any:
    """A byte-level BPE tokenizer of `VOCABULARY` tokens. Words begin with their space; letters A to J alone are tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast as Fast

    fast: Any = Fast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    roles = ["system", "user", "assistant"]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=list(SPECIAL), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    bpe.train_from_iterator(itertools.chain(texts, roles * 100, string.ascii_uppercase[:10]), trainer)
    tokenizer: Any = fast(
        tokenizer_object=bpe, bos_token=_BEGIN, eos_token=_END, pad_token="<|pad|>", model_max_length=CONTEXT_TOKENS,
        additional_special_tokens=[_END_TEXT, _START, _STOP], clean_up_tokenization_spaces=False,
    )  # fmt: skip
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def make_generator(
    texts: Sequence[str], out: str | Path, seed: int, *, width: int = 128, layers: int = 3, warm_steps: int = 0, threads: int | None = None
) -> dict[str, Any]:
    """Make tokenizer and model, warm the model up as a language model of the texts, and write both.

    Args:
        texts: code titles, sample notes without identifiers.
        out: folder; a model that is there already, made by the same call, is kept.
        seed: of weights and of the order of texts.
        width: of the hidden state; heads are 32 wide.
        layers: number of them.
        warm_steps: steps of language modelling, 16 windows of 128 tokens each.
        threads: of torch, None leaves them.

    Returns:
        path, parameters, vocabulary, loss (of the last steps; None without warm-up), digest (of the call).

    Raises:
        InputError: no texts.
        StorageError: the disk is full or refuses.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    if not texts:
        raise InputError("no texts to make a tokenizer from")
    folder = Path(out)
    call = hashlib.sha256(json.dumps([list(texts), seed, width, layers, warm_steps, VOCABULARY]).encode()).hexdigest()
    record = folder / "generator.json"
    if record.is_file() and json.loads(record.read_bytes()).get("digest") == call:
        made: dict[str, Any] = json.loads(record.read_bytes())
        return made
    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(seed)
    tokenizer = make_tokenizer(texts)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=width * 8 // 3 // 32 * 32, num_hidden_layers=layers,
        num_attention_heads=width // 32, num_key_value_heads=width // 32, max_position_embeddings=CONTEXT_TOKENS,
        tie_word_embeddings=True, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id, initializer_range=0.02, rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
    )  # fmt: skip
    model: Any = LlamaForCausalLM(config)
    loss = _warm(model, tokenizer, texts, seed, warm_steps) if warm_steps else None
    with storage.named_errors(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        model.save_pretrained(str(folder))
        tokenizer.save_pretrained(str(folder))
    made = {
        "path": str(folder), "parameters": sum(p.numel() for p in model.parameters()), "vocabulary": len(tokenizer), "loss": loss,
        "digest": call, "note": "made from the words of the code set; proves the path, not a clinical model",
    }  # fmt: skip
    storage.write_json(str(record), made)
    return made


def _warm(model: torch.nn.Module, tokenizer: Any, texts: Sequence[str], seed: int, steps: int) -> float:
    """Next-token prediction on windows of the shuffled texts; returns the mean loss of the last tenth of the steps."""
    import torch

    shuffled = list(texts)
    random.Random(seed).shuffle(shuffled)
    ids: list[int] = []
    for text in itertools.cycle(shuffled):
        ids += [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]
        if len(ids) >= steps * 16 * 128:
            break
    windows_SBT = torch.tensor(ids[: steps * 16 * 128]).view(steps, 16, 128)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    losses = []
    for step, batch_BT in enumerate(windows_SBT):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * min(1.0, (step + 1) / 20) * (1 - step / steps)
        loss = model(input_ids=batch_BT, labels=batch_BT).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(float(loss.detach()))
    tail = losses[-max(1, steps // 10) :]
    return round(sum(tail) / len(tail), 4)
