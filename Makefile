# make demo   from the shipped model to a bitstream, with a table at the end
# make test   style, types and every test
# make setup  only install what the two need: .venv with the versions of constraints.txt, and Debian packages where that
#             is allowed; SYSTEM_PACKAGES=no only names them
# make lint   style and types alone
# make clean  remove what was made; .venv stays

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test setup lint clean system
.DELETE_ON_ERROR:

demo: system $(READY)
	$(BIN)/spikeloom demo

# Two processes on two cores: PyTorch's own threads would only get in each other's way. Each has the tests of whole files,
# so that what a file's tests share is made once, until one has none left and takes from the other.
test: system $(READY) lint
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -n 2 --dist worksteal $(PYTEST_OPTIONS)

setup: system $(READY)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p spikeloom

system:
	@PYTHON="$(PYTHON)" .ci/system-packages

# torch first, by its number: what an unpinned one brings along is gigabytes of GPU libraries. So does SpikingJelly, whose
# neurons the tests compare ours with: without its dependencies, of which the tests' extra has the one it needs.
PIP_INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(PIP_INSTALL) $$(grep ^torch== constraints.txt)
	PYTHONWARNINGS=ignore $(PIP_INSTALL) --editable '.[test]'
	$(PIP_INSTALL) --no-deps spikingjelly
	@touch $@

clean:
	rm -rf build .pytest_cache .ruff_cache .mypy_cache
