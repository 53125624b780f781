# SPDX-License-Identifier: GPL-3.0-or-later
"""What the user should know of release pipelines that are allowed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._pipeline_settings import Wanted


def same_runners(wanted: Sequence[Wanted]) -> Iterator[str]:
    """Pipelines whose uploads run where merge requests are built."""
    for one in wanted:
        for given in one.packages:
            build, publish = given.get("build_tags"), given.get("publish_tags")
            if one.platform == "gitlab" and build and publish and {*build} == {*publish}:
                yield (
                    f"{one.variable}: publish_tags and build_tags are the same, "
                    f"{', '.join(build)}: jobs of merge requests run as the same user as uploads, "
                    "and could take their token; name an isolated, protected runner in publish_tags"
                )
                break


def other_gitlabs(url: str, others: Mapping[str, str]) -> Iterator[str]:
    """Other addresses of GitLab in the inventory: the pipelines' projects would have no runners.

    Args:
        url: release_pipeline_url.
        others: the other addresses by their variables; empty for one that is not set.
    """
    for name, other in others.items():
        if url and other and other.rstrip("/") != url.rstrip("/"):
            yield f"release_pipeline_url is {url}, and {name} is {other}; set both to one GitLab"


def private_component(component: str, visibility: str, wanted: Sequence[Wanted]) -> Iterator[str]:
    """Projects of other groups, whose people may not see a private component."""
    group = component.partition("/")[0].lower()
    for one in wanted if visibility == "private" else ():
        if one.project and one.project.partition("/")[0].lower() != group:
            yield (
                f"release_pipeline_component_visibility is private: who has no access to "
                f"{component} cannot start pipelines of {one.project}; internal lets them"
            )


def pythons(wanted: Sequence[Wanted], on_hosts: Collection[str]) -> Iterator[str]:
    """Pythons of pipelines that no host of the inventory has."""
    for one in wanted if on_hosts else ():
        asked = {str(item) for given in one.packages for item in given.get("pythons") or ()}
        # The system's own is listed too: its packages for building come by the list alone.
        missing = sorted(asked - {*on_hosts})
        if missing and one.platform == "gitlab":
            yield (
                f"{one.variable}: pythons has {', '.join(missing)}, and no host of this inventory "
                f"does (python_versions_wanted: {', '.join(sorted(on_hosts))}): its jobs fail "
                "there; correct it, or add the version to the hosts"
            )
