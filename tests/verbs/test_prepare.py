"""What `prepare` refuses, and what it leaves beside the blocks."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from nosology import verbs
from nosology.config import Config, ModelConfig
from nosology.errors import ConfigError


def test_a_base_without_a_chat_template_is_refused_and_leaves_nothing(generator: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    base = tmp_path / "base"
    shutil.copytree(generator, base)
    tokenizer = AutoTokenizer.from_pretrained(generator)
    tokenizer.chat_template = None
    (base / "chat_template.jinja").unlink(missing_ok=True)
    tokenizer.save_pretrained(base)
    with pytest.raises(ConfigError, match="no chat template"):
        verbs.prepare(Config(model=ModelConfig(base=str(base))), [], None, str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
