"""HL7 v2 messages (ADT, BAR, DFT, MDM, ORU and others with a PID): patients, encounters, conditions, procedures, charges, and the text of
OBX as documents.

Separators come from MSH-1 and MSH-2. Segments end with CR, LF or both; batch headers (FHS, BHS) and MLLP framing bytes are passed over;
ADD goes on with the field before it. A message with several PIDs (a swap, results of several patients) is read patient by patient.

A document is made of TX and FT observations (in MDM messages of ST, CE and CWE too) and of ED ones that carry plain text, RTF,
HTML or C-CDA, in Base64 or as it is, in the order of the message: each OBX and each repetition in it a line, a blank line where another
observation (OBX-3) begins; its sub-id (OBX-4) only numbers them. An ORU has a document for each of its reports (OBR), other messages one.

The charges of a DFT (FT1) are a claim of form `unknown` under the message's own id (MSH-10): what was billed, before a claim form is made
of it. Only where each FT1 is a charge (FT1-6 is CG or empty): credits and payments say nothing of what was done.

The encoding is that of MSH-18 (HL7 table 0211), else UTF-8, else `ingest.encoding`.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from nosology.errors import Reason, RecordError
from nosology.readers import values
from nosology.readers.document import CDA, HTML, RTF, kind_of, to_text
from nosology.readers.source import BOM, TOO_LONG, Draft, InvalidBytes, Job, Skipped, Unit, pieces_of_lines, record_bytes
from nosology.readers.unlisted import field_limits, meet_fields
from nosology.records import ClaimLine, Coding, Diagnosis, RawClaim, RawCondition, RawDocument, RawEncounter, RawPatient, RawProcedure

_FRAMES = b"\x0b\x1c\x00 \t"
_PASSED = _FRAMES + b"\r\n"
_BATCH = frozenset((b"FHS", b"BHS", b"BTS", b"FTS", b"DSC"))
_TRAILERS = {b"FHS": b"FTS", b"BHS": b"BTS"}
_SEGMENT_ID = re.compile(r"[A-Z][A-Z0-9]{2}", re.ASCII)
# HL7 2.7: marks, highlighting, hexadecimal data, formatting commands, other character sets, local ones. What is none of these is text.
_SEQUENCE = (
    r"([FSRETPHN]|X(?:[0-9A-Fa-f]{2})+|C[0-9A-Fa-f]{4}|M[0-9A-Fa-f]{4,6}|Z[^\s\\]{0,20}|\.(?:br|sp|in|ti|fi|nf|ce|sk)\s*[+-]?\d{0,4})"
)
_ESCAPE = re.compile(rf"\\{_SEQUENCE}\\", re.IGNORECASE)
_OF_A_PATIENT = ("ADT", "BAR", "DFT", "MDM", "ORU")
_TEXT, _MDM_TEXT = ("TX", "FT"), ("TX", "FT", "ST", "CE", "CWE")
_CHARSETS = {
    "ASCII": "utf-8", "UNICODE": "utf-8", "UNICODE UTF-8": "utf-8", "8859/1": "cp1252", **{f"8859/{n}": f"iso8859-{n}" for n in range(2, 16)},
    "GB 18030-2000": "gb18030", "BIG-5": "big5", "KS X 1001": "euc-kr",
}  # fmt: skip
BROKEN_HEADER = Reason("broken_envelope", "MSH", "MSH, a field separator, and MSH-2 with four or five encoding characters")
BROKEN_SEGMENT = Reason("broken_segment", None, "a segment that begins with an id of three characters and the field separator")
NO_TRAILER = Reason("truncated_record", "BTS", "a batch that ends with BTS, a file of batches with FTS")
NO_PATIENT = Reason("missing_field", "PID", "a PID in each ADT, BAR, DFT, MDM and ORU")
NO_MESSAGE = Reason("broken_loop", "MSH", "segments of a message below its MSH")

Lines = list[tuple[int, bytes]]  # segments of a message with their offsets


_SUBTYPES = {"rtf": RTF, "html": HTML, "xhtml": HTML, "xml": CDA, "x-hl7-cda-level-one": CDA, "cda": CDA}


@dataclass(frozen=True)
class Separators:
    """The marks of one message, and its encoding."""

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"
    charset: str = "utf-8"

    def unescape(self, text: str) -> str:
        """Text as its author wrote it: HL7 chapter 2.7; formatting commands other than line breaks and blanks vanish."""
        if self.escape not in text:
            return text
        plain = {"F": self.field, "S": self.component, "R": self.repetition, "E": self.escape, "T": self.subcomponent}

        def one(match: re.Match[str]) -> str:
            name = match[1]
            if (mark := plain.get(name.upper())) is not None:
                return mark
            if name[0] in "Xx":
                try:
                    return bytes.fromhex(name[1:]).decode(self.charset)
                except ValueError:
                    return match[0]  # bytes that are no text here: kept as they were written
            command = name[:3].lower()
            if command in (".br", ".sp", ".ce"):
                return "\n" * min(int(name[3:]), 99) if name[3:].isdigit() else "\n"
            return " " * min(int(name[3:]), 99) if command == ".sk" and name[3:].isdigit() else ""

        mark = re.escape(self.escape)
        pattern = _ESCAPE if self.escape == "\\" else re.compile(f"{mark}{_SEQUENCE}{mark}", re.IGNORECASE)
        return pattern.sub(one, text)


class _Segment:
    """Fields by HL7 number; components of the first repetition by number from 1."""

    def __init__(self, text: str, marks: Separators) -> None:
        self.marks = marks
        self.fields = text.split(marks.field)
        if self.fields[0] == "MSH":  # MSH-1 is the separator itself
            self.fields.insert(1, marks.field)

    @property
    def name(self) -> str:
        return self.fields[0]

    def raw(self, number: int) -> str:
        return self.fields[number] if number < len(self.fields) else ""

    def repetitions(self, number: int) -> list[str]:
        return [text for text in self.raw(number).split(self.marks.repetition) if text]

    def part(self, number: int, component: int = 1, of: str | None = None) -> str:
        """A component (its first subcomponent), unescaped and stripped."""
        text = of if of is not None else self.raw(number)
        if not text:
            return ""
        if of is None and self.marks.repetition in text:
            text = next(iter(self.repetitions(number)), "")
        parts = text.split(self.marks.component)
        found = parts[component - 1] if component <= len(parts) else ""
        return self.marks.unescape(found.split(self.marks.subcomponent)[0]).strip()


def messages(stream: io.BufferedReader, limit: int) -> Iterator[Lines | Reason]:
    """The segments of each message, undecoded; a `Reason` for one too long, for lines that belong to none, for a batch cut off."""
    found: Lines = []
    size, fault, stray = 0, False, False
    opened: list[bytes] = []  # batches whose trailer is due
    place = 0
    goes_on = cut = False  # whether this line is more of the last one; whether it is one above the limit and has no end
    for line in pieces_of_lines(stream, limit):
        if not place and line.startswith(BOM):
            place, line = len(BOM), line[len(BOM) :]
        part = line.lstrip(_PASSED)
        size_in = len(line)
        start, place = place + size_in - len(part), place + size_in
        part = part.rstrip(_PASSED)
        if size_in > limit or goes_on or cut:
            goes_on, cut = cut, not line.endswith((b"\r", b"\n")) and (cut or bool(part))
        if not part:
            continue
        if not goes_on:
            if part.startswith(b"MSH"):
                if fault:
                    yield TOO_LONG
                elif found:
                    yield found
                found, size, fault, stray = [], 0, False, False
            elif part[:3] in _BATCH:
                if part[:3] in _TRAILERS:
                    opened.append(_TRAILERS[part[:3]])
                elif part[:3] in opened:
                    opened.remove(part[:3])
                continue
            elif not found and not fault:
                if not stray:
                    yield NO_MESSAGE
                stray = True
                continue
        elif not found and not fault:
            continue  # of a line that belongs to no message
        size += len(part)
        if size > limit or goes_on:
            found, fault = [], True
        elif not fault:
            found.append((start, part))
    if fault:
        yield TOO_LONG
    elif found:
        yield found
    if opened:
        yield NO_TRAILER


class Hl7v2:
    """Reader of HL7 v2 messages; one of nobody (an acknowledgement, a master file) is skipped."""

    name = "hl7v2"

    def sniff(self, head: bytes) -> bool:
        head = head.removeprefix(BOM).lstrip(_PASSED)
        mark = head[3:4]
        return head[:3] in (b"MSH", b"FHS", b"BHS") and len(head) > 7 and not mark.isalnum() and not mark.isspace()

    def read(self, stream: io.BufferedReader, job: Job) -> Iterator[Unit]:
        marked = stream.peek(len(BOM)).startswith(BOM)  # then it is UTF-8, whatever MSH-18 says
        for message in messages(stream, record_bytes(job.ingest)):
            yield message if isinstance(message, Reason) else job.builder.make(self._message, message, job, marked)

    def _message(self, lines: Lines, job: Job, marked: bool) -> Unit:
        segments = _decode(lines, job, marked)
        if isinstance(segments, Reason):
            return segments
        limits = field_limits()
        for segment in segments:
            if limits.get(segment.fields[0], 0) < len(segment.fields):
                meet_fields(segment.fields, job.unlisted)
        header = segments[0]
        kind = header.part(9)
        places = [at for at, segment in enumerate(segments) if segment.name == "PID"]
        if not places:
            if kind in _OF_A_PATIENT and header.part(9, 2) != "A20":  # the status of a bed
                return NO_PATIENT
            return Skipped(kind if re.fullmatch(r"[A-Z]{3}", kind, re.ASCII) else "unknown")
        drafts: list[Draft] = []
        for at, stop in zip(places, [*places[1:], len(segments)], strict=True):
            control = header.part(10) + (f"/PID-{places.index(at) + 1}" if at != places[0] else "")
            drafts += _patient(segments[at:stop], kind, control)
        return drafts


def _patient(segments: list[_Segment], kind: str, control: str) -> list[Draft]:
    """What a message says of one patient: the segments from its PID on."""
    patient = _Person(segments[0])
    drafts = [patient.draft([segment for segment in segments if segment.name == "NK1"])]
    encounter_id: str | None = None
    held: dict[str, list[_Segment]] = {"DG1": [], "PR1": [], "FT1": [], "IN1": []}
    for segment in segments:
        if segment.name == "PV1":
            encounter_id, draft = _encounter(segment, patient, control)
            drafts.append(draft)
        elif segment.name in held:
            held[segment.name].append(segment)
    drafts += [_condition(one, patient, encounter_id, f"{control}/DG1-{at}") for at, one in enumerate(held["DG1"], start=1)]
    drafts += [_procedure(one, patient, encounter_id, f"{control}/PR1-{at}") for at, one in enumerate(held["PR1"], start=1)]
    if kind == "DFT" and held["FT1"] and all(charge.part(6).upper() in ("", "CG") for charge in held["FT1"]):
        drafts.append(_claim(held["FT1"], held["DG1"], next(iter(held["IN1"]), None), patient, encounter_id, control))
    reports = _reports(segments) if kind == "ORU" else [segments]
    for at, report in enumerate(reports, start=1):
        own = control if at == 1 else f"{control}/OBR-{at}"
        if note := _document(report, segments, patient, encounter_id, kind, own):
            drafts.append(note)
    return drafts


def _reports(segments: list[_Segment]) -> list[list[_Segment]]:
    """Segments from one OBR to the next; what stands before the first goes with it."""
    found: list[list[_Segment]] = [[]]
    for segment in segments:
        if segment.name == "OBR" and any(one.name == "OBR" for one in found[-1]):
            found.append([])
        found[-1].append(segment)
    return found


def _decode(lines: Lines, job: Job, marked: bool) -> list[_Segment] | Reason:
    header = lines[0][1]
    field = header[3:4]
    marks = header[4:].split(field)[0] if field else b""
    usable = field and not field.isalnum() and (marks + field).isascii() and len(set(marks + field)) == len(marks) + 1
    if not usable or not 4 <= len(marks) <= 5:
        return BROKEN_HEADER
    named = b"" if marked else b"".join(header.split(field)[17:18]).split(marks[1:2])[0]
    charset = _charset(named.decode("ascii", "replace").strip())
    fallback = job.ingest.encoding if not named else None
    texts: list[str] = []
    for start, line in lines:
        try:
            text = line.decode(charset)
        except UnicodeDecodeError as error:
            if fallback is None or (found := _decoded(line, fallback)) is None:
                return InvalidBytes("invalid_utf8", None, "UTF-8, or the character set that MSH-18 names, throughout", start + error.start)
            text = found
            job.encodings.add(fallback)
        if texts and text.startswith("ADD" + field.decode("ascii")):
            texts[-1] += text[4:]
        else:
            texts.append(text)
    job.encodings.add(charset)
    component, repetition, escape, subcomponent = list(marks.decode("ascii"))[:4]
    separators = Separators(field.decode("ascii"), component, repetition, escape, subcomponent, charset)
    segments = [_Segment(text, separators) for text in texts]
    return segments if all(_SEGMENT_ID.fullmatch(segment.name) for segment in segments) else BROKEN_SEGMENT


def _charset(name: str) -> str:
    """The encoding that MSH-18 names, by table 0211 or by a common name; UTF-8 for what it does not name."""
    if known := _CHARSETS.get(name.upper()):
        return known
    try:
        found = codecs.lookup(name).name if re.fullmatch(r"(utf-?8|windows-?125\d|cp\d{3,4}|iso-?8859-\d\d?)", name, re.I) else "utf-8"
    except LookupError:
        return "utf-8"
    return "cp1252" if found == "iso8859-1" else found


def _decoded(line: bytes, charset: str) -> str | None:
    try:
        return line.decode(charset)
    except UnicodeDecodeError:
        return None


class _Person:
    """A PID."""

    def __init__(self, pid: _Segment) -> None:
        self.pid = pid
        self.id = next((found for number in (3, 2, 4, 18) if (found := pid.part(number))), "")
        self.birth = values.day(pid.part(7), "PID-7")
        self.sex = values.sex(pid.part(8))

    def draft(self, kin: Sequence[_Segment]) -> Draft:
        """`kin`: the NK1 of the patient."""
        pid = self.pid
        identifiers = [pid.part(number, of=one) for number in (2, 3, 4, 18, 19, 20) for one in pid.repetitions(number)]
        phones = _phones(pid, 13, 14)
        emails = [found for one in pid.repetitions(13) if "@" in (found := pid.part(13, 4, of=one))]
        address = " ".join(part for part in (pid.part(11, 1), pid.part(11, 2)) if part)
        return partial(
            RawPatient, patient_id=values.required(self.id, "PID-3"), names=_names(pid, 5) + _names(pid, 9), birth_date=self.birth,
            death_date=values.day(pid.part(29), "PID-29"), sex=self.sex, address=address or None, city=pid.part(11, 3) or None,
            state=pid.part(11, 4) or None, postal_code=pid.part(11, 5) or None, phones=phones,
            emails=tuple(emails), identifiers=tuple(dict.fromkeys(i for i in identifiers if i)),
            contacts=tuple(dict.fromkeys(name for one in kin for number in (2, 30) for name in _names(one, number))),
            contact_phones=tuple(dict.fromkeys(phone for one in kin for phone in _phones(one, 5, 6, 31))),
        )  # fmt: skip


def _phones(segment: _Segment, *numbers: int) -> tuple[str, ...]:
    """Telephones of fields (XTN), each once: written whole, or from its component 12."""
    found = (segment.part(number, of=one) or segment.part(number, 12, of=one) for number in numbers for one in segment.repetitions(number))
    return tuple(dict.fromkeys(phone for phone in found if phone))


def _names(segment: _Segment, number: int, family: int = 1) -> tuple[str, ...]:
    """Names of a field, given first; `family` is the component that holds the family name (2 behind an id)."""
    found = []
    for one in segment.repetitions(number):
        last, given, middle = (segment.part(number, family + step, of=one) for step in range(3))
        found.append(" ".join(part for part in (given, middle, last) if part))
    return tuple(dict.fromkeys(name for name in found if name))


def _encounter(visit: _Segment, patient: _Person, control: str) -> tuple[str, Draft]:
    encounter_id = values.required(visit.part(19) or visit.part(50) or patient.pid.part(18) or control, "PV1-19")
    start, end = values.day(visit.part(44), "PV1-44"), values.day(visit.part(45), "PV1-45")
    values.in_order(start, end, "PV1-45")
    providers = [name for number in (7, 8, 9, 17) for name in _names(visit, number, family=2)]
    return encounter_id, partial(
        RawEncounter, encounter_id=encounter_id, patient_id=patient.id, setting=visit.part(2) or None,
        start_date=start, end_date=end, providers=tuple(dict.fromkeys(providers)), facility=visit.part(3, 4) or visit.part(39) or None,
    )  # fmt: skip


def _codings(segment: _Segment, number: int, of: str | None = None, method: str = "") -> tuple[Coding, ...]:
    """A code and its alternate (CE, CWE)."""
    found = []
    for code, title, name in ((1, 2, 3), (4, 5, 6)):
        if text := segment.part(number, code, of=of):
            system = values.system(segment.part(number, name, of=of) or method)
            found.append(Coding(system=system, code=values.dotted(text, system), display=segment.part(number, title, of=of) or None))
    return tuple(found)


def _condition(segment: _Segment, patient: _Person, encounter_id: str | None, condition_id: str) -> Draft:
    codings = tuple(replace(one, display=one.display or segment.part(4) or None) for one in _codings(segment, 3, method=segment.part(2)))
    return partial(
        RawCondition, condition_id=condition_id, patient_id=patient.id, encounter_id=encounter_id, codings=codings,
        onset_date=values.day(segment.part(5), "DG1-5"), status=segment.part(6) or None,
    )  # fmt: skip


def _procedure(segment: _Segment, patient: _Person, encounter_id: str | None, procedure_id: str) -> Draft:
    codings = tuple(replace(one, display=one.display or segment.part(4) or None) for one in _codings(segment, 3, method=segment.part(2)))
    performers = [name for number in (8, 11, 12) for name in _names(segment, number, family=2)]
    return partial(
        RawProcedure, procedure_id=procedure_id, patient_id=patient.id, encounter_id=encounter_id, codings=codings,
        start_date=values.day(segment.part(5), "PR1-5"), performers=tuple(dict.fromkeys(performers)),
    )  # fmt: skip


def _claim(
    charges: list[_Segment], billed: list[_Segment], insurance: _Segment | None, patient: _Person, encounter_id: str | None, control: str
) -> Draft:
    """The charges of a DFT. Diagnoses of DG1 come first, in their order; then what FT1-19 has beside them."""
    diagnoses: list[Diagnosis] = []

    def place(coding: Coding, kind: str) -> int:
        for at, one in enumerate(diagnoses, start=1):
            if (one.system, one.code) == (coding.system, coding.code) and "admitting" not in (kind, one.kind):
                return at
        first = kind == "other" and all(one.kind != "principal" for one in diagnoses)
        diagnoses.append(Diagnosis(system=coding.system, code=coding.code, kind="principal" if first else kind))
        return len(diagnoses)

    for segment in billed:
        for coding in _codings(segment, 3, method=segment.part(2))[:1]:
            place(coding, "admitting" if segment.part(6).upper() == "A" else "other")
    lines = []
    for at, charge in enumerate(charges, start=1):
        pointed = [place(coding, "other") for one in charge.repetitions(19) for coding in _codings(charge, 19, of=one)[:1]]
        done = next(iter(_codings(charge, 25) or _codings(charge, 7)), None)
        lines.append(ClaimLine(
            number=at, system=done.system if done else None, code=done.code if done else None,
            modifiers=tuple(found for one in charge.repetitions(26) if (found := charge.part(26, of=one))),
            quantity=values.number(charge.part(10), "FT1-10"), charge=values.number(charge.part(11), "FT1-11"),
            service_date=values.day(charge.part(4), "FT1-4"), diagnosis_pointers=tuple(dict.fromkeys(pointed)),
        ))  # fmt: skip
    days = sorted(line.service_date for line in lines if line.service_date)
    amounts = [line.charge for line in lines if line.charge is not None]
    plan = insurance.part if insurance else lambda *_: ""
    return partial(
        RawClaim, claim_id=values.required(control, "MSH-10"), patient_id=patient.id, encounter_id=encounter_id, form="unknown",
        service_from=days[0] if days else None, service_to=days[-1] if days else None, diagnoses=tuple(diagnoses), lines=tuple(lines),
        total_charge=round(sum(amounts), 2) if len(amounts) == len(lines) else None, payer=plan(4) or None, group_number=plan(8) or None,
        subscriber_id=plan(36) or None, patient_names=_names(patient.pid, 5), birth_date=patient.birth, sex=patient.sex,
        state=patient.pid.part(11, 4) or None, postal_code=patient.pid.part(11, 5) or None,
    )  # fmt: skip


def _document(
    report: list[_Segment], message: list[_Segment], patient: _Person, encounter_id: str | None, kind: str, control: str
) -> Draft | None:
    """The note in the OBX segments of a report.

    Args:
        message: all segments of the patient; its TXA and PV1 hold for each report.
    """
    observations = [segment for segment in report if segment.name == "OBX"]
    wanted = _MDM_TEXT if kind == "MDM" else _TEXT
    told = [(segment, text) for segment in observations if (text := _text(segment, wanted))]
    if not told:
        if kind == "MDM" and any(segment.part(2) in wanted for segment in observations):  # the note is what the message is for
            raise RecordError("empty_note", "OBX-5", "text")
        return None
    pieces: list[str] = []
    for at, (segment, text) in enumerate(told):
        if at and segment.raw(3) != told[at - 1][0].raw(3):
            pieces.append("")
        pieces.append(text)
    header = next((s for s in message if s.name == "TXA"), None)
    order = next((s for s in report if s.name == "OBR"), None)
    visit = next((s for s in message if s.name == "PV1"), None)
    date = (
        (values.day(header.part(4), "TXA-4") if header else None)
        or (values.day(order.part(7), "OBR-7") if order else None)
        or (values.day(visit.part(44), "PV1-44") if visit else None)
    )
    name = (header.part(2) if header else "") or told[0][0].part(3) or (order.part(4) if order else "")
    document_id = (header.part(12) if header else "") or (order.part(3) if order else "") or control
    authors = _names(header, 9, 2) + _names(header, 5, 2) if header else ()
    return partial(
        RawDocument, document_id=values.required(document_id, "MSH-10"), patient_id=patient.id, encounter_id=encounter_id,
        kind=name or None, text="\n".join(pieces), date=date, sex=patient.sex, age=values.age(patient.birth, date),
        authors=tuple(dict.fromkeys(authors)),
    )  # fmt: skip


def _text(segment: _Segment, wanted: tuple[str, ...]) -> str:
    """The text of an OBX, its repetitions as lines; empty when it holds none."""
    kind, marks = segment.part(2), segment.marks
    if kind in wanted:
        if kind in ("CE", "CWE"):
            return segment.part(5, 2) or segment.part(5, 1)
        return "\n".join(marks.unescape(one) for one in segment.raw(5).split(marks.repetition)).strip("\n")
    if kind == "ED":  # source, type of data, subtype, encoding, data
        parts = segment.raw(5).split(marks.component)
        return (
            _enclosed(parts[1].strip().lower(), parts[2].strip().lower(), parts[3].strip().lower(), parts[4], marks)
            if len(parts) > 4
            else ""
        )
    return ""


def _enclosed(kind: str, subtype: str, encoding: str, data: str, marks: Separators) -> str:
    """The text of a document in an ED: plain, RTF, HTML or C-CDA (HL7 tables 0191 and 0291); empty of pictures and the like."""
    said = _SUBTYPES.get(subtype)
    if said is None and kind not in ("text", "tx", "ft"):
        return ""
    try:
        content = base64.b64decode(data, validate=True) if encoding == "base64" else marks.unescape(data).encode()
    except (binascii.Error, ValueError):
        raise RecordError("bad_base64", "OBX-5", "text behind Base64") from None
    return to_text(content, said or "text/plain", field="OBX-5").text if kind_of(content, said or "text/plain") else ""
