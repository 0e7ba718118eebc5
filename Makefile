PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

.PHONY: run sql test test-sql check faults figures bench bench-peers screenshots

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

# How fast `generate` is beside other servers' calls for tokens; it says of each that is not installed what installs it.
bench-peers: .venv/test-installed
	$(BIN)/python -m tests.bench.peers $(BENCH)

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

# The servers that bench-peers knows, for it alone: nothing of the project needs them.
define peers-venv
$(BIN)/python -m venv $(@D)
$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
endef

.peers/%/installed: tests/bench/peers_of/%.txt | .venv/bin/python
	$(peers-venv)
	@touch $@

.peers/oidc-provider/installed: tests/bench/peers_of/package-lock.json
	npm ci --prefix $(<D) --no-audit --no-fund
	@mkdir -p $(@D) && touch $@

.peers/superset/installed: export FLASK_APP = superset.app:create_app()
.peers/superset/installed: export PYTHONPATH = tests/bench/peers_of
.peers/superset/installed: export SUPERSET_HOME = $(CURDIR)/.peers/superset
.peers/superset/installed: tests/bench/peers_of/superset.txt | .venv/bin/python
	$(peers-venv)
	rm -f $(@D)/superset.db
	$(@D)/bin/superset db upgrade
	$(@D)/bin/superset fab create-admin --username admin --firstname A --lastname B --email admin@example.com --password bench
	$(@D)/bin/superset init
	@touch $@
