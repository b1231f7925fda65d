"""Structured records: from a Raw row to its Clean row, by the `phi` treatment that records.py gives each field.

name, contact, geography: dropped (no Clean record has them). id: keyed pseudonym, the same in every table. date: cut to
1 January of its year, or shifted by the patient's secret days. birth_date: as a date, and None when it tells an age over 89;
an age over 89 is None. postal_code: three digits. text: rewritten by the caller.
"""

from __future__ import annotations

import dataclasses
import datetime
import typing
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nosology.deid.zips import zip3
from nosology.errors import RecordError
from nosology.records import CLEAN_TABLES, TABLES

if TYPE_CHECKING:
    from nosology.config import DeidConfig
    from nosology.deid.secret import Secret

OLDEST = 89
# fields whose id says whose dates these are, the best first
PERSON = ("patient_id", "encounter_id", "claim_id", "document_id", "condition_id")
# dates that can tell what age a date of birth means
REFERENCE = ("service_from", "service_to", "start_date", "date", "onset_date", "death_date")


def patient_of(row: Mapping[str, Any]) -> str:
    """Whose secret applies to a row: its patient, else the event it belongs to, else the row itself."""
    return next((str(row[name]) for name in PERSON if row.get(name) is not None), f"{row.get('source_digest')}/{row.get('source_row')}")


def date_under(value: datetime.date, config: DeidConfig, days: int) -> datetime.date | None:
    """A date by policy; None where the shifted day lies outside the calendar."""
    if config.dates == "year":
        return datetime.date(value.year, 1, 1)
    try:
        return datetime.date(value.year, value.month, value.day) + datetime.timedelta(days=days)
    except OverflowError:
        return None


def age_over_89(birth: datetime.date, on: datetime.date) -> bool:
    """True when the person is 90 or older; years alone decide, so that the cut to the year cannot tell it either."""
    return on.year - birth.year > OLDEST


def clean(table: str, row: Mapping[str, Any], config: DeidConfig, secret: Secret, *, text: str | None = None) -> dict[str, Any]:
    """The Clean row of a row of `table`.

    Args:
        text: the rewritten note, for documents.

    Raises:
        RecordError: `unknown_table`; or `wrong_type` for a field that is not what its treatment needs.
    """
    if table not in TABLES:
        raise RecordError("unknown_table", "_table", f"one of {', '.join(TABLES)}")
    days = secret.shift_days(patient_of(row))
    dates = [row[name] for name in REFERENCE if isinstance(row.get(name), datetime.date)]
    on = max(dates) if dates else datetime.date.today()
    treatments = {item.name: item.metadata["phi"] for item in dataclasses.fields(TABLES[table])}
    cleaned: dict[str, Any] = {}
    for item in dataclasses.fields(CLEAN_TABLES[table]):
        if item.name not in row:
            if item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING and treatments[item.name] != "text":
                raise RecordError("missing_field", item.name, "a column of the table's schema")
            cleaned[item.name] = text if treatments[item.name] == "text" else [] if item.default == () else None
            continue
        try:
            cleaned[item.name] = (
                text if treatments[item.name] == "text" else _treated(treatments[item.name], row[item.name], config, secret, days, on)
            )
            if treatments[item.name] is None:
                cleaned[item.name] = _nested(
                    typing.get_type_hints(CLEAN_TABLES[table])[item.name], row[item.name], config, secret, days, on
                )
        except (TypeError, ValueError, AttributeError) as error:
            raise RecordError(
                "wrong_type", item.name, f"treated as {treatments[item.name] or 'plain'}; found {type(row[item.name]).__name__}"
            ) from error
    return cleaned


def _treated(phi: str | None, value: Any, config: DeidConfig, secret: Secret, days: int, on: datetime.date) -> Any:
    """One value under its treatment; lists value by value."""
    if value is None or phi is None:
        return value
    if isinstance(value, list | tuple):
        return [_treated(phi, v, config, secret, days, on) for v in value]
    if phi == "id":
        return secret.pseudonym(str(value))
    if phi == "postal_code":
        return zip3(value)
    if phi == "date":  # a date of someone's life that long ago tells an age over 89 (164.514(b)(2)(i)(C))
        return None if isinstance(value, datetime.date) and age_over_89(value, datetime.date.today()) else date_under(value, config, days)
    if phi == "birth_date":
        if isinstance(value, int | float):
            return None if value > OLDEST else value
        return None if age_over_89(value, on) else date_under(value, config, days)
    return None  # names, contacts, places: never in a Clean record


def _nested(hint: Any, value: Any, config: DeidConfig, secret: Secret, days: int, on: datetime.date) -> Any:
    """Lists of parts (service lines …): each field of a part under its own treatment."""
    part = next((a for a in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(a)), None)
    if part is None or value is None:
        return value
    if isinstance(value, list | tuple):
        return [_nested(part, v, config, secret, days, on) for v in value]
    known = {item.name: item.metadata["phi"] for item in dataclasses.fields(typing.cast("type[Any]", part))}
    return {name: _treated(known[name], v, config, secret, days, on) for name, v in value.items() if name in known}
