# Verbs for people; .ci/run calls the same ones. Everything happens in a virtual environment here.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SOURCES := $(wildcard csrc/*/*.[ch] dsm_native/_native/*.p[yx]*) setup.py pyproject.toml

.PHONY: help build demo test bench lint types ctest asan tsan kill crash sim scale mutations litmus clean

help:
	@echo "make demo | test | bench | lint | types | ctest | asan | tsan | kill | crash | sim"
	@echo "make scale | mutations | litmus | clean"

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip

# Installed in place, so that a change of a .py file needs no build.
$(VENV)/built: $(BIN)/python $(SOURCES)
	$(BIN)/python -m pip install -q -e '.[test]'
	@touch $@

build: $(VENV)/built

demo: build
	$(BIN)/dsm demo

test: build ctest kill
	$(BIN)/python -m pytest -q

$(VENV)/bench: $(VENV)/built
	$(BIN)/python -m pip install -q -e '.[test,bench]'
	$(BIN)/python -m pip install -q ray || echo "Ray cannot be installed here: its rows will say so"
	@touch $@

bench: $(VENV)/bench
	$(BIN)/python benches/compare.py

$(VENV)/lint: $(VENV)/built
	$(BIN)/python -m pip install -q --group lint
	@touch $@

lint: $(VENV)/lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/cython-lint dsm_native
	$(BIN)/clang-format --dry-run --Werror $$(git ls-files '*.c' '*.h')

types: $(VENV)/lint
	$(BIN)/mypy

ctest asan tsan:
	$(MAKE) -C tests/c $@

# Every instruction of put and delete, and some thousands of damaged segments.
kill:
	$(MAKE) -C tests/kill quick

crash: build
	$(MAKE) -C tests/c crash
	$(MAKE) -C tests/kill crash
	DSM_KILL_SECONDS=60 $(BIN)/python -m pytest -q tests/test_kills.py \
	  tests/test_executor_kills.py --timeout 900
	$(BIN)/python tests/control_damage.py
	DSM_CHAOS_SECONDS=3600 DSM_CHAOS_ROUNDS=170 $(BIN)/python -m pytest -q tests/test_chaos.py \
	  -k every_promise --timeout 900

# Minutes of simulated clusters of every protocol, over many seeds.
sim: build
	$(BIN)/python tests/sim/run.py --minutes 3

# What the memory orders of atomics allow between two processes, counted.
litmus:
	$(MAKE) -C tests/litmus run

# Protocols at 10 to 1,000 nodes in virtual time; docs/scale.md anew.
scale: $(VENV)/bench
	$(BIN)/python tests/sim/scale.py
	$(BIN)/python tests/sim/scale_report.py

# Plants every known bug in the C core; docs/mutations.md says which test caught it.
mutations: build
	$(BIN)/python tests/mutations/plant.py --write

clean:
	rm -rf build dist *.egg-info $(VENV) .pytest_cache .hypothesis .mypy_cache .ruff_cache
	rm -f dsm_native/_native/*.so dsm_native/_native/*.c
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
