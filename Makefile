# `make demo` and `make test` need Python 3.11-3.13, make and a network; neither needs root.
PYTHON ?= python3
VENV   ?= .venv
ARGS   ?=
BIN    := $(VENV)/bin
# Where pip finds PyTorch's CPU build, if it is not found by itself: make demo TORCH_INDEX=<PyTorch's CPU index>
TORCH_INDEX ?=
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
          $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

.DEFAULT_GOAL := help
.PHONY: help demo test check bench clean

help:
	@echo "make demo    a trained ImageNet network to a verified service (ARGS=--once: end after the answers)"
	@echo "make test    every test (ARGS='-k name' to choose)"
	@echo "make check   format, lint, types, architecture"
	@echo "make bench   the benchmarks of benchmarks/README.md"
	@echo "make clean   remove the virtual environment and caches"

demo: $(VENV)/.demo
	@$(BIN)/portside demo $(ARGS)

test: $(VENV)/.test
	$(BIN)/python -m pytest -n 2 --dist loadgroup $(ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/architecture

bench: $(VENV)/.test
	$(BIN)/python benchmarks/run.py $(ARGS)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis

# The environment grows: what the demo needs, then what the tests need, then what developers need.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else f"Portside needs Python 3.11-3.13, this is {v[0]}.{v[1]}: make PYTHON=python3.11 ...")'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "This Python cannot make virtual environments (on Debian: apt install python3-venv)"; exit 1; }

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing what the demo needs into $(VENV) (PyTorch included; some minutes the first time) ..."
	@$(PIP) -e '.[demo]'
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing what the tests need into $(VENV) (PyTorch and TensorFlow included; some minutes the first time) ..."
	@$(PIP) -e '.[test]'
	@touch $@ $(VENV)/.demo

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing what developers need into $(VENV) ..."
	@$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.test $(VENV)/.demo
