# Everything sets itself up in .venv; a machine with Python 3.11 or later is enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Python compiles a module when it is first imported, and most of what is installed never is.
PIP := $(BIN)/pip install --quiet --no-compile --constraint constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK = 1
# Two tests a core: half of the time they wait, for processes that they started or for threads of TensorFlow that end.
WORKERS = $(shell $(PYTHON) -c "import os; print(min(4, 2 * (os.cpu_count() or 1)))")
# Where this is set, as many images do, each process that a test starts would compile TensorFlow's sources again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test test-all check docs findings bench setup clean

help:           ## show this
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

demo: $(VENV)/.demo  ## a training outlives its machine, in about a minute
	$(BIN)/holdfast demo

test: $(VENV)/.dev check  ## the checks and the tests that need no root
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal --durations=20 --maxfail=25 -m "not whole and not real"

test-all: $(VENV)/.dev $(VENV)/.real  ## what `make test` leaves out: long matrices, and what needs root and Debian packages
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadgroup --no-loadscope-reorder --durations=20 --maxfail=25 -m "whole or real"

check: $(VENV)/.dev  ## ruff, mypy, and who may import what
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --python-version 3.10 --no-warn-return-any --no-warn-unused-ignores $(addprefix -p holdfast.,auto core spool training)  # what --auto brings
	$(BIN)/lint-imports --no-cache

docs: $(VENV)/.dev  ## write the code's own tables into docs/
	$(BIN)/python docs/fill-tables

findings:       ## what surprised us in other software: does it still behave so? Downloads packages; NAME=x for one
	@PYTHON=$(PYTHON) findings/run $(NAME)

bench: $(VENV)/.dev $(VENV)/.rivals $(VENV)/.frameworks  ## how fast it is, against others and against its targets; about 25 minutes
	$(BIN)/python benchmarks/bench.py $(BENCH)

$(VENV)/.rivals: benchmarks/rivals.txt $(VENV)/.dev
	$(BIN)/pip install --quiet --no-deps --upgrade --target $(VENV)/rivals --requirement benchmarks/rivals.txt
	touch $@

$(VENV)/.frameworks: tests/real/jax.txt tests/real/torch.txt tests/real/keras_2.txt $(VENV)/.dev
	tests/real/install $(BIN)/python frameworks
	touch $@

$(VENV)/.real: pyproject.toml tests/real/packages.txt tests/real/localstack.txt tests/real/jax.txt tests/real/torch.txt tests/real/keras_2.txt $(VENV)/.dev
	@test "$$(id -u)" = 0 || { echo "make test-all starts real servers and containers: it needs root"; exit 1; }
	$(PIP) --editable '.[dev,real]'
	DEBIAN_FRONTEND=noninteractive tests/real/install $(BIN)/python
	touch $@

setup: $(VENV)/.dev  ## everything that tests need

clean:
	rm -rf $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt
	@echo "installing TensorFlow into $(VENV), once: 2.1 GB on the disk, a few minutes; 'make clean' removes it"
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable '.[tensorflow]'
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable '.[dev]'
	$(BIN)/python -c 'import boto3, cfnlint, hypothesis, keras, moto.server, tensorflow' 2>/dev/null  # compiled once, not by each worker
	touch $@ $(VENV)/.demo
