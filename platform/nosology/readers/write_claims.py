"""Where the fields of a claim stand in an 837."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from nosology.readers.changes import changed
from nosology.readers.edits import Editor, day_text, number_text, put_day
from nosology.readers.segments import Segment
from nosology.readers.values import REVENUE
from nosology.readers.x12_claims import AMOUNTS, DIAGNOSES, PROCEDURES, Body, Line, body_of, roles
from nosology.readers.x12_loops import SERVICES, Claim, Loop, Party, at, split
from nosology.records import ClaimLine, Diagnosis, RawClaim, RawDocument

_MOST_CODES = 12  # elements of a HI segment
_QUALIFIERS = {use: qualifier for qualifier, use in DIAGNOSES.items()}
SERVICE_QUALIFIERS = {system: qualifier for qualifier, system in SERVICES.items()}
_SEXES = {"female": "F", "male": "M", "other": "O", "unknown": "U"}


@dataclasses.dataclass(slots=True)
class _Places:
    """What a claim was read from."""

    editor: Editor
    claim: Claim
    body: Body
    subscriber: Loop
    provider: Party
    holder: Party
    person: Party
    old: RawClaim
    new: RawClaim

    def number(self, qualifiers: tuple[str, ...], old: tuple[str, ...], new: tuple[str, ...]) -> None:
        """Numbers in REF segments: each in the place of the one before; one more in a new segment."""
        found = [segment for name in qualifiers for segment in self.body.references.get(name, ())]
        if len(old) == len(new):
            renamed = dict(zip(old, new, strict=True))
            for segment in found:
                self.editor.put(segment, 2, renamed.get(at(segment, 2), at(segment, 2)))
        elif not found and len(new) == 1:
            before = next((one for one in reversed(self.body.dates + [a for a, line in self.body.attachments if line is None])), None)
            self.editor.insert(self.claim, ["REF", qualifiers[0], new[0]], after=before or self.claim.head)


def place(editor: Editor, claim: Claim, old: RawClaim, new: RawClaim) -> None:
    """Puts what differs into the segments of a claim and of its loops; what has no place is left, and found by the check."""
    found = _Places(editor, claim, body_of(claim), *roles(claim), old, new)
    for name in changed(old, new):
        if name in _FIELDS:
            _FIELDS[name](found, getattr(new, name))


def place_note(editor: Editor, claim: Claim, old: RawDocument, new: RawDocument) -> None:
    """The text of a note: as many lines as before, each in its NTE."""
    if old.text == new.text:
        return
    notes, lines = [note for note in body_of(claim).notes if at(note, 2)], new.text.split("\n")
    if len(notes) == len(lines):
        for note, line in zip(notes, lines, strict=True):
            editor.put(note, 2, line)


def _names(found: _Places, names: tuple[str, ...]) -> None:
    if len(names) == len(found.old.patient_names):
        renamed = dict(zip(found.old.patient_names, names, strict=True))
        for party in {id(one): one for one in (found.person, found.holder)}.values():
            if (name := party.name) in renamed and renamed[name] != name:
                found.editor.put_name(party, renamed[name])


def _street(found: _Places, address: str | None) -> None:
    found.editor.put(found.person.street, 1, address)
    if at(found.person.street, 2):
        found.editor.put(found.person.street, 2, None)


def _patient(found: _Places, ident: str | None) -> None:
    party = found.holder if found.person is found.holder else found.person
    if party.ident is not None:  # else it is made of other fields
        found.editor.put(party.named, 9, ident)


def _period(found: _Places, _: Any) -> None:
    for segment in found.body.dates:
        if at(segment, 1) == "434":
            first, last = day_text(found.new.service_from), day_text(found.new.service_to)
            if at(segment, 2) == "RD8":
                found.editor.put(segment, 3, f"{first}-{last}" if first and last else None)
            else:
                found.editor.put(segment, 3, f"{first or ''}{at(segment, 3)[8:]}")


def _code_places(found: _Places, known: Any) -> list[tuple[Segment, int, int, list[str]]]:
    """Segment, element, repetition and components of each code of HI whose qualifier is known."""
    marks = found.editor.marks
    return [
        (segment, element, repeat, parts)
        for segment in found.body.codes
        for element in range(1, len(segment))
        for repeat, text in enumerate(marks.repeats(segment[element]))
        if (parts := split(text, marks.component))[0].strip() in known
    ]


def _diagnoses(found: _Places, diagnoses: tuple[Diagnosis, ...]) -> None:
    places, editor = _code_places(found, DIAGNOSES), found.editor
    for (segment, element, repeat, parts), was, now in zip(places, found.old.diagnoses, diagnoses, strict=False):
        if was.code != now.code:
            editor.put_part(segment, element, 1, now.code if "." in parts[1] else now.code.replace(".", ""), repeat)
        if (was.system, was.kind) != (now.system, now.kind):
            editor.put_part(segment, element, 0, _QUALIFIERS.get((now.system or "", now.kind), parts[0]), repeat)
        if was.present_on_admission != now.present_on_admission:
            editor.put_part(segment, element, 8, now.present_on_admission, repeat)
    for segment, element, _, _ in reversed(places[len(diagnoses) :]):  # a diagnosis is never a repetition of another in HI
        del segment[element]
        editor.touched.add(id(segment))
        if len(segment) == 1:
            editor.remove(found.claim, segment)
    for now in diagnoses[len(places) :]:
        _add_diagnosis(found, now)


def _add_diagnosis(found: _Places, now: Diagnosis) -> None:
    """One diagnosis more: where others of its kind stand, in a professional claim beside the principal one, else in a HI of its own."""
    qualifier = _QUALIFIERS.get((now.system or "", now.kind))
    places, editor, mark = _code_places(found, DIAGNOSES), found.editor, found.editor.marks.component
    if qualifier is None or not places:
        return
    present = [""] * 6 + [now.present_on_admission] if now.present_on_admission else []
    text = mark.join([qualifier, now.code.replace(".", ""), *present])
    last, element, _, parts = places[-1]
    alone = parts[0].strip() != qualifier and (now.kind != "other" or found.old.form == "institutional")
    if alone or len(last) > _MOST_CODES:
        segment = ["HI", text]
        editor.insert(found.claim, segment, after=last)
        found.body.codes.insert(next(n for n, held in enumerate(found.body.codes) if held is last) + 1, segment)
    else:
        last.insert(element + 1, "")
        editor.put(last, element + 1, text)


def _procedures(found: _Places, procedures: Any) -> None:
    for (segment, element, repeat, _), was, now in zip(_code_places(found, PROCEDURES), found.old.procedures, procedures, strict=False):
        if was.code != now.code:
            found.editor.put_part(segment, element, 1, now.code, repeat)


def _lines(found: _Places, lines: tuple[ClaimLine, ...]) -> None:
    for line, was, now in zip(found.body.lines, found.old.lines, lines, strict=False):
        names = changed(was, now)
        for name in names:
            if name in _LINE:
                _LINE[name](found.editor, line, was, now)
        if not {"system", "code", "modifiers"}.isdisjoint(names):
            _service(found.editor, line, was, now)


def _service(editor: Editor, line: Line, was: ClaimLine, now: ClaimLine) -> None:
    place = 2 if line.service[0] == "SV2" else 1
    parts = split(at(line.service, place), editor.marks.component)
    if len(parts) > 1 and parts[1].strip():
        put_service(editor, line.service, place, was, now)
    elif line.drug and was.system != REVENUE:
        editor.put(line.drug, 3, now.code)


def put_service(editor: Editor, segment: Segment, place: int, was: Any, now: Any) -> None:
    """System, code and modifiers of a composite."""
    if was.system != now.system:
        editor.put_part(segment, place, 0, SERVICE_QUALIFIERS.get(now.system, now.system))
    if was.code != now.code:
        editor.put_part(segment, place, 1, now.code)
    if was.modifiers != now.modifiers:
        for number in range(max(len(was.modifiers), len(now.modifiers))):
            editor.put_part(segment, place, 2 + number, now.modifiers[number] if number < len(now.modifiers) else None)


def _line_day(editor: Editor, line: Line, was: ClaimLine, now: ClaimLine) -> None:
    for segment in line.dates:
        if at(segment, 1) == "472":
            put_day(editor, segment, was.service_date, now.service_date)


def _pointers(editor: Editor, line: Line, was: ClaimLine, now: ClaimLine) -> None:
    if line.service[0] == "SV1":
        editor.put(line.service, 7, editor.marks.component.join(map(str, now.diagnosis_pointers)))


def _revenue(editor: Editor, line: Line, was: ClaimLine, now: ClaimLine) -> None:
    if line.service[0] == "SV2":
        editor.put(line.service, 1, now.revenue_code)


def _attachments(found: _Places, attachments: Any) -> None:
    for (segment, _), was, now in zip(found.body.attachments, found.old.attachments, attachments, strict=False):
        for place, name in ((1, "kind"), (2, "transmission"), (6, "control_number")):
            if getattr(was, name) != getattr(now, name):
                found.editor.put(segment, place, getattr(now, name))


def _information(found: _Places, texts: tuple[str, ...]) -> None:
    for segment, text in zip([one for one in found.body.information if at(one, 1)], texts, strict=False):
        found.editor.put(segment, 1, text)


def _one(value: str | None) -> tuple[str, ...]:
    return () if value is None else (value,)


_FIELDS: dict[str, Callable[[_Places, Any], None]] = {
    "claim_id": lambda found, value: found.editor.put(found.claim.head, 1, value),
    "total_charge": lambda found, value: found.editor.put(found.claim.head, 2, number_text(value)),
    "status": lambda found, value: found.editor.put_part(found.claim.head, 5, 2, value),
    "payer": lambda found, value: found.editor.put(found.subscriber.payer, 3, value),
    "payer_type": lambda found, value: found.editor.put(found.subscriber.insured, 9, value),
    "group_number": lambda found, value: found.editor.put(found.subscriber.insured, 3, value),
    "provider_npi": lambda found, value: found.editor.put(found.provider.named, 9, value),
    "provider_name": lambda found, value: found.editor.put_name(found.provider, value),
    "subscriber_id": lambda found, value: found.editor.put(found.holder.named, 9, value),
    "patient_id": _patient,
    "patient_names": _names,
    "birth_date": lambda found, value: found.editor.put(found.person.born, 2, day_text(value)),
    "sex": lambda found, value: found.editor.put(found.person.born, 3, _SEXES.get(value)),
    "address": _street,
    "city": lambda found, value: found.editor.put(found.person.town, 1, value),
    "state": lambda found, value: found.editor.put(found.person.town, 2, value),
    "postal_code": lambda found, value: found.editor.put(found.person.town, 3, value),
    "service_from": _period,
    "service_to": _period,
    "diagnoses": _diagnoses,
    "procedures": _procedures,
    "lines": _lines,
    "original_payer_claim_id": lambda found, value: found.number(("F8",), _one(found.old.original_payer_claim_id), _one(value)),
    "medical_record_number": lambda found, value: found.number(("EA",), _one(found.old.medical_record_number), _one(value)),
    "authorizations": lambda found, value: found.number(("G1", "9F"), found.old.authorizations, value),
    "attachments": _attachments,
    "file_information": _information,
}
_LINE: dict[str, Callable[[Editor, Line, ClaimLine, ClaimLine], None]] = {
    "number": lambda editor, line, was, now: editor.put(line.head, 1, str(now.number)),
    "control_number": lambda editor, line, was, now: editor.put(line.control, 2, now.control_number),
    "revenue_code": _revenue,
    "charge": lambda editor, line, was, now: editor.put(line.service, AMOUNTS[line.service[0]][0], number_text(now.charge)),
    "quantity": lambda editor, line, was, now: editor.put(line.service, AMOUNTS[line.service[0]][1], number_text(now.quantity)),
    "service_date": _line_day,
    "diagnosis_pointers": _pointers,
}
