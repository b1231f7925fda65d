"""Elements of resources: JSON values of the type that they must have, references, codes, dates.

All raise `RecordError` with the field and the rule, never the value, for what is there and of another type.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from nosology.errors import RecordError
from nosology.readers import values
from nosology.readers.source import Builder
from nosology.records import Coding

Resource = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Scope:
    """What a resource can refer to.

    Attributes:
        conditions: codes of the Conditions in the same Bundle, by id.
        binary: the Binary with an id, in the same Bundle or near in the same file; None when there is none.
        builder: makes the units of the file.
        meet: sees each resource that is read.
        beside: content and SHA-256 of a file below the folder of the input file; raises RecordError for one that may not be read.
    """

    binary: Callable[[str], Resource | None]
    beside: Callable[[str, str], tuple[bytes, str]]
    conditions: Mapping[str, list[Coding]] = field(default_factory=dict)
    builder: Builder = field(default_factory=Builder)
    meet: Callable[[Resource], None] = lambda _: None


def wrong(name: str, rule: str) -> RecordError:
    return RecordError("wrong_type", name, rule)


def array(value: Any, name: str) -> list[Any]:
    if value is None:
        return []
    if type(value) is not list:
        raise wrong(name, "a JSON array")
    return value


def one_object(value: Any, name: str) -> Resource:
    if value is None:
        return {}
    if type(value) is not dict:
        raise wrong(name, "a JSON object")
    return value


def objects(value: Any, name: str) -> list[Resource]:
    """The objects of an array; null among them is none."""
    if value is None:
        return []
    empty = False
    for one in value if type(value) is list else array(value, name):
        if one is None:
            empty = True
        elif type(one) is not dict:
            raise wrong(name, "a JSON object")
    return [one for one in value if one is not None] if empty else value


def one_or_more(value: Any, name: str) -> list[Resource]:
    """As `objects`, of an element that one release repeats and another does not."""
    return [value] if type(value) is dict else objects(value, name)


def string(value: Any, name: str) -> str | None:
    if value is None:
        return None
    if type(value) is not str:
        raise wrong(name, "a string")
    return value.strip() or None


def strings(value: Any, name: str) -> list[str]:
    return [text for one in array(value, name) if (text := string(one, name))]


def identity(resource: Resource) -> str:
    return values.required(string(resource.get("id"), "id"), "id")


def reference(value: Any, name: str) -> str | None:
    """The id of what a Reference points at; of several (a list), of the first that has one."""
    if value is None:
        return None
    for one in value if type(value) is list else (value,):
        text = string(one_object(one, name).get("reference"), name)
        if text is not None and (found := target(text)):
            return found
    return None


@lru_cache(maxsize=1 << 12)  # a patient's resources all name the patient
def target(text: str) -> str | None:
    """The id in a reference's text."""
    if "?" in text or text.startswith("#"):
        return None
    if text.startswith("urn:"):
        return text.rsplit(":", 1)[1] or None
    return text.split("/_history/")[0].rstrip("/").rsplit("/", 1)[-1] or None


def encounter(resource: Resource) -> str | None:
    """The encounter of a resource: `encounter`; in STU3 `context`, which may be an episode of care instead."""
    if "encounter" in resource:
        return reference(resource["encounter"], "encounter")
    context = resource.get("context")
    text = string(one_object(context, "context").get("reference"), "context")
    return None if text is None or "EpisodeOfCare/" in text else target(text)


@lru_cache(maxsize=1 << 14)  # an archive has few codes and many of each
def _coding(system: str | None, code: str, display: str | None) -> Coding | None:
    known = values.system(system)
    code = code.strip()
    return Coding(system=known, code=values.dotted(code, known), display=(display or "").strip() or None) if code else None


def codings(concept: Any, name: str) -> list[Coding]:
    """The codes of a CodeableConcept; of R5's CodeableReference, those of its concept."""
    if concept is None:
        return []
    if type(concept) is not dict:
        raise wrong(name, "a JSON object")
    held = concept.get("coding")
    if held is None and "concept" in concept:
        held = one_object(concept["concept"], name).get("coding")
    if held is None:
        return []
    found = []
    for one in held if type(held) is list else array(held, name):
        if type(one) is not dict:
            raise wrong(name, "a JSON object")
        code, system, display = one.get("code"), one.get("system"), one.get("display")
        if code is None:
            continue
        if type(code) is not str or not (system is None or type(system) is str) or not (display is None or type(display) is str):
            raise wrong(name, "a string")
        if made := _coding(system, code, display):
            found.append(made)
    return found


def all_codings(concepts: Any, name: str) -> tuple[Coding, ...]:
    """The codes of several CodeableConcepts."""
    return tuple(code for one in objects(concepts, name) for code in codings(one, name))


def status(value: Any, name: str) -> str | None:
    """A code that STU3 writes as a string and R4 as a CodeableConcept, or the other way round."""
    if type(value) is not dict:
        return string(value, name)
    found = codings(value, name)
    return found[0].code if found else None


def day(value: Any, name: str) -> datetime.date | None:
    return values.day(string(value, name), name)


def period(value: Any, name: str) -> tuple[datetime.date | None, datetime.date | None]:
    if value is None:
        return None, None
    held = one_object(value, name)
    start, end = day(held.get("start"), f"{name}.start"), day(held.get("end"), f"{name}.end")
    values.in_order(start, end, name)
    return start, end


def money(value: Any, name: str) -> float | None:
    """The number of a Money or a Quantity."""
    return None if value is None else values.number(one_object(value, name).get("value"), name)


def displays(references: Any, name: str) -> tuple[str, ...]:
    """Names that References carry."""
    names = (string(one.get("display"), name) for one in objects(references, name))
    return tuple(dict.fromkeys(found for found in names if found))
