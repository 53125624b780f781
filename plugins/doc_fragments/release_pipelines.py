# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of actions that work on the projects with release pipelines."""

from __future__ import annotations


class ModuleDocFragment:
    """The fragment; Ansible searches for this name."""

    DOCUMENTATION = r"""
options:
  inputs:
    description: Inputs of all packages of all projects.
    type: dict
    default: {}
  projects:
    description: The projects, as in the variable C(release_pipeline_projects).
    type: list
    elements: raw
    default: []
"""
