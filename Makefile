# The environment lives in .venv and is made from requirements.lock; the rest uses it.
PYTHON ?= python3
UV_VERSION ?= 0.13.9
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
export HF_HUB_OFFLINE ?= 1
export UV_LINK_MODE ?= copy

.PHONY: env demo test test-slow long check bench lock clean

env: $(VENV)/.ready

# uv comes from the package index through pip, into an environment of its own.
$(VENV)/.ready: requirements.lock pyproject.toml
	test -x .uv/bin/uv || { $(PYTHON) -m venv .uv && .uv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$(UV_VERSION)"; }
	test -x $(BIN)/python || .uv/bin/uv venv --quiet --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" $(VENV)
	.uv/bin/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
	.uv/bin/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch $@

demo: env
	$(BIN)/vlseg demo --out demo

# Several workers of one thread each: two threads in each of two workers would wait for each other.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

test: env
	$(PYTEST) $(PYTEST_ARGS)

test-slow: env
	$(PYTEST) -m "not long" $(PYTEST_ARGS)

# Studies under fire, killed and stopped at random, and 50 clients at once against `vlseg serve`: some thirty minutes.
long: env
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m long -s $(PYTEST_ARGS)

bench: env
	$(BIN)/python benchmarks/bench.py

check: env
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lock:
	.uv/bin/uv pip compile pyproject.toml --extra dev --universal --generate-hashes --no-emit-index-url --python-version 3.11 --output-file requirements.lock --quiet

clean:
	rm -rf $(VENV) .uv demo
