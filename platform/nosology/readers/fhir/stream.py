"""Lines, Bundles and arrays: the resources of a file, in order."""

from __future__ import annotations

import io
import re
from collections import OrderedDict, deque
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any

import orjson

from nosology.errors import Reason, RecordError
from nosology.readers import values
from nosology.readers.beginnings import OBJECT, RESOURCE_TYPE
from nosology.readers.fhir import claims, clinical, documents
from nosology.readers.fhir.attachments import Folder
from nosology.readers.fhir.elements import Resource, Scope, objects, status, string, target, wrong
from nosology.readers.fhir.resources import RESOURCES
from nosology.readers.source import BOM, DAMAGED, TOO_LONG, Draft, Job, Kept, Skipped, Unit, fault_of, invalid_bytes, record_bytes
from nosology.readers.unlisted import Elements

BAD_JSON = Reason("bad_json", None, "a JSON object (FHIR resource)")
_LONE = re.compile(rb'\s*\{.*"resourceType"\s*:.*\}\s*$')
MOST_NESTED = 4  # Bundles within Bundles

_BUILD: dict[str, Callable[[Resource, Scope], list[Draft] | Skipped]] = {
    "Patient": clinical.patient, "Encounter": clinical.visit, "Condition": clinical.condition, "Procedure": clinical.procedure,
    "Claim": claims.claim, "ExplanationOfBenefit": claims.benefit,
    "DocumentReference": documents.document, "DiagnosticReport": documents.report, "Composition": documents.composition,
}  # fmt: skip
_ERROR = "entered-in-error"


class Fhir:
    """Reader of FHIR resources in JSON."""

    name = "fhir"

    def sniff(self, head: bytes) -> bool:
        head = head.removeprefix(BOM).lstrip()
        return OBJECT.match(head) is not None and RESOURCE_TYPE.search(head) is not None

    def read(self, stream: io.BufferedReader, job: Job) -> Iterator[Unit]:
        lines = _Lines(stream, record_bytes(job.ingest))
        scope = Scope(
            lines.binary,
            Folder(job.source.uri, record_bytes(job.ingest), job.beside).read,
            builder=job.builder,
            meet=Elements(job.unlisted).meet,
        )
        keep = job.ingest.keep_originals
        if lines.is_one_value() and (yield from _whole(lines, scope, keep)):
            return
        place = 0
        for raw, line in lines:
            if keep:
                yield Kept(raw)
            if line is None:
                yield TOO_LONG
            elif line:
                yield from _line(line, place + raw.find(line), scope, lines)
            place += len(raw)


def _line(line: bytes, start: int, scope: Scope, lines: _Lines) -> Iterator[Unit]:
    value = scope.builder.make(_parsed, line, start)
    if isinstance(value, Reason):
        yield value
        return
    if type(value) is dict and value.get("resourceType") == "Binary":
        lines.remember(value, len(line))
    yield from units(value, scope)


def _parsed(line: bytes, start: int) -> Any:
    """The JSON value of a line, or why it is none."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        invalid = invalid_bytes(line, start)
        return BAD_JSON if invalid.offset is None else invalid


def _whole(lines: _Lines, scope: Scope, keep: bool) -> Generator[Unit, None, bool]:
    """A file that is one value over many lines. Returns False, and gives the lines back, when it is no JSON after all and lines hold resources."""
    held: list[tuple[bytes, bytes | None]] = []
    size = 0
    for raw, line in lines:
        held.append((raw, line))
        size += len(raw)
        if line is None or size > lines.most_bytes:
            yield TOO_LONG
            return True
    content = b"".join(raw for raw, _ in held)
    try:
        value = orjson.loads(content.removeprefix(BOM))
    except orjson.JSONDecodeError:
        if any(_LONE.match(line) for _, line in held if line):
            lines.give_back(held)
            return False
        if keep:
            yield Kept(content)
        invalid = invalid_bytes(content, 0)  # one damaged document
        yield BAD_JSON if invalid.offset is None else invalid
        return True
    if keep:
        yield Kept(content)
    del content, held
    yield from units(value, scope)
    return True


def units(value: Any, scope: Scope, depth: int = 0) -> Iterator[Unit]:
    """What one JSON value gives: a unit, or those of an array's or a Bundle's members."""
    if type(value) is list and depth == 0:
        yield from _members(value, scope, depth) if value else (BAD_JSON,)
        return
    try:
        if type(value) is not dict:
            raise RecordError(BAD_JSON.code, None, BAD_JSON.rule)
        kind = value.get("resourceType")
        build = _BUILD.get(kind) if type(kind) is str else None
        if build is not None:
            scope.meet(value)
            yield scope.builder.make(_built, build, value, scope)
            return
        kind = values.required(string(kind, "resourceType"), "resourceType")
        if value["resourceType"] not in RESOURCES:
            raise wrong("resourceType", "the name of a FHIR resource")
        if kind != "Bundle" or depth >= MOST_NESTED:
            yield Skipped(kind)
            return
        members = _entries(value)
    except Exception as error:
        yield fault_of(error)
        return
    yield from _members(members, scope, depth)


def _built(build: Callable[[Resource, Scope], list[Draft] | Skipped], resource: Resource, scope: Scope) -> Unit:
    return Skipped(f"{resource['resourceType']} entered in error") if _in_error(resource) else build(resource, scope)


def _in_error(resource: Resource) -> bool:
    """Whether the resource says that it was entered in error."""
    if resource.get("status") == _ERROR:
        return True
    return "verificationStatus" in resource and status(resource["verificationStatus"], "verificationStatus") == _ERROR


def _members(members: list[Any], scope: Scope, depth: int) -> Iterator[Unit]:
    """Resources that stand together and can refer to each other."""
    binaries = {one.get("id"): one for one in members if type(one) is dict and one.get("resourceType") == "Binary"
                and type(one.get("id")) is str}  # fmt: skip

    def binary(key: str) -> Resource | None:
        return binaries[key] if key in binaries else scope.binary(key)

    inner = Scope(binary, scope.beside, {**scope.conditions, **clinical.codes_of_conditions(members)}, scope.builder, scope.meet)
    for one in members:
        yield from units(one, inner, depth + 1)


def _entries(bundle: Resource) -> list[Any]:
    """The resources of a Bundle. A reference to the `fullUrl` of an entry whose resource has another id, or none, is led to that id."""
    found: list[Any] = []
    names: dict[str, str] = {}
    for entry in objects(bundle.get("entry"), "entry"):
        resource = entry.get("resource")
        if resource is None:  # a Bundle's answer to a delete, for instance
            continue
        url = entry.get("fullUrl")
        if type(resource) is dict and type(url) is str and (key := target(url)):
            own = resource.get("id")
            if own is None:
                resource = {**resource, "id": key}
            elif type(own) is str and own != key and url.startswith("urn:"):
                names[url] = own
        found.append(resource)
    return [_renamed(one, names, 0) for one in found] if names else found


def _renamed(value: Any, names: Mapping[str, str], depth: int) -> Any:
    if depth > 64:
        return value
    if type(value) is list:
        return [_renamed(one, names, depth + 1) for one in value]
    if type(value) is not dict:
        return value
    made = {key: _renamed(one, names, depth + 1) if type(one) in (dict, list) else one for key, one in value.items()}
    for key in ("reference", "url"):
        if type(made.get(key)) is str and made[key] in names:
            made[key] = f"Binary/{names[made[key]]}" if key == "url" else names[made[key]]
    return made


class _Lines:
    """Lines as they lie there, each with its content: blank for none, None for one too long, of which the rest comes as blank ones.

    A Binary that a resource refers to is looked for among those passed and in the lines ahead, `hold_bytes` of each at most, so that
    memory does not grow with the file.
    """

    def __init__(self, stream: io.BufferedReader, hold_bytes: int) -> None:
        self._stream, self._hold_bytes = stream, hold_bytes
        self.most_bytes = 16 * hold_bytes  # of a value: a Bundle may hold many records
        self._ahead: deque[tuple[bytes, bytes | None]] = deque()
        self._ahead_bytes = self._passed_bytes = 0
        self._passed: OrderedDict[str, tuple[Resource, int]] = OrderedDict()
        self._coming: dict[str, Resource] = {}
        self._is_looked_through = False  # whether the Binaries ahead are known: not while only `is_one_value` held lines
        self._source = self._read()
        self._damage: Exception | None = None

    def __iter__(self) -> Iterator[tuple[bytes, bytes | None]]:
        while True:
            while self._ahead:
                raw, line = self._ahead.popleft()
                self._ahead_bytes -= len(raw)
                yield raw, line
            if self._damage is not None:
                raise self._damage
            found = next(self._source, None)
            if found is None:
                return
            yield found

    def _read(self) -> Iterator[tuple[bytes, bytes | None]]:
        first, limit = True, self.most_bytes
        while raw := self._stream.readline(limit):
            line = raw
            if first:
                line, first = raw.removeprefix(BOM), False
            if len(raw) >= limit and not raw.endswith(b"\n"):
                yield raw, None
                while raw and not raw.endswith(b"\n"):
                    raw = self._stream.readline(1 << 20)
                    yield raw, b""
            else:
                yield raw, line.strip()

    def is_one_value(self) -> bool:
        """Whether the file is one value over many lines: the second line of NDJSON begins with a brace, and none ends within an array."""
        while len([1 for _, line in self._ahead if line]) < 2 and (found := self._next()) is not None:
            self._hold(found)
            if found[1] is None:
                return False
        written = [line for _, line in self._ahead if line]
        if len(written) < 2:
            return False
        return not written[1].startswith((b"{", b"[")) or (written[0].startswith(b"[") and not written[0].endswith(b"]"))

    def _next(self) -> tuple[bytes, bytes | None] | None:
        """The next line ahead, None at the end. Damage of the stream waits until what came before it was given out."""
        try:
            return next(self._source, None)
        except DAMAGED as damage:
            self._damage = damage
            return None

    def give_back(self, held: list[tuple[bytes, bytes | None]]) -> None:
        """All lines of the file, which then come again."""
        for found in held:
            self._hold(found)

    def _hold(self, found: tuple[bytes, bytes | None]) -> None:
        self._ahead.append(found)
        self._ahead_bytes += len(found[0])

    def remember(self, binary: Resource, size: int) -> None:
        """A Binary that was passed."""
        key = binary.get("id")
        if type(key) is not str:
            return
        self._coming.pop(key, None)
        self._passed[key] = binary, size
        self._passed_bytes += size
        while self._passed_bytes > self._hold_bytes:
            self._passed_bytes -= self._passed.popitem(last=False)[1][1]

    def binary(self, key: str) -> Resource | None:
        """The Binary with an id, passed or ahead."""
        if key in self._passed:
            return self._passed[key][0]
        if not self._is_looked_through:
            self._is_looked_through = True
            for _, line in self._ahead:
                self._look(line)
        while key not in self._coming and self._ahead_bytes < self._hold_bytes and (found := self._next()) is not None:
            self._hold(found)
            self._look(found[1])
        return self._coming.get(key)

    def _look(self, line: bytes | None) -> None:
        """Keeps a Binary that is ahead."""
        if not line or b'"Binary"' not in line:
            return
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError:
            return
        if type(value) is dict and value.get("resourceType") == "Binary" and type(value.get("id")) is str:
            self._coming[value["id"]] = value
