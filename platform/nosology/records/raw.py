"""Raw records hold PHI."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from nosology.records.parts import Adjustment, Attachment, ClaimLine, Coding, Diagnosis, Origin, RemittanceLine, Sourced, column


@dataclass(frozen=True, slots=True, kw_only=True)
class RawPatient(Sourced):
    """A person."""

    patient_id: str = column("id within the source", "id")
    names: tuple[str, ...] = column("names, given first", "name", default=())
    birth_date: datetime.date | None = column("date of birth", "birth_date", default=None)
    death_date: datetime.date | None = column("date of death", "date", default=None)
    sex: str | None = column("female, male, other or unknown", "code", default=None)
    address: str | None = column("street and number", "geography", default=None)
    city: str | None = column("city", "geography", default=None)
    state: str | None = column("state or first-level division", "code", default=None)
    postal_code: str | None = column("ZIP or postal code", "postal_code", default=None)
    phones: tuple[str, ...] = column("telephone, fax", "contact", default=())
    emails: tuple[str, ...] = column("e-mail addresses", "contact", default=())
    identifiers: tuple[str, ...] = column("record, member, licence and social security numbers", "id", default=())
    contacts: tuple[str, ...] = column("names of relatives and others to call", "name", default=())
    contact_phones: tuple[str, ...] = column("their telephones", "contact", default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class RawEncounter(Sourced):
    """A visit or stay."""

    encounter_id: str = column("id within the source", "id")
    patient_id: str | None = column("the patient", "id", default=None)
    setting: str | None = column("class of the encounter as the source codes it (AMB, IMP, EMER, ambulatory …)", "code", default=None)
    start_date: datetime.date | None = column("first day", "date", default=None)
    end_date: datetime.date | None = column("last day", "date", default=None)
    reasons: tuple[Coding, ...] = column("reasons for the visit", default=())
    providers: tuple[str, ...] = column("names of clinicians", "name", default=())
    facility: str | None = column("name of the place", "name", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RawCondition(Sourced):
    """A diagnosis or problem outside a claim."""

    condition_id: str | None = column("id within the source", "id", default=None)
    patient_id: str | None = column("the patient", "id", default=None)
    encounter_id: str | None = column("the encounter in which it was recorded", "id", default=None)
    codings: tuple[Coding, ...] = column("its codes", default=())
    onset_date: datetime.date | None = column("onset", "date", default=None)
    status: str | None = column("clinical status as the source codes it", "code", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RawProcedure(Sourced):
    """A procedure that was done, outside a claim."""

    procedure_id: str = column("id within the source", "id")
    patient_id: str | None = column("the patient", "id", default=None)
    encounter_id: str | None = column("the encounter in which it was done", "id", default=None)
    codings: tuple[Coding, ...] = column("its codes", default=())
    start_date: datetime.date | None = column("first day", "date", default=None)
    end_date: datetime.date | None = column("last day", "date", default=None)
    status: str | None = column("status as the source codes it (completed, not-done …)", "code", default=None)
    reasons: tuple[Coding, ...] = column("reasons for it", default=())
    performers: tuple[str, ...] = column("names of those who did it", "name", default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class RawDocument(Sourced):
    """A note: free text about a patient."""

    document_id: str = column("id within the source", "id")
    patient_id: str | None = column("the patient", "id", default=None)
    encounter_id: str | None = column("the encounter", "id", default=None)
    claim_id: str | None = column("the claim that it supports", "id", default=None)
    kind: str | None = column("LOINC code of the document type, or the source's name for it", "label", default=None)
    text: str = column("the note; offsets elsewhere count Unicode characters of this text", "text")
    date: datetime.date | None = column("date of service, else of the note", "date", default=None)
    sex: str | None = column("sex of the patient: female, male, other or unknown", "code", default=None)
    age: float | None = column("age of the patient in years on that date", "birth_date", default=None)
    authors: tuple[str, ...] = column("names of authors", "name", default=())
    media_type: str | None = column("what the original was: text/plain, text/rtf, text/html or application/cda+xml", default=None)
    file: str | None = column("file that holds the original, as the record names it; None: the record itself", "id", default=None)
    file_digest: str | None = column(
        "SHA-256 of that file; the source_digest of its rows where it is input too, outside an archive", "id", default=None
    )
    origin: tuple[Origin, ...] = column("where the text stands in the original; empty: plain text, parts put together", default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class RawClaim(Sourced):
    """A claim as submitted."""

    claim_id: str = column("claim number given by the submitter (CLM01, Claim.id, CLM_ID)", "id")
    patient_id: str | None = column("the patient", "id", default=None)
    encounter_id: str | None = column("the encounter", "id", default=None)
    form: str = column("professional, institutional, dental, pharmacy or unknown", "code")
    status: str | None = column("status as the source codes it", "code", default=None)
    service_from: datetime.date | None = column("first date of service", "date", default=None)
    service_to: datetime.date | None = column("last date of service", "date", default=None)
    diagnoses: tuple[Diagnosis, ...] = column("billed diagnoses in order", default=())
    procedures: tuple[Coding, ...] = column("claim-level procedures (ICD-10-PCS)", default=())
    lines: tuple[ClaimLine, ...] = column("service lines", default=())
    total_charge: float | None = column("total charge, US dollars", default=None)
    original_payer_claim_id: str | None = column(
        "payer's number of the claim that this one replaces or voids (REF F8): `RawRemittance.payer_claim_id`", "id", default=None
    )
    authorizations: tuple[str, ...] = column("prior authorization and referral numbers (REF G1, 9F)", "id", default=())
    attachments: tuple[Attachment, ...] = column("reports that support the claim", default=())
    file_information: tuple[str, ...] = column("what a payer or state asks for in a fixed form of its own (K3)", "text", default=())
    payer: str | None = column("name of the payer", "label", default=None)
    payer_type: str | None = column("claim filing indicator (SBR09), for instance MB, CI", "code", default=None)
    group_number: str | None = column("number of the insured's group or policy (SBR03)", "id", default=None)
    medical_record_number: str | None = column("provider's number of the patient's record (REF EA)", "id", default=None)
    provider_npi: str | None = column("NPI of the billing provider", "id", default=None)
    provider_name: str | None = column("billing provider", "name", default=None)
    subscriber_id: str | None = column("member id of the subscriber", "id", default=None)
    patient_names: tuple[str, ...] = column("patient and subscriber as named on the claim", "name", default=())
    birth_date: datetime.date | None = column("date of birth of the patient", "birth_date", default=None)
    sex: str | None = column("sex of the patient: female, male, other or unknown", "code", default=None)
    address: str | None = column("street of the patient", "geography", default=None)
    city: str | None = column("city of the patient", "geography", default=None)
    state: str | None = column("state of the patient", "code", default=None)
    postal_code: str | None = column("ZIP code of the patient", "postal_code", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RawRemittance(Sourced):
    """The payer's answer to a claim (X12 835 CLP loop, FHIR ExplanationOfBenefit adjudication)."""

    claim_id: str = column("the claim's number as the submitter gave it (CLP01)", "id")
    payer_claim_id: str | None = column("the payer's own number (CLP07)", "id", default=None)
    status: str | None = column("claim status code (CLP02)", "code", default=None)
    charge: float | None = column("submitted charge, US dollars", default=None)
    paid: float | None = column("amount paid, US dollars", default=None)
    patient_responsibility: float | None = column("amount owed by the patient, US dollars", default=None)
    adjustments: tuple[Adjustment, ...] = column("of the claim as a whole; a line has its own", default=())
    lines: tuple[RemittanceLine, ...] = column("answers to the service lines", default=())
    service_from: datetime.date | None = column("first date of service", "date", default=None)
    patient_names: tuple[str, ...] = column("patient as named on the remittance", "name", default=())
    subscriber_id: str | None = column("member id of the patient or subscriber", "id", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Original(Sourced):
    """A piece of an input file as it lay there: a source record, or what lies between two. Only where `ingest.keep_originals` is on;
    no Clean run ever holds it. Its key is (`source_digest`, `member`, `piece`); `source_row` is the first row that it became or could have."""

    member: int | None = column("number of the member, where the input file is an archive", default=None)
    piece: int = column("number of the piece in its file or member, from 0; all of them in this order are the file")
    rows: tuple[int, ...] = column("first row of each source record in it, dead and skipped ones too; none between records", default=())
    content: bytes = column("the piece, uncompressed, in UTF-8, else byte for byte", "text")


RawRecord = RawPatient | RawEncounter | RawCondition | RawProcedure | RawDocument | RawClaim | RawRemittance


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate(Sourced):
    """A record that was left out because an earlier file holds the same (`ingest.duplicates: first`)."""

    table: str = column("table that it would be in")
    first_digest: str = column("SHA-256 of the file that holds the one which is kept")
    first_row: int = column("its number in that file: `source_row` there")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter(Sourced):
    """A record that could not be processed. Holds no text of it."""

    stage: str = column("verb that gave it up")
    reason: str = column("error class, a slug from a closed set")
    field: str | None = column("column, element or segment at fault", default=None)
    rule: str | None = column("what was expected", default=None)
