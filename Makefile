# Everything works from a fresh clone; all that is needed is Python 3.11 or newer and make. `make help` lists it.

PYTHON ?= python3
STORE ?= seaweedfs
UV ?= uv

BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help run test lint bench fuzz target lock clean

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

run: $(READY) ## start Postgres, a store and the gateway here; state in var/, Ctrl-C ends it
	@exec $(BIN)/bucketwarden demo

test: lint ## lint, then the whole suite; the last lines say which lanes ran
	$(BIN)/python -m pytest --durations=10

lint: $(READY) ## style, types, directions of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY) ## the gateway beside its store and a plain proxy, in one run
	$(BIN)/python bench/run.py

fuzz: $(READY) ## every parser against generated input, for a bounded time
	$(BIN)/python -m pytest tests/fuzz

target: $(READY) ## serve with fixture keys for an outside judge: STORE=seaweedfs, rgw or minio
	@exec $(BIN)/python -m tests.target $(STORE)

lock: ## resolve the dependencies of pyproject.toml anew (needs uv)
	$(UV) pip compile -q --universal --generate-hashes --no-annotate --custom-compile-command 'make lock' \
		pyproject.toml -o requirements.lock
	echo 'hatchling editables' | tr ' ' '\n' | $(UV) pip compile -q --universal --generate-hashes --no-annotate \
		--custom-compile-command 'make lock' --extra embedded --group dev -c requirements.lock \
		pyproject.toml - -o requirements-dev.lock

clean: ## remove what was installed and cached, not var/
	rm -rf .venv .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The file is made last: an installation that was interrupted is begun again.
$(READY): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'Python 3.11 or newer is needed: make PYTHON=/path/to/python3'; exit 1; }
	@echo 'Installing into .venv (about 150 MB the first time) ...'
	@$(PYTHON) -m venv .venv || { echo "$(PYTHON) cannot make virtual environments (Debian: apt install python3-venv)"; exit 1; }
	$(BIN)/pip install --disable-pip-version-check --require-hashes --no-deps -r requirements-dev.lock
	$(BIN)/pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --no-index --editable .
	@touch $@
