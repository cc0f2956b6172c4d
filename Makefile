# One verb each. `make demo` and `make test` set up what is missing; nothing but Python 3.11+ is needed.
PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
ROOT_DO := $(if $(filter 0,$(shell id -u)),,sudo)

# Of the tests: one more than cores, as some wait for processes that they have started.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 1) + 1)')
# Of soak, and of fuzz for each reader: make soak SECONDS=600
SECONDS ?= 60

.PHONY: install demo test slow smoke soak fuzz page-test cluster-test check docs tutorial bench bench-gpu clean help
.DEFAULT_GOAL := help

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(READY) ## make .venv from requirements.lock (does nothing when it is up to date)

# The lock pins torch to the version whose CPU build pip finds here; a bare `torch` would pull gigabytes of CUDA packages.
# --no-build-isolation: setuptools comes from the lock too, so that nothing unpinned is fetched.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Trivium needs Python 3.11 to 3.13, found " + sys.version.split()[0] if not (3, 11) <= sys.version_info[:2] <= (3, 13) else 0)'
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: install ## train Self-MI on the embedded fixture and print the test table
	$(VENV)/bin/trivium train method=selfmi trainer.max_epochs=20 trainer.threads=1

test: install ## every test but the slow and GPU ones
	$(PY) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

slow: install ## the slow tests (minutes)
	$(PY) -m pytest -m slow

smoke: install ## a table of the methods, a search that is killed, a grid with a failure, a page: on the fixture, checked
	$(PY) scripts/smoke.py

soak: install ## kill runs, searches and tables at random for SECONDS (60), start them again, compare their ends
	$(PY) tests/soak.py seconds=$(SECONDS)

fuzz: install ## give spoiled files to every reader, for SECONDS (60) each
	$(PY) tests/fuzz.py seconds=$(SECONDS)

page-test: install ## the report page and the site in headless Chromium; installs Debian's package where there is none
	command -v chromium >/dev/null || { $(ROOT_DO) apt-get update -q && $(ROOT_DO) apt-get install -q -y --no-install-recommends chromium; }
	$(PY) -m pytest -m page tests/page

# The tests start the daemons that they need in folders of their own, and stop them by their process ids.
CLUSTER_PACKAGES := slurm-wlm munge postgresql iproute2
cluster-test: install ## sweeps and ranks on a real SLURM, PostgreSQL and two hosts of this machine; installs Debian's packages
	dpkg-query -W $(CLUSTER_PACKAGES) >/dev/null 2>&1 || { $(ROOT_DO) apt-get update -q && $(ROOT_DO) apt-get install -q -y --no-install-recommends $(CLUSTER_PACKAGES); }
	$(PY) -m pytest -m cluster tests/cluster

check: install ## formatting, lint, types
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy

# Not --quiet, which lets --strict pass over warnings.
docs: install ## the site of docs/, with search and a reference, into site/: open site/index.html
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict
	@echo "open site/index.html"

tutorial: install ## run docs/tutorial.ipynb again and keep its outputs
	$(PY) docs/site/run_notebook.py docs/tutorial.ipynb

bench: install ## speed and memory, against MMSA in an environment of its own, dense tables and a plain CoMM
	$(PY) scripts/benchmark.py

bench-gpu: install ## the same training steps on a GPU; says so and stops where there is none
	$(PY) scripts/benchmark.py gpu=true

clean: ## remove environments, caches and build leftovers; runs and data stay
	rm -rf $(VENV) build dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis src/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
