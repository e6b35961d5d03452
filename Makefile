# Everything starts here: `make demo` on a fresh clone installs what it needs and runs the demo.
#
# The environment lives in .venv, made with the Python that PYTHON names; stamp files in it remember
# what is installed, so a second call goes straight to work. Nothing is written outside the clone.

PYTHON ?= python3
PIP_ARGS ?=
PYTEST_ARGS ?=
PYTEST_WORKERS ?= 2
BENCH_ARGS ?=
MATRIX_ARGS ?=
PORT ?= 4200
POOL ?= irnet

SHELL := bash
VENV := .venv
BIN := $(VENV)/bin

# No cache and no bytecode: half the time of an installation goes into compiling modules that
# nobody imports; Python compiles the others when it first meets them, and keeps them.
# Images of containers often forbid it to keep what it has compiled: then each of hundreds of
# processes would compile it all, which takes most of their time.
unexport PYTHONDONTWRITEBYTECODE
PIP := $(BIN)/python -m pip install --disable-pip-version-check --no-cache-dir --no-compile \
	--constraint constraints.txt $(PIP_ARGS)
# Most tests wait for servers and processes of their own.
PARALLEL = --numprocesses $(PYTEST_WORKERS) --dist
QUIETER := { grep --line-buffered -v '^Requirement already satisfied' || true; }

# Prefect, Dask and Matplotlib keep their files inside the clone, and nothing phones home.
export DO_NOT_TRACK ?= 1
export PREFECT_HOME ?= $(CURDIR)/.prefect
export PREFECT_SERVER_ANALYTICS_ENABLED ?= false
export PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS ?= 120
export DASK_CONFIG ?= $(CURDIR)/.cache/dask
export MPLCONFIGDIR ?= $(CURDIR)/.cache/matplotlib

.DEFAULT_GOAL := help
.PHONY: help setup demo server deploy worker test test-slow test-all test-thorough lint fault-matrix bench-features bench-hull bench-pull bench-rules bench-query bench-screen bench-discovery bench-models clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile
	@echo "  PYTHON=python3.12 names another Python (3.11 or later), PIP_ARGS goes to pip,"
	@echo "  PYTEST_ARGS to pytest, PYTEST_WORKERS=2 tests run at once. The first call downloads about 450 MB with a CPU build of torch."

setup: $(VENV)/.dev ## Install the runtime and the development tools into .venv

demo: $(VENV)/.runtime ## Run the screening demo on real records, from data to ranked candidates
	$(BIN)/irnet demo

# In any order: deploy and worker wait for the server. PREFECT_API_URL names one elsewhere.
server deploy worker: export PREFECT_API_URL ?= http://127.0.0.1:$(PORT)/api

server: $(VENV)/.runtime ## Start a Prefect server at port PORT (4200), until Ctrl-C
	$(BIN)/prefect --no-prompt server start --port $(PORT)

deploy: $(VENV)/.runtime ## Register the deployments of prefect.yaml with the server
	$(BIN)/python -m flows.deployments
	$(BIN)/prefect --no-prompt deploy --all

worker: $(VENV)/.runtime ## Run what deployments start in the work pool POOL (irnet), until Ctrl-C
	$(BIN)/python -m flows.server
	$(BIN)/prefect --no-prompt worker start --pool $(POOL) --type process --limit 1

test: $(VENV)/.dev ## Run the fast tests
	$(BIN)/pytest -m "not slow" $(PARALLEL) loadfile $(PYTEST_ARGS)

test-slow: $(VENV)/.dev ## Run the tests that take minutes: thousands of rows against the oracles
	$(BIN)/pytest -m slow $(PARALLEL) loadgroup $(PYTEST_ARGS)

test-all: $(VENV)/.dev ## Run the fast and the slow tests in one go
	$(BIN)/pytest $(PARALLEL) loadgroup $(PYTEST_ARGS)

test-thorough: export IRNET_THOROUGH := 1
test-thorough: test-slow ## Run the slow tests on all rows

lint: $(VENV)/.dev ## Check style, formatting, types and the layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench-features: $(VENV)/.dev ## Compare the featurizers with matminer, in one run
	PYTHONPATH=tests $(BIN)/python -m benchmarks.bench_features $(BENCH_ARGS)

bench-hull: $(VENV)/.dev ## Compare the convex hulls with pymatgen's phase diagrams, in one run
	PYTHONPATH=tests $(BIN)/python -m benchmarks.bench_hull $(BENCH_ARGS)

bench-models: $(VENV)/.dev ## Rows per second of training and inference beside plain torch, in one run
	PYTHONPATH=tests $(BIN)/python -m benchmarks.bench_models $(BENCH_ARGS)

bench-pull: $(VENV)/.dev ## Measure rows per second through fetch, parse, normalise and Parquet
	PYTHONPATH=tests $(BIN)/python -m benchmarks.bench_pull $(BENCH_ARGS)

bench-rules: $(VENV)/.dev ## Compare the charge rules with SMACT's, in one run
	PYTHONPATH=tests $(BIN)/python -m benchmarks.bench_rules $(BENCH_ARGS)

bench-query: $(VENV)/.dev ## Write a ranked table of ten million rows and time the usual questions
	PYTHONPATH=tests $(BIN)/python -m benchmarks.bench_query $(BENCH_ARGS)

bench-screen: $(VENV)/.dev ## Time screens end to end beside SMACT, matminer, torch and pymatgen; BENCH_ARGS="--model NAME"
	PYTHONPATH=tests $(BIN)/python -m benchmarks.bench_screen $(BENCH_ARGS)

bench-discovery: $(VENV)/.dev ## Does the ranking find stable compounds? Real answers, about an hour on two cores
	PYTHONPATH=tests $(BIN)/python -m benchmarks.bench_discovery $(BENCH_ARGS)

fault-matrix: $(VENV)/.dev ## Pull each database under each fault, write docs/fault-matrix.md
	PYTHONPATH=tests $(BIN)/python -m fault_matrix $(MATRIX_ARGS)

clean: ## Remove .venv, caches and Prefect's files; data/ stays
	rm -rf $(VENV) .cache .prefect build *.egg-info
	rm -rf .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# pip is the last thing a new environment gets: without it, an interrupted one is made again.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit("irnet needs Python 3.11 or later; name one, for example \
	make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv --clear $(VENV)

$(VENV)/.runtime: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "Installing the runtime into $(VENV): one to two minutes on a fast connection."
	@set -o pipefail; $(PIP) --editable . | $(QUIETER)
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	@echo "Installing the development tools into $(VENV): about a minute."
	@set -o pipefail; $(PIP) --editable '.[dev]' | $(QUIETER)
	@touch $@
