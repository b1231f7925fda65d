"""What `train` asks of text: that each run of `deidentify` behind it has its proof, or that somebody vouches.

Who must prove what is read from the lineage of the data:
- Blocks that `prepare` made of tables of patients (documents, conditions) need the bundle of each run of `deidentify` that these came
  from, under the policy of the configuration, and with the evidence that `proof.require`, `least_recall` and `most_left` want.
- Phrases that stand in the shipped code set are terminology and no text of patients; blocks of them alone need none. Any other phrase
  (--phrases) may be words of a patient's note: somebody must vouch for it, beside the bundles.
- The objective `tag` learns where identifiers stand, on rows that hold them by design (public sets, templates, surrogates; or a site's
  own marked notes, inside its trust zone); its token classifier has labels for output and no words. It is not asked, and the lineage says so.
- Blocks without such a lineage were made elsewhere: somebody must vouch (`proof.vouched_by`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from nosology import storage
from nosology.config import Config, ProofConfig
from nosology.errors import InputError
from nosology.records import CLEAN_TABLES
from nosology.verbs.lineage import joined


def provenance(config: Config, source: str) -> dict[str, Any]:
    """Why this data may be trained on.

    Args:
        source: what `train` was given.

    Returns:
        basis (`proof`, `vouched`, `no patients`, `labels only`), and proofs {run: digest of its bundle}, policy (digest), policy_name,
        lacks (what the bundles lack), left_out, rules_alone; and vouched_by where somebody vouches, with `proof` for the phrases alone.

    Raises:
        InputError: a bundle is missing, was changed, is of other data or of another policy, lacks what is required, or nobody vouches.
    """
    if config.train.objective == "tag":
        return {"basis": "labels only"}
    prepared = _prepared(source)
    if prepared is None:
        return _vouched(config, "no run of prepare made these blocks, so nothing says where their text was cleaned", source)
    _check_blocks(source, prepared)
    from nosology.distributed.sink import is_run, read_job

    planned = read_job(prepared).files
    files = [file for file in planned if file.table in CLEAN_TABLES]
    unknown = _unknown_phrases(prepared, {file.digest for file in planned if file.table not in CLEAN_TABLES})
    vouched = (
        _vouched(config, f"{unknown} of its phrases do not stand in the code set, so they may be text of patients", source)
        if unknown
        else {}
    )
    if not files:
        return vouched or {"basis": "no patients"}
    runs: dict[str, set[str]] = {}
    for file in files:
        run = file.uri.rsplit("/", 2)[0]  # RUN/TABLE/PART
        if file.kind != "part" or not is_run(run) or read_job(run).verb != "deidentify":
            return _vouched(config, f"the run of deidentify that its text came from is not at {run}", source)
        runs.setdefault(run, set()).add(file.digest)
    return vouched | _proved(config, runs)


def _prepared(source: str) -> str | None:
    """The run of `prepare` that blocks lie in."""
    from nosology.distributed.sink import is_run, read_job

    for folder in (source.rstrip("/"), storage.absolute(source).rstrip("/").rpartition("/")[0]):
        if is_run(folder) and read_job(folder).verb == "prepare":
            return folder
    return None


def _check_blocks(source: str, prepared: str) -> None:
    """Raises InputError where the table is not one that the run of `prepare` wrote."""
    if source.rstrip("/") == prepared:
        raise InputError(
            "a run folder of prepare, not its blocks or another of its tables",
            file=source,
            remedy=f"Give {storage.join(prepared, 'blocks')}, or beside it preferences, pairs or notes",
        )
    uri = storage.join(prepared, "lineage.json")
    table = storage.absolute(source).rstrip("/").rpartition("/")[2]
    held = storage.read_json(uri)["outputs"].get(table) if storage.exists(uri) else None
    files = [file for file in storage.list_files(source) if file.endswith(".parquet")]
    if held is None or [storage.digest(file) for file in files] != [held]:
        raise InputError(f"these are not the {table} that prepare wrote here, so its lineage does not speak for them", file=source,
                         remedy=f"Run prepare again, and give its folder {table if held else 'blocks'}")  # fmt: skip


def _unknown_phrases(prepared: str, digests: Collection[str]) -> int:
    """How many of the examples that a run of `prepare` made of phrase files (by their digests) are no title or term of their code, word for
    word. Examples are looked at and not the files, which may be gone, and may hold rows that were given up."""
    from nosology.distributed.parts import read_part
    from nosology.distributed.sink import snapshot
    from nosology.terminology.codeset import code_set

    if not digests:
        return 0
    codes, unknown = code_set(), 0
    for part in snapshot(prepared).table("drafts"):
        for row in read_part(part, ["source_digest", "question", "code"]).to_pylist():
            if row["source_digest"] in digests:
                code = row["code"]
                known = (codes.title(code), *codes.terms(code)) if code in codes else ()
                unknown += row["question"].casefold() not in {text.casefold() for text in known}  # the question has the context, too
    return unknown


def _vouched(config: Config, why: str, source: str) -> dict[str, Any]:
    if config.proof.vouched_by:
        return {"basis": "vouched", "vouched_by": config.proof.vouched_by}
    raise InputError(
        why,
        file=source,
        remedy="Train on what prepare made of a run of deidentify with its proof bundle (nosology deidentify --proof); for text that was "
        "cleaned elsewhere, name who vouches: proof.vouched_by='NAME, ORGANISATION, YYYY-MM-DD'",
    )


def _proved(config: Config, runs: dict[str, set[str]]) -> dict[str, Any]:
    from nosology.deid import proof
    from nosology.distributed.sink import snapshot

    wanted = proof.policy(proof.settings_of(config.deid))
    named = {"policy": wanted["digest"], "policy_name": wanted["name"], **{name: wanted[name] for name in ("left_out", "rules_alone")}}
    found: dict[str, Any] = {"basis": "proof", "proofs": {}, "lacks": [], **named}
    for run, digests in sorted(runs.items()):
        bundle, seen = proof.read(run), snapshot(run)
        again = f"Make it again: nosology deidentify --proof --in {run}"
        made = proof.policy(proof.settings_of_run(seen.job.fingerprint))
        if bundle["policy"]["digest"] != made["digest"]:
            raise InputError(
                f"the proof bundle is of another policy than the data: {_named(proof.differing(bundle['policy'], made))}",
                file=run,
                remedy=again,
            )
        outputs = {name: joined(part.digest for part in seen.table(name)) for name in seen.job.schemas}
        if bundle["run"]["outputs"] != outputs:
            raise InputError("the proof bundle is of other tables than this run has now", file=run, remedy=again)
        if not digests <= {part.digest for part in seen.parts}:
            raise InputError("prepare read other tables than this run has now", file=run, remedy="Run prepare again")
        if made["digest"] != wanted["digest"]:
            raise InputError(
                f"its text was cleaned under another policy than this configuration names: {_named(proof.differing(made, wanted))}",
                file=run,
                remedy="Give train the `deid` section of that run (its config.yaml), or de-identify, prove and prepare again under this one",
            )
        _check_evidence(config.proof, bundle, run)
        found["proofs"][run] = bundle["digest"]
        found["lacks"] = sorted({*found["lacks"], *bundle["lacks"]})
    return found


def _check_evidence(wanted: ProofConfig, bundle: Mapping[str, Any], run: str) -> None:
    """Raises InputError where a bundle lacks what the site requires, or its figures do not reach the site's bars."""
    from nosology.deid import proof

    again = f"nosology deidentify --proof --in {run}"
    measure = (
        f"Measure (nosology deidentify --measure GOLD --out FOLDER, with the configuration of the run), then {again} --measured FOLDER"
    )
    read = f"Draw a sample (nosology deidentify --in {run} --sample NOTES), read it, fill in its form, then {again} --sampled FORM"
    recall, left = proof.least_recall(bundle), proof.most_left(bundle)
    if recall is None and ("measured" in wanted.require or wanted.least_recall is not None):
        lacking = "measured recall on gold with identifiers" if bundle["measured"] else "measured recall"
        raise InputError(f"the proof bundle has no {lacking} (proof.require, proof.least_recall)", file=run, remedy=measure)
    if left is None and ("sampled" in wanted.require or wanted.most_left is not None):
        raise InputError("the proof bundle has no sample that a person read (proof.require, proof.most_left)", file=run, remedy=read)
    if recall is not None and wanted.least_recall is not None and recall < wanted.least_recall:
        raise InputError(
            f"the measured recall of what the policy removes may be as low as {recall:.4f}, and proof.least_recall is {wanted.least_recall}",
            file=run,
            remedy=f"Find more (deid.thresholds, deid.ner) and de-identify again; of a small gold set the interval is wide. {measure}",
        )
    if left is not None and wanted.most_left is not None and left > wanted.most_left:
        raise InputError(
            f"by the sample {left:.4f} of the notes may hold an identifier, and proof.most_left is {wanted.most_left}",
            file=run,
            remedy=f"Mend what the reader found and de-identify again, or read more notes: {read}",
        )
    if "signed" in wanted.require and not bundle["signer"]:
        raise InputError("nobody signed the proof bundle (proof.require)", file=run, remedy=f"Sign it: {again} --signer 'NAME, OFFICE'")


def _named(settings: Iterable[str]) -> str:
    return ", ".join(f"deid.{name}" for name in settings) or "its settings"
