"""Surrogates over a whole archive: nothing that a Patient resource says of a person is left in any table of the output."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fixed_key import fixed
from nosology.distributed.stages import output_parts
from nosology.records import CLEAN_TABLES

ARCHIVE = Path(__file__).parents[3] / "shared" / "data" / "claims" / "fhir" / "synthea_bulk_10"


def told(patient):
    """Values of a Patient resource that identify: names, addresses below the state, telephones, full dates, identifiers."""
    for name in patient.get("name", ()):
        yield from (name.get("family", ""), *name.get("given", ()))
    for address in patient.get("address", ()):
        yield from (*address.get("line", ()), address.get("city", ""), address.get("postalCode", ""))
    for contact in patient.get("telecom", ()):
        yield contact["value"]
    for identifier in patient.get("identifier", ()):
        yield identifier["value"]
    yield patient["id"]
    yield patient.get("birthDate", "")
    yield patient.get("deceasedDateTime", "")[:10]
    for extension in patient.get("extension", ()):
        yield extension.get("valueString", "")
        yield extension.get("valueAddress", {}).get("city", "")


@pytest.mark.skipif(not ARCHIVE.is_dir(), reason="sample archive is not on this machine")
def test_no_value_of_a_patient_is_left(tmp_path):
    """45 CFR 164.514(b)(2)(i). `Mission` and such are towns of the archive too: they are looked for as whole words, as they are written."""
    for arguments in (
        ["ingest", "--in", str(ARCHIVE), "--out", str(tmp_path / "raw")],
        ["deidentify", "--in", str(tmp_path / "raw"), "--out", str(tmp_path / "clean"), "deid.rewrite=surrogates"],
    ):
        key = f"deid.key_file={fixed(tmp_path / 'key')}"
        command = [sys.executable, "-m", "nosology.cli", *arguments, *([key] if arguments[0] == "deidentify" else []), "--json"]
        ran = subprocess.run(command, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr[-2000:]
    report = json.loads(ran.stdout.splitlines()[-1])
    assert report["records_in"] == report["records_ok"] == 5054 and report["notes_deidentified"] == 1215
    patients = [json.loads(line) for line in (ARCHIVE / "Patient.000.ndjson").read_text().splitlines()]
    values = {value for patient in patients for value in told(patient) if len(value) > 2}
    assert len(values) > 150
    pattern = re.compile(r"(?<!\w)(?:" + "|".join(re.escape(value) for value in sorted(values, key=len, reverse=True)) + r")(?!\w)")
    rows = 0
    for table in CLEAN_TABLES:
        for part in output_parts(str(tmp_path / "clean"), table)[1]:
            for row in part.to_pylist():
                rows += 1
                assert not pattern.search(json.dumps(row, default=str, ensure_ascii=False)), table
    assert rows == 5054
