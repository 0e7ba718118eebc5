PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

.PHONY: run sql test test-sql check faults figures bench screenshots

run: .venv/run-installed
	@exec $(BIN)/python -m gunicorn -c config/gunicorn.conf.py wsgi:app

# What a database as store needs beside that (settings STORE and RATELIMIT_STORAGE_URI).
sql: .venv/sql-installed

test: .venv/test-installed
	$(BIN)/python -m pytest

# The tests that keep records, with a PostgreSQL of their own as store.
test-sql: .venv/test-installed
	TEST_STORE=postgresql $(BIN)/python -m pytest

check: .venv/test-installed
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy

# Faults on purpose, about three minutes; as root all of them. FAULTS=--short is what CI runs.
faults: .venv/test-installed
	$(BIN)/python -m tests.faults $(FAULTS)

# What refusing costs on this machine; needs nginx.
figures: .venv/test-installed
	$(BIN)/python -m tests.bench.security_figures

# How fast it is beside a bare Flask demo, in under ten minutes; needs wrk. BENCH=--quick takes one, BENCH=--help shows more.
bench: .venv/test-installed
	$(BIN)/python -m tests.bench $(BENCH)

# Each page of the console at several widths, light and dark, in both languages, into screenshots/; needs chromium.
screenshots: .venv/test-installed
	$(BIN)/python -m tests.console.screenshots

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 ...")'
	$(PYTHON) -m venv .venv

.venv/run-installed: requirements.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/sql-installed: requirements-sql.txt .venv/run-installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-sql.txt
	@touch $@

.venv/test-installed: requirements-dev.txt .venv/run-installed .venv/sql-installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@
