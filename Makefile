# Everything that a developer or CI runs. Each target sets up what it needs: `make demo` works in a fresh clone.

# A distribution's Python is built with profiles of its use; one that was compiled by hand mostly is not, and a third slower.
PYTHON ?= $(shell /usr/bin/python3 -c 'import sys, venv; print("/usr/bin/python3" if sys.version_info >= (3, 11) else "python3")' 2>/dev/null || echo python3)
# One more than the cores of CI: many tests wait for processes and pauses.
WORKERS ?= 3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python $(wildcard third_party/pip/*.whl)/pip --disable-pip-version-check
PROTOS := $(shell find protos third_party -name '*.proto')
# uv brings its own list of authorities; a proxy's is known to the system alone.
export UV_SYSTEM_CERTS ?= 1
# Where nothing compiled is kept, each start of a node compiles all its libraries anew: 2.1 s instead of 0.8.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup stubs demo test test-slow nightly check lint types contract imports coverage docs format lock clean
.DELETE_ON_ERROR:

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.ok ## Make .venv with the locked dependencies and the generated stubs

# pip comes with the sources: Debian's Python has none to put into a virtual environment. It brings uv, which installs in a
# tenth of pip's time; where uv reaches no registry of its own accord, pip knows this machine's settings.
$(VENV)/.locked: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit("jukinet needs Python 3.11 or newer: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv --clear --without-pip $(VENV)
	awk '/^[a-z]/ {uv = /^uv==/} uv' requirements.lock > $(VENV)/uv.lock
	$(PIP) install --quiet --require-hashes -r $(VENV)/uv.lock
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes --build-constraints requirements.lock -r requirements.lock \
	  || $(PIP) install --quiet --require-hashes -r requirements.lock
	touch $@

$(VENV)/.ok: $(VENV)/.locked pyproject.toml hatch_build.py $(PROTOS)
	$(BIN)/uv pip install --quiet --offline --no-cache --python $(BIN)/python --no-deps --no-build-isolation --reinstall -e .
	touch $@

stubs: setup ## Generate jukinet/_pb from protos/ again
	$(BIN)/python hatch_build.py

demo: setup ## Run the network on this machine and check what it promises
	$(BIN)/jukinet demo

test: setup ## Run the tests, except the slow ones
	$(BIN)/pytest -n $(WORKERS) -m 'not slow and not nightly'

test-slow: setup ## Run the slow tests
	$(BIN)/pytest -n $(WORKERS) -m slow

# A part whose result lies in .run is not run again: what was interrupted goes on where it was.
nightly: setup ## Run the campaigns that take many minutes, but for the parts that were run
	mkdir -p .run
	$(BIN)/pytest -n $(WORKERS) -m nightly; status=$$?; $(BIN)/python -m tests.nightly; exit $$status
	$(BIN)/jukinet simulate --seeds 20000 --results .run/simulate.jsonl --minutes 110

check: lint types imports contract coverage test-slow ## All that CI demands: style, types, layers, contract, all tests with coverage

lint: setup ## Check style
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --quiet --diff .

types: setup ## Check types
	$(BIN)/mypy

imports: setup ## Check that each layer imports only from those below it
	$(BIN)/lint-imports --no-cache --no-logo

# Compared with every state that the contract has had since the last break by intention, so that no step in between is missed.
contract: setup ## Check the protos: style, layout, and that they break nothing that was there
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code
	@since=$$(git log -1 --first-parent --format=%H -- protos/breaks.md) || exit 1; \
	git diff --quiet HEAD -- protos/breaks.md || { echo 'buf breaking: protos/breaks.md is not committed, so nothing is compared'; exit 0; }; \
	before=$$(mktemp -d); trap 'rm -rf "$$before"' EXIT; \
	for commit in $$since $$(git rev-list --first-parent "$$since..HEAD" -- protos); do \
	  echo "buf breaking --against $$commit"; \
	  mkdir "$$before/$$commit" && git archive "$$commit" -- buf.yaml protos third_party | tar -x -C "$$before/$$commit" || exit 1; \
	  $(BIN)/buf breaking --against "$$before/$$commit" || exit 1; \
	done

coverage: setup ## Run the tests and measure branch coverage
	$(BIN)/pytest -n $(WORKERS) -m 'not slow and not nightly' --cov --cov-report=term

docs: setup ## Check that the documentation says what the program does
	$(BIN)/pytest tests/docs

format: setup ## Lay out the sources and the protos
	$(BIN)/ruff check --quiet --fix .
	$(BIN)/ruff format --quiet .
	$(BIN)/buf format --write

lock: setup ## Resolve the dependencies of pyproject.toml anew, for every platform and Python 3.11 to 3.13
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --group dev --generate-hashes --no-header --no-annotate \
	  --no-emit-index-url --no-emit-find-links --upgrade pyproject.toml --output-file requirements.lock

clean: ## Remove all that was built
	rm -rf $(VENV) jukinet/_pb jukinet/_pb.* dist .coverage .coverage.* htmlcov .mypy_cache .pytest_cache .ruff_cache .hypothesis
