# SPDX-License-Identifier: GPL-3.0-or-later
# Every target wraps a command that you can also run directly.
.DEFAULT_GOAL := help
SHELL := /bin/bash
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV ?= .venv
# The inventory of the default lab, or of the lab LAB_NAME.
INVENTORY ?= $(if $(filter-out demo,$(LAB_NAME)),.lab/$(LAB_NAME)/inventory,inventories/lab)
# Settings of `make mirror`.
MIRROR ?= mirror.yml
# Additional arguments for ansible-playbook: ARGS='--limit web1 --check --diff --ask-vault-pass'
ARGS ?=
COMMA := ,
# How many times `make bench` repeats each measurement.
RUNS ?= 1
# Show the progress of a drain immediately, even in a pipe.
export PYTHONUNBUFFERED = 1
PY = $(VENV)/bin/python
# Molecule and ansible-lint search PATH for their programs.
export PATH := $(abspath $(VENV)/bin):$(PATH)
export PYTHON
# The installed set in .venv: provisioning; also the lab; also tests and lint. A larger set contains the smaller ones.
DEV = $(VENV)/.stamp-dev
LAB := $(firstword $(wildcard $(DEV)) $(VENV)/.stamp-lab)
STAMP := $(firstword $(wildcard $(DEV) $(VENV)/.stamp-lab) $(VENV)/.stamp)
LINK = .ansible/collections/ansible_collections/runnerhost/toolkit

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 17

.PHONY: venv
venv: $(STAMP) $(LINK) ## Create the controller's Python environment in .venv

# requirements.txt is enough to provision and verify; the lab and the tests need more.
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
demo: lab-packages lab-venv ## Start a lab, provision a host, run a build job, and show the result
	@$(PY) -m lab demo

.PHONY: demo-release
demo-release: export RUNNERHOST_STARTED := $(shell date +%s)
demo-release: lab-packages lab-venv ## Release a C extension from a pushed tag to an index, in the lab, and show the result
	@$(PY) -m lab demo-release

.PHONY: provision
provision: venv ## Bring hosts to the state in the inventory: INVENTORY=… ARGS='--limit … --check --diff'
	$(VENV)/bin/ansible-playbook -i $(INVENTORY) playbooks/site.yml $(ARGS)

.PHONY: upgrade
upgrade: venv ## Upgrade the runner, a few hosts at a time: INVENTORY=… ARGS='-e gitlab_runner_upgrade_serial=1'
	$(VENV)/bin/ansible-playbook -i $(INVENTORY) playbooks/upgrade.yml $(ARGS)

.PHONY: reboot
reboot: venv ## Restart hosts that require it, one at a time, when no job runs: INVENTORY=…
	$(VENV)/bin/ansible-playbook -i $(INVENTORY) playbooks/reboot.yml $(ARGS)

.PHONY: rotate
rotate: venv ## Give each runner a new token immediately: INVENTORY=…
	$(VENV)/bin/ansible-playbook -i $(INVENTORY) playbooks/rotate.yml $(ARGS)

.PHONY: adopt
adopt: venv ## Write variables for existing hosts to adopted/HOST.yml: INVENTORY=…
	$(VENV)/bin/ansible-playbook -i $(INVENTORY) playbooks/adopt.yml $(ARGS)

.PHONY: retire
retire: venv ## Take hosts out of service: INVENTORY=… ARGS='--limit NAME'
	$(VENV)/bin/ansible-playbook -i $(INVENTORY) playbooks/retire.yml $(ARGS)

.PHONY: prepare-upgrade
prepare-upgrade: venv ## Report obstacles to an upgrade of the operating system: INVENTORY=… ARGS='-e runner_host_prepare_upgrade_apply=true'
	$(VENV)/bin/ansible-playbook -i $(INVENTORY) playbooks/prepare_upgrade.yml $(ARGS)

.PHONY: project
project: venv ## Set variables and protected tags of projects in your GitLab: INVENTORY=… ARGS='--check --diff'
	$(VENV)/bin/ansible-playbook -i $(INVENTORY) playbooks/project.yml $(ARGS)

.PHONY: pipeline
pipeline: venv ## Write release pipelines into projects of your GitLab: INVENTORY=… ARGS='--check --diff'
	$(VENV)/bin/ansible-playbook -i $(INVENTORY) playbooks/pipeline.yml $(ARGS)

.PHONY: preflight
preflight: venv ## Compare trusted publishers with the claims of real jobs; changes nothing: INVENTORY=…
	$(VENV)/bin/ansible-playbook -i $(INVENTORY) playbooks/preflight.yml $(ARGS)

.PHONY: doctor
doctor: venv ## Say why there is no release: ARGS='-e release_pipeline_doctor_log=FILE', or INVENTORY=… ARGS='-e …_project=… -e …_tag=…'
	$(VENV)/bin/ansible-playbook -i $(if $(filter file,$(origin INVENTORY)),localhost$(COMMA),$(INVENTORY)) playbooks/doctor.yml $(ARGS)

.PHONY: revoke
revoke: venv ## In an emergency: stop releases, take tokens out, report: INVENTORY=… ARGS='--check' (docs/emergency.md)
	$(VENV)/bin/ansible-playbook -i $(INVENTORY) playbooks/revoke.yml $(ARGS)

.PHONY: watch
watch: venv ## Find files on indexes that no pipeline has released, and tokens that are due; changes nothing: INVENTORY=…
	$(VENV)/bin/ansible-playbook -i $(INVENTORY) playbooks/watch.yml $(ARGS)

.PHONY: image
image: venv ## Prepare a golden image of a runner host, without tokens: INVENTORY=… ARGS='--limit NAME'
	$(VENV)/bin/ansible-playbook -i $(INVENTORY) playbooks/image.yml $(ARGS)

.PHONY: mirror
mirror: venv ## Take a signed snapshot of all packages for hosts: MIRROR=mirror.yml ARGS='--list'
	@tools/system-packages mirror
	@PYTHONPATH=.ansible/collections $(PY) -m ansible_collections.runnerhost.toolkit.mirror $(MIRROR) $(ARGS)

.PHONY: verify
verify: venv ## Check hosts and their runners against the inventory; changes nothing: INVENTORY=…
	$(VENV)/bin/ansible-playbook -i $(INVENTORY) playbooks/verify.yml $(ARGS)

.PHONY: lint
lint: dev-venv ## ansible-lint (production), ruff, mypy (strict), changelog fragments
	tools/lint $(VENV)/bin
	$(VENV)/bin/antsibull-changelog lint

.PHONY: sanity
sanity: dev-venv ## ansible-test sanity, on the collection's artifact
	@$(PY) -m tools.sanity $(ARGS)

.PHONY: unit
unit: dev-venv ## Unit tests
	$(PY) -m pytest -q tests/unit $(ARGS)

.PHONY: unit-lab
unit-lab: dev-venv
	$(PY) -m pytest -q -m "not long" tests/unit/lab tests/unit/standins

.PHONY: unit-rest
unit-rest: dev-venv
	$(PY) -m pytest -q -m "not long" tests/unit --ignore tests/unit/lab --ignore tests/unit/standins

.PHONY: test-fast
test-fast: dev-venv ## Lint, and the unit tests that are no long ones: under two minutes
	@$(MAKE) -j3 -Otarget lint unit-lab unit-rest

.PHONY: test
test: lab-packages dev-venv ## All but the slowest suites: about 40 minutes on two cores; needs containers
	@$(PY) -m tests

.PHONY: test-full
test-full: lab-packages dev-venv ## All suites, also each role alone
	@$(PY) -m tests --full

.PHONY: bench
bench: lab-packages dev-venv ## Measure the performance claims and compare them with their limits: RUNS=3
	@$(PY) -m bench --runs $(RUNS)

.PHONY: bench-jobs
bench-jobs: lab-packages dev-venv ## Run jobs continuously during every operation and check that none is lost
	@$(PY) -m bench.jobs_survive

.PHONY: docs
docs: venv ## Generate docs/roles.md from the argument specs
	$(PY) -m tools.reference

.PHONY: changelog
changelog: dev-venv ## Generate CHANGELOG.md from changelogs/
	tools/changelog

.PHONY: collection
collection: venv ## Build the collection from the last commit: dist/*.tar.gz
	@$(PY) -m tools.collection dist

.PHONY: lab-up
lab-up: lab-packages lab-venv ## Start the lab: hosts, mirror, GitLab
	@$(PY) -m lab up

.PHONY: lab-down
lab-down: lab-venv ## Remove the lab; the cache stays
	@$(PY) -m lab down

.PHONY: lab-shell
lab-shell: lab-venv ## Open a shell on a lab host: HOST=jammy
	@$(PY) -m lab shell $(HOST)

.PHONY: lock
lock: ## Update the locks of Python packages: requirements*.in -> requirements*.txt
	tools/lock $(PYTHON)

.PHONY: clean
clean: ## Remove the lab, .venv, and the caches in this folder
	@if test -x $(PY); then $(PY) -m lab down; fi
	rm -rf $(VENV) .ansible .lab tests/output .mypy_cache .ruff_cache .pytest_cache
