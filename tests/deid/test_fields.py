"""The lists of fields by format against what the readers really take, and against what is left of it in a Clean row.

Each file holds in each listed field a value of its own (a canary). Where it stands in the Raw rows must be where the list says; no canary of
a field that is treated at all may stand in a Clean row.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import io
import json
import re
import typing
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from nosology import readers
from nosology.config import DeidConfig, InputConfig
from nosology.deid import LABELS, codes
from nosology.deid.detect import Detector
from nosology.deid.fields import FORMATS, Field, listed
from nosology.deid.stage import Deidentify
from nosology.records import TABLES, to_dict

BEGUN, BORN = 2019, 1951
# columns whose value the reader works out: the canary itself does not stand there
MADE = re.compile(
    r".*\.(system|kind|sex|form|age|diagnosis_pointers|present_on_admission|media_type|file|number|line|group)|claims\.provider_npi"
)


@dataclass
class Canaries:
    """Values, each of its own, and the field that each was put into."""

    put: dict[str, str] = field(default_factory=dict)

    def _new(self, value: str, path: str) -> str:
        assert value not in self.put
        self.put[value] = path
        return value

    def word(self, path: str) -> str:
        return self._new(f"Q{len(self.put):04d}X", path)

    def day(self, path: str) -> datetime.date:
        first = BORN if re.search(r"birth_date|DMG02", path) else BEGUN
        year, day = divmod(len(self.put), 300)  # never 1 January, to which dates are cut
        found = datetime.date(first + year, 2, 1) + datetime.timedelta(days=day)
        self._new(found.isoformat(), path)
        return found

    def amount(self, path: str) -> str:
        return self._new(f"{1000 + len(self.put)}.25", path)

    def number(self, path: str) -> str:
        """A record number that rules find in a text."""
        return self._new(f"48{len(self.put):06d}", path)

    def within(self, text: str) -> set[str]:
        """Fields whose canary stands in a text."""
        bare = text.replace(".", "").replace("-", "")  # codes get their dot, dates are written in two forms
        return {path for value, path in self.put.items() if value in text or value.replace("-", "") in bare}


def places(value: object, at: str) -> Iterator[tuple[str, str]]:
    """Each value of a record with its table and column."""
    if isinstance(value, dict):
        for name, one in value.items():
            yield from places(one, f"{at}.{name}")
    elif isinstance(value, list | tuple):
        for one in value:
            yield from places(one, at)
    elif value is not None:
        yield at, value.isoformat() if isinstance(value, datetime.date) else str(value)


NAMES = {record: name for name, record in TABLES.items()}


def read(data: bytes, name: str = "file") -> tuple[list[tuple[str, dict[str, object]]], readers.Reading]:
    source = readers.SourceFile(f"/x/{name}", name, "d" * 64, len(data))
    reading = readers.read_file(source, io.BytesIO(data))
    found = list(reading)
    dead = [(one.reason, one.field, one.rule) for one in found if type(one).__name__ == "DeadLetter"]
    assert not dead, dead
    return [(NAMES[type(one)], to_dict(one)) for one in found if type(one) in NAMES], reading


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    made = Deidentify(DeidConfig(key_file=str(tmp_path_factory.mktemp("k") / "key")))
    made._detector = Detector(made._config, rules_only=True)
    return made


def landed(rows, canaries: Canaries) -> dict[str, set[str]]:
    """Table and column in which the canaries of a field stand, by field."""
    found = defaultdict(set)
    for table, row in rows:
        for at, text in places(row, table):
            for path in canaries.within(text):
                found[path].add(at)
    return found


def check_clean(rows, canaries: Canaries, fields: dict[str, Field], stage) -> None:
    """No canary of a field that is treated stands in a Clean row; what is kept as it is does."""
    for table, row in rows:
        made = stage.process([{**row, "_table": table}])[table]
        left = {
            path for one in made for at, text in places(one, table) if at.rpartition(".")[2] != "mark" for path in canaries.within(text)
        }
        treated = {path for path in left if not {"kept", "coded"} & set(fields[path].treatment.split("|"))}
        assert not treated, f"{table}: {sorted(treated)}"
        kept = {path for path in landed([(table, row)], canaries) if fields[path].treatment == "kept"}
        assert left >= {path for path in kept if any(not MADE.fullmatch(column) for column in fields[path].columns)}


def check(
    name: str, files: list[tuple[list[tuple[str, dict[str, object]]], Canaries]], stage, only: str = "", apart: tuple[str, ...] = ()
) -> None:
    """The list of a format against files: together they must bring every column that it names, and none that it does not.

    Args:
        only: beginning of the paths that the files hold. apart: those whose value the reader looks up.
    """
    fields = {one.path: one for one in listed(name)}
    total = defaultdict(set)
    for rows, canaries in files:
        for path, found in landed(rows, canaries).items():
            assert found <= set(fields[path].columns), f"{path} is listed as {fields[path].columns}, and stands in {sorted(found)}"
            total[path] |= found
        check_clean(rows, canaries, fields, stage)
    for one in fields.values():
        if one.path.startswith(only) and one.path not in apart:
            wanted = {column for column in one.columns if not MADE.fullmatch(column)}
            assert total[one.path] >= wanted, f"{one.path}: no file brings it to {sorted(wanted - total[one.path])}"


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
    ], stage, "837")  # fmt: skip


def test_x12_835(stage):
    def made(*left: str):
        data, canaries = x12("835", "005010X221A1", lambda loop, segment: f"{loop} {segment}" in left)
        rows, reading = read(data)
        assert not reading.unknown
        return rows, canaries

    check("x12", [made(), made("2100 NM1 IL"), made("2100 NM1 QC"), made("2100 DTM 232")], stage, "835")


# --------------------------------------------------------------------------------------------------------------- tables

NUMBERS = re.compile(r"(total_charge|charge|quantity|paid|allowed)$")


def cell(one: Field, canaries: Canaries, fixed: dict[str, str]) -> str:
    """A value for a column."""
    column = one.path.split()[-1]
    if column in fixed:
        return fixed[column]
    if one.category == "DATE":
        return canaries.day(one.path).isoformat()
    if any(NUMBERS.search(name) for name in one.columns):
        return canaries.amount(one.path)
    return canaries.word(one.path)


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


# ---------------------------------------------------------------------------------------------------------------- FHIR

REPEATED = re.compile(
    r"\w+\.(identifier|name|telecom|address|participant|location|performer|author|content|presentedForm|section|insurance|diagnosis|procedure|"
    r"supportingInfo|information|item|reasonCode|reason|context\.encounter|context\.related|insurance\.preAuthRef|diagnosis\.type|"
    r"item\.(modifier|adjudication|encounter|diagnosisSequence|diagnosisLinkId)|name\.(given|prefix|suffix)|address\.line)|"
    r".*\.(coding|section|reason\.value)|ExplanationOfBenefit\.total"
)
GROUPS, REASONS = "https://x12.org/codes/claim-adjustment-group-codes", "https://x12.org/codes/claim-adjustment-reason-codes"
FHIR_FIXED = {
    "Patient.gender": "female", "Patient.telecom.system": "phone", "Procedure.notDone": False, "Claim.use": "claim",
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
            if REPEATED.fullmatch(at):
                held = held.setdefault(part, [{}])[0]
            else:
                held = held.setdefault(part, {})
        value = leaf(one, canaries, {**FHIR_FIXED, **given})
        held[name] = [value] if REPEATED.fullmatch(one.path) and not isinstance(value, list) else value
    if kind == "DocumentReference" and set(made.get("context", {})) == {"reference", "display", "identifier", "type"}:
        made["context"] = [made["context"]]  # as R5 has it
    return json.dumps(made).encode() + b"\n", canaries


_DOC = r"\.(author\.actor|performer)"
_LINE = r"item\.(service|servicedPeriod|diagnosisLinkId)"
_INFO = r"information|supportingInfo\.(valueString|timingPeriod)"
FHIR_FILES: dict[str, list[tuple[str, dict[str, object]]]] = {
    "Patient": [("", {}), (r"\.name\.text", {"Patient.telecom.system": "email"})],
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
