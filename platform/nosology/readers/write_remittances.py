"""Where the fields of a payment stand in an 835."""

from __future__ import annotations

import datetime
from typing import Any

from nosology.readers.changes import changed
from nosology.readers.edits import Editor, day_text, number_text
from nosology.readers.segments import Segment
from nosology.readers.write_claims import put_service
from nosology.readers.x12_loops import Claim, at
from nosology.readers.x12_remittances import Service, answer_of
from nosology.records import Adjustment, RawRemittance, RemittanceLine

_HEAD = {"claim_id": 1, "status": 2, "charge": 3, "paid": 4, "patient_responsibility": 5, "payer_claim_id": 7}


def place(editor: Editor, claim: Claim, old: RawRemittance, new: RawRemittance) -> None:
    """Puts what differs into the segments of a payment; what has no place is left, and found by the check."""
    answer, names = answer_of(claim), changed(old, new)
    for name in names:
        if name in _HEAD:
            editor.put(claim.head, _HEAD[name], _text(getattr(new, name)))
    if "adjustments" in names:
        _adjust(editor, answer.whole.adjustments, old.adjustments, new.adjustments)
    for service, was, now in zip(answer.lines, old.lines, new.lines, strict=False):
        _line(editor, service, was, now)
    if "service_from" in names:
        _days(editor, answer.whole.dates, ("232",), old.service_from, new.service_from)
    if "patient_names" in names and len(old.patient_names) == len(new.patient_names):
        renamed = dict(zip(old.patient_names, new.patient_names, strict=True))
        for person in answer.persons():
            if (name := person.name or "") in renamed:
                editor.put_name(person, renamed[name])
    if "subscriber_id" in names:
        for person in answer.persons():
            if person.ident == old.subscriber_id:
                editor.put(person.named, 9, new.subscriber_id)


def _line(editor: Editor, service: Service, was: RemittanceLine, now: RemittanceLine) -> None:
    names = changed(was, now)
    for name, place in (("charge", 2), ("paid", 3), ("revenue_code", 4), ("quantity", 5)):
        if name in names:
            editor.put(service.head, place, _text(getattr(now, name)))
    if not {"system", "code", "modifiers"}.isdisjoint(names):
        put_service(editor, service.head, 1, was, now)
    if "control_number" in names:
        editor.put(service.control, 2, now.control_number)
    if "allowed" in names:
        editor.put(service.allowed, 2, number_text(now.allowed))
    if "service_date" in names:
        _days(editor, service.dates, ("472", "150"), was.service_date, now.service_date)
    if "adjustments" in names:
        _adjust(editor, service.adjustments, was.adjustments, now.adjustments)
    if "remarks" in names:
        for segment, remark in zip([one for one in service.remarks if at(one, 2)], now.remarks, strict=False):
            editor.put(segment, 2, remark)


def _adjust(editor: Editor, segments: list[Segment], old: tuple[Adjustment, ...], new: tuple[Adjustment, ...]) -> None:
    places = [(segment, place) for segment in segments for place in range(2, len(segment), 3) if at(segment, place)]
    for (segment, place), was, now in zip(places, old, new, strict=False):
        for name, where in (("group", 1), ("reason", place), ("amount", place + 1), ("quantity", place + 2)):
            if getattr(was, name) != getattr(now, name):
                editor.put(segment, where, _text(getattr(now, name)))


def _days(editor: Editor, segments: list[Segment], names: tuple[str, ...], old: datetime.date | None, new: datetime.date | None) -> None:
    """A first day: the DTM that said it."""
    for segment in segments:
        if at(segment, 1) in names and old is not None and at(segment, 2)[:8] == day_text(old):
            editor.put(segment, 2, f"{day_text(new) or ''}{at(segment, 2)[8:]}")


def _text(value: Any) -> str | None:
    return number_text(value) if isinstance(value, int | float) else value
