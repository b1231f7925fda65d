"""What a remote storage answers when it means: once more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

_T = TypeVar("_T")

# What S3 answers when the same request can well succeed a moment later (its list of error responses), and what a client finds of a body.
_PASSING = {"SlowDown", "ServiceUnavailable", "InternalError", "ConditionalRequestConflict", "OperationAborted", "RequestTimeout",
            "500", "502", "503", "504"}  # fmt: skip
_CUT = {"FlexibleChecksumError", "IncompleteReadError", "IncompleteRead", "ClientPayloadError", "ShortRead"}


class ShortRead(Exception):
    """Fewer bytes came than the object has."""


def answer_code(error: BaseException) -> str | None:
    """The code of S3's answer behind an error of its client."""
    answer = getattr(error.__cause__ or error, "response", None)
    return str(answer["Error"].get("Code")) if isinstance(answer, dict) and "Error" in answer else None


def _passes(error: BaseException) -> bool:
    """Whether an error of a remote storage says nothing but: once more."""
    return answer_code(error) in _PASSING or type(error).__name__ in _CUT


def patiently(attempts: int, call: Callable[..., _T], *arguments: Any, **options: Any) -> _T:
    """A call of a remote storage, made again while its errors are of those that pass: random pauses up to 10 seconds.

    The client repeats lost connections, and a few 5xx answers, by itself; not a conflict of conditional puts (409), not a body that is
    shorter than its checksum says, and not for as long as a bucket that is being split asks for less.
    """
    import tenacity

    again = tenacity.Retrying(
        retry=tenacity.retry_if_exception(_passes),
        wait=tenacity.wait_random_exponential(multiplier=0.2, max=10),
        stop=tenacity.stop_after_attempt(attempts),
        reraise=True,
    )
    return again(call, *arguments, **options)
