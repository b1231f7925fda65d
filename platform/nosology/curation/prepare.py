"""The stage `prepare` (rows to drafts, on any number of workers) and what follows it once (drafts to examples and blocks)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nosology.config import ModelConfig, PrepareConfig, TerminologyConfig
from nosology.curation import duplicates, templates
from nosology.curation.examples import (
    Drop,
    Lookup,
    Made,
    Pair,
    build_examples,
    coded,
    condition_pairs,
    document_pairs,
    phrase_pair,
    row_key,
)
from nosology.curation.packing import Tokens, pack
from nosology.curation.split import SPLITS, Splitter
from nosology.errors import InputError, RecordError
from nosology.records import CLEAN_TABLES, TABLES, CodedText, Example, Preference, Sourced, arrow_schema, column, to_dict, to_table
from nosology.tasks import Message
from nosology.tasks.coding import LABELS

if TYPE_CHECKING:
    import pyarrow as pa

PHRASE_TABLES = ("phrases", "rows")


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft(Sourced):
    """What the table `drafts` has beside the columns of `Example`: an example before duplicates are known, with its tokens."""

    question: str = column("what two examples are compared by: phrase and context, without candidates")
    phrase: str = column("the phrase alone")
    context: str | None = column("the sentence around it", default=None)
    code: str = column("the code behind the answer")
    title: str | None = column("official title of the code; None for one that is not billable", default=None)
    negatives: tuple[str, ...] = column("titles of the candidates that are wrong, the nearest first", default=())
    input_ids: tuple[int, ...] = column("tokens of question and answer; none where the code is not among the candidates")
    num_prompt_tokens: int = column("how many of them serving sends")
    rejected_ids: tuple[int, ...] = column("tokens of the first wrong answer", default=())
    signature: tuple[int, ...] = column("MinHash values of `question`")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped(Sourced):
    """A pair that became no example. Holds no text."""

    split: str = column("split it would have been in")
    reason: str = column("not_retrieved, not_mentioned or held_out_category")


@dataclass(frozen=True, slots=True, kw_only=True)
class CodedNote(Sourced):
    """What the table `note_drafts` has beside the columns of `CodedText`."""

    signature: tuple[int, ...] = column("MinHash values of the text")


class CodeSetLookup:
    """The code set and its index as a `Lookup`. Titles alone are searched: the phrases that are asked for are inclusion terms."""

    def __init__(self, terminology: TerminologyConfig, model: ModelConfig) -> None:
        from nosology.engines.encoder import load_encoder
        from nosology.terminology.codeset import code_set
        from nosology.terminology.index import open_index

        self._codes = code_set()
        self._index = open_index(self._codes, load_encoder(model.encoder), terminology.model_copy(update={"inclusion_terms": False}))

    def search(self, phrases: Sequence[str], k: int) -> list[list[tuple[str, str]]]:
        """(code, title) of the best `k` codes of each phrase, best first."""
        return [[(hit.code, self._codes.title(hit.code)) for hit in hits] for hits in self._index.search(phrases, k)]

    def terms(self, code: str) -> tuple[str, ...]:
        """Title and inclusion terms; empty for what is no billable code."""
        return (self._codes.title(code), *self._codes.terms(code)) if code in self._codes else ()


class Prepare:
    """Rows of Clean tables and of `phrases` to the tables `drafts`, `note_drafts` and `dropped`.

    Args:
        config: the section `prepare`.
        tokenizer: directory of the base model, or of its tokenizer.
        connect: makes the lookup; called once in each worker (for instance `functools.partial(CodeSetLookup, …)`).
        links: `examples.linked_codes` of the same archive.
        splitter: who is in which split.
    """

    verb = "prepare"

    def __init__(
        self,
        config: PrepareConfig,
        tokenizer: str,
        connect: Callable[[], Lookup],
        links: Mapping[str, Sequence[str]] | None = None,
        splitter: Splitter | None = None,
    ) -> None:
        self._config, self._tokenizer_path, self._connect = config, tokenizer, connect
        self._links = dict(links or {})
        self._splitter = splitter or Splitter.of(config)
        self._tokenizer: Any = None
        self._lookup: Lookup | None = None

    def schemas(self) -> dict[str, pa.Schema]:
        """Output tables."""
        import pyarrow as pa

        return {
            "drafts": pa.schema([*arrow_schema(Draft), *arrow_schema(Example)]), "dropped": arrow_schema(Dropped),
            "note_drafts": pa.schema([*arrow_schema(CodedNote), *arrow_schema(CodedText)]),
        }  # fmt: skip

    def open(self) -> None:
        """Loads the tokenizer and connects the lookup."""
        self._tokenizer = load_tokenizer(self._tokenizer_path, self._config.template)
        self._lookup = self._connect()

    def process(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
        """Drafts and drops of rows of one or several tables; rows of tables without pairs give nothing.

        Raises:
            RecordError: a row lacks a field, or holds columns that only a table with PHI has.
        """
        assert self._lookup is not None, "open() comes first"
        drafts: list[dict[str, Any]] = []
        dropped: list[dict[str, Any]] = []
        work: list[tuple[Mapping[str, Any], list[Pair]]] = []
        for row in rows:
            pairs, absent = self._pairs(row)
            dropped += [_dropped(row, Drop(self._splitter.of_patient(_owner(row)), "not_mentioned")) for _ in absent]
            work += [(row, pairs)] if pairs else []
        searched = _Once(self._lookup, [pair.phrase for _, pairs in work for pair in pairs], self._config.candidates)
        for row, pairs in work:
            for pair in pairs:
                made, drops = build_examples([pair], searched, self._splitter, self._config.candidates)
                dropped += [_dropped(row, drop) for drop in drops]
                drafts += [self._draft(row, one) for one in made]
        documents = [row for row in rows if self._config.notes and row["_table"] == "documents"]
        notes = [self._note(row, codes) for row in documents if (codes := coded(row, self._links))]
        for made_rows, name in ((drafts, "question"), (notes, "text")):
            signatures = duplicates.signatures([one[name] for one in made_rows]) if made_rows else []
            for one, signature in zip(made_rows, signatures, strict=True):
                one["signature"] = signature
        return {"drafts": drafts, "dropped": dropped, "note_drafts": notes}

    def _pairs(self, row: Mapping[str, Any]) -> tuple[list[Pair], list[str]]:
        table = row["_table"]
        if table in PHRASE_TABLES:
            return [phrase_pair(row)], []
        if table in TABLES and _raw_columns(table) & row.keys():
            raise RecordError("raw_record", None, "training takes records after de-identification only")
        if table == "conditions":
            return condition_pairs(row), []
        if table == "documents" and self._lookup is not None:
            return document_pairs(row, self._links, self._lookup)
        return [], []

    def _draft(self, row: Mapping[str, Any], made: Made) -> dict[str, Any]:
        assert self._lookup is not None
        pair = made.pair
        example, wrong = made.example, [(place, title) for place, (code, title) in enumerate(made.candidates) if code != pair.code]
        terms = self._lookup.terms(pair.code)
        draft = {
            **_source(row), **to_dict(example), "question": made.question, "phrase": pair.phrase, "context": pair.context, "code": pair.code, "title": terms[0] if terms else None,
            "negatives": [title for _, title in wrong], "input_ids": [], "num_prompt_tokens": 0, "rejected_ids": [],
        }  # fmt: skip
        if not example.answer:
            return draft
        messages: list[Message] = [{"role": "system", "content": example.instruction}, {"role": "user", "content": example.prompt}]
        encoded = templates.encode(self._tokenizer, messages, example.answer)
        draft |= {"input_ids": encoded.input_ids, "num_prompt_tokens": encoded.num_prompt_tokens}
        if wrong:
            rejected = templates.encode(self._tokenizer, messages, LABELS[wrong[0][0]])
            draft["rejected_ids"] = rejected.input_ids[rejected.num_prompt_tokens :]
        return draft

    def _note(self, row: Mapping[str, Any], codes: Sequence[str]) -> dict[str, Any]:
        note = CodedText(
            text_id=hashlib.sha256(row_key(row).encode()).hexdigest()[:24], patient_id=row.get("patient_id"),
            split=self._splitter.of_patient(_owner(row)), text=row["text"], codes=tuple(codes),
        )  # fmt: skip
        return {**_source(row), **to_dict(note)}


class _Once:
    """A lookup that has searched all phrases of a batch in one call."""

    def __init__(self, lookup: Lookup, phrases: Sequence[str], k: int) -> None:
        unique = list(dict.fromkeys(phrases))
        self._found = dict(zip(unique, lookup.search(unique, k), strict=True)) if unique else {}
        self.terms = lookup.terms

    def search(self, phrases: Sequence[str], k: int) -> list[Sequence[tuple[str, str]]]:
        return [self._found[phrase][:k] for phrase in phrases]


@dataclass(frozen=True)
class Prepared:
    """What `finish` makes, in order of id.

    Attributes:
        tables: `examples` (of `Example`), `blocks` (`PackedBlock`, train first), `preferences` (`Preference`), `pairs` and `notes`
            (`CodedText`).
        report: figures: examples, blocks and fill by split, drops by reason and split, rows of the other tables.
    """

    tables: Mapping[str, pa.Table]
    report: dict[str, Any]


def finish(
    drafts: pa.Table, dropped: pa.Table | None, config: PrepareConfig, pad_id: int = 0, notes: pa.Table | None = None
) -> Prepared:  # fmt: skip
    """Removes duplicates across splits and packs what is left; examples that no block can hold are dropped whole and counted."""
    import pyarrow as pa
    import pyarrow.compute as pc

    counts: dict[str, dict[str, int]] = {}
    for drop in dropped.select(["split", "reason"]).to_pylist() if dropped is not None else []:
        _count(counts, drop["reason"], drop["split"])
    kept, gone = _without_duplicates(drafts, "example_id", "question", "code", config.near_duplicate)
    for place, reason in gone.items():
        if drafts["answer"][place].as_py():  # one without an answer is counted as not retrieved
            _count(counts, reason, drafts["split"][place].as_py())
    answered = kept.filter(pc.greater(pc.list_value_length(kept["input_ids"]), 0))
    tables, splits, too_long = [], {}, set()
    for split in SPLITS:
        chosen = [r for r in answered.select(["split", "example_id", "input_ids", "num_prompt_tokens"]).to_pylist() if r["split"] == split]
        tokens = [Tokens(r["example_id"], r["input_ids"], r["num_prompt_tokens"]) for r in chosen]
        packed = pack(tokens, split, config.context_tokens, pad_id)
        for _ in packed.too_long:
            _count(counts, "too_long", split)
        too_long |= set(packed.too_long)
        tables.append(packed.blocks)
        splits[split] = {
            "examples": len(tokens) - len(packed.too_long),
            "blocks": packed.blocks.num_rows,
            "tokens": packed.num_tokens,
            "fill": round(packed.fill, 4),
        }
    answered = answered.filter(pa.array([key not in too_long for key in answered["example_id"].to_pylist()], pa.bool_()))
    examples = answered.select(arrow_schema(Example).names).cast(arrow_schema(Example)).sort_by("example_id")
    made = {
        "examples": examples, "blocks": pa.concat_tables(tables), "preferences": _preferences(answered, config.context_tokens),
        "pairs": _pairs(kept),
    }  # fmt: skip
    if notes is not None and notes.num_rows:
        texts, gone = _without_duplicates(notes, "text_id", "text", "codes", config.near_duplicate)
        for place, reason in gone.items():
            _count(counts, f"note_{reason}", notes["split"][place].as_py())
        made["notes"] = texts.select(arrow_schema(CodedText).names).cast(arrow_schema(CodedText)).sort_by("text_id")
    more: dict[str, Any] = {name: _by_split(made[name]) for name in ("preferences", "pairs", "notes") if name in made}
    without = _by_split(kept.filter(pc.is_null(kept["title"])))  # their code is not billable, so it has no title to learn
    return Prepared(made, {"splits": splits, "dropped": counts, **more, "pairs_without_title": without})


def _without_duplicates(table: pa.Table, key: str, text: str, answer: str, near: float) -> tuple[pa.Table, dict[int, str]]:
    """The rows that stay; and those that go, by place, with the reason."""
    import pyarrow as pa

    rows = table.select([key, "split", text, answer, "signature"]).to_pylist()
    items = [duplicates.Item(r[key], r["split"], r[text], str(r[answer]), r["signature"]) for r in rows]
    removed = duplicates.find_duplicates(list({item.key: item for item in items}.values()), near)
    first: dict[str, int] = {}
    gone: dict[int, str] = {}
    for place, item in enumerate(items):
        if first.setdefault(item.key, place) != place:
            gone[place] = "exact_duplicate"
        elif item.key in removed:
            gone[place] = removed[item.key]
    return table.take(pa.array([place for place in range(len(items)) if place not in gone], pa.int64())), gone


def _preferences(answered: pa.Table, context_tokens: int) -> pa.Table:
    rows = []
    for row in answered.select(["example_id", "split", "input_ids", "num_prompt_tokens", "rejected_ids"]).to_pylist():
        prompt, chosen = row["input_ids"][: row["num_prompt_tokens"]], row["input_ids"][row["num_prompt_tokens"] :]
        if row["rejected_ids"] and len(prompt) + len(row["rejected_ids"]) <= context_tokens:
            rows.append(Preference(
                example_id=row["example_id"], split=row["split"], prompt_ids=tuple(prompt), chosen_ids=tuple(chosen),
                rejected_ids=tuple(row["rejected_ids"]),
            ))  # fmt: skip
    return to_table(Preference, rows).sort_by("example_id")


def _pairs(kept: pa.Table) -> pa.Table:
    rows = [
        CodedText(
            text_id=row["example_id"], patient_id=row["patient_id"], split=row["split"], text=row["phrase"], context=row["context"], codes=(row["code"],),
            title=row["title"], negatives=tuple(row["negatives"]),
        )
        for row in kept.select(["example_id", "patient_id", "split", "phrase", "context", "code", "title", "negatives"]).to_pylist()
        if row["title"]
    ]  # fmt: skip
    return to_table(CodedText, rows).sort_by("text_id")


def _by_split(table: pa.Table) -> dict[str, int]:
    splits = table["split"].to_pylist()
    return {split: splits.count(split) for split in SPLITS}


def write(prepared: Prepared, uri: str) -> dict[str, str]:
    """Writes `TABLE/part-0.parquet` of each table below a folder; returns their digests by name."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from nosology import storage

    digests = {}
    for name, table in prepared.tables.items():
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
        target = storage.join(uri, name, "part-0.parquet")
        storage.write_bytes(target, sink.getvalue().to_pybytes())
        digests[name] = storage.digest(target)
    return digests


def write_tokenizer(tokenizer: Any, uri: str) -> None:
    """Writes the tokenizer, with the template that the blocks were made with, into a folder beside them, from where it travels with the model."""
    import tempfile

    from nosology import storage

    with storage.named_errors(tempfile.gettempdir()), tempfile.TemporaryDirectory() as folder:
        for file in tokenizer.save_pretrained(folder):
            path = storage.local_path(file)
            if path.is_file():
                storage.write_bytes(storage.join(uri, path.name), path.read_bytes())


def check_clean(schema: pa.Schema, table: str, file: str) -> None:
    """Refuses a table that holds PHI.

    Raises:
        InputError: a column is marked `phi`, or is one that only the Raw table of that name has.
    """
    marked = [item.name for item in schema if item.metadata and b"phi" in item.metadata]
    marked += sorted(_raw_columns(table) & set(schema.names) - set(marked))
    if marked:
        rule = "training takes clean tables only; this one holds PHI"
        raise InputError(rule, file=file, field=", ".join(marked), remedy="Run deidentify first")


def load_tokenizer(path: str, template: templates.Template) -> Any:
    """The tokenizer of a local directory with the template set.

    Raises:
        ModelError: the directory holds no tokenizer.
    """
    from transformers import AutoTokenizer

    from nosology.errors import ModelError

    try:
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ModelError(f"model.base: no tokenizer can be loaded from {path} ({type(error).__name__})") from None
    return templates.use_template(tokenizer, template)


def _raw_columns(table: str) -> set[str]:
    """Columns that the Raw table of that name has and the Clean one lacks."""
    if table not in TABLES:
        return set()
    return {name for name in TABLES[table].__dataclass_fields__ if name not in CLEAN_TABLES[table].__dataclass_fields__}


def _owner(row: Mapping[str, Any]) -> str:
    return next((row[name] for name in ("patient_id", "encounter_id", "claim_id", "document_id") if row.get(name)), "")


def _source(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("source_digest", "source_row", "source_format")}


def _dropped(row: Mapping[str, Any], drop: Drop) -> dict[str, Any]:
    return {**_source(row), "split": drop.split, "reason": drop.reason}


def _count(counts: dict[str, dict[str, int]], reason: str, split: str) -> None:
    by_split = counts.setdefault(reason, {})
    by_split[split] = by_split.get(split, 0) + 1
