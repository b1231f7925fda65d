"""The ledger as a state machine against a plain dictionary, with a crash between any two storage operations.

The dictionary knows which manifests exist, by epoch, and which of them each epoch accepts; it is told of files by the storage
functions, as they are made. A crash is a BaseException out of the n-th call, before or after it took effect: what was made stays.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import fsspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test
from ledger_sample import SCHEMAS, assert_exact, complete, fill, open_job
from nosology import storage
from nosology.distributed import sink, upkeep
from nosology.distributed.coverage import Commit, Interval, PlannedFile, Tally
from nosology.distributed.parts import read_part
from nosology.errors import InputError

BATCH_ROWS = 3
OPERATIONS = ("create_if_absent", "remove", "read_bytes", "read_many", "list_files", "exists")
# How many calls pass before the crash, and whether that call still takes effect; or an error of the storage that leaves this open.
CRASH = st.one_of(st.none(), st.none(), st.tuples(st.integers(0, 6) | st.integers(0, 25), st.sampled_from(["before", "after", "error"])))


class Crash(BaseException):
    """Stands for a kill: nothing in the program catches it."""


class Ledgers(RuleBasedStateMachine):
    """Drivers and workers, living and dead; any may act at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.out = f"memory://state-{uuid.uuid4().hex}"
        self.real: dict[str, Callable[..., Any]] = {name: getattr(storage, name) for name in OPERATIONS}
        self.left: int | None = None
        self.how = ""
        self.hidden: set[str] = set()
        self.drivers: list[tuple[sink.Ledger, list[Interval]]] = []
        self.commits: list[tuple[int, Commit]] = []
        self.late: list[tuple[sink.Attempt, Tally]] = []
        # the dictionary
        self.manifests: dict[int, set[tuple[int, int, int]]] = {}
        self.accepted: dict[tuple[int, int, int], int] = {}
        self.epoch, self.finished = 0, False
        for name in OPERATIONS:
            setattr(storage, name, self._wrapped(name))

    def teardown(self) -> None:
        try:
            if hasattr(self, "plan"):
                complete(self._fresh(), self.plan)
                for attempt, tally in self.late:
                    attempt.commit(tally)  # zombies that wake after the end
                assert_exact(self.out, self.plan)
                assert upkeep.verify(self.out).faults == []
        finally:
            for name in OPERATIONS:
                setattr(storage, name, self.real[name])
            filesystem = fsspec.filesystem("memory")
            if filesystem.exists(self.out):
                filesystem.rm(self.out, recursive=True)

    def _fresh(self) -> sink.Ledger:
        ledger = open_job(self.out, self.plan, BATCH_ROWS)
        assert ledger.epoch == self.epoch
        return ledger

    def _work(self, ledger: sink.Ledger, interval: Interval) -> Commit | None:
        """As a worker does: after an error it takes back what it wrote."""
        attempt = ledger.writer(SCHEMAS).begin(interval)
        try:
            return attempt.commit(fill(attempt, self.plan, interval))
        except Exception:
            attempt.abandon()
            raise

    def _all_done(self, ledger: sink.Ledger) -> bool:
        """A driver works on what is left; False where it hears that another one took over."""
        for interval in list(ledger.pending()):
            commit = self._work(ledger, interval)
            if commit is None:
                return False
            ledger.accept(commit)
        return True

    def _tell(self, ledger: sink.Ledger) -> None:
        """The dictionary learns which commits of its own epoch a driver knows."""
        mine = ledger.mine.coverage.ranges.items()
        self.told = {(i.file, i.start, i.stop) for file, spans in mine for span in spans for i in ledger.job.intervals(file, *span)}

    @contextmanager
    def _sent_away(self, ledger: sink.Ledger) -> Iterator[None]:
        """Within, only a driver that a later one superseded is told so."""
        newest = self.epoch
        try:
            yield
        except storage.StorageError:
            raise
        except InputError:
            assert newest > ledger.epoch, "a driver was sent away that nobody had superseded"

    # ------------------------------------------------------------------------------------------------ the storage

    def _wrapped(self, name: str) -> Callable[..., Any]:
        def operation(*arguments: Any, **options: Any) -> Any:
            crash = False
            if self.left is not None:
                crash, self.left = self.left == 0, self.left - 1
            if crash and self.how == "before":
                raise Crash
            made = self.real[name](*arguments, **options)
            if name == "create_if_absent" and made:
                self._created(arguments[0], arguments[1])
            if name == "list_files":
                made = [uri for uri in made if uri.rsplit("/", 1)[-1] not in self.hidden]
            if crash:
                raise Crash if self.how == "after" else storage.StorageError("the storage endpoint does not answer", file=str(arguments[0]))
            return made

        return operation

    @contextmanager
    def _crashing(self, crash: tuple[int, str] | None) -> Iterator[None]:
        self.left, self.how = crash or (None, "")
        try:
            yield
        except (Crash, storage.StorageError):
            pass
        finally:
            self.left = None

    def _created(self, uri: str, data: bytes) -> None:
        """What the dictionary learns of a new file."""
        name = uri.rsplit("/", 1)[-1]
        if match := sink.MANIFEST.fullmatch(name):
            number = int(uri.rsplit("/", 2)[-2].removeprefix("epoch-"))
            file = next(n for n, planned in enumerate(self.plan) if planned.key == match["key"])
            self.manifests.setdefault(number, set()).add((file, int(match["start"]), int(match["stop"])))
        elif match := re.fullmatch(r"epoch-(\d+)\.json", name):
            assert int(match[1]) == self.epoch + 1, "an epoch was left out"
            self.accepted = self._next(data)
            self.epoch += 1

    def _next(self, data: bytes) -> dict[tuple[int, int, int], int]:
        """What the epoch that begins or ends accepts, by the rules alone."""
        if self.doing == "open":  # all that the epoch before committed and a listing shows
            found = self.manifests.get(self.epoch, set()) - self.invisible
            return self.accepted | dict.fromkeys(found, self.epoch)
        if self.doing == "finish":
            self.finished = True
            return self.accepted | dict.fromkeys(self.told, self.epoch)
        if self.doing == "files again":
            found = self.accepted | dict.fromkeys(self.told, self.epoch)
            return {place: epoch for place, epoch in found.items() if place[0] not in self.again}
        self.finished = False
        return {place: epoch for place, epoch in self.accepted.items() if not any(unit % 3 == 0 for unit in range(*place[1:]))}

    # ------------------------------------------------------------------------------------------------ what happens

    @initialize(sizes=st.lists(st.integers(1, 8), min_size=1, max_size=2))
    def begin(self, sizes: list[int]) -> None:
        self.plan = [PlannedFile(f"{n:064x}", f"/in/{n}", f"{n:064x}", size, "rows", "rows", "jsonl", size) for n, size in enumerate(sizes)]
        self.doing, self.invisible, self.told = "open", set[tuple[int, int, int]](), set[tuple[int, int, int]]()
        self.again = set[int]()

    @rule(crash=CRASH, stale=st.booleans())
    def driver(self, crash: tuple[int, str] | None, stale: bool) -> None:
        self.doing, self.invisible = "open", set()
        if stale:  # the newest manifest is not in the listing yet
            self.invisible = set(sorted(self.manifests.get(self.epoch, set()))[-1:])
        self.hidden = {f"{self.plan[file].key}-{start}-{stop}.json" for file, start, stop in self.invisible}
        before = self.finished
        with self._crashing(crash):
            ledger = open_job(self.out, self.plan, BATCH_ROWS)
            assert ledger.finished == before
            self.drivers.append((ledger, list(ledger.pending())))
        self.hidden = set()

    @precondition(lambda self: self.drivers)
    @rule(crash=CRASH, data=st.data(), then=st.sampled_from(["accept", "accept", "lose", "again", "later"]))
    def worker(self, crash: tuple[int, str] | None, data: st.DataObject, then: str) -> None:
        number = data.draw(st.integers(0, len(self.drivers) - 1))
        ledger, todo = self.drivers[number]
        if not todo:
            return
        interval = data.draw(st.sampled_from(todo))
        with self._crashing(crash):
            if then == "later":
                attempt = ledger.writer(SCHEMAS).begin(interval)
                self.late.append((attempt, fill(attempt, self.plan, interval)))
                return
            commit = self._work(ledger, interval)
            assert (commit is None) == (self.epoch > ledger.epoch)
            if commit and then != "lose":
                self.commits.append((number, commit))
            if commit and then == "again":
                assert self._work(ledger, interval) == commit

    @precondition(lambda self: self.late)
    @rule(crash=CRASH)
    def zombie_commits(self, crash: tuple[int, str] | None) -> None:
        attempt, tally = self.late.pop()
        with self._crashing(crash):
            attempt.commit(tally)

    @precondition(lambda self: self.late)
    @rule()
    def zombie_commits_unasked(self) -> None:
        """One that was stopped between its look at the epochs and its manifest."""
        attempt, tally = self.late.pop()
        attempt._writer.superseded = lambda: False  # type: ignore[method-assign]
        attempt.commit(tally)

    @precondition(lambda self: self.commits)
    @rule()
    def driver_hears(self) -> None:
        number, commit = self.commits.pop(0)
        self.drivers[number][0].accept(commit)

    @precondition(lambda self: self.drivers)
    @rule(crash=CRASH, data=st.data())
    def driver_ends(self, crash: tuple[int, str] | None, data: st.DataObject) -> None:
        """A driver that works on what is left and closes the job, or finds that it may not."""
        ledger, todo = data.draw(st.sampled_from(self.drivers))
        with self._crashing(crash):
            if self._all_done(ledger):
                self._tell(ledger)
                self.doing = "finish"
                with self._sent_away(ledger):
                    ledger.finish()

    @precondition(lambda self: any(not ledger.finished for ledger, _ in self.drivers))
    @rule(crash=CRASH, data=st.data(), worked=st.booleans())
    def files_again(self, crash: tuple[int, str] | None, data: st.DataObject, worked: bool) -> None:
        """The second pass of an ingest: files that are done, all or in part, are done once more in a next epoch of the same driver."""
        ledger, _ = data.draw(st.sampled_from([driver for driver in self.drivers if not driver[0].finished]))
        again = data.draw(st.sets(st.integers(0, len(self.plan) - 1), min_size=1))
        with self._crashing(crash):
            if worked and not self._all_done(ledger):
                return
            self._tell(ledger)
            self.doing, self.again = "files again", again
            known, superseded = _written(ledger), self.epoch > ledger.epoch
            try:
                with self._sent_away(ledger):
                    made = ledger.reopened(again)
                    assert not superseded and made.epoch == self.epoch
                    todo = list(made.pending())
                    units = {(interval.file, unit) for interval in todo for unit in range(interval.start, interval.stop)}
                    assert {(file, unit) for file in again for unit in range(self.plan[file].num_units)} <= units
                    self.drivers.append((made, todo))
            finally:
                assert _written(ledger) == known

    @precondition(lambda self: self.finished)
    @rule(crash=CRASH)
    def dead_letters_again(self, crash: tuple[int, str] | None) -> None:
        self.doing = "reopen"
        with self._crashing(crash):
            sink.reopen(self.out, None)

    @precondition(lambda self: self.epoch)
    @rule(crash=CRASH)
    def garbage(self, crash: tuple[int, str] | None) -> None:
        with self._crashing(crash):
            upkeep.collect_garbage(self.out, -1.0)  # no grace, and clocks may differ
        for number in list(self.manifests):
            if number < self.epoch:  # what garbage is gone for
                self.manifests[number] = {place for place in self.manifests[number] if self.accepted.get(place) == number}

    # ------------------------------------------------------------------------------------------------ what holds

    @invariant()
    def readers_see_what_the_dictionary_says(self) -> None:
        if not self.epoch:
            return
        seen = sink.snapshot(self.out)
        assert {(i.file, i.start, i.stop): epoch for epoch, i in seen.placed} == self.accepted
        assert len(seen.placed) == len(self.accepted)
        assert (seen.epoch, seen.finished) == (self.epoch, self.finished)
        assert upkeep.verify(self.out).faults == []
        found = sorted((part.interval.file, row) for part in seen.parts for row in read_part(part)["source_row"].to_pylist())
        assert found == sorted((file, row) for file, start, stop in self.accepted for row in range(start, stop))


def _written(ledger: sink.Ledger) -> str:
    """What a driver holds as done."""
    return json.dumps({epoch: group.to_json() for epoch, group in ledger._all().items()}, sort_keys=True)


def test_the_ledger_is_the_dictionary() -> None:
    try:
        run_state_machine_as_test(
            Ledgers,
            settings=settings(max_examples=120, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]),
        )
    finally:
        assert storage.exists.__module__ == "nosology.storage"


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a failing example leaves, the next test has the storage as it is."""
    for name in OPERATIONS:
        monkeypatch.setattr(storage, name, getattr(storage, name))
