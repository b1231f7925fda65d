"""Rows that end or hang the process that works on them.

A worker that is lost in the middle of an interval leaves no word of why. So an interval that is begun again is worked on in a child
process; when the child is lost too, the interval is halved until one unit is alone, and a unit that ends its process twice is a dead
letter. A process in which nothing moves for `cluster.stall_seconds` ends itself, which makes a hang a loss.

The child is `python -m nosology.distributed.isolation`: the work comes pickled on its standard input, tables go back on its standard
output, and whatever a library prints goes nowhere.
"""

from __future__ import annotations

import faulthandler
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, Self

from nosology.distributed.coverage import Interval, Tally
from nosology.errors import NosologyError, Reason
from nosology.records import DeadLetter

if TYPE_CHECKING:
    import pyarrow as pa

    from nosology.distributed.sink import Attempt

KILLED = Reason("process_lost", None, "a unit that does not end the process that works on it")
STALLED = Reason("timed_out", None, "a unit that is done within cluster.stall_seconds")
_ATTEMPTS = 2  # of one unit alone, so that a process which something else killed costs no row


class Work(Protocol):
    """What a worker does with an interval; picklable.

    Attributes:
        isolable: whether it can run in a child process.
    """

    isolable: bool

    def open(self) -> None:
        """Loads models; called once in each process."""
        ...

    def produce(
        self, interval: Interval, tally: Tally, dead: list[DeadLetter], moved: Callable[[], None]
    ) -> Iterator[tuple[str, pa.Table]]:
        """Output tables of an interval, in pieces; fills `tally` and `dead`, and calls `moved` while it gets on."""
        ...

    def lost(self, unit: Interval, reason: Reason) -> tuple[Tally, DeadLetter]:
        """The dead letter of a unit that ends its process."""
        ...


class Watch:
    """Ends this process when nothing moves for some seconds, even where native code holds the interpreter's lock."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._nowhere = open(os.devnull, "w")  # noqa: SIM115 - lives as long as the process; a traceback is of no use there

    def moved(self) -> None:
        """Starts the time anew."""
        faulthandler.dump_traceback_later(self._seconds, exit=True, file=self._nowhere)

    def rest(self) -> None:
        """Nothing is being worked on."""
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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def produce(self, interval: Interval) -> Iterator[tuple[str, pa.Table] | tuple[Tally, list[DeadLetter]]]:
        """Output tables of an interval, then its counts and dead letters.

        Raises:
            Lost: the process ended.
            NosologyError: what the work raised.
        """
        import pyarrow as pa

        try:
            if self._process is None:
                self._start()
            process = self._process
            assert process and process.stdin and process.stdout
            _send(process.stdin, interval)
            while True:
                kind, *values = _receive(process.stdout)
                if kind == "fault":
                    raise values[0]
                if kind == "done":
                    yield values[0], values[1]
                    return
                yield values[0], pa.ipc.open_stream(values[1]).read_all()
        except (EOFError, BrokenPipeError):
            raise Lost(self._close()) from None

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "nosology.distributed.isolation"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdin
        _send(self._process.stdin, (self._work, self._stall_seconds))

    def _close(self) -> Reason:
        """Ends the child; why it had ended, if it had."""
        process, self._process = self._process, None
        if process is None:
            return KILLED
        if process.stdin:
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
    """The child ended in the middle of an interval."""

    def __init__(self, reason: Reason) -> None:
        self.reason = reason
        super().__init__(reason.code)


def carefully(work: Work, child: Child, attempt: Attempt, interval: Interval, tally: Tally, dead: list[DeadLetter]) -> None:
    """The parts of an interval, made in a child; a unit that ends its process twice is among the dead letters."""
    single = interval.stop - interval.start == 1
    for _ in range(_ATTEMPTS if single else 1):
        mark = attempt.mark()
        try:
            for first, second in child.produce(interval):
                if isinstance(first, Tally):
                    tally.add(first)
                    dead += second
                else:
                    attempt.add(first, second)
            return
        except Lost as lost:
            attempt.rollback(mark)
            reason = lost.reason
    if single:
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


def _answer(work: Work, interval: Interval, answers: BinaryIO, watch: Watch) -> None:
    import pyarrow as pa

    tally, dead = Tally(), list[DeadLetter]()
    watch.moved()
    for table, rows in work.produce(interval, tally, dead, watch.moved):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, rows.schema) as writer:
            writer.write_table(rows)
        _send(answers, ("part", table, sink.getvalue().to_pybytes()))
        watch.moved()
    watch.rest()
    _send(answers, ("done", tally, dead))


def main() -> None:
    """The child: answers intervals until its standard input ends."""
    from nosology.runs import describe

    answers = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    requests = sys.stdin.buffer
    packed, stall_seconds = _receive(requests)
    watch = Watch(stall_seconds)
    work: Work | None = None
    while True:
        try:
            interval = _receive(requests)
        except EOFError:
            return
        try:
            if work is None:
                watch.moved()
                work = pickle.loads(packed)
                work.open()
            _answer(work, interval, answers, watch)
        except NosologyError as error:
            watch.rest()
            _send(answers, ("fault", error))
        except Exception as error:
            watch.rest()
            _send(answers, ("fault", NosologyError(f"internal error in a worker: {describe(error)}; please report this line")))


if __name__ == "__main__":
    main()
