# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's GitLab: the parts of its API that the toolkit and a runner use."""

from standins.gitlab.app import create_app
from standins.gitlab.settings import Settings

__all__ = ["Settings", "create_app"]
