"""A further language is one folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nosology

FOLDER = """
import dataclasses
from nosology.deid.languages.en import LANGUAGE as ENGLISH
from nosology.deid.languages.en.days import CALENDAR as DAYS
from nosology.deid.patterns import Patterns, rule

class Badges(Patterns):
    name = "badges"
    rules = (rule("ID", r"[Tt]unnus (?P<v>\\\\d{4})"),)

LANGUAGE = dataclasses.replace(
    ENGLISH, code="fi", recognizers={"badges": f"{__name__}:Badges"}, kinds=frozenset({"lausunto"}), keeps_zip=False,
    calendar=dataclasses.replace(DAYS, months=tuple("tammikuu helmikuu maaliskuu huhtikuu toukokuu kesäkuu heinäkuu elokuu syyskuu lokakuu marraskuu joulukuu".split()),
                                 before_year=("vuonna",)),
)
"""
USE = """
import datetime
from nosology.config import DeidConfig
from nosology.deid.calendar_shift import shifted
from nosology.deid.detect import Detector
from nosology.deid.policies import POLICIES
from nosology.deid.structured import listed
from nosology.records import Span
text = "tunnus 4711, soita ada@example.org"
print([(text[s.start : s.end], s.label) for s in Detector(DeidConfig(language="fi"), rules_only=True).find([text])[0]])
print(shifted("toukokuu 3, 2019", 1, language="fi", latest=2026), listed("kind", "lausunto"))
print(POLICIES["safe_harbor"].takes("vuonna 2019", Span(start=0, end=11, label="DATE"), datetime.date(2026, 1, 1)))
"""


def test_a_folder_is_all_that_a_language_needs(tmp_path):
    shutil.copytree(
        Path(nosology.__file__).parent, tmp_path / "nosology", copy_function=os.symlink, ignore=shutil.ignore_patterns("__pycache__")
    )
    folder = tmp_path / "nosology" / "deid" / "languages" / "fi"
    folder.mkdir()
    (folder / "__init__.py").write_text(FOLDER.replace("\\\\", "\\"))
    done = subprocess.run(
        [sys.executable, "-B", "-c", USE],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.splitlines() == [
        "[('4711', 'ID'), ('ada@example.org', 'EMAIL')]",
        "toukokuu 4, 2019 True",
        "False",
    ]
