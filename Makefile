# make demo   set up, then run the main job on the embedded corpus
# make test   set up, then pass the checks and the tests
# make lint   the checks alone
# make bench  set up, then measure (docs/performance.md)

PYTHON ?= python3
JOBS ?= 2
VENV ?= .venv
BIN := $(VENV)/bin
EXTRAS ?= dev,opensmile,audformat,tracking,video,augment,search,ray,lora,explain,server,onnx
READY := $(VENV)/.ready
export TOKENIZERS_PARALLELISM = false

.PHONY: demo test lint bench setup clean

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	touch $@

setup: $(READY)

demo: setup
	$(BIN)/emofuse demo -o demo

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(JOBS) --dist loadfile -m 'not slow and not gpu'

bench: setup
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) demo build dist
