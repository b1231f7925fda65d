"""Clean records hold no PHI. Dates in them are shifted or cut to the year by policy; ids are keyed pseudonyms."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from nosology.records.parts import Adjustment, Attachment, ClaimLine, Coding, Diagnosis, RemittanceLine, Sourced, column


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaned(Sourced):
    """What every Clean record has."""

    mark: str | None = column("code over policy and record, by which de-identification knows its own work (`deid.marks`)", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanPatient(Cleaned):
    """A person without direct identifiers."""

    patient_id: str = column("pseudonym")
    birth_date: datetime.date | None = column("date of birth under the date policy; None over 89 years", default=None)
    sex: str | None = column("female, male, other or unknown", default=None)
    state: str | None = column("state", default=None)
    postal_code: str | None = column("first three digits of the ZIP code, 000 where the rule says", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanEncounter(Cleaned):
    """A visit or stay without direct identifiers."""

    encounter_id: str = column("pseudonym")
    patient_id: str | None = column("pseudonym", default=None)
    setting: str | None = column("class of the encounter", default=None)
    start_date: datetime.date | None = column("first day under the date policy", default=None)
    end_date: datetime.date | None = column("last day under the date policy", default=None)
    reasons: tuple[Coding, ...] = column("reasons for the visit", default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanCondition(Cleaned):
    """A diagnosis or problem without direct identifiers."""

    condition_id: str | None = column("pseudonym", default=None)
    patient_id: str | None = column("pseudonym", default=None)
    encounter_id: str | None = column("pseudonym", default=None)
    codings: tuple[Coding, ...] = column("its codes", default=())
    onset_date: datetime.date | None = column("onset under the date policy", default=None)
    status: str | None = column("clinical status", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanProcedure(Cleaned):
    """A procedure without direct identifiers."""

    procedure_id: str = column("pseudonym")
    patient_id: str | None = column("pseudonym", default=None)
    encounter_id: str | None = column("pseudonym", default=None)
    codings: tuple[Coding, ...] = column("its codes", default=())
    start_date: datetime.date | None = column("first day under the date policy", default=None)
    end_date: datetime.date | None = column("last day under the date policy", default=None)
    status: str | None = column("status as the source codes it", default=None)
    reasons: tuple[Coding, ...] = column("reasons for it", default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanDocument(Cleaned):
    """A note after de-identification."""

    document_id: str = column("pseudonym")
    patient_id: str | None = column("pseudonym", default=None)
    encounter_id: str | None = column("pseudonym", default=None)
    claim_id: str | None = column("pseudonym", default=None)
    kind: str | None = column("document type", default=None)
    text: str = column("the note with identifiers replaced")
    date: datetime.date | None = column("date of service under the date policy", default=None)
    sex: str | None = column("sex of the patient", default=None)
    age: float | None = column("age in years; None over 89 years", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanClaim(Cleaned):
    """A claim without direct identifiers."""

    claim_id: str = column("pseudonym")
    patient_id: str | None = column("pseudonym", default=None)
    encounter_id: str | None = column("pseudonym", default=None)
    form: str = column("professional, institutional, dental, pharmacy or unknown")
    status: str | None = column("status as the source codes it", default=None)
    service_from: datetime.date | None = column("first date of service under the date policy", default=None)
    service_to: datetime.date | None = column("last date of service under the date policy", default=None)
    diagnoses: tuple[Diagnosis, ...] = column("billed diagnoses in order", default=())
    procedures: tuple[Coding, ...] = column("claim-level procedures (ICD-10-PCS)", default=())
    lines: tuple[ClaimLine, ...] = column("service lines, their dates under the date policy", default=())
    total_charge: float | None = column("total charge, US dollars", default=None)
    original_payer_claim_id: str | None = column("pseudonym of the claim that this one replaces or voids", default=None)
    attachments: tuple[Attachment, ...] = column("reports that support the claim, control numbers as pseudonyms", default=())
    payer: str | None = column("name of the payer", default=None)
    payer_type: str | None = column("claim filing indicator", default=None)
    medical_record_number: str | None = column("pseudonym", default=None)
    sex: str | None = column("sex of the patient", default=None)
    state: str | None = column("state of the patient", default=None)
    postal_code: str | None = column("first three digits of the ZIP code, 000 where the rule says", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanRemittance(Cleaned):
    """The payer's answer without direct identifiers."""

    claim_id: str = column("pseudonym")
    payer_claim_id: str | None = column("pseudonym", default=None)
    status: str | None = column("claim status code", default=None)
    charge: float | None = column("submitted charge, US dollars", default=None)
    paid: float | None = column("amount paid, US dollars", default=None)
    patient_responsibility: float | None = column("amount owed by the patient, US dollars", default=None)
    adjustments: tuple[Adjustment, ...] = column("of the claim as a whole", default=())
    lines: tuple[RemittanceLine, ...] = column("answers to the service lines, control numbers as pseudonyms", default=())
    service_from: datetime.date | None = column("first date of service under the date policy", default=None)
