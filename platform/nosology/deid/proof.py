"""The bundle that stands for a de-identified run: which policy, by what means, measured how, read by whom.

    RUN/proof/proof-DIGEST.json    all of it, with the SHA-256 of the rest as `digest`
    RUN/proof/proof-DIGEST.html    the same for a person
    RUN/proof/SHA256SUMS           names both, as `sha256sum -c` takes them

A bundle is what SHA256SUMS names, and nothing else. It is written last, and whole: whoever is killed leaves the earlier bundle or the new one.
The digests find a bundle that was changed. They do not keep out a forger, who can write new ones: `train` writes the digest that it saw
into its lineage, and a site that wants more signs SHA256SUMS with its own means.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nosology import storage
from nosology.config import flatten
from nosology.deid import LABELS
from nosology.deid.languages import SHARED, language
from nosology.deid.page import Headline, Page, Table, render
from nosology.deid.policies import POLICIES, WIDER, Policy
from nosology.errors import InputError

if TYPE_CHECKING:
    from nosology.config import DeidConfig

FORMAT = "nosology proof of de-identification, 1"
FOLDER, SUMS = "proof", "SHA256SUMS"
_KINDS = ("json", "html")
_OURS = re.compile(r"proof-[0-9a-f]{16}\.(json|html)")
# settings of `deid` that say nothing of the policy: the key, the place of the model (its digest counts), the consent, the run's day
_APART = frozenset({"key_file", "ner", "accept_residual", "as_of"})
_THRESHOLDS = frozenset({"threshold", "thresholds"})
_REWRITING = frozenset({"rewrite", "dates", "zip_list", "reversible", "consistency"})  # a measurement takes each note by itself
_LIBRARIES = ("hyperscan", "onnxruntime", "phonenumbers", "presidio-analyzer", "tokenizers", "transformers", "torch")
# treatments of fields, code systems, what is gathered of patients, the engine of the taggers
_BESIDE = ("records", "readers/values.py", "distributed/dossiers.py", "engines/int8.py")
_NO_RULES = frozenset({"disclosures.py", "measure.py", "proof.py", "residual.py", "uniqueness.py", "page.py", "page.html"})

Settings = Mapping[str, Any]


def settings_of(config: DeidConfig) -> dict[str, Any]:
    """The section `deid` as a run's fingerprint holds it."""
    return dict(flatten(config))


def settings_of_run(fingerprint: Mapping[str, str]) -> dict[str, Any]:
    """The section `deid` of a run, from the fingerprint in its `job.json`."""
    return {name.removeprefix("deid."): json.loads(value) for name, value in fingerprint.items() if name.startswith("deid.")}


def policy(settings: Settings) -> dict[str, Any]:
    """What is removed, and what stands in its place.

    Returns:
        rule (name in `POLICIES`), name, safe_harbor (whether it is that), basis (in words), settings, categories [{class, letter, treatment}], left_out, rules_alone,
        digest (SHA-256 of the settings).
    """
    left, alone, chosen = _named(settings, "leave_out"), _named(settings, "rules_alone"), _policy(settings)
    counted = {name: value for name, value in settings.items() if name not in _APART | _THRESHOLDS}
    counted["policy"] = chosen.name  # None is the language's
    categories = [
        {
            "class": name,
            "letter": LABELS.get(name, ""),
            "treatment": "LEFT IN THE TEXT"
            if name in left
            else _treatment(name, settings, chosen) + (" (LOOKED FOR BY RULES ALONE)" if name in alone else ""),
        }
        for name in (*LABELS, *sorted(chosen.labels - LABELS.keys()))
    ]
    faults = _no_safe_harbor(settings)
    return {
        "rule": chosen.name, "name": policy_name(settings), "safe_harbor": not faults, "basis": faults or "Safe Harbor, 45 CFR 164.514(b)(2)",
        "settings": counted, "categories": categories, "left_out": left, "rules_alone": alone, "digest": digest_of(counted),
    }  # fmt: skip


def policy_name(settings: Settings) -> str:
    """The policy as audit and pages name it, with what keeps it from being Safe Harbor: `safe_harbor with shifted dates without DEVICE`.

    Args:
        settings: policy, language, dates, leave_out and rules_alone of the section `deid`; more is passed over.
    """
    shifted = " with shifted dates" if _is_shifted(settings) else ""
    left = f" without {', '.join(names)}" if (names := _named(settings, "leave_out")) else ""
    alone = f" with rules alone for {', '.join(names)}" if (names := _named(settings, "rules_alone")) else ""
    return _policy(settings).name + shifted + left + alone


def _named(settings: Settings, name: str) -> list[str]:
    """Classes of `leave_out` or `rules_alone`."""
    return list(settings.get(name) or ())


def _policy(settings: Settings) -> Policy:
    return POLICIES[settings.get("policy") or language(str(settings["language"])).policy]


def _is_shifted(settings: Settings) -> bool:
    return settings.get("dates") == "shift" and "DATE" not in _named(settings, "leave_out")


def _no_safe_harbor(settings: Settings) -> str:
    """Why a policy is no Safe Harbor, and what it can stand on; empty where it is one."""
    faults = ["dates are moved, where 45 CFR 164.514(b)(2)(i)(C) wants all elements but the year removed"] if _is_shifted(settings) else []
    wanted = "by decision (accept_residual), where (b)(2)(i) wants all 18 categories removed"
    if left := _named(settings, "leave_out"):
        faults.append(f"{', '.join(left)} left in the text {wanted}")
    if alone := _named(settings, "rules_alone"):
        faults.append(f"{', '.join(alone)} looked for by rules alone, which do not find all, {wanted}")
    limited = ", or a limited data set under a data use agreement (164.514(e))" if not left + alone else ""
    stands = f" It needs another basis: an expert's determination (164.514(b)(1)){limited}."
    return f"This is no Safe Harbor de-identification: {'; '.join(faults)}.{stands}" if faults else ""


def _treatment(name: str, settings: Settings, chosen: Policy) -> str:
    if name in WIDER:
        return "masked" if settings.get("rewrite") == "mask" else f"[{name}]"
    if name == "AGE":
        return "over 89: 90+; else [AGE]" if chosen.every_age else "over 89: 90+; else kept"
    if name == "ZIP":
        if not language(str(settings["language"])).keeps_zip:
            return "masked" if settings.get("rewrite") == "mask" else "[ZIP]"
        return "first three digits; 000 where 20,000 people or fewer live"
    if name == "DATE":
        return "cut to the year" if settings.get("dates") == "year" else "moved by secret days of the patient"
    return {"tags": f"[{name}]", "mask": "masked", "surrogates": "an invented value"}.get(
        str(settings.get("rewrite")), str(settings.get("rewrite"))
    )


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Names of the settings in which two policies differ."""
    first, second = one["settings"], other["settings"]
    return sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))


def detection(settings: Settings, tagger: str, rules: str) -> dict[str, Any]:
    """By what identifiers are found: digests of rules and tagger, thresholds, and what else of the configuration decides it.

    Returns:
        rules, tagger, settings, digest.
    """
    counted = {name: value for name, value in settings.items() if name not in _APART | _REWRITING}
    counted["policy"] = settings.get("policy") or language(settings.get("language", "en")).policy
    body = {"rules": rules, "tagger": tagger, "settings": counted}
    return {**body, "digest": digest_of(body)}


@functools.cache
def rules_digest() -> str:
    """SHA-256 over code and word lists of this package that find and rewrite identifiers: this room, and of others what `_BESIDE` names."""
    package = Path(__file__).parents[1]
    places = [package / "deid", *(package / name for name in _BESIDE)]
    files = {path for place in places for path in (place.rglob("*") if place.is_dir() else [place]) if path.is_file()}
    told = [path for path in sorted(files) if path.suffix != ".pyc" and path.name not in _NO_RULES]
    told = [path for path in told if "tagger" not in path.relative_to(package).parts]  # models have digests of their own
    return hashlib.sha256("".join(f"{path.relative_to(package)}:{storage.digest(str(path))}\n" for path in told).encode()).hexdigest()


def recognizers(code: str) -> dict[str, str]:
    """SHA-256 of the module of each recognizer of a language."""
    found = {}
    for name, place in {**language(code).recognizers, **SHARED}.items():
        spec = importlib.util.find_spec(place.partition(":")[0])
        if spec and spec.origin:
            found[name] = storage.digest(spec.origin)
    return found


def libraries() -> dict[str, str]:
    """Versions of the packages that detection stands on."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def digest_of(value: Any) -> str:
    """SHA-256 of the canonical JSON of a value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()


def sealed(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a bundle with `lacks` (what a whole proof has and this one has not) and its digest."""
    lacks = [words for name, words in (("measured", "a measured recall"), ("sample", "a sample read by a person"), ("signer", "a signer"))
             if not body.get(name)]  # fmt: skip
    whole = {"format": FORMAT, **body, "lacks": lacks}
    return {**whole, "digest": digest_of(whole)}


def least_recall(bundle: Mapping[str, Any]) -> float | None:
    """Lower end of the 95 % interval of the measured recall (covered) of what the policy removes; None where nothing was measured."""
    if not (measured := bundle["measured"]):
        return None
    every = POLICIES[bundle["policy"]["rule"]].every_age  # else gold may mark ages to 89 and years alone, which stay
    recall = measured["categories"]["all"]["recall"]["cover"] if every else measured["named_by_rule"]["recall"]
    return float(recall["low"]) if recall else None


def most_left(bundle: Mapping[str, Any]) -> float | None:
    """At most this share of the notes holds an identifier, by the sample (95 % limit); None where nobody read one."""
    return float(bundle["sample"]["at_most"]) if bundle["sample"] else None


def unsigned(bundle: Mapping[str, Any]) -> str:
    """SHA-256 of what a signer signs: all of a sealed bundle but the signature and its day."""
    return digest_of({name: value for name, value in bundle.items() if name not in ("made", "signer", "lacks", "digest")})


def write(bundle: Mapping[str, Any], page: str, run: str) -> dict[str, str]:
    """Writes a sealed bundle and its page into a run, in the place of an earlier one; returns folder, bundle and page."""
    folder = storage.join(run, FOLDER)
    contents = (json.dumps(bundle, indent=1, ensure_ascii=False).encode() + b"\n", page.encode())
    digests = [hashlib.sha256(data).hexdigest() for data in contents]
    names = [f"proof-{digest[:16]}.{kind}" for digest, kind in zip(digests, _KINDS, strict=True)]
    for name, data in zip(names, contents, strict=True):
        storage.write_bytes(storage.join(folder, name), data)
    sums = "".join(f"{digest}  {name}\n" for digest, name in zip(digests, names, strict=True))
    storage.write_bytes(storage.join(folder, SUMS), sums.encode())  # from here on it is the bundle
    for uri in storage.list_files(folder):
        name = uri.rsplit("/", 1)[-1]
        if _OURS.fullmatch(name) and name not in names:
            storage.remove(uri)
    return {"folder": folder, "bundle": storage.join(folder, names[0]), "page": storage.join(folder, names[1])}


def read(run: str) -> dict[str, Any]:
    """The bundle of a run.

    Raises:
        InputError: there is none, or it was changed since it was written.
    """
    sums = storage.join(run, FOLDER, SUMS)
    again = f"Make it again: nosology deidentify --proof --in {run}"
    if not storage.exists(sums):
        raise InputError("this run of deidentify has no proof bundle", file=run, remedy=f"Make it: nosology deidentify --proof --in {run}")
    named = [line.partition("  ")[::2] for line in storage.read_bytes(sums).decode(errors="replace").splitlines()]
    if [_OURS.sub(r"\1", name) for _, name in named] != list(_KINDS):
        raise InputError("the proof bundle was changed after it was written", file=sums, remedy=again)
    contents = []
    for digest, name in named:
        uri = storage.join(run, FOLDER, name)
        data = storage.read_bytes(uri) if storage.exists(uri) else b""
        if hashlib.sha256(data).hexdigest() != digest:
            raise InputError("the proof bundle was changed after it was written", file=uri, remedy=again)
        contents.append(data)
    file = storage.join(run, FOLDER, named[0][1])
    bundle: dict[str, Any] = storage.parse_json(contents[0], file)
    if bundle.get("format") != FORMAT:
        raise InputError("a proof bundle of another version", file=file, remedy=again)
    if bundle.get("digest") != digest_of({name: value for name, value in bundle.items() if name != "digest"}):
        raise InputError("the proof bundle was changed after it was written", file=file, remedy=again)
    return bundle


def today() -> str:
    """The day, UTC."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def page(bundle: Mapping[str, Any]) -> str:
    """A sealed bundle for a person."""
    policy, detected, run, measured = bundle["policy"], bundle["detection"], bundle["run"], bundle["measured"]
    sample, people = bundle["sample"], bundle["uniqueness"]
    headlines = [Headline(label="notes", value=f"{run['notes']:,}", note=f"{run['spans']:,} identifiers replaced")]
    tables = [
        Table(
            title="Policy", head=["class", "45 CFR 164.514(b)(2)(i)", "in its place", "replaced"], note=f"digest {policy['digest']}",
            rows=[[one["class"], one["letter"], one["treatment"], f"{run['spans_by_class'].get(one['class'], 0):,}"] for one in policy["categories"]],
        )
    ]  # fmt: skip
    if measured:
        recall = measured["categories"]["all"]["recall"]["cover"]
        spans = measured["categories"]["all"]["spans"]
        headlines.append(Headline(label="recall, measured", value=_share(recall), note=f"{spans:,} identifiers in {measured['n']:,} texts"))
        tables.append(measured_table(measured, f"Gold: {measured['gold']['texts']:,} texts, digest {measured['gold']['digest']}"))
    if sample:
        said = f"of all notes at most, at 95 % confidence; {sample['notes_with_identifier']} of {sample['read']} read"
        headlines.append(Headline(label="notes with an identifier left", value=f"{100 * sample['at_most']:.2f} %", note=said))
        rows = [
            [name.replace("_", " "), _words(sample[name])]
            for name in ("read", "notes_with_identifier", "categories", "reader", "date", "sheet")
        ]
        tables.append(Table(title="Sample read by a person", head=["", ""], rows=rows))
    if people:
        headlines.append(
            Headline(
                label="k",
                value=f"{people['k']:,}",
                note=f"{100 * people['unique_share']:.2f} % of {people['persons']:,} persons alone in their group",
            )
        )
        rows = [[name.replace("_", " "), _words(value)] for name, value in people.items()]
        tables.append(
            Table(
                title="Persons who are alike in the tables",
                head=["", ""],
                rows=rows,
                note="Quasi-identifiers are no Safe Harbor identifiers.",
            )
        )
    means = {
        "rules": detected["rules"],
        "tagger": detected["tagger"],
        **{f"recognizer {n}": d for n, d in bundle["recognizers"].items()},
        **bundle["libraries"],
    }
    tables.append(Table(title="Means", head=["", "SHA-256, or version"], rows=[[name, value] for name, value in means.items()]))
    digests = {**{name: run[name] for name in ("job", "config", "inputs")}, **{f"table {n}": d for n, d in run["outputs"].items()}}
    tables.append(Table(title="Run", head=["", "SHA-256"], rows=[[name, str(value)] for name, value in digests.items()]))
    warnings = [f"It lacks {', '.join(bundle['lacks'])}."] if bundle["lacks"] else []
    if not policy["safe_harbor"]:
        warnings.insert(0, policy["basis"])
    warnings += ["Recall holds for texts like the gold."] if measured else []
    warnings.append("The digests find a changed bundle, not a forged one.")
    facts = {
        "policy": policy["name"],
        "ages as of": run["as_of"] or "not told",
        "made": bundle["made"],
        "signer": bundle["signer"] or "unsigned",
        "package": bundle["package"],
        "bundle": bundle["digest"],
    }
    return render(
        Page(
            title="Proof of de-identification",
            facts=facts,
            headlines=headlines,
            warnings=warnings,
            tables=tables,
            foot=f"The same as the JSON file beside it; {SUMS} names both.",
        )
    )


def measured_table(report: Mapping[str, Any], note: str) -> Table:
    """Recall and precision by category, with their intervals, of a report of `measure.measure`."""
    head = [
        "category",
        "spans",
        "recall: covered",
        "touched",
        "exact",
        "by character",
        "precision: touches",
        "exact",
        "by character",
        "same class",
    ]
    rows = [
        [name, f"{one['spans']:,}", *(_share(one["recall"][way]) for way in ("cover", "overlap", "exact", "character")),
         *(_share(one["precision"][way]) for way in ("overlap", "exact", "character")), _share(one["same_class"])]
        for name, one in report["categories"].items()
    ]  # fmt: skip
    return Table(title="Measured against gold", head=head, rows=rows, note=" ".join([note, *beside(report).values()]).strip())


def beside(report: Mapping[str, Any]) -> dict[str, str]:
    """What stands beside the table of a measurement, in sentences: recall of what the rule names, and labels that are no identifier."""
    found, named = {}, report["named_by_rule"]
    if named["aside"]:
        left = ", ".join(f"{n} {name}" for name, n in named["aside"].items())
        covered = f"{named['recall']['value']:.4f}" if named["recall"] else "-"
        found["recall of what the rule names"] = f"Recall of what the rule names: {covered} (without ages to 89 and years alone: {left})."
    if apart := sorted(label for label, name in report["gold"]["classes"].items() if name is None):
        found["labels that are no identifier"] = f"Labels that are no identifier under this policy: {', '.join(apart)}."
    return found


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {one}" for name, one in value.items()) or "none"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _share(figure: Mapping[str, Any] | None) -> str:
    return f"{figure['value']:.3f} ({figure['low']:.3f}-{figure['high']:.3f})" if figure else "-"
