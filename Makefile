# Everything here works from nothing but Python 3.11+, git and make: targets that need the environment make it first.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The first Python on the path that is new enough; `make setup PYTHON=/path/to/python3.12` names another.
PYTHON ?= $(or $(shell for each in python3 python3.13 python3.12 python3.11; do \
	"$$each" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo "$$each" && break; done),python3)
BIN := .venv/bin
# Tests run in so many processes; TESTS names what to run: make test TESTS=tests/models
JOBS ?= 2
TESTS ?= tests

# Bytecode is written, whatever the shell says: without it every start pays for compiling its imports again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo serve test check lint types contracts bench soak chaos migration openapi lock clean

help:  ## Show this list
	@sed -nE 's/^([a-z]+):[^#]*## (.*)$$/  make \1|\2/p' $(firstword $(MAKEFILE_LIST)) | column -t -s '|'

setup:  ## Make .venv with the locked packages and modelyard itself; instant when it is up to date
	@"$(PYTHON)" scripts/setup.py

demo: setup  ## Train, update, deploy and predict with the official SDK against a server of its own
	@$(BIN)/modelyard demo

serve: setup  ## Start the gateway and an agent, with state under MODELYARD_HOME (default ~/.modelyard)
	@$(BIN)/modelyard serve

test: setup  ## Run the tests (TESTS=tests/models for a part, JOBS=4 for more processes)
	@$(BIN)/pytest -n $(JOBS) --dist loadgroup $(TESTS)

check: lint types contracts  ## Run lint, types and contracts

lint: setup  ## Check style and format with ruff
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

types: setup  ## Check types with mypy, strictly
	@$(BIN)/mypy

contracts: setup  ## Check which room imports which, with import-linter
	@$(BIN)/lint-imports --no-logo

bench: setup  ## Run the benchmarks, one after the other, and print their ratios
	@$(BIN)/python -m benchmarks

soak: setup  ## Ten minutes of predictions while versions are switched and replicas end; counts what was lost
	@$(BIN)/python -m benchmarks.soak

chaos: setup  ## Five minutes of everything at once while whatever runs is killed with signal 9; counts what was lost
	@$(BIN)/python -m benchmarks.chaos

migration: setup  ## Write the migration that leads from nothing to the tables of today
	@$(BIN)/python -m modelyard.database.migrations.generate --initial

openapi: setup  ## Write docs/openapi.json from the actions, and docs/configuration.md from the settings
	@$(BIN)/modelyard openapi > docs/openapi.json
	@$(BIN)/python -m modelyard.cli.settings_table > docs/configuration.md

# Resolved by uv's own index (the public one unless UV_DEFAULT_INDEX says otherwise), so that the hashes of every
# platform's files are there; a mirror that holds a few files would make a lock for those alone.
# Pins are kept where they still fit: delete a lock, or pass UPGRADE=--upgrade, to move to the newest.
UPGRADE ?=
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-emit-find-links --no-header --no-annotate $(UPGRADE) pyproject.toml
lock: setup  ## Resolve the dependencies again, into requirements/dev.lock and requirements/run.lock
	@$(COMPILE) --extra dev --output-file requirements/dev.lock
	@$(COMPILE) --constraints requirements/dev.lock --output-file requirements/run.lock

clean:  ## Remove .venv and every cache
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
