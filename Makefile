PYTHON ?= python3
# The version that the tests run on; any recent one works. Use TORCH=... for a CPU or another CUDA build.
TORCH ?= torch==2.13.0
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: test test-all test-quick test-browser demo comfy clean

# CHOSEN: markers of the tests that run.
CHOSEN = not long
test: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/pytest -c tests/pytest.ini -n logical --maxprocesses 4 -m "$(CHOSEN)" tests/unit tests/parity
	OMP_NUM_THREADS=1 $(BIN)/pytest -c tests/pytest.ini -n logical --maxprocesses 2 tests/host

# Also what takes ten seconds or more a test: more than an hour on two cores.
test-all: CHOSEN =
test-all: test

# A minute on two cores: no linters, and only tests that take little.
test-quick: $(VENV)/installed
	OMP_NUM_THREADS=1 $(BIN)/pytest -c tests/pytest.ini -n logical --maxprocesses 4 -m "not slow and not long" tests/unit tests/parity

# In a real browser: needs Chromium, and a ComfyUI as the other tests find it.
test-browser: $(VENV)/installed
	$(BIN)/pip install --quiet playwright
	$(BIN)/pytest -c tests/pytest.ini tests/browser

demo: $(VENV)/installed
	$(BIN)/magicbokeh demo --output demo_output

# A real ComfyUI with this folder linked in: the one at COMFYUI_PATH (run by COMFYUI_PYTHON), or one that comfy-cli installs.
# COMFY_ARGS goes to ComfyUI, for example COMFY_ARGS=--cpu.
# COMFY_INSTALL tells comfy-cli for which device: --nvidia, --amd, --m-series or --cpu.
COMFYUI_PYTHON ?= python3
COMFY_INSTALL ?= --nvidia
comfy:
ifdef COMFYUI_PATH
	ln -sfn "$(CURDIR)" "$(COMFYUI_PATH)/custom_nodes/magicbokeh"
	cd "$(COMFYUI_PATH)" && "$(COMFYUI_PYTHON)" main.py $(COMFY_ARGS)
else
	test -d .comfy/venv || $(PYTHON) -m venv .comfy/venv
	.comfy/venv/bin/pip install --quiet comfy-cli
	test -d .comfy/ComfyUI || .comfy/venv/bin/comfy --skip-prompt --workspace .comfy/ComfyUI install $(COMFY_INSTALL)
	ln -sfn "$(CURDIR)" .comfy/ComfyUI/custom_nodes/magicbokeh
	.comfy/venv/bin/comfy --skip-prompt --workspace .comfy/ComfyUI launch -- $(COMFY_ARGS)
endif

$(VENV)/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet $(TORCH)
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) demo_output
