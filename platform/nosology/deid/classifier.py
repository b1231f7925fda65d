"""Token classifiers for pass 2, from a directory: ours and those of others, in int8 where their architecture allows it.

A BERT or RoBERTa type model runs in int8 through ONNX Runtime, without torch; any other through transformers, in fp32.
Shapes: B windows, T tokens, C classes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nosology import storage
from nosology.config import MOST_THRESHOLD
from nosology.deid import LABELS
from nosology.deid.policies import WIDER
from nosology.deid.shapes import CLASSES
from nosology.engines.encoder import DIGESTS, encoder_directory
from nosology.engines.int8 import Int8Classifier, Shape, quantized_state, tensors
from nosology.errors import ModelError

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

Floats = NDArray[np.float32]
DEFAULT_THRESHOLD = 0.85  # for a model that recommends none
WINDOW_TOKENS = 128  # of a call, special ones included
BATCH_TOKENS = 4096

# first match wins; None is a class that Safe Harbor does not name
LABEL_RULES: tuple[tuple[str, str | None], ...] = (
    (r"O|OUTSIDE", None),
    # MEDDOCAN's guideline: three classes of its policy alone, and names of labels that the English rules below do not read
    (r"SEX|GENDER|SEXO.*", "SEX"),
    (r"RELATIVE|FAMILIARES.*", "RELATIVE"),
    (r"PROFESSION|PROFESION|OCCUPATION|JOB.*", "PROFESSION"),
    (r"NOMBRE.*", "NAME"),
    (r"FECHAS?(_.*)?", "DATE"),
    (r"CALLE|PAIS|TERRITORIO", "LOCATION"),
    (r"CENTRO_SALUD", "ORGANIZATION"),
    (r"NUMERO_TELEFONO", "PHONE"),
    (r"CORREO_ELECTRONICO", "EMAIL"),
    (r"DIREC_PROT_INTERNET", "IP"),
    (r"ID_SUJETO_ASISTENCIA", "MRN"),
    (r"ID_ASEGURAMIENTO|NUMERO_BENEF.*", "BENEFICIARY"),
    (r"ID_TITULACION.*", "LICENSE"),
    (r"ID_(CONTACTO|EMPLEO).*|OTRO_NUMERO_IDENTIF|OTROS_SUJETO_ASISTENCIA", "ID"),
    (r"IDENTIF_VEHICULOS.*", "VEHICLE"),
    (r"IDENTIF_DISPOSITIVOS.*", "DEVICE"),
    (
        r"TITLE|NRP|NORP|MISC|OTHER|LANGUAGE"
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
class Window:
    """Tokens that the model sees together, special ones included; `shapes_T` is 0 for those."""

    ids_T: Sequence[int]
    shapes_T: Sequence[int]


class Classifier(Protocol):
    """A loaded model."""

    max_tokens: int

    def logits(self, windows: Sequence[Window]) -> list[Floats]:
        """Logits (T, C) of each window; what one gets does not depend on the others."""
        ...


@dataclass(frozen=True, slots=True)
class Loaded:
    """A directory's model and what is said of it there.

    Attributes:
        edges: special tokens before and behind those of a window.
        classes: Safe Harbor class (None: no identifier) of each of the C outputs.
        threshold: least probability that is recommended, for every class.
        thresholds: those of single classes, where they differ.
        shaped: the model takes shapes of words.
    """

    tokenizer: Tokenizer
    edges: tuple[list[int], list[int]]
    model: Classifier
    classes: tuple[str | None, ...]
    threshold: float
    thresholds: Mapping[str, float]
    shaped: bool


class _Int8:
    def __init__(self, state: Mapping[str, NDArray[Any]], shape: Shape) -> None:
        self._model = Int8Classifier(state, shape)
        self.max_tokens = self._model.max_tokens

    def logits(self, windows: Sequence[Window]) -> list[Floats]:
        return [self._model.logits(window.ids_T, window.shapes_T) for window in windows]


class _Transformers:
    """Any other architecture, windows of like length together."""

    def __init__(self, model: Any, padding: int) -> None:
        self._model, self._padding = model.eval(), padding
        self.max_tokens = int(getattr(model.config, "max_position_embeddings", 512))

    def logits(self, windows: Sequence[Window]) -> list[Floats]:
        import torch

        out: list[Floats] = [np.zeros((0, 0), np.float32)] * len(windows)
        order = sorted(range(len(windows)), key=lambda i: len(windows[i].ids_T))
        with torch.inference_mode():
            while order:
                longest = len(windows[order[min(len(order), 64) - 1]].ids_T)
                size = max(1, min(64, BATCH_TOKENS // longest))
                part, order = order[:size], order[size:]
                length = len(windows[part[-1]].ids_T)
                ids_BT = torch.full((len(part), length), self._padding)
                mask_BT = torch.zeros_like(ids_BT)
                for row, number in enumerate(part):
                    tokens = windows[number].ids_T
                    ids_BT[row, : len(tokens)] = torch.tensor(tokens)
                    mask_BT[row, : len(tokens)] = 1
                logits_BTC: torch.Tensor = self._model(input_ids=ids_BT, attention_mask=mask_BT).logits
                for row, number in enumerate(part):
                    out[number] = logits_BTC[row, : len(windows[number].ids_T)].float().numpy()
        return out


_REMEDY = "Give the directory of a token-classification model"
_LABELS = "Give config.json the id2label map of its classifier, a label for each row"


def digest(folder: Path) -> str:
    """SHA-256 over the files of a tagger's directory, for the fingerprint of a run.

    Raises:
        ModelError: there is no model.
    """
    files = sorted(path for path in _checked(folder).glob("*") if path.is_file())
    return hashlib.sha256("".join(f"{file.name}:{storage.digest(str(file))}\n" for file in files).encode()).hexdigest()


def _checked(folder: Path) -> Path:
    """The folder, when what its configuration says is a token classifier whose labels name identifiers."""
    if not any((folder / name).is_file() for name in ("config.json", "adapter_config.json")):
        raise ModelError(f"deid.ner: {folder} holds no model. {_REMEDY}")
    if not (folder / "adapter_config.json").is_file():
        _classes(folder, _configuration(folder, "config.json"))
    return folder


def _configuration(folder: Path, name: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / name).read_text())
        return {**found, "id2label": {int(key): str(label) for key, label in (found.get("id2label") or {}).items()}}
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"deid.ner: {folder / name} cannot be read ({type(error).__name__}). {_REMEDY}") from error


def _classes(folder: Path, config: Mapping[str, Any]) -> tuple[str | None, ...]:
    """The class of each of a model's outputs."""
    kinds = config.get("architectures") or []
    if kinds != ["Tagger"] and not any(str(kind).endswith("TokenClassification") for kind in kinds):
        raise ModelError(f"deid.ner: {folder} is no token classifier (architecture {kinds}). {_REMEDY}")
    names = [config["id2label"][key] for key in sorted(config["id2label"])]
    if sorted(config["id2label"]) != list(range(len(names))):
        raise ModelError(f"deid.ner: id2label of {folder} does not number its labels 0, 1, 2 and so on. {_LABELS}")
    classes = tuple(safe_harbor(name) for name in names)
    if not any(classes) or all(re.fullmatch(r"LABEL_\d+", name) for name in names):
        raise ModelError(f"deid.ner: no label of {folder} names an identifier; give the model an id2label map")
    return classes


def load_classifier(folder: Path) -> Loaded:
    """The token classifier of a directory.

    Args:
        folder: a transformers token classifier; or a tagger trained by `train` with the objective `tag`, whole, adapter, or packed
            (`pack`). `tagger.json` beside it may recommend a threshold.

    Raises:
        ModelError: not there, not a token classifier, no label of it names an identifier, a threshold that it recommends is none, or it
            fails on a window.
    """
    _checked(folder)
    said: dict[str, Any] = {}
    if (folder / "tagger.json").is_file():
        said = _configuration(folder, "tagger.json")
    threshold, thresholds = _recommended(folder, said)
    if (folder / "adapter_config.json").is_file():
        model, classes, ours = _adapter(folder), tuple(map(safe_harbor, CLASSES)), True
    else:
        config = _configuration(folder, "config.json")
        classes, ours = _classes(folder, config), config["architectures"] == ["Tagger"]
        model = _model(folder, config, said, ours)
    tokenizer = _tokenizer(folder, ours)
    special = tokenizer.encode("").ids
    edges = special[: (len(special) + 1) // 2], special[(len(special) + 1) // 2 :]
    _try(folder, model, edges, max(tokenizer.get_vocab().values(), default=0), len(classes))
    return Loaded(tokenizer, edges, model, classes, threshold, thresholds, ours)


def _recommended(folder: Path, said: Mapping[str, Any]) -> tuple[float, dict[str, float]]:
    """The thresholds in `tagger.json`: for every class, and of single ones."""

    def checked(value: Any, name: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST_THRESHOLD:
            raise ModelError(
                f"deid.ner: {name} in {folder / 'tagger.json'} is no number from 0 to {MOST_THRESHOLD}. Mend it there, or take it out"
            )
        return float(value)

    single = said.get("thresholds", {})
    if not isinstance(single, dict) or not single.keys() <= LABELS.keys() | WIDER:
        raise ModelError(
            f"deid.ner: thresholds in {folder / 'tagger.json'} is no object of classes ({', '.join(LABELS)}). Mend it there, or take it out"
        )
    of_classes = {name: checked(value, f"the threshold of {name}") for name, value in single.items()}
    return checked(said.get("threshold", DEFAULT_THRESHOLD), "threshold"), of_classes


def _model(folder: Path, config: Mapping[str, Any], said: Mapping[str, Any], ours: bool) -> Classifier:
    try:
        shape = Shape.of(config)
    except (KeyError, ValueError, TypeError) as error:
        raise ModelError(f"deid.ner: {folder / 'config.json'} does not describe its model ({type(error).__name__}). {_REMEDY}") from error
    if shape is not None and (folder / "model.safetensors").is_file():
        state = _state(folder, said)
        if ours and "shapes.weight" not in state:
            raise ModelError(f"deid.ner: {folder} calls itself a Tagger, and its weights have no shapes.weight. {_REMEDY}, as it was saved")
        try:
            return _Int8(state, shape)
        except Exception as error:  # as in `_try`
            raise ModelError(
                f"deid.ner: the weights of {folder} are not those of the model in its config.json ({type(error).__name__}). {_REMEDY}, as it was saved"
            ) from error
    if ours:
        raise ModelError(
            f"deid.ner: {folder} calls itself a Tagger, and is not a BERT-type model in model.safetensors. {_REMEDY}, as it was saved"
        )
    return _transformers(folder, int(config.get("pad_token_id") or 0))


def _try(folder: Path, model: Classifier, edges: tuple[list[int], list[int]], last: int, num_classes: int) -> None:
    """One whole window of the last word of the vocabulary, so that what cannot work fails here and not at the first note."""
    first, end = edges
    length = min(WINDOW_TOKENS, model.max_tokens) - len(first) - len(end)
    window = Window([*first, *[last] * length, *end], [*[0] * len(first), *[1] * length, *[0] * len(end)])
    try:
        (logits_TC,) = model.logits([window])
    except Exception as error:  # ONNX Runtime has a class of its own for each fault
        raise ModelError(
            f"deid.ner: the model of {folder} fails on a window of {len(window.ids_T)} tokens ({type(error).__name__}): its config.json "
            f"(heads, positions), tokenizer and weights do not belong together. {_REMEDY}, as it was saved"
        ) from error
    if logits_TC.shape[1] != num_classes:
        raise ModelError(f"deid.ner: {folder} names {num_classes} labels, and its classifier has {logits_TC.shape[1]} rows. {_LABELS}")
    if not np.isfinite(logits_TC).all():
        raise ModelError(f"deid.ner: the model of {folder} gives numbers that are not finite, so that it would find nothing. {_REMEDY}")


def _state(folder: Path, said: Mapping[str, Any]) -> Mapping[str, NDArray[Any]]:
    """Weights without the model's prefix, linear layers quantized; word vectors that a packed tagger left out, from the encoder."""
    state = {re.sub(r"^(?:bert|roberta|model)\.", "", name): value for name, value in tensors(folder / "model.safetensors").items()}
    if "embeddings.word_embeddings.weight" not in state:
        directory = encoder_directory(None)
        if said.get("encoder_sha256") != DIGESTS["model.safetensors"]:
            raise ModelError(
                f"deid.ner: {folder} was made on another encoder than the one in {directory}. Give the tagger whole, not packed"
            )
        words = tensors(directory / "model.safetensors")
        state |= {name: words[name] for name in words if name.startswith("embeddings.") and name not in state}
    return state if any(name.endswith(".scale") for name in state) else quantized_state(state)


def _tokenizer(folder: Path, ours: bool) -> Tokenizer:
    """The fast tokenizer of a directory; of a tagger of ours without one, the encoder's."""
    from tokenizers import Tokenizer

    file = folder / "tokenizer.json"
    if not file.is_file() and ours:
        file = encoder_directory(None) / "tokenizer.json"
    try:
        if file.is_file():
            made: Tokenizer = Tokenizer.from_file(str(file))
        else:
            from transformers import AutoTokenizer

            made = AutoTokenizer.from_pretrained(folder, local_files_only=True).backend_tokenizer
    except Exception as error:  # tokenizers raises bare Exceptions
        raise ModelError(
            f"deid.ner: {folder} has no fast tokenizer, which character offsets need ({type(error).__name__}). Give it a tokenizer.json"
        ) from error
    made.no_truncation()
    made.no_padding()
    return made


def _quiet() -> None:
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def _transformers(folder: Path, padding: int) -> Classifier:
    from safetensors import SafetensorError
    from transformers import AutoModelForTokenClassification

    _quiet()
    try:
        model, loading = AutoModelForTokenClassification.from_pretrained(folder, local_files_only=True, output_loading_info=True)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"deid.ner: transformers cannot open {folder} ({type(error).__name__}). {_REMEDY}") from error
    if missing := sorted(loading["missing_keys"]):  # which transformers fills by chance
        raise ModelError(f"deid.ner: the weights of {folder} lack {missing[0]}. {_REMEDY}, as it was saved")
    return _Transformers(model, padding)


def _adapter(folder: Path) -> Classifier:
    """A LoRA adapter of `training.tag` on the local encoder, merged."""
    import torch
    from peft import PeftModel
    from safetensors import SafetensorError

    from nosology.deid.tagger import new_tagger

    encoder = encoder_directory(None)  # checks the digests that the adapter was made on
    _quiet()
    with torch.random.fork_rng(devices=[]):
        module = new_tagger(encoder)
    try:
        adapted = PeftModel.from_pretrained(module, str(folder), local_files_only=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"deid.ner: adapter {folder} does not fit the local encoder ({type(error).__name__}). {_REMEDY}") from error
    merged = adapted.merge_and_unload().float()
    state = {name.removeprefix("bert."): value.numpy() for name, value in merged.state_dict().items()}
    shape = Shape.of(merged.config.to_dict())
    assert shape is not None  # new_tagger takes BERT alone
    return _Int8(quantized_state(state), shape)


def pack(folder: Path, out: Path) -> None:
    """A tagger trained on the default encoder as it ships: int8 layers, no word vectors, which the encoder has (its digest is noted).

    Args:
        folder: a whole tagger (`config.json`, `model.safetensors`, `tagger.json`), word vectors as they were.
        out: folder that gets the three files.

    Raises:
        ModelError: its word vectors are not the encoder's.
    """
    from safetensors.numpy import save_file

    words = tensors(encoder_directory(None) / "model.safetensors")
    state = {re.sub(r"^bert\.", "", name): value for name, value in tensors(folder / "model.safetensors").items()}
    name = "embeddings.word_embeddings.weight"
    if not np.array_equal(state.pop(name), words[name]):
        raise ModelError(f"{folder.name}: its word vectors are not those of the default encoder; it can only be used whole")
    packed = {key: np.ascontiguousarray(value) for key, value in quantized_state(state).items() if not key.endswith("position_ids")}
    out.mkdir(parents=True, exist_ok=True)
    save_file(packed, out / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    kept = ("architectures", "model_type", "hidden_act", "num_attention_heads", "layer_norm_eps", "pad_token_id", "id2label")
    (out / "config.json").write_text(json.dumps({key: config[key] for key in kept if key in config}, indent=1, sort_keys=True) + "\n")
    said = json.loads((folder / "tagger.json").read_text()) | {"encoder_sha256": DIGESTS["model.safetensors"]}
    (out / "tagger.json").write_text(json.dumps(said, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
