"""What each verb does: config and places in, report out. The command line, the job scripts and the demo call these.

archive  ingest, deidentify       models      prepare, train, quantize       coding  code
measures score, terms score       operations  status, doctor, submit, serve, demo
"""

from nosology.verbs.archive import deidentify, ingest
from nosology.verbs.coding import code
from nosology.verbs.measures import score, terms_score
from nosology.verbs.models import prepare, quantize, train
from nosology.verbs.operations import demo, doctor, serve, status, submit

__all__ = [
    "code", "deidentify", "demo", "doctor", "ingest", "prepare", "quantize", "score", "serve", "status", "submit", "terms_score", "train",
]  # fmt: skip
