# A thin face: the graph of a study is in Snakefile, the tests are in tests/.
#   make study   install into .venv, run the demonstration, leave runs/demo/report/index.html
#   make test    install what the tests need and run them
#   make browser what the tests of rendered pages need besides; make test-slurm and test-faults go further
#   make lab     JupyterLab with this environment's kernel
#   make site    what there is to read as one static folder: site/index.html
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# A user without home and name, as in many a container, has both here: Snakemake and Jupyter ask for them.
export HOME ?= $(CURDIR)/.snakemake
export LOGNAME ?= $(shell id -u)
CONSTRAINTS ?= constraints.txt
STUDY ?= demo
# Twice the cores: where two jobs are at work, one computes while the other imports or reads.
CORES ?= $(shell expr 2 \* $$(nproc))
PIP_INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check $(if $(CONSTRAINTS),-c $(CONSTRAINTS))
# What profiles/default says, without the line in which Snakemake would tell of it.
SNAKEMAKE := env -u SNAKEMAKE_PROFILE $(BIN)/python -m snakemake --configfile studies/$(STUDY).yaml --cores $(CORES) --quiet all \
	--workflow-profile none --rerun-incomplete --nolock

.PHONY: study test test-slow test-statistics test-wheel test-faults test-slurm browser lab lint publish recompute site constraints clean

study: $(VENV)/.installed
	@$(SNAKEMAKE) && echo "the report is runs/$(STUDY)/report/index.html"

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n 2

# What takes ten seconds and more by itself: studies that are killed, changed or run again, large networks, long streams.
test-slow: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n 2 -m slow

# How often intervals and promises hold in simulated data: slow, and changed by work on stats.py, intervals.py and
# compare.py of dfxlib/measure alone.
test-statistics: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n 2 -m statistics

# The package as a wheel, used without the clone, and the small installation, which pip fetches.
test-wheel: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m wheel

# Kill -9 at twenty random moments (half an hour), and 20,000 mutated files of every format that is opened. Needs
# nothing more than make test.
test-faults: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m faults

# The study through a SLURM of one node, started for the test. Needs root and Debian's slurm-wlm and munge.
test-slurm: $(VENV)/.installed-test
	$(PIP_INSTALL) -e .[slurm]
	$(BIN)/python -m pytest -m slurm -rs

# What the tests of rendered pages need: Debian's Chromium, driven by Playwright. They are skipped without it.
browser: $(VENV)/.installed-test
	$(PIP_INSTALL) -e .[browser]
	@command -v chromium >/dev/null || { apt-get update && apt-get install -y --no-install-recommends chromium; } || \
	{ echo "make browser: Chromium is missing; install it as root: apt-get install chromium" >&2; exit 1; }

lab: $(VENV)/.installed
	$(BIN)/jupyter lab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks $(if $(filter 0,$(shell id -u)),--allow-root)

# Style, layout and types; .pre-commit-config.yaml does the first two at each commit.
lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

publish: $(VENV)/.installed
	$(BIN)/python -m tools.publish runs/$(STUDY) results/$(STUDY)

# Every published number that comes from scores, from the scores that are published with it.
recompute: $(VENV)/.installed
	@for study in results/*; do $(BIN)/dfx recompute $$study || exit 1; done

# Results, reports and executed notebooks as one static folder. PICTURES=no leaves out what shows a data set's pictures.
PICTURES ?= yes
site: $(VENV)/.installed
	$(BIN)/python -m tools.site site $(if $(filter no,$(PICTURES)),--no-pictures)

# Renew constraints.txt: the newest versions that the resolver finds, tested before they are committed. Call it with the
# oldest Python that is promised, `make constraints PYTHON=/usr/bin/python3.11`: a newer one finds what that cannot run.
constraints:
	rm -rf .venv-constraints && $(PYTHON) -m venv .venv-constraints
	.venv-constraints/bin/pip install --quiet --disable-pip-version-check -e .[test,browser,slurm]
	.venv-constraints/bin/pip freeze --exclude-editable > constraints.txt
	rm -rf .venv-constraints

clean:
	rm -rf runs data/demo data/smoke data/cache .snakemake

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "make: $(PYTHON) is older than Python 3.11; call make PYTHON=python3.11 (or newer)")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml $(wildcard $(CONSTRAINTS))
	$(PIP_INSTALL) -e .[study,pretrained]
	$(BIN)/python -m ipykernel install --sys-prefix --name python3 --display-name "DeepFeatureX" >/dev/null
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP_INSTALL) -e .[test]
	touch $@
