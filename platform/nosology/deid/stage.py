"""De-identification as a stage of the batch: documents, users' own rows with a text column, and every structured table."""

from __future__ import annotations

import datetime
import functools
import json
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nosology.config import Config, DeidConfig, InputConfig
from nosology.deid.clock import on_its_day
from nosology.deid.dossier import Dossier, draws, whose
from nosology.deid.known import Known, Value
from nosology.deid.languages import language
from nosology.deid.marks import marked, recognised
from nosology.deid.policies import policy_of
from nosology.deid.rewrite import rewrite
from nosology.deid.sealing import KEY, policy_digest, seal
from nosology.deid.secret import Secret, load_secret
from nosology.deid.spelling import Folded
from nosology.deid.structured import clean, own_names, relabelled, to_search
from nosology.errors import RecordError
from nosology.records import CLEAN_TABLES, DeidAudit, Removal, Sealed, Span, arrow_schema, to_dict

if TYPE_CHECKING:
    import pyarrow as pa

    from nosology.deid.detect import Detector

NOTES = frozenset({"documents", "rows"})  # tables whose rows hold a text
_KEPT_PATIENTS = 64  # notes of one patient often come together
_KEPT_LABELS = 10_000  # document types and payers repeat; a worker searches each once


class Deidentify:
    """A `Stage`. Picklable before `open`; the key travels inside it, so that every worker has the same one, and never shows.

    Args:
        config: `deid` section; without `as_of` its day is today.
        columns: `input` section: where a user's rows hold text and id.
        max_document_bytes: a longer note (UTF-8) is dead-lettered; None is the default of `ingest`.
        dossier: folder of what the records of the run say of its patients (`deid.dossier`); None: a row knows its own names alone.
    """

    verb = "deidentify"

    def __init__(
        self,
        config: DeidConfig,
        columns: InputConfig | None = None,
        max_document_bytes: int | None = None,
        dossier: str | None = None,
    ) -> None:
        self._config = on_its_day(config)
        self._columns = columns or Config().input
        self._max_document_bytes = max_document_bytes or Config().ingest.max_document_bytes
        self._secret: Secret = load_secret(config)
        policy_of(config)  # refused here, not at the first note
        from nosology.deid.proof import digest_of

        self._fingerprint = _fingerprint(config, self._secret)
        # a record that other rules or another tagger cleaned is no work of this stage
        self._policy = digest_of([policy_digest(config, self._secret), self._fingerprint])
        self._dossier = Dossier(dossier, self._secret) if dossier else None
        self._detector: Detector | None = None
        self._found: dict[str, list[Span]] = {}  # what the detector found in a label
        self._known: OrderedDict[tuple[Any, ...], Known] = OrderedDict()  # of the patients and authors of the newest notes

    def fingerprint(self) -> dict[str, str]:
        """What decides the output beside the configuration: which key (not the key itself), which tagger and which rules."""
        return self._fingerprint

    def schemas(self) -> dict[str, pa.Schema]:
        """The Clean tables, `audit`, `spans` (for users' rows: spans into the input text, by key; the ids stay in the input), and `sealed` where
        the policy is reversible."""
        import pyarrow as pa

        audit = arrow_schema(DeidAudit)
        spans = pa.schema([*(audit.field(name) for name in KEY), pa.field("spans", pa.list_(pa.struct(list(arrow_schema(Span)))))])
        clean_tables = {name: arrow_schema(record) for name, record in CLEAN_TABLES.items()}
        return {**clean_tables, "audit": audit, "spans": spans, **({"sealed": arrow_schema(Sealed)} if self._config.reversible else {})}

    def open(self) -> None:
        """Load the recognizers and the tagger."""
        from nosology.deid.detect import Detector

        self._detector = Detector(self._config)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_detector": None, "_found": {}, "_known": OrderedDict()}

    def process(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
        """Rows of one input table, cleaned; those that this policy and key have cleaned already stay as they are.

        Raises:
            RecordError: the first row that cannot be processed: `missing_field`, `wrong_type`, `too_long`, `unknown_table`.
        """
        out: dict[str, list[dict[str, Any]]] = {}
        notes: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = []  # document row, row as it came
        records: list[tuple[str, Mapping[str, Any]]] = []
        for row in rows:
            table = row["_table"]
            if (done := self.done(row)) is not None:
                out.setdefault(table, []).append(done)
                if table == "documents":
                    out.setdefault("audit", []).append(self._audit(done, done, []))
            elif table in NOTES:
                notes.append((self.document_of(row), row))
            else:
                records.append((table, row))
        patients = self._whose([row for _, row in records])
        for (table, row), labels, patient in zip(records, self._labels(records, patients), patients, strict=True):
            cleaned = clean(table, row, self._config, self._secret, labels=labels, patient=patient)
            cleaned = marked(table, cleaned, self._policy, self._secret)
            out.setdefault(table, []).append(cleaned)
            if self._config.reversible:
                out.setdefault("sealed", []).append(seal(table, row, cleaned, self._policy, self._secret))
        if notes:
            self._clean_notes(notes, out)
        return out

    def _whose(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """Whose secret applies to each row. Where none is needed the dossier is not asked."""
        if self._dossier and draws(self._config):
            return self._dossier.whose(rows)
        return [whose(row, self._secret) for row in rows]

    def _labels(self, records: Sequence[tuple[str, Mapping[str, Any]]], patients: Sequence[str]) -> list[dict[str, str]]:
        """Of each record of a table, its labels that have to be searched (document type, payer), rewritten."""
        wanted = [to_search(table, row) for table, row in records]
        values = {value for fields in wanted for value in fields.values()}
        if len(self._found) + len(values) > _KEPT_LABELS:
            self._found = {}
        new = sorted(values - self._found.keys())
        if new:
            self._found |= zip(new, self._ready().find(new), strict=True)
        known = [self._known_of(table, row) if fields else [] for (table, row), fields in zip(records, wanted, strict=True)]
        return [
            {
                name: relabelled(value, [*_placed(value, own), *self._found[value]], row, self._config, self._secret, patient)
                for name, value in fields.items()
            }
            for (table, row), fields, own, patient in zip(records, wanted, known, patients, strict=True)
        ]

    def _known_of(self, table: str, row: Mapping[str, Any]) -> list[Known]:
        """What is looked for in a row by its value: names in its own fields, and what the records of the run say of its patient."""
        names = tuple(Value("name", name) for name in own_names(table, row))
        found = [self._kept(names, lambda: names)] if names else []
        if self._dossier and (owners := self._dossier.owners(row)):
            found.append(self._kept(owners, functools.partial(self._dossier.of, owners)))
        return found

    def _kept(self, key: tuple[Any, ...], values: Callable[[], Iterable[Value]]) -> Known:
        if key in self._known:
            self._known.move_to_end(key)
        else:
            self._known[key] = Known(values(), language(self._config.language))
            while len(self._known) > _KEPT_PATIENTS:
                self._known.popitem(last=False)
        return self._known[key]

    def _ready(self) -> Detector:
        if self._detector is None:
            self.open()
        assert self._detector is not None
        return self._detector

    def _checked(self, row: Mapping[str, Any], column: str) -> Mapping[str, Any]:
        """The row, when its text is one that can be read."""
        if column not in row or row[column] is None:
            raise RecordError("missing_field", column, "a text")
        if not isinstance(row[column], str):
            raise RecordError("wrong_type", column, f"a text; found {type(row[column]).__name__}")
        if len(row[column]) > self._max_document_bytes or len(row[column].encode(errors="replace")) > self._max_document_bytes:
            raise RecordError("too_long", column, f"at most {self._max_document_bytes} bytes")
        return row

    def _as_document(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A user's row as a row of documents; columns that the table knows are taken, others are dropped."""
        text = self._checked(row, self._columns.text_column)[self._columns.text_column]
        if self._columns.id_column not in row:
            raise RecordError("missing_field", self._columns.id_column, "an id")
        identity = row[self._columns.id_column]
        if isinstance(identity, dict | list | tuple):
            raise RecordError("wrong_type", self._columns.id_column, f"a text or a number; found {type(identity).__name__}")
        document: dict[str, Any] = {name: row[name] for name in ("source_digest", "source_row", "source_format")}
        document |= {"document_id": f"{row['source_digest']}/{row['source_row']}" if identity is None else str(identity), "text": text}
        document |= {name: str(row[name]) for name in ("patient_id", "encounter_id", "claim_id") if row.get(name) is not None}
        sex = str(row.get("sex") or "").lower()
        document["sex"] = {"f": "female", "m": "male"}.get(sex, sex if sex in ("female", "male", "other", "unknown") else None)
        document["age"] = _number(row.get("age"))
        document["date"] = _day(row.get("date_of_service"))
        return document

    def spans_of(self, notes: Sequence[Mapping[str, Any]]) -> list[list[Span]]:
        """What is to be removed from rows of `documents`."""
        return self._ready().find(
            [note["text"] for note in notes],
            [self._known_of("documents", note) for note in notes],
            [note.get("date") for note in notes],
        )

    def done(self, row: Mapping[str, Any]) -> dict[str, Any] | None:
        """The Clean row, where a row is one that this policy and key made already."""
        return recognised(row["_table"], row, self._policy, self._secret)

    def document_of(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """The row of `documents` that a note of the input is.

        Raises:
            RecordError: `missing_field`, `wrong_type`, `too_long`.
        """
        return self._checked(row, "text") if row["_table"] == "documents" else self._as_document(row)

    def _clean_notes(self, notes: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]], out: dict[str, list[dict[str, Any]]]) -> None:
        found = self.spans_of([note for note, _ in notes])
        patients = self._whose([note for note, _ in notes])
        labelled = self._labels([("documents", note) for note, _ in notes], patients)
        for (note, row), spans, labels, patient in zip(notes, found, labelled, patients, strict=True):
            done = rewrite(
                note["text"],
                spans,
                self._config,
                self._secret,
                patient=patient,
                reference=note.get("date"),
            )
            cleaned = clean("documents", note, self._config, self._secret, text=done.text, labels=labels, patient=patient)
            cleaned = marked("documents", cleaned, self._policy, self._secret)
            out.setdefault("documents", []).append(cleaned)
            if self._config.reversible:
                sealed = seal("documents", note, cleaned, self._policy, self._secret, text=note["text"], edits=done.edits)
                out.setdefault("sealed", []).append(sealed)
            out.setdefault("audit", []).append(self._audit(note, cleaned, done.removals()))
            if row["_table"] == "rows":
                out.setdefault("spans", []).append({**{name: note[name] for name in KEY}, "spans": [to_dict(span) for span in spans]})

    def _audit(self, note: Mapping[str, Any], cleaned: Mapping[str, Any], removals: Sequence[Removal]) -> dict[str, Any]:
        """A row of `audit`."""
        return {
            **{name: note[name] for name in KEY},
            "document_id": cleaned["document_id"],
            "num_characters": len(note["text"]),
            "spans": [to_dict(removal) for removal in removals],
            "policy": policy_name(self._config),
        }


def _placed(value: str, known: Sequence[Known]) -> list[Span]:
    """Where values that records say stand in a label."""
    folded = Folded(value)
    return [span for one in known for span in one.find(folded)]


def _fingerprint(config: DeidConfig, secret: Secret) -> dict[str, str]:
    from nosology.deid.detect import load_tagger, tagger_digest
    from nosology.deid.proof import rules_digest

    load_tagger(config)  # one that cannot work is refused here, not by a worker that holds rows
    return {"deid_key": secret.fingerprint, "deid_tagger": tagger_digest(config), "deid_rules": rules_digest()}


def policy_name(config: DeidConfig) -> str:
    """The policy as the audit names it; see `proof.policy_name`."""
    from nosology.deid import proof

    return proof.policy_name(dict(config))


def _number(value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None


def _day(value: Any) -> datetime.date | None:
    if isinstance(value, datetime.datetime):
        return value.date()
    if isinstance(value, datetime.date):
        return value
    try:
        return datetime.date.fromisoformat(value[:10]) if isinstance(value, str) else None
    except ValueError:
        return None


def span_line(row_id: Any, spans: Sequence[Span | Mapping[str, Any]]) -> str:
    """A line of `--spans`: {"id", "spans": [{"start", "end", "label"}]}."""
    plain = [to_dict(span) if isinstance(span, Span) else span for span in spans]
    return json.dumps(
        {"id": row_id, "spans": [{name: span[name] for name in ("start", "end", "label")} for span in plain]},
        ensure_ascii=False,
        default=str,
    )
