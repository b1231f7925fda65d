"""Several drivers of one run folder: whoever is refused takes nothing that another needs, and `resume` finds the command of the one that
the ledger took."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from nosology import config, runs, storage, verbs
from nosology.errors import FingerprintError, InputError
from nosology.runs import Run
from nosology.verbs import upkeep

TREES = {name: config.load([], [f"run.seed={number}"]) for number, name in enumerate("ABC")}
Resume = Callable[[], str]


def driver(out: Path, name: str) -> Run:
    """One that has begun to look at its input."""
    return Run(str(out), "ingest", TREES[name], inputs=[f"/archive/{name}"]).__enter__()


def claim(run: Run, name: str) -> None:
    """What the ledger does, for the job of this name."""
    runs.claim(run.uri, {"verb": "ingest", "input": name})
    storage.create_if_absent(storage.join(run.uri, "epoch-1.json"), b"{}")


def refuse(run: Run, error: Exception | None = None) -> None:
    error = error or InputError("no such file or folder")
    run.__exit__(type(error), error, None)


def whole(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "new" / "out"


@pytest.fixture
def resumed(out: Path, monkeypatch: pytest.MonkeyPatch) -> Resume:
    """Resumes: names of the commands that were given, the last of which the ledger took."""
    given: list[str] = []

    def ingest(config: config.Config, inputs: list[str], out: str) -> dict[str, Any]:
        name = inputs[0].rsplit("/", 1)[-1]
        given.append(name)
        assert config.run.seed == "ABC".index(name)
        runs.claim(out, {"verb": "ingest", "input": name})
        return {"input": name}

    monkeypatch.setattr(verbs, "ingest", ingest)

    def resume() -> str:
        given.clear()
        assert upkeep.resume(str(out))["input"] == given[-1]
        return "".join(given)

    return resume


def test_a_refused_driver_leaves_what_another_one_wrote(out: Path, resumed: Resume) -> None:
    first = driver(out, "A")
    before = whole(out)
    for name in "BCA":  # the same command too
        refuse(driver(out, name))
        assert whole(out) == before, name
    claim(first, "A")
    assert resumed() == "A"


@pytest.mark.parametrize("order", ["AB", "BA"])
def test_a_refused_driver_takes_its_own_with_it(out: Path, order: str) -> None:
    """Whoever goes first: nothing is left but the folder, where the one that made it went first."""
    drivers = {name: driver(out, name) for name in "AB"}
    for name in order:
        refuse(drivers[name])
    assert not whole(out) and out.exists() == (order == "AB")


def test_the_first_is_refused_while_the_second_goes_on(out: Path, resumed: Resume) -> None:
    first, second = driver(out, "A"), driver(out, "B")
    refuse(first)
    claim(second, "B")
    assert resumed() == "B"


@pytest.mark.parametrize("owner", "AB")
@pytest.mark.parametrize("refused", [True, False])
@pytest.mark.parametrize("ends", [False, True])
def test_the_command_is_that_of_the_driver_that_the_ledger_took(out: Path, resumed: Resume, owner: str, refused: bool, ends: bool) -> None:
    """The other one is refused by it, or was killed before; the owner ends, or is killed too."""
    drivers = {name: driver(out, name) for name in "AB"}
    own, other = drivers.pop(owner), drivers.popitem()[1]
    claim(own, owner)
    if refused:
        refuse(other, FingerprintError("another job"))
        assert not (out / "log.jsonl").exists(), "the log is the other job's"
    if ends:
        own.finish({})
        own.__exit__(None, None, None)
        assert json.loads((out / "command.json").read_text())["arguments"] == {"inputs": [f"/archive/{owner}"]}
        assert yaml.safe_load((out / "config.yaml").read_text())["run"]["seed"] == "AB".index(owner)
        assert resumed() == owner
    else:
        assert resumed()[-1] == owner


def test_the_first_looks_before_the_folder_is_a_runs_and_removes_after(out: Path, resumed: Resume, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, remove = driver(out, "A"), driver(out, "B"), storage.remove

    def late(uri: str) -> None:
        if uri.endswith("command.json"):
            claim(second, "B")
            second.finish({})
        remove(uri)

    monkeypatch.setattr(storage, "remove", late)
    refuse(first)
    assert not (out / "command.json").exists()
    assert resumed() == "B"


def test_several_commands_and_no_run(out: Path) -> None:
    driver(out, "A")
    driver(out, "B")
    with pytest.raises(InputError, match="several commands"):
        upkeep.resume(str(out))


def test_a_driver_killed_between_its_records(out: Path, resumed: Resume, monkeypatch: pytest.MonkeyPatch) -> None:
    create = storage.create_if_absent

    def killed(uri: str, data: bytes) -> bool:
        if uri.endswith("config.yaml"):
            raise KeyboardInterrupt
        return create(uri, data)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "create_if_absent", killed)
        with pytest.raises(KeyboardInterrupt):
            driver(out, "A")
    claim(driver(out, "B"), "B")
    assert resumed() == "B"
    driver(out, "B").finish({})
    assert resumed() == "B" and "/archive/B" in (out / "command.json").read_text()


def test_files_of_the_run_are_apart_from_those_of_another_driver(out: Path) -> None:
    """The phrases of `prepare` are part of its input: each driver plans its own."""
    first, second = driver(out, "A"), driver(out, "B")
    one, two = first.put("phrases.jsonl", b"one"), second.put("phrases.jsonl", b"two")
    assert (storage.read_bytes(one), storage.read_bytes(two)) == (b"one", b"two")
    claim(second, "B")
    refuse(first, FingerprintError("another job"))
    again = driver(out, "B")
    assert storage.read_bytes(again.put("phrases.jsonl", b"two")) == b"two"
    refuse(again, FingerprintError("another job"))
    assert storage.read_bytes(two) == b"two" and len(list((out / "commands").iterdir())) == 1


def test_the_command_that_fits_the_plan_is_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one would read its whole archive before it is refused."""
    from nosology.config import ClusterConfig
    from nosology.distributed.session import session

    out, given, ingest = tmp_path / "out", list[str](), verbs.ingest
    for name in "AB":
        (tmp_path / name).mkdir()
        (tmp_path / name / "note.txt").write_text(f"A cough, {name}.")
        Run(str(out), "ingest", TREES["A"], inputs=[str(tmp_path / name)]).__enter__()

    def counted(config: config.Config, inputs: list[str], out: str) -> dict[str, Any]:
        given.append(inputs[0])
        return ingest(config, inputs, out)

    monkeypatch.setattr(Run, "_name", lambda _: None)  # it is killed before that
    with session(ClusterConfig(num_cpus=1)):
        ingest(TREES["A"], [str(tmp_path / "B")], str(out))
        monkeypatch.setattr(verbs, "ingest", counted)
        assert upkeep.resume(str(out))["records_in"] == 1 and given == [str(tmp_path / "B")]


def test_a_folder_of_runs_is_no_place_for_a_run(tmp_path: Path) -> None:
    claim(driver(tmp_path / "runs" / "first", "A"), "A")
    with pytest.raises(InputError, match="beside first"):
        driver(tmp_path / "runs", "B")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["first"]
