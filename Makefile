# Every target does its own set-up: from a fresh clone, `make demo` or `make test` is enough.
# VENV=dir puts the virtual environment elsewhere; PYTHON=python3.12 builds it with that Python.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_DEV := $(VENV)/.ready-dev
export NO_ALBUMENTATIONS_UPDATE = 1

RUN := results/demo_quick
MONET := results/photo2monet.jpg
REPORT := results/oldmaster2modern/report/index.html
MINUTES := 5
LAUNCH := $(BIN)/accelerate launch --quiet --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no

.PHONY: install dev demo test test-all test-slow test-weights test-browser faults faults-short lint format audit check lock licences tensorboard docs bench pythons

install: $(READY)

# An environment whose Python is gone, or another one since an upgrade of the system, is made anew.
.PHONY: $(shell $(BIN)/python -c 'import pip' >/dev/null 2>&1 || echo $(READY))

$(READY): setup.cfg pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "gan_style needs Python 3.11 or newer, $(PYTHON) is $$($(PYTHON) -V): try make PYTHON=python3.12"; exit 2; }
	@$(PYTHON) .ci/install.py $(VENV) requirements.lock
	@touch $@

# What tests, lint and pages take besides: all of the first lock is in the second.
dev: $(READY_DEV)

$(READY_DEV): $(READY) requirements-dev.lock
	@$(PYTHON) .ci/install.py $(VENV) requirements-dev.lock
	@touch $@

demo: install
	@echo; echo "== 1/6  A photograph becomes a Monet, by a net that is here already"
	$(BIN)/python -m gan_style translate --run results/zoo/photo2monet --content docs/pictures/photo.jpg --out $(MONET) --overwrite
	@echo; echo "== 2/6  Paintings: old masters (A) and modern ones (B) from The Met, CC0"
	$(BIN)/python -m data_tools.download oldmaster2modern
	@echo; echo "== 3/6  Quick learns from them for $(MINUTES) minutes"
	$(LAUNCH) train.py --config experiments/demo.toml --minutes $(MINUTES) --run_dir $(RUN) $$(ls -d $(RUN)/checkpoints/0* >/dev/null 2>&1 && echo --resume auto || rm -rf $(RUN))
	@echo; echo "== 4/6  It translates the test paintings"
	$(BIN)/python -m gan_style translate --run $(RUN) --weights ema --content data/oldmaster2modern/testA --overwrite
	@echo; echo "== 5/6  A picture of it"
	$(BIN)/python -m gan_style grid --content data/oldmaster2modern/testA --translated $(RUN)/translated/testA/a2b-ema --per_row 2 --out $(RUN)/grid.png
	@echo; echo "== 6/6  The same test paintings by three methods, measured: a report"
	$(BIN)/python -m gan_style compare --config experiments/compare_oldmaster2modern.toml
	@echo
	@echo "Look at       $(MONET)"
	@echo "              $(RUN)/grid.png and $(RUN)/translated/"
	@echo "Curves        make tensorboard, then open http://localhost:6006"
	@echo "Go on         $(BIN)/accelerate launch train.py --run_dir $(RUN) --resume auto --minutes 60"
	@echo "Your images   $(BIN)/accelerate launch train.py --data_a DIR --data_b DIR"
	@echo "The report    $(REPORT), open it in a browser"

test: dev
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4

test-slow: dev
	$(BIN)/python -m pytest -m "slow and not distributed" --ignore tests/faults --numprocesses auto --maxprocesses 4
	$(BIN)/python -m pytest -m distributed --ignore tests/faults

test-weights: dev
	$(BIN)/python -m pytest -m weights

test-browser: dev
	$(BIN)/python -m pytest -m browser

# Kills, full disks, damaged, malicious and broken files; a table of them at the end, which `faults`
# also writes into its page.
FAULTS_OF = $(BIN)/python -m pytest tests/faults -m "" --numprocesses 2

faults: dev
	FAULTS=whole FAULTS_TABLE=docs/reliability.md $(FAULTS_OF)

faults-short: dev
	$(FAULTS_OF)

test-all: test test-slow faults-short test-weights test-browser

lint: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/codespell

format: dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Known vulnerabilities of what is locked; says so where no source of advisories answers.
audit: dev
	$(BIN)/python .ci/audit.py requirements-dev.lock

check: lint audit test-all

# After a change of setup.cfg: its dependencies and theirs, for every platform, with the hashes of
# their files, for developers and, with the same pins, for users; httpx2-jsfetch is for browsers alone. Pins stay
# where they fit: LOCK=--upgrade takes the newest of all, LOCK="-P torch" of one.
COMPILE = $(BIN)/uv pip compile setup.cfg --universal --python-version 3.11 --fork-strategy fewest \
	  --generate-hashes --no-emit-package httpx2-jsfetch --annotation-style line \
	  --custom-compile-command "make lock" --quiet

lock: dev
	$(COMPILE) --all-extras --output-file requirements-dev.lock $(LOCK)
	cp requirements-dev.lock requirements.lock
	$(COMPILE) --output-file requirements.lock

# Whether the index has files of all that is locked for every Python; nothing is downloaded.
pythons: dev
	@for version in 3.11 3.12 3.13 3.14; do for lock in requirements.lock requirements-dev.lock; do \
	  echo "Python $$version, $$lock"; \
	  $(BIN)/uv pip install --quiet --dry-run --no-deps --require-hashes --only-binary :all: --python-version $$version \
	    --target $(VENV)/nowhere --requirement $$lock || exit 1; done; done

# After a change of the lock, on Linux, where all of it is installed.
licences: dev
	$(BIN)/python .ci/licences.py

# BENCH="--quick", "--full", "--only cyclegan --threads 1" ...: experiments/bench.py --help
bench: install
	$(BIN)/python experiments/bench.py --out results/bench $(BENCH)

tensorboard: install
	$(BIN)/tensorboard --logdir results

docs: dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
