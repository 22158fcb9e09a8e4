PYTHON ?= python3
BIN := .venv/bin

.venv/.complete: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e . && touch $@

setup: .venv/.complete  ## the environment from requirements.lock
run: setup              ## the whole product in one process on embedded parts
	@exec $(BIN)/dragoman run
test: setup             ## every test; what this machine lacks is skipped with a line that says how to get it
	$(BIN)/python -m pytest
lint: setup             ## style
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
types: setup            ## mypy, strict
	$(BIN)/mypy
lock:                   ## requirements.lock anew, for every Python from 3.11 and every platform
	uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command 'make lock' -q -o requirements.lock

.PHONY: setup run test lint types lock
