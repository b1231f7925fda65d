"""The data model: frozen dataclasses, one table each, and their Arrow schemas.

`Raw*` records hold PHI; `Clean*` records do not. Every field says what it is (`doc`) and how de-identification treats it
(`phi`): `name`, `date`, `birth_date`, `id` (a code unique to a person or event), `postal_code`, `geography`, `contact`,
`text` (free text: searched), `label` (a short title or name of an organisation: kept when it is a known one, else searched),
`code` (kept when it is a code or a word of the field's vocabulary, else dropped), or None (kept as it is). A Raw field that its
Clean record lacks is dropped.

The key of a record is (`source_digest`, `source_row`): SHA-256 of the input file and the number of the record in it.
"""

from __future__ import annotations

import dataclasses
import datetime
import types
import typing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pyarrow as pa

Phi = Literal["name", "date", "birth_date", "id", "postal_code", "geography", "contact", "text", "label", "code"]


def column(doc: str, phi: Phi | None = None, **options: Any) -> Any:
    """A dataclass field with its documentation and its treatment under de-identification."""
    return dataclasses.field(metadata={"doc": doc, "phi": phi}, **options)


# ---------------------------------------------------------------------------------------------------- parts of records


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
    """A report that supports a claim and travels apart from it (X12 PWK)."""

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
class Sourced:
    """Where a record came from: its key."""

    source_digest: str = column("SHA-256 of the input file, hexadecimal")
    source_row: int = column("number of the record in that file, from 0")
    source_format: str = column("reader that produced it")


# -------------------------------------------------------------------------------------------------------- raw records


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


RawRecord = RawPatient | RawEncounter | RawCondition | RawDocument | RawClaim | RawRemittance


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter(Sourced):
    """A record that could not be processed. Holds no text of it."""

    stage: str = column("verb that gave it up")
    reason: str = column("error class, a slug from a closed set")
    field: str | None = column("column, element or segment at fault", default=None)
    rule: str | None = column("what was expected", default=None)


# ------------------------------------------------------------------------------------------------------ clean records
# Dates in Clean records are shifted or cut to the year by policy; ids are keyed pseudonyms.


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanPatient(Sourced):
    """A person without direct identifiers."""

    patient_id: str = column("pseudonym")
    birth_date: datetime.date | None = column("date of birth under the date policy; None over 89 years", default=None)
    sex: str | None = column("female, male, other or unknown", default=None)
    state: str | None = column("state", default=None)
    postal_code: str | None = column("first three digits of the ZIP code, 000 where the rule says", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanEncounter(Sourced):
    """A visit or stay without direct identifiers."""

    encounter_id: str = column("pseudonym")
    patient_id: str | None = column("pseudonym", default=None)
    setting: str | None = column("class of the encounter", default=None)
    start_date: datetime.date | None = column("first day under the date policy", default=None)
    end_date: datetime.date | None = column("last day under the date policy", default=None)
    reasons: tuple[Coding, ...] = column("reasons for the visit", default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanCondition(Sourced):
    """A diagnosis or problem without direct identifiers."""

    condition_id: str | None = column("pseudonym", default=None)
    patient_id: str | None = column("pseudonym", default=None)
    encounter_id: str | None = column("pseudonym", default=None)
    codings: tuple[Coding, ...] = column("its codes", default=())
    onset_date: datetime.date | None = column("onset under the date policy", default=None)
    status: str | None = column("clinical status", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanDocument(Sourced):
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
class CleanClaim(Sourced):
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
class CleanRemittance(Sourced):
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """An identifier found in a text. Offsets count Unicode characters, end exclusive."""

    start: int = column("first character")
    end: int = column("one past the last character")
    label: str = column("Safe Harbor class, for instance NAME, DATE, MRN")
    score: float = column("0 to 1", default=1.0)
    source: str = column("recognizer that found it", default="")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeidAudit(Sourced):
    """What was removed from one document. Holds no text of it."""

    document_id: str = column("pseudonym of the document")
    num_characters: int = column("length of the text before")
    spans: tuple[Span, ...] = column("what was replaced, offsets into the text before")
    policy: str = column("policy of the run, for instance safe_harbor")


# --------------------------------------------------------------------------------------------- training and prediction


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A training pair made from Clean records or from the code set."""

    example_id: str = column("id, stable across runs")
    patient_id: str | None = column("pseudonym; None where no patient stands behind it", default=None)
    task: str = column("task that reads it, for instance choose_code")
    split: str = column("train, validation or test")
    instruction: str = column("system instruction")
    prompt: str = column("question")
    answer: str = column("the right answer; the loss counts its tokens only")


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedBlock:
    """Several examples in one row of `context_tokens` tokens."""

    block_id: int = column("number of the block in its split, from 0")
    split: str = column("train, validation or test")
    input_ids: tuple[int, ...] = column("tokens, padded at the end")
    labels: tuple[int, ...] = column("input_ids where the loss counts, -100 elsewhere")
    position_ids: tuple[int, ...] = column("position within the example; restarts at 0 with each example")
    segment_ids: tuple[int, ...] = column("number of the example in the block from 1; 0 is padding")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The words a code stands on; offsets count Unicode characters of the note, end exclusive."""

    start: int = column("first character")
    end: int = column("one past the last character")
    text: str = column("note[start:end], verbatim", "text")


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedCode:
    """One code given to a note."""

    code: str = column("ICD-10-CM code with its dot, billable on the date of service")
    title: str = column("official title")
    confidence: float = column("calibrated probability that a coder would accept it, 0 to 1")
    route: str = column("auto, review or reject")
    assertion: str = column("present, historical … of the mention that it stands on")
    section: str = column("section of the note")
    trail: tuple[str, ...] = column("rules that led to it, in order", default=())
    evidence: tuple[Evidence, ...] = column("verbatim spans, at least one")


@dataclass(frozen=True, slots=True, kw_only=True)
class Discrepancy:
    """A difference between what was billed and what the note supports, or a fault of the billed code itself."""

    code: str = column("the code")
    kind: str = column("billed_not_supported, supported_not_billed, agrees, unknown_code, not_billable, not_in_force, other_system")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction(Sourced):
    """What the coder says of one note, or of one claim without a note."""

    document_id: str | None = column("the note; None for a claim without one", "id", default=None)
    claim_id: str | None = column("the claim", "id", default=None)
    encounter_id: str | None = column("the encounter", "id", default=None)
    date_of_service: datetime.date | None = column("date that chose the release", "date", default=None)
    release: str = column("code-set release, for instance 2026-04")
    codes: tuple[PredictedCode, ...] = column("codes in sequence, first-listed first", default=())
    discrepancies: tuple[Discrepancy, ...] = column("comparison with the billed codes", default=())
    route: str = column("auto when every code is, else review; reject when nothing could be coded")


TABLES: dict[str, type[Any]] = {
    "patients": RawPatient, "encounters": RawEncounter, "conditions": RawCondition, "documents": RawDocument,
    "claims": RawClaim, "remittances": RawRemittance,
}  # fmt: skip
ORIGINALS = "originals"  # table of `Original`
CLEAN_TABLES: dict[str, type[Any]] = {
    "patients": CleanPatient, "encounters": CleanEncounter, "conditions": CleanCondition, "documents": CleanDocument,
    "claims": CleanClaim, "remittances": CleanRemittance,
}  # fmt: skip


def ingest_tables(keep_originals: bool) -> dict[str, type[Any]]:
    """The tables that an ingest writes; originals only where its configuration asks for them, and never a Clean form of them."""
    return {**TABLES, ORIGINALS: Original} if keep_originals else TABLES


# ------------------------------------------------------------------------------------------------------------- Arrow


def _arrow_type(hint: Any) -> pa.DataType:
    import pyarrow as pa

    scalars = {str: pa.string(), bytes: pa.binary(), int: pa.int64(), float: pa.float64(), bool: pa.bool_(), datetime.date: pa.date32()}
    if hint in scalars:
        return scalars[hint]
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple and len(args) == 2 and args[1] is Ellipsis:
        return pa.list_(_arrow_type(args[0]))
    if origin in (typing.Union, types.UnionType):
        (inner,) = (a for a in args if a is not type(None))
        return _arrow_type(inner)
    if dataclasses.is_dataclass(hint):
        return pa.struct(list(arrow_schema(typing.cast("type[Any]", hint))))
    raise TypeError(f"no Arrow type for {hint!r}")


def arrow_schema(record: type[Any]) -> pa.Schema:
    """The Arrow schema of a record class: one column a field, its `doc` and `phi` as metadata of the column."""
    import pyarrow as pa

    hints = typing.get_type_hints(record)
    columns = []
    for item in dataclasses.fields(record):
        hint = hints[item.name]
        nullable = type(None) in typing.get_args(hint)
        metadata = {"doc": item.metadata["doc"], **({"phi": item.metadata["phi"]} if item.metadata["phi"] else {})}
        columns.append(pa.field(item.name, _arrow_type(hint), nullable=nullable, metadata=metadata))
    return pa.schema(columns)


def to_dict(record: Any) -> dict[str, Any]:
    """The record as nested dicts and lists, in the order of its fields."""
    return {item.name: _plain(getattr(record, item.name)) for item in dataclasses.fields(record)}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return to_dict(value) if dataclasses.is_dataclass(value) else value


def to_table(record: type[Any], rows: typing.Sequence[Any]) -> pa.Table:
    """Records of one class as an Arrow table of that class's schema."""
    import pyarrow as pa

    return pa.Table.from_pylist([to_dict(row) for row in rows], schema=arrow_schema(record))


def from_dict(record: type[Any], row: typing.Mapping[str, Any]) -> Any:
    """The record of a row of its table; keys that the class lacks are ignored."""
    hints = typing.get_type_hints(record)
    names = {item.name for item in dataclasses.fields(record)}
    return record(**{k: _typed(hints[k], v) for k, v in row.items() if k in names})


def _typed(hint: Any, value: Any) -> Any:
    if value is None:
        return value
    args = typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        return tuple(_typed(args[0], v) for v in value)
    if type(None) in args:
        return _typed(next(a for a in args if a is not type(None)), value)
    return from_dict(typing.cast("type[Any]", hint), value) if dataclasses.is_dataclass(hint) else value
