# Every verb is a thin line over a command that you can type yourself.
.DEFAULT_GOAL := help
SHELL := /bin/bash
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV ?= .venv
# The default lab's; another lab's (LAB_NAME) is in its own folder.
INVENTORY ?= $(if $(filter-out demo,$(LAB_NAME)),.lab/$(LAB_NAME)/inventory,inventories/lab)
# The mirror's settings.
MIRROR ?= mirror.yml
# Further arguments for ansible-playbook: ARGS='--limit web1 --check --diff --ask-vault-pass'
ARGS ?=
# How often `make bench` measures each mark.
RUNS ?= 1
# What a drain says while it waits must be seen at once, in a pipe too.
export PYTHONUNBUFFERED = 1
PY = $(VENV)/bin/python
# Molecule and ansible-lint look for their programs on PATH.
export PATH := $(abspath $(VENV)/bin):$(PATH)
export PYTHON
# What .venv was made for: provisioning, the lab too, tests and lint too. A larger set serves the smaller.
DEV = $(VENV)/.stamp-dev
LAB := $(firstword $(wildcard $(DEV)) $(VENV)/.stamp-lab)
STAMP := $(firstword $(wildcard $(DEV) $(VENV)/.stamp-lab) $(VENV)/.stamp)
LINK = .ansible/collections/ansible_collections/runnerhost/toolkit

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 17

.PHONY: venv
venv: $(STAMP) $(LINK) ## Make the controller's Python environment in .venv

# requirements.txt provisions and verifies; the lab and the tests have more.
$(VENV)/.stamp: requirements.txt
$(VENV)/.stamp-lab: requirements-lab.txt
$(VENV)/.stamp-dev: requirements-dev.txt
$(VENV)/.stamp $(VENV)/.stamp-lab $(VENV)/.stamp-dev:
	@tools/system-packages controller
	@test -x $(PY) || tools/step "making $(VENV)" $(PYTHON) -m venv $(VENV)
	@$(PY) tools/python-packages $<
	@touch $@

.PHONY: lab-venv
lab-venv: $(LAB) $(LINK)

.PHONY: dev-venv
dev-venv: $(DEV) $(LINK)

# A plain clone resolves runnerhost.toolkit.* through this link.
$(LINK):
	@mkdir -p $(dir $@)
	@ln -sfn ../../../.. $@

.PHONY: lab-packages
lab-packages:
	@tools/system-packages lab

.PHONY: demo
demo: export RUNNERHOST_STARTED := $(shell date +%s)
demo: lab-packages lab-venv ## Lab, one provisioned host, a real build job, and what you got
	@$(PY) -m lab demo

.PHONY: provision
provision: venv ## Provision hosts: INVENTORY=… ARGS='--limit … --check --diff'
	$(VENV)/bin/ansible-playbook -i $(INVENTORY) playbooks/site.yml $(ARGS)

.PHONY: upgrade
upgrade: venv ## Upgrade the runner, a few hosts at a time: INVENTORY=… ARGS='-e upgrade_serial=1'
	$(VENV)/bin/ansible-playbook -i $(INVENTORY) playbooks/upgrade.yml $(ARGS)

.PHONY: reboot
reboot: venv ## Restart hosts that ask for it, one at a time, when no job runs: INVENTORY=…
	$(VENV)/bin/ansible-playbook -i $(INVENTORY) playbooks/reboot.yml $(ARGS)

.PHONY: rotate
rotate: venv ## Give each runner a new token now: INVENTORY=…
	$(VENV)/bin/ansible-playbook -i $(INVENTORY) playbooks/rotate.yml $(ARGS)

.PHONY: adopt
adopt: venv ## Write the variables for what hosts have already to adopted/HOST.yml: INVENTORY=…
	$(VENV)/bin/ansible-playbook -i $(INVENTORY) playbooks/adopt.yml $(ARGS)

.PHONY: retire
retire: venv ## Take hosts out of service: INVENTORY=… ARGS='--limit NAME'
	$(VENV)/bin/ansible-playbook -i $(INVENTORY) playbooks/retire.yml $(ARGS)

.PHONY: prepare-upgrade
prepare-upgrade: venv ## Say what stands in the way of the system's upgrade: INVENTORY=… ARGS='-e prepare_upgrade_apply=true'
	$(VENV)/bin/ansible-playbook -i $(INVENTORY) playbooks/prepare_upgrade.yml $(ARGS)

.PHONY: image
image: venv ## Bake an image of a runner host, without a token: INVENTORY=… ARGS='--limit NAME'
	$(VENV)/bin/ansible-playbook -i $(INVENTORY) playbooks/image.yml $(ARGS)

.PHONY: mirror
mirror: venv ## Snapshot the packages that hosts need, signed with your key: MIRROR=mirror.yml ARGS='--list'
	@tools/system-packages mirror
	@PYTHONPATH=.ansible/collections $(PY) -m ansible_collections.runnerhost.toolkit.mirror $(MIRROR) $(ARGS)

.PHONY: verify
verify: venv ## Ask GitLab about each runner, and check that hosts are what tests/host says: INVENTORY=… (changes nothing)
	$(VENV)/bin/ansible-playbook -i $(INVENTORY) playbooks/verify.yml $(ARGS)

.PHONY: lint
lint: dev-venv ## ansible-lint (production), ruff, mypy (strict), changelog fragments
	tools/lint $(VENV)/bin
	$(VENV)/bin/antsibull-changelog lint

.PHONY: unit
unit: dev-venv ## Unit tests
	$(PY) -m pytest -q tests/unit $(ARGS)

.PHONY: unit-lab
unit-lab: dev-venv
	$(PY) -m pytest -q tests/unit/lab tests/unit/standins

.PHONY: unit-rest
unit-rest: dev-venv
	$(PY) -m pytest -q tests/unit --ignore tests/unit/lab --ignore tests/unit/standins

.PHONY: test-fast
test-fast: dev-venv ## Lint and unit tests, side by side: under two minutes
	@$(MAKE) -j3 -Otarget lint unit-lab unit-rest

.PHONY: test
test: lab-packages dev-venv ## All but the slowest suites: about 35 minutes on two cores; needs containers
	@$(PY) -m tests

.PHONY: test-full
test-full: lab-packages dev-venv ## The same and each role alone, which takes longer
	@$(PY) -m tests --full

.PHONY: bench
bench: lab-packages dev-venv ## Measured claims, each against its limit: RUNS=3
	@$(PY) -m bench --runs $(RUNS)

.PHONY: bench-jobs
bench-jobs: lab-packages dev-venv ## A stream of jobs while every verb runs: none may be lost
	@$(PY) -m bench.jobs_survive

.PHONY: docs
docs: venv ## Write docs/roles.md anew from the argument specs
	$(PY) -m tools.reference

.PHONY: changelog
changelog: dev-venv ## Write CHANGELOG.md anew from changelogs/
	tools/changelog

.PHONY: collection
collection: venv ## Build the collection of the last commit: dist/*.tar.gz
	@$(PY) -m tools.collection dist

.PHONY: lab-up
lab-up: lab-packages lab-venv ## Bring up the lab: hosts, mirror, GitLab
	@$(PY) -m lab up

.PHONY: lab-down
lab-down: lab-venv ## Take the lab down; only the cache stays
	@$(PY) -m lab down

.PHONY: lab-shell
lab-shell: lab-venv ## A shell on a lab host: HOST=jammy
	@$(PY) -m lab shell $(HOST)

.PHONY: lock
lock: ## Lock the Python packages anew: requirements*.in -> requirements*.txt
	tools/lock $(PYTHON)

.PHONY: clean
clean: ## Take the lab down and remove .venv and caches of this folder
	@if test -x $(PY); then $(PY) -m lab down; fi
	rm -rf $(VENV) .ansible .lab tests/output .mypy_cache .ruff_cache .pytest_cache
