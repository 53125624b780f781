# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of actions that ask GitLab's API from the controller."""

from __future__ import annotations


class ModuleDocFragment:
    """The fragment; Ansible searches for this name."""

    DOCUMENTATION = r"""
options:
  url:
    description: The GitLab.
    type: str
    default: ""
  api_token:
    description: An access token with the scope api.
    type: str
    default: ""
  api_ca_certificate:
    description: A PEM file on the controller; empty for what the controller trusts.
    type: str
    default: ""
  api_proxy:
    description: The proxy of the controller; empty for what its environment says.
    type: str
    default: ""
"""
