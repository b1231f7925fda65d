"""Residual risk: a sample of cleaned notes that a person reads, and what it proves.

The sheet is a page with the notes; the form beside it is a small JSON file that the reader fills in and that the bundle takes.
"""

from __future__ import annotations

import datetime
import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

from nosology import storage
from nosology.deid.page import Headline, Note, Page, Table, render
from nosology.deid.policies import POLICIES, WIDER
from nosology.errors import InputError

CONFIDENCE = 0.95
_EMPTY: dict[str, Any] = {"read": None, "notes_with_identifier": None, "categories": {}, "reader": "", "date": ""}
SHEET, FORM = "sheet.html", "form.json"
# the 18 categories of 45 CFR 164.514(b)(2)(i), in a few words each
CATEGORIES = {
    "A": "name", "B": "place below a state", "C": "date, or age over 89", "D": "telephone", "E": "fax", "F": "e-mail",
    "G": "social security", "H": "medical record", "I": "health plan", "J": "account", "K": "licence", "L": "vehicle", "M": "device",
    "N": "URL", "O": "IP address", "P": "biometric", "Q": "photograph", "R": "other unique code",
}  # fmt: skip
_WIDER = {"SEX": "sex", "RELATIVE": "relative", "PROFESSION": "profession"}  # of `policies.WIDER`, which have no letter


def categories(policy: str) -> dict[str, str]:
    """What a reader looks for under a policy, by the letter or class that the form takes."""
    rule = POLICIES[policy]
    ages = {"C": "date, or age"} if rule.every_age else {}
    return CATEGORIES | ages | {name: _WIDER[name] for name in sorted(rule.labels & WIDER)}


def bound(found: int, read: int) -> float:
    """At most this share of all notes hold an identifier, at 95 % confidence, when `found` of `read` drawn ones do.

    Clopper and Pearson's one-sided limit ("The use of confidence or fiducial limits", Biometrika 26, 1934); for none found it is
    1 - 0.05^(1/read), which the rule of three rounds to 3 / read.
    """
    from scipy.stats import beta

    if not 0 <= found <= read:
        raise ValueError(f"{found} of {read}")
    return 1.0 if found == read else float(beta.ppf(CONFIDENCE, found + 1, read - found))


def drawn(total: int, wanted: int, seed: int) -> list[int]:
    """Numbers of the notes to read, all of them where there are fewer than wanted; in an order by chance, so that whoever stops early has
    read a sample too."""
    return random.Random(seed).sample(range(total), min(total, wanted))


def sheet(
    notes: Sequence[tuple[str, str]],
    total: int,
    facts: dict[str, str],
    left_out: Sequence[str],
    rules_alone: Sequence[str],
    looked_for: Mapping[str, str],
    moved: bool = False,
) -> str:
    """The page with the notes of a sample.

    Args:
        notes: pseudonym and cleaned text of each. total: notes in the run.
        facts: small print below the title.
        left_out: classes that the policy keeps. rules_alone: classes that no tagger looked for. looked_for: `categories` of the policy. moved: it moves dates.
    """
    n = len(notes)
    rows = [[str(k), f"{100 * bound(k, n):.2f} %", f"{total * bound(k, n):,.0f}"] for k in range(min(4, n + 1))]
    kept = f" This run's policy keeps {', '.join(left_out)} in the text: these are no findings." if left_out else ""
    kept += f" No tagger looked for {', '.join(rules_alone)}: look for these with care." if rules_alone else ""
    kept += " Its dates were moved: a date is no finding." if moved else ""
    return render(
        Page(
            title="Residual risk: notes to be read",
            lead=f"{n:,} notes drawn by chance from the {total:,} of this run, after de-identification. Read each, and mark what still says who "
            f"the patient, a relative, the employer or a member of the household is.{kept}",
            facts=facts,
            headlines=[
                Headline(label="if none holds an identifier", value=f"< {100 * bound(0, n):.2f} %", note=f"of all notes, at 95 % confidence (3 / {n:,})")
            ],
            warnings=["It speaks of notes like those of this run, and is as good as the reader's eye.", "Keep it with the run: cleaned text can still tell."],
            tables=[
                Table(
                    title="What the sample proves",
                    head=["notes with an identifier left", "at most this share of all notes", "of this run's"],
                    rows=rows,
                    note="One-sided 95 % limit of Clopper and Pearson.",
                )
            ],
            notes=[Note(pseudonym=pseudonym, text=text) for pseudonym, text in notes],
            categories=looked_for,
            signed=f"I have read these {n:,} notes. Copy the numbers into {FORM} beside this page, and give it to nosology deidentify --proof --sampled.",
            foot="Cleaned text only; readable to the owner of the run folder only.",
        )
    )  # fmt: skip


def form_bytes(sheet_digest: str, notes: int, total: int, seed: int) -> bytes:
    """The form as it is handed to the reader; what is null or empty is to be filled in."""
    told = 'Fill in: read, notes_with_identifier, categories (as on the sheet: identifiers left, for instance {"A": 1}), reader (name, organisation), date (YYYY-MM-DD).'
    known = {"sheet": sheet_digest, "notes": notes, "of": total, "seed": seed}
    return json.dumps({"what_to_do": told, **known, **_EMPTY}, indent=1).encode() + b"\n"


def is_begun(data: bytes) -> bool:
    """Whether somebody has begun to fill in a form; True of what is no form, which is somebody's too."""
    try:
        held = json.loads(data)
        return any(held[name] != value for name, value in _EMPTY.items())
    except (ValueError, TypeError, KeyError):
        return True


def read_form(file: str, sheet_digest: str, looked_for: Mapping[str, str]) -> dict[str, Any]:
    """What the reader found.

    Args:
        file: the filled form, local or `s3://`.
        sheet_digest: SHA-256 of the sheet that is in the run now.
        looked_for: `categories` of the run's policy.

    Returns:
        sheet, notes, of, seed, read, notes_with_identifier, categories, reader, date, and at_most (`bound`).

    Raises:
        InputError: it is not filled in, contradicts itself, or is of another sheet.
    """
    held = storage.read_json(file)

    def fault(field: str, rule: str) -> InputError:
        return InputError(rule, file=file, field=field, remedy=f"Fill in the {FORM} that lies beside the sheet")

    if not isinstance(held, dict) or held.get("sheet") != sheet_digest:
        raise fault("sheet", "this form is of another sheet than the run's")
    if not _is_count(held.get("read"), 1, held.get("notes")):
        raise fault("read", "expected how many of the notes were read")
    if not _is_count(held.get("notes_with_identifier"), 0, held["read"]):
        raise fault("notes_with_identifier", "expected in how many of the notes that were read something was left; 0 for none")
    left = held.get("categories")
    if not isinstance(left, dict) or not all(c in looked_for and _is_count(n, 1, None) for c, n in left.items()):
        raise fault("categories", f"expected how often each category was left, by its name on the sheet ({', '.join(looked_for)})")
    if sum(left.values()) < held["notes_with_identifier"] or bool(left) != bool(held["notes_with_identifier"]):
        raise fault("categories", "expected at least one identifier for each note with one, and none where no note has one")
    if not isinstance(held.get("reader"), str) or not held["reader"].strip():
        raise fault("reader", "expected who read the notes")
    try:
        datetime.date.fromisoformat(str(held.get("date")))
    except ValueError:
        raise fault("date", "expected the day of the signature, YYYY-MM-DD") from None
    names = ("sheet", "notes", "of", "seed", "read", "notes_with_identifier", "categories", "reader", "date")
    return {**{name: held.get(name) for name in names}, "at_most": round(bound(held["notes_with_identifier"], held["read"]), 6)}


def _is_count(value: Any, least: int, most: Any) -> bool:
    return type(value) is int and value >= least and (most is None or type(most) is int and value <= most)
