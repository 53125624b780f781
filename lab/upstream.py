# SPDX-License-Identifier: GPL-3.0-or-later
"""WORLD=upstream: a real Ubuntu image, the real deadsnakes PPA, GitLab's own packages.

Only variables differ: the roles' defaults apply. GitLab itself is still the lab's stand-in.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Sequence

import yaml

from lab.engine import Engine
from lab.images import pull, real_image
from lab.places import CHECKOUT
from lab.platforms import UPSTREAM, WORLD_VARIABLE, Platform
from lab.run import LabError

TIMEOUT = 20.0
"""Seconds within which an address must answer."""


def addresses(platforms: Sequence[Platform]) -> dict[str, str]:
    """Addresses that must be reachable, by their purpose: the defaults of the roles."""
    roles = CHECKOUT / "roles"
    python = yaml.safe_load((roles / "python_versions/defaults/main.yml").read_text())
    runner = yaml.safe_load((roles / "gitlab_runner/defaults/main.yml").read_text())
    found = {}
    for platform in platforms:
        for name, url in (
            ("deadsnakes", python["python_versions_repository_url"]),
            ("GitLab's packages", runner["gitlab_runner_repository_url"]),
        ):
            release = f"{url.rstrip('/')}/dists/{platform.name}/InRelease"
            found[f"{name} for {platform.name}"] = release
    found["the key of GitLab's packages"] = runner["gitlab_runner_repository_key"]
    return found


def reach(address: str) -> str:
    """Why `address` does not answer the controller; empty if it does."""
    request = urllib.request.Request(address, headers={"User-Agent": "runnerhost-lab"})
    try:
        # The system's authorities and the environment's proxies, as Ansible fetches the key.
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            answer.read(1)
    except urllib.error.HTTPError as error:
        return f"HTTP {error.code}"
    except OSError as error:
        return str(getattr(error, "reason", error))
    return ""


def preflight(engine: Engine, platforms: Sequence[Platform]) -> None:
    """Report all unreachable addresses in one message before anything is created."""
    problems = [
        f"{name}: {address}: {why}"
        for name, address in addresses(platforms).items()
        if (why := reach(address))
    ]
    for platform in platforms:
        image = real_image(platform)
        try:
            pull(engine, image)
        except LabError as error:
            why = str(error).splitlines()[-1]
            problems.append(f"image {image} ({platform.image_variable} names another): {why}")
    if problems:
        head = f"{WORLD_VARIABLE}={UPSTREAM}: cannot reach "
        raise LabError(head + f"\n{head}".join(problems) + "\nnothing was made")
