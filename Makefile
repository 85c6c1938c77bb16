# `make demo` and `make test` do all the set-up themselves; `make env` does it alone (on a login node, say).

PYTHON ?= python3.11
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Two processes of one thread each are faster than one of two, and the number of threads shapes a bf16 text.
export OMP_NUM_THREADS ?= 1

.PHONY: demo plan explain test test-faults test-environments lint env gc clean

demo: env
	snakemake --profile profiles/local
	@echo
	@cat results/summary.txt
	@echo
	@sed -n '/^## Measured here/,/^## What/{/^## What/!p}' results/evaluation/table1.md

# How large a run is, before it: make plan ARGS="--profile slurm --configfile config.yaml mine.yaml"
plan: env
	@python scripts/plan.py --profile profiles/local $(ARGS)

# What would run, why, and what it costs: make explain ARGS="--configfile config.yaml mine.yaml"
explain: env
	@python scripts/explain.py --profile profiles/local $(ARGS)

# Three processes, as the one that begins with tests/cluster mostly waits; the tests of one file share what they made.
test: env
	python -m pytest tests -n 3 --dist loadfile --no-loadscope-reorder

# Every stage interrupted in five ways (docs/reliability.md): make test-faults ARGS="--moments 1 --jobs 2"
test-faults: env
	python tests/faults.py $(ARGS)

# The pins of each conda environment in a clean environment of their own, running their stages.
test-environments: env
	python tests/environments.py --to /tmp/scalequest-environments

lint: env
	ruff check .
	ruff format --check .
	mypy
	snakefmt --check Snakefile rules
	snakemake --lint

env: .venv/.done

# torch comes first and with what it needs: where the registry serves a CUDA build, that is more than the lock names.
.venv/.done: envs/cpu.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "Python 3.11 is needed: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv .venv
	pip install --quiet --disable-pip-version-check $$(grep '^torch==' envs/cpu.lock)
	pip install --quiet --disable-pip-version-check --no-deps -r envs/cpu.lock
	touch $@

# What of the stored work no result rests on, and the room it takes; `make gc DELETE=yes` removes it. With storage
# elsewhere: make gc OPTIONS='--progress /folder --models /folder'.
gc: env
	python scripts/collect_garbage.py $(if $(filter yes,$(DELETE)),--delete) $(OPTIONS)

# Results, models and progress stay: they are work. Remove them by hand if you must.
clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +
