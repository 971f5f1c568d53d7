# Every target sets itself up on a fresh machine and is quick when that is done.
PYTHON ?= python3
RUNS ?= runs
STUDY ?= wae_weight
OUT ?= $(RUNS)/$(STUDY)/report

.PHONY: study test test-all lint format ui report bench clean

.venv/.installed: pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --upgrade pip
	.venv/bin/pip install --quiet --editable '.[test,lint]'
	touch $@

study: .venv/.installed
	.venv/bin/python -m study.run --space wae_weight --runs-dir $(RUNS) --resume

test: .venv/.installed
	.venv/bin/python -m pytest -m 'not fault and not cluster and not browser'

test-all: .venv/.installed
	.venv/bin/python -m pytest

lint: .venv/.installed
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/pyright

format: .venv/.installed
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

ui: .venv/.installed
	.venv/bin/mlflow ui --host 127.0.0.1 --port 5000 --backend-store-uri sqlite:///$(abspath $(RUNS))/mlflow.db

report: .venv/.installed
	.venv/bin/python -m analysis.report --study $(STUDY) --runs-dir $(RUNS) --out $(OUT)

bench: .venv/.installed
	.venv/bin/python -m benchmarks.trainer

clean:
	rm -rf .venv build *.egg-info .pytest_cache .ruff_cache .hypothesis
