# Every target makes the environment it needs. VENV=/some/where lets several checkouts share one.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
CORE := $(VENV)/.core-$(shell cksum < requirements.txt | cut -d' ' -f1)
DEV := $(VENV)/.dev-$(shell cat requirements*.txt | cksum | cut -d' ' -f1)

.PHONY: help demo notebook test test-slow lint clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*##/\t/'

demo: $(CORE)  ## train a sparse MDMTN on bundled digits, without any download
	$(BIN)/python Example_MDMTN_MM_withSparsity.py --demo

notebook: $(CORE)  ## open the tutorial in JupyterLab
	$(BIN)/python -m pip install --quiet --requirement requirements-notebook.txt
	$(BIN)/python -m jupyterlab Tutorial.ipynb

test: lint  ## style, types and all tests but the slow ones
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

test-slow: $(DEV)  ## the slow tests, real data among them
	$(BIN)/python -m pytest -m slow

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(CORE): | $(BIN)/python
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	touch $@

$(DEV): | $(BIN)/python
	$(BIN)/python -m pip install --quiet --requirement requirements-dev.txt
	touch $@ $(CORE)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

clean:  ## remove the environment and caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
