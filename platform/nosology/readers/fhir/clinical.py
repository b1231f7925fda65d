"""Patient, Encounter, Condition, Procedure."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from nosology.errors import RecordError
from nosology.readers import values
from nosology.readers.fhir.elements import (
    Resource,
    Scope,
    all_codings,
    codings,
    day,
    displays,
    encounter,
    identity,
    objects,
    one_object,
    period,
    reference,
    status,
    string,
    strings,
)
from nosology.readers.source import Draft
from nosology.records import Coding, RawCondition, RawEncounter, RawPatient, RawProcedure


def _name(human: Mapping[str, Any]) -> str | None:
    if text := string(human.get("text"), "name.text"):
        return text
    parts = strings(human.get("prefix"), "name.prefix") + strings(human.get("given"), "name.given")
    parts += [string(human.get("family"), "name.family") or "", *strings(human.get("suffix"), "name.suffix")]
    return " ".join(part for part in parts if part) or None


def patient(resource: Resource, scope: Scope) -> list[Draft]:
    home = next(iter(objects(resource.get("address"), "address")), {})
    names = [name for one in objects(resource.get("name"), "name") if (name := _name(one))]
    reach, others = _reach(resource, "telecom"), objects(resource.get("contact"), "contact")
    theirs = [name for one in others if (name := _name(one_object(one.get("name"), "contact.name")))]
    identifiers = [string(one.get("value"), "identifier.value") for one in objects(resource.get("identifier"), "identifier")]
    return [
        partial(
            RawPatient, patient_id=identity(resource), names=tuple(dict.fromkeys(names)),
            sex=values.sex(string(resource.get("gender"), "gender")),
            birth_date=day(resource.get("birthDate"), "birthDate"), death_date=day(resource.get("deceasedDateTime"), "deceasedDateTime"),
            address=" ".join(strings(home.get("line"), "address.line")) or None, city=string(home.get("city"), "address.city"),
            state=string(home.get("state"), "address.state"), postal_code=string(home.get("postalCode"), "address.postalCode"),
            phones=tuple(value for kind, value in reach if value and kind in ("phone", "fax", "sms", "pager")),
            emails=tuple(value for kind, value in reach if value and kind == "email"),
            identifiers=tuple(dict.fromkeys(value for value in identifiers if value)), contacts=tuple(dict.fromkeys(theirs)),
            contact_phones=tuple(value for one in others for kind, value in _reach(one, "contact.telecom") if value and kind != "email"),
        )
    ]  # fmt: skip


def _reach(resource: Mapping[str, Any], field: str) -> list[tuple[str | None, str | None]]:
    """System and value of each ContactPoint of `telecom`."""
    return [
        (string(one.get("system"), f"{field}.system"), string(one.get("value"), f"{field}.value"))
        for one in objects(resource.get("telecom"), field)
    ]


def visit(resource: Resource, scope: Scope) -> list[Draft]:
    """Encounter. `class` is a Coding, in R5 CodeableConcepts; reasons are `reason` in STU3, `reasonCode` in R4, and in R5 `reason.value`
    with concepts; the time is `period`, in R5 `actualPeriod`; who took part is `individual`, in R5 `actor`."""
    start, end = period(resource.get("period") or resource.get("actualPeriod"), "period")
    kind = resource.get("class")
    if isinstance(kind, list):
        kind = next(iter(objects(one_object(next(iter(kind), None), "class").get("coding"), "class")), None)
    elif isinstance(kind, dict) and "coding" in kind:
        kind = next(iter(objects(kind["coding"], "class")), None)
    participants = objects(resource.get("participant"), "participant")
    people = [one_object(one.get("individual") or one.get("actor"), "participant") for one in participants]
    places = [one_object(one.get("location"), "location") for one in objects(resource.get("location"), "location")]
    facility = displays([one_object(resource.get("serviceProvider"), "serviceProvider"), *places], "serviceProvider")
    return [
        partial(
            RawEncounter, encounter_id=identity(resource), patient_id=reference(resource.get("subject"), "subject"),
            setting=string(one_object(kind, "class").get("code"), "class"), start_date=start, end_date=end, reasons=_reasons(resource),
            providers=displays(people, "participant"), facility=next(iter(facility), None),
        )
    ]  # fmt: skip


def _reasons(resource: Resource) -> tuple[Coding, ...]:
    found = all_codings(resource.get("reasonCode"), "reasonCode")
    if not found and resource.get("reason") is not None:
        for one in objects(resource["reason"], "reason"):
            found += all_codings(one["value"], "reason.value") if "value" in one else tuple(codings(one, "reason"))
    return found


def condition(resource: Resource, scope: Scope) -> list[Draft]:
    """Condition. STU3 has `context` for `encounter`, and strings for `clinicalStatus` and `verificationStatus`. One that was refuted has
    that for its status: whatever its clinical status says, the patient does not have it."""
    verified = status(resource.get("verificationStatus"), "verificationStatus")
    onset = day(resource.get("onsetDateTime"), "onsetDateTime") or period(resource.get("onsetPeriod"), "onsetPeriod")[0]
    return [
        partial(
            RawCondition, condition_id=identity(resource), patient_id=reference(resource.get("subject"), "subject"),
            encounter_id=encounter(resource), codings=tuple(codings(resource.get("code"), "code")), onset_date=onset,
            status=verified if verified == "refuted" else status(resource.get("clinicalStatus"), "clinicalStatus"),
        )
    ]  # fmt: skip


def procedure(resource: Resource, scope: Scope) -> list[Draft]:
    """Procedure. STU3 has `context` for `encounter` and `notDone` beside `status`; R5 `occurrence…` for `performed…` and `reason`."""
    done = resource.get("performedDateTime") or resource.get("occurrenceDateTime")
    start, end = period(resource.get("performedPeriod") or resource.get("occurrencePeriod"), "performedPeriod")
    told = string(resource.get("status"), "status")
    people = [one_object(one.get("actor"), "performer.actor") for one in objects(resource.get("performer"), "performer")]
    return [
        partial(
            RawProcedure, procedure_id=identity(resource), patient_id=reference(resource.get("subject"), "subject"),
            encounter_id=encounter(resource), codings=tuple(codings(resource.get("code"), "code")),
            start_date=start or day(done, "performedDateTime"), end_date=end, status="not-done" if resource.get("notDone") is True else told,
            reasons=_reasons(resource), performers=displays(people, "performer.actor"),
        )
    ]  # fmt: skip


def codes_of_conditions(entries: list[Any]) -> dict[str, list[Coding]]:
    """Codes of the Conditions among resources, by id; a broken one becomes its own dead letter when its turn comes."""
    found = {}
    for one in entries:
        if isinstance(one, dict) and one.get("resourceType") == "Condition":
            try:
                found[identity(one)] = codings(one.get("code"), "code")
            except RecordError:
                continue
    return found
