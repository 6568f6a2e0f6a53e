# All commands of this repository, for people and for CI. `make help` lists the targets.
.DEFAULT_GOAL := help
.SHELLFLAGS := -eu -o pipefail -c
SHELL := bash
MAKEFLAGS += --no-print-directory --warn-undefined-variables

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
CONTEXT ?=
# Arguments for the demo: make demo DEMO_ARGS="--name other --down"
DEMO_ARGS ?=
# Arguments of the fault injection campaign: make fault-injection FAULT_ARGS="--one-in 20 --seed 3"
FAULT_ARGS ?=
# Arguments of the table of refused calls: make refused-calls REFUSED_ARGS="--only fsync"
REFUSED_ARGS ?=
# Duration and arguments of the stateful test: make stateful-test MINUTES=60 STATEFUL_ARGS="--seed 7 --steps 100"
MINUTES ?= 10
STATEFUL_ARGS ?=
# Folders and arguments for pytest: make test TESTS=tests/api ARGS="-k restore -x"
TESTS ?=
ARGS ?=
SLOW ?=
# Parallel workers of make test. On two cores, two would leave the processors idle for a third of the time.
WORKERS ?= 3

STAMP := $(VENV)/.installed-from-lock
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check
# Installs the lock in 10 seconds, for which pip needs 50. It does not read pip's configuration: if it fails, pip follows.
UV := $(BIN)/uv pip install -q --native-tls --python $(BIN)/python
COMPILE := $(BIN)/uv pip compile -q --universal --generate-hashes --no-annotate --no-header --python-version 3.11

##@ Start here
.PHONY: demo
demo: $(STAMP) ## Back up, break and restore a real gateway on a real cluster (CONTEXT=name: on an existing cluster)
	$(BIN)/python -m tests.demo run $(if $(CONTEXT),--context $(CONTEXT)) $(DEMO_ARGS)

.PHONY: test
test: $(STAMP) ## Run all tests that this machine supports; a skipped test prints the reason
	$(BIN)/python -m pytest -n $(WORKERS) $(TESTS) $(ARGS)

##@ Daily work
.PHONY: check
check: format-check lint types layers unit ## Check format, lint, types and layers, and run the unit tests (under two minutes)

.PHONY: unit
unit: $(STAMP) ## Run the unit tests: pure functions, charts and CRDs; no server and no cluster (SLOW=1: also the long simulations)
	$(BIN)/python -m pytest -q -n auto $(if $(SLOW),,-m "not slow") tests/unit $(ARGS)

.PHONY: format
format: $(STAMP) ## Format the code and apply the linter's automatic fixes
	$(BIN)/ruff check -q --fix .
	$(BIN)/ruff format -q .

.PHONY: format-check
format-check: $(STAMP)
	$(BIN)/ruff format -q --check .

.PHONY: lint
lint: $(STAMP) ## Lint with ruff and check the spelling with codespell
	$(BIN)/ruff check -q .
	$(BIN)/codespell

.PHONY: types
types: $(STAMP) ## Run mypy in strict mode
	$(BIN)/mypy

.PHONY: layers
layers: $(STAMP) ## Check the import rules between packages (import-linter)
	$(BIN)/lint-imports --no-logo

##@ Kinds of tests
.PHONY: test-api
test-api: $(STAMP) ## Test the admin API as a real process: endpoints, attacks, crash points, full volumes
	$(BIN)/python -m pytest tests/api $(ARGS)

.PHONY: fault-injection
fault-injection: $(STAMP) ## Inject kills and errors at every system call of every operation (FAULT_ARGS="--one-in 20 --seed 3 --jobs 2")
	$(BIN)/python -m tests.api.fault_injection $(FAULT_ARGS)

.PHONY: refused-calls
refused-calls: $(STAMP) ## Print the table of refused system calls: /ready, backup, restore, reset, delete (REFUSED_ARGS="--only fsync")
	$(BIN)/python -m tests.api.fault_injection.refused_calls $(REFUSED_ARGS)

.PHONY: stateful-test
stateful-test: $(STAMP) ## Stateful property test against real servers for MINUTES minutes; prints the shortest failing sequence and its seed
	$(BIN)/python -m tests.api.stateful --minutes $(MINUTES) $(STATEFUL_ARGS)

.PHONY: compare-upstream
compare-upstream: $(STAMP) ## Compare backups by the real gateway and by our admin API under load: a table of the losses
	$(BIN)/python -m tests.api.upstream.compare

.PHONY: test-operator
test-operator: $(STAMP) ## Test the operator against a real Kubernetes API server and real admin APIs
	$(BIN)/python -m pytest tests/operator tests/cluster -m "not node" $(ARGS)

.PHONY: test-node
test-node: $(STAMP) ## Test charts, the real gateway and the demo with real pods on a real kubelet (root on Debian)
	$(BIN)/python -m pytest tests/node tests/cluster -m node $(ARGS)

##@ Benchmarks
.PHONY: bench-scrape
bench-scrape: $(STAMP) ## Measure how long a scrape of the operator takes, and how long the event loop waits for it
	$(BIN)/python -m tests.bench.scrape

.PHONY: bench-retention
bench-retention: $(STAMP) ## Measure a retention plan for 1,000, 10,000 and 100,000 backups
	$(BIN)/python -m tests.bench.retention

# FULL=1: up to 10,000 objects; NODE=1: also a pod per backup (root on Debian); BENCH_ARGS="--sizes 300 --repeats 1"
FULL ?=
NODE ?=
BENCH_ARGS ?=

.PHONY: bench-operator
bench-operator: $(STAMP) ## Compare the operator with a minimal client and a Go baseline, 100 to 3,000 backups (FULL=1: 10,000; NODE=1: also a pod per backup)
	$(BIN)/python -m tests.bench.operator $(if $(FULL),--full) $(if $(NODE),--node) $(BENCH_ARGS)

.PHONY: bench-api
bench-api: $(STAMP) ## Compare backups of 10 kB, 1 MB and 64 MB with the guide's script, restic and a zstd | age pipe
	$(BIN)/python -m tests.bench.api $(ARGS)

.PHONY: bench-admission
bench-admission: $(STAMP) ## Measure memory and latencies while one client without a key attacks the admin API (ARGS="--seconds 30")
	$(BIN)/python -m tests.bench.admission $(ARGS)

##@ Clusters of the tests and the demo
.PHONY: doctor
doctor: $(STAMP) ## List the tests that this machine supports, and the missing packages for the others
	$(BIN)/python -m tests.cluster doctor

.PHONY: cluster-build
cluster-build: $(STAMP) ## Build the programs of the test cluster (once, cached outside the work tree)
	$(BIN)/python -m tests.cluster build

.PHONY: cluster-up
cluster-up: $(STAMP) ## Start a test cluster named dev
	$(BIN)/python -m tests.cluster up --name dev

.PHONY: cluster-down
cluster-down: $(STAMP) ## Stop the test cluster named dev
	$(BIN)/python -m tests.cluster down --name dev

.PHONY: demo-down
demo-down: $(STAMP) ## Remove the demo (CONTEXT=name: only the demo's objects on that cluster)
	$(BIN)/python -m tests.demo down $(if $(CONTEXT),--context $(CONTEXT)) $(DEMO_ARGS)

##@ Setup and generated files
.PHONY: setup
setup: $(STAMP) ## Create .venv from the lock file

$(STAMP): requirements/lock.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"{sys.executable} is Python {sys.version.split()[0]}: 3.11 or newer is needed (make PYTHON=...)")'
	@$(PYTHON) -c 'import venv, ensurepip' || { echo "this Python has no venv: on Debian, apt-get install python3-venv"; exit 1; }
	@echo "setting up $(VENV) from the lock (15 seconds, once)"
	@$(PYTHON) -m venv $(VENV)
	@sed -n '/^uv==/,/[^\\]$$/p' requirements/lock.txt >$(VENV)/uv.txt
	@$(PIP) --require-hashes -r $(VENV)/uv.txt
	@$(UV) --compile-bytecode --require-hashes -r requirements/lock.txt || $(PIP) --require-hashes -r requirements/lock.txt
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: lock
lock: $(STAMP) ## Update the lock files, with hashes and without index addresses
	$(COMPILE) --upgrade --group dev --extra api --extra operator pyproject.toml -o requirements/lock.txt
	$(COMPILE) --extra api -c requirements/lock.txt pyproject.toml -o requirements/api.txt
	$(COMPILE) --extra operator -c requirements/lock.txt pyproject.toml -o requirements/operator.txt
	echo hatchling | $(COMPILE) -c requirements/lock.txt - -o requirements/build.txt

.PHONY: crds
crds: $(STAMP) ## Copy crds/ into the operator's chart
	$(BIN)/python helm/sync-crds.py

.PHONY: docs
docs: $(STAMP) ## Write the generated docs: resource reference, error codes, OpenAPI document, chart values
	$(BIN)/python docs/generate.py
	$(BIN)/python helm/document-values.py

.PHONY: clean
clean: ## Remove caches and the venv; keep clusters and their programs
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help
help: ## Print this help
	@awk 'BEGIN {FS = ":.*## "; print "usage: make TARGET"} \
	  /^##@ / {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z][a-z-]*:.*## / {printf "  %-17s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
