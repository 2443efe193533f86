# Everything is installed into .venv, which is made from $(PYTHON).
PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
STAMP := $(VENV)/installed
CPP := $(wildcard runtime/native/*.cpp runtime/native/core/*.[ch]pp runtime/kernels/*.cu* tests/native/*.cpp \
    tests/runtime/fakes/*.hpp)

export PATH := $(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: install demo test lint format tables clean

install: $(STAMP)

# uv takes a third of pip's time. It does not read pip's configuration, so where packages come only from an index
# that pip alone knows of, pip does the work.
$(STAMP): pyproject.toml constraints.txt CMakeLists.txt $(wildcard cmake/*.cmake) $(CPP)
	$(PYTHON) -m venv $(VENV)
	pip install --quiet --constraint constraints.txt pip uv
	VIRTUAL_ENV=$(VENV) uv pip install --constraint constraints.txt --compile-bytecode --group dev --extra all \
	    --requirements pyproject.toml || pip install --constraint constraints.txt --group dev '.[all]'
	pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

# The first sight: the shipped model becomes an int8 package, which then runs on the shipped clip.
demo: $(STAMP)
	rm -rf demo
	mkdir demo
	cd demo && argus-export --tasks det,seg --precision int8
	cd demo && argus-run nano.argus --source ../examples/scenes.mp4 --score 0.25 --out .

# A process of one thread on each core: on few cores threads that wait for one another cost more than they bring.
test: lint
	OMP_NUM_THREADS=1 pytest --numprocesses auto --dist loadfile

lint: $(STAMP)
	ruff check .
	ruff format --check .
	clang-format --dry-run -Werror $(CPP)
	mypy
	lint-imports --no-cache

format: $(STAMP)
	ruff check --fix .
	ruff format .
	clang-format -i $(CPP)

# Figures of README and docs from benchmarks/results.
tables: $(STAMP)
	python benchmarks/tables.py

clean:
	rm -rf build demo dist argus_edge/runtime argus_edge/train argus_edge/export runtime/_native* runtime/_openvino_ops*
	rm -rf $(VENV)/installed
