# Two commands do everything, set-up included: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST_ARGS ?=
# Test files run side by side; more threads in each would only wait for one another.
WORKERS ?= 2
DEMO_ARGS ?=
# Of the image: cpu or cuda.
VARIANT ?= cpu
# Packages are installed without bytecode (most files are never imported), so Python must keep what
# it compiles: a step is a new process, and would spend two thirds of its start on compiling anew.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help setup assets demo test bench bench-full lint format compile docs image clean

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: $(READY) ## Make the virtual environment with pinned packages

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "llmclf needs Python 3.11 or later; set PYTHON=/path/to/python3.11"; exit 1; }
	@echo "installing packages into $(VENV) (a few minutes, once)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e '.[dev]'
	@touch $@

assets: $(READY) ## Fetch the demo's models and corpus (hash-checked, cached)
	@$(BIN)/llmclf fetch smollm2 minilm bbc >/dev/null

demo: assets ## Compare five approaches on BBC news and register the best
	$(BIN)/llmclf run pipelines/recipes/demo.yaml $(DEMO_ARGS)

test: assets ## Run all tests, with coverage of the core
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --cov --cov-report=term:skip-covered --cov-fail-under=90 $(PYTEST_ARGS)

bench: assets ## Measure speed beside the reference recipe, in small (minutes; no true figures)
	$(BIN)/python -m benchmarks.fast run --short --results build/bench

bench-full: assets ## The same in full (hours; resumable), then the table in benchmarks/README.md
	$(BIN)/python -m benchmarks.fast run
	$(BIN)/python -m benchmarks.fast table

lint: $(READY) ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY) ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

compile: $(READY) ## Compile the shipped pipelines for Kubeflow
	$(BIN)/python -m pipelines.shipped

docs: $(READY) ## Write the components' READMEs anew
	$(BIN)/python -m pipelines.docs

image: $(READY) ## Build the container image (VARIANT=cuda)
	infra/docker/build.sh --variant $(VARIANT)

clean: ## Remove the environment and build leftovers (runs are kept)
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .coverage
