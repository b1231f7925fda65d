"""HL7 v2 and tables whose lines end with CR, LF or both, however the stream gives its bytes, and with records near the limit."""

from __future__ import annotations

import gzip
import io
import itertools
from typing import Any

import pytest
from nosology.errors import Reason
from nosology.readers import delimited, hl7v2
from nosology.readers.source import TOO_LONG

ENDS = pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n"], ids=["CR", "LF", "CRLF"])


class Given(io.RawIOBase):
    """A stream that gives these bytes a part at a time, and then an error where there is one."""

    def __init__(self, parts: list[bytes], error: Exception | None = None) -> None:
        self._parts, self._error = [part for part in parts if part], error

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        if not self._parts and self._error is not None:
            raise self._error
        part = self._parts.pop(0) if self._parts else b""
        size = min(len(part), len(target))
        target[:size] = part[:size]
        if size < len(part):
            self._parts.insert(0, part[size:])
        return size


def given(*parts: bytes, error: Exception | None = None) -> io.BufferedReader:
    return io.BufferedReader(Given(list(parts), error))


def message(number: int, pad: int = 0) -> list[bytes]:
    return [b"MSH|^~\\&|A|%d" % number, b"PID|%d|" % number + b"y" * pad, b"OBX|%d" % number]


def file_of(messages: list[list[bytes]], end: bytes) -> bytes:
    return b"".join(line + end for lines in messages for line in lines)


def found(stream: io.BufferedReader, limit: int) -> list[list[bytes] | str]:
    """The segments of each message, or why it is none."""
    return [item.code if isinstance(item, Reason) else [line for _, line in item] for item in hl7v2.messages(stream, limit)]


# --------------------------------------------------------------------------------------------------------------- HL7 v2


@ENDS
def test_messages_in_two_parts_cut_anywhere(end: bytes) -> None:
    wanted = [message(number) for number in range(3)]
    data = file_of(wanted, end)
    for cut in range(len(data) + 1):
        for item in hl7v2.messages(given(data[:cut], data[cut:]), 1 << 20):
            assert not isinstance(item, Reason)
            assert all(data[start : start + len(line)] == line for start, line in item), "offsets are those of the file"
        assert found(given(data[:cut], data[cut:]), 1 << 20) == wanted


@ENDS
@pytest.mark.parametrize("limit", [60, 64, 101])
def test_a_file_longer_than_the_limit_of_a_message(end: bytes, limit: int) -> None:
    for pad in range(20):
        wanted = [message(number, pad) for number in range(40)]
        data = file_of(wanted, end)
        assert found(given(data), limit) == wanted
        assert found(given(*[data[at : at + 7] for at in range(0, len(data), 7)]), limit) == wanted


@ENDS
@pytest.mark.parametrize("size", [1, 9, 1000])
@pytest.mark.parametrize("blanks", [0, 500])
def test_one_message_above_the_limit_is_one_dead_letter(end: bytes, size: int, blanks: int) -> None:
    """Whatever its line holds behind the limit."""
    long = message(1)
    long[1] += b" " * blanks + b"MSH|^~\\&|PID|" * 40
    data = file_of([message(0), long, message(2)], end)
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    assert found(given(*parts), 64) == [message(0), TOO_LONG.code, message(2)]


@ENDS
@pytest.mark.parametrize("size", [1, 9, 1000])
def test_what_lies_behind_a_long_filling_is_read(end: bytes, size: int) -> None:
    data = b"\0" * 200 + file_of([message(0)], end) + b"\0" * 200 + file_of([message(1)], end)
    assert found(given(*[data[at : at + size] for at in range(0, len(data), size)]), 64) == [message(0), message(1)]


@ENDS
def test_memory_is_bounded_by_the_limit(end: bytes) -> None:
    import tracemalloc

    parts = (b"MSH|^~\\&|" if at == 0 else b"x" * 10_000 for at in range(2000))
    data = b"".join(parts) + end + file_of([message(1)], end)
    stream = io.BufferedReader(io.BytesIO(data))  # type: ignore[arg-type]
    tracemalloc.start()
    try:
        assert found(stream, 100_000) == [TOO_LONG.code, message(1)]
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@ENDS
def test_messages_before_damage_are_given(end: bytes) -> None:
    wanted = [message(number) for number in range(3)]
    data = file_of(wanted, end)
    for cut in range(len(data) + 1):
        seen = []
        with pytest.raises(EOFError):
            for item in hl7v2.messages(given(data[:cut], error=EOFError()), 50):
                seen.append([line for _, line in item])  # type: ignore[union-attr]
        ended = data[:cut].replace(b"\n", b"\r").split(b"\r")[:-1]
        assert seen == wanted[: max(sum(line.startswith(b"MSH") for line in ended) - 1, 0)]


@ENDS
def test_the_offset_of_bad_bytes_behind_many_pieces(end: bytes, read: Any) -> None:
    data = end.join(
        line for number in range(40) for line in (b"MSH|^~\\&|A|B|C|D|20240301||ORU^R01|%d|P|2.5" % number,
                                                  b"PID|1||%d" % number, b"OBX|1|TX|x||" + b"y" * 4000)
    )  # fmt: skip
    place = data.rindex(b"OBX") + 2000
    data = data[:place] + b"\xff" + data[place:]
    assert read(data).one("DeadLetter").rule.endswith(f"has offset {place}")
    assert read(b"\xef\xbb\xbf" + data).one("DeadLetter").rule.endswith(f"has offset {place + 3}")


@ENDS
def test_a_gzip_that_is_cut_keeps_its_messages(end: bytes, read: Any) -> None:
    import random

    noise = random.Random(0)
    lines = [(b"MSH|^~\\&|A|B|C|D|20240301||ORU^R01|%d|P|2.5" % number, b"PID|1||%d" % number, b"OBX|1|TX|x||" + noise.randbytes(300).hex().encode())
             for number in range(400)]  # fmt: skip
    packed = gzip.compress(end.join(itertools.chain(*lines)))
    notes = read(packed[: len(packed) // 2])
    assert notes.reasons == [("truncated_file", None)] and 180 < len(notes.of("RawDocument")) < 220
    assert notes.of("RawDocument") == [
        note for note, line in zip(notes.of("RawDocument"), lines, strict=False) if note.text == line[2][12:].decode()
    ]


# --------------------------------------------------------------------------------------------------------------- tables


def cells(stream: io.BufferedReader, limit: int = 1 << 20) -> list[list[str] | str]:
    return [row.code if isinstance(row, Reason) else row for row in delimited.rows(stream, ",", limit)]


@ENDS
def test_rows_in_two_parts_cut_anywhere(end: bytes) -> None:
    data = end.join([b"id,text", b"1,a", b'2,"b', b'c"', b"", b"3,d", b""])
    wanted = [["id", "text"], ["1", "a"], ["2", "b" + end.decode() + "c"], ["3", "d"]]
    for cut in range(len(data) + 1):
        assert cells(given(data[:cut], data[cut:])) == wanted, cut


@ENDS
@pytest.mark.parametrize("limit", [24, 31])
def test_a_table_longer_than_the_limit_of_a_row(end: bytes, limit: int) -> None:
    for pad in range(16):
        wanted = [["id", "text"], *[[f"n{number}", "x" * pad] for number in range(10, 60)]]
        data = b"".join(",".join(row).encode() + end for row in wanted)
        assert cells(given(data), limit) == wanted
        assert cells(given(*[data[at : at + 5] for at in range(0, len(data), 5)]), limit) == wanted


@ENDS
@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        (b"2," + b"x,4" * 30, ["record_too_long", ["3", "d"]]),
        (b'2,"' + b"x,4" * 30 + b'"', ["record_too_long", ["3", "d"]]),
        (b'2,"' + b"x,4" * 30, ["broken_row"]),  # it is not known where its cell ends
        (b'2,"x\n' + b"x,4" * 30 + b'"', ["broken_row"]),
    ],
    ids=["plain", "quoted", "open", "within"],
)
def test_one_row_above_the_limit(end: bytes, size: int, row: bytes, wanted: list[Any]) -> None:
    data = end.join([b"id,text", b"1,a", row, b"3,d", b""])
    assert cells(given(*[data[at : at + size] for at in range(0, len(data), size)]), 40) == [["id", "text"], ["1", "a"], *wanted]


@ENDS
def test_rows_before_damage_are_given(end: bytes) -> None:
    data = end.join([b"id,text", b"1,a", b"2,b", b""])
    for cut in range(len(data) + 1):
        seen: list[Any] = []
        with pytest.raises(EOFError):
            seen.extend(delimited.rows(given(data[:cut], error=EOFError()), ",", 40))
        assert len(seen) == data[:cut].count(end[:1])


@ENDS
def test_the_offset_of_bad_bytes_of_a_row_behind_many_pieces(end: bytes, read: Any) -> None:
    rows = [b"id,text", *[b"%d,%s" % (number, b"x" * 1000) for number in range(200)]]
    rows[180] = rows[180][:500] + b"\xff" + rows[180][501:]
    data = end.join(rows)
    assert read(data).one("DeadLetter").rule.endswith(f"has offset {data.index(0xFF)}")
