# `make run` and `make test` are the two commands. Both install what they need, once.
PYTHON ?= python3
VENV   ?= .venv
TORCH  ?= cpu
JOBS   ?= 3
PROOFS ?= 2
SHARE  ?= 1
TABLE  ?= build/proof.md

PY     := $(VENV)/bin/python
PIP    := $(PY) -m pip --disable-pip-version-check
SYSTEM := $(shell uname -s)
CPU_INDEX     := https://download.pytorch.org/whl/cpu
TORCH_VERSION := $(shell $(PYTHON) -c 'import sys; print("2.15.0" if sys.version_info >= (3, 15) else "2.13.0")' 2>/dev/null)

unexport PYTHONDONTWRITEBYTECODE # or every start would compile Heed and its tests anew

.PHONY: run setup test check slow proof proof-short clean

run: $(VENV)/.run ## Start Heed
	@$(PY) -m bot run $(ARGS)

setup: $(VENV)/.run ## The same without starting
	@echo "Heed is set up. Start it with: make run"

test: $(VENV)/.dev ## Everything that runs without a network, in minutes
	@$(PY) -m pytest -n $(JOBS) --dist worksteal -m "not slow and not network and not proof" $(ARGS)

check: $(VENV)/.dev ## Formatter, linter, types, walls between the rooms
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports
	@$(VENV)/bin/deptry .

slow: $(VENV)/.dev ## Tests that need a real model
	@$(PY) -m pytest -m slow $(ARGS)

proof: $(VENV)/.dev ## Tests too large for `make test`, hours; one table at the end
	@$(PY) -m pytest -n $(PROOFS) --dist worksteal -m "proof or proof_short" --proof-table $(TABLE) --proof-share $(SHARE) $(ARGS)

proof-short: $(VENV)/.dev ## The part of it that `make test` includes
	@$(PY) -m pytest -n $(PROOFS) --dist worksteal -m "proof_short and not proof" $(ARGS)

clean: ## Remove what make and the tools made; never your data or settings
	@test ! -e $(VENV) || test -e $(VENV)/pyvenv.cfg || { echo "$(VENV) is no virtual environment; remove it yourself."; exit 2; }
	@rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Each step leaves a stamp, so a second call installs nothing.
$(VENV)/.python:
	@command -v $(PYTHON) >/dev/null || { echo "Heed needs Python 3.11 or newer, and $(PYTHON) is not here. Name yours with PYTHON=..."; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Heed needs Python 3.11 or newer, and $(PYTHON) is older. Name a newer one with PYTHON=..."; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "Python's venv module is missing. On Debian and Ubuntu: apt install python3-venv"; exit 2; }
	@echo "Making a virtual environment in $(VENV) ..."
	@$(PYTHON) -m venv $(VENV) || { echo "The virtual environment $(VENV) could not be made; the line above says why."; exit 2; }
	@touch $@

# On Linux only a +cpu build will do: plain torch means CUDA there, gigabytes of it. First a wheel
# that pip already knows how to find, else PyTorch's own CPU index. Elsewhere the default is CPU.
$(VENV)/.torch: $(VENV)/.python
	@echo "Installing torch $(TORCH_VERSION) ($(TORCH)) ..."
ifeq ($(SYSTEM)-$(TORCH),Linux-cpu)
	@$(PIP) install -q --no-deps --no-index "torch==$(TORCH_VERSION)+cpu" 2>/dev/null || \
	 $(PIP) install -q --no-deps --retries 2 --index-url $(CPU_INDEX) "torch==$(TORCH_VERSION)+cpu" || \
	 { echo "No CPU build of torch was found. Check the network, or try TORCH=default."; exit 2; }
else
	@$(PIP) install -q "torch==$(TORCH_VERSION)" || { echo "torch could not be installed; the lines above say why."; exit 2; }
endif
	@touch $@

$(VENV)/.run: $(VENV)/.torch pyproject.toml constraints.txt
	@echo "Installing Heed's libraries ..."
	@$(PIP) install -q --require-hashes --no-deps -r constraints.txt
	@echo "Installing Heed ..."
	@$(PIP) install -q --no-deps -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.run tests/constraints.txt
	@echo "Installing the test tools ..."
	@$(PIP) install -q --require-hashes --no-deps -r tests/constraints.txt
	@touch $@
