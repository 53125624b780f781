# SPDX-License-Identifier: GPL-3.0-or-later
"""The first run on a clone of a golden image, against a cold provision of a bare host.

The image is baked in a container without systemd, by `image.yml`, once for all runs of the bench.
It must hold the very packages that a cold provision installs, or the bench fails. Each run boots a
new clone; the clock runs while `site.yml` gives it its runner.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from bench.cold import Recipe, compare, installed
from bench.playbooks import IMAGE, SITE, Host, Run
from lab.engine import Engine
from lab.golden import BUILDER, Golden, boot, commit, start_builder, write_inventory
from lab.places import Lab
from lab.platforms import PLATFORMS

NAME = "clone"


def bake(lab: Lab, recipe: Recipe) -> Golden:
    """The image of a host as the recipe's."""
    golden = Golden(lab, PLATFORMS["jammy"], (NAME,))
    write_inventory(golden)
    start_builder(golden)
    Host(lab, BUILDER).play(IMAGE)
    compare(recipe.record, installed(Engine(), lab.container(BUILDER)), "image.yml")
    commit(golden)
    return golden


def first_run(golden: Golden, variables: Mapping[str, Any]) -> Run:
    """`site.yml` on a clone that has just booted."""
    boot(golden)
    # As before a cold provision.
    os.sync()
    return Host(golden.lab, NAME, variables).play(SITE)
