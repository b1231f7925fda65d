"""How a question becomes tokens: Alpaca, ChatML or the base model's own chat template, and where the loss counts.

Alpaca and ChatML are chat templates too, set on the tokenizer. So one rule holds for all: what was trained on, what the artefact
carries and what serving sends are the same template, and the prompt's tokens are a prefix of the example's.
Sources: tatsu-lab/stanford_alpaca (prompt with input), OpenAI's ChatML.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from nosology.errors import ConfigError
from nosology.tasks import Message

Template = Literal["alpaca", "chatml", "model"]
IGNORED: Final = -100

_ALPACA = """\
{{ bos_token }}Below is an instruction that describes a task, paired with an input that provides further context. \
Write a response that appropriately completes the request.

{% for message in messages %}\
{% if message['role'] == 'system' %}{{ '### Instruction:\\n' + message['content'] + '\\n\\n' }}\
{% elif message['role'] == 'user' %}{{ '### Input:\\n' + message['content'] + '\\n\\n' }}\
{% else %}{{ '### Response:\\n' + message['content'] + eos_token }}{% endif %}\
{% endfor %}\
{% if add_generation_prompt %}{{ '### Response:\\n' }}{% endif %}"""
_CHATML = """\
{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endfor %}\
{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""
TEMPLATES: Final[Mapping[str, str]] = {"alpaca": _ALPACA, "chatml": _CHATML}

# Llama 3.1 and later write today's date into the system turn; a coder must answer alike tomorrow
_PINNED_DATE = "{%- set date_string = '26 Jul 2024' -%}"


class Encoded(NamedTuple):
    """Tokens of a question with its answer; the first `num_prompt_tokens` are what serving sends."""

    input_ids: list[int]
    num_prompt_tokens: int

    @property
    def labels(self) -> list[int]:
        """The tokens of the answer and its end of turn; -100 on the question."""
        return [IGNORED] * self.num_prompt_tokens + self.input_ids[self.num_prompt_tokens :]


def use_template(tokenizer: Any, name: Template) -> Any:
    """Sets the template on the tokenizer and returns it; save this tokenizer with the model, so that serving asks alike.

    Raises:
        ConfigError: `model` is asked for and the tokenizer has no chat template, or it lacks an end token.
    """
    if name == "model":
        if not tokenizer.chat_template:
            raise ConfigError("prepare.template model: the tokenizer has no chat template. Use alpaca or chatml")
        if "strftime_now" in tokenizer.chat_template and not tokenizer.chat_template.startswith(_PINNED_DATE):
            tokenizer.chat_template = _PINNED_DATE + tokenizer.chat_template
    else:
        tokenizer.chat_template = TEMPLATES[name]
    if tokenizer.eos_token_id is None:
        raise ConfigError(f"prepare.template {name}: the tokenizer has no end-of-sequence token, so answers could not end")
    return tokenizer


def prompt_ids(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """The tokens that serving sends for these messages."""
    return list(tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=True, return_dict=False))


def encode(tokenizer: Any, messages: Sequence[Message], answer: str) -> Encoded:
    """Tokens of messages and answer, ending with the end of the turn.

    The answer is tokenised apart from the prompt, as it is when a model writes it.

    Raises:
        ConfigError: the template does not put the answer right behind the prompt, so its training would not be what is served.
    """
    turn: Message = {"role": "assistant", "content": answer}
    try:
        prompt = tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=False)
        whole = tokenizer.apply_chat_template([*messages, turn], tokenize=False)
    except Exception as error:  # templates raise jinja2's TemplateError; its text may quote a message
        fault = f"the chat template refuses system, user, assistant turns ({type(error).__name__})"
        raise ConfigError(f"{fault}. Use prepare.template alpaca or chatml") from None
    if not whole.startswith(prompt):
        raise ConfigError("the chat template does not put the answer right behind the prompt. Use prepare.template alpaca or chatml")
    ids = list(prompt_ids(tokenizer, messages))
    tail = list(tokenizer.encode(whole[len(prompt) :].rstrip(), add_special_tokens=False))
    if not tail or tail[-1] not in tokenizer.all_special_ids:
        tail.append(tokenizer.eos_token_id)
    return Encoded(ids + tail, len(ids))
