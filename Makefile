# Everything runs in .venv, which the targets make themselves:
#
#   make demo        train the tutorial's GAN on digits and evaluate the samples
#   make test        what CI runs
#   make test-all    that, and the tests that take long or download much
#   make docs        the site, in build/site
#   make dist        what is published, built and checked, in dist
#   make kernels     the operations for Hugging Face's kernels, in build/kernels
#   make lint format cpp-test bench
#
# TORCH names the torch to install, e.g. make demo TORCH='torch==2.13.0'; PYTHON the interpreter.
PYTHON ?= python3
TORCH ?= torch
VENV ?= .venv

PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check
CACHE := $(VENV)/cache
PYTEST := $(PY) -m pytest --timeout 900

BUILD_INPUTS := pyproject.toml setup.py CMakeLists.txt $(wildcard cmake/*) \
  $(wildcard build_backend/gankit_build/*.py) $(wildcard csrc/*.cpp csrc/*/*)
TORCH_STAMP := $(VENV)/.torch-$(shell printf '%s' '$(TORCH)' | cksum | cut -d' ' -f1)
CXX_SOURCES := $(wildcard csrc/*.cpp csrc/*/*.h csrc/*/*.cpp csrc/*/*.cu)

.PHONY: demo test test-all lint format bench docs dist kernels cpp-test dev \
  check-headers check-machine-code check-wheel test-ops test-python test-triton test-slow \
  test-slow-ops test-settings clean
.DEFAULT_GOAL := test

# --- set-up -----------------------------------------------------------------------------------

$(TORCH_STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "gankit needs Python 3.10 or later, $(PYTHON) is " + sys.version.split()[0])'
	@echo "Setting up $(VENV): $(TORCH) (the first time takes some minutes)"
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@$(PIP) install -qq '$(TORCH)'
	@rm -f $(VENV)/.torch-* $(VENV)/.train $(VENV)/.dev
	@touch $@

$(VENV)/.train: $(TORCH_STAMP) $(BUILD_INPUTS)
	@echo "Building and installing gankit into $(VENV)"
	@$(PIP) install -qq --editable '.[train]'
	@PYTHONPATH=build_backend $(PY) -m gankit_build
	@touch $@

$(VENV)/.dev: $(TORCH_STAMP) $(BUILD_INPUTS)
	@echo "Building and installing gankit and its test tools into $(VENV)"
	@$(PY) tools/install_nvcc.py
	@GANKIT_BUILD=$${GANKIT_BUILD:-auto} $(PIP) install -qq --editable '.[dev]'
	@PYTHONPATH=build_backend $(PY) -m gankit_build
	@touch $(VENV)/.train $@

dev: $(VENV)/.dev

# --- use --------------------------------------------------------------------------------------

demo: $(VENV)/.train
	@$(PY) -m examples.demo

bench: $(VENV)/.dev
	@mkdir -p build
	$(PY) -m pytest benchmarks --benchmark-only --benchmark-json=build/benchmarks.json
	$(PY) -m benchmarks.report build/benchmarks.json

# Any warning is an error: a link without a target, a page that is not in the navigation.
docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet

# The sdist and the wheel of this Python: repaired, checked, and used in a bare environment.
dist: $(VENV)/.dev
	$(PY) tools/build_wheels.py dist $(CACHE)

kernels:
	@$(PYTHON) tools/kernel_layout.py build/kernels/gankit-ops

# --- checks -----------------------------------------------------------------------------------

CHECKS := test-python test-ops cpp-test check-wheel test-triton lint check-headers \
  check-machine-code

# Every check runs even when one fails. JOBS of them at a time, the longest first, each with its
# output in one piece.
JOBS ?= 2
EACH := --keep-going --no-print-directory --jobs $(JOBS) \
  $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)

test: $(VENV)/.dev
	@echo "Running $(words $(CHECKS)) checks, $(JOBS) at a time; each says what it found when it is done"
	@$(MAKE) $(EACH) $(CHECKS)

test-all: $(VENV)/.dev
	@$(MAKE) $(EACH) test-slow test-settings test-slow-ops $(CHECKS)

# A part that GANKIT_BUILD insists on must be there: its tests fail instead of being skipped.
REQUIRE_cpu := native-cpu
REQUIRE_cuda := native-cpu,native-cuda
IN_CI := GANKIT_TEST_REQUIRE=$(REQUIRE_$(GANKIT_BUILD)) $(PYTEST) -m "not slow"

# The Python tests in two parts, so that JOBS cores have work to the end.
OPS := tests/accelerate tests/nn tests/ops

test-ops: $(VENV)/.dev
	$(IN_CI) $(OPS)

test-python: $(VENV)/.dev
	$(IN_CI) $(OPS:%=--ignore=%)

SLOW := $(PYTEST) -m slow --timeout 7200

test-slow: $(VENV)/.dev
	$(SLOW) $(OPS:%=--ignore=%)

test-slow-ops: $(VENV)/.dev
	$(SLOW) $(OPS)

# Under other instruction sets, numbers of threads and an older torch, where numbers round otherwise.
test-settings: $(VENV)/.dev
	$(PY) tools/test_under_settings.py $(CACHE)

# A process of its own: Triton reads the variable when it is imported. Every test that runs on a
# backend has its name in brackets, as [triton-cpu-leaky_relu_dropout-torch.float32-contiguous].
test-triton: $(VENV)/.dev
	TRITON_INTERPRET=1 GANKIT_TEST_REQUIRE=triton-cpu $(PYTEST) tests/ops -k triton -m "not slow" -q

lint: $(VENV)/.dev
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/clang-format --dry-run -Werror $(CXX_SOURCES)
	$(PY) tools/check_house_rules.py

format: $(VENV)/.dev
	$(VENV)/bin/ruff check --fix
	$(VENV)/bin/ruff format
	$(VENV)/bin/clang-format -i $(CXX_SOURCES)

# ASan and UBSan with the SIMD clones, TSan without them, and the flags that ship.
cpp-test: $(VENV)/.dev
	$(PY) tools/run_cpp_tests.py build/cpp-tests

check-headers: $(VENV)/.dev
	$(PY) tools/check_headers.py $(CACHE)

check-machine-code: $(VENV)/.dev
	$(PY) tools/check_machine_code.py

check-wheel: $(VENV)/.dev
	$(PY) tools/check_wheel.py $(CACHE)

clean:
	rm -rf build dist *.egg-info gankit/*.so gankit/_build_report.json
