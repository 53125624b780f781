# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of GitLab Runner's packages: names, versions, paths.

Runs on the controller and on the hosts: standard library of Python 3.10 alone. What a service has
by its name: _instances.
"""

from __future__ import annotations

import re

PACKAGE = "gitlab-runner"
HELPER_IMAGES = "gitlab-runner-helper-images"
# helper-images depends on nothing, gitlab-runner on exactly its version: one transaction.
PAIR = (PACKAGE, HELPER_IMAGES)
BINARY = "/usr/bin/gitlab-runner"
# GitLab's manual installation; the package's script would run it in place of the package's own.
OTHER_BINARY = "/usr/local/bin/gitlab-runner"
# Where GitLab's own script points apt.
UPSTREAM = "https://packages.gitlab.com/runner/gitlab-runner/ubuntu/"
# What an upgrade keeps: the previous packages, and its mark until it is complete.
KEPT_FOLDER = "/var/lib/runnerhost/gitlab-runner"
UNCONFIRMED = f"{KEPT_FOLDER}/unproven.json"
# The first version that depends on helper-images (GitLab's docs, "Install GitLab Runner").
_IMAGES_SINCE = (17, 7)
_VERSION = re.compile(r"\d+\.\d+\.\d+(?:-\d+)?\Z")
_EPOCH = re.compile(r"\d+:")


def is_version(text: str) -> bool:
    """True for a version of the package, with or without its revision: 18.5.0, 18.5.0-1."""
    return bool(_VERSION.match(text))


def numbers(version: str) -> tuple[int, ...]:
    """A version's numbers, in an order that compares as versions do; without the epoch."""
    return tuple(int(part) for part in re.findall(r"\d+", _EPOCH.sub("", version, count=1)))


def has_the_images_itself(version: str) -> bool:
    """True for a gitlab-runner from before its helper images were a package of their own."""
    found = numbers(version)
    return len(found) >= len(_IMAGES_SINCE) and found[: len(_IMAGES_SINCE)] < _IMAGES_SINCE
