"""The list of FHIR's elements against what its reader takes, as `test_fields` has it for the other formats."""

from __future__ import annotations

import base64
import json
import re
import sys
from pathlib import Path

import pytest
from nosology.deid.fields import Field, listed

sys.path.append(str(Path(__file__).parent))
from canaries import NUMBERS, Canaries, check, cleaner, read  # noqa: E402


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    return cleaner(tmp_path_factory.mktemp("k"))


REPEATED = re.compile(
    r"\w+\.(identifier|name|telecom|address|contact|contact\.telecom|contact\.name\.(given|prefix|suffix)|participant|location|performer|author|content|presentedForm|section|insurance|diagnosis|procedure|"
    r"supportingInfo|information|item|reasonCode|reason|context\.encounter|context\.related|insurance\.preAuthRef|diagnosis\.type|"
    r"item\.(modifier|adjudication|encounter|diagnosisSequence|diagnosisLinkId)|name\.(given|prefix|suffix)|address\.line)|"
    r".*\.(coding|section|reason\.value)|ExplanationOfBenefit\.total"
)
GROUPS, REASONS = "https://x12.org/codes/claim-adjustment-group-codes", "https://x12.org/codes/claim-adjustment-reason-codes"
FHIR_FIXED = {
    "Patient.gender": "female", "Patient.telecom.system": "phone", "Patient.contact.telecom.system": "phone", "Procedure.notDone": False, "Claim.use": "claim",
    "ExplanationOfBenefit.use": "claim", "ExplanationOfBenefit.item.adjudication.category.coding.system": GROUPS,
    "ExplanationOfBenefit.item.adjudication.reason.coding.system": REASONS,
    **{f"{kind}.provider.identifier.system": "http://hl7.org/fhir/sid/us-npi" for kind in ("Claim", "ExplanationOfBenefit")},
}  # fmt: skip
TOTAL, ADJUDICATED = "ExplanationOfBenefit.total.category.coding.code", "ExplanationOfBenefit.item.adjudication.category.coding.code"


def leaf(one: Field, canaries: Canaries, fixed: dict[str, object]) -> object:
    path, name = one.path, one.path.rpartition(".")[2]
    if path in fixed:
        return fixed[path]
    if name == "contentType":
        return "text/plain"
    if re.search(r"\.(sequence|diagnosisSequence|diagnosisLinkId)$", path):
        return 1
    if name in ("div", "section"):
        page = f"<div>Seen today. MRN: {canaries.number(path)}</div>"
        return [{"text": {"div": page}}] if name == "section" else page
    if any(column.endswith("documents.text") for column in one.columns):
        text = f"Seen today. MRN: {canaries.number(path)}"
        return base64.b64encode(text.encode()).decode() if name == "data" else text
    if one.columns and any(NUMBERS.search(column) or re.search(r"(patient_responsibility|amount)$", column) for column in one.columns):
        amount = float(canaries.amount(path))
        return {"value": amount} if path.endswith("adjudication.value") else amount
    if one.category == "DATE":
        return canaries.day(path).isoformat()
    if name == "reference":
        return f"{'Claim' if 'context.related' in path else 'Any'}/{canaries.word(path)}"
    return canaries.word(path)


def resource(kind: str, leave: str, given: dict[str, object]) -> tuple[bytes, Canaries]:
    """A resource with each listed element but those below which `leave` matches."""
    canaries, made = Canaries(), {"resourceType": kind}
    fields = [
        one for one in listed("fhir") if one.path.startswith(f"{kind}.") and not (leave and re.search(rf"{kind}(?:{leave})\b", one.path))
    ]
    inner = {one.path.rpartition(".")[0] for one in fields}
    for one in fields:
        if one.path in inner:  # listed as a whole and in parts
            continue
        held, at = made, kind
        *above, name = one.path.split(".")[1:]
        for part in above:
            at = f"{at}.{part}"
            held = held.setdefault(part, [{}])[0] if REPEATED.fullmatch(at) else held.setdefault(part, {})
        value = leaf(one, canaries, {**FHIR_FIXED, **given})
        held[name] = [value] if REPEATED.fullmatch(one.path) and not isinstance(value, list) else value
    if kind == "DocumentReference" and set(made.get("context", {})) == {"reference", "display", "identifier", "type"}:
        made["context"] = [made["context"]]  # as R5 has it
    return json.dumps(made).encode() + b"\n", canaries


_DOC = r"\.(author\.actor|performer)"
_LINE = r"item\.(service|servicedPeriod|diagnosisLinkId)"
_INFO = r"information|supportingInfo\.(valueString|timingPeriod)"
FHIR_FILES: dict[str, list[tuple[str, dict[str, object]]]] = {
    "Patient": [("", {}), (r"\.(?:contact\.)?name\.text", {"Patient.telecom.system": "email"})],
    "Encounter": [
        (r"\.(class\.coding|actualPeriod|reason|participant\.actor)", {}),
        (r"\.(class\.(?:code|display|system|version|userSelected|text)|period|reasonCode|reason\.value|participant\.individual|serviceProvider)", {}),
        (r"\.(class\.coding|actualPeriod|reasonCode|reason\.(?:coding|text)|participant\.actor)", {}),
    ],
    "Condition": [(r"\.context", {}), (r"\.(encounter|onsetDateTime)", {})],
    "Procedure": [
        (r"\.(context|performedPeriod|occurrencePeriod|occurrenceDateTime|reason)", {}),
        (r"\.(encounter|performedDateTime|performedPeriod|reasonCode|reason\.concept|occurrencePeriod)", {}),
        (r"\.(encounter|occurrenceDateTime|performedDateTime|performedPeriod|reasonCode|reason\.(?:coding|text))", {}),
        (r"\.(encounter|occurrenceDateTime|performedDateTime|occurrencePeriod|reasonCode|reason\.(?:coding|text))", {}),
    ],
    "DocumentReference": [
        (r"\.(context\.(?:reference|display|identifier|type|related\.ref)|period|author\.actor|performer)", {}),
        (r"\.(context\.(?:related\.reference|period|reference)|period|author\.display|created|type\.coding)", {}),
        (r"\.(context\.(?:encounter|period|related|event|facilityType|practiceSetting|sourcePatientInfo)|author|performer\.actor)", {}),
        (r"\.(context|period|author|performer\.display|created)", {}), (r"\.(context|period|author|created|date)", {}),
        (r"\.(context|period|author)", {}),
    ],
    "DiagnosticReport": [
        (r"\.(context|author\.actor|performer)", {}), (r"\.(encounter|effectiveDateTime|author\.display|code\.coding)", {}),
        (r"\.(encounter|effective\w+|author|performer\.actor)", {}), (r"\.(encounter|author|performer\.display)", {}),
    ],
    "Composition": [
        (r"\.(context|author\.actor|performer)", {}), (r"\.(encounter|section|author\.display|type\.coding)", {}),
        (r"\.(encounter|author|performer\.actor)", {}), (r"\.(encounter|author|performer\.display)", {}),
    ],
    "Claim": [
        (rf"\.({_LINE}|totalCost|{_INFO})", {}),
        (r"\.(item\.(?:productOrService|servicedDate|net)|total|insurer|supportingInfo|information\.(?:valueAttachment|timingDate))", {}),
        (r"\.(insurer|supportingInfo|information\.(?:valueString|timing\w+))", {}),
        (r"\.(supportingInfo\.(?:valueAttachment|timingDate)|information)", {}), (r"\.(supportingInfo|information\.timingPeriod)", {}),
    ],
    "ExplanationOfBenefit": [
        *((rf"\.(claim|{_LINE}|totalCost|totalBenefit|{_INFO}|item\.net{extra})", {TOTAL: total, ADJUDICATED: line})
          for total, line, extra in (("submitted", "submitted", ""), ("benefit", "benefit", "|payment"), ("patientresponsibility", "eligible", ""),
                                     ("submitted", "submitted", "|item\\.adjudication\\.amount"), ("benefit", "benefit", "|item\\.adjudication\\.amount"),
                                     ("benefit", "eligible", "|item\\.adjudication\\.amount"))),
        (rf"\.({_LINE}|totalCost|{_INFO})", {}),
        (r"\.(claim|item\.(?:productOrService|servicedDate)|total|payment|insurer|supportingInfo|information\.(?:valueAttachment|timingDate))", {}),
        (r"\.(claim|insurer|supportingInfo|information\.(?:valueString|timing\w+))", {}),
        (r"\.(claim|supportingInfo\.(?:valueAttachment|timingDate)|information)", {}), (r"\.(supportingInfo|information\.timing\w+)", {}),
        (r"\.(supportingInfo|information\.timingPeriod)", {}),
    ],
}  # fmt: skip
IDENTIFIED = ("Patient", "Encounter", "Condition", "Procedure", "Claim", "ExplanationOfBenefit")  # what needs nothing but its id


@pytest.mark.parametrize("kind", FHIR_FILES)
def test_fhir(kind, stage):
    files = []
    for leave, given in FHIR_FILES[kind]:
        data, canaries = resource(kind, leave, given)
        rows, reading = read(data)
        assert reading.format == "fhir" and not reading.unknown, reading.unknown
        files.append((rows, canaries))
    sequences = tuple(f"{kind}.{name}.sequence" for name in ("supportingInfo", "information"))
    check("fhir", files, stage, f"{kind}.", apart=("Condition.verificationStatus.coding.code", "Procedure.notDone", *sequences))


def test_bundle(stage):
    """The name of an entry is the id of a resource that has none; a note lies in a Binary beside it."""
    files = []
    note = {"resourceType": "DocumentReference", "content": [{"attachment": {"url": "Binary/b1"}}]}
    for data, made in (("data", note), ("content", note), *(("", {"resourceType": kind}) for kind in FHIR_FILES if kind in IDENTIFIED)):
        canaries = Canaries()
        entries = [{"fullUrl": f"urn:uuid:{canaries.word('Bundle.entry.fullUrl')}", "resource": made}]
        if data:
            text = f"Seen today. MRN: {canaries.number(f'Binary.{data}')}"
            held = {"contentType": "text/plain", data: base64.b64encode(text.encode()).decode()}
            entries.append({"resource": {"resourceType": "Binary", "id": "b1", **held}})
        rows, reading = read(json.dumps({"resourceType": "Bundle", "entry": entries}).encode())
        assert reading.format == "fhir" and not reading.unknown, reading.unknown
        files.append((rows, canaries))
    check("fhir", files, stage, "Bundle.")
    check("fhir", files, stage, "Binary.")
