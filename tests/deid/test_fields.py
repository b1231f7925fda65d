"""The lists of fields by format against what the readers really take, and against what is left of it in a Clean row.

Each file holds in each listed field a value of its own (a canary). Where it stands in the Raw rows must be where the list says; no canary of
a field that is treated at all may stand in a Clean row.
"""

from __future__ import annotations

import dataclasses
import datetime
import io
import re
import typing
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from nosology import readers
from nosology.config import DeidConfig
from nosology.deid import LABELS, codes
from nosology.deid.detect import Detector
from nosology.deid.fields import FORMATS, Field, listed
from nosology.deid.stage import Deidentify
from nosology.records import TABLES, to_dict

BEGUN, BORN = datetime.date(2020, 1, 1), datetime.date(1951, 1, 1)
# columns whose value the reader works out: the canary itself does not stand there
MADE = re.compile(
    r".*\.(system|kind|sex|form|age|diagnosis_pointers|present_on_admission|media_type|number|line|group)|claims\.provider_npi"
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
        found = first + datetime.timedelta(days=len(self.put))
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


def check(name: str, files: list[tuple[list[tuple[str, dict[str, object]]], Canaries]], stage, only: str = "") -> None:
    """The list of a format against files: together they must bring every column that it names, and none that it does not."""
    fields = {one.path: one for one in listed(name)}
    total = defaultdict(set)
    for rows, canaries in files:
        for path, found in landed(rows, canaries).items():
            assert found <= set(fields[path].columns), f"{path} is listed as {fields[path].columns}, and stands in {sorted(found)}"
            total[path] |= found
        check_clean(rows, canaries, fields, stage)
    for one in fields.values():
        if one.path.startswith(only):
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
