# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-ins for GitLab and gitlab-runner, held to the real ones by tests/contract."""
