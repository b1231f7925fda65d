"""Pass 2: a token classifier over windows of a text.

Any directory that transformers opens as a token classifier works (`deid.ner`); its labels, with or without BIO or BILOU prefixes,
are mapped to Safe Harbor classes. Without one, the shipped LoRA adapter on the local encoder.
Shapes: B windows, T tokens, C classes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nosology import storage
from nosology.config import home
from nosology.errors import ModelError
from nosology.records import Span

if TYPE_CHECKING:
    import torch

ADAPTER = Path(__file__).parent / "adapter"
DEFAULT_THRESHOLD = 0.85  # for a model that recommends none
WINDOW_TOKENS = 128
OVERLAP_TOKENS = 32
BATCH_TOKENS = 4096

# first match wins; None is a class that Safe Harbor does not name
LABEL_RULES: tuple[tuple[str, str | None], ...] = (
    (r"O|OUTSIDE", None),
    (
        r"PROFESSION|OCCUPATION|JOB.*|TITLE|NRP|NORP|GENDER|SEX|MISC|OTHER|LANGUAGE"
        r"|MONEY|QUANTITY|CARDINAL|ORDINAL|PERCENT|EVENT|LAW|PRODUCT|WORK_OF_ART"
        r"|TIME|STATE_OF_MIND",
        None,
    ),
    (r"USERNAME|USER_?NAME|PASSWORD|PIN", "ID"),
    (r".*DOMAIN_?NAME.*", "URL"),
    (r".*(PATIENT(?!.*ID)|DOCTOR|STAFF|HCW|PERSON|NAME(?!.*USER)|CLINICIAN|RELATIVE|FAMIL).*|PER|NAME", "NAME"),
    (r".*(HOSP|ORG|VENDOR|COMPANY|EMPLOYER|INSTITU|FACILITY|CLINIC|FAC$).*", "ORGANIZATION"),
    (r".*ZIP.*|.*POST.?CODE.*|.*POSTAL.*", "ZIP"),
    (r".*(BIRTH|DATE|DOB|HOLIDAY|DAY).*", "DATE"),
    (r"AGE|.*_AGE|EDAD.*", "AGE"),
    (r".*FAX.*", "FAX"),
    (r".*(PHONE|TEL|CONTACT|PAGER|MOBILE).*", "PHONE"),
    (r".*E?-?MAIL.*", "EMAIL"),
    (r".*(URL|WEB|DOMAIN).*", "URL"),
    (r".*IP_?(ADDR.*)?$", "IP"),
    (r".*(SSN|SOCIAL).*", "SSN"),
    (r".*(MEDICAL_?RECORD|MRN).*", "MRN"),
    (r".*(HEALTH_?PLAN|MEMBER|BENEFICIARY|INSURANCE|POLICY).*", "BENEFICIARY"),
    (r".*(ACCOUNT|CARD|IBAN|BANK).*", "ACCOUNT"),
    (r".*(LICEN[SC]E|CERTIF|PASSPORT|NPI|DEA).*", "LICENSE"),
    (r".*(VEHICLE|VIN|PLATE).*", "VEHICLE"),
    (r".*(DEVICE|SERIAL|IMEI|MAC).*", "DEVICE"),
    (r".*BIO.*", "BIOMETRIC"),
    (r".*(PHOTO|IMAGE).*", "PHOTO"),
    (r".*(LOC|GPE|CITY|STREET|ADDRESS|COUNTRY|STATE|COUNTY|PLACE|BUILDING|TERRITOR).*", "LOCATION"),
)


def safe_harbor(label: str, unknown: str = "ID") -> str | None:
    """The class of a model's label, prefixes taken off; None for what is no identifier, `unknown` for a label that no rule knows: of a
    model's an ID, for it is removed."""
    bare = re.sub(r"^[BILUES][-_]", "", label).upper().replace("-", "_").replace(" ", "_")
    return next((found for pattern, found in LABEL_RULES if re.fullmatch(pattern, bare)), unknown)


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the model says of the tokens of a text.

    Attributes:
        offsets: first character of each token and one past its last.
        inside: probability that it is in some identifier.
        kinds: the likeliest class, were it in one.
    """

    offsets: Sequence[tuple[int, int]]
    inside: Sequence[float]
    kinds: Sequence[str]


@dataclass(frozen=True, slots=True)
class Tagging:
    """A loaded token classifier.

    Attributes:
        classes: Safe Harbor class (None: no identifier) of each of the model's C outputs.
        threshold: least probability that a token is inside some identifier.
        shaped: the model takes `shape_ids` (the shipped tagger and those trained like it).
        thresholds: the same for tokens of single classes, over `threshold`.
    """

    tokenizer: Any
    model: Any
    classes: tuple[str | None, ...]
    threshold: float
    shaped: bool
    thresholds: Mapping[str, float] = field(default_factory=dict)

    def find(self, texts: Sequence[str]) -> list[list[Span]]:
        """Spans of each text."""
        return [self.spans(text, tokens) for text, tokens in zip(texts, self.score(texts), strict=True)]

    def spans(self, text: str, tokens: Tokens) -> list[Span]:
        """Spans of a text whose tokens `score` has scored: those at or above the threshold of their class."""
        needed = [self.thresholds.get(kind, self.threshold) for kind in tokens.kinds]
        return _spans(text, tokens.offsets, tokens.inside, tokens.kinds, needed)

    def score(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokens of each text. A window sees `WINDOW_TOKENS` tokens; where windows overlap the larger probability counts."""
        import torch

        pieces: list[tuple[int, int, int]] = []  # text, first token, end
        encodings = []
        for number, text in enumerate(texts):
            encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, truncation=False, verbose=False)
            encodings.append(encoded)
            pieces += [(number, start, end) for start, end in _windows(len(encoded["input_ids"]))]
        inside = [torch.zeros(len(e["input_ids"])) for e in encodings]
        kind = [torch.zeros(len(e["input_ids"]), dtype=torch.long) for e in encodings]
        pieces.sort(key=lambda p: p[2] - p[1])
        labels = sorted({c for c in self.classes if c})
        groups = torch.zeros(len(self.classes), len(labels) + 1)  # from outputs to classes; the last column is "no identifier"
        for output, name in enumerate(self.classes):
            groups[output, labels.index(name) if name else len(labels)] = 1
        at = 0
        with torch.inference_mode():
            while at < len(pieces):
                width = pieces[min(len(pieces), at + 64) - 1]
                size = max(1, min(64, BATCH_TOKENS // (width[2] - width[1] + 2)))
                part = pieces[at : at + size]
                at += size
                logits_BTC = self._forward(part, encodings, texts)
                probability_BTK = torch.softmax(logits_BTC.float(), -1) @ groups
                for row, (number, start, end) in enumerate(part):
                    p_TK = probability_BTK[row, 1 : 1 + end - start]
                    p_T = 1 - p_TK[:, -1]
                    better = p_T > inside[number][start:end]
                    inside[number][start:end][better] = p_T[better]
                    if labels:
                        kind[number][start:end][better] = p_TK[:, :-1].argmax(-1)[better]
        return [
            Tokens(encoding["offset_mapping"], inside[n].tolist(), [labels[k] for k in kind[n].tolist()])
            for n, encoding in enumerate(encodings)
        ]

    def _forward(self, part: Sequence[tuple[int, int, int]], encodings: Sequence[Any], texts: Sequence[str]) -> torch.Tensor:
        """Logits (B, T, C) of some windows, each between the tokenizer's first and last special token."""
        import torch

        from nosology.deid.tagger import shapes

        first = self.tokenizer.cls_token_id if self.tokenizer.cls_token_id is not None else self.tokenizer.bos_token_id
        last = self.tokenizer.sep_token_id if self.tokenizer.sep_token_id is not None else self.tokenizer.eos_token_id
        length = max(end - start for _, start, end in part) + 2
        ids_BT = torch.full((len(part), length), self.tokenizer.pad_token_id or 0)
        mask_BT = torch.zeros_like(ids_BT)
        shape_BT = torch.zeros_like(ids_BT)
        for row, (number, start, end) in enumerate(part):
            tokens = [first, *encodings[number]["input_ids"][start:end], last]
            ids_BT[row, : len(tokens)] = torch.tensor(tokens)
            mask_BT[row, : len(tokens)] = 1
            if self.shaped:
                offsets = encodings[number]["offset_mapping"][start:end]
                shape_BT[row, 1 : 1 + end - start] = torch.tensor(shapes(texts[number], offsets))
        if self.shaped:
            logits: torch.Tensor = self.model(input_ids=ids_BT, attention_mask=mask_BT, shape_ids=shape_BT)
            return logits
        found: torch.Tensor = self.model(input_ids=ids_BT, attention_mask=mask_BT).logits
        return found


def _windows(length: int) -> list[tuple[int, int]]:
    """First token and end of windows that cover `length` tokens and overlap."""
    size, step = WINDOW_TOKENS - 2, WINDOW_TOKENS - 2 - OVERLAP_TOKENS
    if length <= size:
        return [(0, length)] if length else []
    starts = list(range(0, length - size, step)) + [length - size]
    return [(start, start + size) for start in starts]


def _spans(
    text: str, offsets: Sequence[tuple[int, int]], inside: Sequence[float], kinds: Sequence[str], needed: Sequence[float]
) -> list[Span]:
    """Words of which any token is inside, with the probability needed; neighbouring words of one class become one span."""
    spans: list[Span] = []
    for (start, end), probability, label, least in zip(offsets, inside, kinds, needed, strict=True):
        if probability < least or start == end:
            continue
        while start and text[start].isalnum() and text[start - 1].isalnum():
            start -= 1
        while end < len(text) and text[end - 1].isalnum() and text[end].isalnum():
            end += 1
        if spans and start <= spans[-1].end:
            last = spans[-1]
            sure = last if last.score >= probability else Span(start=start, end=end, label=label)
            spans[-1] = Span(
                start=last.start, end=max(end, last.end), label=sure.label, score=max(last.score, probability), source="tagger"
            )
        elif (
            spans
            and spans[-1].label == label
            and text[spans[-1].end : start].strip(" .,-'’/") == ""
            and "\n" not in text[spans[-1].end : start]
            and start - spans[-1].end < 3
        ):
            spans[-1] = Span(start=spans[-1].start, end=end, label=label, score=max(spans[-1].score, probability), source="tagger")
        else:
            spans.append(Span(start=start, end=end, label=label, score=probability, source="tagger"))
    return spans


def digest(directory: str | None) -> str:
    """SHA-256 over the files of the tagger's directory (None: the shipped adapter), for the fingerprint of a run. Raises ModelError where there is none."""
    files = sorted(path for path in _folder(directory).glob("*") if path.is_file())
    return hashlib.sha256("".join(f"{file.name}:{storage.digest(str(file))}\n" for file in files).encode()).hexdigest()


def _folder(directory: str | None) -> Path:
    folder = Path(directory) if directory else ADAPTER
    if not any((folder / name).is_file() for name in ("config.json", "adapter_config.json")):
        raise ModelError(f"deid.ner: {folder} holds no model. Give the directory of a token-classification model")
    return folder


def load_tagging(directory: str | None, threshold: float | None) -> Tagging:
    """The tagger of a directory, or the shipped one.

    Args:
        directory: a transformers token classifier, or a tagger trained by `train` with the objective `tag` (adapter or whole).
        threshold: None is the one in the directory's `tagger.json`, else 0.85.

    Raises:
        ModelError: not there, not a token classifier, or no label of it names an identifier.
    """
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    folder = _folder(directory)
    recommended = DEFAULT_THRESHOLD
    if (folder / "tagger.json").is_file():
        recommended = float(json.loads((folder / "tagger.json").read_text())["threshold"])
    chosen = recommended if threshold is None else threshold
    if (folder / "adapter_config.json").is_file():
        return _adapter(folder, chosen)
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        names = [str(config.id2label[i]) for i in range(config.num_labels)]
        shaped = config.architectures == ["Tagger"]
        if not shaped and not any(a.endswith("TokenClassification") for a in config.architectures or []):
            raise ModelError(f"deid.ner: {folder.name} is no token classifier (architecture {config.architectures})")
        model: Any
        if shaped:
            from nosology.deid.tagger import Tagger

            model = Tagger.from_pretrained(folder, local_files_only=True)
        else:
            from transformers import AutoModelForTokenClassification

            model = AutoModelForTokenClassification.from_pretrained(folder, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(
            folder if (folder / "tokenizer_config.json").is_file() else home() / "encoder", local_files_only=True
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"deid.ner: transformers cannot open {folder.name} ({type(error).__name__})") from error
    if not tokenizer.is_fast:
        raise ModelError(f"deid.ner: {folder.name} has no fast tokenizer, which character offsets need")
    classes = tuple(safe_harbor(name) for name in names)
    if not any(classes) or all(re.fullmatch(r"LABEL_\d+", name) for name in names):
        raise ModelError(f"deid.ner: no label of {folder.name} names an identifier; give the model an id2label map")
    return Tagging(tokenizer, model.eval(), classes, chosen, shaped)


def _adapter(folder: Path, threshold: float) -> Tagging:
    """A LoRA adapter of `training.tag` on the local encoder, merged."""
    import torch
    from peft import PeftModel
    from safetensors import SafetensorError

    from nosology.deid.tagger import CLASSES, new_tagger
    from nosology.engines.encoder import load_encoder

    encoder = load_encoder()  # checks the digests that the adapter was made on
    with torch.random.fork_rng(devices=[]):
        module = new_tagger(encoder.directory)
    try:
        adapted = PeftModel.from_pretrained(module, str(folder), local_files_only=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"deid.ner: adapter {folder.name} does not fit the local encoder ({type(error).__name__})") from error
    model = adapted.merge_and_unload().float().eval()
    return Tagging(encoder.tokenizer, model, tuple(None if c == "O" else c for c in CLASSES), threshold, True)
