"""The lists of fields by format against what the readers really take, and against what is left of it in a Clean row.

Each file holds in each listed field a value of its own (a canary). Where it stands in the Raw rows must be where the list says; no canary of
a field that is treated at all may stand in a Clean row. FHIR: `test_fields_fhir`.
"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import typing
from pathlib import Path

import pytest
from nosology.config import InputConfig
from nosology.deid import LABELS, codes
from nosology.deid.fields import FORMATS, Field, listed
from nosology.records import TABLES

sys.path.append(str(Path(__file__).parent))
from canaries import Canaries, cell, check, cleaner, read  # noqa: E402


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    return cleaner(tmp_path_factory.mktemp("k"))


# ------------------------------------------------------------------------------------------------------------ the lists


def treatment(column: str) -> str:
    """What `nosology.records` says of a column."""
    table, *names = column.split(".")
    record: typing.Any = TABLES[table]
    phi = None
    for name in names:
        phi = {item.name: item for item in dataclasses.fields(record)}[name].metadata["phi"]
        hint = typing.get_type_hints(record)[name]
        record = next((one for one in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(one)), record)
    return phi or ("coded" if len(names) > 1 and codes.is_code_field(names[-1]) else "kept")


@pytest.mark.parametrize("name", FORMATS)
def test_a_list_says_what_the_records_say(name):
    fields = listed(name)
    assert fields and len({one.path for one in fields}) == len(fields)
    for one in fields:
        assert one.category in {*LABELS, "any", "none"} and one.source, one.path
        assert one.treatment == ("|".join(dict.fromkeys(map(treatment, one.columns))) or "dropped"), one.path
        if one.category not in ("none", "any"):  # an identifier is never kept as it is
            assert not {"kept", "coded"} & set(one.treatment.split("|")), one.path


# ------------------------------------------------------------------------------------------------------------------ X12

LEVELS = {"2000A": "HL*1**20*1", "2000B": "HL*2*1*22*1", "2000C": "HL*3*2*23*0"}
DAYS = {"DMG02", "DTP03", "DTM02"}
AMOUNTS_837 = {"CLM02", "SV102", "SV104", "SV203", "SV205", "SV302", "SV306"}
AMOUNTS_835 = {"CLP03", "CLP04", "CLP05", "SVC02", "SVC03", "SVC05", "AMT02", *(f"CAS{n:02d}" for n in range(2, 20) if n % 3 != 2)}
FIXED = {"DMG01": "D8", "DMG03": "F", "DTP02": "D8", "LX01": "1", "PWK05": "AC", "LIN02": "N4", "SV107": "1:2"}
CODE_LISTS = ["ABK", "ABF", "ABJ", "APR", "ABN", "BBR", "BBQ"] + ["ABF"] * 5


def element(name: str, one: Field, canaries: Canaries, amounts: set[str], codes_empty: bool) -> str:
    path = one.path
    if name in FIXED:
        return FIXED[name]
    if name in DAYS:
        return canaries.day(path).strftime("%Y%m%d")
    if name in amounts:
        return canaries.amount(path)
    if name.startswith("HI"):
        return f"{CODE_LISTS[int(name[2:]) - 1]}:{canaries.word(path)}::::::::{canaries.word(path)[:0]}"
    if name in ("SV101", "SV202", "SV301", "SVC01"):
        return "HC:" if codes_empty else f"HC:{canaries.word(path)}:{canaries.word(path)}:::: {canaries.word(path)}"
    if name == "CLM05":
        return f"11:B:{canaries.word(path)}"
    if "documents.text" in one.columns:
        return f"Seen today. MRN: {canaries.number(path)}"
    return canaries.word(path)


def x12(transaction: str, version: str, leave: typing.Callable[[str, str], bool], codes_empty: bool = False) -> tuple[bytes, Canaries]:
    """A transaction with each listed segment but those that `leave` (loop, segment and qualifiers) is true of, a qualifier each."""
    canaries, out, now = Canaries(), [], ""
    amounts = AMOUNTS_837 if transaction == "837" else AMOUNTS_835
    groups: dict[tuple[str, str, str], list[tuple[str, Field]]] = {}
    for one in listed("x12"):
        number, loop, place, *qualifiers = one.path.split()
        if number == transaction and loop not in ("ISA", "GS") and place[:2] not in ("ST", "SE", "HL") or place[:3] == "STC":
            first, _, last = re.fullmatch(r".*?(\d\d)(?:-(\d\d))?", place).expand(r"\1-\2").partition("-")
            kind = place[: -len(first) - (len(last) + 1 if last else 0)]
            groups.setdefault((loop, kind, *qualifiers) if qualifiers else (loop, kind, ""), []).extend(
                (f"{kind}{at:02d}", one) for at in range(int(first), int(last or first) + 1)
            )
    for (loop, kind, qualifiers), elements in groups.items():
        if leave(loop, f"{kind} {qualifiers}".strip()):
            continue
        if loop in LEVELS and loop != now:
            out.append(LEVELS[loop])
        now = loop
        for qualifier in qualifiers.split("/"):
            values = []
            for name, one in elements:
                values.append(qualifier if qualifier and name.endswith("01") else element(name, one, canaries, amounts, codes_empty))
            out.append("*".join([kind, *values]))
    isa = ["ISA", "00", " " * 10, "00", " " * 10, "ZZ", "SENDER".ljust(15), "ZZ", "RECEIVER".ljust(15), "240101", "1200", "^", "00501"]
    head = ["*".join([*isa, "000000001", "0", "T", ":"]), f"GS*HC*A*B*20240101*1200*1*X*{version}", f"ST*{transaction}*0001*{version}"]
    return ("~".join([*head, *out, f"SE*{len(out) + 2}*0001", "GE*1*1", "IEA*1*000000001"]) + "~").encode(), canaries


SERVICES = {"SV1", "SV2", "SV3"}


def test_x12_837(stage):
    def made(version: str, service: str, *left: str, codes_empty: bool = False):
        def leave(loop: str, segment: str) -> bool:
            return segment.split()[0] in SERVICES - {service} or loop in left or f"{loop} {segment}" in left

        data, canaries = x12("837", version, leave, codes_empty)
        if "number" in left:  # a dependent without one: the subscriber's, the given name and the birth make it
            (number,) = [value for value, path in canaries.put.items() if path == "837 2010CA NM109 QC"]
            data = data.replace(b"*" + number.encode(), b"*")
        rows, reading = read(data)
        assert not reading.unknown
        return rows, canaries

    check("x12", [
        made("005010X222A1", "SV1", "number"),
        made("005010X222A1", "SV1"),
        made("005010X222A1", "SV1", "2000C", "2010CA"),  # the subscriber is the patient
        made("005010X222A1", "SV1", "2300 DTP 434", codes_empty=True),  # a drug by its NDC; the dates of the lines
        made("005010X223A3", "SV2", "2000C", "2010CA"),
        made("005010X223A3", "SV2", codes_empty=True),
        made("005010X224A2", "SV3"),
        made("004010X096A1", "SV2", "2010BB"),  # the payer is named in 2010BC there
    ], stage, "837")  # fmt: skip


def test_x12_835(stage):
    def made(*left: str):
        data, canaries = x12("835", "005010X221A1", lambda loop, segment: f"{loop} {segment}" in left)
        rows, reading = read(data)
        assert not reading.unknown
        return rows, canaries

    check("x12", [made(), made("2100 NM1 IL"), made("2100 NM1 QC"), made("2100 DTM 232")], stage, "835")


# --------------------------------------------------------------------------------------------------------------- tables


def table(fields: list[Field], mark: str, leave: set[str], fixed: dict[str, str]) -> tuple[bytes, Canaries]:
    canaries = Canaries()
    fields = [one for one in fields if one.path not in leave]
    names = [one.path.split()[-1].replace("#", "1").replace("@", "JAN") for one in fields]
    cells = [cell(one, canaries, fixed) for one in fields]
    return f"{mark.join(names)}\n{mark.join(cells)}\n".encode(), canaries


RIF_FIXED = {
    "BENE_SEX_IDENT_CD": "2", "STATE_CODE": "", "CLM_LINE_NUM": "1", "LINE_NUM": "1", "LINE_ICD_DGNS_CD": "",
    **{one.path: "" for one in listed("rif") if "VRSN_CD" in one.path},
}  # fmt: skip
CLAIM_LEVEL = ("CLM_TOT_CHRG_AMT", "ORG_NPI_NUM", "CARR_CLM_BLG_NPI_NUM")
LINE_LEVEL = ("HCPCS_CD", "REV_CNTR", "LINE_1ST_EXPNS_DT", "REV_CNTR_UNIT_CNT", "REV_CNTR_TOT_CHRG_AMT")


def test_rif(stage):
    fields, kinds = list(listed("rif")), {"CLM_ID", "PDE_ID"}

    def made(*leave: str):
        data, canaries = table(fields, "|", set(leave), RIF_FIXED)
        rows, reading = read(data)
        assert reading.format == "rif" and not reading.unknown
        return rows, canaries

    check("rif", [
        made("CLM_ID", "PDE_ID"), made("PDE_ID"), made("PDE_ID", *CLAIM_LEVEL[:2], "LINE_1ST_EXPNS_DT"), made("PDE_ID", *CLAIM_LEVEL, *LINE_LEVEL),
        made("PDE_ID", "HCPCS_CD"), made("PDE_ID", "HCPCS_CD", "REV_CNTR"), made("CLM_ID"), made(*kinds, "MBI_NUM"),
    ], stage, apart=("STATE_CODE",))  # fmt: skip


def test_synpuf(stage):
    fields = list(listed("synpuf"))
    fixed = {"BENE_SEX_IDENT_CD": "1", "SP_STATE_CODE": "26", "SEGMENT": "1", "LINE_ICD9_DGNS_CD_#": ""}

    def made(*leave: str):
        data, canaries = table(fields, ",", set(leave), fixed)
        rows, reading = read(data)
        assert reading.format == "synpuf" and not reading.unknown
        return rows, canaries

    files = [made("PDE_ID"), made("CLM_ID"), made("CLM_ID", "PDE_ID")]
    assert files[2][0][0][1]["state"] == "MO"  # a number of the Social Security Administration
    check("synpuf", files, stage, apart=("SP_STATE_CODE",))


def test_synthea(stage):
    tables = dict.fromkeys(one.path.split(".")[0] for one in listed("synthea"))
    files = []
    for name in tables:
        fields = [one for one in listed("synthea") if one.path.startswith(f"{name}.csv ")]
        for leave in (set(), {f"{name}.csv START", f"{name}.csv STOP"}) if name == "procedures" else (set(),):
            data, canaries = table(fields, ",", leave, {"GENDER": "F", "HEALTHCARECLAIMTYPEID1": "1", "SYSTEM": ""})
            rows, reading = read(data, f"{name}.csv")
            assert reading.format == "synthea" and not reading.unknown, name
            files.append((rows, canaries))
    check("synthea", files, stage)


def test_rows_of_a_user(stage):
    """Columns by their configured names; those beside are told and dropped."""
    files = []
    for leave in (set(), {"input.date_column"}):
        canaries, row = Canaries(), {}
        for one in listed("rows"):
            name = getattr(InputConfig.model_validate({}), one.path.removeprefix("input."), one.path)
            if one.path in leave:
                continue
            if one.path == "input.text_column":
                row[name] = f"Seen today. MRN: {canaries.number(one.path)}"
            elif name == "age":
                row[name] = "44"
            else:
                row[name] = "F" if name == "sex" else cell(one, canaries, {})
        for data in (
            json.dumps({**row, "ward": "Q9999X"}).encode() + b"\n",
            (";".join([*row, "ward"]) + "\n" + ";".join([*row.values(), "Q9999X"]) + "\n").encode(),
        ):
            rows, reading = read(data)
            assert reading.unknown == {f"{reading.format} ward": 1}
            assert "Q9999X" not in json.dumps(rows, default=str)
            files.append((rows, canaries))
    check("rows", files, stage)


# -------------------------------------------------------------------------------------------------------------- HL7 v2

HL7_FIXED = {
    "MSH-9": "ADT^A01", "MSH-18": "", "PID-8": "F", "DG1-2": "", "PR1-2": "", "FT1-6": "CG", "OBX-2": "TX", "MSH-2": "^~\\&",
    "MSH-1": "|",
}  # fmt: skip
COMPONENTS = 7
HL7_AMOUNTS = {"FT1-10", "FT1-11"}


def message(kind: str, segments: list[str], leave: set[str]) -> tuple[bytes, Canaries]:
    """A message with each listed field of these segments but `leave`, each with components of its own."""
    canaries, out = Canaries(), []
    for name in segments:
        values: dict[int, str] = {}
        for one in listed("hl7v2"):
            part = re.fullmatch(rf"{name}-(\d+)(?:\.(\d+))?(?:\.\.(\d+))?", one.path)
            if part is None or part[2]:
                continue
            for at in range(int(part[1]), int(part[3] or part[1]) + 1):
                path = f"{name}-{at}"
                if path in leave:
                    values[at] = ""
                elif path in HL7_FIXED:
                    values[at] = kind if path == "MSH-9" else HL7_FIXED[path]
                elif path in HL7_AMOUNTS:
                    values[at] = canaries.amount(one.path)
                elif one.category == "DATE" and one.columns:
                    values[at] = canaries.day(one.path).strftime("%Y%m%d")
                elif path == "OBX-5":
                    values[at] = f"Seen today. MRN: {canaries.number(one.path)}"
                else:
                    own = {n: f"{path}.{n}" for n in range(1, COMPONENTS + 1)}
                    known = {field.path for field in listed("hl7v2")}
                    found = [canaries.word(own[n] if own[n] in known else one.path) for n in own]
                    values[at] = "^".join("" if own[n] in leave else word for n, word in enumerate(found, start=1))
                    if path == "PID-13":
                        values[at] += f"~^^^{canaries.word(one.path)}@example.org"
        if name == "MSH":
            values.pop(1)
        out.append("|".join([name, *(values[at] for at in sorted(values))]))
    return ("\r".join(out) + "\r").encode(), canaries


def test_hl7v2(stage):
    def made(kind: str, segments: str, *leave: str):
        data, canaries = message(kind, ["MSH", "EVN", "PID", "PD1", "NK1", *segments.split()], set(leave))
        rows, reading = read(data)
        assert reading.format == "hl7v2" and not reading.unknown, reading.unknown
        return rows, canaries

    visit = "PV1 PV2 DG1 PR1 GT1 IN1 IN2 IN3 ORC AL1 ACC"
    ids = ("PID-3", "PID-2", "PID-4")
    no_visit = ("PV1-19", "PV1-50", "PID-18")
    check("hl7v2", [
        made("ADT^A01", visit + " ROL MRG DB1 PDA SPM"), made("ADT^A01", visit, "PID-3"), made("ADT^A01", visit, "PID-3", "PID-2"),
        made("ADT^A01", visit, *ids), made("ADT^A01", visit, "PV1-19"), made("ADT^A01", visit, "PV1-19", "PV1-50"),
        made("ADT^A01", visit, *no_visit), made("ADT^A01", visit, "PV1-3"),
        made("DFT^P03", visit + " FT1"), made("DFT^P03", visit + " FT1", "FT1-25", "PID-3"), made("DFT^P03", visit + " FT1", *ids[:2]),
        made("DFT^P03", visit + " FT1", *ids), made("DFT^P03", visit + " FT1", "PV1-19"), made("DFT^P03", visit + " FT1", "PV1-19", "PV1-50"),
        made("MDM^T02", "PV1 TXA OBX NTE"), made("MDM^T02", "PV1 TXA OBX", "TXA-2", "TXA-4"), made("MDM^T02", "PV1 TXA OBX", "PID-3", "PV1-19"),
        made("MDM^T02", "PV1 TXA OBX", *ids[:2], "PV1-19", "PV1-50"), made("MDM^T02", "PV1 TXA OBX", *ids, "TXA-12"),
        made("ORU^R01", "PV1 OBR OBX"), made("ORU^R01", "PV1 OBR OBX", "OBX-3", "OBR-7"), made("ORU^R01", "PV1 OBR OBX", "OBR-3"),
        made("ADT^A01", visit, "DG1-3.2", "DG1-3.5", "PR1-3.2", "PR1-3.5"), made("DFT^P03", visit + " FT1", *no_visit),
        made("MDM^T02", "PV1 TXA OBX", *no_visit),
    ], stage)  # fmt: skip
