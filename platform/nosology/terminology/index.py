"""Search over all billable codes: character n-grams (TF-IDF) and the encoder's vectors together, exact, without an external store.

A code has rows: its title, its inclusion terms (those of a heading count for every code below it) and aliases; its score is that of
its best row. Titles that differ in the encounter suffix alone share one lexical text (74,719 -> 37,987), and those that differ in
side, displacement, intent of poisoning or trimester alone share one vector (-> 25,751): n-grams tell them apart, and a laptop can
embed that many.

Built once for a code set and an encoder, kept under `config.home()`, memory-mapped. Leaving out: phrases that are measured are
usually inclusion terms themselves, so with `leave_out` no inclusion term and no alias has a row: official titles alone are searched.
Rows are masked at search time, and the n-gram weights come from titles alone: nothing of a phrase that is left out reaches a score.

Shapes: B phrases, D width of vectors, C codes, P rows (pairs of code and text), U texts with a vector, L lexical texts.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nosology import config
from nosology.config import TerminologyConfig
from nosology.engines.encoder import Encoder
from nosology.errors import ConfigError, InputError
from nosology.terminology.aliases import aliases
from nosology.terminology.codeset import CodeSet

FORMAT = 1
TITLE, TERM, ALIAS = 0, 1, 2

# Weights of the tie-breaks, small against the fused cosine (0 to 1).
_SUFFIX_NAMED, _SUFFIX_INITIAL, _SIDE_UNASKED = 0.05, 0.004, 0.02

_SUFFIX = re.compile(r", ((?:initial encounter|subsequent encounter|sequela).*)$")
_SUFFIX_FILLER = frozenset({"encounter", "for", "with", "or", "type", "i", "ii"})
_SIDE = re.compile(r"\b(right|left|bilateral)\b")
_SHARED = (
    re.compile(r"\b(right|left|bilateral|unspecified)\b"),
    re.compile(r"\b(non)?displaced "),
    re.compile(r", (accidental \(unintentional\)|intentional self-harm|assault|undetermined)$"),
    re.compile(r"(, |in |, unspecified )(first|second|third|unspecified)? ?trimester"),
)

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Hit:
    """A code found for a phrase. `score` is the fused cosine of its best row with the tie-breaks, about 0 to 1."""

    code: str
    score: float


def read_phrases(path: str) -> list[tuple[str, str]]:
    """Lines `{"phrase", "code"}` of a JSONL file as (phrase, code).

    Raises:
        InputError: the file is missing, a line is no JSON object, or a field is missing.
    """
    import orjson

    found = []
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    row = orjson.loads(line)
                    if not isinstance(row, dict) or not all(isinstance(row.get(name), str) for name in ("phrase", "code")):
                        raise InputError(f"line {number} needs the texts `phrase` and `code`", file=Path(path).name)
                    found.append((row["phrase"], row["code"]))
    except FileNotFoundError:
        raise InputError("the file does not exist", file=path) from None
    except orjson.JSONDecodeError:
        raise InputError(f"line {number} is not a JSON object", file=Path(path).name) from None
    return found


@dataclass(frozen=True, slots=True)
class LeaveOut:
    """What is measured and so kept out of training: phrases (case folded) and their three-character categories."""

    categories: frozenset[str] = frozenset()
    phrases: frozenset[str] = frozenset()


def leave_out(path: str | None) -> LeaveOut:
    """What a JSONL file of `{"phrase", "code"}` keeps out of training; None keeps nothing out."""
    rows = read_phrases(path) if path else []
    return LeaveOut(frozenset(code[:3].upper() for _, code in rows), frozenset(phrase.casefold() for phrase, _ in rows))


class Index:
    """An opened index. Search is exact and deterministic; equal scores keep the order of the tabular list.

    Args:
        directory: folder that `build_index` wrote.
        codes: the code set that it was built from.
        encoder: the encoder that it was built with.
        options: weight of the vectors; `inclusion_terms` off, or `leave_out` given, searches official titles alone.
    """

    def __init__(self, directory: Path, codes: CodeSet, encoder: Encoder, options: TerminologyConfig) -> None:
        self.codes, self.encoder, self.options = codes, encoder, options

        def load(name: str) -> Any:
            # Copy on write: torch refuses read-only memory, and nothing writes, so nothing is copied.
            return np.load(directory / f"{name}.npy", mmap_mode="c")

        self._vectors_UD: Floats = load("vectors")
        self._code_P, self._vector_P, self._lexical_P, kind_P = load("code"), load("vector"), load("lexical"), load("kind")
        self._start_C = np.searchsorted(self._code_P, np.arange(len(codes.codes))).astype(np.int64)
        table = json.loads((directory / "table.json").read_text(encoding="utf-8"))
        self._lexical = _Lexical.open(directory, table["grams"])
        self._suffixes: list[str] = table["suffixes"]
        self._suffix_C: Ints = load("suffix")
        sided_C = np.array([bool(_SIDE.search(title.lower())) for title in codes.titles])
        self._penalty_C: Floats = sided_C.astype(np.float32) * np.float32(_SIDE_UNASKED)
        self._named = [set(re.findall(r"[a-z]+", suffix)) - _SUFFIX_FILLER for suffix in self._suffixes]
        if options.leave_out is not None:
            read_phrases(options.leave_out)  # a file that cannot be read must not pass for one that leaves nothing out
        titles_alone = options.leave_out is not None or not options.inclusion_terms
        hidden_P = (kind_P != TITLE) & titles_alone
        self._hidden_P = np.flatnonzero(hidden_P)

    def scores(self, phrases: Sequence[str]) -> Floats:
        """Score of every billable code for every phrase: float32 [B, C], codes in the order of the code set."""
        return self._scores(phrases, self.encoder.embed(phrases))

    def _scores(self, phrases: Sequence[str], vectors_BD: Floats) -> Floats:
        import torch

        weight = np.float32(self.options.dense_weight)
        dense_BU = (torch.from_numpy(vectors_BD) @ torch.from_numpy(self._vectors_UD).T).numpy()
        lexical_BL = self._lexical.scores(phrases)
        fused_BP: Floats = (weight * dense_BU[:, self._vector_P] + (1 - weight) * lexical_BL[:, self._lexical_P]).astype(
            np.float32, copy=False
        )
        fused_BP[:, self._hidden_P] = -1.0
        best_BC: Floats = np.maximum.reduceat(fused_BP, self._start_C, axis=1).astype(np.float32, copy=False)
        for row, phrase in enumerate(phrases):
            best_BC[row] += self._ties(phrase.lower())
        return best_BC

    def _ties(self, phrase: str) -> Floats:
        words = set(re.findall(r"[a-z]+", phrase))
        bonus = np.zeros(len(self._suffixes) + 1, dtype=np.float32)  # the last one is "no suffix"
        for i, named in enumerate(self._named):
            bonus[i] = _SUFFIX_NAMED * len(words & named) / len(named)
            if self._suffixes[i] in ("initial encounter", "initial encounter for closed fracture"):
                bonus[i] += _SUFFIX_INITIAL
        ties_C: Floats = bonus[self._suffix_C]
        return ties_C if _SIDE.search(phrase) else np.subtract(ties_C, self._penalty_C, dtype=np.float32)

    def search(self, phrases: Sequence[str], k: int) -> list[list[Hit]]:
        """The best `k` codes of each phrase, best first."""
        hits: list[list[Hit]] = []
        if not phrases:
            return hits
        vectors_BD = self.encoder.embed(phrases)
        for start in range(0, len(phrases), 16):
            scores_BC = self._scores(phrases[start : start + 16], vectors_BD[start : start + 16])
            for row_C in scores_BC:
                top = np.argpartition(-row_C, min(k, len(row_C)) - 1)[:k]
                top = top[np.lexsort((top, -row_C[top]))]
                hits.append([Hit(self.codes.codes[i], float(row_C[i])) for i in top])
        return hits

    def ranks(self, phrases: Sequence[str], wanted: Sequence[str]) -> list[tuple[int | None, str]]:
        """For each phrase the place of the wanted code among all (from 0; None when it is no billable code) and the first code."""
        found: list[tuple[int | None, str]] = []
        vectors_BD = self.encoder.embed(phrases)
        for start in range(0, len(phrases), 16):
            part = slice(start, start + 16)
            for row_C, code in zip(self._scores(phrases[part], vectors_BD[part]), wanted[part], strict=True):
                place = self.codes.position.get(self.codes.dotted(code))
                rank = None if place is None else int((row_C > row_C[place]).sum() + (row_C[:place] == row_C[place]).sum())
                found.append((rank, self.codes.codes[int(row_C.argmax())]))
        return found


def score_terms(path: str, out: str | None, options: TerminologyConfig, codes: CodeSet, encoder: Encoder) -> dict[str, Any]:
    """How well the search ranks the codes of a file of `{"phrase", "code"}` among all billable codes.

    Args:
        path: JSONL file that is measured.
        out: JSONL file of phrases that must not be in the index (usually the same file): titles alone are searched, see above.
            None uses `options.leave_out`.

    Returns:
        `n`; `top1`, `top5`, `top50` (share of phrases whose code is among the first so many); `category` (share whose first code is of
        the right three-character category).
    """
    index = open_index(codes, encoder, options.model_copy(update={"leave_out": out or options.leave_out}))
    rows = read_phrases(path)
    if not rows:
        raise InputError("the file holds no phrase", file=Path(path).name)
    ranks = index.ranks([phrase for phrase, _ in rows], [code for _, code in rows])
    share = {f"top{k}": sum(rank is not None and rank < k for rank, _ in ranks) / len(rows) for k in (1, 5, 50)}
    category = sum(first[:3] == code[:3].upper() for (_, first), (_, code) in zip(ranks, rows, strict=True)) / len(rows)
    return {"n": len(rows), **share, "category": category}


def open_index(codes: CodeSet, encoder: Encoder, options: TerminologyConfig) -> Index:
    """The index of a code set and an encoder, built when it is not there yet (about 90 s on two free cores)."""
    return Index(build_index(codes, encoder), codes, encoder, options)


def build_index(codes: CodeSet, encoder: Encoder, *, only: Collection[str] | None = None) -> Path:
    """Makes the index, or finds it; two processes at once build it once.

    Args:
        only: categories whose codes keep their vectors (tests); codes of others get a vector of zeros and are found by n-grams alone.

    Returns:
        Its folder. A folder that is there is complete: it is made under another name and put in place in one step.

    Raises:
        ConfigError: the folder cannot be written.
    """
    alias_key = "".join(f"{alias.phrase}\t{alias.code}\n" for alias in aliases())
    key = json.dumps([FORMAT, codes.digest, encoder.digest, alias_key, sorted(only) if only is not None else None])
    name = f"index-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    home = config.home()
    final = home / name
    if final.is_dir():
        return final
    try:
        home.mkdir(parents=True, exist_ok=True)
        with _locked(home / f"{name}.lock"):
            if not final.is_dir():
                scratch = Path(tempfile.mkdtemp(dir=home, prefix=f"{name}-"))
                try:
                    _build(scratch, codes, encoder, only)
                    scratch.chmod(0o755)
                    os.rename(scratch, final)
                finally:
                    shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise ConfigError(
            f"the search index cannot be written to {home} ({error.strerror}). Set NOSOLOGY_HOME to a writable folder."
        ) from None
    return final


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(folder: Path, codes: CodeSet, encoder: Encoder, only: Collection[str] | None) -> None:
    lexical: dict[str, int] = {}
    dense: dict[str, int] = {}
    suffixes: dict[str, int] = {}
    suffix_C, rows = [], []
    wanted: set[int] = set()

    def add(code: str, text: str, kind: int) -> None:
        stem = _SUFFIX.sub("", text)
        vector = dense.setdefault(shared_text(stem), len(dense))
        if only is None or code[:3] in only:
            wanted.add(vector)
        rows.append((codes.position[code], vector, lexical.setdefault(stem.casefold(), len(lexical)), kind))

    for code, title in zip(codes.codes, codes.titles, strict=True):
        match = _SUFFIX.search(title)
        suffix_C.append(suffixes.setdefault(match[1], len(suffixes)) if match else -1)
        add(code, title, TITLE)
    num_titles = len(lexical)
    for entry in codes.entries.values():
        for term in entry.terms:
            for code in codes.descendants(entry.code):
                add(code, term, TERM)
    for alias in aliases():
        if alias.code in codes:
            add(alias.code, alias.phrase, ALIAS)
    table = np.array(sorted(set(rows)), dtype=np.int32)
    for column, name in enumerate(("code", "vector", "lexical", "kind")):
        np.save(folder / f"{name}.npy", np.ascontiguousarray(table[:, column]))
    np.save(folder / "suffix.npy", np.array(suffix_C, dtype=np.int32))
    grams = _Lexical.build(folder, list(lexical), num_titles)
    texts = list(dense)
    vectors_UD = np.zeros((len(texts), int(encoder.model.config.hidden_size)), dtype=np.float32)
    known = _known(folder.parent, encoder)
    for i in wanted & {dense[text] for text in known.keys() & dense.keys()}:
        vectors_UD[i] = known[texts[i]]
    missing = sorted(i for i in wanted if texts[i] not in known)
    with _progress(len(missing)) as advance:
        if missing:
            vectors_UD[missing] = encoder.embed([texts[i] for i in missing], progress=advance)
    np.save(folder / "vectors.npy", vectors_UD)
    embedded = [text if i in wanted else None for i, text in enumerate(texts)]
    (folder / "texts.json").write_text(json.dumps({"encoder": encoder.digest, "texts": embedded}), encoding="utf-8")
    (folder / "table.json").write_text(json.dumps({"grams": grams, "suffixes": list(suffixes)}), encoding="utf-8")


def _known(home: Path, encoder: Encoder) -> dict[str, Floats]:
    """Vectors of finished indexes of the same encoder by their text: a new alias or release costs only its new texts."""
    known: dict[str, Floats] = {}
    for listing in sorted(home.glob("index-*/texts.json")):
        with contextlib.suppress(OSError, ValueError):
            table = json.loads(listing.read_text(encoding="utf-8"))
            if table["encoder"] == encoder.digest:
                rows = np.load(listing.parent / "vectors.npy", mmap_mode="r")
                known.update({text: row for text, row in zip(table["texts"], rows, strict=True) if text is not None})
    return known


def shared_text(title: str) -> str:
    """The part of a title that is embedded: without encounter, side, displacement, intent and trimester."""
    text = _SUFFIX.sub("", title).lower()
    for pattern in _SHARED:
        text = pattern.sub("", text)
    return re.sub(r"\s+", " ", text).strip(" ,") or title.lower()


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None] | None]:
    """A bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("search index, made once", total=total)
        yield lambda count: bar.advance(task, count)


class _Lexical:
    """TF-IDF of character 3-5-grams over the lexical texts, as an inverted sparse matrix [grams, L]."""

    def __init__(self, vectorizer: Any, matrix_GL: Any) -> None:
        self._vectorizer, self._matrix_GL = vectorizer, matrix_GL
        self.size = int(matrix_GL.shape[1])

    @staticmethod
    def _vectorizer_of(grams: Sequence[str] | None) -> Any:
        from sklearn.feature_extraction.text import TfidfVectorizer

        return TfidfVectorizer(analyzer="char", ngram_range=(3, 5), sublinear_tf=True, dtype=np.float32, min_df=2, vocabulary=grams)

    @classmethod
    def build(cls, folder: Path, texts: Sequence[str], num_titles: int) -> list[str]:
        """Writes weights fitted on the first `num_titles` texts and the matrix of all; returns the n-grams in order."""
        vectorizer = cls._vectorizer_of(None).fit(texts[:num_titles])
        matrix_GL = vectorizer.transform(texts).T.tocsr()
        np.save(folder / "idf.npy", vectorizer.idf_.astype(np.float32))
        for name in ("data", "indices", "indptr"):
            np.save(folder / f"grams_{name}.npy", getattr(matrix_GL, name))
        return [str(gram) for gram in vectorizer.get_feature_names_out()]

    @classmethod
    def open(cls, directory: Path, grams: Sequence[str]) -> _Lexical:
        from scipy.sparse import csr_matrix

        vectorizer = cls._vectorizer_of(grams)
        vectorizer.idf_ = np.load(directory / "idf.npy")
        data, indices, indptr = (np.load(directory / f"grams_{name}.npy", mmap_mode="r") for name in ("data", "indices", "indptr"))
        matrix = csr_matrix((len(grams), int(indices.max()) + 1), dtype=np.float32)
        matrix.data, matrix.indices, matrix.indptr = data, indices, indptr
        return cls(vectorizer, matrix)

    def scores(self, phrases: Sequence[str]) -> Floats:
        """Cosine of each phrase with each text: float32 [B, L]."""
        scores_BL: Floats = (self._vectorizer.transform(phrases) @ self._matrix_GL).toarray()
        return scores_BL
