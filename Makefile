# make demo   from the shipped model to a bitstream, with a table at the end
# make test   style, types and every test
# make setup  only install what the two need: .venv, and Debian packages where that is allowed
# make lint   style and types alone
# make clean  remove what was made; .venv stays

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test setup lint clean system
.DELETE_ON_ERROR:

demo: system $(READY)
	$(BIN)/spikeloom demo

# Two processes on two cores: PyTorch's own threads would only get in each other's way.
test: system $(READY) lint
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -n 2 $(PYTEST_OPTIONS)

setup: system $(READY)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p spikeloom

system:
	@PYTHON="$(PYTHON)" .ci/system-packages

# torch first and pinned: what an unpinned one brings along is gigabytes of GPU libraries. So does SpikingJelly, whose
# neurons the tests compare ours with: without its dependencies, of which the tests' extra has the one it needs.
$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet torch==2.13.0
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --editable '.[test]'
	$(BIN)/python -m pip install --quiet --no-deps spikingjelly==2.0.0
	@touch $@

clean:
	rm -rf build .pytest_cache .ruff_cache .mypy_cache
