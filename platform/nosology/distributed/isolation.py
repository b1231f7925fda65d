"""Rows that end or hang the process that works on them.

A worker that is lost in the middle of an interval leaves no word of why. So an interval that is begun again is worked on in a child
process; when the child is lost too, the interval is halved until one unit is alone, and a unit that ends its process twice is a dead
letter. A unit that holds many records (a file) is not given up for one of them: the child marks which record it makes, and one that
ends two children is left unmade, a dead letter of its own. A process in which nothing moves for `cluster.stall_seconds` ends itself,
which makes a hang a loss.

The child is `python -m nosology.distributed.isolation MARK`: the work comes pickled on its standard input, tables go back on its standard
output, whatever a library prints goes nowhere, and MARK is the descriptor of a file that it shares with its parent.
"""

from __future__ import annotations

import contextlib
import faulthandler
import mmap
import os
import pickle
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, Self

from nosology.distributed.coverage import Interval, Tally
from nosology.distributed.silence import without_core
from nosology.errors import NosologyError, Reason
from nosology.records import DeadLetter

if TYPE_CHECKING:
    import pyarrow as pa

    from nosology.distributed.sink import Attempt

KILLED = Reason("process_lost", None, "a unit that does not end the process that works on it")
STALLED = Reason("timed_out", None, "a unit that is done within cluster.stall_seconds")
_ATTEMPTS = 2  # of one unit or record alone, so that a process which something else killed costs no row
_OPENING_SECONDS = 120.0  # for a child to load its models, at least: that takes long on a busy machine
_MOST_DEADLY = 64  # records of one unit; each takes two more readings of it
_MARK = struct.Struct("=Q")


def _nowhere(_: int) -> None:
    """Where nobody asks which record is made."""


@dataclass(frozen=True, slots=True)
class Guard:
    """How a work and what watches over it speak of what it does.

    Attributes:
        moved: called while it gets on.
        told: given the number, from 1, of each record of a unit that is about to be made, and 0 when it is.
        deadly: records of the unit that are not to be made, for they end the process.
    """

    moved: Callable[[], None]
    told: Callable[[int], None] = _nowhere
    deadly: Mapping[int, Reason] = field(default_factory=dict)


class Work(Protocol):
    """What a worker does with an interval; picklable.

    Attributes:
        isolable: whether it can run in a child process.
    """

    isolable: bool

    def open(self) -> None:
        """Loads models; called once in each process."""
        ...

    def produce(self, interval: Interval, tally: Tally, dead: list[DeadLetter], guard: Guard) -> Iterator[tuple[str, pa.Table]]:
        """Output tables of an interval, in pieces; fills `tally` and `dead`."""
        ...

    def lost(self, unit: Interval, reason: Reason) -> tuple[Tally, DeadLetter]:
        """The dead letter of a unit that ends its process."""
        ...


class Watch:
    """Ends this process when nothing moves for some seconds, even where native code holds the interpreter's lock."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._nowhere = open(os.devnull, "w")  # noqa: SIM115 - lives as long as the process; a traceback is of no use there
        self._due = 0.0  # when it is worth the cost to start the time anew

    def moved(self) -> None:
        """Starts the time anew."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + self._seconds / 50
            faulthandler.dump_traceback_later(self._seconds, exit=True, file=self._nowhere)

    def rest(self) -> None:
        """Nothing is being worked on."""
        self._due = 0.0
        faulthandler.cancel_dump_traceback_later()


class Child:
    """A process that works on intervals and may be lost. Made anew after each loss.

    Args:
        work: pickled with cloudpickle, so that a class of a script can travel.
        stall_seconds: the child ends itself when nothing moves for so long.
    """

    def __init__(self, work: bytes, stall_seconds: float) -> None:
        self._work, self._stall_seconds = work, stall_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._mark = os.memfd_create("mark")  # memory that outlives the child
        os.truncate(self._mark, _MARK.size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        os.close(self._mark)

    def produce(self, interval: Interval, deadly: Mapping[int, Reason]) -> Iterator[tuple[str, pa.Table] | tuple[Tally, list[DeadLetter]]]:
        """Output tables of an interval, then its counts and dead letters.

        Args:
            deadly: records that are not to be made (`Guard`).

        Raises:
            Lost: the process ended.
            NosologyError: what the work raised; or the process could not begin, which says nothing of any row.
        """
        import pyarrow as pa

        try:
            if self._process is None:
                self._start()
            process = self._process
            assert process and process.stdin and process.stdout
            _send(process.stdin, (interval, dict(deadly)))
            while True:
                kind, *values = _receive(process.stdout)
                if kind == "fault":
                    raise values[0]
                if kind == "done":
                    yield values[0], values[1]
                    return
                yield values[0], pa.ipc.open_stream(values[1]).read_all()
        except (EOFError, BrokenPipeError):
            (record,) = _MARK.unpack(os.pread(self._mark, _MARK.size, 0))
            raise Lost(self._close(), record) from None

    def _start(self) -> None:
        os.pwrite(self._mark, _MARK.pack(0), 0)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "nosology.distributed.isolation", str(self._mark)],
                pass_fds=[self._mark],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            assert self._process.stdin and self._process.stdout
            _send(self._process.stdin, (self._work, self._stall_seconds))
            fault = _receive(self._process.stdout)
        except (EOFError, OSError):
            self._close()
            raise NosologyError(
                "a process for rows that ended another could not begin, perhaps for lack of memory. "
                "What was committed stands; run the same command again, it resumes"
            ) from None
        if fault is not None:
            raise fault

    def _close(self) -> Reason:
        """Ends the child; why it had ended, if it had."""
        process, self._process = self._process, None
        if process is None:
            return KILLED
        if process.stdin:
            with contextlib.suppress(OSError):  # it still holds what the child did not take
                process.stdin.close()
        try:
            status = process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
        if process.stdout:
            process.stdout.close()
        return STALLED if status == 1 else KILLED  # faulthandler leaves with 1; every other fault is caught in the child


class Lost(Exception):
    """The child ended in the middle of an interval.

    Attributes:
        record: the one that it was about to make, by number from 1 in its unit; 0 when it made none.
    """

    def __init__(self, reason: Reason, record: int) -> None:
        self.reason, self.record = reason, record
        super().__init__(reason.code)


def carefully(work: Work, child: Child, attempt: Attempt, interval: Interval, tally: Tally, dead: list[DeadLetter]) -> None:
    """The parts of an interval, made in a child; a unit or a record that ends its process twice is among the dead letters."""
    single = interval.stop - interval.start == 1
    deadly: dict[int, Reason] = {}
    losses = Counter[int]()  # by the record that was being made
    while True:
        mark = attempt.mark()
        try:
            for first, second in child.produce(interval, deadly):
                if isinstance(first, Tally):
                    tally.add(first)
                    dead += second
                else:
                    attempt.add(first, second)
            return
        except Lost as lost:
            attempt.rollback(mark)
            reason, record = lost.reason, lost.record
        losses[record] += 1
        if not single:
            break
        if record and losses[record] == _ATTEMPTS and len(deadly) < _MOST_DEADLY:
            deadly[record] = reason
            losses.clear()
        elif losses.total() > _ATTEMPTS or losses[record] == _ATTEMPTS:  # nowhere, or now here and now there
            count, letter = work.lost(interval, reason)
            tally.add(count)
            dead.append(letter)
            return
    middle = (interval.start + interval.stop) // 2
    carefully(work, child, attempt, Interval(interval.file, interval.start, middle), tally, dead)
    carefully(work, child, attempt, Interval(interval.file, middle, interval.stop), tally, dead)


def _send(stream: BinaryIO | Any, value: object) -> None:
    data = pickle.dumps(value)
    stream.write(len(data).to_bytes(8, "big") + data)
    stream.flush()


def _receive(stream: BinaryIO | Any) -> Any:
    head = stream.read(8)
    size = int.from_bytes(head, "big")
    data = stream.read(size) if len(head) == 8 else b""
    if len(head) < 8 or len(data) < size:
        raise EOFError
    return pickle.loads(data)


def _answer(work: Work, interval: Interval, guard: Guard, answers: BinaryIO, watch: Watch) -> None:
    import pyarrow as pa

    tally, dead = Tally(), list[DeadLetter]()
    watch.moved()
    for table, rows in work.produce(interval, tally, dead, guard):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, rows.schema) as writer:
            writer.write_table(rows)
        watch.rest()  # until the parent has stored what came before, which says nothing of a row
        _send(answers, ("part", table, sink.getvalue().to_pybytes()))
        watch.moved()
    watch.rest()
    _send(answers, ("done", tally, dead))


def main() -> None:
    """The child: answers intervals until its standard input ends."""
    without_core()
    answers = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    requests = sys.stdin.buffer
    packed, stall_seconds = _receive(requests)
    opening, watch = Watch(max(stall_seconds, _OPENING_SECONDS)), Watch(stall_seconds)
    mark = mmap.mmap(int(sys.argv[1]), _MARK.size)
    fault: NosologyError | None = None
    try:
        opening.moved()
        work: Work = pickle.loads(packed)
        work.open()
    except Exception as error:
        fault = _fault(error)
    opening.rest()
    _send(answers, fault)
    while fault is None:
        try:
            interval, deadly = _receive(requests)
        except EOFError:
            return
        try:
            guard = Guard(watch.moved, lambda record: _MARK.pack_into(mark, 0, record), deadly)
            _answer(work, interval, guard, answers, watch)
        except Exception as error:
            watch.rest()
            _send(answers, ("fault", _fault(error)))


def _fault(error: Exception) -> NosologyError:
    from nosology.runs import describe

    if isinstance(error, NosologyError):
        return error
    return NosologyError(f"internal error in a worker: {describe(error)}; please report this line")


if __name__ == "__main__":
    main()
