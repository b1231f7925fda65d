"""What a generator is asked: a task writes the question, reads the answer and scores it. Pure text, no model.

A new task is one file with a class of the `Task` protocol, one line in `TASKS` and one row in tests/tasks.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol, TypedDict

from nosology.errors import ConfigError


class Message(TypedDict):
    """One turn of a chat, in the form that chat templates and the OpenAI API take."""

    role: Literal["system", "user", "assistant"]
    content: str


class Task(Protocol):
    """A question to a generator. Every task has its own arguments; what comes back is alike."""

    name: str
    instruction: str

    def build(self, *args: Any, **kwargs: Any) -> tuple[list[Message], list[str]]:
        """The messages, and the closed list of answers that may come out (empty where the answer is free text)."""
        ...

    def parse(self, answer: str, *args: Any, **kwargs: Any) -> Any:
        """What the answer means; None when it means nothing."""
        ...

    def score(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Named figures of many answers against the right ones."""
        ...


from nosology.tasks.coding import ChooseCode  # noqa: E402  (the tasks import Message from here)

TASKS: dict[str, Task] = {"choose_code": ChooseCode()}


def task(name: str) -> Task:
    """The task of that name; ConfigError when there is none."""
    if name not in TASKS:
        raise ConfigError(f"task {name}: this version has {', '.join(TASKS)}")
    return TASKS[name]
