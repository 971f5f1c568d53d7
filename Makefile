# Every target sets itself up on a fresh machine and is quick when that is done.
PYTHON ?= python3
RUNS ?= runs
STUDY ?= wae_weight
SPACE ?= wae_weight
WORKERS ?= 2
COMPOSE ?= docker compose
OUT ?= $(RUNS)/$(STUDY)/report

.PHONY: study test test-browser test-all lint format ui report bench secrets up down cluster-study lock clean

.venv/.installed: pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --upgrade pip
	.venv/bin/pip install --quiet --editable '.[test,lint]'
	touch $@

.venv/.cluster-installed: .venv/.installed
	.venv/bin/pip install --quiet --editable '.[cluster]'
	touch $@

study: .venv/.installed
	.venv/bin/python -m study.run --space wae_weight --runs-dir $(RUNS) --resume --create

test: .venv/.installed
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n 2 --dist loadfile -m 'not fault and not cluster and not browser and not slow'

# Needs Chromium on the PATH (Debian: apt install chromium): no browser is downloaded, and without one they are skipped.
test-browser: .venv/.installed
	.venv/bin/python -m pytest -ra -m browser

# What `test` leaves out; nothing runs twice.
test-all: test .venv/.cluster-installed
	.venv/bin/python -m pytest -ra -m 'fault or cluster or browser or slow'

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

# Hours on two cores; some benchmarks alone: make bench ARGS='--data-dir ../shared/data trainer study'
bench: .venv/.installed
	.venv/bin/python -m benchmarks.results $(ARGS)

.DELETE_ON_ERROR:

# The containers run as another user: a file each may read, in a folder that nobody else on this machine may enter.
secrets/%:
	@mkdir -p -m 700 secrets
	@$(PYTHON) -c 'import secrets; print(secrets.token_hex(32), end="")' > $@
	@chmod 444 $@

secrets: secrets/ray_token secrets/db_password secrets/study_db_password secrets/mlflow_db_password

# Compose would take over the containers and volumes of another checkout in a folder of the same name.
up: secrets
	@mkdir -p data
	@other=$$($(COMPOSE) ps --all --format '{{.Label "com.docker.compose.project.working_dir"}}' | head -n 1); \
	if [ -n "$$other" ] && [ "$$(cd "$$other" 2> /dev/null && pwd -P)" != '$(CURDIR)' ]; then \
		echo "the checkout in $$other runs under this project's name: set another COMPOSE_PROJECT_NAME in .env" >&2; exit 2; \
	fi
	@GIT_COMMIT=$$(git rev-parse HEAD) $(COMPOSE) up --build --detach --wait --scale worker=$(WORKERS) \
		|| { $(COMPOSE) ps --all; $(COMPOSE) logs --no-color --tail 5; exit 1; }

down:
	$(COMPOSE) down

# More options of study.run: make cluster-study SPACE=method ARGS='--dataset mnist --num-trials 40'
cluster-study:
	$(COMPOSE) exec $(shell test -t 0 || echo --no-TTY) ray-head python -m study.run --space $(SPACE) --resume --create $(ARGS)

# After a change of the dependencies: the versions that go into the image.
lock: .venv/.installed
	.venv/bin/python deploy/lock.py > deploy/constraints.new && mv deploy/constraints.new deploy/constraints.txt

clean:
	rm -rf .venv build *.egg-info .pytest_cache .ruff_cache .hypothesis
