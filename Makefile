# SPDX-License-Identifier: Apache-2.0
# Every target sets up .venv by itself: once, and again when pyproject.toml or constraints.txt change.

RUN := .venv/bin/python
PYTEST := $(RUN) -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal
.DEFAULT_GOAL := help
.PHONY: help quickstart test test-all lint format docs installed installed-for-tests

## make quickstart   train a model on the bundled voices, score it, write outputs/quickstart/
quickstart: installed
	$(RUN) -m msdet train experiment=quickstart
	@$(RUN) scripts/check_quickstart.py outputs/quickstart/summary.json

## make test         lint, types and the fast tests
test: lint
	$(PYTEST)

## make test-all     those and the slow tests: real trainings, exports, kills
test-all: test
	$(PYTEST) -m slow

## make lint         lint and types alone
lint: installed-for-tests
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	.venv/bin/lint-imports --no-logo --no-cache

## make docs         the documentation as a site, outputs/site/index.html
docs: installed-for-tests
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict

## make format       mend what the linter can mend, and the layout
format: installed-for-tests
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

## After any of them, CPU=1 installs PyTorch without its GPU libraries (on Linux 4 GB less), and
## PYTHON=/path/to/python3 chooses the Python that .venv is made with (3.11 or newer).
help:
	@sed -n 's/^## //p' Makefile

installed:
	@scripts/set_up.sh metrics

installed-for-tests:
	@scripts/set_up.sh metrics,test
