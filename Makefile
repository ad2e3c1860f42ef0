# Every target sets up .venv first, from pinned versions, when it is missing or older than the pins.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: compare test test-slow lint format docs notebooks bench reference clean

compare: $(READY)
	$(BIN)/backtest compare

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal -m "not slow"

test-slow: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -m slow --timeout 3600 --hypothesis-profile=anew

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Strict: a warning fails. The variable silences what its theme says about another product.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

# Executes the notebooks in place and draws their pictures, for which it needs a Chromium.
notebooks: $(READY)
	$(BIN)/python notebooks/execute.py

bench: $(READY)
	$(BIN)/python benchmarks/solver.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/simulation_scale.py

reference: $(READY)
	$(BIN)/python benchmarks/reference_results.py R2 R3

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,docs]"
	touch $(READY)

clean:
	rm -rf $(VENV) build dist site runs .pytest_cache .mypy_cache .ruff_cache
