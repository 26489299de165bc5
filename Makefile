# One Makefile for people and for CI. Each target sets up the environment that it needs.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
LEROBOT := .venv-lerobot
DATASET ?= examples/metaworld_push
PORT ?= 8899

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

.PHONY: venv
venv: $(INSTALLED) ## set up .venv (Python >= 3.11), as pinned in constraints.txt

$(INSTALLED): pyproject.toml constraints.txt
	@python=$$(scripts/find_python.sh 3.11 3.12 3.13) && { $(BIN)/python -m pip --version >/dev/null 2>&1 \
		|| { echo "Making $(VENV) with $$python"; "$$python" -m venv --clear $(VENV); }; }
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --constraint constraints.txt --editable . --group dev
	@touch $@

.PHONY: demo
demo: $(INSTALLED) ## train, evaluate and draw value curves on the sample dataset: outputs/demo/
	$(BIN)/python examples/demo.py

.PHONY: hub
hub: $(INSTALLED) ## start a Hub on this machine to push to and load from (PORT=8899)
	$(BIN)/python -m tests.hub_server --port $(PORT)

.PHONY: test
test: $(INSTALLED) ## the whole test suite, two to four tests at a time
	@scripts/system_packages.sh chromium || echo "Without Chromium the tests in a browser are left out."
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist worksteal

.PHONY: lint
lint: $(INSTALLED) ## ruff (format and lint) and pyright, changing nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

.PHONY: format
format: $(INSTALLED) ## rewrite the code as `make lint` wants it
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: space
space: $(INSTALLED) outputs/demo/model/model.safetensors ## open the page of value curves with the demo's model: PORT=7860
	VALUECURVE_CHECKPOINTS="$${VALUECURVE_CHECKPOINTS:-value-tiny=outputs/demo/model}" $(BIN)/python spaces/value_curves/app.py

outputs/demo/model/model.safetensors: # made once; `make demo` makes it anew
	@$(MAKE) --no-print-directory demo

.PHONY: interop
interop: $(INSTALLED) $(LEROBOT)/.installed ## LeRobot itself reads our sample dataset and our exports, and runs our policy step
	@mkdir -p outputs/interop
	$(BIN)/python tests/interop/dump_frames.py $(DATASET) outputs/interop/frames.npz
	HF_HUB_OFFLINE=1 $(LEROBOT)/bin/python tests/interop/check_lerobot.py $(DATASET) outputs/interop/frames.npz
	$(BIN)/python tests/interop/make_exports.py $(DATASET) outputs/interop/exports
	HF_HUB_OFFLINE=1 $(LEROBOT)/bin/python tests/interop/check_exports.py outputs/interop/exports
	HF_HUB_OFFLINE=1 PYTHONPATH=. $(LEROBOT)/bin/python tests/interop/check_policy_step.py outputs/interop/exports

# Python >= 3.12; about 5.5 GB on Linux, as pip's usual torch brings its CUDA libraries.
$(LEROBOT)/.installed: tests/interop/requirements.txt
	@df -Pk . | awk 'NR == 2 && $$4 < 8 * 1024 * 1024 { print "make interop needs 8 GB of free disk"; exit 1 }'
	@python=$$(PYTHON=$(PYTHON312) scripts/find_python.sh 3.12 3.13) && { $(LEROBOT)/bin/python -m pip --version >/dev/null 2>&1 \
		|| { echo "Making $(LEROBOT) with $$python"; "$$python" -m venv --clear $(LEROBOT); }; }
	$(LEROBOT)/bin/python -m pip install --requirement $<
	@touch $@

.PHONY: data
data: $(VENV)/.installed-sim ## collect the sample datasets anew in MuJoCo: outputs/data/
	scripts/system_packages.sh osmesa
	$(BIN)/python examples/collect_metaworld.py --output outputs/data

$(VENV)/.installed-sim: $(INSTALLED)
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[sim]'
	@touch $@

.PHONY: clean
clean: ## remove what was made: outputs, caches, builds (not the environments)
	rm -rf outputs build dist .cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './.venv*' -prune -exec rm -rf {} +

.PHONY: distclean
distclean: clean ## clean, and remove the environments too
	rm -rf $(VENV) $(LEROBOT)
