# make demo   sets up, simulates, trains, evaluates, looks at real images; leaves demo/report.html
# make test   sets up, runs the tests

PYTHON ?= python3.11
BIN := .venv/bin
READY := .venv/.ready

# Real and reference-made sample images, where they are at hand; demo and tests do without them and say so.
ifneq ($(wildcard ../shared/data/SOURCES.md),)
export ARCFORMER_SAMPLES ?= $(abspath ../shared/data)
endif

.PHONY: demo test test-all check clean

demo: $(READY)
	PYTHON=$(BIN)/python bash runs/demo.sh

# One thread each: two processes that share two cores only wait for each other's threads.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadscope

test-all: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadscope -m ''

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

# Again only when what is to be installed has changed. Torch comes through the constraints: see there.
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test,check]'
	touch $@

clean:
	rm -rf .venv demo build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find . -name '*.egg-info' -type d -prune -exec rm -rf {} +
