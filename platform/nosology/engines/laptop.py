"""The engine of machines without a GPU: transformers in fp32 (bf16 is slow on most CPUs). It runs on a GPU too, for checks.

Shapes: B prompts, T tokens, V vocabulary, N choices.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from nosology.curation.templates import end_of_turn, prompt_ids, use_template
from nosology.engines import Completion, Message
from nosology.errors import InputError, ModelError
from nosology.quantization.manifest import check_directory

if TYPE_CHECKING:
    import torch

_BATCH_TOKENS = 4096  # of one forward pass, padding included


class Laptop:
    """A generator in this process.

    Args:
        directory: transformers directory, or a quantized artefact.
        adapter: directory of a LoRA adapter on it; the tokenizer and the template that lie beside it come before the base's own.

    Raises:
        ModelError: the directory is incomplete, carries code of its own, or differs from its manifest; the tokenizer has no chat
            template or no end token.
    """

    def __init__(self, directory: str, adapter: str | None = None) -> None:
        import torch
        from safetensors import SafetensorError
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging

        cast("Any", logging).disable_progress_bar()
        check_directory(directory)
        try:
            tokens = adapter if adapter and (Path(adapter) / "tokenizer.json").is_file() else directory
            self._tokenizer: Any = AutoTokenizer.from_pretrained(tokens, local_files_only=True, trust_remote_code=False)
            with contextlib.redirect_stderr(io.StringIO()):  # compressed-tensors draws progress bars
                model: Any = AutoModelForCausalLM.from_pretrained(
                    directory, local_files_only=True, trust_remote_code=False, dtype=torch.float32, use_safetensors=True
                )
                model.eval()
                if hasattr(model, "hf_quantizer"):  # its weights unfold at the first forward pass: now, not under a request
                    with torch.no_grad():
                        model(input_ids=torch.zeros(1, 1, dtype=torch.long))
            if adapter:
                from peft import PeftModel

                model = PeftModel.from_pretrained(model, adapter).merge_and_unload()
        except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
            raise ModelError(f"model {directory}: transformers cannot load it ({type(error).__name__})") from error
        if not self._tokenizer.chat_template or self._tokenizer.eos_token_id is None:
            raise ModelError(f"model {directory}: its tokenizer has no chat template, or no end-of-sequence token")
        use_template(self._tokenizer, "model")
        self._model = model.eval()
        self._context_tokens = int(getattr(model.config, "max_position_embeddings", 1 << 20))
        self._end = end_of_turn(self._tokenizer)
        pad = self._tokenizer.pad_token_id
        self._pad: int = self._end if pad is None else pad

    def choose(self, prompts: Sequence[Sequence[Message]], choices: Sequence[Sequence[str]]) -> list[list[float]]:
        """Probabilities of each prompt's choices.

        Choices of one token each (the labels A to J) are read from one forward pass, prompts of like length together. Longer ones
        are scored token by token behind the prompt, whose cache they share.

        Raises:
            InputError: a prompt without choices, or longer than the model's context.
        """
        if len(prompts) != len(choices) or not all(choices):
            raise InputError("each prompt needs its own choices, one at least")
        questions = [self._prompt_ids(prompt) for prompt in prompts]
        options = [[self._ids(choice) for choice in offered] for offered in choices]
        answers: list[list[float]] = [[] for _ in prompts]
        short = [i for i, offered in enumerate(options) if _are_labels(offered)]
        for batch in self._batches(short, questions):
            logits_BV = self._next_logits([questions[i] for i in batch])
            for row, i in enumerate(batch):
                answers[i] = logits_BV[row, [ids[0] for ids in options[i]]].softmax(-1).tolist()
        for i in set(range(len(prompts))).difference(short):
            answers[i] = self._score(questions[i], options[i]).softmax(-1).tolist()
        return answers

    def chat(self, messages: Sequence[Message], max_tokens: int, temperature: float, choices: Sequence[str] | None = None) -> Completion:
        """One answer; greedy at temperature 0.

        Raises:
            InputError: the prompt leaves no room in the model's context.
        """
        import torch

        question = self._prompt_ids(messages)
        if choices:
            probabilities = torch.tensor(self.choose([messages], [choices])[0])
            if temperature > 0:
                sharpened = probabilities.clamp_min(1e-30).log().div(temperature).softmax(-1)
                place = int(torch.multinomial(sharpened, 1))
            else:
                place = int(probabilities.argmax())
            return Completion(choices[place], "stop", len(question), len(self._ids(choices[place])))
        room = min(max_tokens, self._context_tokens - len(question))
        stops = sorted({self._end, self._tokenizer.eos_token_id})
        sampling: dict[str, Any] = {"do_sample": True, "temperature": temperature} if temperature > 0 else {"do_sample": False}
        ids_1T = torch.tensor([question], device=self._model.device)
        with torch.no_grad():
            whole_1T = self._model.generate(
                ids_1T, attention_mask=torch.ones_like(ids_1T), max_new_tokens=room, pad_token_id=self._pad,
                eos_token_id=stops, **sampling,
            )  # fmt: skip
        answer = whole_1T[0, len(question) :].tolist()
        ended = bool(answer) and answer[-1] in stops
        text = self._tokenizer.decode(answer, skip_special_tokens=True)
        return Completion(text, "stop" if ended else "length", len(question), len(answer))

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def _prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        ids = prompt_ids(self._tokenizer, messages)
        if len(ids) >= self._context_tokens:
            raise InputError(f"the prompt has {len(ids)} tokens, the model's context {self._context_tokens}", remedy="Shorten it")
        return ids

    def _batches(self, places: Sequence[int], questions: Sequence[Sequence[int]]) -> list[list[int]]:
        """Places in groups of like length whose padded size stays below `_BATCH_TOKENS`."""
        groups: list[list[int]] = []
        for i in sorted(places, key=lambda place: len(questions[place])):
            if groups and (len(groups[-1]) + 1) * len(questions[i]) <= _BATCH_TOKENS:
                groups[-1].append(i)
            else:
                groups.append([i])
        return groups

    def _next_logits(self, questions: Sequence[Sequence[int]]) -> torch.Tensor:
        """Logits (B, V) of the token after each prompt; prompts are padded at the left."""
        import torch

        length = max(map(len, questions))
        ids_BT = torch.full((len(questions), length), self._pad)
        mask_BT = torch.zeros_like(ids_BT)
        for row, ids in enumerate(questions):
            ids_BT[row, length - len(ids) :] = torch.tensor(ids)
            mask_BT[row, length - len(ids) :] = 1
        positions_BT = (mask_BT.cumsum(-1) - 1).clamp_min(0)
        device = self._model.device
        with torch.no_grad():
            output = self._model(
                input_ids=ids_BT.to(device), attention_mask=mask_BT.to(device), position_ids=positions_BT.to(device), logits_to_keep=1,
                use_cache=False,
            )  # fmt: skip
        logits_BV: torch.Tensor = output.logits[:, -1].float().cpu()
        return logits_BV

    def _score(self, question: Sequence[int], options: Sequence[Sequence[int]]) -> torch.Tensor:
        """Log-probability (N) of each choice and the end of turn behind it, so that a choice that begins another is told from it."""
        import torch

        device = self._model.device
        ended = [[*ids, self._end] for ids in options]
        length = max(map(len, ended))
        if len(question) + length > self._context_tokens:
            raise InputError(f"prompt and choice have {len(question) + length} tokens, the model's context {self._context_tokens}")
        ids_NT = torch.tensor([[*ids, *[self._pad] * (length - len(ids))] for ids in ended], device=device)
        with torch.no_grad():
            first = self._model(input_ids=torch.tensor([question], device=device), use_cache=True, logits_to_keep=1)
            cache = first.past_key_values
            cache.batch_repeat_interleave(len(ended))
            rest = self._model(input_ids=ids_NT, past_key_values=cache, use_cache=True)
        logits_NTV = torch.cat([first.logits[:, -1:].expand(len(ended), -1, -1), rest.logits[:, :-1]], dim=1).float()
        chosen_NT = logits_NTV.log_softmax(-1).gather(-1, ids_NT[..., None])[..., 0]
        real_NT = torch.arange(length, device=device)[None] < torch.tensor([len(ids) for ids in ended], device=device)[:, None]
        scores_N: torch.Tensor = (chosen_NT * real_NT).sum(-1).cpu()
        return scores_N


def _are_labels(options: Sequence[Sequence[int]]) -> bool:
    """Whether every choice is one token, and all differ."""
    return all(len(ids) == 1 for ids in options) and len({ids[0] for ids in options}) == len(options)
