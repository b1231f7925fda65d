"""The bundle that stands for a de-identified run: which policy, by what means, measured how, read by whom.

    RUN/proof/proof.json    all of it, with the SHA-256 of the rest as `digest`
    RUN/proof/proof.html    the same for a person
    RUN/proof/SHA256SUMS    of both, as `sha256sum -c` takes them

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
FOLDER, BUNDLE, PAGE, SUMS = "proof", "proof.json", "proof.html", "SHA256SUMS"
# settings of `deid` that say nothing of what is removed: the key, the place of the model (its digest counts), the consent
_APART = frozenset({"key_file", "ner", "accept_residual"})
_THRESHOLDS = frozenset({"threshold", "thresholds"})
_REWRITING = frozenset({"policy", "rewrite", "dates", "zip_list", "reversible", "consistency"})  # a measurement takes each note by itself
_LIBRARIES = ("hyperscan", "onnxruntime", "phonenumbers", "presidio-analyzer", "tokenizers", "transformers", "torch")
_NO_RULES = frozenset({"measure.py", "proof.py", "residual.py", "uniqueness.py", "page.py", "page.html"})

Settings = Mapping[str, Any]


def settings_of(config: DeidConfig) -> dict[str, Any]:
    """The section `deid` as a run's fingerprint holds it."""
    return {name: json.loads(json.dumps(value)) for name, value in flatten(config)}


def settings_of_run(fingerprint: Mapping[str, str]) -> dict[str, Any]:
    """The section `deid` of a run, from the fingerprint in its `job.json`."""
    return {name.removeprefix("deid."): json.loads(value) for name, value in fingerprint.items() if name.startswith("deid.")}


def policy(settings: Settings) -> dict[str, Any]:
    """What is removed, and what stands in its place.

    Returns:
        settings, categories [{class, letter, treatment}], left_out, digest (SHA-256 of the settings).
    """
    counted = {name: value for name, value in settings.items() if name not in _APART | _THRESHOLDS}
    left = list(settings.get("leave_out") or ())
    chosen = POLICIES[settings.get("policy") or language(str(settings["language"])).policy]
    counted["policy"] = chosen.name  # None and the name of the language's own are one policy
    categories = [
        {
            "class": name,
            "letter": LABELS.get(name, ""),
            "treatment": "LEFT IN THE TEXT" if name in left else _treatment(name, settings, chosen),
        }
        for name in (*LABELS, *sorted(chosen.labels - LABELS.keys()))
    ]
    return {"settings": counted, "categories": categories, "left_out": left, "digest": digest_of(counted)}


def _treatment(name: str, settings: Settings, chosen: Policy) -> str:
    if name in WIDER:
        return "masked" if settings.get("rewrite") == "mask" else f"[{name}]"
    if name == "AGE":
        return "over 89: 90+; else [AGE]" if chosen.every_age else "over 89: 90+; else kept"
    if name == "ZIP":
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
    body = {"rules": rules, "tagger": tagger, "settings": counted}
    return {**body, "digest": digest_of(body)}


@functools.cache
def rules_digest() -> str:
    """SHA-256 over code and word lists of this package that find and rewrite identifiers."""
    root = Path(__file__).parent
    files = [path for path in sorted(root.rglob("*")) if path.is_file() and path.suffix != ".pyc" and path.name not in _NO_RULES]
    files = [path for path in files if "tagger" not in path.relative_to(root).parts]  # models have digests of their own
    return hashlib.sha256("".join(f"{path.relative_to(root)}:{storage.digest(str(path))}\n" for path in files).encode()).hexdigest()


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


def write(bundle: Mapping[str, Any], page: str, run: str) -> str:
    """Writes a sealed bundle and its page into a run; returns the folder."""
    folder = storage.join(run, FOLDER)
    contents = {BUNDLE: json.dumps(bundle, indent=1, ensure_ascii=False).encode() + b"\n", PAGE: page.encode()}
    for name, data in contents.items():
        storage.write_bytes(storage.join(folder, name), data)
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in contents.items())
    storage.write_bytes(storage.join(folder, SUMS), sums.encode())  # last: what was killed before it is no bundle
    return folder


def read(run: str) -> dict[str, Any]:
    """The bundle of a run.

    Raises:
        InputError: there is none, or it was changed since it was written.
    """
    folder = storage.join(run, FOLDER)
    again = f"Make it again: nosology deidentify --proof --in {run}"
    if not storage.exists(storage.join(folder, BUNDLE)) or not storage.exists(storage.join(folder, SUMS)):
        raise InputError("this run of deidentify has no proof bundle", file=run, remedy=f"Make it: nosology deidentify --proof --in {run}")
    sums = [line.partition("  ") for line in storage.read_bytes(storage.join(folder, SUMS)).decode(errors="replace").splitlines()]
    named = {name: digest for digest, _, name in sums}
    for name in (BUNDLE, PAGE):
        uri = storage.join(folder, name)
        if not storage.exists(uri) or storage.digest(uri) != named.get(name):
            raise InputError("the proof bundle was changed after it was written", file=uri, remedy=again)
    bundle: dict[str, Any] = storage.read_json(storage.join(folder, BUNDLE))
    if bundle.get("format") != FORMAT:
        raise InputError("a proof bundle of another version", file=storage.join(folder, BUNDLE), remedy=again)
    if bundle.get("digest") != digest_of({name: value for name, value in bundle.items() if name != "digest"}):
        raise InputError("the proof bundle was changed after it was written", file=storage.join(folder, BUNDLE), remedy=again)
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
        headlines.append(
            Headline(label="recall, measured", value=_share(recall), note=f"{recall['n']:,} identifiers in {measured['n']:,} texts")
        )
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
    if policy["left_out"]:
        warnings.append(
            f"Left in the text by decision (accept_residual): {', '.join(policy['left_out'])}. This is no Safe Harbor de-identification."
        )
    warnings += ["Recall holds for texts like the gold."] if measured else []
    warnings.append("The digests find a changed bundle, not a forged one.")
    facts = {"made": bundle["made"], "signer": bundle["signer"] or "none", "package": bundle["package"], "bundle": bundle["digest"]}
    return render(
        Page(
            title="Proof of de-identification",
            facts=facts,
            headlines=headlines,
            warnings=warnings,
            tables=tables,
            foot=f"The same as {BUNDLE}.",
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
    return Table(title="Measured against gold", head=head, rows=rows, note=note)


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {one}" for name, one in value.items()) or "none"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _share(figure: Mapping[str, Any] | None) -> str:
    return f"{figure['value']:.3f} ({figure['low']:.3f}-{figure['high']:.3f})" if figure else "-"
