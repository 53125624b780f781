# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-ins for GitLab and gitlab-runner; tests/contract checks them against the real programs."""
