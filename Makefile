# Every target makes what it needs in $(VENV) first; nothing is installed anywhere else, and nothing is installed twice.
#
#   make demo [CONFIG=FILE DATA=DIR] [OUT=DIR] [ARGS=...]   run a consortium, from alignment to the settled ledger
#   make ui   [OUT=DIR] [ARGS=...]                          look at it in a browser
#   make test [WORKERS=N] [ARGS="-k words"]   make check   make bench   make screenshots   make views   make map   make clean
#   make fuzz [MINUTES=N] [SEED=N] [ARGS="-k words"]        the property tests on examples that nobody has seen yet
#   make qlib                                               what the tests of the qlib file need, in a folder of its own
#
# make demo TORCH=cpu takes PyTorch's CPU build, which uv knows where to find; without it Linux downloads the CUDA build,
# which works as well. TORCH_FLAGS goes to the command that installs torch otherwise, such as --index-url for a mirror.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
QLIB_VENV ?= .venv-qlib
OUT ?= demo-out
CONFIG ?=
DATA ?=
ARGS ?=
MINUTES ?= 10
WORKERS ?= 3
SEED ?=
TORCH_FLAGS ?=
TORCH ?=

# a run starts many processes, and each would compile every module anew where this is set
unexport PYTHONDONTWRITEBYTECODE

BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
EDITABLE := $(PIP) --no-build-isolation --editable

.PHONY: help demo ui test fuzz qlib bench screenshots views map check clean

help:
	@sed -n '3,10s/^# *//p' Makefile

demo: demo-says $(STAMPS)/runtime
	@$(BIN)/entente demo $(if $(CONFIG),--config "$(CONFIG)") $(if $(DATA),--data "$(DATA)") --out "$(OUT)" $(ARGS)

.PHONY: demo-says
demo-says:
	@echo "A consortium of funds and a coordinator as processes of their own: align, train encrypted, value, export, settle."
	@[[ -f $(STAMPS)/runtime ]] || echo "First some minutes of installation into $(VENV) (1.9 GB; more with the CUDA build of torch), then two to four minutes."

ui: $(STAMPS)/runtime
	@$(BIN)/entente ui --out "$(OUT)" $(ARGS)

bench: $(STAMPS)/test
	@for file in benchmarks/[!_]*.py; do name=$$(basename "$$file" .py); echo "== $$name"; $(BIN)/python -m "benchmarks.$$name" $(ARGS); done

# tests that start processes wait for half of their time, so one worker more than a small machine has cores; each computes
# on one thread, files in the order of tests/conftest.py
test: $(STAMPS)/test
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

fuzz: $(STAMPS)/test
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --minutes "$(MINUTES)" $(if $(SEED),--seed "$(SEED)") $(ARGS)

check: $(STAMPS)/check $(STAMPS)/test
	@failed=0; for tool in "ruff check ." lint-imports "python -m tests.floors" mypy; do $(BIN)/$$tool || failed=1; done; exit $$failed

# the picture of docs/design.md: which room imports which
map: $(STAMPS)/runtime
	@$(BIN)/python -m tests.floors --draw docs/img/floors.svg

qlib: $(QLIB_VENV)/ready

# the views of the web page that the guides show, light and dark, of a consortium made for it
screenshots: $(STAMPS)/test
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.ui.screenshots docs/img

# every page in every state, at 1280 and 1440 px, light and dark, to be looked at; make views VIEWS="run- trust" takes some
views: $(STAMPS)/test
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.ui.every_view build/views $(VIEWS)

clean:
	rm -rf demo-out build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . \( -path "./$(VENV)" -o -path "./$(QLIB_VENV)" \) -prune -o -name __pycache__ -type d -print0 | xargs -0 --no-run-if-empty rm -rf

$(STAMPS)/venv:
	@command -v "$(PYTHON)" >/dev/null || { echo "$(PYTHON) was not found: install Python 3.11 or later, or name it with make PYTHON=..." >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than Python 3.11: install 3.11 or later, or name it with make PYTHON=..." >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) has no venv module: install it (on Debian and Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	@"$(PYTHON)" -m venv "$(VENV)" && mkdir -p "$(STAMPS)" && touch "$@"

# torch comes first and alone, so that whatever index it is taken from serves nothing else
$(STAMPS)/torch: constraints.txt | $(STAMPS)/venv
	@echo "Installing torch into $(VENV) (some minutes, once)"
	@$(PIP) setuptools $(if $(TORCH),uv)
	@$(if $(TORCH),$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --torch-backend $(TORCH),$(PIP) $(TORCH_FLAGS)) torch \
	|| { echo "torch was not installed$(if $(TORCH),: TORCH=$(TORCH) takes it from download.pytorch.org; without TORCH= make takes it from the index that pip is set to)" >&2; exit 1; }
	@touch "$@"

$(STAMPS)/runtime: pyproject.toml $(STAMPS)/torch
	@echo "Installing Entente and what it runs on into $(VENV)"
	@$(EDITABLE) . && touch "$@"

$(STAMPS)/test: $(STAMPS)/runtime
	@echo "Installing what the tests need into $(VENV)"
	@$(EDITABLE) ".[test]" && touch "$@"

$(STAMPS)/check: $(STAMPS)/runtime
	@echo "Installing the linters and type checkers into $(VENV)"
	@$(EDITABLE) ".[check]" && touch "$@"

# qlib asks for packages that do not go along with ours, so it lives apart; the list is whole, hence --no-deps
$(QLIB_VENV)/ready: tests/qlib.txt
	@echo "Installing qlib into $(QLIB_VENV) (a minute, once)"
	@"$(PYTHON)" -m venv --clear "$(QLIB_VENV)"
	@timeout 300 "$(QLIB_VENV)/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --requirement tests/qlib.txt && touch "$@"
