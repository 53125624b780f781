# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of GitLab's package registry for PyPI packages (lib/api/pypi_packages.rb).

It takes files that PyPI would refuse: any platform tag, any metadata, releases of any age.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from standins.index.refusals import Refusal
from standins.index.store import File, Projects

LARGEST = 3 << 30
USERS = {"job": "gitlab-ci-token"}
"""User names that a kind of token wants; a personal access token takes any."""
READ, WRITE = "read", "write"


@dataclass(frozen=True)
class Access:
    """A token of GitLab.

    Attributes:
        kind: ``job``, ``deploy`` or ``personal``.
        project: the project of a job; of a deploy token, the one that it is for.
        user: the name that goes with a deploy token.
        rights: what it may do with packages.
    """

    kind: str
    project: str = ""
    user: str = ""
    rights: frozenset[str] = frozenset({READ, WRITE})


@dataclass
class Registry:
    """The packages of one project of GitLab.

    Attributes:
        path: the project, ``group/name``.
        packages: its packages.
        allowlist: projects whose jobs may use this one, beside its own.
        granular: what jobs of these may do, where the project says so: ``read_packages``,
            ``admin_packages``; None for all.
        protected: normalized names of packages that nobody here may push.
        json: the feature flag pypi_pep_691_json, which is off by default.
        forward_to: where requests for unknown packages are sent; empty for nowhere.
    """

    path: str
    packages: Projects = field(default_factory=Projects)
    allowlist: set[str] = field(default_factory=set)
    granular: frozenset[str] | None = None
    protected: set[str] = field(default_factory=set)
    json: bool = False
    forward_to: str = ""

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rpartition("/")[2]


@dataclass
class Rules:
    """The registry of an instance."""

    registries: dict[str, Registry] = field(default_factory=dict)
    tokens: dict[str, Access] = field(default_factory=dict)
    read_only: bool = False

    def registry(self, project: str, login: tuple[str, str] | None, right: str) -> Registry:
        """A project's registry, for whoever asks. Raises Refusal."""
        access = self.tokens.get(login[1]) if login else None
        if access is None or (login and not _fits(access, login[0])):
            raise Refusal("gitlab", "unauthorized")
        found = self.registries.get(project) or next(
            (one for one in self.registries.values() if one.path == project), None
        )
        if found is None:
            raise Refusal("gitlab", "project")
        if access.kind == "job":
            self._check_job(access, found, right)
        elif access.project not in ("", found.path):
            raise Refusal("gitlab", "project")
        if right not in access.rights:
            raise Refusal("gitlab", "forbidden")
        return found

    @staticmethod
    def _check_job(access: Access, registry: Registry, right: str) -> None:
        if access.project != registry.path and access.project not in registry.allowlist:
            raise Refusal(
                "gitlab", "allowlist", source=access.project.rpartition("/")[2],
                target=registry.name,
            )  # fmt: skip
        permission = "admin_packages" if right == WRITE else "read_packages"
        if (
            access.project != registry.path
            and registry.granular is not None
            and permission not in registry.granular
        ):
            raise Refusal("gitlab", "permission", project=registry.name, permission=permission)

    def upload(
        self,
        project: str,
        login: tuple[str, str] | None,
        form: Mapping[str, str],
        filename: str,
        content: bytes,
    ) -> None:
        """Takes a file. Raises Refusal."""
        registry = self.registry(project, login, WRITE)
        if self.read_only:
            raise Refusal("gitlab", "forbidden")
        for name, given in (("content", filename), *((key, form.get(key)) for key in
                            ("name", "version"))):  # fmt: skip
            if not given:
                raise Refusal("gitlab", "missing", field=name)
        if len(content) > LARGEST:
            raise Refusal("gitlab", "too_large")
        with registry.packages.lock:
            package = registry.packages.find(form["name"])
            if form["name"] in registry.protected:
                raise Refusal("gitlab", "protected")
            if package and filename in package.files:
                raise Refusal("gitlab", "exists")
            package = package or registry.packages.make(form["name"])
            kind, version = form.get("filetype", ""), form["version"]
            package.add(File(filename, kind, version, content, form.get("requires_python", "")))


def _fits(access: Access, user: str) -> bool:
    """Whether a user name goes with a token."""
    wanted = access.user or USERS.get(access.kind, "")
    return user == wanted or not wanted
