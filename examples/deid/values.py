"""Invented values for identifiers, of many shapes, and values that are none. Used by examples/train_deid_tagger.py alone."""

from __future__ import annotations

import re
from datetime import date, timedelta

from people import People, plain


class Values(People):
    """Draws every kind of value; each method is one slot of the templates, its label is in `LABEL`."""

    # -- dates -------------------------------------------------------------------------------------------------------------------------

    def _day(self) -> date:
        if self._chance(0.3):
            return date(1930, 1, 1) + timedelta(days=self.random.randrange(33000))
        return date(2015, 1, 1) + timedelta(days=self.random.randrange(4400))

    def _write(self, day: date, form: str) -> str:
        th = "th" if 10 < day.day < 14 else {1: "st", 2: "nd", 3: "rd"}.get(day.day % 10, "th")
        return day.strftime(form.replace("TH", th))

    def date(self) -> str:
        if "date_text" in self.lists and self._chance(0.15):
            return self._shaped(self._pick(*self.lists["date_text"]))
        dice = self.random.random()
        if dice < 0.05:
            return self._pick(*self.lists["holiday"]) + self._pick("", "", f" {self._day().year}")
        form = (
            self._pick(*self.lists["date_form"]) if dice > 0.2 else self._pick("%m/%d/%Y", "%B %-d, %Y", "%-m/%-d/%y", "%Y-%m-%d", "%B %-d")
        )
        value = self._write(self._day(), form)
        if dice > 0.985:
            value = self._write(self._day(), "%B %-d") + self._pick("-", " to ", " - ") + str(self.random.randint(2, 31))
        return value.upper() if dice > 0.97 else value

    def feast(self) -> str:
        return self._pick(*self.lists["holiday"])

    def md(self) -> str:
        """Month and day, or day and month, in figures."""
        day = self._day()
        return self._write(day, self._pick("%-m/%-d", "%-m/%-d", "%m/%d", "%-d/%-m", "%-m-%-d", "%-m/%-d/%y", "%-d.%-m.", "%-m.%-d"))

    def dob(self) -> str:
        return self._write(
            self._day(),
            self._pick(
                "%m/%d/%Y", "%m/%d/%Y", "%-m/%-d/%Y", "%m-%d-%Y", "%Y-%m-%d", "%B %-d, %Y", "%d %b %Y", "%m/%d/%y", "%d.%m.%Y", "%b %-d, %Y"
            ),
        )

    def year(self) -> str:
        return str(self.random.randint(1960, 2026))

    # -- numbers and codes -------------------------------------------------------------------------------------------------------------

    def phone(self) -> str:
        dice = self.random.random()
        if dice < 0.25:
            return self._faker().phone_number()
        if dice < 0.35:
            return self._us.phone_number()
        return self._shaped(self._pick(*self.lists["phone_form"]))

    def email(self) -> str:
        if self._chance(0.5):
            return self._faker().ascii_email()
        user = self._pick(
            f"{self.first()}.{self.last()}",
            f"{self.first()[:1]}{self.last()}{self._digits(0, 3)}",
            f"{self.made()}{self._digits(2)}",
            f"{self.first()}_{self.last()}",
        )
        return re.sub(
            r"[^a-z0-9._@-]",
            "",
            plain(
                f"{user}@{self._pick('gmail.com', 'yahoo.com', 'outlook.com', self.made() + '.org', self.made() + '-health.com', 'aol.com', 'hotmail.co.uk')}"
            ).lower(),
        )

    def url(self) -> str:
        if self._chance(0.3):
            return self._us.url()
        path = self._pick(
            "",
            f"/{self.last()}",
            f"/patient/{self._digits(4, 7)}",
            f"/~{self.last()}",
            f"/in/{self.first()}-{self.last()}",
            f"/{self.made()}.html",
            f"/photo/{self._digits(5)}.jpg",
        )
        start = self._pick("https://www.", "http://", "www.", "https://", "")
        return re.sub(
            r"[^a-z0-9/:._~-]",
            "",
            plain(start + self.made() + self._pick(".com", ".org", ".net", ".io", ".co.uk", ".health", ".info") + path).lower(),
        )

    def mrn(self) -> str:
        return self._digits(6, 10) if self._chance(0.55) else self._shaped(self._pick(*self.lists["mrn_form"]))

    def id(self) -> str:
        dice = self.random.random()
        if dice < 0.2:
            return self._digits(5, 16)
        if dice < 0.27:
            fake = self._faker()
            return self._pick(fake.iban(), fake.credit_card_number(), fake.ipv4(), fake.mac_address(), fake.ssn())
        return self._shaped(self._pick(*self.lists["id_form"]))

    def ssn(self) -> str:
        return self._shaped(
            self._pick("###-##-####", "###-##-####", "### ## ####", "#########", "xxx-xx-####", "***-**-####".replace("*", "X"))
        )

    def last4(self) -> str:
        return self._digits(4)

    def card(self) -> str:
        return (
            self._us.credit_card_number()
            if self._chance(0.6)
            else self._shaped(self._pick("#### #### #### ####", "####-####-####-####", "#### ###### #####", "################"))
        )

    def iban(self) -> str:
        value = self._faker().iban()
        return re.sub(r"(.{4})(?=.)", r"\1 ", value) if self._chance(0.5) else value

    def vin(self) -> str:
        return "".join(self.random.choice("ABCDEFGHJKLMNPRSTUVWXYZ0123456789") for _ in range(17))

    def plate(self) -> str:
        return self._shaped(self._pick("???-####", "#??? ###", "??? ###", "?## ???", "??-###-??", "??? ####", "###-???", "?? ## ???"))

    def serial(self) -> str:
        return self._shaped(self._pick(*self.lists["serial_form"]))

    def ip(self) -> str:
        return self._us.ipv4() if self._chance(0.8) else self._us.ipv6()

    def user(self) -> str:
        value = self._pick(
            f"{self.first()[:1]}{self.last()}{self._digits(1, 3)}",
            f"{self.first()}_{self.last()}",
            f"{self.made()}{self._digits(2, 4)}",
            f"{self.last()}.{self.first()}",
        )
        return re.sub(r"[^a-z0-9._]", "", plain(value).lower()) or "user" + self._digits(3)

    def photo(self) -> str:
        return f"{self._pick('IMG_', 'face_', 'photo-', 'DSC', 'pt_', 'portrait')}{self._pick(self._digits(4, 6), plain(self.last()).lower().replace(' ', '') + self._digits(1, 2))}{self._pick('.jpg', '.png', '.jpeg', '')}"

    def bio(self) -> str:
        return self._shaped(
            self._pick(
                "FP-####-??",
                "BIO-#####",
                "fingerprint template ####",
                "IRIS-??-###",
                "VP######",
                "RET-####-?",
                "voiceprint-#####",
                "DNA-????-##",
            )
        )

    # -- what is no identifier ---------------------------------------------------------------------------------------------------------

    def age(self) -> str:
        return str(self.random.randint(1, 89))

    def num(self) -> str:
        return self._pick(str(self.random.randint(1, 500)), f"{self.random.uniform(0.1, 20):.1f}", str(self.random.randint(1, 12)))

    def n(self) -> str:
        return str(self.random.randint(2, 30))

    def vital(self) -> str:
        return f"{self.random.randint(90, 200)}/{self.random.randint(40, 110)}"

    def cond(self) -> str:
        value = self._pick(*self.conditions)
        return value if self._chance(0.3) or value[:2].isupper() else value[0].lower() + value[1:]

    def job(self) -> str:
        return self._us.job().split(",")[0].lower() if self._chance(0.4) else self._pick(*self.lists["job"])

    def code(self) -> str:
        return self._shaped(self._pick(*self.lists["code_form"]))


LABEL = {
    **dict.fromkeys(("name", "patient", "first", "last", "full", "listed", "double", "compound", "initialed"), "NAME"),
    **dict.fromkeys(("eponymlast", "wordfirst", "wordlast"), "NAME"),
    **dict.fromkeys(("city", "town", "area", "country", "state", "street", "road", "unit", "zip", "address"), "LOCATION"),
    **dict.fromkeys(("org", "hospital", "school", "church", "employer", "club", "shelter"), "ORGANIZATION"),
    **dict.fromkeys(("date", "dob", "md", "feast"), "DATE"),
    "phone": "PHONE",
    **dict.fromkeys(
        ["id", "mrn", "ssn", "last4", "card", "vin", "plate", "serial", "ip", "iban", "user", "photo", "bio", "email", "url"], "ID"
    ),
}
