# make demo | test | mutants | docs | lint | setup | help. Each sets up .venv as needed, from constraints.txt.
#   make demo ARGS="--headless --episodes 3 --seed 0 --json out.json"
#   make test PYTHON=python3.12
#   make test PYTEST_ARGS="tests/wav_policy/control/test_safety.py -k stale"
#   make demo PIP_ARGS="--extra-index-url URL"    (URL: the index of PyTorch's CPU builds, half as much)

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup system-packages demo test test-lint test-clock test-compute mutants docs lint format clean

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=
PYTEST_ARGS ?=
PIP_ARGS ?=
MEGABYTES := $(if $(PIP_ARGS),3000,7000)
ASIDE := $(BIN)/python -m tests.aside
IN_TWO_PROCESSES := --numprocesses 2 --dist loadfile --no-loadscope-reorder

# The system's own interpreter if it is 3.10-3.13, else the first of these that runs.
PYTHON ?= $(shell for python in python3 python3.12 python3.11 python3.13 python3.10; do \
	$$python -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& echo $$python && break; done)

# Debian packages for venv and off-screen rendering that this machine lacks.
MISSING_PACKAGES = $(if $(PYTHON),$(shell $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv; \
	$(PYTHON) -c 'import ctypes; [ctypes.CDLL(f"lib{name}.so.1") for name in ("EGL", "GL")]' 2>/dev/null \
	|| echo libegl1 libgl1 libgl1-mesa-dri libosmesa6))

help:
	@sed -n '1,5s/^# \{0,1\}//p' Makefile

system-packages:
	@if [ -z "$(PYTHON)" ]; then \
		echo "No Python 3.10-3.13 found. Install one (apt-get install python3 python3-venv) or name it: make PYTHON=/path/to/python" >&2; \
		exit 1; \
	fi
	@missing="$(MISSING_PACKAGES)"; missing=$$(echo $$missing); \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "Installing $$missing"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; \
	else \
		echo "Missing: $$missing (Python's venv module, off-screen rendering). Install and run make again:" >&2; \
		echo "    sudo apt-get update && sudo apt-get install -y $$missing" >&2; \
		exit 1; \
	fi

$(STAMP): pyproject.toml constraints.txt
	@echo "Setting up $(VENV) with $(PYTHON); this takes some minutes"
	@began=$$(date +%s); while sleep 5; do \
			size=$$(du -sm $(VENV) 2>/dev/null | cut -f1); size=$${size:-0}; seconds=$$(($$(date +%s) - began)); left=; \
			if [ $$size -gt 300 ] && [ $$size -lt $(MEGABYTES) ]; then \
				left=", at most $$((1 + seconds * ($(MEGABYTES) - size) / size / 60)) min left"; fi; \
			echo "  $$size of at most $(MEGABYTES) MB after $$seconds s$$left"; done & \
		trap "kill $$!" EXIT; set -e -o pipefail; \
		$(PYTHON) -m venv $(VENV); \
		$(BIN)/python -m pip install --quiet --upgrade pip; \
		PYTHONWARNINGS="ignore:Editable installation" \
		$(BIN)/python -m pip install --progress-bar off $(PIP_ARGS) -c constraints.txt -e '.[dev]' \
		| sed -un -e '/^ *Downloading .* MB)/p' -e 's/^Installing collected packages:.*/Installing all of it/p'
	@$(BIN)/python -m wav_policy.bringup.ament
	@touch $@

setup: system-packages
	@$(MAKE) --silent --no-print-directory $(STAMP)

# On a terminal the demo gets a process group of its own: Ctrl-C reaches it, and it ends with 0, but not make.
demo: setup
	@if [ -t 0 ]; then set -m; fi; $(BIN)/wav demo $(ARGS); exit $$?

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=. $(BIN)/lint-imports --no-logo
	@$(MAKE) --silent --no-print-directory docs

# site/ from docs/ and the code; a dead link is an error. The two variables keep the plugins' own news away.
docs: setup
	@NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=true $(BIN)/mkdocs build --quiet

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# What talks to nodes and arms looks at clocks, and waits most of its time: two processes, and one for what needs both
# cores afterwards, as whole robots do. The rest and the linters compute meanwhile, and make way for it (tests/aside.py).
# Each part prints what it found when it ends.
test: setup
ifeq ($(PYTEST_ARGS),)
	@echo "Tests and linters run in three parts at once; each prints its results when it ends, after some minutes"
	@$(MAKE) --no-print-directory --jobs 3 --keep-going --output-sync=target test-clock test-compute test-lint
else
	$(BIN)/python -m pytest $(PYTEST_ARGS)
endif

PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --durations 15
NODE_TESTS := $(PYTEST) -m 'clock and not alone and not slow' -o cache_dir=.pytest_cache/nodes
ALONE_TESTS := $(PYTEST) -m 'clock and alone and not slow' -o cache_dir=.pytest_cache/alone
COMPUTE_TESTS := $(ASIDE) env $(PYTEST) -m 'not clock and not slow' -o cache_dir=.pytest_cache/compute

# $(call tried_twice,COMMAND,OPTIONS): what failed is tried once more, in another run and without the options.
tried_twice = $(1) --cache-clear $(2) || { code=$$?; [ $$code -eq 1 ] || exit $$code; echo "What failed, once more:"; $(1) --last-failed; }

test-clock:
	failed=0; $(call tried_twice,$(NODE_TESTS),$(IN_TWO_PROCESSES)) || failed=$$?; $(call tried_twice,$(ALONE_TESTS)) && exit $$failed

test-compute:
	$(call tried_twice,$(COMPUTE_TESTS),$(IN_TWO_PROCESSES))

test-lint:
	$(ASIDE) $(MAKE) --no-print-directory lint

# Break the code one line at a time; fails where no test notices. make mutants ARGS="safety units --jobs 4"
mutants: setup
	$(BIN)/python -m tests.mutants $(ARGS)

clean:
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache ros2_ws/build ros2_ws/install ros2_ws/log
