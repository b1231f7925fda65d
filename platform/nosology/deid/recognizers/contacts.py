"""Telephone, fax, e-mail, URL and network addresses (45 CFR 164.514(b)(2)(i)(D), (E), (F), (N), (O))."""

from __future__ import annotations

import ipaddress
import re

from nosology.deid.patterns import Patterns, rule

CALL = (
    r"\b(?:phone|ph|tel|telephone|cell|cellphone|mobile|fax|facsimile|pager|beeper"
    r"|pgr|contact|call(?:ed|ing)?|reach(?:ed|able)?|text(?:ed)?|ring|dial|number"
    r"|office|home|work|desk|voicemail|hotline|answering)(?:[\s_]*(?:number|no\.?|#))?"
)
FAX_BEFORE = re.compile(r"(?:\bfax(?:e[ds]|ing)?|facsimile)(?:[\s_]*(?:number|no\.?|#))?(?:\s(?:us |it )?(?:to|at|is|on))?\W{0,6}$", re.I)
FAX_AFTER = re.compile(r"\s{0,2}[-(]?\s?fax\b", re.I)
# top-level domains that are hardly a word, an abbreviation or a unit; those that are one count behind a cue or before a path (IANA root zone)
COUNTRIES = (
    r"(?:ar|au|be|bo|br|ch|cl|cn|co|cr|cu|cz|de|dk|ec|ee|es|eu|fm|fr|gg|gl|gr|gt|hk|hn|hu|ie|im|in|it|jp|ke|kr|la|li|ly|me|mx|ng|ni|nl|nz|pa|ph|pl|py"
    r"|ru|se|sg|sh|sv|tv|uk|us|uy|ve|ws|za|blog|dental|doctor|family|link|live|online|page|shop|site|social|xyz)"
)
SITE = r"(?:web ?sites?|home ?page|web ?page|portal|url|domain|p[áa]gina(?: web)?|sitio(?: web)?|web|enlace|dominio)"
NETWORK = (
    r"(?:instagram|insta|ig|twitter|tik ?tok|snap ?chat|snap|facebook|fb|telegram|skype|discord|reddit|linkedin|venmo|cash ?app|zelle|paypal"
    r"|youtube|we ?chat|threads|bluesky|twitch|whats ?app)"
)
TLD = r"(?:com|org|net|edu|gov|mil|info|biz|health|care|clinic|hospital|io|dev|app|co\.uk|nhs\.uk|test|example|invalid)"


def _address(match: re.Match[str]) -> bool:
    try:
        ipaddress.ip_address(match[0])
    except ValueError:
        return False
    return True


def _network(match: re.Match[str]) -> bool:
    """An IPv6 address; `12::30` may be a time or a ratio."""
    return _address(match) and sum(c.isalnum() for c in match[0]) >= 6


def is_fax(text: str, start: int, end: int) -> bool:
    """Whether the words around a number call it a fax."""
    return bool(FAX_BEFORE.search(text, max(0, start - 24), start) or FAX_AFTER.match(text, end))


def _fax(match: re.Match[str]) -> str | None:
    return "FAX" if is_fax(match.string, *match.span("v" if "v" in match.re.groupindex else 0)) else None


def _digits(match: re.Match[str]) -> bool:
    """A number that context calls a phone: 7 to 15 digits (ITU-T E.164)."""
    return 7 <= sum(c.isdigit() for c in str(match["v"])) <= 15


FOREIGN = r"(?<![\w.])\+\d{1,3}[\s.-]?(?:\(?\d{1,5}\)?[\s./-]?){2,6}\d{2,}(?:x\d+)?(?!\d)"  # a number with the code of a country


def is_foreign(match: re.Match[str]) -> bool:
    """Whether a match of `FOREIGN` has the digits of a number and an extension."""
    return 8 <= sum(c.isdigit() for c in match[0]) <= 17


class Contacts(Patterns):
    """Ways to reach a person. E-mail and URL are our own: Presidio's ask the network for the list of public suffixes."""

    name = "contacts"
    rules = (
        rule("EMAIL", r"(?<![\w.+%'-])[\w.+%'-]+@[\w-]+(?:\.[\w-]+)+", score=1.0),
        rule(
            "EMAIL",  # written out, so that no program reads it
            r"(?<![\w.+%'-])[\w.+%'-]{1,64}\s?(?:[(\[{<]\s?(?:at|arroba)\s?[)\]}>]|_at_|\sarroba\s)\s?[\w-]{1,63}"
            r"(?:\s?(?:\.|[(\[{<]\s?(?:dot|punto)\s?[)\]}>]|\s(?:dot|punto)\s|_dot_)\s?[\w-]{2,63}){1,4}",
            flags=re.I,
            score=1.0,
        ),
        rule("EMAIL", rf"(?<![\w.+%'-])[\w.+%'-]{{2,64}} at (?:[\w-]{{2,63}} dot ){{1,3}}(?:{TLD}|{COUNTRIES})\b", flags=re.I),
        rule("URL", r"\b(?:https?|ftp|sftp)://[^\s<>\"')\]};,]+[^\s<>\"')\]};,.:!?]", flags=re.I, score=1.0),
        rule("URL", r"(?<![\w])(?:file|sftp|smb|s3|ftps)://[^\s<>\"')\]};,]+[^\s<>\"')\]};,.:!?]", flags=re.I, score=1.0),
        rule("URL", r"\bwww\.[\w-]+(?:\.[\w-]+)+(?:/[^\s<>\"')\];,]*[^\s<>\"')\];,.:!?])?", flags=re.I, score=1.0),
        rule(
            "URL",
            rf"(?<![@\w.-])(?:[a-z0-9][a-z0-9-]{{1,62}}\.)+{TLD}\b(?![\w@-])(?!\.\w)(?:/[^\s<>\"')\];,]*[^\s<>\"')\];,.:!?])?",
            flags=re.I,
        ),
        rule(
            "URL",
            rf"(?<![@\w.-])(?:[a-z0-9][a-z0-9-]{{1,62}}\.){{1,4}}{COUNTRIES}/[\w~%?#=-][^\s<>\"')\];,]{{0,200}}",
            flags=re.I,
        ),
        rule(
            "URL",
            rf"\b{SITE}\W{{1,4}}(?:(?:is|es|at|en)\s)?(?P<v>(?:[a-z0-9][a-z0-9-]{{1,62}}\.){{1,4}}{COUNTRIES})\b(?![\w@-])",
            flags=re.I,
        ),
        rule("URL", r"(?<![\w\\])(?:[a-z]:\\(?=\w)|\\\\[\w.-]{2,60}\\)[^\s<>\"|?*]{2,200}", flags=re.I),
        rule("URL", r"(?<![\w/.])/(?:home|users|mnt|media|volumes|srv|var|data)/[^\s<>\"')\];,]{2,200}", flags=re.I),
        rule(
            "ID",
            rf"\b{NETWORK}\W{{1,3}}(?:(?:is|id|handle|name|user|username|account|usuario|cuenta)\W{{1,3}}){{0,2}}(?P<v>[@$][A-Za-z][\w.-]{{1,29}}\w)",
            flags=re.I,
        ),
        rule(
            "ID",
            rf"\b{NETWORK}\W{{1,3}}(?:(?:id|handle|user ?name|account name|usuario)\W{{1,3}}(?:is\W{{1,3}})?)(?P<v>[A-Za-z][\w.-]{{2,29}}\w)",
            flags=re.I,
        ),
        rule("ID", rf"(?<![\w@./])(?P<v>@[A-Za-z][\w.]{{1,29}}\w) (?:on|en) {NETWORK}\b", flags=re.I),
        rule("ID", r"(?<![\w@./])@(?=[A-Za-z.]{0,29}[_\d]|[a-z]{2,20}[A-Z])[A-Za-z][\w.]{2,29}\b", score=0.6),
        rule("IP", r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.]\d)", check=_address, score=1.0),
        rule(
            "IP",
            r"(?<![\w:])(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{1,4}(?![\w:])",
            check=_network,
            flags=re.I,
        ),
        rule("DEVICE", r"(?<![\w:-])(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}(?![\w:-])", flags=re.I, score=1.0),
        rule(
            "PHONE",
            r"(?<![\w.+-])(?:\+?1[-. ]?)?(?:\([2-9]\d\d\)\s?|[2-9]\d\d[-. ])\d{3}[-. ]\d{4}"
            r"(?:\s*(?:x|ext\.?|extension)\s*\d{1,6})?(?![\w-])",
            flags=re.I,
            score=1.0,
            relabel=_fax,
        ),
        rule(
            "PHONE",
            FOREIGN,
            check=is_foreign,
            relabel=_fax,
        ),
        rule(
            "PHONE",
            rf"{CALL}s?(?![A-Za-z])\s?(?:\w{{1,4}}\s)?[\s:#=\-–(]{{0,5}}(?P<v>\(?\+?\d[\d\s().-]{{5,18}}\d"
            r"(?:\s*(?:x|ext\.?)\s*\d{1,6})?)(?![\d/])",
            check=_digits,
            flags=re.I,
            relabel=_fax,
        ),
        rule(
            "PHONE",
            r"(?<![\w.])(?P<v>\(?\+?\d[\d\s().-]{5,18}\d)(?=\s{0,2}[-(]?\s?(?:fax|office"
            r"|mobile|cell|home|work)\b)",
            cue=r"\d[\s(-]{0,4}(?:fax|office|mobile|cell|home|work)",
            check=_digits,
            flags=re.I,
            relabel=_fax,
        ),
        rule("PHONE", r"\b(?:ext|extension|pager|beeper|pgr)\.?\s*[:#]?\s*(?P<v>\d{4,6})\b", flags=re.I, relabel=_fax),
        rule("PHONE", r"(?<![\w.+-])\(\d{2,4}\)\s?\d{3,4}[\s-]\d{3,4}(?![\w-])", relabel=_fax),
    )
