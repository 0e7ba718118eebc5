PYTHON ?= $(shell command -v python3.11 || command -v python3)
VERSION = $(shell $(1) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
VENV := .venv
# `make test PYTHON=/path/to/python3.13` beside a .venv of another version uses an environment of its own.
ifneq ($(filter command% environment%,$(origin PYTHON)),)
ifneq ($(wildcard .venv/bin/python),)
ifneq ($(call VERSION,$(PYTHON)),$(call VERSION,.venv/bin/python))
VENV := .venv-$(call VERSION,$(PYTHON))
endif
endif
endif
BIN := $(VENV)/bin

# Compiling the service and the tests anew takes a second of each process that is started.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run wheel sql test test-all test-rest test-pythons environments test-sql check faults figures bench bench-peers screenshots

run: $(VENV)/run-installed
	@exec $(BIN)/python -m gunicorn -c config/gunicorn.conf.py wsgi:app

# The package, for a host that has neither this checkout nor make: dist/datafor_token-*.whl.
wheel: $(BIN)/python
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .

# The packages for a database as store (settings STORE and RATELIMIT_STORAGE_URI).
sql: $(VENV)/sql-installed

# The quick tests, in under 5 minutes on two cores; they need Python and make only. `make test TESTS="tests/cli -k help"`
# runs those instead, whatever their markers, in one process.
PYTEST := $(BIN)/python -m pytest
PARALLEL := -n $(or $(WORKERS),3) --dist worksteal
REST := slow or browser or proxy or sql
ALONE = $(shell grep -rl --include='test_*.py' 'mark\.alone' tests)

test: $(VENV)/test-installed
ifdef TESTS
	$(PYTEST) $(TESTS)
else
	$(PYTEST) $(PARALLEL) -m "not (alone or $(REST))"
	$(PYTEST) -m "alone and not ($(REST))" $(ALONE)
endif

# All tests; those that need a program that is not installed are skipped with a reason.
test-all: test test-rest

# What `make test` leaves out.
test-rest: $(VENV)/test-installed
	$(PYTEST) $(PARALLEL) -m "($(REST)) and not alone"
	$(PYTEST) -m "($(REST)) and alone" $(ALONE)

# With each other version of Python on this machine, the tests that depend on the interpreter: commands, start and stop,
# the log, the worker, tokens, the package. Random values are a quarter of those of `make test`.
INTERPRETER_TESTS := tests/cli --ignore=tests/cli/test_backup.py tests/package/test_wheel.py tests/package/test_installed.py tests/operations/test_first_start.py \
	tests/server/test_server.py tests/server/test_worker.py tests/validation/test_logs.py tests/validation/test_names.py \
	tests/tokens/test_issuer.py tests/tokens/test_verifier.py tests/test_settings.py
OTHER_PYTHONS = .ci/pythons | grep -v "^$(call VERSION,.venv/bin/python) "
test-pythons: environments
	@set -e; $(OTHER_PYTHONS) | while read -r version python; do \
		HYPOTHESIS_EXAMPLES=50 $(MAKE) test PYTHON="$$python" TESTS="$(PARALLEL) $(INTERPRETER_TESTS)" </dev/null; \
	done

# What test-pythons installs for each of them.
environments: .venv/bin/python
	@.ci/pythons
	@set -e; $(OTHER_PYTHONS) | while read -r version python; do \
		$(MAKE) .venv-$$version/test-installed PYTHON="$$python" </dev/null; \
	done

# The tests that store records, with PostgreSQL as store: each process has a server of its own.
test-sql: $(VENV)/test-installed
	TEST_STORE=postgresql $(PYTEST) $(PARALLEL) -m "not alone"
	TEST_STORE=postgresql $(PYTEST) -m alone $(ALONE)

check: $(VENV)/test-installed
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy

# Injects faults, for several minutes; as root all of them. CI runs FAULTS=--short.
faults: $(VENV)/test-installed
	$(BIN)/python -m tests.faults $(FAULTS)

# Measures what refusing costs on this machine; needs nginx.
figures: $(VENV)/test-installed
	$(BIN)/python -m tests.bench.security_figures

# Measures the service beside a bare Flask demo, in under ten minutes; needs wrk. BENCH=--quick takes one minute.
bench: $(VENV)/test-installed
	$(BIN)/python -m tests.bench $(BENCH)

# Measures `generate` beside the token calls of other servers; names the target that installs a missing one.
bench-peers: $(VENV)/test-installed
	$(BIN)/python -m tests.bench.peers $(BENCH)

# Takes pictures of each page of the console, at several widths, light and dark, in both languages; needs chromium.
screenshots: $(VENV)/test-installed
	$(BIN)/python -m tests.console.screenshots

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/run-installed: requirements.txt pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(VENV)/sql-installed: requirements-sql.txt $(VENV)/run-installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-sql.txt
	@touch $@

$(VENV)/test-installed: requirements-dev.txt $(VENV)/run-installed $(VENV)/sql-installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

# The servers for bench-peers; nothing else needs them.
define peers-venv
$(BIN)/python -m venv $(@D)
$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
endef

.peers/%/installed: tests/bench/peers_of/%.txt | $(BIN)/python
	$(peers-venv)
	@touch $@

.peers/oidc-provider/installed: tests/bench/peers_of/package-lock.json
	npm ci --prefix $(<D) --no-audit --no-fund
	@mkdir -p $(@D) && touch $@

.peers/superset/installed: export FLASK_APP = superset.app:create_app()
.peers/superset/installed: export PYTHONPATH = tests/bench/peers_of
.peers/superset/installed: export SUPERSET_HOME = $(CURDIR)/.peers/superset
.peers/superset/installed: tests/bench/peers_of/superset.txt | $(BIN)/python
	$(peers-venv)
	rm -f $(@D)/superset.db
	$(@D)/bin/superset db upgrade
	$(@D)/bin/superset fab create-admin --username admin --firstname A --lastname B --email admin@example.com --password bench
	$(@D)/bin/superset init
	@touch $@
