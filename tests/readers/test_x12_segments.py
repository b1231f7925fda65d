"""Segments against pyx12 on real files, and against generated interchanges with any separators, breaks and chunks."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import reader_samples as samples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nosology.errors import Reason
from nosology.readers import segments as module
from nosology.readers.segments import BROKEN_ENVELOPE, BROKEN_SEGMENT, TOO_LONG, UNENDED, repetition_mark, segments
from nosology.readers.source import InvalidBytes, open_source

ROOT = Path(__file__).parents[2]
FOLDERS = [ROOT.parent / "shared/data/claims/x12/linuxforhealth", ROOT / "examples/archive/x12"]
FILES = sorted(path for folder in FOLDERS for path in folder.rglob("*") if path.is_file())
QUIET = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
MARKS = "*|+^:>~'!;\x1c\x1d\x1e\n\r"
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SEGMENT_ID = st.from_regex(r"[A-Z][A-Z0-9]{1,2}", fullmatch=True).filter(lambda name: name != "ISA")
BLANKS = " \t\n\r\v\f\x1a\0"


class Chunks(io.RawIOBase):
    """A stream that gives bytes in pieces of given sizes."""

    def __init__(self, data: bytes, sizes: Iterator[int]) -> None:
        self._data, self._sizes = data, sizes

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        size = min(len(target), next(self._sizes), len(self._data))
        target[:size], self._data = self._data[:size], self._data[size:]
        return size


def opened(data: bytes, sizes: list[int] | None = None) -> io.BufferedReader:
    def endless() -> Iterator[int]:
        while True:
            yield from sizes or [1 << 16]

    return io.BufferedReader(Chunks(data, endless()))  # type: ignore[arg-type]


@pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
def test_segments_and_claims_are_those_of_pyx12(path: Path, read: Any) -> None:
    rawx12file = pytest.importorskip("pyx12.rawx12file")
    with open(path, "rb") as stream:
        content = open_source(stream).read()
    raw = rawx12file.RawX12File(io.StringIO(content.decode("utf-8-sig"), newline=""))
    theirs = list(raw)
    element = raw.get_term()[1]
    ours = list(segments(opened(content)))
    assert [element.join(segment) for segment in ours if not isinstance(segment, Reason)] == theirs
    claims = [line for line in theirs if line.startswith((f"CLM{element}", f"CLP{element}"))]
    found = read(path.read_bytes(), path.name)
    assert len(found.of("RawClaim")) + len(found.of("RawRemittance")) == len(claims) > 0
    assert found.counts.dead == 0


def test_there_are_files_to_compare() -> None:
    if not FOLDERS[0].exists():
        pytest.skip("no shared samples here; those of the repository are compared")
    assert len(FILES) >= 38


@st.composite
def interchanges(draw: st.DrawFn) -> tuple[str, list[list[str]]]:
    """The text of an interchange and its segments without the ISA."""
    element, component, terminator, repetition = draw(st.permutations(MARKS))[:4]
    clean = str.maketrans("", "", element + terminator)
    body = draw(st.lists(st.tuples(SEGMENT_ID, st.lists(TEXT, max_size=5)), max_size=8))
    written = [[name, *(part.translate(clean) for part in parts)] for name, parts in body]
    breaks = [text for text in ("", "\n", "\r\n", " \n", "\n\n\x1a") if element not in text and terminator not in text]
    head = samples.isa(element, component, terminator).replace(f"{element}^{element}", f"{element}{repetition}{element}", 1)
    text = head + "".join(draw(st.sampled_from(breaks)) + element.join(parts) + terminator for parts in written)
    return text + draw(st.sampled_from(breaks)), written


@given(st.lists(interchanges(), min_size=1, max_size=3), st.lists(st.integers(1, 120), min_size=1, max_size=6), st.booleans(), st.data())
@QUIET
def test_any_separators_breaks_and_chunks(several: list[tuple[str, list[list[str]]]], sizes: list[int], bom: bool, data: Any) -> None:
    mark = "\ufeff" if bom else ""
    content = "".join(mark + text for text, _ in several).encode()
    smaller = data.draw(st.sampled_from([7, 64, 1 << 16]))
    before, module._CHUNK_BYTES = module._CHUNK_BYTES, smaller
    try:
        kept: list[bytes] = []
        found = list(segments(opened(content, sizes), kept=kept))
        assert found == list(segments(opened(content)))
    finally:
        module._CHUNK_BYTES = before
    heads = [segment for segment in found if not isinstance(segment, Reason) and segment[0] == "ISA"]
    assert len(heads) == len(several)
    assert [segment for segment in found if segment not in heads] == [segment for _, written in several for segment in written]
    assert b"".join(kept) == content


@given(st.binary(max_size=400), st.lists(st.integers(1, 50), min_size=1, max_size=4))
@QUIET
def test_any_bytes_give_segments_or_known_reasons(data: bytes, sizes: list[int]) -> None:
    for start in (b"", samples.isa().encode(), samples.x12()[:300]):
        kept: list[bytes] = []
        for one in segments(opened(start + data, sizes), limit=200, kept=kept):
            if isinstance(one, InvalidBytes):
                assert (one.code, one.rule) == ("invalid_utf8", "UTF-8 throughout")
            else:
                assert one in (BROKEN_ENVELOPE, BROKEN_SEGMENT, UNENDED, TOO_LONG) or all(isinstance(part, str) for part in one)
        assert (start + data).startswith(b"".join(kept))


def test_blank_lines_without_end_take_no_longer_than_others() -> None:
    """Terminators that are line breaks, and millions of them: what looks at each must not look at all behind it."""
    head = samples.isa(terminator="\n").encode()
    data = head + b"\n" * (1 << 21) + b"GS*1\n" + b" " * (1 << 20) + b"\n" + head
    found = [segment[0] for segment in segments(opened(data)) if not isinstance(segment, Reason)]
    assert found == ["ISA", "GS", "ISA"]


def test_a_name_that_ends_like_an_envelope_begins() -> None:
    data = samples.isa().encode() + b"NM1*IL*1*ELOISA*ISA~ISA9*1~N3*ISA~"
    found = [segment for segment in segments(opened(data))]
    assert found[1] == ["NM1", "IL", "1", "ELOISA", "ISA"] and found[-1] == BROKEN_ENVELOPE


def test_the_place_of_bytes_that_are_not_utf8() -> None:
    head = b"\xef\xbb\xbf \n" + samples.isa().encode()
    data = head + b"GS*HC~\nNTE*ADD*caf\xe9~SE*1~" + b"\n \n" + samples.isa().encode() + b"NTE*\xff~"
    reasons = [one for one in segments(opened(data, [50])) if isinstance(one, InvalidBytes)]
    assert [reason.offset for reason in reasons] == [data.index(b"\xe9"), data.index(b"\xff")]


@pytest.mark.parametrize(
    ("version", "mark", "expected"), [("00401", "U", None), ("00501", "^", "^"), ("00501", "U", None), ("00401", "^", None)]
)
def test_repetition_separator(version: str, mark: str, expected: str | None) -> None:
    isa = next(segments(opened(samples.isa(version=version).replace("*^*", f"*{mark}*").encode())))
    assert not isinstance(isa, Reason) and repetition_mark(isa) == expected


def test_a_separator_that_serves_twice_repeats_nothing() -> None:
    isa = next(segments(opened(samples.isa(component="^").encode())))
    assert not isinstance(isa, Reason) and repetition_mark(isa) is None
