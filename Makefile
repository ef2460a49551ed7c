# Every target makes .venv when it is missing. `demo` takes the light device install; the others add what dev needs.
#   make demo    a blurred video of a moving picture, a contact sheet and a timing table, under demo/
#   make test    the tests
#   make test-arm64  the bundled model on 64-bit Arm, by qemu, against this machine; makes .arm64 (mmdebstrap, qemu-user)
#   make test-window the live window on a virtual screen, keys pressed; makes .venv-window (wants Xvfb, xdotool)
#   make check   style, types, floors between the folders, contents of the wheel
#   make bench   the comparisons in benchmarks/; makes .venv-peer, where MediaPipe lives
#   make bench-portrait  the portrait models beside MediaPipe's: accuracy in int8, latency of the faster file
#   make bench-live  speed and quality of live portrait blur beside MediaPipe's; pictures of the worst and best frames
#                in PICTURES
#   make soak    100,000 frames of a camera that fails now and then: does anything grow? About 12 minutes
#   make bench-serve  what batching gains, what HTTP adds, and whether anything is lost when replicas are killed
#   make model   the bundled models again, from their recipes; DATA=folder with data/ and models/, hours of training
#   make server-model  the server's portrait model, from scratch: hours on a GPU, days without; goes on where it stopped.
#                STAGES='[{size_hw=[128, 128], epochs=3}]' for a shorter one; KERAS_BACKEND=jax where jax sees the GPU

PYTHON := .venv/bin/python
PIP := $(PYTHON) -m pip install --quiet --disable-pip-version-check --constraint constraints/constraints.txt
DATA ?= ../shared
PORTRAITS = $(DATA)/data/portraits
DEMO ?= demo
RUNS ?= runs
SERVER_RUN ?= runs/portrait-server
STAGES ?=
# On GPUs all of them are used, in mixed precision.
COMPUTE ?= $(shell nvidia-smi -L 2>/dev/null | grep -q GPU && echo --devices 0 --set compute.precision=bfloat16)
PICTURES ?= runs/bench_live
# Compiled when the package is installed, so a change of theirs is an install.
KERNELS := $(wildcard edge_deeplab/kernels/*.[ch])
# A python of 3.11 or later that can make environments; override with `make SYSTEM_PYTHON=/path/to/python`.
SYSTEM_PYTHON ?= $(shell for name in python3.11 python3 python3.12 python3.13; do \
	$$name -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$name; break; }; done)

.PHONY: bench-portrait bench-serve demo test test-arm64 test-window check bench bench-live soak model one-training one-tuning \
	server-model clean
.DEFAULT_GOAL := test

.venv/made:
	@test -n "$(SYSTEM_PYTHON)" || { echo "needs Python 3.11 or later with its venv module; none found on PATH" >&2; exit 1; }
	$(SYSTEM_PYTHON) -m venv .venv
	$(PIP) setuptools
	@touch $@

# The two installs share one .venv; dev holds all of light, so light never takes anything away.
.venv/light: .venv/made pyproject.toml constraints/constraints.txt $(KERNELS)
	test -e .venv/dev || $(PIP) --no-build-isolation --editable '.[headless,media,demo]'
	@touch $@

.venv/dev: .venv/made pyproject.toml constraints/constraints.txt $(KERNELS)
	$(PIP) --no-build-isolation --editable '.[dev]'
	@touch $@

demo: .venv/light
	.venv/bin/edge-deeplab demo --output $(DEMO) --force

# Two modules at a time, each whole in one process: what a module makes once, such as a server, is made once.
test: .venv/dev
	$(PYTHON) -m pytest -q --numprocesses 2 --dist loadfile

.arm64/made: tests/arm64/make_root.sh constraints/constraints.txt .venv/made
	rm -f $@
	tests/arm64/make_root.sh .arm64 $(PYTHON)

test-arm64: .venv/dev .arm64/made
	$(PYTHON) -m pytest -q tests/arm64

# OpenCV with windows, as the extra `device` brings it; it and the headless one of .venv both bring cv2.
.venv-window/made: pyproject.toml constraints/constraints.txt
	$(SYSTEM_PYTHON) -m venv .venv-window
	.venv-window/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints/constraints.txt \
		--editable '.[device,media]'
	@touch $@

test-window: .venv/dev .venv-window/made
	$(PYTHON) -m pytest -q tests/window

# import-linter and mypy do not follow the folders that setuptools maps into the package, so they read an installed copy.
check: .venv/dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	rm -rf build/site build/lib* build/bdist.*
	$(PIP) --no-deps --no-build-isolation --target build/site .
	cd build/site && ../../.venv/bin/lint-imports --config ../../pyproject.toml --cache-dir ../../.import_linter_cache
	.venv/bin/mypy build/site/edge_deeplab
	$(PYTHON) -m pytest -q tests/architecture

.venv-peer/made: constraints/peer.txt
	$(SYSTEM_PYTHON) -m venv .venv-peer
	.venv-peer/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints/peer.txt mediapipe
	@touch $@

bench: .venv/dev .venv-peer/made
	$(PYTHON) benchmarks/import_cost.py
	$(PYTHON) benchmarks/peer_model_speed.py .venv-peer/bin/python
	@test -d "$(PORTRAITS)/val/images" || echo "no pictures in $(PORTRAITS)/val: quality beside MediaPipe is not measured"
	test ! -d "$(PORTRAITS)/val/images" || { \
		$(PYTHON) benchmarks/peer_quality.py .venv-peer/bin/python --data "$(PORTRAITS)/val" && \
		$(PYTHON) benchmarks/mediapipe_loads.py --peer-python .venv-peer/bin/python --model portrait \
			--pictures "$(PORTRAITS)/val"; }

bench-portrait: .venv/dev .venv-peer/made
	@test -d "$(PORTRAITS)/val/images" || { echo "no pictures in $(PORTRAITS)/val; give DATA=FOLDER" >&2; exit 1; }
	$(PYTHON) benchmarks/portrait_table.py .venv-peer/bin/python --data "$(PORTRAITS)"

bench-live: .venv/dev .venv-peer/made
	$(PYTHON) benchmarks/live_speed.py .venv-peer/bin/python
	$(PYTHON) benchmarks/live_speed.py .venv-peer/bin/python --part frames --threads 1
	$(PYTHON) benchmarks/looks_cost.py --pictures $(PICTURES)
	$(PYTHON) benchmarks/pipeline_overlap.py
	$(PYTHON) benchmarks/governor_hold.py
	test ! -d "$(DATA)/clips" || { \
		$(PYTHON) benchmarks/matte_reuse.py --clips "$(DATA)/clips" --pictures $(PICTURES) && \
		$(PYTHON) benchmarks/quality_ladder.py --clips "$(DATA)/clips" --pictures $(PICTURES); }
	@test -d "$(PORTRAITS)/val/images" || echo "no pictures in $(PORTRAITS)/val: quality is not measured"
	test ! -d "$(PORTRAITS)/val/images" || $(PYTHON) benchmarks/live_quality.py .venv-peer/bin/python \
		--data "$(PORTRAITS)" --clips "$(DATA)/clips" --pictures $(PICTURES)

soak: .venv/dev
	$(PYTHON) benchmarks/soak.py --frames 100000 --faults 2000 --gate

bench-serve: .venv/dev
	$(PYTHON) benchmarks/serve_load.py --gate

# Every line goes on, or starts, where an earlier `make model` stopped; the last one holds the gates of the bundled models.
# The largest comes first, it teaches the others. Results stay in $(RUNS)/tuned; copy them to edge_deeplab/assets/ when they
# are better than what is there.
model: .venv/dev
	@test -d "$(PORTRAITS)/train/images" || { echo "no pictures in $(PORTRAITS)/train; give DATA=FOLDER" >&2; exit 1; }
	$(MAKE) one-training NAME=portrait-large
	$(MAKE) one-training NAME=portrait-large-more SET="--set start.model=$(RUNS)/portrait-large/portrait-large.keras"
	$(MAKE) one-training NAME=portrait-large-256 \
		SET="--set start.model=$(RUNS)/portrait-large-more/portrait-large.keras"
	for name in portrait portrait-small; do $(MAKE) one-training NAME=$$name \
		SET="--set teacher.model=$(RUNS)/portrait-large/portrait-large.keras" || exit $$?; done
	$(MAKE) one-training NAME=portrait-more SET="--set start.model=$(RUNS)/portrait/portrait.keras \
		--set teacher.model=$(RUNS)/portrait-large-more/portrait-large.keras"
	for model in "portrait-large portrait-large-256 256x256 val:0.94 val_wild:0.70" \
			"portrait portrait-more 224x224 val:0.93 val_wild:0.63" \
			"portrait-small portrait-small 144x144 val:0.91 val_wild:0.57"; do \
		set -- $$model; $(MAKE) one-tuning NAME=$$1 FLOAT=$(RUNS)/$$2/$$1.keras SIZE=$$3 FLOORS="$$4 $$5" || exit $$?; done

one-training:
	.venv/bin/edge-deeplab train edge_deeplab/recipes/$(subst -,_,$(NAME)).toml --data "$(DATA)" --output $(RUNS)/$(NAME) \
		$(SET) $$(test ! -e $(RUNS)/$(NAME)/checkpoint.npz || echo --resume)

one-tuning: TUNED = $(RUNS)/tuned/$(NAME)
one-tuning:
	mkdir -p $(TUNED)
	test -e $(TUNED)/$(NAME).calib || .venv/bin/edge-deeplab calibrate --output $(TUNED)/$(NAME).calib --size $(SIZE) \
		"$(PORTRAITS)/train" "$(PORTRAITS)/train_open" "$(PORTRAITS)/train_wild"
	test -e $(TUNED)/$(NAME).qat || .venv/bin/edge-deeplab tune $(FLOAT) --output $(TUNED)/$(NAME).qat \
		--calibration $(TUNED)/$(NAME).calib --recipe edge_deeplab/recipes/portrait_tune.toml --data "$(DATA)"
	.venv/bin/edge-deeplab convert $(TUNED)/$(NAME).qat --output $(TUNED)/$(NAME).tflite --force
	for set in $(FLOORS); do .venv/bin/edge-deeplab evaluate $(FLOAT) $(TUNED)/$(NAME).qat $(TUNED)/$(NAME).tflite \
		--data "$(PORTRAITS)/$${set%:*}" --min-person-iou $${set#*:} || exit $$?; done

server-model: .venv/dev
	@test -d "$(PORTRAITS)/train/images" || { echo "no pictures in $(PORTRAITS)/train; give DATA=FOLDER" >&2; exit 1; }
	.venv/bin/edge-deeplab train edge_deeplab/recipes/portrait_server.toml --data "$(DATA)" --output $(SERVER_RUN) \
		$(COMPUTE) $(if $(STAGES),--set 'stages=$(STAGES)') $$(test ! -e $(SERVER_RUN)/checkpoint.npz || echo --resume)
	for set in val val_wild; do \
		.venv/bin/edge-deeplab evaluate $(SERVER_RUN)/portrait-server.keras --data "$(PORTRAITS)/$$set" || exit $$?; done

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
