"""A canary in every input: made-up names and numbers that may stand in tables of raw records, and nowhere else.

Every verb that reads records runs inside one Ray session, over good and broken records; then all that was printed, logged, measured
and named is searched, Ray's own folder included.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from nosology import verbs
from nosology.config import Config, load
from nosology.distributed.session import session
from nosology.errors import NosologyError

CANARIES = ("Quackenbush", "Zebulon", "Thistlewaite", "908-66-1234", "MRN-7731904", "zq.canary@example.org")
NAME, GIVEN, STREET, SSN, MRN, MAIL = CANARIES
NOTE = (
    f"Patient: {GIVEN} {NAME}\nMRN: {MRN}\nSSN {SSN}, lives at 14 {STREET} Road, mail {MAIL}.\n"
    f"HISTORY OF PRESENT ILLNESS\nMr. {NAME} has a cough.\nASSESSMENT AND PLAN\nType 2 diabetes mellitus. Continue metformin.\n"
)
X12 = (
    "ISA*00*          *00*          *ZZ*SENDER         *ZZ*RECEIVER       *260504*1200*^*00501*000000001*0*T*:~"
    "GS*HC*S*R*20260504*1200*1*X*005010X222A2~ST*837*0001*005010X222A2~BHT*0019*00*1*20260504*1200*CH~"
    "HL*1**20*1~NM1*85*2*CLINIC*****XX*1234567893~HL*2*1*22*0~SBR*P*18*******MB~"
    "NM1*IL*1*{name}*{given}****MI*{mrn}~N3*14 {street} ROAD~N4*TOWN*NY*10001~DMG*D8*{birth}*M~"
    "CLM*{mrn}*100***11:B:1*Y*A*Y*Y~DTP*431*D8*20260504~NTE*ADD*{name} HAS A COUGH~HI*ABK:E119~"
    "LX*1~SV1*HC:99213*100*UN*1***1~DTP*472*D8*{service}~SE*16*0001~GE*1*1~IEA*1*000000001~"
)


def x12(birth: str, service: str) -> str:
    return X12.format(name=NAME, given=GIVEN, street=STREET, mrn=MRN, birth=birth, service=service)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    folder = tmp_path / "archive"
    folder.mkdir()
    (folder / "claim.837").write_text(x12("19700101", "20260504"))
    (folder / "impossible.837").write_text(x12("19709999", "20269999"))
    (folder / "cut.837").write_text(x12("19700101", "20260504")[:700])
    note = base64.b64encode(NOTE.encode()).decode()
    patient = {
        "resourceType": "Patient", "id": MRN, "name": [{"family": NAME, "given": [GIVEN]}], "birthDate": "1970-01-01",
        "address": [{"line": [f"14 {STREET} Road"]}], "telecom": [{"system": "email", "value": MAIL}],
    }  # fmt: skip
    document = {
        "resourceType": "DocumentReference", "id": "d1", "subject": {"reference": f"Patient/{MRN}"},
        "content": [{"attachment": {"contentType": "text/plain", "data": note}}],
    }  # fmt: skip
    broken = {**document, "content": [{"attachment": {"contentType": "text/plain", "data": f"{NAME}!!"}}]}
    lines = [json.dumps(patient), json.dumps(document), json.dumps(broken), '{"resourceType": "Patient", "name": "' + NAME]
    (folder / "bulk.ndjson").write_text("\n".join(lines))
    (folder / "adt.hl7").write_text(
        f"MSH|^~\\&|A|B|C|D|202605041200||MDM^T02|1|P|2.5\rPID|1||{MRN}||{NAME}^{GIVEN}||19700101|M|||14 {STREET} RD||||||||{SSN}\r"
        f"PV1|1|I\rTXA|1|CN\rOBX|1|TX|N||{NOTE.splitlines()[0]} has a cough\rPID|1||{MRN}||{NAME}||19701399|M\r"
    )
    (folder / "patients.csv").write_text(
        "Id,BIRTHDATE,DEATHDATE,SSN,DRIVERS,PASSPORT,PREFIX,FIRST,LAST,SUFFIX,MAIDEN,MARITAL,RACE,ETHNICITY,GENDER,BIRTHPLACE,ADDRESS,CITY,STATE,COUNTY,ZIP\n"
        f"p1,1970-01-01,,{SSN},,,Mr.,{GIVEN},{NAME},,,,,,M,,14 {STREET} Road,Town,New York,,10001\n"
        f"p2,1970-99-01,,{SSN},,,Mr.,{GIVEN},{NAME},,,,,,M,,14 {STREET} Road,Town,New York,,10001\n"
    )
    return folder


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    file = tmp_path / "notes.jsonl"
    good = {"id": "n1", "text": NOTE, "sex": "male", "age": 56, "date_of_service": "2026-05-04"}
    lines = [
        json.dumps(good).encode(),
        json.dumps({**good, "id": "n2", "text": ""}).encode(),
        json.dumps({**good, "id": "n3", "date_of_service": f"{NAME}"}).encode(),
        json.dumps({**good, "id": "n4", "text": [NAME]}).encode(),
        b'{"id": "n5", "text": "' + NAME.encode(),
        b'{"id": "n6", "text": "' + NAME.encode() + b' \xff\xfe"}',
    ]
    file.write_bytes(b"\n".join(lines) + b"\n")
    return file


def leaks(folder: Path, tables: re.Pattern[str]) -> Iterator[str]:
    """Files below a folder that hold a canary in their content or name; raw tables are left out."""
    for file in sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink()):
        name = str(file.relative_to(folder))
        if any(canary.lower() in name.lower() for canary in CANARIES):
            yield f"{name} (its name)"
        if tables.search(name):
            continue
        content = file.read_bytes() if file.suffix != ".parquet" else json.dumps(pq.read_table(file).to_pylist(), default=str).encode()
        content = content.lower()
        yield from (name for canary in CANARIES if canary.lower().encode() in content)


def test_no_word_of_a_record_leaves_the_tables(tmp_path: Path, archive: Path, notes: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    config: Config = load([], ["coding.input=raw", f"deid.key_file={tmp_path / 'keys' / 'deid.key'}"])
    with session(config.cluster) as running:
        ingested = verbs.ingest(config, [str(archive)], str(out / "ingest"))
        assert ingested["records_dead"] >= 4 and ingested["notes"] >= 3
        cleaned = verbs.deidentify(config, str(out / "ingest"), str(out / "clean"), None)
        assert cleaned["phi_spans"] > 0
        spans = verbs.deidentify(config, str(notes), str(out / "spans"), out / "spans.jsonl")
        assert spans["records_dead"] >= 3
        coded = verbs.code(config, [str(notes)], str(out / "code"), None)
        assert coded["records_dead"] >= 4 and coded["codes_assigned"] > 0
        verbs.code(config, [str(out / "ingest")], str(out / "claims"), None)
        plain = tmp_path / "plain.txt"
        plain.write_text(NOTE)
        headless = tmp_path / "headless.csv"
        headless.write_text(f"{GIVEN} {NAME},{SSN},cough\n{GIVEN} {NAME},{SSN},cough\n")
        parts = str(out / "ingest" / "documents")
        for place, name in ((str(out / "ingest"), "run"), (parts, "parts"), (str(plain), "plain"), (str(headless), "headless")):
            with pytest.raises(NosologyError) as refused:
                verbs.code(load([]), [place], str(out / f"refused-{name}"), None)
            assert not any(canary in str(refused.value) for canary in CANARIES), name
        ray_folder = Path(running.folder)
        files = [p for p in ray_folder.rglob("*.log")]
        assert files, "Ray's logs are where the test looks"
        assert not list(leaks(ray_folder, re.compile(r"^$")))
    printed = capfd.readouterr()
    assert not any(canary.lower() in (printed.out + printed.err).lower() for canary in CANARIES)
    # raw tables, and predictions with their evidence, are the records; everything else in the run folders is searched
    assert not list(
        leaks(out, re.compile(r"^(ingest/(patients|documents|claims|encounters|conditions)|code/predictions|claims/predictions)/"))
    )


def test_the_search_finds_a_canary(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text(f"error near {NAME.upper()}")
    (tmp_path / f"{GIVEN}.txt").write_text("")
    pq.write_table(pa.table({"note": [NAME] * 100}), tmp_path / "part.parquet", compression="zstd")
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "part.parquet").write_text(NAME)
    found = list(leaks(tmp_path, re.compile(r"^raw/")))
    assert len(found) == 3, os.listdir(tmp_path)
