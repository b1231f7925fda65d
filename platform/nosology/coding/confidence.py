"""How likely a coder would accept a proposed code: a logistic regression, fitted by `examples/fit_confidence.py`.

The coefficients lie in `confidence.json` with the number of notes and codes behind them and the out-of-fold precision curve, from
which the threshold of the `auto` route is read.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from nosology.coding.decide import Proposal
from nosology.terminology.codeset import CodeSet

_TREATED = re.compile(
    r"\b(?:continue|prescri\w+|\d+ ?mg|refill|start|increase|decrease|order\w*|"
    r"refer\w*|recommend\w*|follow|monitor|inject\w*|surgery|therapy)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Calibration:
    """A fitted model. `curve`: (confidence, share of codes right at or above it), out of fold, falling confidence."""

    weights: Mapping[str, float]
    intercept: float
    num_notes: int
    num_codes: int
    curve: tuple[tuple[float, float], ...]

    def probability(self, features: Mapping[str, float]) -> float:
        """Calibrated probability for the features of one proposal."""
        z = self.intercept + sum(self.weights.get(name, 0.0) * value for name, value in features.items())
        return 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, z))))

    def threshold(self, precision: float) -> float:
        """Least confidence at and above which codes were right in at least this share of cases; above 1 when there is none."""
        reached = [confidence for confidence, share in self.curve if share >= precision]
        return min(reached, default=1.1)


@functools.cache
def calibration() -> Calibration:
    """The fitted model that the package carries."""
    table: dict[str, Any] = json.loads(resources.files(__package__).joinpath("confidence.json").read_text(encoding="utf-8"))
    curve = tuple((float(a), float(b)) for a, b in table["curve"])
    return Calibration(table["weights"], table["intercept"], table["num_notes"], table["num_codes"], curve)


def features(proposal: Proposal, found: Mapping[str, Proposal], text: str, codes: CodeSet) -> dict[str, float]:
    """What the confidence is computed from, by name; values about 0 to 1."""
    code, mentions = proposal.code, proposal.mentions
    title = codes.title(code).lower()
    problems = [mention for mention in mentions if mention.kind == "problem"]
    places = {mention.section for mention in mentions}
    paragraph = " ".join(text[mention.start : mention.end + 400].split("\n\n")[0] for mention in problems[:1])
    sentence = " ".join(text[mention.sentence[0] : mention.sentence[1]] for mention in mentions[:3])
    values = {
        f"source:{proposal.source}": 1.0,
        f"source:{proposal.source}:{'problem' if problems else 'phrase'}": 1.0,
        f"chapter:{code[0] if code[0] in 'RZSTMIEFJNK' else 'other'}": 1.0,
        **{f"section:{name}": 1.0 for name in places},
        f"first:{mentions[0].section if mentions else 'none'}": 1.0,
        "problem": float(bool(problems)),
        "score": proposal.score,
        "margin": min(1.0, max(0.0, proposal.margin)),
        "mentions": min(1.0, math.log1p(len(mentions)) / 2),
        "words": min(1.0, len(mentions[0].phrase.split()) / 6) if mentions else 0.0,
        "unspecified": float("unspecified" in title or code.endswith(".9")),
        "treated": float(bool(_TREATED.search(paragraph + " " + sentence))),
        "historical": float(any(mention.assertion == "historical" for mention in mentions)),
        "siblings": min(1.0, sum(other[:3] == code[:3] for other in found if other != code) / 2),
        "rivals": min(1.0, (len(found) - 1) / 12),
        "titles": min(1.0, sum(any(m.kind == "problem" for m in other.mentions) for other in found.values()) / 5),
        "side_open": float(
            bool(re.search(r"unspecified (?:\w+ )?(?:knee|hip|shoulder|ankle|foot|hand|wrist|elbow|limb|side|ear|eye)", title))
        ),
    }
    values["phrase_beside_titles"] = float(not problems and values["titles"] > 0)
    values["symptom_beside_diagnosis"] = float(
        code[0] == "R" and any(o[0] not in "RZ" and p.mentions and p.mentions[0].kind == "problem" for o, p in found.items())
    )
    return values
