"""One configuration tree. Defaults live here; a YAML file holds only what differs; unknown keys are refused with the nearest name.

Order of precedence: defaults, then each file in turn, then `key.sub=value` on the command line.
A string `${NAME}` anywhere is the value of that environment variable.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]


def home() -> Path:
    """Where models and indexes that belong to the installation lie: `NOSOLOGY_HOME`, else `share/nosology` of the environment."""
    return Path(os.environ.get("NOSOLOGY_HOME") or Path(sys.prefix) / "share" / "nosology")


class Section(BaseModel):
    """A part of the tree: immutable, closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class InputConfig(Section):
    """Columns of a user's own table (JSONL, CSV, Parquet)."""

    text_column: str = Field("text", description="column that holds the note")
    id_column: str = Field("id", description="column that identifies the row in outputs")


class IngestConfig(Section):
    """Reading of archives."""

    max_document_bytes: Positive = Field(4 << 20, description="a note above this size (UTF-8 bytes) is dead-lettered")


class DeidConfig(Section):
    """De-identification (45 CFR 164.514(b)(2), Safe Harbor)."""

    policy: Literal["safe_harbor"] = "safe_harbor"
    ner: str | None = Field(None, description="directory of a token-classification model; None is the shipped tagger on the local encoder")
    threshold: Share = Field(0.85, description="least probability at which the model's span counts")
    rewrite: Literal["tags", "mask", "surrogates"] = Field("tags", description="what stands in the place of an identifier")
    dates: Literal["year", "shift"] = Field("year", description="cut dates to the year, or shift them by a secret number of days per patient")
    key_file: str | None = Field(None, description="file with the secret for pseudonyms and date shifts; None makes one for the run, outside its outputs")


class PrepareConfig(Section):
    """From records to training blocks."""

    template: Literal["alpaca", "chatml", "model"] = Field("model", description="how a prompt is written; model is the base model's chat template")
    context_tokens: Positive = Field(512, description="tokens in a packed block")
    validation_share: Share = 0.05
    test_share: Share = 0.1
    near_duplicate: Share = Field(0.9, description="Jaccard similarity of word shingles from which two examples count as the same")
    candidates: Positive = Field(8, description="codes offered in a choose_code question")


class ModelConfig(Section):
    """Models, by directory."""

    base: str | None = Field(None, description="directory of the generator that is trained (Llama architecture)")
    adapter: str | None = Field(None, description="directory of a LoRA adapter on it")
    artefact: str | None = Field(None, description="directory of a quantized artefact to serve; None codes with the encoder heads alone")
    encoder: str | None = Field(None, description="directory of the encoder; None is the local all-MiniLM-L6-v2")


class TrainConfig(Section):
    """Fine-tuning."""

    objective: Literal["generate", "tag", "retrieve"] = "generate"
    method: Literal["lora", "full"] = "lora"
    rank: Positive = 16
    alpha: Positive = 32
    zero: Annotated[int, Field(ge=0, le=3)] = Field(0, description="DeepSpeed ZeRO stage")
    offload: bool = Field(False, description="optimizer state (and parameters at stage 3) in host memory")
    epochs: Positive = 1
    max_steps: Positive | None = None
    batch_size: Positive = Field(8, description="blocks or rows per worker and step")
    learning_rate: Annotated[float, Field(gt=0)] = 2e-4
    warmup_share: Share = 0.05
    precision: Literal["fp32", "bf16"] = "bf16"
    checkpoint_steps: Positive = 50
    workers: Positive = Field(2, description="training processes")
    use_gpu: bool = False
    seed: int = 0


class QuantizeConfig(Section):
    """One servable artefact."""

    scheme: Literal["w8a8"] = Field("w8a8", description="compressed-tensors INT8 weights and activations")


class TerminologyConfig(Section):
    """Code sets and their search index."""

    code_set: Literal["icd10cm"] = "icd10cm"
    inclusion_terms: bool = Field(True, description="index the inclusion terms beside the titles")
    dense_weight: Share = Field(0.7, description="weight of the encoder's score against TF-IDF")
    leave_out: str | None = Field(None, description="JSONL of {phrase, code}: kept out of the index and of training, with their categories")


class CodingConfig(Section):
    """From a note to codes."""

    input: Literal["clean", "raw"] = Field("clean", description="raw reads PHI, inside the same trust zone, and must be named")
    setting: Literal["outpatient", "inpatient"] = "outpatient"
    candidates: Positive = Field(8, description="codes per mention that are offered to the choice")
    precision_target: Share = Field(0.9, description="a code at or above the confidence of this precision goes to auto")
    review_threshold: Share = Field(0.25, description="a code below this confidence is rejected")


class ServeConfig(Section):
    """The Ray Serve application."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    replicas: Positive = 1


class ClusterConfig(Section):
    """Where it runs."""

    address: str | None = Field(None, description="Ray address to join; None starts one on this machine for the run")
    num_cpus: Positive | None = Field(None, description="cores to use when starting one; None is all")
    batch_rows: Positive = Field(16, description="rows of one commit")


class RunConfig(Section):
    """Behaviour of every run."""

    allowed_dead_share: Share = Field(1.0, description="exit 3 above this share of dead-lettered records")
    seed: int = 0


class Config(Section):
    """The whole tree. Functions take their own section, never this."""

    input: InputConfig = InputConfig()
    ingest: IngestConfig = IngestConfig()
    deid: DeidConfig = DeidConfig()
    prepare: PrepareConfig = PrepareConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    quantize: QuantizeConfig = QuantizeConfig()
    terminology: TerminologyConfig = TerminologyConfig()
    coding: CodingConfig = CodingConfig()
    serve: ServeConfig = ServeConfig()
    cluster: ClusterConfig = ClusterConfig()
    run: RunConfig = RunConfig()


