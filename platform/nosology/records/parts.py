"""What records are made of: documented fields, parts, the key."""

from __future__ import annotations

import dataclasses
import datetime
from dataclasses import dataclass
from typing import Any, Literal

Phi = Literal["name", "date", "birth_date", "id", "postal_code", "geography", "contact", "text", "label", "code"]


def column(doc: str, phi: Phi | None = None, **options: Any) -> Any:
    """A dataclass field with its documentation and its treatment under de-identification."""
    return dataclasses.field(metadata={"doc": doc, "phi": phi}, **options)


@dataclass(frozen=True, slots=True, kw_only=True)
class Coding:
    """A code of a code system, as the source wrote it."""

    system: str | None = column("ICD-10-CM, ICD-9-CM, ICD-10-PCS, SNOMED CT, HCPCS, LOINC, RxNorm, NDC, REVENUE or the source's URI")
    code: str = column("code, with the dot where the system has one")
    display: str | None = column("title given by the source, sometimes typed by a person; dropped from Clean records", "text", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """A diagnosis on a claim."""

    system: str | None = column("ICD-10-CM, ICD-9-CM or SNOMED CT")
    code: str = column("code; ICD codes carry their dot")
    kind: str = column("principal, admitting, reason, external_cause or other")
    present_on_admission: str | None = column("Y, N, U, W or 1", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimLine:
    """A service line of a claim."""

    number: int = column("line number as billed, from 1")
    control_number: str | None = column("submitter's number of the line (REF 6R); a remittance repeats it", "id", default=None)
    system: str | None = column("HCPCS (levels I and II), REVENUE, NDC, SNOMED CT")
    code: str | None = column("procedure or service code")
    modifiers: tuple[str, ...] = column("procedure modifiers in order", default=())
    revenue_code: str | None = column("institutional revenue code", default=None)
    quantity: float | None = column("units of service", default=None)
    charge: float | None = column("charge, US dollars", default=None)
    service_date: datetime.date | None = column("date of service", "date", default=None)
    diagnosis_pointers: tuple[int, ...] = column("places in `diagnoses`, from 1", default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A report that supports a claim and travels apart from it (X12 PWK), or with it (FHIR supportingInfo)."""

    kind: str | None = column("report type code, for instance OZ, B4, CT", "code", default=None)
    transmission: str | None = column("how it is sent: BM by mail, EL electronically, FX by fax …", "code", default=None)
    control_number: str | None = column("number under which it is sent; `document_id` of the note", "id", default=None)
    line: int | None = column("number of the service line; None is the whole claim", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjustment:
    """Why an amount paid differs from the amount charged (X12 CAS)."""

    group: str = column("CO contractual, PR patient, OA other, PI payer, CR correction", "code")
    reason: str = column("claim adjustment reason code, for instance 45", "code")
    amount: float | None = column("US dollars by which the payment is less", default=None)
    quantity: float | None = column("units by which the payment is less", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemittanceLine:
    """The payer's answer to a service line."""

    control_number: str | None = column("submitter's number of the line (REF 6R): `ClaimLine.control_number`", "id", default=None)
    system: str | None = column("HCPCS (levels I and II), REVENUE, NDC", default=None)
    code: str | None = column("procedure or service code", default=None)
    modifiers: tuple[str, ...] = column("procedure modifiers in order", default=())
    revenue_code: str | None = column("institutional revenue code", default=None)
    charge: float | None = column("submitted charge, US dollars", default=None)
    paid: float | None = column("amount paid, US dollars", default=None)
    allowed: float | None = column("allowed amount, US dollars", default=None)
    quantity: float | None = column("units paid", default=None)
    service_date: datetime.date | None = column("first date of service", "date", default=None)
    adjustments: tuple[Adjustment, ...] = column("why less was paid", default=())
    remarks: tuple[str, ...] = column("remittance advice remark codes, for instance N130", "code", default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a run of a document's text stands in the document that it was taken from."""

    text_start: int = column("first character of the run in the text")
    source_start: int = column("byte of the original document that it begins with")
    length: int = column("characters in the run")
    width: int = column("bytes of each in the original: 1, more beyond ASCII, the length of a reference such as &amp; or \\'e9")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sourced:
    """Where a record came from: its key."""

    source_digest: str = column("SHA-256 of the input file, hexadecimal")
    source_row: int = column("number of the record in that file, from 0")
    source_format: str = column("reader that produced it")
