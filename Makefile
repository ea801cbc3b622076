# make demo | test | test-oldest | lint | lock | clean. The first two and lint make .venv and install what they need there, in
# the versions of requirements/ and checked against its hashes; PYTHON=python3.13 chooses the interpreter.
PYTHON ?= python3
# LOCKED=0 installs what pyproject.toml allows instead: with a build of PyTorch of your own, say, that is in .venv already.
LOCKED ?= 1
# TORCH=cpu takes PyTorch's build without CUDA, from the index that its documentation names; the rest stays as it is locked.
TORCH ?=
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
# Processes of the test suite, of one thread each.
TEST_WORKERS ?= 2

BIN := .venv/bin
COMPILE = .venv-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
    --custom-compile-command 'make lock' $(UPGRADE) pyproject.toml requirements/build.in
# uv, where it is installed, does the same in less time.
ifneq ($(shell command -v uv),)
PIP := uv pip install --quiet --python $(BIN)/python
else
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install
endif

ifeq ($(LOCKED),1)
install = $(PIP) --require-hashes --no-deps --requirement $(1) && $(PIP) --no-deps --no-build-isolation --editable .
else
install = $(PIP) --editable '.$(2)'
endif

# Of a lock file, what is no part of PyTorch's build: that comes by itself, in the same versions and without our hashes.
WITHOUT_TORCH = awk '/^[a-z]/ { keep = !/^(torch|torchvision|triton|nvidia-[a-z0-9-]*|cuda-[a-z0-9-]*)(==|\[)/ } keep || /^\#/'
OF_TORCH = sed -n -E 's/^((torch|torchvision)==[0-9.]+).*/\1/p'

ifeq ($(TORCH),cpu)
locked = $(OF_TORCH) requirements/$(1).txt | xargs $(PIP) --no-deps --index-url $(TORCH_INDEX) && \
    $(WITHOUT_TORCH) requirements/$(1).txt > .venv/$(1).txt && $(call install,.venv/$(1).txt,$(2))
else
locked = $(call install,requirements/$(1).txt,$(2))
endif

# Which of the two is said before minutes are spent on it.
define about_torch
if [ -z '$(TORCH)' ] && [ "$$(uname -s)" = Linux ] && ! command -v nvidia-smi > /dev/null; then \
    echo 'There is no NVIDIA GPU here, and 6.4 GB will be installed, half of them for one. Without that half, from the'; \
    echo 'index that PyTorch documents ($(TORCH_INDEX)): make $(MAKECMDGOALS) TORCH=cpu'; \
fi
endef

.PHONY: demo test test-oldest lint lock clean

# One thread: nets this small gain little from a second, and on two busy cores two threads that wait for each other took
# 321 s where one took 89. The last line that summarize.py prints is the path of the page.
demo: .venv/.installed
	OMP_NUM_THREADS=1 $(BIN)/python train.py experiment=demo
	@$(BIN)/python summarize.py multirun/demo

test: .venv/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_WORKERS)

# The oldest versions that pyproject.toml allows of what it names, in an environment of their own.
test-oldest:
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip --disable-pip-version-check --quiet install uv
	.venv-oldest/bin/uv pip install --quiet --python .venv-oldest/bin/python --resolution lowest-direct --editable '.[dev]'
	OMP_NUM_THREADS=1 .venv-oldest/bin/python -m pytest -n $(TEST_WORKERS)

lint: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Reads pyproject.toml and keeps each version that is still right; UPGRADE=--upgrade takes the newest ones. The same files
# serve every platform and Python from 3.11 on. What the demo needs is a part of what the tests need.
lock:
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip --disable-pip-version-check --quiet install uv
	$(COMPILE) --extra dev --output-file requirements/test.txt
	$(COMPILE) --constraint requirements/test.txt --output-file requirements/demo.txt

clean:
	rm -rf .venv .venv-oldest .venv-lock build dist .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.installed: pyproject.toml requirements/demo.txt | .venv/bin/pip
	@$(about_torch)
	@echo 'installing into .venv (PyTorch is large: this takes some minutes)'
	@$(call locked,demo,)
	@touch $@

.venv/.installed-dev: pyproject.toml requirements/test.txt | .venv/bin/pip
	@$(about_torch)
	@echo 'installing into .venv, with the tools of development (PyTorch is large: this takes some minutes)'
	@$(call locked,test,[dev])
	@touch .venv/.installed $@

.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "cifarlab needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || true)." >&2; \
	    echo "Name one that is: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv .venv
