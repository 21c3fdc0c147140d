# Everything sets itself up from python3 and make alone. `make` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WHEEL_VENV := .venv-wheel
AIRFLOW := tests/in_airflow/constraints.txt
CORE_ROOMS := $(patsubst %,tests/unit/%,core freezing sizing eviction reclaim concurrency metrics)
QUICK_PYTEST := $(BIN)/python -m pytest -q -m "not slow and not later and not soak" -p no:cacheprovider --hypothesis-profile=quick
OF_AN_INSTALLATION := $(addprefix tests/unit/,cli metrics typing examples test_documentation.py test_own_version.py test_packaging.py)
CODE := dagcache sizing metrics tests tools benchmarks examples
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help run test wheel quick quick-core quick-rooms services lint types docs pythons check airflow-check coverage wheel-check soak mutants matrix upgrades bench bench-airflow screens clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */  make \1\t/' | expand -t 22

# A list of versions that Airflow's release was tested with spares pip minutes of resolving.
# The first pip that knows dependency groups is 25.1; a venv starts with the pip of its Python, which may be older.
$(VENV)/ready: pyproject.toml $(AIRFLOW)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --constraint $(AIRFLOW) --editable '.[cli,png]' --group test --group bench --group airflow --group docs
	touch $@

run: $(VENV)/ready ## see it work: a real Airflow scheduler with the cache in it, in a throw-away home
	$(BIN)/dagcache run

test: services lint types docs pythons coverage wheel-check ## all checks and tests, against the checkout and against the installed wheel

services: $(VENV)/ready # on CI's machine only: elsewhere nothing is installed outside of the checkout
	@sh tests/services.sh $(BIN)/python

lint: $(VENV)/ready ## style
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)

types: $(VENV)/ready ## mypy and pyright, strict
	$(BIN)/mypy
	$(BIN)/basedpyright --level error --pythonpath $(BIN)/python

docs: $(VENV)/ready ## the documents as a site, in build/site; a broken link or anchor is an error
	$(BIN)/mkdocs build --strict --quiet

quick: $(VENV)/ready ## the unit tests alone, without `SLOW` and `LATER` of tests/conftest.py, in two halves side by side
	@$(MAKE) --no-print-directory --output-sync=target --jobs=2 quick-core quick-rooms

quick-core:
	$(QUICK_PYTEST) $(CORE_ROOMS)

quick-rooms:
	$(QUICK_PYTEST) tests/unit $(CORE_ROOMS:%=--ignore=%)

pythons: ## the core's unit tests on every other Python that is installed here; names the missing ones
	$(PYTHON) -m tools.pythons

# Each suite has a data file of its own. Stale files, of an interrupted run, would count as reached.
check: $(VENV)/ready ## the tests, against the checkout, with branch coverage of all but dagcache/airflow
	$(BIN)/coverage erase --data-file=.coverage.check
	$(BIN)/coverage run --data-file=.coverage.check -m pytest -m "not soak and not untraced"
	$(BIN)/python -m pytest -m "not soak and untraced"
	$(BIN)/coverage combine --quiet --data-file=.coverage.check
	$(BIN)/coverage report --data-file=.coverage.check --omit='dagcache/airflow/*,dagcache/demo/*'
	$(BIN)/coverage report --data-file=.coverage.check --include='dagcache/cli/*'

airflow-check: $(VENV)/ready ## the tests with a real Airflow, on SQLite, PostgreSQL and MySQL
	$(BIN)/coverage erase --data-file=.coverage.airflow
	$(BIN)/coverage run --data-file=.coverage.airflow -m pytest tests/in_airflow
	$(BIN)/coverage combine --quiet --data-file=.coverage.airflow

coverage: $(VENV)/ready ## both of these, side by side, and the branch coverage of dagcache/airflow by both
	@$(MAKE) --no-print-directory --output-sync=target --jobs=2 airflow-check check
	$(BIN)/coverage combine --quiet --keep --data-file=.coverage .coverage.airflow .coverage.check
	$(BIN)/coverage report --include='dagcache/airflow/*' --fail-under=98
	$(BIN)/coverage report --include='dagcache/demo/*' --fail-under=95

# The first check compares the wheel with the checkout, byte for byte. So the code is tested there, and what an
# installation adds is tested here: commands, data files, types, a version, and the code of the documents.
wheel-check: $(VENV)/ready ## the contents of sdist and wheel, and the tests of an installation, against the wheel
	rm -rf build $(WHEEL_VENV)
	mkdir -p build/elsewhere build/dist
	$(BIN)/python -m build --outdir build/dist .
	$(BIN)/python -m tools.distributions build/dist
	$(PYTHON) -m venv $(WHEEL_VENV)
	$(WHEEL_VENV)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(WHEEL_VENV)/bin/python -m pip install --quiet "$$(echo build/dist/dagcache-*.whl)[cli,png]" --group test
	cp -R tests tools benchmarks docs examples *.md LICENSE pyproject.toml build/elsewhere
	cd build/elsewhere && ../../$(WHEEL_VENV)/bin/python -c "import dagcache; assert 'site-packages' in dagcache.__file__, dagcache.__file__"
	cd build/elsewhere && ../../$(WHEEL_VENV)/bin/python -m pytest -q -m "not slow and not soak" $(OF_AN_INSTALLATION)

wheel: $(VENV)/ready ## the package, in dist
	$(BIN)/python -m build --quiet --wheel --outdir dist .

mutants: $(VENV)/ready ## seeded faults, each of which the tests must notice
	$(BIN)/python -m tools.mutants

soak: $(VENV)/ready ## the long suites: one table of what was measured, against its limits
	$(BIN)/python -m tools.scorecard --page docs/reliability.md

matrix: ## the tests with a real Airflow, for other supported versions of it and of Python
	$(PYTHON) -m tools.matrix $(VERSIONS)

upgrades: $(VENV)/ready ## upgrades and rollbacks of Airflow, Python and dagcache with one warm store
	$(BIN)/python -m tools.upgrades

bench-airflow: $(VENV)/ready ## a scheduler's loop and sweep, its bytes, and an API server's pages, beside Airflow's own cache
	$(BIN)/python -m benchmarks.scheduler --page docs/benchmarks.md --chart docs/sweep.svg
	$(BIN)/python -m benchmarks.scheduler --page docs/benchmarks.md --mark scheduler-3000 \
		--versions 3000 --sweeps 5 --warm-up 2 --budgets 50MiB,75MiB
	$(BIN)/python -m benchmarks.loop --page docs/benchmarks.md
	$(BIN)/python -m benchmarks.loop --parts --databases sqlite --runs 700 --rounds 2 --page docs/benchmarks.md --mark loop-parts
	$(BIN)/python -m benchmarks.loop --parts --databases postgres --runs 3000 --budgets 25% --rounds 1 \
		--page docs/benchmarks.md --mark loop-parts-large
	$(BIN)/python -m benchmarks.created_runs --page docs/benchmarks.md
	$(BIN)/python -m benchmarks.minute_schedule --page docs/benchmarks.md
	$(BIN)/python -m benchmarks.accounting --page docs/benchmarks.md --chart docs/accounted.svg
	$(BIN)/python -m benchmarks.accounting --typical --collect --dags 5000 --largest 300 --processes 1 \
		--page docs/benchmarks.md --mark accounted-typical
	$(BIN)/python -m benchmarks.accounting --typical --collect --dags 5000 --largest 5000 --processes 3 \
		--page docs/benchmarks.md --mark accounted-giants
	$(BIN)/python -m benchmarks.accounting --typical --collect --dags 5000 --largest 5000 --processes 1 --stock \
		--page docs/benchmarks.md --mark accounted-stock
	$(BIN)/python -m benchmarks.graphs --page docs/benchmarks.md
	$(BIN)/python -m benchmarks.scaling --page docs/benchmarks.md --chart docs/scaling.svg
	$(BIN)/python -m benchmarks.api_pages --page docs/benchmarks.md
	$(BIN)/python -m benchmarks.api_restart --page docs/benchmarks.md
	$(BIN)/python -m benchmarks.warm_start --page docs/benchmarks.md
	$(BIN)/python -m benchmarks.predicted_sizes --page docs/advise.md
	$(BIN)/python -m benchmarks.advice --page docs/advise.md
	$(BIN)/python -m benchmarks.advice --scheduler --page docs/advise.md
	$(BIN)/python -m benchmarks.readme

bench: $(VENV)/ready ## the scoreboard, each figure as a ratio within one run
	$(BIN)/python -m benchmarks --page docs/benchmarks.md
	$(BIN)/python -m benchmarks.giants --page docs/benchmarks.md
	$(BIN)/python -m benchmarks.thawed --page docs/sizing.md
	$(BIN)/python -m benchmarks.policies.chart docs/policies.svg --jobs 2

screens: $(VENV)/ready ## the pictures in the documents, and the dashboard and alert rules, from a real scheduler and Prometheus
	$(BIN)/python -m tools.monitoring
	$(BIN)/python -m benchmarks.screens

clean: ## remove everything that was built
	rm -rf $(VENV) $(WHEEL_VENV) .venv-matrix .venv-pythons build dist *.egg-info .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
