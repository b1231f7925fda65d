"""Proof of de-identification, from a run to the gate before training. Runs do their work in this process: Ray is not the point."""

from __future__ import annotations

import contextlib
import hashlib
import json
import pickle
import re
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from nosology import cli, storage, verbs
from nosology.config import Config, load
from nosology.deid import proof as bundles
from nosology.deid.languages import language
from nosology.distributed import sink, stages, train
from nosology.distributed.stages import read_output
from nosology.errors import ConfigError, InputError, NosologyError
from nosology.verbs import proof
from nosology.verbs.gate import provenance
from nosology.verbs.models import code_set_phrases

CANARY = "Zebulon Quackenbush"
NOTES = [f"Patient: {CANARY}\nMRN: 7731904\nHISTORY\nMr. Quackenbush, phone 415-555-01{n:02d}, has a cough..\n" for n in range(24)]


@pytest.fixture(scope="module", autouse=True)
def without_ray() -> Iterator[None]:
    """A driver is its own worker."""

    def commits(ledger: Any, units: Any, writer: Any, workers: Any, num_cpus: float, stall_seconds: float) -> Iterator[Any]:
        worker = stages._Worker(units, writer, stages._Foreman(), stall_seconds)
        for interval in list(ledger.pending()):
            result = pickle.loads(worker({"file": [interval.file], "start": [interval.start], "stop": [interval.stop]})["result"][0])
            if isinstance(result, Exception):
                raise result
            yield result

    def trained(config: Any, model: Any, data: str, out: str, cluster: Any) -> dict[str, Any]:
        from nosology.training import objective
        from nosology.training.loop import train as loop

        return loop(objective(config.objective), config, model, data, Path(out))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "_commits", commits)
        patch.setattr(stages, "session", lambda _: contextlib.nullcontext())
        patch.setattr(train, "run_training", trained)
        yield


def jsonl(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, generator: str) -> Path:
    """The folder of a whole way: notes, run of deidentify with its bundle, run of prepare."""
    root = tmp_path_factory.mktemp("proof")
    rows = [
        {"id": str(n), "text": text, "sex": "fm"[n % 2], "age": 40 + n % 3, "date_of_service": "2025-03-04"} for n, text in enumerate(NOTES)
    ]
    phrases = str(root / "phrases.jsonl")
    Path(phrases).write_bytes(b"".join(code_set_phrases(tree(root)).splitlines(keepends=True)[:6]))
    verbs.deidentify(tree(root), jsonl(root / "notes.jsonl", rows), str(root / "clean"), None, {"proof": True, "sample": 10})
    verbs.prepare(tree(root), [str(root / "clean")], Path(phrases), str(root / "prepare"))
    verbs.prepare(tree(root), [], Path(phrases), str(root / "terms"))
    return root


def tree(root: Path, *sets: str) -> Config:
    small = {"workers": 1, "precision": "fp32", "max_steps": 2, "epochs": 2, "batch_size": 2, "checkpoint_steps": 2, "learning_rate": 1e-2}
    splits = ["prepare.validation_share=0", "prepare.test_share=0", "cluster.batch_rows=8"]
    base = next(root.parent.glob("generator*"))
    return load([], [f"deid.key_file={root / 'key'}", f"model.base={base}", *splits, *(f"train.{k}={v}" for k, v in small.items()), *sets])


@pytest.fixture
def way(made: Path, tmp_path: Path) -> Path:
    """A copy of the way that a test may damage. Places in a ledger are absolute, so it stands where the runs were made."""
    kept = tmp_path / "kept"
    shutil.copytree(made, kept)
    yield made
    shutil.rmtree(made)
    shutil.copytree(kept, made)


def only(folder: Path, kind: str) -> Path:
    (found,) = folder.glob(f"*.{kind}")
    return found


def command(*args: object) -> tuple[int, str]:
    """Exit status and error of a command, in this process."""
    from typer.testing import CliRunner

    done = CliRunner().invoke(cli.app, [*map(str, args), "--json"])
    last = json.loads(done.stdout.splitlines()[-1])
    return done.exit_code, last.get("error", "")


def refused(root: Path, match: str, *sets: str, source: str = "prepare/blocks") -> None:
    with pytest.raises(NosologyError, match=match) as caught:
        verbs.train(tree(root, *sets), str(root / source), str(root / "never"))
    assert caught.value.exit_code == 2 and not (root / "never").exists()
    assert CANARY not in str(caught.value)


def test_the_bundle_says_what_was_done_and_what_it_lacks(made: Path) -> None:
    bundle = bundles.read(str(made / "clean"))
    assert bundle["policy"]["digest"] == bundles.policy(bundles.settings_of(tree(made).deid))["digest"]
    assert {one["letter"] for one in bundle["policy"]["categories"]} == set("ABCDEFGHIJKLMNOPQR")
    assert bundle["lacks"] == ["a measured recall", "a sample read by a person", "a signer"]
    seen = sink.snapshot(str(made / "clean"))
    assert (
        bundle["run"]["outputs"]["documents"]
        == hashlib.sha256("".join(sorted(p.digest for p in seen.table("documents"))).encode()).hexdigest()
    )
    assert bundle["run"]["as_of"] == json.loads(seen.job.fingerprint["deid.as_of"]) and len(bundle["run"]["as_of"]) == 10
    assert bundle["run"]["notes"] == 24 and bundle["run"]["spans_by_class"]["NAME"] >= 24
    assert bundle["uniqueness"]["k"] == 4 and bundle["uniqueness"]["persons"] == 24, "two sexes, three ages"
    assert set(bundle["recognizers"]) and all(len(digest) == 64 for digest in bundle["recognizers"].values())
    report = storage.read_json(str(made / "clean" / "report.json"))
    assert report["proof"]["digest"] == bundle["digest"] and report["uniqueness"]["k"] == 4 and report["left_out"] == []
    for file in (made / "clean" / "proof").iterdir():
        assert CANARY not in file.read_text() and "notes.jsonl" not in file.read_text(), "names of files can name patients"


def test_training_takes_proved_text_and_the_adapter_says_so(made: Path) -> None:
    report = verbs.train(tree(made), str(made / "prepare" / "blocks"), str(made / "train"))
    digest = bundles.read(str(made / "clean"))["digest"]
    assert report["deidentification"]["proofs"] == {str(made / "clean"): digest}
    assert report["deidentification"]["policy_name"] == "safe_harbor"
    inside = Path(report["checkpoint"]) / "deidentification.json"
    assert storage.read_json(str(inside)) == {**report["deidentification"], "proofs": [digest]}
    assert str(made) not in inside.read_text() and "/" not in inside.read_text(), "the names of folders stay here"
    lineage = storage.read_json(str(made / "train" / "lineage.json"))["deidentification"]
    assert lineage["basis"] == "proof" and lineage[str(made / "clean")] == digest


def test_without_a_bundle_training_says_what_to_do(way: Path) -> None:
    shutil.rmtree(way / "clean" / "proof")
    refused(way, "no proof bundle.*nosology deidentify --proof --in")
    refused(way, "no proof bundle", "proof.vouched_by=Ada, Example Hospital, 2026-05-04")  # text that was cleaned here proves itself
    assert command("deidentify", "--proof", "--in", way / "clean")[0] == 0
    assert provenance(tree(way), str(way / "prepare" / "blocks"))["basis"] == "proof"


@pytest.mark.parametrize("harm", [
    lambda folder: only(folder, "json").write_text(only(folder, "json").read_text().replace('"signer": null', '"signer": "Ada"')),
    lambda folder: only(folder, "html").write_text(only(folder, "html").read_text().replace("unsigned", "Ada")),
    lambda folder: only(folder, "html").unlink(), lambda folder: (folder / "SHA256SUMS").unlink(), lambda folder: (folder / "SHA256SUMS").write_text("x"),
    lambda folder: (folder / "SHA256SUMS").write_text("".join((folder / "SHA256SUMS").read_text().splitlines(keepends=True)[:1])),
], ids=["json", "page", "no page", "no sums", "sums", "half of the sums"])  # fmt: skip
def test_a_bundle_that_was_changed_is_refused(way: Path, harm: Callable[[Path], object]) -> None:
    harm(way / "clean" / "proof")
    refused(way, "bundle")


def test_a_bundle_whose_sums_were_made_anew_is_refused_by_its_own_digest(way: Path) -> None:
    folder = way / "clean" / "proof"
    file = only(folder, "json")
    text = file.read_text().replace('"signer": null', '"signer": "Ada"')
    file.write_text(text)
    sums = (folder / "SHA256SUMS").read_text().splitlines()
    (folder / "SHA256SUMS").write_text(f"{hashlib.sha256(text.encode()).hexdigest()}  {file.name}\n{sums[1]}\n")
    refused(way, "changed after it was written")


def test_at_every_instant_a_whole_bundle_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after each write and each removal, and between."""
    body = {"signer": None, "sample": None}
    older, newer = bundles.sealed({**body, "measured": {"recall": 1}}), bundles.sealed({**body, "measured": {"recall": 2}})
    bundles.write(older, "older", str(tmp_path / "run"))
    assert bundles.read(str(tmp_path / "run")) == older
    done: list[str] = []
    for stop in range(20):
        run = tmp_path / f"stopped-{stop}"
        shutil.copytree(tmp_path / "run", run)
        done.clear()

        def counted(work: Callable[..., Any], stop: int = stop) -> Callable[..., Any]:
            def call(uri: str, *args: Any, **options: Any) -> Any:
                if len(done) == stop:
                    raise KeyboardInterrupt
                result = work(uri, *args, **options)
                done.append(uri)
                return result

            return call

        with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
            for name in ("write_bytes", "remove", "create_if_absent"):
                patch.setattr(storage, name, counted(getattr(storage, name)))
            bundles.write(newer, "newer", str(run))
            break
        held = bundles.read(str(run))
        assert held == (newer if any(one.endswith("SHA256SUMS") for one in done) else older)
        assert subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=run / "proof").returncode == 0
        bundles.write(newer, "newer", str(run))
        assert bundles.read(str(run)) == newer
    assert stop == 5 and len(list((run / "proof").iterdir())) == 3, "three writes and two removals; nothing else stays"


def test_another_policy_is_refused_by_the_name_of_the_setting(way: Path) -> None:
    refused(way, "deid.rewrite", "deid.rewrite=mask")
    refused(way, "deid.dates, deid.leave_out", "deid.dates=shift", "deid.leave_out=[DEVICE]", "deid.accept_residual=true")
    refused(way, "names: deid.rules_alone", "deid.rules_alone=[NAME]", "deid.accept_residual=true")
    bundle = bundles.read(str(way / "clean"))
    other = bundles.policy({**bundle["policy"]["settings"], "rewrite": "surrogates"})
    forged = bundles.sealed(
        {name: value for name, value in bundle.items() if name not in ("format", "lacks", "digest")} | {"policy": other}
    )
    bundles.write(forged, "", str(way / "clean"))
    refused(way, "of another policy than the data: deid.rewrite", "deid.rewrite=surrogates")


def test_a_bundle_is_of_one_run(way: Path) -> None:
    more = jsonl(way / "more.jsonl", [{"id": "1", "text": "a cough"}])
    verbs.deidentify(tree(way), more, str(way / "other"), None, {"proof": True})
    shutil.rmtree(way / "clean" / "proof")
    shutil.copytree(way / "other" / "proof", way / "clean" / "proof")
    refused(way, "of other tables")


def test_the_run_folder_of_prepare_is_no_folder_of_blocks(made: Path) -> None:
    refused(made, f"not its blocks.*Give {made / 'prepare' / 'blocks'}", source="prepare")


def test_blocks_that_prepare_did_not_write_are_refused_or_vouched_for(way: Path) -> None:
    vouch = "proof.vouched_by=Ada Byron, Example Hospital, 2026-05-04"
    shutil.copytree(way / "prepare" / "blocks", way / "elsewhere")
    refused(way, "proof.vouched_by", source="elsewhere")
    report = verbs.train(tree(way, vouch), str(way / "elsewhere"), str(way / "vouched"))
    said = {"basis": "vouched", "vouched_by": "Ada Byron, Example Hospital, 2026-05-04"}
    assert report["deidentification"] == said == storage.read_json(str(Path(report["checkpoint"]) / "deidentification.json"))
    assert storage.read_json(str(way / "vouched" / "lineage.json"))["deidentification"] == said
    shutil.copy(way / "prepare" / "blocks" / "part-0.parquet", way / "prepare" / "blocks" / "part-1.parquet")
    refused(way, "not the blocks that prepare wrote", vouch)


@pytest.mark.parametrize(("table", "objective"), [("pairs", "embed"), ("pairs", "classify"), ("preferences", "prefer")])
def test_every_table_of_prepare_is_asked_for_its_proof(way: Path, table: str, objective: str) -> None:
    sets, source = f"train.objective={objective}", str(way / "prepare" / table)
    assert provenance(tree(way, sets), source)["basis"] == "proof"
    shutil.copytree(way / "clean" / "proof", way / "kept-proof")
    shutil.rmtree(way / "clean" / "proof")
    refused(way, "deidentify --proof", sets, source=f"prepare/{table}")
    shutil.copytree(way / "kept-proof", way / "clean" / "proof")
    shutil.copy(way / "prepare" / "examples" / "part-0.parquet", way / "prepare" / table / "part-0.parquet")
    refused(way, f"not the {table} that prepare wrote", sets, source=f"prepare/{table}")


def test_a_run_that_is_gone_needs_somebody_to_vouch(way: Path) -> None:
    shutil.rmtree(way / "clean")
    refused(way, "not at .*clean.*proof.vouched_by")
    assert provenance(tree(way, "proof.vouched_by=A, B, 2026-05-04"), str(way / "prepare" / "blocks"))["basis"] == "vouched"


def test_terminology_and_labels_are_no_text_of_patients(made: Path) -> None:
    assert provenance(tree(made), str(made / "terms" / "blocks")) == {"basis": "no patients"}
    assert provenance(tree(made, "train.objective=tag"), str(made)) == {"basis": "labels only"}


def test_phrases_that_the_code_set_lacks_need_somebody_to_vouch(way: Path) -> None:
    known = [json.loads(line) for line in (way / "phrases.jsonl").read_text().splitlines()]
    rows = [*known[:2], {"phrase": f"cough of {CANARY}", "code": "R05.1"}]
    told = [{**known[0], "context": f"seen by {CANARY}"}, *known[1:]]
    for name, lines, inputs in (("phrases", rows, []), ("contexts", told, []), ("both", rows, [str(way / "clean")])):
        verbs.prepare(tree(way), inputs, Path(jsonl(way / f"own-{name}.jsonl", lines)), str(way / name))
        refused(way, "1 of its phrases do not stand in the code set.*proof.vouched_by", source=f"{name}/blocks")
    vouch = "proof.vouched_by=Ada Byron, Example Hospital, 2026-05-04"
    found = provenance(tree(way, vouch), str(way / "phrases" / "blocks"))
    assert found == {"basis": "vouched", "vouched_by": "Ada Byron, Example Hospital, 2026-05-04"}
    found = provenance(tree(way, vouch), str(way / "both" / "blocks"))
    assert found["basis"] == "proof" and found["vouched_by"] and list(found["proofs"]) == [str(way / "clean")]
    shutil.rmtree(way / "clean" / "proof")
    refused(way, "no proof bundle", vouch, source="both/blocks")  # vouching for phrases is none for notes


def test_measured_recall_and_a_signed_sample_go_into_the_bundle(way: Path) -> None:
    gold = jsonl(
        way / "gold.jsonl",
        [{"id": 1, "text": NOTES[0], "spans": [{"start": 9, "end": 28, "label": "PATIENT"}]}, {"id": 2, "text": "a cough", "spans": []}],
    )
    report = proof.measure(tree(way), gold, str(way / "measured"))
    assert report["recall"] == 1.0 and report["negatives"] == 1 and "<svg" in (way / "measured" / "report.html").read_text()
    assert CANARY not in (way / "measured" / "report.html").read_text() + (way / "measured" / "report.json").read_text()
    sample = way / "clean" / "sample"
    sheet, form = sample / "sheet.html", sample / "form.json"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (sample, sheet, form)] == [0o700, 0o600, 0o600]
    assert "Quackenbush" not in sheet.read_text() and sheet.read_text().count("Identifier left?") == 10
    filled = {**json.loads(form.read_text()), "read": 10, "notes_with_identifier": 0, "reader": "Ada Byron", "date": "2026-05-04"}
    form.write_text(json.dumps(filled))
    asked = ("--measured", way / "measured", "--sampled", form, "--signer", "Ada Byron, privacy officer")
    assert command("deidentify", "--in", way / "clean", "--proof", *asked) == (0, "")
    bundle = bundles.read(str(way / "clean"))
    assert bundle["lacks"] == [] and bundle["measured"]["gold"]["texts"] == 2 and bundle["signer"] == "Ada Byron, privacy officer"
    assert bundle["sample"]["at_most"] == pytest.approx(1 - 0.05**0.1, abs=1e-6)
    page = only(way / "clean" / "proof", "html").read_text()
    assert "Ada Byron" in page and "25.89 %" in page
    assert command("deidentify", "--in", way / "clean", "--proof")[0] == 0
    assert bundles.read(str(way / "clean")) == bundle, "what an earlier bundle of the run held stays, to the byte"
    proof.measure(tree(way, "deid.threshold=0.9"), gold, str(way / "other-threshold"))
    status, said = command("deidentify", "--in", way / "clean", "--proof", "--measured", way / "other-threshold")
    assert status == 2 and "deid.threshold differ" in said
    before = form.read_bytes()
    assert command("deidentify", "--in", way / "clean", "--sample", 10, "cluster.batch_rows=8") == (0, "") and form.read_bytes() == before
    status, said = command("deidentify", "--in", way / "clean", "--sample", 9)
    assert status == 2 and "begun to fill in" in said and form.read_bytes() == before
    verbs.deidentify(tree(way), str(way / "notes.jsonl"), str(way / "again"), None, {"sample": 5})
    status, said = command("deidentify", "--in", way / "again", "--proof", "--sampled", form)
    assert status == 2 and "another sheet" in said


def test_training_asks_for_what_the_site_requires(way: Path) -> None:
    """Each bar refuses a bundle without the evidence, and one whose figures do not reach it; with the evidence it is taken."""
    run, blocks = way / "clean", str(way / "prepare" / "blocks")

    def taken(*sets: str) -> bool:
        return bool(provenance(tree(way, *sets), blocks)["proofs"])

    assert taken(), "a demo needs none"
    refused(way, "no measured recall.*deidentify --measure", "proof.require=[measured, sampled, signed]")
    refused(way, "no measured recall.*deidentify --measure", "proof.least_recall=0")
    refused(way, "no sample that a person read.*--sample", "proof.most_left=1")
    refused(way, "nobody signed.*--signer", "proof.require=[signed]")
    proof.measure(tree(way), jsonl(way / "empty.jsonl", [{"id": 1, "text": "a cough", "spans": []}]), str(way / "empty"))
    proof.gather(tree(way), str(run), proof.Evidence(proof=True, measured=str(way / "empty")))
    refused(way, "no measured recall on gold with identifiers", "proof.require=[measured]")
    # nine names and an age that Safe Harbor keeps, so that it counts for nothing; one name that nothing finds
    rows = [{"id": n, "text": NOTES[n], "spans": [{"start": 9, "end": 28, "label": "PATIENT"}]} for n in range(9)]
    rows += [
        {"id": 9, "text": "aged 61", "spans": [{"start": 5, "end": 7, "label": "AGE"}]},
        {"id": 10, "text": "a cough", "spans": [{"start": 2, "end": 7, "label": "PATIENT"}]},
    ]
    proof.measure(tree(way), jsonl(way / "gold.jsonl", rows), str(way / "measured"))
    form = run / "sample" / "form.json"
    found = {"read": 10, "notes_with_identifier": 1, "categories": {"A": 1}, "reader": "Ada Byron", "date": "2026-05-04"}
    form.write_text(json.dumps({**json.loads(form.read_text()), **found}))
    asked = proof.Evidence(proof=True, measured=str(way / "measured"), sampled=str(form))
    proof.gather(tree(way), str(run), asked)
    low, most = 0.5958, 0.3942  # Wilson of 9 in 10; Clopper and Pearson of 1 in 10
    assert taken("proof.require=[measured, sampled]", f"proof.least_recall={low - 0.001}", f"proof.most_left={most + 0.001}")
    refused(way, r"may be as low as 0\.595\d, and proof.least_recall is", f"proof.least_recall={low + 0.001}")
    refused(way, r"0\.394\d of the notes may hold an identifier, and proof.most_left", f"proof.most_left={most - 0.001}")
    refused(way, "nobody signed", "proof.require=[measured, sampled, signed]")
    proof.gather(tree(way), str(run), proof.Evidence(proof=True, signer="Ada Byron"))
    assert taken("proof.require=[measured, sampled, signed]", "proof.least_recall=0.5", "proof.most_left=0.5")
    sets = (f"deid.key_file={way / 'key'}", f"model.base={next(way.parent.glob('generator*'))}", "proof.most_left=0.1")
    status, said = command("train", "--in", blocks, "--out", way / "never", *sets)
    assert status == 2 and "proof.most_left is 0.1" in said and not (way / "never").exists()


@pytest.mark.parametrize(("evidence", "why"), [
    ({"measured": "none"}, "none/report.json"), ({"measured": "clean"}, "not the report of a measurement"),
    ({"measured": "half"}, "not the report of a measurement"), ({"measured": "elsewhere"}, "deid.threshold differ"),
    ({"sampled": "clean/sample/form.json"}, "no sample"),
], ids=["none", "another run", "cut", "another detection", "no sheet"])  # fmt: skip
def test_evidence_is_looked_at_before_the_work(way: Path, monkeypatch: pytest.MonkeyPatch, evidence: dict[str, str], why: str) -> None:
    gold = jsonl(way / "gold.jsonl", [{"id": 1, "text": "a cough", "spans": []}])
    proof.measure(tree(way, "deid.threshold=0.9"), gold, str(way / "elsewhere"))
    (way / "half").mkdir()
    (way / "half" / "report.json").write_text(json.dumps({"verb": proof.MEASURE}))
    monkeypatch.setattr(stages, "run_stage", lambda *_, **__: pytest.fail("work was begun"))
    asked = {"proof": True} | {name: str(way / place) for name, place in evidence.items()}
    with pytest.raises(NosologyError, match=why) as caught:
        verbs.deidentify(tree(way), str(way / "notes.jsonl"), str(way / "new"), None, asked)
    assert caught.value.exit_code == 2 and not (way / "new").exists()
    shutil.rmtree(way / "clean" / "sample")  # and of a finished run, before a sample is drawn
    with pytest.raises(NosologyError, match=why):
        proof.gather(tree(way), str(way / "clean"), proof.Evidence(**asked, sample=3))
    assert not (way / "clean" / "sample").exists()


def test_a_signature_holds_for_what_was_signed(way: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = str(way / "clean")

    def made(signer: str | None = None, *sets: str) -> tuple[dict[str, Any], dict[str, Any]]:
        report = proof.gather(tree(way, *sets), run, proof.Evidence(proof=True, signer=signer))["proof"]
        return report, bundles.read(run)

    _, signed = made("Ada Byron, privacy officer")
    assert signed["signer"] and "a signer" not in signed["lacks"] and "Ada Byron" in only(way / "clean" / "proof", "html").read_text()
    monkeypatch.setattr(bundles, "today", lambda: "2031-01-01")
    report, again = made()
    assert again == signed and "signature_dropped" not in report, "another day changes nothing that was signed"
    report, other = made(None, "proof.quasi_identifiers=[sex]")
    assert other["signer"] is None and "a signer" in other["lacks"] and other["uniqueness"] != signed["uniqueness"]
    assert "another than the one that was signed" in report["signature_dropped"]
    page = only(way / "clean" / "proof", "html").read_text()
    assert "unsigned" in page and "Ada Byron" not in page
    assert made()[1]["signer"] is None, "it does not come back"
    report, anew = made("Charles Babbage", "proof.quasi_identifiers=[sex]")
    assert anew["signer"] == "Charles Babbage" and anew["made"] == "2031-01-01" and "signature_dropped" not in report


def test_gold_in_rows_is_measured_as_gold_in_a_file(tmp_path: Path, made: Path) -> None:
    text = "Ms. Adaeze Nwosu, 44, of Springfield. Her aunt, a nurse, called 617-555-0143 in 2019."
    marks = [
        ("Adaeze Nwosu", "PATIENT"),
        ("44", "AGE"),
        ("Springfield", "CITY"),
        ("aunt", "KIN"),
        ("nurse", "TRADE"),
        ("617-555-0143", "B-PHONE"),
        ("called", "QUUX"),
    ]
    spans = [{"start": text.index(value), "end": text.index(value) + len(value), "label": label} for value, label in marks]
    rows = [{"id": "1", "text": text, "spans": spans}, {"id": "2", "text": "a cough", "spans": []}]
    sets = ("proof.gold_labels={KIN: RELATIVE, TRADE: PROFESSION}", "run.seed=5")
    direct = proof.measure(tree(made, *sets), jsonl(tmp_path / "gold.jsonl", rows), None)
    verbs.deidentify(tree(made, *sets), jsonl(tmp_path / "rows.jsonl", rows), str(tmp_path / "out"), str(tmp_path / "spans"))
    report = storage.read_json(str(tmp_path / "out" / "report.json"))
    same = direct.keys() - {"gold", "detection", "curve"}
    assert {name: report[name] for name in same} == {name: direct[name] for name in same}
    assert report["gold"] == {name: direct["gold"][name] for name in ("texts", "classes", "unmapped")}
    assert report["gold"]["classes"] == {
        "PATIENT": "NAME",
        "AGE": "AGE",
        "CITY": "LOCATION",
        "KIN": None,
        "TRADE": None,
        "B-PHONE": "PHONE",
        "QUUX": "QUUX",
    }
    rows[0]["spans"] = [{"start": 0, "end": 999, "label": "PATIENT"}]
    with pytest.raises(InputError, match="record 0 of file [0-9a-f]{64}.*outside of its text"):
        verbs.deidentify(tree(made), jsonl(tmp_path / "bad.jsonl", rows), str(tmp_path / "bad"), None)


def test_what_meddocan_adds_has_lines_of_its_own(tmp_path: Path, made: Path) -> None:
    text = "Paciente varón de 70 años, de profesión albañil. Su hermana refiere tos."
    marks = [("varón", "SEX"), ("70 años", "AGE"), ("albañil", "PROFESSION"), ("hermana", "RELATIVE")]
    spans = [{"start": text.index(value), "end": text.index(value) + len(value), "label": label} for value, label in marks]
    gold = jsonl(tmp_path / "gold.jsonl", [{"id": "1", "text": text, "spans": spans}])
    labels = "proof.gold_labels={SEX: SEX, RELATIVE: RELATIVE, PROFESSION: PROFESSION}"
    report = proof.measure(tree(made, "deid.language=es", labels), gold, str(tmp_path / "measured"))
    assert report["categories"].keys() >= {"SEX", "RELATIVE", "PROFESSION", "AGE"} and report["spans"] == 4
    assert {"SEX", "RELATIVE", "PROFESSION"} <= report["curve"]["recall"].keys() and proof.shown(report)
    kept = proof.measure(tree(made, labels), gold, None)
    assert kept["spans"] == 1 and not kept["categories"].keys() & {"SEX", "RELATIVE", "PROFESSION"}, "Safe Harbor keeps them"


def test_a_gold_set_without_identifiers_is_a_measurement_too(way: Path) -> None:
    gold = jsonl(way / "gold.jsonl", [{"id": 1, "text": "a cough", "spans": []}])
    report = proof.measure(tree(way), gold, str(way / "measured"))
    assert report["categories"]["all"]["spans"] == 0 and report["negatives"] == 1 and proof.shown(report)
    proof.gather(tree(way), str(way / "clean"), proof.Evidence(proof=True, measured=str(way / "measured")))
    assert "0 identifiers in 1 texts" in only(way / "clean" / "proof", "html").read_text()


def test_a_category_that_is_left_out_is_said_everywhere(tmp_path: Path, made: Path) -> None:
    source = jsonl(tmp_path / "in.jsonl", [{"id": "1", "text": NOTES[0]}])
    common = ("deidentify", "--in", source, "--out", tmp_path / "out", f"deid.key_file={made / 'key'}", "deid.leave_out=[PHONE]")
    status, said = command(*common)
    assert status == 2 and "PHONE" in said and "--accept-residual" in said and not (tmp_path / "out").exists()
    assert command(*common, "--accept-residual", "--proof", "--sample", "1") == (0, "")
    text = read_output(str(tmp_path / "out"), "documents")["text"][0].as_py()
    assert "415-555-0100" in text and "Quackenbush" not in text and "7731904" not in text
    assert read_output(str(tmp_path / "out"), "audit")["policy"][0].as_py() == "safe_harbor without PHONE"
    report, bundle = storage.read_json(str(tmp_path / "out" / "report.json")), bundles.read(str(tmp_path / "out"))
    assert report["left_out"] == ["PHONE"] == bundle["policy"]["left_out"] and bundle["accept_residual"]
    page = only(tmp_path / "out" / "proof", "html").read_text()
    assert "PHONE" in page and "PHONE" in (tmp_path / "out" / "sample" / "sheet.html").read_text()
    assert "no Safe Harbor de-identification" in page


def test_a_class_that_no_tagger_looked_for_is_said_everywhere(tmp_path: Path, made: Path) -> None:
    source = jsonl(tmp_path / "in.jsonl", [{"id": "1", "text": NOTES[0]}])
    common = ("deidentify", "--in", source, "--out", tmp_path / "out", f"deid.key_file={made / 'key'}", "deid.rules_alone=[NAME, DATE]")
    status, said = command(*common)
    assert status == 2 and "NAME, DATE" in said and "--accept-residual" in said and not (tmp_path / "out").exists()
    assert command(*common, "--accept-residual", "--proof", "--sample", "1") == (0, "")
    name = "safe_harbor with rules alone for NAME, DATE"
    assert read_output(str(tmp_path / "out"), "audit")["policy"][0].as_py() == name
    report, bundle = storage.read_json(str(tmp_path / "out" / "report.json")), bundles.read(str(tmp_path / "out"))
    assert (
        report["policy"] == name
        and report["rules_alone"] == ["NAME", "DATE"] == bundle["policy"]["rules_alone"]
        and bundle["accept_residual"]
    )
    assert not bundle["policy"]["safe_harbor"] and "NAME, DATE looked for by rules alone" in bundle["policy"]["basis"]
    page = only(tmp_path / "out" / "proof", "html").read_text()
    assert "no Safe Harbor de-identification" in page and name in page and "[NAME] (LOOKED FOR BY RULES ALONE)" in page
    assert "No tagger looked for NAME, DATE" in (tmp_path / "out" / "sample" / "sheet.html").read_text()


def test_shifted_dates_are_named_as_no_safe_harbor(tmp_path: Path, made: Path) -> None:
    source = jsonl(tmp_path / "in.jsonl", [{"id": "1", "text": NOTES[0]}])
    common = ("deidentify", "--in", source, "--out", tmp_path / "out", f"deid.key_file={made / 'key'}", "deid.dates=shift")
    assert command(*common, "--proof") == (0, "")
    assert read_output(str(tmp_path / "out"), "audit")["policy"][0].as_py() == "safe_harbor with shifted dates"
    assert storage.read_json(str(tmp_path / "out" / "report.json"))["policy"] == "safe_harbor with shifted dates"
    held = bundles.read(str(tmp_path / "out"))["policy"]
    assert held["name"] == "safe_harbor with shifted dates" and not held["safe_harbor"] and "164.514(b)(2)(i)(C)" in held["basis"]
    page = only(tmp_path / "out" / "proof", "html").read_text()
    assert "safe_harbor with shifted dates" in page and "no Safe Harbor de-identification: dates are moved" in page
    assert "164.514(b)(1)" in page and "164.514(e)" in page
    held = bundles.read(str(made / "clean"))["policy"]
    assert held["name"] == "safe_harbor" and held["safe_harbor"] and held["basis"] == "Safe Harbor, 45 CFR 164.514(b)(2)"
    assert "no Safe Harbor de-identification" not in only(made / "clean" / "proof", "html").read_text()


@pytest.mark.parametrize(("sets", "name", "words"), [
    (("deid.language=es",), "meddocan", "Safe Harbor, 45 CFR"), (("deid.policy=meddocan", "deid.dates=shift"), "meddocan with shifted dates", "dates are moved"),
    (("deid.dates=shift", "deid.leave_out=[PHONE, FAX]"), "safe_harbor with shifted dates without PHONE, FAX", "dates are moved.*; PHONE, FAX left"),
    (("deid.dates=shift", "deid.leave_out=[DATE]"), "safe_harbor without DATE", ": DATE left"),
    (("deid.rules_alone=[NAME]",), "safe_harbor with rules alone for NAME", ": NAME looked for by rules alone"),
    (("deid.rules_alone=[NAME]", "deid.leave_out=[DEVICE]"), "safe_harbor without DEVICE with rules alone for NAME", "DEVICE left.*; NAME looked for"),
])  # fmt: skip
def test_a_policy_says_what_it_stands_on(sets: tuple[str, ...], name: str, words: str) -> None:
    held = bundles.policy(bundles.settings_of(load([], [*sets, "deid.accept_residual=true"]).deid))
    assert held["name"] == name and re.search(words, held["basis"]) and held["safe_harbor"] is (name == "meddocan")
    assert ("limited data set" in held["basis"]) is (name == "meddocan with shifted dates")


def test_the_policy_of_a_language_is_that_policy_by_name() -> None:
    one, other, third = (bundles.policy(bundles.settings_of(load([], sets).deid)) for sets in
                         (["deid.language=es"], ["deid.language=es", "deid.policy=meddocan"], ["deid.language=es", "deid.policy=safe_harbor"]))  # fmt: skip
    assert one["digest"] == other["digest"] != third["digest"] and bundles.differing(one, third) == ["policy"]


def test_models_and_policies_that_cannot_be_used_end_with_exit_2(tmp_path: Path, made: Path) -> None:
    from nosology.config import home

    labels = tmp_path / "labels"
    shutil.copytree(home() / "encoder", labels)
    config = json.loads((labels / "config.json").read_text())
    config |= {"architectures": ["BertForTokenClassification"], "id2label": {"0": "O", "1": "B-MISC"}, "label2id": {"O": 0, "B-MISC": 1}}
    (labels / "config.json").write_text(json.dumps(config))
    source = jsonl(tmp_path / "in.jsonl", [{"id": "1", "text": NOTES[0]}])

    def own(name: str, file: str, **values: Any) -> Path:
        shutil.copytree(language("en").tagger, tmp_path / name)
        said = json.loads((tmp_path / name / file).read_text())
        (tmp_path / name / file).write_text(json.dumps({**said, **values}))
        return tmp_path / name

    unknown = {str(n): label for n, label in enumerate(("O", "ORG", "ORG", "ORG", "DATE", "ID", "PHONE"))}
    for folder, why in (
        (home() / "encoder", "no token classifier"),
        (labels, "names an identifier"),
        (tmp_path / "none", "holds no model"),
        (own("few", "config.json", id2label={"0": "O", "1": "NAME"}), "names 2 labels, and its classifier has 7 rows"),
        (own("nameless", "config.json", id2label=unknown), "is NAME, LOCATION, which rules alone do not find"),
        (own("heads", "config.json", num_attention_heads=7), "fails on a window"),
        (own("high", "tagger.json", threshold="high"), "no number from 0 to 0.9"),
        (own("single", "tagger.json", thresholds={"NAME": "x"}), "no number from 0 to 0.9"),
        (own("list", "tagger.json", thresholds=[1]), "no object of classes"),
        (own("five", "tagger.json", threshold=5), "no number from 0 to 0.9"),
    ):
        for words in (
            ("--in", source, "--out", tmp_path / f"out-{folder.name}"),
            ("--measure", jsonl(tmp_path / "gold.jsonl", [{"text": "a", "spans": []}])),
        ):
            status, said = command("deidentify", *words, f"deid.key_file={made / 'key'}", f"deid.ner={folder}")
            assert status == 2 and why in said, (folder, words, said)
            assert not (tmp_path / f"out-{folder.name}").exists(), "no row was read"


@pytest.mark.parametrize(("words", "why"), [
    (("--in", "x"), "--out is missing"), (("--proof",), "--in is missing"), (("--measure", "g", "--in", "x"), "stands alone"),
    (("--in", "x", "--out", "y", "--signer", "Ada"), "say --proof too"), (("--in", "x", "--out", "y", "--measured", "m"), "say --proof too"),
])  # fmt: skip
def test_options_that_do_not_go_together_are_wrong_use(words: tuple[str, ...], why: str) -> None:
    status, said = command("deidentify", *words)
    assert status == 2 and why in said


def test_only_a_finished_run_of_deidentify_is_proved(way: Path) -> None:
    with pytest.raises(InputError, match="a run of prepare"):
        proof.gather(tree(way), str(way / "prepare"), proof.Evidence(proof=True))
    with pytest.raises(InputError, match="not a run folder"):
        proof.gather(tree(way), str(way), proof.Evidence(proof=True))
    with pytest.raises(ConfigError, match="--proof"):
        proof.Evidence(signer="Ada").check()


def test_rules_that_changed_since_the_run_are_not_what_it_was_made_with(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "rules_digest", lambda: "0" * 64)
    with pytest.raises(InputError, match="not those that this run was made with"):
        proof.gather(tree(made), str(made / "clean"), proof.Evidence(proof=True))


def test_the_audit_says_policy_category_offsets_and_source_and_no_text(made: Path) -> None:
    audit = read_output(str(made / "clean"), "audit")
    assert set(audit["policy"].to_pylist()) == {"safe_harbor"}
    strings = []

    def gathered(value: Any, kind: pa.DataType) -> None:
        if pa.types.is_list(kind):
            [gathered(one, kind.value_type) for one in value or []]
        elif pa.types.is_struct(kind):
            [gathered(value[field.name], field.type) for field in kind]
        elif pa.types.is_string(kind):
            strings.append(value)

    for row in audit.to_pylist():
        assert all(
            span["label"] in bundles.LABELS and span["source"] and 0 <= span["start"] < span["end"] <= row["num_characters"]
            for span in row["spans"]
        )
        for field in audit.schema:
            gathered(row[field.name], field.type)
    assert strings and not any(word in " ".join(strings) for word in (*CANARY.split(), "7731904", "415-555", "cough"))
    assert pq.read_schema(next((made / "clean" / "audit").glob("*.parquet"))).names == audit.schema.names
