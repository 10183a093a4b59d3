# Each target does its own set-up first; what is there already is passed over.
SHELL := /bin/bash
VIGIL := .venv/bin/vigil
PYTHON := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help setup servers console browser monitoring demo up down test check bench torture clean

help:            ## this list
	@grep -E '^[a-z]+: .*##|^[a-z]+:  *##' Makefile | sed -E 's/:.*##/\t/'

setup:           ## the Python environment
	@bash ops/local/setup.sh python

servers: setup   ## setup, and the servers from Debian's packages
	@bash ops/local/setup.sh servers

console: servers ## servers, and the console's map library
	@bash ops/local/setup.sh console

browser: console ## console, and what the browser tests need
	@bash ops/local/setup.sh browser

demo: console    ## everything running, with a simulated fleet; Ctrl-C stops it
	@exec $(VIGIL) demo

up: console      ## everything running, ready for use
	@$(VIGIL) up --detach

down:            ## stop what `make up` started
	@$(VIGIL) down

monitoring: browser ## browser, and what the tests of dashboards and alerts need
	@bash ops/local/setup.sh monitoring

test: monitoring ## all tests but the long ones
	@$(PYTHON) -m pytest tests sdk/python/tests -m "not long"

check: setup     ## format, lint, types, fast tests
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@$(PYTHON) -m pytest tests/unit tests/interface sdk/python/tests --ignore sdk/python/tests/test_outbox.py -q

bench: servers   ## zones, then the ledger benchmark: Vigil, a naive pipeline, the floor, a plain peer
	@bash ops/local/setup.sh peer
	@$(PYTHON) -m bench

torture: monitoring ## the long tests
	@$(PYTHON) -m pytest tests/torture
	@$(PYTHON) -m pytest tests/oracle -m long

clean: down      ## remove the environment and the local stack with its data
	@rm -rf .venv .venv-peer .vigil console/vendor tests/e2e/browser/node_modules
