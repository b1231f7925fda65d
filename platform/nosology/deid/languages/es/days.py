"""Spanish dates and ages: months, days of the week, feasts of Spain, and the words around them."""

from __future__ import annotations

import datetime

from nosology.deid.calendar_words import Calendar, easter, fixed

_JOINTS = """el los de del y e o a al hasta desde entre en día dia las la año principios mediados finales inicios pasado próximo este noche
    mañana tarde"""
_UNITS = """cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince dieciséis diecisiete dieciocho diecinueve
    veinte veintiuno veintidós veintitrés veinticuatro veinticinco veintiséis veintisiete veintiocho veintinueve"""
_TENS = "treinta cuarenta cincuenta sesenta setenta ochenta noventa"
_NUMBERS = {
    **{word: number for number, word in enumerate(_UNITS.split())}, **{word: 10 * number for number, word in enumerate(_TENS.split(), 3)},
    "un": 1, "una": 1, "veintiún": 21, "veintidos": 22, "veintitres": 23, "veintiseis": 26, "dieciseis": 16, "cien": 100, "ciento": 100,
}  # fmt: skip

CALENDAR = Calendar(
    months=(
        "enero", "febrero", "marzo", "abril", "mayo", "junio", "julio", "agosto", "septiembre", "octubre", "noviembre", "diciembre",
    ),
    short_months={
        1: ("ene",), 2: ("feb",), 3: ("mar",), 4: ("abr",), 5: ("may",), 6: ("jun",), 7: ("jul",), 8: ("ago",),
        9: ("sep", "sept", "set", "setiembre"), 10: ("oct",), 11: ("nov",), 12: ("dic",),
    },
    weekdays=("lunes", "martes", "miércoles", "jueves", "viernes", "sábado", "domingo"),
    short_weekdays={
        0: ("lun",), 1: ("mart",), 2: ("mié", "mie", "miercoles"), 3: ("jue",), 4: ("vie",), 5: ("sáb", "sab", "sabado"), 6: ("dom",),
    },
    order="dmy",
    joints=frozenset(_JOINTS.split()),
    holidays=(
        (r"nochebuena", fixed(12, 24)),
        (r"(?:el )?(?:día de )?navidad", fixed(12, 25)),
        (r"nochevieja|fin de año", fixed(12, 31)),
        (r"año nuevo", fixed(1, 1)),
        (r"(?:día de )?(?:los )?reyes(?: magos)?|epifanía", fixed(1, 6)),
        (r"(?:noche de )?san juan", fixed(6, 24)),
        (r"(?:día de )?todos los santos", fixed(11, 1)),
        (r"día de (?:la hispanidad|el pilar)|día del pilar|la hispanidad", fixed(10, 12)),
        (r"día de la constitución", fixed(12, 6)),
        (r"(?:la )?inmaculada", fixed(12, 8)),
        (r"jueves santo", lambda year: easter(year) - datetime.timedelta(days=3)),
        (r"viernes santo", lambda year: easter(year) - datetime.timedelta(days=2)),
        (r"domingo de (?:resurrección|pascua)", easter),
    ),
    ordinal=r"(?:\.?º|\.?ª|\.?°|ro|er)",
    ordinal_of=lambda day, like: like if day == 1 else "",  # of a month only the first is one
    before_year=("en", "de", "del", "desde", "hasta", "el", "año", "antes de", "después de"),
    between_years=("a", "y", "e", "o", "al", "hasta"),
    years=r"a[ñn]os?",
    old=(r"(?:d[ée]cima|und[ée]cima) d[ée]cada", r"novent\w+", r"nonagenari\w+", r"centenari\w+", r"cien(?:to)?"),
    numbers=_NUMBERS,
    young=(r"mes(?:es)?", r"d[ií]as?", r"semanas?", r"horas?", r"lactante\w*", r"neonato\w*", r"nacid\w*", r"adolescente\w*"),
)  # fmt: skip
