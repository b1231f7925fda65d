"""The search: right codes first, nothing leaks from what is left out, and two builders do not hurt each other."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest
from nosology import config
from nosology.config import TerminologyConfig
from nosology.engines.encoder import Encoder, load_encoder
from nosology.errors import InputError
from nosology.terminology import index as room
from nosology.terminology.codeset import CodeSet, code_set
from nosology.terminology.index import Index, build_index, read_phrases, score_terms, shared_text

CATEGORIES = frozenset({"I10", "M17", "E11", "M25", "N20", "S52"})


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder(None)


@pytest.fixture(scope="module")
def folder(encoder: Encoder) -> Path:
    """An index whose vectors cover four categories: seconds to make, kept beside the real one."""
    return build_index(code_set(), encoder, only=CATEGORIES)


def opened(folder: Path, encoder: Encoder, **options: object) -> Index:
    return Index(folder, code_set(), encoder, TerminologyConfig(**options))  # type: ignore[arg-type]


def write(path: Path, rows: list[tuple[str, str]]) -> str:
    path.write_text("".join(json.dumps({"phrase": phrase, "code": code}) + "\n" for phrase, code in rows), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("phrase", "code"),
    [
        ("essential hypertension", "I10"),
        ("type 2 diabetes without complications", "E11.9"),
        ("unilateral primary osteoarthritis of the left knee", "M17.12"),
        ("unilateral primary osteoarthritis of the right knee", "M17.11"),
        ("Colles' fracture of right radius, subsequent encounter for closed fracture with routine healing", "S52.531D"),
        ("Colles' fracture of left radius", "S52.532A"),
    ],
)
def test_finds_the_code_of_a_phrase(folder: Path, encoder: Encoder, phrase: str, code: str) -> None:
    (hits,) = opened(folder, encoder).search([phrase], 5)
    assert hits[0].code == code
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True) and len(hits) == 5


def test_search_agrees_with_the_scores_of_all_codes_and_does_not_depend_on_its_neighbours(folder: Path, encoder: Encoder) -> None:
    index = opened(folder, encoder)
    asked = ["knee arthritis", "high blood pressure"]
    scores = index.scores(asked)
    assert scores.shape == (2, 74719)
    for row, hits in zip(scores, index.search(asked, 3), strict=True):
        assert hits[0].code == code_set().codes[int(np.argmax(row))]
    alone = [index.search([phrase], 3)[0] for phrase in asked]
    assert [[hit.code for hit in hits] for hits in alone] == [[hit.code for hit in hits] for hits in index.search(asked, 3)]


def test_what_is_left_out_reaches_no_score(folder: Path, encoder: Encoder, tmp_path: Path) -> None:
    """The inclusion term "Nephrolithiasis NOS" of N20.0 finds it with a perfect score, unless it is left out."""
    phrase = "Nephrolithiasis NOS"
    assert phrase in code_set().terms("N20.0")
    place = code_set().position["N20.0"]
    path = write(tmp_path / "out.jsonl", [(phrase, "N20.0")])
    with_terms = opened(folder, encoder).scores([phrase])[0]
    left_out = opened(folder, encoder, leave_out=path).scores([phrase])[0]
    titles = opened(folder, encoder, inclusion_terms=False).scores([phrase])[0]
    assert with_terms[place] > 0.99
    assert left_out[place] < 0.8
    assert np.array_equal(left_out, titles), "no inclusion term and no alias of any category counts"


def test_the_weights_of_n_grams_come_from_titles_alone(
    folder: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[int] = []
    build = room._Lexical.build.__func__  # type: ignore[attr-defined]

    def spy(cls: type, place: Path, texts: list[str], num_titles: int) -> list[str]:
        seen.append(num_titles)
        return list(build(cls, place, texts[:num_titles], num_titles))

    monkeypatch.setattr(room._Lexical, "build", classmethod(spy))
    codes = code_set()
    room._build(tmp_path, codes, encoder, frozenset())
    stems = {room._SUFFIX.sub("", title).casefold() for title in codes.titles}
    assert seen == [len(stems)]
    assert np.array_equal(np.load(tmp_path / "idf.npy"), np.load(folder / "idf.npy"))


def test_score_terms_counts_ranks(folder: Path, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "build_index", lambda codes, encoder: folder)
    rows = [
        ("essential (primary) hypertension", "I10"),
        ("type 2 diabetes mellitus without complications", "E11.65"),
        ("nonsense", "Z99.999"),
    ]
    path = write(tmp_path / "terms.jsonl", rows)
    report = score_terms(path, path, TerminologyConfig(), code_set(), encoder)
    assert report["n"] == 3
    assert report["top1"] == pytest.approx(1 / 3) and report["category"] == pytest.approx(2 / 3)
    assert report["top1"] <= report["top5"] <= report["top50"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("line", ['{"phrase": "x"}', '{"phrase": 1, "code": "I10"}', "[]", "{", '"x"'])
def test_a_bad_line_is_named_by_number_without_its_words(tmp_path: Path, line: str) -> None:
    path = tmp_path / "terms.jsonl"
    path.write_text('{"phrase": "secret words", "code": "I10"}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(InputError, match="line 2") as caught:
        read_phrases(str(path))
    assert "secret" not in str(caught.value)


def test_a_missing_or_empty_file_is_refused(folder: Path, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "build_index", lambda codes, encoder: folder)
    with pytest.raises(InputError, match="does not exist"):
        opened(folder, encoder, leave_out=str(tmp_path / "none.jsonl"))
    (tmp_path / "empty.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="no phrase"):
        score_terms(str(tmp_path / "empty.jsonl"), None, TerminologyConfig(), code_set(), encoder)


def test_two_builders_at_once_build_once(encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "home", lambda: tmp_path)
    built: list[Path] = []

    def build(folder: Path, codes: CodeSet, encoder: Encoder, only: object) -> None:
        built.append(folder)
        (folder / "mark").write_text("whole")

    monkeypatch.setattr(room, "_build", build)
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(build_index(code_set(), encoder))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1 and len(set(found)) == 1 and (found[0] / "mark").read_text() == "whole"


def test_a_build_that_fails_leaves_nothing_behind(encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "home", lambda: tmp_path)

    def build(folder: Path, codes: CodeSet, encoder: Encoder, only: object) -> None:
        (folder / "half").write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(room, "_build", build)
    with pytest.raises(KeyboardInterrupt):
        build_index(code_set(), encoder)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []


@pytest.mark.parametrize(
    ("title", "text"),
    [
        ("Colles' fracture of right radius, initial encounter for closed fracture", "colles' fracture of radius"),
        ("Poisoning by insulin, assault, sequela", "poisoning by insulin"),
        ("Displaced fracture of neck of left talus, sequela", "fracture of neck of talus"),
        ("Left", "left"),
    ],
)
def test_titles_that_share_a_vector(title: str, text: str) -> None:
    assert shared_text(title) == text
