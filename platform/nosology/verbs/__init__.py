"""What each verb does: config and places in, report out. The command line, the job scripts and the demo call these.

archive  ingest, deidentify       models      prepare, train, quantize       coding  code       disclosure  reidentify
measures score, terms score       operations  status, doctor, submit, serve, demo
planning plan
upkeep   resume, deadletter list, show, retry, export, verify, gc, publish
"""

from nosology.verbs.archive import deidentify, ingest
from nosology.verbs.coding import code
from nosology.verbs.disclosure import reidentify
from nosology.verbs.measures import score, terms_score
from nosology.verbs.models import prepare, quantize, train
from nosology.verbs.operations import demo, doctor, serve, status, submit
from nosology.verbs.planning import plan
from nosology.verbs.upkeep import deadletter_export, deadletter_list, deadletter_retry, deadletter_show, gc, publish, resume, verify

__all__ = [
    "code", "deadletter_export", "deadletter_list", "deadletter_retry", "deadletter_show", "deidentify", "demo", "doctor", "gc", "ingest", "plan", "prepare", "publish", "quantize", "reidentify", "resume", "score", "serve", "status", "submit", "terms_score", "train", "verify",
]  # fmt: skip
