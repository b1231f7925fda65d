"""What the records of a run say of each patient, encrypted, for the workers that search its notes; and whose an encounter or a claim is, so
that a row that names no patient is still one of a patient's.

    DIR/patients-NUMBER     values of patients, dealt by HMAC of the patient's id
    DIR/events-NUMBER       for encounters and claims: values that no patient's id stands beside, and the patients, encounters and claims
                            that a row names beside them
    DIR/complete.json       how many parts there are and which are not empty; last, so that a folder without it is made again

An entry is 16 bytes of HMAC-SHA-256 over the id, 4 bytes of length, a nonce of 96 bits, and AES-256-GCM (NIST SP 800-38D) of its values with
the entry's name as associated data, so that none can be put in the place of another. The key is derived by HKDF-SHA-256 (RFC 5869) from
the secret of de-identification; nothing lies on disk in clear, also not what waits in a temporary file.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import tempfile
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nosology import storage
from nosology.deid.known import Value
from nosology.errors import InputError

if TYPE_CHECKING:
    from nosology.config import DeidConfig
    from nosology.deid.secret import Secret

NAME_BYTES, NONCE_BYTES = 16, 12
_PURPOSE = "nosology known values"
COMPLETE = "complete.json"
PATIENTS, EVENTS = "patients", "events"
MOST_PARTS, PATIENTS_OF_PART = 4096, 500
_HELD_BYTES = 32 << 20  # that are gathered before they go to the temporary file
_VALUE_BYTES = 160  # of a value in memory beside its text
_HELD_PART_BYTES = 32 << 20  # in a worker; the newest part is held whatever its size
MOST_OWNERS = 64  # that an event has: one that more rows name otherwise is a default or a placeholder, and nobody's
_HEAD = struct.Struct("<qI")  # where the part's chunk before begins, and bytes of this one
_LENGTH = struct.Struct("<I")

_OWN_IDS = ("document_id", "condition_id", "procedure_id")

Owner = tuple[str, bytes]  # part's kind, name


def closed(secret: Secret, name: bytes, value: Any) -> bytes:
    """A JSON value, encrypted: nonce and ciphertext. `name` is what it can be opened with alone."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + bytes(secret.cipher(_PURPOSE).encrypt(nonce, json.dumps(value).encode(), name))


def opened(secret: Secret, name: bytes, data: bytes, uri: str) -> Any:
    """What `closed` encrypted.

    Raises:
        InputError: another key did it, or it was changed.
    """
    from cryptography.exceptions import InvalidTag

    try:
        return json.loads(secret.cipher(_PURPOSE).decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], name))
    except (InvalidTag, ValueError):
        raise InputError("known values of patients that another key sealed, or that were changed", file=uri,
                         remedy="Remove that folder, then run again; it is made anew") from None  # fmt: skip


def owner_of(row: Mapping[str, Any], secret: Secret) -> Owner | None:
    """Whose a row is: its patient's, else its claim's, else its encounter's; None of a row that names none."""
    if row.get("patient_id") is not None:
        return PATIENTS, _name("patient", row["patient_id"], secret)
    return next(events_of(row, secret), None)


def draws(config: DeidConfig) -> bool:
    """Whether it matters whose a row is: dates are moved by a patient's days, or values are drawn for a patient."""
    return config.dates == "shift" or config.rewrite == "surrogates"


def whose(row: Mapping[str, Any], secret: Secret) -> str:
    """Whose secret moves the dates of a row and draws its invented values, by the row alone: its patient's, else its claim's, else its
    encounter's, else its own. `Dossier.whose` knows more."""
    owner = owner_of(row, secret)
    if owner is not None:
        return _told(owner)
    named = (f"{name} {row[name]}" for name in _OWN_IDS if row.get(name) is not None)
    return next(named, f"{row.get('source_digest')}/{row.get('source_row')}")


def _told(owner: Owner) -> str:
    return f"{owner[0]} {owner[1].hex()}"


def events_of(row: Mapping[str, Any], secret: Secret) -> Iterator[Owner]:
    """The claim and the encounter of a row."""
    for kind in ("claim", "encounter"):
        if row.get(f"{kind}_id") is not None:
            yield EVENTS, _name(kind, row[f"{kind}_id"], secret)


def _name(kind: str, identity: object, secret: Secret) -> bytes:
    text = str(identity).encode(errors="replace").decode()  # half of a surrogate pair, whose row becomes a dead letter
    return secret.digest(f"known {kind}", text)[:NAME_BYTES]


class Gathering:
    """Makes the folder. Its memory does not grow with what is gathered.

    Args:
        folder: where; local or on an object store.
        secret: of de-identification.
        num_patients: about how many there are.
    """

    def __init__(self, folder: str, secret: Secret, num_patients: int) -> None:
        self._folder, self._secret = folder, secret
        self._num_parts = min(MOST_PARTS, num_patients // PATIENTS_OF_PART + 1)
        self._held: dict[tuple[str, int], dict[bytes, tuple[set[Value], set[Owner]]]] = {}
        self._held_bytes = 0
        self._last: dict[tuple[str, int], int] = {}  # where the newest chunk of a part begins
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `finish`

    def take(self, row: Mapping[str, Any], values: Sequence[Value]) -> None:
        """Values of the row's owner; the row joins its claim and its encounter to its patient, else to one another."""
        owner = owner_of(row, self._secret)
        if owner is None:
            return
        if values:
            self.add(owner, values)
        events = list(events_of(row, self._secret))
        for event in events:
            for other in [owner] if owner[0] == PATIENTS else events:
                if other != event:
                    self.add(event, (), of=other)

    def add(self, owner: Owner, values: Iterable[Value], of: Owner | None = None) -> None:
        """Values of an owner; `of`: whose values are its too."""
        part = (owner[0], int.from_bytes(owner[1][:8], "big") % self._num_parts)
        entries = self._held.setdefault(part, {})
        if owner[1] not in entries:
            entries[owner[1]] = (set(), set())
            self._held_bytes += 2 * _VALUE_BYTES
        known, others = entries[owner[1]]
        for value in values:
            if value not in known:
                known.add(value)
                self._held_bytes += _VALUE_BYTES + len(value.text)
        if of is not None and of not in others:
            others.add(of)
            self._held_bytes += _VALUE_BYTES
            if len(others) > 2 * MOST_OWNERS:
                self._held_bytes -= _VALUE_BYTES * _cut(others)
        if self._held_bytes >= _HELD_BYTES:
            self._flush()

    def _flush(self) -> None:
        with storage.named_errors(tempfile.gettempdir()):
            for part, entries in self._held.items():
                data = closed(self._secret, b"", [[name.hex(), _plain(*entry)] for name, entry in entries.items()])
                at = self._file.tell()
                self._file.write(_HEAD.pack(self._last.get(part, -1), len(data)) + data)
                self._last[part] = at
        self._held, self._held_bytes = {}, 0

    def _chunks(self, part: tuple[str, int]) -> Iterator[list[Any]]:
        at = self._last[part]
        while at >= 0:
            with storage.named_errors(tempfile.gettempdir()):
                self._file.seek(at)
                at, size = _HEAD.unpack(self._file.read(_HEAD.size))
                data = self._file.read(size)
            yield opened(self._secret, b"", data, tempfile.gettempdir())

    def finish(self) -> None:
        """Write the parts, then the list of them. What an earlier attempt wrote, or another driver writes now, says the same."""
        self._flush()
        written = []
        with self._file:
            for part in sorted(self._last):
                entries: dict[str, tuple[set[Value], set[Owner]]] = {}
                for chunk in self._chunks(part):
                    for name, content in chunk:
                        values, others = entries.setdefault(name, (set(), set()))
                        values |= {Value(*value) for value in content["values"]}
                        others |= {(kind, bytes.fromhex(owner)) for kind, owner in content["of"]}
                        _cut(others)
                pieces = []
                for name, entry in sorted(entries.items()):
                    key = bytes.fromhex(name)
                    values, others = entry
                    data = closed(self._secret, key, _plain(values, others if len(others) <= MOST_OWNERS else set()))
                    pieces += [key, _LENGTH.pack(len(data)), data]
                written.append(_file(*part))
                storage.write_bytes(storage.join(self._folder, written[-1]), b"".join(pieces))
        storage.write_json(storage.join(self._folder, COMPLETE), {"parts": self._num_parts, "written": written})


def _cut(others: set[Owner]) -> int:
    """Leaves one more than may be, always the same ones; returns how many it took."""
    over = sorted(others)[MOST_OWNERS + 1 :]
    others.difference_update(over)
    return len(over)


def _plain(values: set[Value], others: set[Owner]) -> dict[str, Any]:
    return {"values": sorted(values), "of": sorted((kind, name.hex()) for kind, name in others)}


def _file(kind: str, number: int) -> str:
    return f"{kind}-{number:04}"


def is_complete(folder: str) -> bool:
    """Whether the folder was made to its end."""
    return storage.exists(storage.join(folder, COMPLETE))


def remove(folder: str) -> None:
    """Removes the folder, as far as the storage has folders; one that is not there is no error."""
    if not storage.exists(folder):
        return
    storage.remove(storage.join(folder, COMPLETE))  # first: what is left of the others is no dossier
    files = storage.list_files(folder, hidden=True)
    for uri in files:
        storage.remove(uri)
    if storage.is_local(folder):
        root = storage.local_path(folder)
        folders = {parent for uri in files for parent in storage.local_path(uri).parents if parent.is_relative_to(root)} | {root}
        for below in sorted(folders, key=lambda path: len(path.parts), reverse=True):
            with contextlib.suppress(OSError):  # a worker of another driver wrote there meanwhile
                below.rmdir()


class Dossier:
    """The folder as a worker reads it: a part at a time, when a note needs it. Picklable; holds the folder and the key alone.

    Args:
        folder: that `Gathering` made.
        secret: it was made with.
    """

    def __init__(self, folder: str, secret: Secret) -> None:
        self._folder, self._secret = folder, secret
        self._parts: OrderedDict[str, tuple[bytes, dict[bytes, tuple[int, int]]]] = OrderedDict()
        self._list: tuple[int, frozenset[str]] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Dossier, (self._folder, self._secret)

    def owners(self, row: Mapping[str, Any]) -> tuple[Owner, ...]:
        """Whose values are looked for in a row: its patient's and its claim's; where it names no patient, its claim's and its encounter's and
        those of the patient whose these are."""
        owner = owner_of(row, self._secret)
        if owner is None:
            return ()
        if owner[0] == PATIENTS:
            return (owner, *events_of({**row, "encounter_id": None}, self._secret))
        events = tuple(events_of(row, self._secret))
        return tuple(dict.fromkeys([self._leads_to(events), *events]))

    def whose(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """Whose secret moves the dates of each row and draws its invented values: as `whose`, with the patient in the place of the claim or
        encounter that is theirs. Where no row says whose they are, one claim or encounter stands for all that rows join to it.

        Raises:
            InputError: a part is missing or was changed.
        """
        found = [whose(row, self._secret) for row in rows]
        events = {n: tuple(events_of(row, self._secret)) for n, row in enumerate(rows) if row.get("patient_id") is None}
        known = dict.fromkeys(filter(None, events.values()))
        leads = {each: self._leads_to(each) for each in sorted(known, key=lambda each: self._file_of(each[0]))}  # part by part
        return [_told(leads[events[n]]) if events.get(n) else one for n, one in enumerate(found)]

    def _leads_to(self, events: Sequence[Owner]) -> Owner:
        """The patient whose some events are: the one that is fewest rows away. Of several who are as near, none: the first event stands."""
        seen, level = dict.fromkeys(events), list(events)
        while level:
            others = dict.fromkeys(other for event in level for other in self._entry(event)[1])
            patients = [other for other in others if other[0] == PATIENTS]
            if patients:
                return patients[0] if len(patients) == 1 else events[0]
            level = [other for other in others if other not in seen] if len(seen) <= MOST_OWNERS else []
            seen |= dict.fromkeys(level)
        return min(seen)

    def of(self, owners: Sequence[Owner]) -> list[Value]:
        """What is known of them, and of the patient whose claim or encounter one is.

        Raises:
            InputError: a part is missing or was changed.
        """
        values: dict[Value, None] = {}
        for one in owners:
            own, others = self._entry(one)
            values |= dict.fromkeys(own)
            for other in others:
                if other not in owners:
                    values |= dict.fromkeys(self._entry(other)[0])
        return list(values)

    def _entry(self, owner: Owner) -> tuple[list[Value], list[Owner]]:
        name, file = owner[1], self._file_of(owner)
        if file not in self._listed()[1]:
            return [], []
        data, places = self._part(file)
        if name not in places:
            return [], []
        at, size = places[name]
        content = opened(self._secret, name, data[at : at + size], storage.join(self._folder, file))
        return [Value(*value) for value in content["values"]], [(kind, bytes.fromhex(other)) for kind, other in content["of"]]

    def _file_of(self, owner: Owner) -> str:
        return _file(owner[0], int.from_bytes(owner[1][:8], "big") % self._listed()[0])

    def _listed(self) -> tuple[int, frozenset[str]]:
        if self._list is None:
            held = storage.read_json(storage.join(self._folder, COMPLETE))
            self._list = int(held["parts"]), frozenset(held["written"])
        return self._list

    def _part(self, file: str) -> tuple[bytes, dict[bytes, tuple[int, int]]]:
        """A part's bytes, and where the entry of each name lies in them."""
        if file in self._parts:
            self._parts.move_to_end(file)
            return self._parts[file]
        uri = storage.join(self._folder, file)
        data = storage.read_bytes(uri)
        places: dict[bytes, tuple[int, int]] = {}
        at, head = 0, NAME_BYTES + _LENGTH.size
        while at < len(data):
            if at + head > len(data):
                raise InputError(
                    "known values of patients that were cut", file=uri, remedy="Remove that folder, then run again; it is made anew"
                )
            (size,) = _LENGTH.unpack_from(data, at + NAME_BYTES)
            places[data[at : at + NAME_BYTES]] = (at + head, size)
            at += head + size
        self._parts[file] = data, places
        while len(self._parts) > 1 and sum(len(held) for held, _ in self._parts.values()) > _HELD_PART_BYTES:
            self._parts.popitem(last=False)
        return data, places
