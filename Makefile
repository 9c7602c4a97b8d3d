# Two commands: `make demo` runs the main job on a built-in scene, `make test` runs the tests.
# `make docs` builds the site, `make notebook` runs the tutorial, `make dist` packs the wheel.
# Each sets up what it needs in .venv; nothing else has to be installed but Python 3.11, make and git.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-lowest lint docs notebook dist clean

demo: .venv/package
	$(BIN)/bdgf demo --out demo

test: .venv/development
	$(BIN)/python -m pytest

# The tests with the lowest versions that pyproject.toml allows, torch excepted: its older builds for
# Linux bring gigabytes of CUDA.
test-lowest: .venv-lowest/development
	.venv-lowest/bin/python -m pytest

.venv-lowest/development: pyproject.toml constraints.txt constraints-lowest.txt
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --constraint constraints.txt torch
	.venv-lowest/bin/python -m pip install --quiet --constraint constraints-lowest.txt --editable '.[test]'
	touch $@

lint: .venv/development
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy

docs: .venv/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

notebook: .venv/docs
	MPLBACKEND=agg $(BIN)/jupyter execute --timeout=900 --startup_timeout=300 docs/tutorial.ipynb

dist: .venv/docs
	$(BIN)/python -m build --outdir dist

# torch comes first and alone: asked for as a dependency, a newer build of several gigabytes could
# be taken instead of the one that constraints.txt names.
.venv/package: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

.venv/development: .venv/package
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

.venv/docs: .venv/package
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]' build
	touch $@

clean:
	rm -rf .venv .venv-lowest demo site dist
