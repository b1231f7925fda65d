"""File to reader to Clean row, by any values: identifiers are gone, what was billed is as it was.

Where each listed field goes is `test_fields`; here the values differ, and counts, codes and amounts are compared.
"""

from __future__ import annotations

import datetime
import json
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parent))
from canaries import cleaner, read  # noqa: E402

QUIET = settings(deadline=None, max_examples=40, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
# long enough that none stands by chance in a pseudonym or a code
WORD = st.text("BDFGHJKLMNPQRSTVWXZÉÑØ", min_size=6, max_size=12)
NUMBER = st.integers(10**8, 10**12).map(str)
DAY = st.dates(datetime.date(2019, 1, 2), datetime.date(2023, 12, 31)).filter(lambda day: (day.month, day.day) != (1, 1))
BORN = st.dates(datetime.date(1950, 1, 2), datetime.date(2000, 12, 31)).filter(lambda day: (day.month, day.day) != (1, 1))
ICD = st.sampled_from(["E11.65", "I10", "S72.001A", "Z00.00", "O03.9"])
CPT = st.sampled_from(["99213", "36415", "J1885", "27447", "0001U"])
AMOUNT = st.integers(1, 10**7).map(lambda cents: cents / 100)
LINES = st.lists(st.tuples(CPT, AMOUNT, st.integers(1, 20)), min_size=1, max_size=6)
CODES = st.lists(ICD, min_size=1, max_size=5, unique=True)
PERSON = st.fixed_dictionaries(
    {name: WORD for name in ("family", "given", "street", "town")}
    | {name: NUMBER for name in ("member", "claim", "record", "control")}
    | {"born": BORN, "day": DAY, "zip": st.sampled_from(["01101", "03601", "90210"]), "sex": st.sampled_from("FM")}
)
SEXES = {"F": "female", "M": "male"}


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    return cleaner(tmp_path_factory.mktemp("k"))


def cleaned(stage, data: bytes, name: str = "file"):
    """Raw and Clean rows by table."""
    raw, clean = {}, {}
    for table, row in read(data, name)[0]:
        raw.setdefault(table, []).append(row)
        clean.setdefault(table, []).extend(stage.process([{**row, "_table": table}])[table])
    return raw, clean


def in_cents(value):
    if isinstance(value, float):
        return round(value, 2)
    if isinstance(value, dict):
        return {name: in_cents(one) for name, one in value.items()}
    return [in_cents(one) for one in value] if isinstance(value, (list, tuple)) else value


def gone(clean, person) -> None:
    """No identifier of a person stands in the rows."""
    rows = {name: [{**row, "mark": None} for row in rows] for name, rows in clean.items()}
    # sums of amounts have digits behind the cents (33861.310000000005), which could be anybody's number
    text = json.dumps(in_cents(rows), default=str, ensure_ascii=False)
    for name in ("family", "given", "street", "town", "member", "claim", "record", "control", "zip"):
        assert person[name] not in text, name
    for name in ("born", "day"):
        assert person[name].isoformat() not in text and person[name].strftime("%Y%m%d") not in text, name


def same(raw, clean, *columns: str) -> None:
    assert {name: raw[name] for name in columns} == {name: clean[name] for name in columns}


def parts(rows, *columns: str):
    return [{name: one[name] for name in columns} for one in rows]


def text(*segments: str) -> bytes:
    isa = ["ISA", "00", " " * 10, "00", " " * 10, "ZZ", "SENDER".ljust(15), "ZZ", "RECEIVER".ljust(15), "240101", "1200", "^", "00501"]
    return ("~".join(["*".join([*isa, "000000001", "0", "T", ":"]), *segments, "GE*1*1", "IEA*1*000000001"]) + "~").encode()


@given(PERSON, LINES, CODES)
@QUIET
def test_x12_837(stage, person, lines, codes):
    p, day = person, person["day"].strftime("%Y%m%d")
    total = sum(amount for _, amount, _ in lines)
    services = [segment for at, (code, amount, units) in enumerate(lines, start=1)
                for segment in (f"LX*{at}", f"SV1*HC:{code}*{amount}*UN*{units}***1", f"DTP*472*D8*{day}", f"REF*6R*{p['control']}{at}")]  # fmt: skip
    raw, clean = cleaned(stage, text(
        "GS*HC*A*B*20240101*1200*1*X*005010X222A1", "ST*837*0001*005010X222A1", "HL*1**20*1", "NM1*85*2*CLINIC ONE*****XX*1234567893",
        "HL*2*1*22*0", "SBR*P*18*******MB", f"NM1*IL*1*{p['family']}*{p['given']}****MI*{p['member']}", f"N3*{p['street']}",
        f"N4*{p['town']}*MA*{p['zip']}", f"DMG*D8*{p['born']:%Y%m%d}*{p['sex']}", "NM1*PR*2*AETNA*****PI*60054",
        f"CLM*{p['claim']}*{total}***11:B:1*Y*A*Y*Y", f"REF*EA*{p['record']}",
        "HI*" + "*".join(("ABF:" if at else "ABK:") + code.replace(".", "") for at, code in enumerate(codes)), *services, "SE*9*0001",
    ))  # fmt: skip
    gone(clean, p)
    (before,), (after,) = raw["claims"], clean["claims"]
    assert [(one["code"], one["charge"], one["quantity"]) for one in after["lines"]] == [(c, a, float(n)) for c, a, n in lines]
    same(before, after, "diagnoses", "procedures", "total_charge", "form", "status", "payer", "payer_type", "state")
    assert [one["code"] for one in after["diagnoses"]] == codes and after["sex"] == SEXES[p["sex"]]
    shown = ("number", "system", "code", "modifiers", "revenue_code", "quantity", "charge", "diagnosis_pointers")
    assert parts(before["lines"], *shown) == parts(after["lines"], *shown)
    assert len({one["control_number"] for one in after["lines"]}) == len(lines)
    assert after["service_from"] == datetime.date(p["day"].year, 1, 1) and after["postal_code"] in ("011", "000", "902")


@given(PERSON, LINES)
@QUIET
def test_x12_835(stage, person, lines):
    p, day = person, person["day"].strftime("%Y%m%d")
    services = [segment for at, (code, amount, units) in enumerate(lines, start=1)
                for segment in (f"SVC*HC:{code}*{amount}*{amount / 2}**{units}", f"DTM*472*{day}", f"CAS*CO*45*{amount / 2}",
                                f"REF*6R*{p['control']}{at}", f"AMT*B6*{amount}", "LQ*HE*N130")]  # fmt: skip
    raw, clean = cleaned(stage, text(
        "GS*HP*A*B*20240101*1200*1*X*005010X221A1", "ST*835*0001", f"CLP*{p['claim']}*1*{lines[0][1]}*{lines[0][1] / 2}*1.5*12*{p['record']}",
        "CAS*PR*1*1.5", f"NM1*QC*1*{p['family']}*{p['given']}****MI*{p['member']}", f"DTM*232*{day}", *services, "SE*9*0001",
    ))  # fmt: skip
    gone(clean, p)
    (before,), (after,) = raw["remittances"], clean["remittances"]
    same(before, after, "status", "charge", "paid", "patient_responsibility", "adjustments")
    shown = ("system", "code", "modifiers", "charge", "paid", "allowed", "quantity", "adjustments", "remarks")
    assert parts(before["lines"], *shown) == parts(after["lines"], *shown) and len(after["lines"]) == len(lines)


@given(PERSON, LINES, CODES)
@QUIET
def test_fhir_bundle(stage, person, lines, codes):
    p, day = person, person["day"].isoformat()
    icd, cpt = "http://hl7.org/fhir/sid/icd-10-cm", "http://www.ama-assn.org/go/cpt"
    patient = {
        "resourceType": "Patient", "id": p["member"], "name": [{"family": p["family"], "given": [p["given"]]}], "birthDate": p["born"].isoformat(),
        "identifier": [{"value": p["record"]}], "address": [{"line": [p["street"]], "city": p["town"], "state": "MA", "postalCode": p["zip"]}],
        "gender": SEXES[p["sex"]], "contact": [{"name": {"family": p["family"]}}],
    }  # fmt: skip
    claim = {
        "resourceType": "Claim", "id": p["claim"], "status": "active", "type": {"coding": [{"code": "professional"}]},
        "patient": {"reference": f"Patient/{p['member']}", "display": p["family"]}, "billablePeriod": {"start": day, "end": day},
        "insurance": [{"coverage": {"display": "Medicare"}, "preAuthRef": [p["control"]]}],
        "diagnosis": [{"sequence": at, "diagnosisCodeableConcept": {"coding": [{"system": icd, "code": code, "display": p["family"]}]}}
                      for at, code in enumerate(codes, start=1)],
        "item": [{"sequence": at, "productOrService": {"coding": [{"system": cpt, "code": code}]}, "net": {"value": amount},
                  "quantity": {"value": units}, "servicedDate": day} for at, (code, amount, units) in enumerate(lines, start=1)],
    }  # fmt: skip
    raw, clean = cleaned(
        stage, json.dumps({"resourceType": "Bundle", "entry": [{"resource": patient}, {"resource": claim}]}, indent=1).encode()
    )
    gone(clean, p)
    (before,), (after,) = raw["claims"], clean["claims"]
    same(before, after, "diagnoses", "total_charge", "form", "status", "payer")
    shown = ("number", "system", "code", "modifiers", "quantity", "charge")
    assert parts(before["lines"], *shown) == parts(after["lines"], *shown) and len(after["lines"]) == len(lines)
    (someone,) = clean["patients"]
    assert someone["patient_id"] == after["patient_id"] and someone["sex"] == SEXES[p["sex"]]


@given(PERSON, LINES, CODES)
@QUIET
def test_hl7v2(stage, person, lines, codes):
    p, day = person, person["day"].strftime("%Y%m%d")
    raw, clean = cleaned(stage, "\r".join([
        f"MSH|^~\\&|A|B|C|D|{day}||DFT^P03|{p['control']}|P|2.5",
        f"PID|1||{p['record']}||{p['family']}^{p['given']}||{p['born']:%Y%m%d}|{p['sex']}|||{p['street']}^^{p['town']}^MA^{p['zip']}||||||||{p['member']}",
        f"PV1|1|I|W^1^2||||||||||||||||{p['claim']}|" + "|" * 24 + f"{day}|{day}",
        *(f"DG1|{at}||{code}^{p['family']}^I10C" for at, code in enumerate(codes, start=1)),
        *(f"FT1|{at}|||{day}||CG||||{units}|{amount}||||||||||||||{code}^x^CPT" for at, (code, amount, units) in enumerate(lines, start=1)),
    ]).encode() + b"\r")  # fmt: skip
    gone(clean, p)
    (before,), (after,) = raw["claims"], clean["claims"]
    same(before, after, "diagnoses", "total_charge", "form", "state")
    shown = ("number", "system", "code", "quantity", "charge")
    assert parts(before["lines"], *shown) == parts(after["lines"], *shown) and len(after["lines"]) == len(lines)
    assert [one["codings"][0]["code"] for one in clean["conditions"]] == codes
    assert {row["patient_id"] for rows in clean.values() for row in rows} == {after["patient_id"]}


@given(PERSON, LINES, CODES)
@QUIET
def test_rif(stage, person, lines, codes):
    p, day = person, f"{person['day']:%Y%m%d}"
    names = ["BENE_ID", "CLM_ID", "CLM_FROM_DT", "CLM_THRU_DT", "CLM_TOT_CHRG_AMT", "ORG_NPI_NUM", "PRNCPAL_DGNS_CD", "PRNCPAL_DGNS_VRSN_CD",
             *(f"ICD_DGNS_CD{n}" for n in range(1, 6)), *(f"ICD_DGNS_VRSN_CD{n}" for n in range(1, 6)),
             "CLM_LINE_NUM", "HCPCS_CD", "REV_CNTR_UNIT_CNT", "REV_CNTR_TOT_CHRG_AMT", "REV_CNTR", "REV_CNTR_DT"]  # fmt: skip
    written = [code.replace(".", "") for code in codes] + [""] * (5 - len(codes))
    total = round(sum(amount for _, amount, _ in lines), 2)
    rows = [[p["member"], p["claim"], day, day, str(total), p["record"], written[0], "0", *written, *["0"] * 5,
             str(at), code, str(units), str(amount), "0450", day] for at, (code, amount, units) in enumerate(lines, start=1)]  # fmt: skip
    raw, clean = cleaned(stage, "\n".join("|".join(row) for row in [names, *rows]).encode() + b"\n")
    gone(clean, {**p, "zip": p["member"]})
    (before,), (after,) = raw["claims"], clean["claims"]
    same(before, after, "diagnoses", "total_charge", "form", "payer")
    shown = ("number", "system", "code", "revenue_code", "quantity", "charge")
    assert parts(before["lines"], *shown) == parts(after["lines"], *shown) and len(after["lines"]) == len(lines)
    assert [one["code"] for one in after["diagnoses"]] == codes


@given(PERSON, CODES)
@QUIET
def test_csv(stage, person, codes):
    """Synthea's tables, and a user's own rows."""
    p = person
    patients = (
        "Id,BIRTHDATE,DEATHDATE,SSN,DRIVERS,PASSPORT,PREFIX,FIRST,LAST,GENDER,ADDRESS,CITY,STATE,ZIP\n"
        f"{p['member']},{p['born']},,{p['record']},{p['control']},{p['claim']},Mr.,{p['given']},{p['family']},{p['sex']},{p['street']},"
        f"{p['town']},Massachusetts,{p['zip']}\n"
    )
    conditions = "START,STOP,PATIENT,ENCOUNTER,CODE,SYSTEM,DESCRIPTION\n" + "".join(
        f"{p['day']},,{p['member']},{p['claim']},{code},http://hl7.org/fhir/sid/icd-10-cm,{p['family']}\n" for code in codes
    )
    own = f'id;text;patient_id;date_of_service;sex\n{p["claim"]};"MRN: {p["record"]}, diabetes";{p["member"]};{p["day"]};{p["sex"]}\n'
    (patient,) = cleaned(stage, patients.encode(), "patients.csv")[1]["patients"]
    found = cleaned(stage, conditions.encode(), "conditions.csv")[1]["conditions"]
    (note,) = cleaned(stage, own.encode(), "notes.csv")[1]["documents"]
    gone({"patients": [patient], "conditions": found, "documents": [note]}, p)
    assert patient["sex"] == note["sex"] == SEXES[p["sex"]] and patient["state"] == "Massachusetts"
    assert [one["codings"][0]["code"] for one in found] == codes and "diabetes" in note["text"]
    assert {patient["patient_id"], note["patient_id"], *(one["patient_id"] for one in found)} == {patient["patient_id"]}
