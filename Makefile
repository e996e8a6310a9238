.PHONY: install demo test lint bench clean
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export HF_HUB_OFFLINE ?= 1

# `.venv` with everything for development. torch comes first and pinned: an unpinned one
# pulls several GB of CUDA packages. On a GPU machine: make install TORCH="torch>=2.11" CONSTRAINTS=
TORCH ?= torch==2.13.0
CONSTRAINTS ?= -c constraints.txt

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(CONSTRAINTS) -e ".[dev]"
	touch $@

demo: install
	$(BIN)/braid demo

test: install
	$(BIN)/python -m pytest

lint: install
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install
	$(BIN)/python -m pytest -m slow
	$(BIN)/python benchmarks/quality.py
	$(BIN)/python benchmarks/all.py
	$(BIN)/python benchmarks/prepare.py --memory 1000
	$(BIN)/python benchmarks/durability.py
	$(BIN)/python benchmarks/fuzz.py
	$(BIN)/python benchmarks/pretraining.py
	$(BIN)/python benchmarks/distillation.py
	$(BIN)/python benchmarks/regularisers.py cost
	$(BIN)/python benchmarks/export.py
	$(BIN)/python benchmarks/serve.py

clean:
	rm -rf $(VENV) runs .braid_cache
