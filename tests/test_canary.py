"""A canary in every input: made-up names and numbers that may stand in tables of raw records, and nowhere else.

Every verb that reads records runs inside one Ray session, over good and broken records; then all that was printed, logged, measured
and named is searched, Ray's own folder and metrics included.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from nosology import verbs
from nosology.config import Config, load
from nosology.distributed.session import session
from nosology.distributed.stages import read_output
from nosology.errors import NosologyError

CANARIES = ("Quackenbush", "Zebulon", "Thistlewaite", "908-66-1234", "MRN-7731904", "zq.canary@example.org")
NAME, GIVEN, STREET, SSN, MRN, MAIL = CANARIES
NOTE = (
    f"Patient: {GIVEN} {NAME}\nMRN: {MRN}\nSSN {SSN}, lives at 14 {STREET} Road, mail {MAIL}.\n"
    f"HISTORY OF PRESENT ILLNESS\nMr. {NAME} has a cough.\nASSESSMENT AND PLAN\nType 2 diabetes mellitus. Continue metformin.\n"
    f"Mr. {NAME} has type 2 diabetes mellitus without complications.\n"
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
        "address": [{"line": [f"14 {STREET} Road"], "state": STREET}], "telecom": [{"system": "email", "value": MAIL}],
    }  # fmt: skip
    whose = {"subject": {"reference": f"Patient/{MRN}"}}
    coding = {"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "E11.9", "display": f"{NAME}'s sugar"}
    encounter = {
        "resourceType": "Encounter", "id": f"E-{MRN}", "class": {"code": NAME}, **whose, "period": {"start": "2026-05-04"},
        "participant": [{"individual": {"display": f"Dr. {NAME}"}}], "serviceProvider": {"display": f"{STREET} CLINIC"},
        "reasonCode": [{"coding": [coding]}],
    }  # fmt: skip
    condition = {
        "resourceType": "Condition", "id": f"C-{MRN}", **whose, "encounter": {"reference": f"Encounter/E-{MRN}"},
        "code": {"coding": [coding, {"system": f"http://{NAME}.example", "code": NAME}], "text": f"diabetes of {NAME}"},
        "clinicalStatus": {"coding": [{"code": f"active, says {NAME}"}]},
    }  # fmt: skip
    claim = {
        "resourceType": "Claim", "id": f"K-{MRN}", "status": NAME, "patient": {"reference": f"Patient/{MRN}"},
        "provider": {"display": f"Dr. {NAME}"}, "diagnosis": [{"sequence": 1, "diagnosisCodeableConcept": {"coding": [coding]}}],
        "item": [{"sequence": 1, "encounter": [{"reference": f"Encounter/E-{MRN}"}]}], "insurance": [{"coverage": {"display": f"Plan of {NAME}"}}],
    }  # fmt: skip
    document = {
        "resourceType": "DocumentReference", "id": f"D-{MRN}", **whose, "author": [{"display": f"{GIVEN} {NAME}"}],
        "type": {"text": f"Letter about {GIVEN} {NAME}"},
        "context": {"encounter": [{"reference": f"Encounter/E-{MRN}"}]},
        "content": [{"attachment": {"contentType": "text/plain", "data": note}}],
    }  # fmt: skip
    broken = {**document, "content": [{"attachment": {"contentType": "text/plain", "data": f"{NAME}!!"}}]}
    resources = [json.dumps(one) for one in (patient, encounter, condition, claim, document, broken)]
    bulk = "\n".join([*resources, '{"resourceType": "Patient", "name": "' + NAME]).encode()
    (folder / "bulk.ndjson.gz").write_bytes(gzip.compress(bulk))
    (folder / "bulk-cut.ndjson.gz").write_bytes(gzip.compress(bulk, 0)[:-30])
    (folder / "bulk.ndjson.zst").write_bytes(zstandard.compress(json.dumps(document).encode()))
    frame = zstandard.compress(x12("19700101", "20260504").encode())
    (folder / "claim-cut.837.zst").write_bytes(frame + frame[:-20])
    (folder / "beneficiary.csv").write_text(
        f"DML_IND|BENE_ID|STATE_CODE|BENE_ZIP_CD|BENE_BIRTH_DT|BENE_SEX_IDENT_CD|BENE_SRNM_NAME|BENE_GVN_NAME|MBI_NUM|DRVD_LINE_1_ADR\n"
        f"INSERT|{MRN}|33|10001|17-Jan-1942|1|{NAME}|{GIVEN}|{SSN}|14 {STREET} RD\n"
        f"INSERT|{MRN}|33|10001|{NAME}|1|{NAME}|{GIVEN}|{SSN}|14 {STREET} RD\n"
        f"INSERT|{MRN}|{NAME}\n"
    )
    (folder / "carrier.csv").write_text(
        "DML_IND|BENE_ID|CLM_ID|FINAL_ACTION|CLM_FROM_DT|CLM_THRU_DT|PRNCPAL_DGNS_CD|PRNCPAL_DGNS_VRSN_CD|LINE_NUM|HCPCS_CD|LINE_SBMTD_CHRG_AMT\n"
        f"INSERT|{MRN}|1-{MRN}|F|04-May-2026|04-May-2026|E119|0|1|99213|100\n"
        f"INSERT|{MRN}|2-{MRN}|F|{SSN}|04-May-2026|E119|0|1|99213|100\n"
        f"INSERT|{MRN}|3-{MRN}|F|04-May-2026|04-May-2026|E119|0|1|99213|{NAME}\n"
        f"INSERT|{MRN}|1-{MRN}|F|04-May-2026|04-May-2026|E119|0|2|99213|100\n"
    )
    (folder / "adt.hl7").write_text(
        f"MSH|^~\\&|A|B|C|D|202605041200||MDM^T02|1|P|2.5\rPID|1||{MRN}||{NAME}^{GIVEN}||19700101|M|||14 {STREET} RD||||||||{SSN}\r"
        f"PV1|1|{NAME}|||||||||||||||||V-{MRN}\rDG1|1||E119^of {NAME}^I10C\rTXA|1|{NAME}\rOBX|1|TX|N||{NOTE.splitlines()[0]} has a cough\rPID|1||{MRN}||{NAME}||19701399|M\r"
    )
    (folder / "patients.csv").write_text(
        "Id,BIRTHDATE,DEATHDATE,SSN,DRIVERS,PASSPORT,PREFIX,FIRST,LAST,SUFFIX,MAIDEN,MARITAL,RACE,ETHNICITY,GENDER,BIRTHPLACE,ADDRESS,CITY,STATE,COUNTY,ZIP\n"
        f"p1,1970-01-01,,{SSN},,,Mr.,{GIVEN},{NAME},,,,,,M,,14 {STREET} Road,Town,New York,,10001\n"
        f"p2,1970-99-01,,{SSN},,,Mr.,{GIVEN},{NAME},,,,,,M,,14 {STREET} Road,Town,New York,,10001\n"
    )
    return folder


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A user's own tables, with columns of their own: JSONL (plain, gzip, zstd), CSV and Parquet."""
    folder = tmp_path / "own"
    folder.mkdir()
    good = {"nid": "n1", "note": NOTE, "patient_id": MRN, "sex": "male", "age": 56, "date_of_service": "2026-05-04"}
    lines = [
        json.dumps(good).encode(),
        json.dumps({**good, "nid": "n2", "note": ""}).encode(),
        json.dumps({**good, "nid": "n3", "date_of_service": f"{NAME}"}).encode(),
        json.dumps({**good, "nid": "n4", "note": [NAME]}).encode(),
        b'{"nid": "n5", "note": "' + NAME.encode(),
        b'{"nid": "n6", "note": "' + NAME.encode() + b' \xff\xfe"}',
    ]
    (folder / "notes.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    (folder / "notes.jsonl.gz").write_bytes(gzip.compress(json.dumps({**good, "nid": "z1"}).encode(), 0)[:-12])
    (folder / "notes.jsonl.zst").write_bytes(zstandard.compress(json.dumps({**good, "nid": "z2"}).encode()))
    quoted = NOTE.replace('"', "")
    (folder / "notes.csv").write_text(
        f'nid;note;patient_id;age;holder\nc1;"{quoted}";{MRN};56;{NAME}\nc2;"{quoted}";{MRN};{NAME};{NAME}\n{NAME};{SSN}\nc3;"{NAME}\n'
    )
    rows = [{**good, "nid": "p1", "holder": NAME}, {**good, "nid": "p2", "holder": NAME, "date_of_service": SSN}]
    pq.write_table(pa.Table.from_pylist([*rows, {**rows[0], "nid": None}]), folder / "notes.parquet")
    return folder


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


def refuses(work: Any) -> str:
    """The text of the refusal, which is the user's to read."""
    with pytest.raises(NosologyError) as refused:
        work()
    assert not any(canary.lower() in repr(refused.value).lower() for canary in CANARIES)
    return str(refused.value)


def measured_by_ray() -> str:
    """What Ray's metrics ports answer to anyone on this machine."""
    import ray

    ports = [node["MetricsExportPort"] for node in ray.nodes()]
    texts = [httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=30).text for port in ports]
    assert texts and all("ray_" in text for text in texts)
    return "".join(texts)


def test_no_word_of_a_record_leaves_the_tables(tmp_path: Path, archive: Path, own: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    columns = ["input.text_column=note", "input.id_column=nid"]
    config: Config = load([], ["coding.input=raw", f"deid.key_file={tmp_path / 'keys' / 'deid.key'}", *columns])
    with session(config.cluster) as running:
        ingested = verbs.ingest(config, [str(archive), str(own)], str(out / "ingest"))
        formats = {"x12", "fhir", "hl7v2", "synthea", "rif", "jsonl", "csv", "parquet"}
        assert ingested["records_dead"] >= 16 and ingested["notes"] >= 8 and set(ingested["by_format"]) == formats
        cleaned = verbs.deidentify(config, str(out / "ingest"), str(out / "clean"), None, {"proof": True, "sample": 20})
        assert cleaned["phi_spans"] > 0 and all(cleaned["rows"][name] for name in ("patients", "encounters", "conditions", "claims"))
        spans = verbs.deidentify(config, str(own), str(out / "spans"), str(out / "spans.jsonl"))
        assert spans["records_dead"] >= 5
        coded = verbs.code(config, [str(own)], str(out / "code"), str(tmp_path / "codes.jsonl"))
        assert coded["records_dead"] >= 8 and coded["codes_assigned"] > 0
        verbs.code(config, [str(out / "ingest")], str(out / "claims"), None)
        learn(tmp_path, out)
        judge(tmp_path, out)
        plain = tmp_path / "plain.txt"
        plain.write_text(NOTE)
        headless = tmp_path / "headless.csv"
        headless.write_text(f"{GIVEN} {NAME},{SSN},cough\n{GIVEN} {NAME},{SSN},cough\n")
        cut = tmp_path / "cut.parquet"
        cut.write_bytes((own / "notes.parquet").read_bytes()[:-9])
        parts = str(out / "ingest" / "documents")
        for place, name in ((str(out / "ingest"), "run"), (parts, "parts"), (str(plain), "plain"), (str(headless), "headless")):
            refuses(lambda place=place, name=name: verbs.code(load([]), [place], str(out / f"refused-{name}"), None))
        header = tmp_path / "header.csv.gz"
        header.write_bytes(gzip.compress(f"nid,note,{NAME}".encode(), 0)[:-12])
        for place, name in ((plain, "plain"), (headless, "headless"), (cut, "cut"), (header, "header")):
            refuses(lambda place=place, name=name: verbs.deidentify(config, str(place), str(out / f"refused-deid-{name}"), None))
        for place, name in ((headless, "headless"), (cut, "cut")):
            refuses(lambda place=place, name=name: verbs.ingest(config, [str(place)], str(out / f"refused-in-{name}")))
        measured = measured_by_ray().lower()
        ray_folder = Path(running.folder)
        files = [p for p in ray_folder.rglob("*.log")]
        assert files, "Ray's logs are where the test looks"
        assert not list(leaks(ray_folder, re.compile(r"^$")))
    printed = capfd.readouterr()
    assert not any(canary.lower() in (measured + printed.out + printed.err).lower() for canary in CANARIES)
    # raw tables, and predictions with their evidence, are the records; everything else in the run folders is searched
    raw = r"^(ingest/(patients|documents|claims|encounters|conditions|remittances)|code/predictions|claims/predictions)/"
    assert not list(leaks(out, re.compile(raw)))
    assert NAME in json.dumps(read_output(str(out / "code"), "predictions").to_pylist(), default=str), "the evidence quotes the note"


def learn(tmp_path: Path, out: Path) -> None:
    """prepare, train (a generator on the Clean tables, a tagger on raw notes) and quantize, with refusals."""
    from nosology.training.generator import make_generator

    titles = ["Type 2 diabetes mellitus without complications", "Essential (primary) hypertension", "Acute cough"]
    base = make_generator(titles, tmp_path / "base", 0, width=32, layers=1, threads=1)["path"]
    small = {"workers": 1, "precision": "fp32", "max_steps": 2, "epochs": 8, "checkpoint_steps": 1, "max_failures": 0}
    vouch = "proof.vouched_by=A, Test, 2026-05-04"  # for phrases that no code set has
    sets = [f"model.base={base}", vouch, *(f"train.{key}={value}" for key, value in small.items())]
    config = load([], [*sets, "train.batch_size=2", "quantize.phrases=4", "prepare.validation_share=0", "prepare.test_share=0"])
    phrases = tmp_path / "phrases.jsonl"
    good = [{"phrase": "high blood pressure", "code": "I10", "split": "train"}, {"phrase": "adult diabetes", "code": "E11.9"}]
    bad = [{"phrase": NAME}, {"phrase": NAME, "code": "I10", "split": NAME}, {"phrase": [NAME], "code": "I10"}]
    phrases.write_text("".join(json.dumps(row) + "\n" for row in [*good, *bad]) + '{"phrase": "' + NAME + "\n")
    prepared = verbs.prepare(config, [str(out / "clean")], phrases, str(out / "prepare"))
    assert prepared["records_dead"] == 4
    examples = pq.read_table(out / "prepare" / "examples").to_pylist()
    assert any(row["patient_id"] and "has type 2 diabetes" in row["prompt"] for row in examples), "a note of the canary is among them"
    refuses(lambda: verbs.prepare(config, [str(out / "ingest")], phrases, str(out / "refused-prepare")))
    trained = verbs.train(config, str(out / "prepare" / "blocks"), str(out / "train"))
    assert trained["steps"] == 2
    refuses(lambda: verbs.train(config, str(out / "ingest" / "documents"), str(out / "refused-train")))
    marked = tmp_path / "marked"
    marked.mkdir()
    start = NOTE.index(NAME)
    row = {"text": NOTE, "spans": [{"start": start, "end": start + len(NAME), "label": "NAME"}]}
    tagging = load([], [*sets, "train.objective=tag", "train.batch_size=1"])
    (marked / "train.jsonl").write_text((json.dumps(row) + "\n") * 2)
    verbs.train(tagging, str(marked), str(out / "tag"))
    faulty = tmp_path / "faulty"
    faulty.mkdir()
    (faulty / "train.jsonl").write_text(json.dumps({"text": NOTE, "spans": [{"start": NAME, "end": SSN, "label": NAME}]}) + "\n")
    refuses(lambda: verbs.train(tagging, str(faulty), str(out / "refused-tag")))
    quantized = verbs.quantize(config, str(out / "train"), str(out / "quantize"))
    assert quantized["agreement"]["n"] == 4
    refuses(lambda: verbs.quantize(config, str(out / "ingest"), str(out / "refused-quantize")))


def judge(tmp_path: Path, out: Path) -> None:
    """score with its HTML report, over predictions whose evidence holds the canary, and terms score; with refusals."""
    config = Config()
    gold, bad = tmp_path / "gold.jsonl", tmp_path / "bad.jsonl"
    codes = [{"code": "E11.9"}, {"code": NAME, "certainty": "optional"}]
    gold.write_text("".join(json.dumps({"id": name, "codes": codes}) + "\n" for name in ("n1", "p1", MRN)))
    scored = verbs.score(config, str(out / "code"), gold, str(tmp_path / "codes.jsonl"), str(out / "score"))
    assert scored["notes"] == 3 and "<html" in (out / "score" / "report.html").read_text()
    assert NAME in (tmp_path / "codes.jsonl").read_text(), "the predictions that were scored quote the note"
    for number, line in enumerate((json.dumps({"id": MRN, "codes": [{NAME: SSN}]}), f'{{"id": "{NAME}', json.dumps([NAME]))):
        bad.write_text(line + "\n")
        refuses(lambda number=number: verbs.score(config, str(out / "code"), bad, None, str(out / f"refused-gold-{number}")))
        refuses(lambda number=number: verbs.score(config, str(bad), gold, None, str(out / f"refused-score-{number}")))
        refuses(lambda number=number: verbs.terms_score(config, bad, str(out / f"refused-terms-{number}")))
    bad.write_text((json.dumps({"id": MRN, "codes": []}) + "\n") * 2)
    refuses(lambda: verbs.score(config, str(out / "code"), bad, None, str(out / "refused-twice")))
    refuses(lambda: verbs.score(config, str(out / "ingest"), gold, None, str(out / "refused-no-predictions")))
    phrases = tmp_path / "terms.jsonl"
    phrases.write_text("".join(json.dumps({"phrase": f"{NAME} has diabetes", "code": code}) + "\n" for code in ("E11.9", NAME)))
    assert verbs.terms_score(config, phrases, str(out / "terms"))["n"] == 2


def test_the_search_finds_a_canary(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text(f"error near {NAME.upper()}")
    (tmp_path / f"{GIVEN}.txt").write_text("")
    pq.write_table(pa.table({"note": [NAME] * 100}), tmp_path / "part.parquet", compression="zstd")
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "part.parquet").write_text(NAME)
    found = list(leaks(tmp_path, re.compile(r"^raw/")))
    assert len(found) == 3, os.listdir(tmp_path)
