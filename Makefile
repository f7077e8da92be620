# Each recipe is a line or two that can be run by hand; README.md shows them for machines without make.
# --no-deps: the pinned lists are complete, and some versions of pip would look for newer releases of their extras.
PYTHON ?= python3
VENV_DIR = .venv
VENV = $(VENV_DIR)/bin/python

.DEFAULT_GOAL := help

# Make an environment again that was interrupted, for bin/activate is its last file, or whose Python is gone.
$(shell test -x $(VENV) && test -e $(VENV_DIR)/bin/activate || rm -rf $(VENV_DIR))
# Someone's settings for pip would install into other folders, which the environment's Python does not see.
export PIP_USER := 0
unexport PIP_TARGET PIP_PREFIX PIP_ROOT

$(VENV_DIR):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or later is needed; name yours with make PYTHON=…"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "error: Python's venv module is missing; on Debian or Ubuntu: apt install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV_DIR)

$(VENV_DIR)/embedded: requirements-embedded.txt | $(VENV_DIR)
	$(VENV) -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-embedded.txt
	@touch $@

$(VENV_DIR)/dev: requirements-dev.txt | $(VENV_DIR)
	$(VENV) -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-dev.txt
	@touch $@ $(VENV_DIR)/embedded

staticfiles/staticfiles.json: $(VENV_DIR)/embedded $(wildcard static/*)
	@$(VENV) manage.py collectstatic --noinput --verbosity 0

run: staticfiles/staticfiles.json ## serve on http://127.0.0.1:8080; settings: PORT, HOST and DATA_DIR
	@exec $(VENV) manage.py serve --migrate

test: $(VENV_DIR)/dev ## run the fast tests, which start no real processes but in a smoke test
	$(VENV) -m pytest -n auto --dist worksteal -m "not slow"

test-pythons: ## run the fast tests under each supported Python that is installed
	.ci/test-pythons 3.11 3.12 3.13

test-slow: $(VENV_DIR)/dev ## run the tests that start real processes, but for those in containers
	$(VENV) -m pytest -n auto --dist loadfile --no-loadscope-reorder -m "slow and not containers"

test-all: $(VENV_DIR)/dev ## run both of these at once, and measure the coverage
	$(VENV) -m pytest -n auto --dist loadfile --cov -m "not containers"

test-containers: $(VENV_DIR)/dev ## run the tests in containers; as root, .ci/engine starts an engine where none answers
	.ci/engine $(VENV) -m pytest -n auto --dist loadfile -m containers tests/deploy

chaos: $(VENV_DIR)/dev ## kill every part at random under load, then check the log; CHAOS="--seed 1" repeats a plan
	$(VENV) -m tests.chaos $(CHAOS)

# ServiceMonitor is a custom resource, which tests/deploy/test_manifests.py validates; kustomization.yaml is not a resource.
KUBERNETES = $(filter-out %/kustomization.yaml %/servicemonitor.yaml, $(wildcard deploy/kubernetes/*.yaml))

lint: $(VENV_DIR)/dev ## check style, types, import contracts, settings, container files
	$(VENV_DIR)/bin/ruff check .
	$(VENV_DIR)/bin/ruff format --check .
	$(VENV_DIR)/bin/mypy $(wildcard fizzbuzz fizzbuzz_site tests benchmarks manage.py)
	$(VENV_DIR)/bin/lint-imports
	$(VENV_DIR)/bin/djade --check $(shell find templates -name '*.html')
	$(VENV) manage.py makemigrations --check --dry-run
	HTTPS=1 $(VENV) manage.py check --deploy --fail-level WARNING
	$(VENV_DIR)/bin/hadolint Dockerfile deploy/pgbouncer/Dockerfile
	$(VENV_DIR)/bin/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
	$(VENV_DIR)/bin/kubernetes-validate --strict --quiet $(KUBERNETES)
	$(VENV_DIR)/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/ci.yml

# `make lock` writes the same on every machine: hashes, and no index URLs.
COMPILE = $(VENV_DIR)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --custom-compile-command "make lock" $(UPGRADE) pyproject.toml

lock: $(VENV_DIR)/dev ## pin the requirements; UPGRADE=--upgrade takes the newest versions
	$(COMPILE) --output-file requirements.txt
	$(COMPILE) --extra embedded --output-file requirements-embedded.txt
	$(COMPILE) --extra embedded --extra dev --output-file requirements-dev.txt

.venv-bench/made: benchmarks/requirements.txt | $(VENV_DIR)
	$(PYTHON) -m venv --clear .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r benchmarks/requirements.txt
	@touch $@

bench: staticfiles/staticfiles.json .venv-bench/made ## compare the speed with peers; BENCH=--quick for a short run
	$(VENV) -m benchmarks $(BENCH)

screenshots: $(VENV_DIR)/dev ## update the README's screenshots, with Debian's chromium
	$(VENV) -m docs.screenshots.take

help: ## list these commands
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /: /'

.PHONY: run test test-pythons test-slow test-all test-containers chaos lint lock bench screenshots help
