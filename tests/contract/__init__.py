# SPDX-License-Identifier: GPL-3.0-or-later
"""Contract tests: the stand-in for gitlab-runner and the real one must pass the same ones."""
