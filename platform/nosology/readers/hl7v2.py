"""HL7 v2 messages (ADT, BAR, DFT, MDM, ORU and others with a PID): patients, encounters, conditions, and the text of OBX as a document.

Separators come from MSH-1 and MSH-2. Segments end with CR, LF or both; batch headers (FHS, BHS) and MLLP framing bytes are passed over.
A document is made of TX and FT observations (in MDM messages of ST, CE and CWE too) and of ED ones that carry text in Base64 or plain.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from nosology.errors import Reason, RecordError
from nosology.readers import values
from nosology.readers.source import BOM, INVALID_UTF8, TOO_LONG, Draft, Job, Skipped, Unit, record_bytes
from nosology.records import Coding, RawCondition, RawDocument, RawEncounter, RawPatient

_FRAMES = b"\x0b\x1c\x00 \t"
_BATCH = (b"FHS", b"BHS", b"BTS", b"FTS", b"DSC")
_TRAILERS = {b"FHS": b"FTS", b"BHS": b"BTS"}
_SEGMENT_ID = re.compile(r"[A-Z][A-Z0-9]{2}", re.ASCII)
_ESCAPE = re.compile(r"\\([^\\]{0,64})\\")
_TEXT, _MDM_TEXT = ("TX", "FT"), ("TX", "FT", "ST", "CE", "CWE")
_CHARSETS = {"8859/1": "latin-1", "8859/15": "iso8859-15", "8859/2": "iso8859-2"}
BROKEN_HEADER = Reason("broken_envelope", "MSH", "MSH, a field separator, and MSH-2 with four or five encoding characters")
BROKEN_SEGMENT = Reason("broken_segment", None, "a segment that begins with an id of three characters and the field separator")
NO_TRAILER = Reason("truncated_record", "BTS", "a batch that ends with BTS, a file of batches with FTS")
NO_MESSAGE = Reason("broken_loop", "MSH", "segments of a message below its MSH")


@dataclass(frozen=True)
class Separators:
    """The marks of one message."""

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"

    def unescape(self, text: str) -> str:
        """Text as its author wrote it: HL7 chapter 2.7; formatting commands other than line breaks vanish."""
        if self.escape not in text:
            return text
        plain = {"F": self.field, "S": self.component, "R": self.repetition, "E": self.escape, "T": self.subcomponent}

        def one(match: re.Match[str]) -> str:
            name = match[1]
            if name in plain:
                return plain[name]
            if name.startswith("X"):
                try:
                    return bytes.fromhex(name[1:]).decode("latin-1")
                except ValueError:
                    return ""
            return "\n" if name.startswith((".br", ".sp", ".BR", ".SP")) else ""

        pattern = _ESCAPE if self.escape == "\\" else re.compile(re.escape(self.escape) + r"([^\\]{0,64}?)" + re.escape(self.escape))
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


def messages(stream: io.BufferedReader, limit: int) -> Iterator[list[bytes] | Reason]:
    """The segments of each message, undecoded; a `Reason` for one too long, for lines that belong to none, for a batch cut off."""
    found: list[bytes] = []
    size, fault, stray = 0, False, False
    opened: list[bytes] = []  # batches whose trailer is due
    first = True
    while line := stream.readline(limit):
        if first:
            line, first = line.removeprefix(BOM), False
        for part in line.replace(b"\n", b"\r").split(b"\r"):
            part = part.strip(_FRAMES)
            if part.startswith(b"MSH"):
                if fault:
                    yield TOO_LONG
                elif found:
                    yield found
                found, size, fault, stray = [], 0, False, False
            elif not part:
                continue
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
            size += len(part)
            if size > limit:
                found, fault = [], True
            elif not fault:
                found.append(part)
    if fault:
        yield TOO_LONG
    elif found:
        yield found
    if opened:
        yield NO_TRAILER


class Hl7v2:
    """Reader of HL7 v2 messages; one without a PID (an acknowledgement, a schedule) is skipped."""

    name = "hl7v2"

    def sniff(self, head: bytes) -> bool:
        head = head.removeprefix(BOM).lstrip(_FRAMES + b"\r\n")
        mark = head[3:4]
        return head[:3] in (b"MSH", b"FHS", b"BHS") and len(head) > 7 and not mark.isalnum() and not mark.isspace()

    def read(self, stream: io.BufferedReader, job: Job) -> Iterator[Unit]:
        for message in messages(stream, record_bytes(job.ingest)):
            if isinstance(message, Reason):
                yield message
                continue
            try:
                yield self._message(message)
            except RecordError as error:
                yield error.reason

    def _message(self, lines: list[bytes]) -> Unit:
        segments = _decode(lines)
        if isinstance(segments, Reason):
            return segments
        header = segments[0]
        kind = header.part(9)
        if not any(segment.name == "PID" for segment in segments):
            return Skipped(kind if re.fullmatch(r"[A-Z]{3}", kind, re.ASCII) else "unknown")
        drafts: list[Draft] = []
        patient: _Person | None = None
        encounter_id = None
        conditions: list[_Segment] = []
        control = header.part(10)
        for segment in segments:
            if segment.name == "PID":
                patient = _Person(segment)
                drafts.append(patient.draft())
            elif segment.name == "PV1":
                encounter_id, draft = _encounter(segment, patient, control)
                drafts.append(draft)
            elif segment.name == "DG1":
                conditions.append(segment)
        drafts += [_condition(segment, patient, encounter_id, f"{control}/DG1-{at}") for at, segment in enumerate(conditions, start=1)]
        if note := _document(segments, patient, encounter_id, kind, control):
            drafts.append(note)
        return drafts


def _decode(lines: list[bytes]) -> list[_Segment] | Reason:
    header = lines[0]
    field = header[3:4]
    marks = header[4:].split(field)[0] if field else b""
    usable = field and not field.isalnum() and (marks + field).isascii() and len(set(marks + field)) == len(marks) + 1
    if not usable or not 4 <= len(marks) <= 5:
        return BROKEN_HEADER
    separators = Separators(field.decode("ascii"), *marks.decode("ascii")[:4])
    named = header.split(field)[17:18]
    charset = _CHARSETS.get(named[0].split(marks[1:2])[0].decode("ascii", "replace").strip(), "utf-8") if named else "utf-8"
    segments = []
    for line in lines:
        try:
            segment = _Segment(line.decode(charset), separators)
        except UnicodeDecodeError:
            return Reason(INVALID_UTF8.code, None, "UTF-8, or the character set that MSH-18 names")
        if not _SEGMENT_ID.fullmatch(segment.name):
            return BROKEN_SEGMENT
        segments.append(segment)
    return segments


class _Person:
    """A PID."""

    def __init__(self, pid: _Segment) -> None:
        self.pid = pid
        self.id = next((found for number in (3, 2, 4, 18) if (found := pid.part(number))), "")
        self.birth = values.day(pid.part(7), "PID-7")
        self.sex = values.sex(pid.part(8))

    def draft(self) -> Draft:
        pid = self.pid
        identifiers = [pid.part(number, of=one) for number in (2, 3, 4, 18, 19, 20) for one in pid.repetitions(number)]
        phones = [pid.part(number, of=one) or pid.part(number, 12, of=one) for number in (13, 14) for one in pid.repetitions(number)]
        emails = [found for one in pid.repetitions(13) if "@" in (found := pid.part(13, 4, of=one))]
        address = " ".join(part for part in (pid.part(11, 1), pid.part(11, 2)) if part)
        return partial(
            RawPatient, patient_id=values.required(self.id, "PID-3"), names=_names(pid, 5) + _names(pid, 9), birth_date=self.birth,
            death_date=values.day(pid.part(29), "PID-29"), sex=self.sex, address=address or None, city=pid.part(11, 3) or None,
            state=pid.part(11, 4) or None, postal_code=pid.part(11, 5) or None, phones=tuple(dict.fromkeys(p for p in phones if p)),
            emails=tuple(emails), identifiers=tuple(dict.fromkeys(i for i in identifiers if i)),
        )  # fmt: skip


def _names(segment: _Segment, number: int, family: int = 1) -> tuple[str, ...]:
    """Names of a field, given first; `family` is the component that holds the family name (2 behind an id)."""
    found = []
    for one in segment.repetitions(number):
        last, given, middle = (segment.part(number, family + step, of=one) for step in range(3))
        found.append(" ".join(part for part in (given, middle, last) if part))
    return tuple(dict.fromkeys(name for name in found if name))


def _encounter(visit: _Segment, patient: _Person | None, control: str) -> tuple[str, Draft]:
    pid = patient.pid if patient else None
    encounter_id = values.required(visit.part(19) or visit.part(50) or (pid.part(18) if pid else "") or control, "PV1-19")
    start, end = values.day(visit.part(44), "PV1-44"), values.day(visit.part(45), "PV1-45")
    values.in_order(start, end, "PV1-45")
    providers = [name for number in (7, 8, 9, 17) for name in _names(visit, number, family=2)]
    return encounter_id, partial(
        RawEncounter, encounter_id=encounter_id, patient_id=patient.id if patient else None, setting=visit.part(2) or None,
        start_date=start, end_date=end, providers=tuple(dict.fromkeys(providers)), facility=visit.part(3, 4) or visit.part(39) or None,
    )  # fmt: skip


def _condition(segment: _Segment, patient: _Person | None, encounter_id: str | None, condition_id: str) -> Draft:
    codings = []
    for code, title, name in ((1, 2, 3), (4, 5, 6)):  # a code and its alternate
        if found := segment.part(3, code):
            system = values.system(segment.part(3, name) or segment.part(2))
            display = segment.part(3, title) or segment.part(4) or None
            codings.append(Coding(system=system, code=values.dotted(found, system), display=display))
    return partial(
        RawCondition, condition_id=condition_id, patient_id=patient.id if patient else None, encounter_id=encounter_id,
        codings=tuple(codings), onset_date=values.day(segment.part(5), "DG1-5"), status=segment.part(6) or None,
    )  # fmt: skip


def _document(segments: list[_Segment], patient: _Person | None, encounter_id: str | None, kind: str, control: str) -> Draft | None:
    observations = [segment for segment in segments if segment.name == "OBX"]
    wanted = _MDM_TEXT if kind == "MDM" else _TEXT
    typed = [segment for segment in observations if segment.part(2) in wanted]
    texts = [text for segment in observations if (text := _text(segment, wanted))]
    if not texts:
        if kind == "MDM" and typed:  # the note is what the message is for
            raise RecordError("empty_note", "OBX-5", "text")
        return None
    header = next((s for s in segments if s.name == "TXA"), None)
    order = next((s for s in segments if s.name == "OBR"), None)
    visit = next((s for s in segments if s.name == "PV1"), None)
    date = (
        (values.day(header.part(4), "TXA-4") if header else None)
        or (values.day(order.part(7), "OBR-7") if order else None)
        or (values.day(visit.part(44), "PV1-44") if visit else None)
    )
    observed = next(s for s in observations if _text(s, wanted))
    name = (header.part(2) if header else "") or observed.part(3) or (order.part(4) if order else "")
    document_id = (header.part(12) if header else "") or (order.part(3) if order else "") or control
    authors = _names(header, 9, 2) + _names(header, 5, 2) if header else ()
    return partial(
        RawDocument, document_id=values.required(document_id, "MSH-10"), patient_id=patient.id if patient else None,
        encounter_id=encounter_id, kind=name or None, text="\n".join(texts), date=date, sex=patient.sex if patient else None,
        age=values.age(patient.birth, date) if patient else None, authors=tuple(dict.fromkeys(authors)),
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
        if len(parts) < 5 or parts[1].strip().lower() not in ("text", "tx", "ft"):
            return ""
        if parts[3].strip().lower() != "base64":
            return marks.unescape(parts[4])
        try:
            return base64.b64decode(parts[4], validate=True).decode()
        except (binascii.Error, ValueError):
            raise RecordError("bad_base64", "OBX-5", "text in UTF-8 behind Base64") from None
    return ""
