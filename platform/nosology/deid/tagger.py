"""The token classifier of the shipped adapter: a BERT-type encoder, a case-shape signal beside its uncased words, and a head.

Shapes: B texts, T tokens, C classes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import BertModel, BertPreTrainedModel

from nosology.deid.shapes import CLASSES, NUM_SHAPES
from nosology.errors import ModelError


class Tagger(BertPreTrainedModel):  # type: ignore[no-untyped-call]
    """Probabilities of `config.num_labels` classes for each token."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.bert = BertModel(config, add_pooling_layer=False)
        self.shapes = torch.nn.Embedding(NUM_SHAPES, config.hidden_size)
        self.dropout = torch.nn.Dropout(config.hidden_dropout_prob)
        self.classifier = torch.nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        shape_ids: torch.Tensor,
        position_ids: torch.Tensor | None = None,
        **unused: Any,
    ) -> torch.Tensor:
        """Logits (B, T, C) of tokens (B, T); the mask is (B, T) of real tokens, or (B, 1, T, T) of who looks at whom."""
        words_BTD = self.bert.embeddings.word_embeddings(input_ids) + self.shapes(shape_ids)
        states_BTD = self.bert(inputs_embeds=words_BTD, attention_mask=attention_mask, position_ids=position_ids).last_hidden_state
        logits_BTC: torch.Tensor = self.classifier(self.dropout(states_BTD))
        return logits_BTC


def new_tagger(encoder: Path) -> Tagger:
    """An encoder directory with a head that knows nothing yet.

    Raises:
        ModelError: the directory holds no BERT-type model.
    """
    from transformers import AutoConfig
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        kind = AutoConfig.from_pretrained(encoder, local_files_only=True).model_type
    except (OSError, ValueError) as error:
        raise ModelError(f"{encoder} holds no transformers model") from error
    if kind != "bert":
        raise ModelError(f"{encoder} is of type {kind}; the tagger takes a BERT-type encoder")
    module: Tagger = Tagger.from_pretrained(
        encoder,
        num_labels=len(CLASSES),
        id2label=dict(enumerate(CLASSES)),
        label2id={c: i for i, c in enumerate(CLASSES)},
        local_files_only=True,
    )
    return module
