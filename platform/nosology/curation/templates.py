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
# Qwen 3 begins its answers with a thought unless it is told not to; what is read here is the answer's first token
_NO_THINKING = "{%- set enable_thinking = false -%}"
# Gemma 2 and Mistral 7B v0.1 refuse a system turn, Mistral 7B v0.3 drops it once an answer follows: there it leads the first question
_FOLDED = """\
{%- if messages|length > 1 and messages[0]['role'] == 'system' and messages[1]['role'] == 'user' -%}\
{%- set messages = [{'role': 'user', 'content': messages[0]['content'] + '\\n\\n' + messages[1]['content']}] + messages[2:] -%}\
{%- endif -%}"""
_PROBE: Final[tuple[Message, Message]] = ({"role": "system", "content": "Rule."}, {"role": "user", "content": "Question?"})


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

    `model` keeps the tokenizer's own, with a preamble where it would write today's date, think, or lose the system turn; setting it again
    changes nothing.

    Raises:
        ConfigError: `model` is asked for and the tokenizer has no chat template, or it lacks an end token.
    """
    if name == "model":
        if not tokenizer.chat_template:
            raise ConfigError("prepare.template model: the tokenizer has no chat template. Use alpaca or chatml")
        for word, pinned in (("strftime_now", _PINNED_DATE), ("enable_thinking", _NO_THINKING)):
            if word in tokenizer.chat_template and pinned not in tokenizer.chat_template:
                tokenizer.chat_template = pinned + tokenizer.chat_template
        own = tokenizer.chat_template
        if not _keeps_system(tokenizer):
            tokenizer.chat_template = _FOLDED + own
            if not _keeps_system(tokenizer):  # it is of another kind, and `encode` will say why
                tokenizer.chat_template = own
    else:
        tokenizer.chat_template = TEMPLATES[name]
    if tokenizer.eos_token_id is None:
        raise ConfigError(f"prepare.template {name}: the tokenizer has no end-of-sequence token, so answers could not end")
    return tokenizer


def _keeps_system(tokenizer: Any) -> bool:
    """Whether the template shows the system turn, in the same place with an answer and without."""
    try:
        prompt, _ = _rendered(tokenizer, _PROBE, "A")
    except ConfigError:
        return False
    return _PROBE[0]["content"] in prompt


def end_of_turn(tokenizer: Any) -> int:
    """The token that ends an answer in the template, at which generation is to stop; the end of sequence where the template is refused."""
    try:
        return encode(tokenizer, _PROBE, "A").input_ids[-1]
    except ConfigError:
        return int(tokenizer.eos_token_id)


def prompt_ids(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """The tokens that serving sends for these messages."""
    return list(tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=True, return_dict=False))


def encode(tokenizer: Any, messages: Sequence[Message], answer: str) -> Encoded:
    """Tokens of messages and answer, ending with the end of the turn.

    The answer is tokenised apart from the prompt, as it is when a model writes it.

    Raises:
        ConfigError: the template does not put the answer right behind the prompt, so its training would not be what is served.
    """
    _, rest = _rendered(tokenizer, messages, answer)
    ids = list(prompt_ids(tokenizer, messages))
    tail = list(tokenizer.encode(rest, add_special_tokens=False))
    if not tail or tail[-1] not in tokenizer.all_special_ids:
        tail.append(tokenizer.eos_token_id)
    return Encoded(ids + tail, len(ids))


def _rendered(tokenizer: Any, messages: Sequence[Message], answer: str) -> tuple[str, str]:
    """The prompt, and what the template writes behind it, without the space that some put before the answer: serving reads the answer's
    own tokens there. Raises as `encode`."""
    turn: Message = {"role": "assistant", "content": answer}
    try:
        prompt = tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=False)
        whole = tokenizer.apply_chat_template([*messages, turn], tokenize=False)
    except Exception as error:  # templates raise jinja2's TemplateError; its text may quote a message
        fault = f"the chat template refuses system, user, assistant turns ({type(error).__name__})"
        raise ConfigError(f"{fault}. Use prepare.template alpaca or chatml") from None
    rest = whole[len(prompt) :].strip()
    if not whole.startswith(prompt) or not rest.startswith(answer.strip()):
        raise ConfigError("the chat template does not put the answer right behind the prompt. Use prepare.template alpaca or chatml")
    return prompt, rest
