# SPDX-License-Identifier: GPL-3.0-or-later
"""Measured claims about the playbooks, each against its limit in the same run."""
