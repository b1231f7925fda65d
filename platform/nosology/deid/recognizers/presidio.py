"""Presidio's recognizers for the United States and health care, run in its AnalyzerEngine without a language model.

Traps met here: `spacy.blank` gives no lemmas, so context words would stop working (`_Blank` sets them); the URL and e-mail
recognizers fetch the public suffix list from the network (ours stand in for them); context words match as whole words, or
"lic" in "duplicate" would make a licence.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from nosology.records import Span

# Presidio's entity -> Safe Harbor class
CLASSES = {
    "US_SSN": "SSN",
    "US_ITIN": "ID",
    "US_MBI": "BENEFICIARY",
    "US_NPI": "LICENSE",
    "MEDICAL_LICENSE": "LICENSE",
    "US_DRIVER_LICENSE": "LICENSE",
    "US_PASSPORT": "LICENSE",
    "US_BANK_NUMBER": "ACCOUNT",
    "ABA_ROUTING_NUMBER": "ACCOUNT",
    "US_HEALTH_INSURANCE_MEMBER_ID": "BENEFICIARY",
    "US_PRIOR_AUTHORIZATION_NUMBER": "ACCOUNT",
    "US_CLAIM_NUMBER": "ACCOUNT",
    "US_PRESCRIPTION_NUMBER": "ACCOUNT",
    "US_REFERRAL_NUMBER": "ACCOUNT",
    "US_PROVIDER_TAX_ID": "LICENSE",
    "CREDIT_CARD": "ACCOUNT",
    "CRYPTO": "ACCOUNT",
    "PHONE_NUMBER": "PHONE",
}
THRESHOLD = 0.4


class Presidio:
    """One AnalyzerEngine; a weak pattern counts only with its context word before it."""

    name = "presidio"

    def __init__(self) -> None:
        logging.getLogger("presidio-analyzer").setLevel(logging.ERROR)  # its warnings quote the text
        from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
        from presidio_analyzer import predefined_recognizers as theirs
        from presidio_analyzer.context_aware_enhancers import LemmaContextAwareEnhancer

        recognizers = [
            theirs.UsSsnRecognizer(),
            theirs.UsItinRecognizer(),
            theirs.UsMbiRecognizer(),
            theirs.UsNpiRecognizer(),
            theirs.MedicalLicenseRecognizer(),
            theirs.UsLicenseRecognizer(),
            theirs.UsPassportRecognizer(),
            theirs.UsBankRecognizer(),
            theirs.AbaRoutingRecognizer(),
            theirs.UsHealthInsuranceMemberIdRecognizer(),
            theirs.UsPriorAuthorizationNumberRecognizer(),
            theirs.UsClaimNumberRecognizer(),
            theirs.UsPrescriptionNumberRecognizer(),
            theirs.UsReferralNumberRecognizer(),
            theirs.UsProviderTaxIdRecognizer(),
            theirs.CreditCardRecognizer(),
            theirs.CryptoRecognizer(),
            theirs.PhoneRecognizer(supported_regions=("US",)),
        ]
        registry = RecognizerRegistry(recognizers=recognizers, supported_languages=["en"])
        self._engine = AnalyzerEngine(
            registry=registry,
            nlp_engine=_blank(),
            supported_languages=["en"],
            context_aware_enhancer=LemmaContextAwareEnhancer(context_matching_mode="whole_word"),
            default_score_threshold=THRESHOLD,
        )

    def find(self, text: str) -> Iterator[Span]:
        """Spans of at least the threshold, bounded by characters that are no letter or digit."""
        for found in self._engine.analyze(text=text, language="en"):
            start, end = found.start, found.end
            inside_word = (start and text[start - 1].isalnum() and text[start].isalnum()) or (
                end < len(text) and text[end - 1].isalnum() and text[end].isalnum()
            )
            if not inside_word and any(c.isdigit() for c in text[start:end]):
                yield Span(start=start, end=end, label=CLASSES[found.entity_type], score=float(found.score), source=self.name)


def _blank() -> Any:
    """A Presidio NLP engine that only cuts words; a word's lemma is its lower-case form."""
    import spacy
    from presidio_analyzer.nlp_engine import NlpArtifacts, NlpEngine

    class Blank(NlpEngine):
        def __init__(self) -> None:
            self._nlp = spacy.blank("en")
            self._nlp.max_length = 1 << 28

        def load(self) -> None:
            """Nothing to load."""

        def is_loaded(self) -> bool:
            return True

        def process_text(self, text: str, language: str) -> Any:
            words = self._nlp.make_doc(text)
            for word in words:
                word.lemma_ = word.lower_
            return NlpArtifacts(
                entities=[],
                tokens=words,
                tokens_indices=[w.idx for w in words],
                lemmas=[w.lemma_ for w in words],
                nlp_engine=self,
                language=language,
            )

        def process_batch(
            self, texts: Any, language: str, batch_size: int = 1, n_process: int = 1, **options: Any
        ) -> Iterator[tuple[str, Any]]:
            for text in texts:
                yield text, self.process_text(text, language)

        def is_stopword(self, word: str, language: str) -> bool:
            return bool(self._nlp.vocab[word].is_stop)

        def is_punct(self, word: str, language: str) -> bool:
            return bool(self._nlp.vocab[word].is_punct)

        def get_supported_entities(self) -> list[str]:
            return []

        def get_supported_languages(self) -> list[str]:
            return ["en"]

    return Blank()
