from __future__ import annotations

from collections.abc import Callable

import pytest
from nosology.coding.coder import Coder
from nosology.config import CodingConfig, TerminologyConfig
from nosology.engines.encoder import load_encoder
from nosology.terminology.codeset import code_set
from nosology.terminology.index import Index, build_index

CATEGORIES = frozenset({"I10", "M17", "E11", "M25", "N20", "S52"})


@pytest.fixture(scope="session")
def index() -> Index:
    """A small index: vectors for a few categories, n-grams for all codes."""
    encoder = load_encoder(None)
    return Index(build_index(code_set(), encoder, only=CATEGORIES), code_set(), encoder, TerminologyConfig())


@pytest.fixture(scope="session")
def make_coder(index: Index) -> Callable[..., Coder]:
    def make(engine: object = None, **options: object) -> Coder:
        return Coder(CodingConfig(**options), TerminologyConfig(), engine, index=index)  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def coder(make_coder: Callable[..., Coder]) -> Coder:
    return make_coder()
