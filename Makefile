# Two commands are all a newcomer needs: `make demo` and `make test`. `make help` lists the rest.

PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
CORES := $(shell n=$$(nproc 2>/dev/null || echo 2); [ $$n -gt 8 ] && n=8; echo $$n)
# Tests wait as much as they work; with more at once, some that measure time fail by chance.
JOBS ?= $(shell n=$$((2 * $(CORES))); [ $$n -gt 8 ] && n=8; echo $$n)
PYTEST = $(BIN)/pytest --dist loadgroup
ALONE = -n 3 -p no:randomly
USUAL := not drill and not exhaustive
ALL := (exhaustive or hypothesis) and not drill
# Where ARGS select nothing of one part, pytest ends with 5.
OR_NONE := || [ $$? -eq 5 ]
SOURCES := gateway tests benchmarks docs
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' gateway/__init__.py)
ENGINE ?= docker
# The tests start hundreds of processes, each of which would compile the sources anew.
unexport PYTHONDONTWRITEBYTECODE
IMAGE ?= stats-gateway:$(VERSION)
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

.PHONY: help demo test quick exhaustive coverage check audit format bench bench-check bench-hotpath bench-registry
.PHONY: performance reference scale shielding simulate drill soak walk house screenshots image chart container failover
.PHONY: docs lock clean rolling

help:  ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

demo: .venv/runtime  ## the sandbox service and the gateway in front of it, with a guided tour (ARGS=--once: run it and exit)
	@$(BIN)/stats-gateway demo $(ARGS)

test: check  ## lint, types, and the tests (ARGS="-k queue": some of them)
	$(PYTEST) -n $(JOBS) -m "$(USUAL) and not serial" $(ARGS) $(OR_NONE)
	$(PYTEST) $(ALONE) -m "$(USUAL) and serial" $(ARGS) $(OR_NONE)

quick: .venv/dev  ## the tests that need no service and start no process
	$(BIN)/pytest -n $(CORES) --dist worksteal -m "quick and not processes" $(ARGS)

exhaustive: .venv/dev  ## what make test leaves out of its matrices, and more generated examples
	$(PYTEST) -n $(JOBS) -m "$(ALL) and not serial" $(ARGS) $(OR_NONE)
	$(PYTEST) $(ALONE) -m "$(ALL) and serial" $(ARGS) $(OR_NONE)

coverage: .venv/dev  ## make test's first part, with the lines that it does not reach
	$(PYTEST) -n $(JOBS) -m "$(USUAL) and not serial" --cov --cov-report=term:skip-covered $(ARGS)

check: .venv/dev  ## lint, types, and the language of the pages
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/python -m tests.documents.prose
	$(BIN)/mypy

audit:  ## known vulnerabilities of what is locked
	@$(PYTHON) .ci/audit

format: .venv/dev  ## put the sources into form
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

drill: .venv/dev  ## the full-length drills (about half an hour)
	$(BIN)/pytest -m drill -p no:randomly -s $(ARGS)

soak: .venv/dev  ## five minutes of load while Redis, the service and more break in turn (ARGS="--minutes 0.5")
	$(BIN)/python -m benchmarks.soak $(ARGS)

screenshots: .venv/dev  ## the pictures of the console in docs/images, anew (needs redis-server and chromium)
	$(BIN)/python -m tests.browser.screenshots

bench-registry: .venv/dev  ## what thousands of tenants cost, in Redis and in a file
	$(BIN)/python -m benchmarks.registry $(ARGS)
	$(BIN)/python -m benchmarks.served $(ARGS)

reference: .venv/dev  ## the pages made from the code: settings, commands, admin API
	$(BIN)/python docs/reference

docs: .venv/dev  ## the documentation as a site, in build/docs/site, with its links checked (needs the extra docs)
	$(BIN)/python docs/site.py
	cd build/docs && ../../$(BIN)/python -m zensical build --strict --clean

scale: .venv/dev  ## one to eight processes on one Redis: requests, upstream calls, Redis commands by outcome
	$(BIN)/python -m benchmarks.scale $(ARGS)

simulate: .venv/dev  ## a day of a hundred replicas, simulated: Redis, queue and budget (ARGS="--budgets 2,10")
	$(BIN)/python -m benchmarks.simulation $(ARGS)

bench: .venv/dev  ## the gateway beside nginx, Varnish and bare ASGI apps (about an hour; ARGS=--help, ARGS=--smoke)
	@$(BIN)/python -m benchmarks.bench $(ARGS)

bench-check: .venv/dev  ## whether the benchmarks still work: the short form of each
	$(PYTEST) -n 2 tests/benchmarks $(ARGS)

walk: .venv/dev  ## the way of a request through the files, traced
	@$(BIN)/python -m benchmarks.walk $(ARGS)

house: .venv/dev  ## the size and shape of the code in figures (ARGS="../other ."; a column for each checkout)
	@$(BIN)/python -m benchmarks.house $(ARGS)

bench-hotpath: .venv/dev  ## what recognising, deciding and a hit cost on this machine
	$(BIN)/python -m benchmarks.hotpath $(ARGS)

shielding: .venv/dev  ## upstream calls of days of traffic, beside nginx and Varnish (90 minutes; ARGS=--short: forty)
	@$(BIN)/python -m benchmarks.shielding $(ARGS)

performance: .venv/dev  ## docs/performance.md, from all benchmarks run anew (two hours)
	@$(BIN)/python -m benchmarks.report $(ARGS)

image:  ## the container image (ENGINE=podman, IMAGE=name:tag)
	BUILDAH_FORMAT=docker $(ENGINE) build --build-arg VERSION=$(VERSION) --build-arg REVISION=$$(git rev-parse HEAD) --tag $(IMAGE) .

chart: .venv/dev  ## the Helm chart: the schema of its settings and the page of its values made anew, then all its tests
	$(BIN)/python -m tests.helm.settings_schema
	$(BIN)/python -m tests.helm.values_page
	$(BIN)/pytest -n $(JOBS) tests/helm $(ARGS)
	@$(BIN)/python -m tests.helm.figures

container: .venv/dev  ## the image without an engine: hadolint, its own install commands, run read-only by nobody
	$(BIN)/hadolint --version
	$(BIN)/hadolint Dockerfile
	$(BIN)/pytest -p no:randomly tests/container $(ARGS)

failover: .venv/dev  ## Redis behind Sentinel, in a Cluster, by TLS and ACL, and a rolling update, with their figures
	$(BIN)/pytest -p no:randomly -s tests/redis/test_secured.py tests/redis/test_cluster.py \
	  tests/integration/test_scale_out.py tests/integration/test_rolling.py $(ARGS)

rolling: .venv/dev  ## a rolling update from another commit and back, under load (FROM=commit)
	FROM=$(FROM) $(BIN)/pytest -p no:randomly -s -m drill tests/integration/test_upgrade.py $(ARGS)

lock: .venv/dev  ## resolve the dependencies anew, for all platforms
	$(BIN)/pip install --quiet uv
	$(LOCK) --upgrade --extra otel --extra xlsx --output-file requirements.lock pyproject.toml
	$(LOCK) --upgrade --constraint requirements.lock --group build --output-file requirements-build.lock
	$(LOCK) --no-emit-package stats-gateway --constraint requirements.lock --constraint requirements-build.lock \
	  --extra dev --output-file requirements-dev.lock pyproject.toml

clean:  ## remove what was made
	rm -rf .venv build dist *.egg-info .coverage .coverage.* htmlcov .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "stats-gateway needs Python 3.11 or newer; name one with: make PYTHON=python3.12 …" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "This Python cannot make a virtual environment; on Debian or Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv .venv

# The locks name everything: a resolver would only stumble over what was released since (an extra of a pinned
# package is looked up without its pin).
.venv/runtime: requirements.lock requirements-build.lock pyproject.toml | .venv/bin/python
	@echo "Installing stats-gateway into .venv …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps \
	  -r requirements.lock -r requirements-build.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.venv/dev: requirements-dev.lock .venv/runtime
	@echo "Installing the tools for development into .venv …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-dev.lock
	@touch $@
