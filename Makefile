# Turnpike. `make run` shows it working, `make test` proves it.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

help:  ## What can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## */  \1\t/' | expand -t 16

# ---- the environment -------------------------------------------------------------------------------------------------
$(VENV)/pyvenv.cfg:
	$(PYTHON) -m venv $(VENV)

# The locks are complete and hash-checked, so pip resolves nothing (--no-deps) and fetches nothing that they do not name
# (--no-build-isolation). The stamp holds what was installed: a touched but unchanged lock installs nothing again.
LOCKS := requirements.lock requirements-model.lock
$(INSTALLED): $(LOCKS) pyproject.toml | $(VENV)/pyvenv.cfg
	@if ! cat $^ | sha256sum | cmp -s - $(INSTALLED); then \
	  $(BIN)/pip install --disable-pip-version-check --no-deps --require-hashes $(LOCKS:%=-r %) && \
	  $(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e . ; fi
	@cat $^ | sha256sum > $(INSTALLED)

install: $(INSTALLED)  ## The virtual environment with exactly what requirements.lock names

COMPILE := $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url -q
lock:  ## Resolve pyproject.toml into requirements.lock, and its part that runs in production; install the first
	$(COMPILE) --extra local --group dev -o requirements.lock
	$(COMPILE) --group build -c requirements.lock --no-annotate -o requirements-runtime.lock
	$(BIN)/uv pip sync -q $(LOCKS)
	$(BIN)/uv pip install -q --no-deps -e .
	@cat $(LOCKS) pyproject.toml | sha256sum > $(INSTALLED)

# ---- the stack on this machine -----------------------------------------------------------------------------------------
run: $(INSTALLED)  ## Everything, with a demo tenant and a first question; ONCE=1 stops after the answer
	@$(BIN)/turnpike up --demo $(if $(ONCE),--once)

up: $(INSTALLED)  ## Everything, without a demo
	@$(BIN)/turnpike up

clean:  ## Delete the virtual environment; the stack's data stay until `turnpike reset`
	rm -rf $(VENV)

# ---- contracts -------------------------------------------------------------------------------------------------------
gen: $(INSTALLED)  ## Generate gen/ from protos/
	$(BIN)/python tools/generate_stubs.py

baseline: $(INSTALLED)  ## Take the protos as they are as the baseline of frozen packages
	$(BIN)/buf build protos -o protos/baseline.binpb

breaking: $(INSTALLED)  ## Compare frozen packages with the committed baseline
	@frozen=$$(grep -v '^#' protos/frozen.txt | sed '/^\s*$$/d; s|^|--path |'); \
	if [ -n "$$frozen" ]; then \
	  $(BIN)/buf build protos -o - | $(BIN)/buf breaking - --against protos/baseline.binpb $$frozen; fi

# ---- the house -------------------------------------------------------------------------------------------------------
lint: $(INSTALLED) breaking  ## Protos, style and import directions
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code protos
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

format: $(INSTALLED)  ## Write protos and Python in the house's form
	$(BIN)/buf format -w protos
	$(BIN)/ruff check --fix-only -q .
	$(BIN)/ruff format .

types: $(INSTALLED)  ## mypy --strict over everything we wrote
	$(BIN)/mypy services tests tools bench clients/python/turnpike_client

# ---- proof -----------------------------------------------------------------------------------------------------------
PYTEST := $(BIN)/python -m pytest
WORKERS ?= 2

test: $(INSTALLED)  ## What a change must pass: style, types, contracts, and every test that is not slow
	$(MAKE) --no-print-directory lint types
	$(PYTEST) -n $(WORKERS) --dist loadscope -m "not long and not chaos and not bench"

test-long: $(INSTALLED)  ## The tests that take minutes each
	$(PYTEST) -m long

RECORDINGS ?= ../shared/recordings
replay: $(INSTALLED)  ## Hold the adapters against recorded vendor traffic: make replay RECORDINGS=FOLDER
	$(BIN)/python -m tests.contract.providers.replay $(RECORDINGS)

KILLS ?= 300
SEED ?= 1
chaos: $(INSTALLED)  ## Kill and stop real processes, and look whether the ledger is still right: KILLS=300 SEED=1
	$(BIN)/python -m tests.chaos.budget --kills $(KILLS) --seed $(SEED) $(CHAOS)

race: $(INSTALLED)  ## 2,000 callers over three replicas fight for a million holds: RACE="--holds 100000 --seconds 600"
	$(BIN)/python -m tests.chaos.budget.race $(RACE)

chaos-fallback: $(INSTALLED)  ## Vendors stall, cut, limit and fail under load; whoever can be served must be: CHAOS="--seconds 300 --seed 2"
	$(BIN)/python -m tests.chaos.fallback $(CHAOS)

bench: $(INSTALLED)  ## What a request costs on the whole road, beside a gRPC echo and other gateways
	$(BIN)/python -m bench.road $(BENCH)

bench-adapters: $(INSTALLED)  ## What adapters cost beside the raw HTTP client and the vendors' SDKs; streams one core relays
	$(BIN)/python -W ignore -m bench.adapters
	$(BIN)/python -m bench.relay

bench-routing: $(INSTALLED)  ## Routing quality with every control, natural prompts, drift, cost of deciding: BENCH="--quick"
	$(BIN)/python -m bench.routing $(BENCH)

scenario: $(INSTALLED)  ## Four applications through an outage, a price and a new model, before and after: SCENARIO="--seconds 60"
	$(BIN)/python -m bench.scenario $(SCENARIO)

bench-budget: $(INSTALLED)  ## Pairs of hold and commit through the budget service: BENCH="--seconds 8"
	$(BIN)/python -m bench.budget $(BENCH)

.PHONY: run up clean help install lock gen baseline breaking lint format types test test-long replay chaos race chaos-fallback bench bench-adapters bench-routing bench-budget scenario
