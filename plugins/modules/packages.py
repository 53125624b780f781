#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the `packages` action; the work is in plugins/action/packages.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: packages
short_description: Installs what is missing of a list of packages, in one transaction
description:
  - Reads dpkg's state first and calls M(runnerhost.toolkit.apt_transaction) only for what is
    missing.
  - What is named is wanted, so apt's autoremove must not take it; a package that it may take is
    marked as installed by hand.
  - What a transaction that was cut off has left undone is finished first.
  - In check mode it predicts the same packages by name, also those of a repository that the
    host does not have yet.
  - With O(simulate) it asks apt what the installation would do, and refuses what apt would refuse.
  - With O(state=absent) it fails, in check mode too, if packages that are not named would go along.
version_added: 0.1.0
options:
  names:
    description:
      - Package names, each alone or as C(name=version); a version may be a pattern. Those of
        O(wanted) count too.
      - C(name:architecture) is the package of another architecture. A name alone is there too if an
        installed package provides it.
    type: list
    elements: str
    default: []
  state:
    description: Whether the packages should be there.
    type: str
    choices: [present, absent]
    default: present
  info:
    description: The C(packages) of RV(info) of an earlier task; spares a call.
    type: dict
  automatic:
    description: The C(automatic) of the same.
    type: list
    elements: str
    default: []
  unfinished:
    description: The C(unfinished) of the same.
    type: list
    elements: str
    default: []
  companions:
    description:
      - Installed packages, each as C(name=version), that take that version in the same transaction.
        Their mark of automatic installation stays.
    type: list
    elements: str
    default: []
  fresh:
    description: Whether apt's lists must be read anew first, since a repository was just added.
    type: bool
    default: false
  not_yet:
    description: Names that come from a repository not yet added; said so in check mode.
    type: list
    elements: str
    default: []
  allow_downgrade:
    description: Whether a lower version may replace a higher one.
    type: bool
    default: false
  lock_timeout:
    description: Seconds to wait for apt's lock (cloud-init and apt-daily hold it at first boot).
    type: int
    default: 600
  variable:
    description: The variable that asks for it; a failure names it.
    type: str
    default: ""
  simulate:
    description:
      - Only ask apt what the installation would do, before the host is changed; in check mode too.
        What apt would refuse is refused, and sources that it cannot read and does not need are
        warned of. Where nothing is missing, apt is not asked.
    type: bool
    default: false
  wanted:
    description: With O(simulate), the packages by the variable that asks for them.
    type: dict
    default: {}
  planned:
    description:
      - With O(simulate), repositories that are not written yet.
      - An empty item is one that a condition has left out.
    type: list
    elements: dict
    default: []
    suboptions:
      files:
        description: The texts of its files, by path.
        type: dict
        default: {}
      duplicates:
        description: Addresses and suites whose entries it replaces.
        type: list
        elements: dict
        default: []
        suboptions:
          uris:
            description: The addresses.
            type: list
            elements: str
            required: true
          suites:
            description: The suites; empty for all.
            type: list
            elements: str
            default: []
      versions:
        description: What it offers of the packages that must come from it, by their names.
        type: dict
        default: {}
  distribution_restored:
    description: With O(simulate), whether a mirror of the distribution that is gone is taken back.
    type: bool
    default: false
  simulated:
    description: What a task with O(simulate) returned by that name; shows what else changes.
    type: dict
    default: {}
attributes:
  check_mode:
    description: Can run in check mode and predict the result without changing the host.
    support: full
  diff_mode:
    description: Shows what changes, and no secret, in diff mode.
    support: full
author:
  - The Runnerhost developers (@runnerhost)
"""

EXAMPLES = r"""
- name: Install two packages
  runnerhost.toolkit.packages:
    names: [git, cmake]
"""

RETURN = r"""
packages:
  description: What was, or would be, installed or removed.
  type: list
  elements: str
  returned: without O(simulate)
finished:
  description: What a transaction that was cut off had left, and this one has finished.
  type: list
  elements: str
  returned: if there was any
simulated:
  description: What apt would install, upgrade and remove; empty where nothing is missing.
  type: dict
  returned: with O(simulate)
needed:
  description: Whether there is anything to install, to mark or to finish.
  type: bool
  returned: with O(simulate)
info:
  description: The C(packages), C(automatic) and C(unfinished) of dpkg's state.
  type: dict
  returned: with O(simulate)
"""
