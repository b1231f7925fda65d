"""Errors. A message names file, record, field, rule and remedy; it never holds a value of a record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


def printable(text: str) -> str:
    """A text without control characters: each stands there as Python writes it (`\\n`, `\\x1b`), for a name of a file may hold any."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


class NosologyError(Exception):
    """Root of all errors that the product raises on purpose; `exit_code` is the process status."""

    exit_code = 1


class ConfigError(NosologyError):
    """The configuration is wrong: unknown key, value out of range, combination that cannot work."""

    exit_code = 2


class InputError(NosologyError):
    """An input cannot be used as a whole (file missing, truncated, of another schema).

    Args:
        rule: what was expected, in words.
        file: name of the file, if one is at fault.
        field: column or segment, if one is at fault.
        remedy: what the user can do.
    """

    exit_code = 2

    def __init__(self, rule: str, *, file: str | None = None, field: str | None = None, remedy: str | None = None) -> None:
        self.rule, self.file, self.field, self.remedy = rule, file, field, remedy
        where = ", ".join(f"{name} {printable(value)}" for name, value in (("file", file), ("field", field)) if value)
        super().__init__(f"{where + ': ' if where else ''}{rule}{'. ' + remedy if remedy else ''}")

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_input_error, (self.rule, self.file, self.field, self.remedy)


def _rebuild_input_error(rule: str, file: str | None, field: str | None, remedy: str | None) -> InputError:
    return InputError(rule, file=file, field=field, remedy=remedy)


class PlanError(NosologyError):
    """A training that was planned does not fit; `report` is the whole plan."""

    exit_code = 2

    def __init__(self, said: str, report: Mapping[str, Any]) -> None:
        self.report = dict(report)
        super().__init__(said)

    def __reduce__(self) -> tuple[object, ...]:
        return PlanError, (str(self), self.report)


class FingerprintError(NosologyError):
    """A run folder belongs to a job with another fingerprint; resuming it would mix two jobs."""

    exit_code = 2


class ModelError(NosologyError):
    """A model directory is missing, incomplete, or not the one its digest names."""

    exit_code = 2


class DeadLettersError(NosologyError):
    """The run finished, but more records were dead-lettered than `run.allowed_dead_share` permits; `report` is the run's."""

    exit_code = 3

    def __init__(self, message: str, report: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.report = report


@dataclass(frozen=True, slots=True)
class Reason:
    """Why one record is dead-lettered. Holds no text of the record.

    Attributes:
        code: a slug from a closed set, for instance `invalid_utf8`, `missing_field`, `impossible_date`.
        field: the column, element or segment at fault, by its name in the format.
        rule: what was expected, in words.
    """

    code: str
    field: str | None = None
    rule: str | None = None


class RecordError(Exception):
    """One record cannot be processed; carries its `Reason` to the dead-letter table."""

    def __init__(self, code: str, field: str | None = None, rule: str | None = None) -> None:
        self.reason = Reason(code, field, rule)
        super().__init__(code, field, rule)

    def __str__(self) -> str:
        return ": ".join(part for part in (self.reason.code, self.reason.field, self.reason.rule) if part)
