# `make help` lists the targets. `make run` and `make test` do all the set-up themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.countenance-installed
EXTRA := $(VENV)/.countenance-standing-installed
NODE := tests/conformance/outsiders/ics23/node_modules/.package-lock.json
ARGS ?=
T ?= tests

.DEFAULT_GOAL := help
.PHONY: help standing run test check format bench accuracy conformance faults docs lock clean attributes

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 20

$(STAMP): requirements.lock requirements-attributes.lock pyproject.toml packages/audit/pyproject.toml scripts/setup.sh
	@PYTHON=$(PYTHON) VENV=$(VENV) bash scripts/setup.sh
	@touch $@

$(EXTRA): $(STAMP) requirements-standing.lock
	@VENV=$(VENV) bash scripts/setup_standing.sh
	@touch $@

standing: $(EXTRA) ## install the extra that screens parties (350 MB; compiles PyICU)

run: $(STAMP) ## start the server on http://127.0.0.1:8080, data in ./data (ARGS="--port 9000" for more)
	@exec $(BIN)/countenance serve $(ARGS)

$(NODE): tests/conformance/outsiders/ics23/package-lock.json
	@if command -v npm >/dev/null; then cd tests/conformance/outsiders/ics23 && npm ci --ignore-scripts --no-audit --no-fund; \
	else echo "npm is missing: tests that need it are skipped (apt-get install nodejs npm)" >&2; fi

test: $(EXTRA) $(NODE) ## run the tests (T=tests/unit/wire for some of them)
	$(BIN)/python -m pytest -m "not slow" $(T)

check: $(EXTRA) ## formatting, lint, types, import rules, generated docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/generate_docs.py --check

format: $(STAMP) ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(STAMP) ## write the generated pages under docs/reference
	$(BIN)/python scripts/generate_docs.py

accuracy: $(STAMP) ## verification accuracy on LFW View 1 and faces found against faces labelled
	$(BIN)/python scripts/accuracy.py $(ARGS)

attributes: $(STAMP) ## what is known of each attribute's error, and ms per face
	$(BIN)/python scripts/attributes.py $(ARGS)

conformance: $(STAMP) ## the wire against botocore, both ways, for every operation
	$(BIN)/python -m pytest tests/conformance

faults: $(STAMP) ## kill -9, power cuts, hostile bodies, memory: minutes
	$(BIN)/python -m pytest tests/faults -m "slow or not slow"

bench: $(EXTRA) ## speed and memory as ratios against peers in the same run: minutes
	@BIN=$(BIN) bash bench/setup.sh
	$(BIN)/python -m bench $(ARGS)

lock: ## renew the requirements*.lock from pyproject.toml, but that of attributes (needs uv)
	uv pip compile pyproject.toml --extra postgresql --group dev --universal --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-emit-package countenance-audit --no-header --no-annotate -o requirements.lock
	uv pip compile pyproject.toml --extra standing -c requirements.lock --universal --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-emit-package countenance-audit --no-header --no-annotate -o requirements-standing.lock
	uv pip compile pyproject.toml --extra postgresql --group build -c requirements.lock --universal --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-emit-package countenance-audit --no-header --no-annotate -o deploy/requirements.lock

clean: ## remove the environment and caches; ./data stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
