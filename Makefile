# Everything here is also a `dlcv` command; make only sets the environment up first.
# Nothing a student does needs make.
PYTHON ?= python3
VENV   ?= .venv
TESTERS ?= 2  # processes that share the tests, a file or a row at a time
BIN    := $(VENV)/bin
SHARED  = -n $(strip $(TESTERS)) --dist loadfile --no-loadscope-reorder
export OMP_NUM_THREADS := 1
export PATH := $(abspath $(BIN)):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all test-quick lab book bench check format verify clean

help:  ## this list
	@echo "Deep Learning for Computer Vision: an interactive workbook"
	@echo
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'
	@echo
	@echo "The first command sets everything up by itself (minutes); afterwards it is quick."

setup:  ## virtual environment, pinned packages, bubblewrap and Chromium where that needs no questions
	@$(PYTHON) tools/setup_environment.py --venv $(VENV)

demo: setup  ## chapter 3 all the way: release, a small class of submissions, sandboxed grades, feedback, book page
	@dlcv demo

test: setup  ## every test, heavy checks for rows that changed and two more; what could not run is listed at the end
	@python -m pytest $(SHARED)

test-all: setup  ## every test, and the heavy checks of all rows, which go to chapters/verified.json
	@dlcv rows
	@DLCV_ROWS=none python -m pytest $(SHARED)

test-quick: setup  ## the tests that need no kernel, browser or build (under two minutes)
	@python -m pytest $(SHARED) -m "not slow"

lab: setup  ## JupyterLab on a fresh self-study release of the chapters
	@dlcv release --to build/lab --edition self-study
	@dlcv lab build/lab

book: setup  ## the web book, in build/book
	@dlcv book

bench: setup  ## ratios of speed and memory, side by side in one run, written to build/bench
	@python benches/run.py

verify: setup  ## every exercise against stub, reference, alternatives and misconceptions
	@dlcv verify

check: setup  ## ruff (lint and format) and mypy
	@ruff check .
	@ruff format --check .
	@mypy

format: setup  ## let ruff put the code in order
	@ruff check --fix .
	@ruff format .

clean:  ## remove build/, and nothing else
	@rm -rf build
