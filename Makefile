# Everything sets itself up in .venv; a machine with Python 3.11 or later is enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help demo test test-all check setup clean

help:           ## show this
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

demo: $(VENV)/.demo  ## a training outlives its machine, in about a minute
	$(BIN)/holdfast demo

test: $(VENV)/.dev check  ## the checks and the tests that need no root
	$(BIN)/python -m pytest -q -n auto --maxprocesses 4 -m "not whole"

test-all: $(VENV)/.dev  ## what `make test` leaves out: the long form of the matrices
	$(BIN)/python -m pytest -q -n auto --maxprocesses 4 -m whole

check: $(VENV)/.dev  ## ruff, mypy, and the layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

setup: $(VENV)/.dev  ## everything that tests need

clean:
	rm -rf $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[demo]'
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@ $(VENV)/.demo
