"""The command line as a user meets it: exit status, the last JSON line, errors without traces."""

from __future__ import annotations

import errno
import functools
import importlib.metadata
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from nosology import cli, config, console, doctor
from nosology.errors import ConfigError, DeadLettersError, FingerprintError, NosologyError

CANARY = "Zebulon Quackenbush"


def nosology(*args: object, cwd: Path | None = None) -> tuple[int, dict[str, Any], str]:
    """(exit status, last JSON line, everything printed)."""
    done = subprocess.run([sys.executable, "-m", "nosology.cli", *map(str, args)], capture_output=True, text=True, cwd=cwd)
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"')]
    return done.returncode, json.loads(lines[-1]) if lines else {}, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConfigError("a"), 2),
        (DeadLettersError("b", {"records_in": 1}), 3),
        (KeyboardInterrupt(), 1),
        (ValueError(CANARY), 1),
        (RuntimeError(CANARY), 1),
    ],
)
def test_exit_status_and_no_text_of_an_unforeseen_error(error: BaseException, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> dict[str, Any]:
        raise error

    with pytest.raises(cli.typer.Exit) as left:
        console.perform("code", True, work)
    out, err = capsys.readouterr()
    assert left.value.exit_code == status
    assert json.loads(out.splitlines()[-1])["exit"] == status
    assert CANARY not in out + err and "Traceback" not in out + err


def test_wrong_key_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("deid: {treshold: 0.5}\n")
    status, last, text = nosology("deidentify", "--config", bad, "--in", tmp_path, "--out", tmp_path / "out", "--json")
    assert status == 2 and "deid.threshold" in last["error"] and "Traceback" not in text
    assert not (tmp_path / "out").exists()


def test_config_prints_the_tree_and_writes_its_schema(tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    status, last, _ = nosology("config", "train.zero=3", "--schema", schema, "--json")
    assert status == 0 and last["train"]["zero"] == 3 and last.pop("verb") == "config"
    assert json.loads(schema.read_text())["properties"].keys() == last.keys()
    for more in (["--json"], []):
        status, last, text = nosology("config", "--schema", "-", *more, cwd=tmp_path)
        printed = json.loads(text)
        assert status == 0 and printed.pop("verb", None) == ("config" if more else None)
        assert printed == json.loads(schema.read_text()) and [*tmp_path.iterdir()] == [schema]
    status, _, text = nosology("config", "train.zero=2")
    assert status == 0 and yaml.safe_load(text)["train"]["zero"] == 2


def test_version_is_printed() -> None:
    status, _, text = nosology("--version")
    assert status == 0 and text.strip() == f"nosology {importlib.metadata.version('nosology')}"


def test_unknown_verb_and_missing_option_are_wrong_use() -> None:
    assert nosology("cod")[0] == 2
    assert nosology("code", "--out", "x")[0] == 2


USES: list[tuple[tuple[str, ...], str | None, str]] = [
    (("cod",), None, "Did you mean 'code'"),
    (("--frob",), None, "--frob"),
    (("deadletter", "lis"), "deadletter", "Did you mean 'list'"),
    (("code", "--out", "x"), "code", "'--in'"),
    (("deadletter", "show"), "deadletter show", "'RUN'"),
    (("gc", "x", "--grace-seconds", "soon"), "gc", "'--grace-seconds'"),
    (("ingest", "--in", "x", "--out", "y", "-c", "none.yaml"), "ingest", "none.yaml"),
    (("submit", "cod"), "submit", "cannot run as a job"),
    (("verify", "none"), "verify", "none"),
]


@pytest.mark.parametrize(("words", "verb", "said"), USES, ids=[" ".join(words) for words, _, _ in USES])
def test_wrong_use_ends_with_a_json_line_too(words: tuple[str, ...], verb: str | None, said: str, tmp_path: Path) -> None:
    status, last, text = nosology(*words, "--json", cwd=tmp_path)
    assert (status, last["exit"], last["verb"]) == (2, 2, verb) and said in last["error"] and "Traceback" not in text
    status, last, text = nosology(*words, cwd=tmp_path)
    assert status == 2 and not last and text.startswith(f"nosology {verb}: " if verb else "nosology: ") and len(text.splitlines()) == 1


def test_a_package_that_cannot_be_loaded_is_an_internal_error() -> None:
    broken = "import sys; sys.modules['nosology.verbs'] = None; from nosology import cli; cli.main()"
    done = subprocess.run([sys.executable, "-c", broken, "status", "x", "--json"], capture_output=True, text=True)
    last = json.loads(done.stdout)
    assert (done.returncode, last["exit"]) == (1, 1) and "internal error" in last["error"] and "Traceback" not in done.stderr


def test_names_of_files_do_not_reach_the_terminal_raw(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from nosology.verbs.upkeep import ProofError

    names = [f"a{n}\x1b[31m\n{n}.pdf" for n in range(2)]
    (tmp_path / "in").mkdir()
    for name in names:
        (tmp_path / "in" / name).write_bytes(b"%PDF-1.4\n")
    done = subprocess.run(
        [sys.executable, "-m", "nosology.cli", "ingest", "--in", tmp_path / "in", "--out", tmp_path / "out"], capture_output=True, text=True
    )
    listed = [line for line in done.stderr.splitlines() if ".pdf" in line]
    assert done.returncode == 2 and "\x1b" not in done.stderr + done.stdout
    assert [f"a{n}\\x1b[31m\\n{n}.pdf" in line for n, line in enumerate(listed)] == [True, True]
    status, last, text = nosology("status", "a\x1b[2J", "--json")
    assert status == 2 and "\x1b" not in text and "a\\x1b[2J" in last["error"]
    assert str(ProofError({"run": "r", "faults": ["file a\nb: no", "c"]})).splitlines() == ["r: 2 faults", "  file a\\nb: no", "  c"]
    console.show({"a\x1b": "b\nc", "files": 2})
    assert capsys.readouterr().out == "a\\x1b  b\\nc\nfiles  2\n"


def test_ingest_takes_a_csv_with_columns_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("nid,note\n1,has a cough\n2,has no cough\n")
    status, last, text = nosology(
        "ingest", "--in", tmp_path / "in.csv", "--out", tmp_path / "out", "--json", "input.text_column=note", "input.id_column=nid"
    )
    assert status == 0 and (last["records"], last["notes"], last["by_format"]) == (2, 2, {"csv": 2}), text


def test_doctor_finds_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOSOLOGY_HOME", str(tmp_path))
    blocked = tmp_path / "file"
    blocked.write_text("")
    findings = {f.check: f for f in doctor.examine(config.Config(), str(blocked / "run"))}
    assert findings["encoder"].state == "bad" and "make models" in str(findings["encoder"].remedy)
    assert findings["storage"].state == "bad"
    assert findings["python"].state == "good" and findings["ray"].state == "good"
    assert all((f.state == "good") == (f.remedy is None) for f in findings.values())


def test_doctor_leaves_nothing_behind(tmp_path: Path) -> None:
    doctor.examine(config.Config(), str(tmp_path))
    assert not list(tmp_path.iterdir())


def lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_score_claims_its_folder(tmp_path: Path) -> None:
    gold = lines(tmp_path / "gold.jsonl", {"id": "1", "codes": ["I10"]})
    found = lines(tmp_path / "found.jsonl", {"id": "1", "codes": ["I10", "E11.9"]})
    base = lines(tmp_path / "base.jsonl", {"id": "1", "codes": ["E11.9"]})
    out = tmp_path / "out"
    command = ("score", "--in", found, "--gold", gold, "--out", out, "--json")
    lines(gold, {"id": "1", "codes": 0})
    assert nosology(*command)[0] == 2 and not (out / "fingerprint.json").exists(), "a file that was refused can be mended"
    lines(gold, {"id": "1", "codes": ["I10"]})
    first, again = nosology(*command), nosology(*command)
    assert first[0] == again[0] == 0 and first[1]["micro_f1"] == again[1]["micro_f1"] == 0.6667, first[2]
    kept = (out / "report.json").read_bytes()
    status, last, text = nosology(*command, "--base", base)
    assert status == 2 and "belongs to another job; different: base" in last["error"] and "Traceback" not in text
    assert "different: seed" in nosology(*command, "run.seed=5")[1]["error"]
    lines(gold, {"id": "1", "codes": ["E11.9"]})
    assert "different: gold" in nosology(*command)[1]["error"]
    assert (out / "report.json").read_bytes() == kept


def test_score_takes_no_folder_of_a_verb_with_a_ledger(tmp_path: Path) -> None:
    gold = lines(tmp_path / "gold.jsonl", {"id": "1", "codes": ["I10"]})
    (tmp_path / "in.jsonl").write_text('{"id": "1", "text": "a cough"}\n')
    assert nosology("ingest", "--in", tmp_path / "in.jsonl", "--out", tmp_path / "out")[0] == 0
    kept = (tmp_path / "out" / "report.json").read_bytes()
    status, last, _ = nosology("score", "--in", gold, "--gold", gold, "--out", tmp_path / "out", "--json")
    assert status == 2 and "belongs to a run of ingest" in last["error"]
    assert (tmp_path / "out" / "report.json").read_bytes() == kept


def whole(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def called(verb: str, source: Path, out: Path, *sets: str) -> None:
    """A verb as the command calls it, in this process."""
    from nosology import verbs

    tree = config.load([], [f"deid.key_file={source.parent / 'key'}", "model.base=nowhere", *sets])
    others: dict[str, tuple[Any, ...]] = {
        "ingest": ([str(source)], str(out)), "deidentify": (str(source), str(out), None), "prepare": ([str(source)], None, str(out)),
        "train": (str(source), str(out)), "quantize": (str(source), str(out)), "code": ([str(source)], str(out), None),
        "score": (str(source), source, None, str(out)),
    }  # fmt: skip
    getattr(verbs, verb)(tree, *others[verb])


VERBS = ("ingest", "deidentify", "prepare", "train", "quantize", "code", "score")


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return lines(tmp_path / "in" / "notes.jsonl", {"id": "1", "text": "a cough", "codes": ["R05.9"]})


@pytest.mark.parametrize("verb", VERBS)
def test_a_refused_run_leaves_nothing_behind(verb: str, notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called("score", notes, tmp_path / "scored")
    (tmp_path / "file").write_text("")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "config.yaml").write_text("a user's own")
    before = whole(tmp_path)

    def refused(out: Path, *sets: str, source: Path = notes, match: str | None = None) -> None:
        with pytest.raises(NosologyError, match=match) as caught:
            called(verb, source, out, *sets)
        assert caught.value.exit_code == 2
        assert whole(tmp_path) == before

    refused(tmp_path / "file", match="a file where a folder was expected")
    refused(tmp_path / "file" / "below", match="a file where a folder was expected")
    refused(tmp_path / "own", match="config.yaml: a file of this name is here that no run wrote")
    refused(tmp_path / "new" / "er", source=tmp_path / "in" / "none")
    if verb != "score":
        refused(tmp_path / "scored", match="belongs to a run of score")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", denied)
        refused(tmp_path / "new", match="permission denied")


def denied(*_: object, **__: object) -> None:
    raise PermissionError(errno.EACCES, "denied")


def test_a_refused_run_leaves_an_ingest_as_it_was(notes: Path, tmp_path: Path) -> None:
    from nosology.distributed.session import session

    out = tmp_path / "out"
    with session(config.ClusterConfig(num_cpus=1)):
        called("ingest", notes, out)
        before = whole(out)
        for verb in VERBS[1:]:
            with pytest.raises(FingerprintError, match="belongs to a run of ingest"):
                called(verb, notes, out)
            assert whole(out) == before, verb
        with pytest.raises(FingerprintError, match="ingest.max_document_bytes differs"):
            called("ingest", notes, out, "ingest.max_document_bytes=5")
        assert whole(out) == before
        called("ingest", notes, out)
        assert len((out / "log.jsonl").read_text().splitlines()) == 4, "one that goes well is logged"


def test_what_a_killed_run_left_is_not_what_resume_takes(notes: Path, tmp_path: Path) -> None:
    """Killed before the folder was its own: the next command there is another one."""
    from nosology.runs import Run

    Run(str(tmp_path / "out"), "score", config.load([], ["run.seed=1"]), source="elsewhere").__enter__()
    with Run(str(tmp_path / "out"), "train", config.load([], ["run.seed=2"]), source=str(notes)) as run:
        run.claim({"verb": "train"})
        run.finish({})
    command = json.loads((tmp_path / "out" / "command.json").read_text())
    assert command == {"verb": "train", "arguments": {"source": str(notes)}}
    assert yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())["run"]["seed"] == 2


def test_a_refused_claim_is_given_back_and_one_that_came_to_something_is_kept(tmp_path: Path) -> None:
    from nosology.runs import Run

    out = tmp_path / "out"
    for write in (False, True):
        with pytest.raises(ConfigError), Run(str(out), "train", config.load([])) as run:
            run.claim({"verb": "train"})
            if write:
                (out / "metrics").write_text("")
            raise ConfigError("too many workers")
        assert out.exists() == write
    assert "too many workers" in (out / "log.jsonl").read_text() and (out / "fingerprint.json").exists()


def test_wrong_models_are_wrong_use(notes: Path, tmp_path: Path) -> None:
    for verb, key in (("code", "model.artefact"), ("code", "model.encoder"), ("deidentify", "deid.ner"), ("train", "model.base")):
        for place in (tmp_path / "none", notes.parent):
            with pytest.raises(NosologyError) as caught:
                called(verb, notes, tmp_path / "out", f"{key}={place}")
            assert caught.value.exit_code == 2 and not (tmp_path / "out").exists(), (verb, key, place)


def test_terms_score_has_a_folder_for_each_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nosology import verbs
    from nosology.engines import encoder
    from nosology.terminology import index

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(encoder, "load_encoder", lambda _: None)
    monkeypatch.setattr(index, "score_terms", lambda path, *_: {"n": len(index.read_phrases(path))})
    one = lines(tmp_path / "one.jsonl", {"phrase": "high blood pressure", "code": "I10"})
    two = lines(tmp_path / "two.jsonl", {"phrase": "gout", "code": "M10.9"}, {"phrase": "asthma", "code": "J45.909"})
    plain = config.load([])
    first = verbs.terms_score(plain, one, None)
    assert re.fullmatch(r"runs/terms-score-[0-9a-f]{12}", first["run"])
    assert verbs.terms_score(plain, one, None)["run"] == first["run"], "the same command finds its folder again"
    others = [verbs.terms_score(plain, two, None), verbs.terms_score(config.load([], ["terminology.dense_weight=0.5"]), one, None)]
    left = verbs.terms_score(config.load([], [f"terminology.leave_out={two}"]), one, None)
    assert len({report["run"] for report in (first, left, *others)}) == 4
    verbs.terms_score(plain, one, "named")
    verbs.terms_score(plain, one, "named")
    with pytest.raises(FingerprintError, match="different: phrases"):
        verbs.terms_score(plain, two, "named")


@pytest.mark.parametrize(("sign", "times"), [(signal.SIGTERM, 1), (signal.SIGINT, 1), (signal.SIGINT, 3)])
def test_a_run_that_is_told_to_end_says_so_and_is_resumed(tmp_path: Path, sign: signal.Signals, times: int) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    (source / "notes.jsonl").write_text("".join(json.dumps({"id": str(n), "text": "Seen."}) + "\n" for n in range(9)))
    command = [sys.executable, "-m", "nosology.cli", "ingest", "--in", str(source), "--out", str(out), "--json"]
    # whoever runs the tests in the background has interrupts ignored, and what it starts too
    heard = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heard)
    limit = time.monotonic() + 120
    while not (out / "epoch-1.json").exists():  # from here on Ray starts, or works
        assert process.poll() is None and time.monotonic() < limit
        time.sleep(0.02)
    time.sleep(2)
    for _ in range(times):  # by someone in a hurry
        process.send_signal(sign)
        time.sleep(0.3)
    told, errors = process.communicate(timeout=120)
    assert "Traceback" not in errors
    last = json.loads(told.splitlines()[-1])
    assert (process.returncode, last["exit"]) == (1, 1) and "the same command resumes" in last["error"] and "resumes" in errors
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and json.loads(done.stdout.splitlines()[-1])["records_in"] == 9


@pytest.mark.parametrize("verb", ["ingest", "deidentify", "code"])
def test_an_output_in_its_input_is_refused_as_that(tmp_path: Path, verb: str) -> None:
    (tmp_path / "notes.jsonl").write_text(json.dumps({"id": "1", "text": "Seen."}) + "\n")
    command = [sys.executable, "-m", "nosology.cli", verb, "--in", str(tmp_path), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "the output lies in the input" in done.stderr and not (tmp_path / "out").exists()
