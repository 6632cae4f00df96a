# `make test`, `make lint` ... on a fresh machine: each first brings the environment up to date.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
MILVUS_VENV ?= $(VENV)/milvus-server

.PHONY: help setup setup-dev setup-milvus dashboard demo test test-quick test-lowest attack lint mutants \
	docs pictures notebooks format clean

help:
	@echo "make dashboard  the dashboard in a browser, with something to show"
	@echo "make demo       the same in the terminal"
	@echo "make setup      an environment in $(VENV) with what users need"
	@echo "make test       the tests (also sets up what they need)"
	@echo "make test-quick  those that take minutes rather than an hour"
	@echo "make test-lowest  quick tests with the oldest versions that are allowed"
	@echo "make lint       style, types and the order of the rooms"
	@echo "make docs       the documentation as a site, in site/"
	@echo "make pictures   the pictures of the documentation, from the running dashboard"
	@echo "make notebooks  what the notebooks of the documentation show"
	@echo "make mutants    which changes to the code no test notices"
	@echo "make clean      remove the environment"

# The stamps hold the time of the last installation: nothing is done while they are newer.
$(VENV)/.users: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; name one with PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@

$(VENV)/.developers: requirements-dev.txt requirements-distributed.txt requirements-mteb.txt $(VENV)/.users
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	@touch $@

# A real Milvus server from its package; it needs an environment of its own.
$(VENV)/.milvus: $(VENV)/.users
	$(PYTHON) -m venv $(MILVUS_VENV)
	$(MILVUS_VENV)/bin/python -m pip install --quiet "setuptools<81" milvus==2.3.5
	@touch $@

setup: $(VENV)/.users

setup-dev: $(VENV)/.developers

setup-milvus: $(VENV)/.milvus

dashboard: setup
	$(BIN)/python -m mmrag dashboard $(ARGS)

demo: setup
	$(BIN)/python -m mmrag demo $(ARGS)

test: setup-dev setup-milvus
	MMRAG_TEST_MILVUS=$(abspath $(MILVUS_VENV))/bin/python $(BIN)/python -m pytest $(ARGS)

# The oldest versions that requirements.txt allows, in an environment of their own, and quick tests.
# It has only what these tests need: some tools of developers want newer libraries.
LOWEST = $(VENV)/lowest
LOWEST_TOOLS = pytest pytest-timeout pytest-xdist hypothesis jsonschema pyyaml "moto[server]"
LOWEST_TESTS ?= tests/test_shipped.py tests/test_runs.py tests/test_index.py tests/test_grid.py \
	tests/test_vision_model.py tests/test_statistics.py

$(LOWEST)/.installed: requirements.txt requirements-distributed.txt $(VENV)/.users
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv venv --quiet --clear $(LOWEST)
	$(BIN)/uv pip compile --quiet --python $(LOWEST)/bin/python --resolution lowest-direct \
		requirements.txt requirements-distributed.txt --output-file $(LOWEST)/versions.txt
	$(BIN)/uv pip install --quiet --python $(LOWEST)/bin/python -r $(LOWEST)/versions.txt \
		$(LOWEST_TOOLS)
	@touch $@

test-lowest: $(LOWEST)/.installed
	$(LOWEST)/bin/python -m pytest -p no:cacheprovider $(LOWEST_TESTS) $(ARGS)

# The attacking tests with more rounds: `make attack ARGS="--times 10 --seed 1"`.
attack: setup-dev setup-milvus
	MMRAG_TEST_MILVUS=$(abspath $(MILVUS_VENV))/bin/python \
		$(BIN)/python -m tests.attack --out docs/attack.md $(ARGS)

test-quick: setup-dev
	$(BIN)/python -m pytest -n 2 -m "not browser and not server and not faults and not slow" $(ARGS)

lint: setup-dev
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/lint-imports --no-cache

docs: setup-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

# Those of the documents; a test says when they are older than what they show.
pictures: setup-dev
	$(BIN)/python -m tests.browser.pictures

notebooks: setup-dev
	$(BIN)/python -m tests.notebooks

# Hours for all rooms; ARGS="metrics" takes one, ARGS="--sample 200 --minutes 10" some of all.
mutants: setup-dev
	$(BIN)/python -m tests.mutants
	$(BIN)/python -m tests.mutation $(ARGS)

format: setup-dev
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

clean:
	rm -rf $(VENV)
