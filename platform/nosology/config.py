"""One configuration tree. Defaults live here; a YAML file holds only what differs; unknown keys are refused with the nearest name.

Order of precedence: defaults, then each file in turn, then `key.sub=value` on the command line.
"""

from __future__ import annotations

import datetime
import difflib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema, field_validator, model_validator

from nosology.errors import ConfigError

Share = Annotated[float, Field(ge=0, le=1)]
# the classes of `deid.LABELS`; a test holds the two together
Category = Literal[
    "NAME", "LOCATION", "ZIP", "ORGANIZATION", "DATE", "AGE", "PHONE", "FAX", "EMAIL", "SSN", "MRN", "BENEFICIARY", "ACCOUNT", "LICENSE",
    "VEHICLE", "DEVICE", "URL", "IP", "BIOMETRIC", "PHOTO", "ID",
]  # fmt: skip
WiderCategory = Literal["SEX", "RELATIVE", "PROFESSION"]  # of the policy meddocan, beside those
QuasiIdentifier = Literal["sex", "birth_year", "postal_code", "state", "first_service_year"]
Positive = Annotated[int, Field(ge=1)]
MOST_THRESHOLD = 0.9  # no tagger's recommended one is as high; above it one finds next to nothing, and nothing at 1


def _asked(threshold: float) -> float:
    if not 0 <= threshold <= MOST_THRESHOLD:
        raise ValueError(f"expected 0 to {MOST_THRESHOLD}; a class that the tagger is not to be asked for is named in deid.rules_alone")
    return threshold


Threshold = Annotated[float, AfterValidator(_asked), WithJsonSchema({"type": "number", "minimum": 0, "maximum": MOST_THRESHOLD})]


def home() -> Path:
    """Where models and indexes that belong to the installation lie: `NOSOLOGY_HOME`, else `share/nosology` of the environment."""
    return Path(os.environ.get("NOSOLOGY_HOME") or Path(sys.prefix) / "share" / "nosology")


class Section(BaseModel):
    """A part of the tree: immutable, closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class InputConfig(Section):
    """Columns of a user's own table (JSONL, CSV, Parquet). Of those named here an ingest wants each; else text and id alone."""

    text_column: str = Field("text", description="column that holds the note")
    id_column: str = Field("id", description="column that identifies the row in outputs")
    patient_id_column: str = Field("patient_id", description="column of the patient, in an ingest")
    encounter_id_column: str = Field("encounter_id", description="column of the encounter, in an ingest")
    claim_id_column: str = Field("claim_id", description="column of the claim that the note supports, in an ingest")
    kind_column: str = Field("kind", description="column of the document type, in an ingest")
    date_column: str = Field("date_of_service", description="column of the date of service, in an ingest; `date` where that is empty")
    sex_column: str = Field("sex", description="column of the patient's sex, in an ingest")
    age_column: str = Field("age", description="column of the patient's age in years, in an ingest")


class IngestConfig(Section):
    """Reading of archives."""

    max_document_bytes: Positive = Field(16 << 20, description="a note above this size (UTF-8 bytes) is dead-lettered")
    encoding: str | None = Field(
        None,
        description="single-byte encoding of what is not UTF-8 and names none itself, for instance cp1252; None: see docs/bad_input.md",
    )
    max_expanded_bytes: Positive = Field(1 << 40, description="a compressed file or archive is given up where its content exceeds this")
    max_expansion: Positive = Field(
        250, description="or where it exceeds so many times its own size, from 64 MiB on: such a file is made to fill a disk"
    )
    duplicates: Literal["keep", "first", "refuse"] = Field(
        "keep",
        description="files with the same content, and records that stand in several files: keep each (the report counts them), the first "
        "alone (the table `duplicates` names the others), or refuse: stop before work for a file, unfinished for a record",
    )
    allow_unreadable: bool = Field(False, description="go on without files that nobody can read; the report names them")
    keep_originals: bool = Field(
        False, description="also keep X12 and FHIR files as they are, in the table `originals` (all of it PHI), to write them back"
    )

    @field_validator("encoding")
    @classmethod
    def _single_byte(cls, name: str | None) -> str | None:
        if name is None:
            return None
        try:
            whole = bytes(range(256)).decode(name, "replace")
        except (LookupError, ValueError):
            whole = ""
        if len(whole) != 256 or not whole.startswith("".join(map(chr, range(128)))):
            raise ValueError("the name of an encoding that has ASCII and one byte for each character, for instance cp1252")
        return name


class DeidConfig(Section):
    """De-identification (45 CFR 164.514(b)(2), Safe Harbor)."""

    policy: Literal["safe_harbor", "meddocan"] | None = Field(
        None,
        description="what is removed: the 18 categories of 45 CFR 164.514(b)(2), or those and every age, year, sex, relative and profession"
        " (MEDDOCAN's guideline); None is the language's: safe_harbor for en, meddocan for es",
    )
    language: str = Field("en", description="language of the notes, by its ISO 639-1 code: a folder of nosology/deid/languages")
    ner: str | None = Field(None, description="directory of a token-classification model; None is the shipped tagger on the local encoder")
    threshold: Threshold | None = Field(
        None,
        description="least probability at which the model's span counts, 0.9 at most; None is the one recommended beside the model, else 0.85",
    )
    thresholds: dict[Category, Threshold] = Field({}, description="the same for single classes, for instance {NAME: 0.1}; over `threshold`")
    leave_out: tuple[Category, ...] = Field((), description="classes that stay in the text; refused without accept_residual")
    rules_alone: tuple[Category, ...] = Field(
        (),
        description="classes that the model is not asked for, or does not know (of NAME, LOCATION, DATE); refused without accept_residual",
    )
    accept_residual: bool = Field(
        False, description="whoever sets this takes the risk of what leave_out keeps and rules_alone misses (also --accept-residual)"
    )
    consistency: Literal["document", "patient"] = Field(
        "document", description="where a name that was found is removed too: in the rest of its note, or in all notes of its patient, which "
        "takes a pass over all notes before the one that cleans them",
    )  # fmt: skip
    rewrite: Literal["tags", "mask", "surrogates"] = Field("tags", description="what stands in the place of an identifier")
    dates: Literal["year", "shift"] = Field(
        "year", description="cut dates to the year, or shift them by a secret number of days per patient"
    )
    as_of: datetime.date | None = Field(
        None,
        description="day by which it is told who is over 89 (YYYY-MM-DD); None is the day on which the run began, which a resume keeps",
    )
    zip_list: Literal[2000, 2020, "union"] = Field(
        "union",
        description="which areas of 20,000 people or fewer become 000: HHS's list of the Census of 2000, the Census of 2020, or both",
    )
    reversible: bool = Field(
        False, description="also write the table `sealed`, encrypted, from which `nosology reidentify` turns records back with the key"
    )
    key_file: str | None = Field(
        None, description="file with the secret for pseudonyms and date shifts; None is ~/.config/nosology/deid.key; made when absent"
    )

    @model_validator(mode="after")
    def _all_categories(self) -> Self:
        if both := [name for name in self.leave_out if name in self.rules_alone]:
            raise ValueError(f"{', '.join(both)} in leave_out and in rules_alone; what stays in the text is not looked for")
        faults = [f"leave_out keeps {', '.join(self.leave_out)} in the text"] if self.leave_out else []
        faults += [f"rules_alone looks for {', '.join(self.rules_alone)} without the tagger"] if self.rules_alone else []
        if faults and not self.accept_residual:
            raise ValueError(
                f"{'; '.join(faults)}; and Safe Harbor (45 CFR 164.514(b)(2)) wants all 18 categories removed. "
                "Take it out, or say --accept-residual (deid.accept_residual: true); the report, the audit and the proof then say so"
            )
        return self


class ProofConfig(Section):
    """Proof of de-identification: what is measured, what is counted, who vouches."""

    gold_labels: dict[str, Category | WiderCategory | None] = Field(
        {}, description="classes of labels in a gold file, over the rules that know the usual ones; null: the label is no identifier"
    )
    quasi_identifiers: tuple[QuasiIdentifier, ...] = Field(
        ("sex", "birth_year", "postal_code", "state", "first_service_year"),
        description="what together could single out a person in the tables; the smallest group is reported as k",
    )
    require: tuple[Literal["measured", "sampled", "signed"], ...] = Field(
        (),
        description="what train wants of each bundle: a measured recall, a sample that a person read, a signer; a bundle without is refused",
    )
    least_recall: Share | None = Field(
        None,
        description="train refuses a bundle whose measured recall of what the policy removes (covered) may be lower: the lower end of its 95 % interval",
    )
    most_left: Share | None = Field(
        None,
        description="train refuses a bundle whose sample leaves it possible that a larger share of the notes holds an identifier (95 % limit)",
    )
    vouched_by: str | None = Field(
        None,
        description="who says that text which this product did not clean holds no identifiers, as `name, organisation, YYYY-MM-DD`; "
        "train takes this in the place of a bundle, and lineage and adapter say so",
    )

    @field_validator("vouched_by")
    @classmethod
    def _signed(cls, value: str | None) -> str | None:
        if value is None:
            return None
        name, _, rest = value.partition(",")
        organisation, _, day = rest.rpartition(",")
        try:
            datetime.date.fromisoformat(day.strip())
        except ValueError:
            day = ""
        if not (name.strip() and organisation.strip() and day):
            raise ValueError("name, organisation and date of whoever vouches, as `Ada Byron, Example Hospital, 2026-05-04`")
        return value


class PrepareConfig(Section):
    """From records to training blocks."""

    template: Literal["alpaca", "chatml", "model"] = Field(
        "model", description="how a prompt is written; model is the base model's chat template"
    )
    context_tokens: Positive = Field(512, description="tokens in a packed block")
    validation_share: Share = 0.05
    test_share: Share = 0.1
    near_duplicate: Share = Field(0.9, description="Jaccard similarity of word shingles from which two examples count as the same")
    candidates: Positive = Field(8, description="codes offered in a choose_code question")
    notes: bool = Field(False, description="also make the table notes: whole notes with all codes of their claim, for classify")


class ModelConfig(Section):
    """Models, by directory."""

    base: str | None = Field(None, description="directory of the generator that is trained (Llama, Mistral, Qwen 2.5 or 3, Gemma 2)")
    artefact: str | None = Field(None, description="directory of a quantized artefact to serve; None codes with the encoder heads alone")
    encoder: str | None = Field(None, description="directory of the encoder; None is the local all-MiniLM-L6-v2")


class TrainConfig(Section):
    """Fine-tuning."""

    objective: Literal["generate", "prefer", "embed", "rerank", "classify", "tag"] = Field(
        "generate", description="what is learnt: answers, preferred answers (DPO), a bi-encoder, a cross-encoder, code heads, a tagger"
    )
    backbone: Literal["encoder", "generator"] = Field(
        "encoder", description="what embed, rerank and classify stand on: model.encoder, or model.base without its language head"
    )
    beta: Annotated[float, Field(gt=0)] = Field(0.1, description="of prefer: how firmly the model stays with its base (DPO, Rafailov 2023)")
    temperature: Annotated[float, Field(gt=0)] = Field(0.033, description="of embed: what cosines are divided by before the softmax")
    negatives: Annotated[int, Field(ge=0)] = Field(4, description="of embed and rerank: mined negatives of a row, the hardest first")
    method: Literal["lora", "qlora", "full"] = Field("lora", description="qlora keeps the base in 4 bits (nf4); it needs bitsandbytes")
    rank: Positive = 16
    alpha: Positive = 32
    dropout: Share = Field(0.0, description="dropout on the adapter's input")
    rank_stabilized: bool = Field(False, description="scale the adapter by alpha over the root of rank (rsLoRA, Kalajdzievski 2023)")
    decomposed: bool = Field(False, description="learn the size of each weight row beside its direction (DoRA, Liu et al. 2024); slower")
    targets: tuple[str, ...] | None = Field(
        None, description="names of the linear layers that get an adapter; None is every one but the head"
    )
    zero: Annotated[int, Field(ge=0, le=3)] = Field(0, description="DeepSpeed ZeRO stage")
    offload: Literal["none", "optimizer", "all", "nvme"] = Field(
        "none",
        description="what lies in host memory in place of the GPU: the optimizer state, or (all, at stage 3) the weights too; nvme, at stage "
        "3: the optimizer state on a disk of each node",
    )
    offload_folder: str | None = Field(None, description="where offload: nvme lies, a folder on a fast disk that each node has for itself")
    gradient_checkpointing: bool = Field(
        False, description="keep a layer's input alone and compute the rest again in the backward pass: a third more time, far less memory"
    )
    epochs: Positive = 1
    max_steps: Positive | None = None
    batch_size: Positive = Field(8, description="blocks or rows per worker in one forward pass")
    accumulation_steps: Positive = Field(1, description="forward passes in one optimizer step")
    learning_rate: Annotated[float, Field(gt=0)] = 2e-4
    schedule: Literal["linear", "cosine"] = "cosine"
    warmup_share: Share = 0.05
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    gradient_clip: Annotated[float, Field(gt=0)] = Field(1.0, description="largest norm of the gradient")
    precision: Literal["fp32", "bf16"] = "bf16"
    checkpoint_steps: Positive = Field(50, description="steps between two checkpoints")
    checkpoint_minutes: Annotated[float, Field(gt=0)] | None = Field(None, description="also a checkpoint when so long passed without one")
    keep_checkpoints: Positive = Field(2, description="newest checkpoints that are kept, beside the best of those that were evaluated")
    checkpoint_folder: str | None = Field(
        None, description="where they lie, a folder that all nodes share or s3://; None is in the run folder"
    )
    evaluate_steps: Positive | None = Field(
        None, description="steps between two evaluations, each with a checkpoint; None evaluates at the end"
    )
    metric: str = Field("loss", description="metric by which checkpoints are compared; of loss less is better, of others more")
    patience: Positive | None = Field(None, description="evaluations without a better metric after which training ends early")
    workers: Positive = Field(2, description="training processes; a step has the samples of so many, however many there are")
    least_workers: Positive | None = Field(None, description="go on with as few when nodes are lost, and grow again; None is `workers`")
    use_gpu: bool = False
    max_failures: Annotated[int, Field(ge=0)] = Field(3, description="lost workers that a run survives")
    stall_seconds: Annotated[float, Field(gt=0)] = Field(
        600.0, description="a worker in which nothing moves for so long is named, and the group started again"
    )
    tracking: tuple[Literal["tensorboard", "mlflow"], ...] = Field(
        ("tensorboard",),
        description="who gets the figures of each step, beside metrics.jsonl; mlflow writes files and needs nosology[mlflow]",
    )
    seed: int = 0
    seeds: tuple[int, ...] = Field((), description="train once with each of these, into seed-N of the run folder; also --seeds")


class PlanConfig(Section):
    """What a training run would be given, for `nosology plan`."""

    hardware: Literal["a100-40", "a100-80", "h100", "h200", "b200", "cpu"] | None = Field(
        None, description="card of each worker; None is h100 with train.use_gpu and cpu without"
    )
    gpus_per_node: Positive = 8
    host_memory_gib: Annotated[float, Field(gt=0)] = Field(1800.0, description="memory of a node")
    disk_gib: Annotated[float, Field(gt=0)] = Field(10_000.0, description="free space where base, data and checkpoints lie")
    blocks: Positive = Field(10_000, description="training blocks, where no prepared data is given (--in)")
    usd_per_gpu_hour: Annotated[float, Field(ge=0)] | None = Field(
        None, description="price of a card; None is the anchor in docs/planner.md"
    )


class QuantizeConfig(Section):
    """One servable artefact."""

    scheme: Literal["w8a8"] = Field("w8a8", description="compressed-tensors INT8 weights and activations")
    phrases: Annotated[int, Field(ge=0)] = Field(
        200, description="questions on which the answers before and after are compared; 0 leaves it out"
    )


class TerminologyConfig(Section):
    """Code sets and their search index."""

    code_set: Literal["icd10cm"] = "icd10cm"
    inclusion_terms: bool = Field(True, description="index the inclusion terms beside the titles")
    dense_weight: Share = Field(0.7, description="weight of the encoder's score against TF-IDF")
    leave_out: str | None = Field(
        None,
        description="JSONL of {phrase, code} that is measured: kept out of training with its categories; searches official titles alone",
    )


class CodingConfig(Section):
    """From a note to codes."""

    input: Literal["clean", "raw"] = Field("clean", description="raw reads PHI, inside the same trust zone, and must be named")
    setting: Literal["outpatient", "inpatient"] = "outpatient"
    candidates: Positive = Field(8, description="codes per mention that are offered to the choice")
    precision_target: Share = Field(0.9, description="a code at or above the confidence of this precision goes to auto")
    review_threshold: Share = Field(0.45, description="a code below this confidence is rejected: left out of the answer")


class ServeConfig(Section):
    """The Ray Serve application."""

    host: str = Field("127.0.0.1", description="address that the HTTP proxy binds to; it asks for no key, so keep it on loopback")
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    engine: Literal["auto", "laptop", "vllm"] = Field(
        "auto", description="what runs model.artefact; auto is vLLM where it is installed and a GPU holds the model, else laptop"
    )
    replicas: Positive = Field(1, description="copies of the coder and of the generator, each")
    model_name: str = Field("nosology", description="name of the generator under /v1/models and /v1/chat/completions")
    max_body_bytes: Positive = Field(4 << 20, description="a larger request is answered with 413")
    max_tokens: Positive = Field(512, description="most tokens of a chat answer, and the default")
    max_queued: Positive = Field(128, description="requests that may wait for a replica; more are answered with 429")
    request_timeout_seconds: Annotated[float, Field(gt=0)] = Field(120.0, description="a request without an answer by then gets 504")


class ClusterConfig(Section):
    """Where it runs."""

    address: str | None = Field(None, description="Ray address to join; None starts one on this machine for the run")
    num_cpus: Positive | None = Field(None, description="cores to use when starting one; None is all")
    batch_rows: Positive | None = Field(None, description="rows of one commit; None is 16 for a small job, up to 4,096 for a large one")
    stall_seconds: Annotated[float, Field(gt=0)] = Field(
        600.0,
        description="a worker in which nothing moves for so long is ended; the row (for ingest: the file) that does it is dead-lettered",
    )


class RunConfig(Section):
    """Behaviour of every run."""

    allowed_dead_share: Share = Field(1.0, description="exit 3 above this share of dead-lettered records")
    seed: int = 0


class Config(Section):
    """The whole tree. Functions take their own section, never this."""

    input: InputConfig = InputConfig()
    ingest: IngestConfig = IngestConfig()
    deid: DeidConfig = DeidConfig()
    proof: ProofConfig = ProofConfig()
    prepare: PrepareConfig = PrepareConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    plan: PlanConfig = PlanConfig()
    quantize: QuantizeConfig = QuantizeConfig()
    terminology: TerminologyConfig = TerminologyConfig()
    coding: CodingConfig = CodingConfig()
    serve: ServeConfig = ServeConfig()
    cluster: ClusterConfig = ClusterConfig()
    run: RunConfig = RunConfig()


def load(files: Sequence[str | Path] = (), overrides: Sequence[str] = ()) -> Config:
    """The resolved tree of some YAML files and `key.sub=value` overrides.

    `cluster:` may be the name of a YAML file (relative to the file that names it) with a `ClusterConfig`.

    Raises:
        ConfigError: unreadable file, unknown key (with the nearest name), or a value outside its rule.
    """
    tree: dict[str, Any] = {}
    for file in files:
        _merge(tree, _read(Path(file)))
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key:
            raise ConfigError(f"override {override!r}: expected key.sub=value")
        try:
            branch: Any = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigError(f"override {key}: the value is not YAML") from None
        for part in reversed(key.split(".")):
            branch = {part: branch}
        _merge(tree, branch)
    return _validated(tree)


def parse(text: bytes, name: str) -> Config:
    """The tree of a `config.yaml` that a run wrote.

    Raises:
        ConfigError: it is not what a run of this version writes.
    """
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"config file {name}: not YAML") from None
    return _validated(tree)


def _validated(tree: Any) -> Config:
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("; ".join(_explain(problem) for problem in error.errors())) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"config file {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        raise ConfigError(f"config file {path}{f', line {mark.line + 1}' if mark else ''}: not YAML") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"config file {path}: expected a mapping of sections, found {type(tree).__name__}")
    if isinstance(tree.get("cluster"), str):
        tree["cluster"] = _read(path.parent / tree["cluster"])
    return tree


def _merge(tree: dict[str, Any], other: Mapping[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(tree.get(key), dict):
            _merge(tree[key], value)
        else:
            tree[key] = value


def _explain(problem: Any) -> str:
    path = [str(part) for part in problem["loc"]]
    if problem["type"] != "extra_forbidden":
        return f"{'.'.join(path)}: {problem['msg'].removeprefix('Value error, ')}"
    section: type[BaseModel] = Config
    for part in path[:-1]:
        section = section.model_fields[part].annotation  # type: ignore[assignment]
    known = {key.rpartition(".")[2]: key for key, _ in flatten(Config())}
    near = difflib.get_close_matches(path[-1], section.model_fields, n=1)
    if path[-1] in known:
        hint = f"the nearest is {known[path[-1]]}"
    elif near:
        hint = f"the nearest is {'.'.join([*path[:-1], near[0]])}"
    elif found := difflib.get_close_matches(path[-1], known, n=1):
        hint = f"the nearest is {known[found[0]]}"
    else:
        hint = f"known here: {', '.join(section.model_fields)}"
    return f"{'.'.join(path)}: unknown key; {hint}"


def flatten(section: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value as JSON has it) of every leaf, in the order of the tree."""
    plain = section.model_dump(mode="json")
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", plain[name]
