#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the `runner_plan` action; the work is in plugins/action/runner_plan.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: runner_plan
short_description: Decides what runners need on their host, and refuses what cannot be had
description:
  - Validates the variables of the role gitlab_runner and the repository's key on the controller,
    looks at the host once, and asks apt with scratch lists what the repository offers, but only
    if something is missing or the repository's files are not as they should be. Changes nothing.
  - The options are the role's variables of the same names; see the role's argument spec.
version_added: 0.1.0
requirements: [tomlkit]
options:
  gitlab_url:
    description: The GitLab.
    type: raw
    required: true
  runners:
    description: The runners; never shown.
    type: raw
    required: true
  isolated:
    description: The isolated runners; never shown.
    type: raw
    default: []
  api_token:
    description: The access token for entries with C(gitlab); never shown.
    type: raw
    default: ""
  api_ca_certificate:
    description: The GitLab's CA on the controller.
    type: str
    default: ""
  api_proxy:
    description: The controller's proxy to GitLab.
    type: str
    default: ""
  concurrent:
    description: How many jobs the host runs at once.
    type: raw
    required: true
  settings:
    description: Further global keys.
    type: raw
    required: true
  environment:
    description: The service's environment.
    type: raw
    required: true
  environment_allowed:
    description: Names in an environment that may look like secrets.
    type: list
    elements: str
    default: []
  path:
    description: Directories for the job user's PATH.
    type: list
    elements: str
    required: true
  user:
    description: The job user.
    type: str
    required: true
  home:
    description: Its home.
    type: str
    required: true
  groups:
    description: Its further groups.
    type: raw
    default: []
  shell:
    description: Its login shell.
    type: raw
  known_hosts:
    description: SSH host keys that its jobs trust.
    type: raw
    default: []
  ssh_keys:
    description: SSH keys of its jobs; never shown.
    type: raw
    default: []
  pip_cache_dir:
    description: Its pip cache.
    type: str
    required: true
  kill_leftover_processes:
    description: Whether logind kills what jobs leave.
    type: bool
    required: true
  user_manager:
    description: Whether the job user keeps its systemd manager.
    type: bool
    required: true
  hide_processes:
    description: Whether jobs see no other user's processes.
    type: bool
    required: true
  umask:
    description: The service's umask.
    type: str
    required: true
  stop_timeout:
    description: Seconds that a stopping service waits for jobs.
    type: raw
    required: true
  limits_and_cleanup:
    description: Limits, ages and thresholds, by the variables' names.
    type: dict
    default: {}
  version:
    description: The package's version.
    type: str
    required: true
  allow_downgrade:
    description: Whether it may go down.
    type: bool
    required: true
  newest:
    description: Whether C(latest) means the repository's newest even where a runner is installed.
    type: bool
    default: false
  at_deadline:
    description: C(go_on) for an upgrade that does not wait for jobs beyond its deadline.
    type: str
    default: give_up
  image:
    description: Whether an image is being made, whose service has no environment yet.
    type: bool
    default: false
  url:
    description: The package repository.
    type: str
    required: true
  suite:
    description: Its suite.
    type: str
    required: true
  components:
    description: Its components.
    type: list
    elements: str
    required: true
  key:
    description: Its key.
    type: str
    required: true
  fingerprint:
    description: The key's fingerprint.
    type: str
    required: true
  paths:
    description: Where things go on the host.
    type: dict
    required: true
attributes:
  check_mode:
    description: Can run in check mode and predict the result without changing the host.
    support: full
  diff_mode:
    description: Shows what changes, and no secret, in diff mode.
    support: none
author:
  - The Runnerhost developers (@runnerhost)
"""

EXAMPLES = r"""
- name: Plan
  runnerhost.toolkit.runner_plan:
    gitlab_url: https://gitlab.example.com
    runners:
      - name: build
        token: "{{ vault_runner_token }}"
    concurrent: 4
    settings: {}
    environment: {}
    path: [/usr/local/bin, /usr/bin, /bin]
    user: gitlab-runner
    home: /home/gitlab-runner
    pip_cache_dir: /home/gitlab-runner/.cache/pip
    kill_leftover_processes: true
    user_manager: false
    hide_processes: true
    umask: "0077"
    stop_timeout: 7200
    version: latest
    allow_downgrade: false
    url: https://packages.gitlab.com/runner/gitlab-runner/ubuntu/
    suite: jammy
    components: [main]
    key: https://packages.gitlab.com/runner/gitlab-runner/gpgkey
    fingerprint: F6403F6544A38863DAA0B6E03F01618A51312F3F
    paths:
      sources: /etc/apt/sources.list.d/example.sources
      preferences: /etc/apt/preferences.d/example
      logind: /etc/systemd/logind.conf.d/example.conf
      machine: /var/lib/example/machine.json
      job_users: /var/lib/example/job-users.json
"""

RETURN = r"""
plan:
  description: What the host needs; tasks and templates read nothing else.
  type: dict
  returned: success
  contains:
    services:
      description:
        - The runner services, the package's own first. Each has C(name), C(isolated), C(service),
          C(unit), C(drop_in), C(folder), C(resume), C(clean), C(user), C(home), C(umask),
          C(hide_processes), C(builds), C(cache), C(runners) (their names), C(generation) and
          C(unit_missing).
      type: list
      elements: dict
    services_leaving:
      description: Services that are to be absent, each with C(files), what goes with it.
      type: list
      elements: dict
    files:
      description: The files of all services, an item of M(runnerhost.toolkit.file_set) each.
      type: list
      elements: dict
    job_users:
      description: The text of the file that says which groups the inventory gives to which user.
      type: str
    accounts:
      description: The services' users as they should be, with C(missing) and C(changed).
      type: list
      elements: dict
    new_groups:
      description: Groups to create, which a package of this run uses.
      type: list
      elements: str
    logind:
      description: What logind should have in force, C(kill) and C(only).
      type: dict
    sources:
      description: The text of the package repository's source file.
      type: str
    preferences:
      description: The text of the packages' pin.
      type: str
    repository:
      description: The repository as M(runnerhost.toolkit.packages) takes it in a simulation.
      type: dict
    fresh:
      description: Whether the host does not have that source file yet.
      type: bool
    packages:
      description: What is to be installed, as apt takes it.
      type: list
      elements: str
    missing:
      description: The names of these packages.
      type: list
      elements: str
    installed:
      description: The version that a rollback brings back; empty if none is installed.
      type: str
    upgrade:
      description: Whether another version takes the place of one that may have jobs.
      type: bool
    info:
      description: dpkg's records of the runner's packages.
      type: dict
    converged:
      description: Whether systemd and logind have nothing left to do for any service.
      type: bool
    units_stale:
      description: Whether systemd has not loaded what lies on disk.
      type: bool
    service_there:
      description: Whether any of the services is on the host already.
      type: bool
    machine:
      description: Stands for the machine's id; empty if it has none.
      type: str
    machine_note:
      description: The text of the file that says which host of the inventory this machine is.
      type: str
    own_id:
      description: What to do on a copy of a machine.
      type: str
"""
