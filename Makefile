# Everything on a fresh machine that has Python 3.11 or newer and make; a C++ compiler makes it fast.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= demo

.PHONY: help demo test test-all format clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /: /' | awk -F': ' '{printf "make %-10s %s\n", $$1, $$2}'

demo: $(VENV)/installed-all  ## distil, export, prove and measure a student on real data (OUT=demo)
	$(BIN)/graphstill demo --out $(OUT)

test: $(VENV)/installed-dev  ## format, lint, types, import contracts and the tests of minutes
	scripts/check

test-all: test  ## the same, then the long tests
	scripts/check --slow

format: $(VENV)/installed-dev  ## put the code into shape
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

clean:  ## remove what the targets made
	rm -rf $(VENV) build dist kernels/native/*.so serve/native/*.so

# an installation is redone when what it depends on changed: settings, build hook, C++ sources
$(VENV)/installed-%: pyproject.toml hatch_build.py $(wildcard */native/*.cpp */native/*.h)
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	touch $@
