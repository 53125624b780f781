# SPDX-License-Identifier: GPL-3.0-or-later
"""A GitLab with projects, runners and a token in six places, for the tests of project_revoke."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ansible.errors import AnsibleActionFail

from ansible_collections.runnerhost.toolkit.plugins.action.project_revoke import ActionModule
from standins.gitlab import Settings
from standins.gitlab.client import LabGitLab
from standins.gitlab.records import Plan
from standins.gitlab.store import Store
from standins.gitlab.thread import bound_socket, serving
from standins.index import tokens

ADMIN = "glpat-AdministratorsOwn00"
DEMO, OTHER = "group/demo", "group/other"
HOST = ".".join(("pypi", "org"))
LEAKED, INNOCENT = tokens.make(HOST, "ada").text, tokens.make(HOST, "bob").text
SECRETS = (LEAKED, INNOCENT, ADMIN)
KEY = "TWINE_PASSWORD"
DECLARED = {"key": KEY, "environment": "pypi", "value": LEAKED}


@dataclass
class World:
    """The GitLab, its store, and what was planted."""

    lab: LabGitLab
    store: Store
    projects: list[dict[str, Any]] = field(default_factory=list)
    groups: list[dict[str, Any]] = field(default_factory=list)
    hostvars: dict[str, Any] = field(default_factory=dict)
    runners: dict[str, int] = field(default_factory=dict)

    def run(self, *, check: bool = False, **more: Any) -> dict[str, Any]:
        """One run of the action; no planted value is in what it says, nor in any note."""
        action = object.__new__(ActionModule)
        args = {"url": self.lab.base_url, "api_token": ADMIN, "projects": self.projects,
                "groups": self.groups, **more}  # fmt: skip
        action._task = SimpleNamespace(
            args=args, check_mode=check, async_val=0, action="project_revoke"
        )
        action._connection = SimpleNamespace(
            _shell=SimpleNamespace(tmpdir="/tmp"), is_pipelining_enabled=lambda: True
        )
        try:
            result: dict[str, Any] = action.run(None, {"hostvars": self.hostvars})
        except AnsibleActionFail as error:
            hides(f"{error} {error.__cause__} {error.result}")
            raise
        finally:
            for path in Path.cwd().iterdir():
                if path.is_symlink():
                    continue
                hides(path.read_text())
                assert path.stat().st_mode & 0o777 == 0o600
        hides(json.dumps(result))
        return result

    def variable(self, owner: str, key: str, value: str, **more: Any) -> None:
        """Sets a variable; ``owner`` as in the API's addresses."""
        self.lab.api("POST", f"/{owner}/variables", json={"key": key, "value": value, **more})

    def left(self) -> list[str]:
        """The variables that GitLab has."""
        found = [
            f"{one.key} {one.environment_scope}"
            for table in (self.store.project_settings, self.store.group_settings)
            for one in table.all()
        ]
        return found + [one["key"] for s in self.store.schedules.all() for one in s.variables]

    def paused(self) -> list[str]:
        """The names of the runners that are paused."""
        return [one.description for one in self.store.runners() if one.paused]

    def job(self, path: str, name: str, ref: str, **more: Any) -> int:
        """A job of a pipeline of its own; by default one that has run on the publisher."""
        project = self.store.project_by_path(path)
        assert project is not None
        number, tag = self.store.next_pipeline_id(), ref.startswith("v")
        self.store.pipelines.add(
            id=number, project_id=project.id, iid=number, ref=ref, tag=tag, sha="0" * 40,
            before_sha="0" * 40, source=more.pop("source", "push"), protected=True,
        )  # fmt: skip
        plan = Plan(name, 0, environment=more.pop("environment", ""),
                    action=more.pop("action", "start"))  # fmt: skip
        at = time.time() - 60 * more.pop("minutes", 10)
        fields = {"state": "success", "started_at": at, "runner_id": self.runners["publisher"],
                  "system_id": "s_publisher", **more}  # fmt: skip
        job = self.store.add_job(
            project_id=project.id, name=name, stage="x", ref=ref, sha="0" * 40,
            ref_type="tag" if tag else "branch", pipeline_id=number, plan=plan, **fields,
        )  # fmt: skip
        job.created_at = at
        self.store.save_job(job)
        return job.id

    def statuses(self) -> list[str]:
        """The states of all jobs."""
        return [one.state for one in self.store.jobs()]


def hides(text: str) -> None:
    """No secret is in a text, nor the end of one."""
    for value in SECRETS:
        assert value not in text
        assert value[-12:] not in text


def plant(world: World) -> None:
    """The token in six places, and things that must be left alone."""
    demo, other, group = "projects/group%2Fdemo", "projects/group%2Fother", "groups/group"
    scoped = {"environment_scope": "pypi", "protected": True, "masked": True, "raw": True}
    world.variable(demo, KEY, LEAKED, **scoped, description="for releases")
    world.variable(demo, "OLD_NAME", LEAKED)
    world.variable(group, KEY, LEAKED, protected=True)
    world.variable(other, KEY, LEAKED)
    world.variable(demo, "UNRELATED", INNOCENT)
    schedule = {"description": "nightly", "ref": "main", "cron": "0 1 * * *"}
    made = world.lab.api("POST", f"/{demo}/pipeline_schedules", json=schedule)
    for key, value in (("UPLOAD_TOKEN", LEAKED), ("LEVEL", "nothing secret")):
        world.lab.api("POST", f"/{demo}/pipeline_schedules/{made['id']}/variables",
                      json={"key": key, "value": value})  # fmt: skip
    world.hostvars |= {
        "builder": {"index_credentials_indexes": [{"kind": "pypi", "password": LEAKED}]},
        "web": {"index_credentials_indexes": [{"kind": "pypi", "password": INNOCENT}]},
        "plain": {},
    }


@contextmanager
def world_in(folder: Path) -> Iterator[World]:
    """A GitLab with two projects, their runners, a release and what is under way."""
    listener = bound_socket()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with (
        serving(Settings(folder / "gitlab", url, "the-lab-secret", ADMIN), listener),
        LabGitLab(url, "the-lab-secret", ADMIN) as lab,
    ):
        numbers = {path: lab.create_project(path).id for path in (DEMO, OTHER)}
        world = World(lab, Store(folder / "gitlab"))
        world.projects = [{"project": DEMO, "variables": [DECLARED]}, {"project": OTHER}]
        world.groups = [{"group": "group"}]
        of_demo = {"runner_type": "project_type", "project_id": numbers[DEMO]}
        protected = {"access_level": "ref_protected", "run_untagged": False}
        for name, tags, fields in (
            ("publisher", "publish", {**of_demo, **protected}),
            ("shared publisher", "publish,arm", protected),
            ("open publisher", "publish", {**of_demo, "run_untagged": False}),
            ("builder", "build", of_demo),
            ("release builder", "build", {**of_demo, **protected}),
        ):
            made = lab.create_runner(description=name, tag_list=tags, **fields)
            world.runners[name] = made.id
        publisher = world.store.runner(world.runners["publisher"])
        assert publisher is not None
        world.store.touch_manager(publisher, "s_publisher", {})
        world.lab.api("POST", "/projects/group%2Fdemo/protected_tags", json={"name": "v*"})
        plant(world)
        try:
            yield world
        finally:
            world.store.close()
            for value in SECRETS[:2]:
                # Of the requests: the lab hides what is masked; what is not, nobody sent.
                sent = [one for one in lab.requests() if value in json.dumps(one)]
                assert all(one["method"] == "POST" for one in sent)


def words(result: Mapping[str, Any]) -> str:
    """What a result says."""
    return "\n".join([*result["msg"], *result["failures"], *result["warnings"]])
