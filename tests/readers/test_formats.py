"""A row per format: what a file of it is recognised as, plain or compressed, whatever its name, and what it becomes."""

from __future__ import annotations

from typing import Any

import pytest
import reader_samples as samples
from nosology import readers

ROWS: dict[str, tuple[str, bytes, dict[str, int]]] = {
    "837P": ("x12", samples.x12(), {"RawClaim": 1, "RawDocument": 1}),
    "837I": ("x12", samples.x12(samples.HEAD + samples.INSTITUTIONAL, "005010X223A2"), {"RawClaim": 1}),
    "837D": (
        "x12",
        samples.x12(samples.HEAD + samples.CLAIM.replace("SV1*HC:", "SV3*AD:"), "005010X224A2"),
        {"RawClaim": 1, "RawDocument": 1},
    ),
    "837P 4010, other separators": (
        "x12",
        samples.isa("|", ">", "\n", "00401").encode()
        + samples.x12(version="004010X098A1")[106:].replace(b"\n", b"").translate(bytes.maketrans(b"*:~", b"|>\n")),
        {"RawClaim": 1, "RawDocument": 1},
    ),
    "835": ("x12", samples.x12(samples.REMITTANCE, "005010X221A1", kind="835"), {"RawRemittance": 1}),
    "another transaction": ("x12", samples.x12("AK1*HC*1~", kind="999"), {"Skipped": 1}),
    "FHIR lines": (
        "fhir",
        samples.lines(
            samples.PATIENT, samples.ENCOUNTER, samples.CONDITION, samples.document(), samples.FHIR_CLAIM, {"resourceType": "Device"}
        ),
        {"RawPatient": 1, "RawEncounter": 1, "RawCondition": 1, "RawDocument": 1, "RawClaim": 1, "Skipped": 1},
    ),
    "RIF carrier": ("rif", samples.carrier("-1|1|30-May-2015", "-1|2|30-May-2015", "-2|1|30-May-2015"), {"RawClaim": 2}),
    "RIF beneficiary": ("rif", samples.BENEFICIARY, {"RawPatient": 1}),
    "RIF PDE": ("rif", samples.PDE, {"RawClaim": 1}),
    "DE-SynPUF inpatient": (
        "synpuf",
        samples.synpuf(samples.SYNPUF_INPATIENT_HEADER, samples.SYNPUF_STAY, {**samples.SYNPUF_STAY, "SEGMENT": "2"}),
        {"RawClaim": 1},
    ),
    "DE-SynPUF carrier": ("synpuf", samples.synpuf(samples.SYNPUF_CARRIER_HEADER, samples.SYNPUF_VISIT), {"RawClaim": 1}),
    "DE-SynPUF beneficiaries": ("synpuf", samples.SYNPUF_BENEFICIARY, {"RawPatient": 1}),
    "DE-SynPUF drug events": ("synpuf", samples.SYNPUF_DRUG, {"RawClaim": 1}),
    "Synthea": ("synthea", samples.PATIENTS_CSV, {"RawPatient": 1}),
    "HL7 v2": ("hl7v2", samples.ORU, {"RawPatient": 1, "RawEncounter": 1, "RawCondition": 2, "RawDocument": 1}),
    "JSONL": ("jsonl", samples.JSONL, {"RawDocument": 1}),
    "CSV": ("csv", samples.CSV, {"RawDocument": 1}),
    "Parquet": ("parquet", samples.parquet([{"id": "7", "text": "a note"}]), {"RawDocument": 1}),
    "RTF": ("rtf", rb"{\rtf1\ansi Seen today; na\'efve.\par Better on the next day, and again on the day after that.}", {"RawDocument": 1}),
    "HTML": (
        "html",
        b"<!DOCTYPE html>\n<html><body><p>Seen today.</p><p>Better on the next day, and again.</p></body></html>",
        {"RawDocument": 1},
    ),
    "C-CDA": ("ccda", samples.CDA_DOCUMENT.encode(), {"RawDocument": 1}),
    "text": ("text", "Seen today; naïve.\n".encode(), {"RawDocument": 1}),
}


@pytest.mark.parametrize("case", ROWS)
@pytest.mark.parametrize("name", ["file", "claims.parquet", "x.json.gz"])
def test_format_by_content(case: str, name: str, read: Any, probe: Any, compress: Any) -> None:
    expected, data, kinds = ROWS[case]
    found = read(compress(data), name)
    assert (probe(compress(data), name), found.format) == (expected, expected)
    assert {kind: len(found.of(kind)) for kind in {type(item).__name__ for item in found.items}} == kinds
    assert found.counts.dead == 0
    assert all(item.source_format == expected for item in found.items if not isinstance(item, readers.Skipped))


def test_every_reader_has_a_row() -> None:
    assert {expected for expected, _, _ in ROWS.values()} == set(readers.READERS)


@pytest.mark.parametrize(
    ("data", "name", "expected"),
    [
        (b"a,b\n1,2\n", "t.txt", "text"),
        (b"a,b\n1,2\n", "t", "csv"),
        (b"id\n1\n", "t.csv", "csv"),
        (b"id\n1\n", "t", "text"),
        (b"Dear Dr. Who,\n\nthank you, and bye.\n", "t", "text"),
        (b"MSH is a hospital.\n", "t", "text"),
        (b"ISAIAH came in, well.\n", "t", "text"),
        (b"\xef\xbb\xbf" + samples.ORU, "t", "hl7v2"),
        (b"\x0b" + samples.ORU + b"\x1c\r", "t", "hl7v2"),
    ],
)
def test_name_decides_only_between_table_and_text(data: bytes, name: str, expected: str) -> None:
    assert readers.recognise(data, name).name == expected
