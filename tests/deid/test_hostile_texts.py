"""Texts of one thing said 20,000 characters long: pass 1 comes back from each, and finds what stands behind it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

LENGTH = 20_000
UNITS = {
    "blanks": " ", "tabs": "\t", "newlines": "\n", "hyphens": "-", "dots": ".", "digits": "7", "commas": ",", "a": "a ", "A.": "A.",
    "underscores": "_", "letters": "A", "capitals": "Aa ", "joined capitals": "AA-", "numbers": "12 ", "parts": "1-", "slashes": "12/",
    "colons": "1:", "marks": "a@", "addresses": "www.", "titles": "Dr. ", "segments": "PID|", "components": "NM1*IL*1*", "streets": "Calle ", "particles": "de la ", "lines": "A\n",
}  # fmt: skip
# what a text begins with: a place from which a pattern goes on to read the repetition
BEGINNINGS = {
    "en": ("MRN", "Patient:", "on May 3", "12 Oak St", "call 415", "Fax", "Dr.", "Springfield, IL", "NAME"),
    "es": ("NHC", "Domicilio:", "Calle Olmo 7", "Madrid", "el 3 de mayo", "Dra.", "Tel.", "Fax", "madre"),
}
GAPS = (" ", "-")  # what stands between the parts of an identifier: tried behind each beginning, and longer, so that squares show
GAP_LENGTH = 3 * LENGTH
PROGRAM = """
import json, sys
from nosology.config import DeidConfig
from nosology.deid.detect import Detector
detector = Detector(DeidConfig(language=sys.argv[1]), rules_only=True)
for text in json.load(sys.stdin):
    text += chr(10) + "Mail: a@b.example"
    print(any(text[span.start : span.end].endswith("b.example") for span in detector.find([text])[0]), flush=True)
"""
HANG_SECONDS = 60  # some seconds do; a pattern that backtracks without bound takes minutes to hours


@pytest.mark.parametrize("language", BEGINNINGS)
def test_what_stands_behind_a_repetition_is_found(language: str) -> None:
    """In a process of its own: a pattern of `re` cannot be interrupted."""
    cases = [("", unit, LENGTH) for unit in UNITS.values()] + [(start, unit, GAP_LENGTH) for unit in GAPS for start in BEGINNINGS[language]]
    texts = [(start + unit * length)[:length] for start, unit, length in cases]
    command = [sys.executable, "-c", PROGRAM, language]
    try:
        done = subprocess.run(command, input=json.dumps(texts), capture_output=True, text=True, timeout=HANG_SECONDS, check=False)
    except subprocess.TimeoutExpired as late:
        told = (late.stdout or b"").split()
        pytest.fail(f"does not come back from {cases[len(told)]}")
    assert done.returncode == 0, done.stderr
    lost = [case for case, found in zip(cases, done.stdout.split(), strict=True) if found != "True"]
    assert lost == []
