# The verbs of this project; `make` alone prints them. CI runs the same commands: see .ci/run.
PYTHON ?= $(if $(wildcard .venv/bin/python),.venv/bin/python,python3)
NOTEBOOKS = $(wildcard notebooks/*.ipynb)

.DEFAULT_GOAL := help
.PHONY: help install format check test browser notebooks check-notebooks bench clean

help:  ## print these verbs
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 18

install:  ## make .venv and install the project into it, editable, with what tests and checks need
	python3 -m venv .venv
	.venv/bin/pip install --quiet --editable '.[test,dev]'

format:  ## put the code in shape, and mend what can be mended
	$(PYTHON) -m ruff check --fix-only --quiet .
	$(PYTHON) -m ruff format .

check:  ## lint, format, types, floors
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(dir $(PYTHON))lint-imports

test:  ## all tests and doctests, with no network
	$(PYTHON) -m pytest

browser:  ## the tests in a real browser alone; what they saw is kept in build/screenshots
	SCREENSHOTS=$(or $(SCREENSHOTS),build/screenshots) $(PYTHON) -m pytest tests/browser

notebooks:  ## run every notebook and store what it shows; NOTEBOOKS=… for some of them
	$(if $(NOTEBOOKS),$(PYTHON) -m jupyter nbconvert --to notebook --execute --inplace --ExecutePreprocessor.store_widget_state=False $(NOTEBOOKS),@echo "no notebooks")

check-notebooks:  ## run every notebook and compare with what is stored
	$(if $(NOTEBOOKS),$(PYTHON) -m pytest -p no:cov --nbval --nbval-sanitize-with tests/nbval.cfg $(NOTEBOOKS),@echo "no notebooks")

bench:  ## measure what this project claims about its own speed
	@for script in benchmarks/[a-z]*.py; do echo "== $$script"; $(PYTHON) "$$script" || exit 1; done

clean:  ## remove what the tools left behind
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage coverage.xml
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +
