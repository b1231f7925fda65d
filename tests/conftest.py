"""What several folders of tests share: the environment that Ray reads when a test imports it, and a tiny generator made by the
product's own script."""

from __future__ import annotations

import sys
from pathlib import Path

import hypothesis
import pytest
from nosology.distributed.session import prepare_environment

prepare_environment()
hypothesis.settings.register_profile("steady", deadline=None)  # how long an example takes depends on who else runs
hypothesis.settings.load_profile("steady")
sys.path.insert(0, str(Path(__file__).parent))  # fixed_key

TITLES = [
    "Type 2 diabetes mellitus without complications", "Essential (primary) hypertension", "Acute pain in the left knee",
    "Asthma, unspecified",
]  # fmt: skip


@pytest.fixture(scope="session")
def generator(tmp_path_factory: pytest.TempPathFactory) -> str:
    import torch
    from nosology.training.generator import make_generator

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("generator")
    make_generator(TITLES * 3, folder, 0, width=64, layers=2, warm_steps=2)
    return str(folder)
