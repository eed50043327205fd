# Each target does its whole set-up on a fresh machine with Python >= 3.11 and make.
PYTHON ?= python3
VENV := .venv
# The two belong together: with other options, as --index-url, they still come from one place.
TORCH ?= torch torchvision
BIN := $(VENV)/bin

.PHONY: venv demo test test-slow bench lint format clean

venv: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt $(TORCH)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

demo: venv
	$(BIN)/pipeline demo

# A file of tests at a time on each core, one thread each.
test: venv
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile

test-slow: venv
	$(BIN)/python -m pytest -m slow

bench: venv
	$(BIN)/python -m tests.benchmarks

lint: venv
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: venv
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) builds *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
