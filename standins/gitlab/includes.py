# SPDX-License-Identifier: GPL-3.0-or-later
"""The includes of a .gitlab-ci.yml, put beside it as local files.

Components and files of other projects are read from this GitLab's own repositories, for the
compiler would fetch them over the network. What GitLab would fetch from elsewhere is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import yaml

from standins.gitlab.components import ConfigError, Template, component, filled
from standins.gitlab.records import Project
from standins.gitlab.repository import Repository
from standins.gitlab.store import Store

CONFIG = ".gitlab-ci.yml"
FOLDER = "stand-in-includes"
MAIN = f"{FOLDER}/main.yml"
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_DEEPEST = 10


class Includes:
    """Collects the files of one configuration.

    ``files`` maps paths to texts, ``default`` has what jobs take over from ``default:``.
    """

    def __init__(
        self, store: Store, project: Project, sha: str, variables: Mapping[str, str]
    ) -> None:
        self._store, self._project, self._sha = store, project, sha
        self._variables = variables
        self.files: dict[str, str] = {}
        self.default: dict[str, Any] = {}
        text = self._read(project, sha, CONFIG)
        if text is None:
            raise ConfigError("Missing CI config file")
        self.files[MAIN] = self._resolved(text, project, sha, 0)

    def _read(self, project: Project, sha: str, path: str) -> str | None:
        repository = Repository(self._store.repository(project))
        if not repository.blob(sha, path):
            return None
        return repository.git("show", f"{sha}:{path}").decode("utf-8", "replace")

    def _resolved(self, text: str, project: Project, sha: str, depth: int) -> str:
        """The text with its includes replaced by local ones."""
        if depth > _DEEPEST:
            raise ConfigError("Maximum of 150 nested includes are allowed!")
        try:
            root = yaml.compose(text, yaml.SafeLoader)
        except yaml.YAMLError as error:
            raise ConfigError(f"(<unknown>): {getattr(error, 'problem', error)}") from None
        if not isinstance(root, yaml.MappingNode):
            raise ConfigError("Invalid configuration format")
        nodes = {key.value: (key, node) for key, node in root.value}
        whole = text
        if "include" in nodes:
            key, node = nodes["include"]
            given = _value(node)
            entries = given if isinstance(given, list) else [given]
            found = [self._entry(one, project, sha, depth + 1) for one in entries]
            start, end = key.start_mark.index, node.end_mark.index
            whole = f"{text[:start]}include: {json.dumps(found)}\n{text[end:]}"
        if "default" in nodes:
            # What includes is over what is included.
            self.default |= _value(nodes["default"][1]) or {}
        return whole

    def _entry(self, entry: Any, project: Project, sha: str, depth: int) -> dict[str, Any]:
        if isinstance(entry, str):
            entry = {"local": entry}
        if not isinstance(entry, dict):
            raise ConfigError("Include must be a string or a hash")
        given = entry.get("inputs") or {}
        rules = {"rules": entry["rules"]} if "rules" in entry else {}
        if "component" in entry:
            address = self._expanded(str(entry["component"]))
            host = self._variables.get("CI_SERVER_FQDN", "")
            if not address.startswith(f"{host}/"):
                raise ConfigError(f"Component '{address}' - content not found")
            text = filled(address, component(self._store, address), given)
            owner, commit = project, sha
        elif "local" in entry:
            path = self._expanded(str(entry["local"])).lstrip("/")
            if "*" in path and owner_is(project, self._project):
                return {"local": path, **rules}
            text = self._file(project, sha, path, given)
            owner, commit = project, sha
        elif "project" in entry and isinstance(entry.get("file"), str):
            owner, commit = self._other(entry)
            text = self._file(owner, commit, entry["file"].lstrip("/"), given)
        else:
            kinds = ", ".join(sorted(set(entry) - {"inputs", "rules"}))
            raise ConfigError(f"the stand-in includes no {kinds}; only component, local, project")
        place = f"{FOLDER}/{len(self.files)}.yml"
        self.files[place] = ""
        self.files[place] = self._resolved(text, owner, commit, depth)
        return {"local": place, **rules}

    def _other(self, entry: Mapping[str, Any]) -> tuple[Project, str]:
        path = self._expanded(str(entry["project"]))
        project = self._store.project_by_path(path)
        if project is None:
            raise ConfigError(
                f"Project `{path}` not found or access denied! Make sure any includes in the "
                "pipeline configuration are correctly defined."
            )
        ref = self._expanded(str(entry.get("ref") or project.default_branch))
        commit = Repository(self._store.repository(project)).commit_of(ref)
        if not commit:
            raise ConfigError(f"Project `{path}` reference `{ref}` does not exist!")
        return project, commit

    def _file(self, project: Project, sha: str, path: str, given: Mapping[str, Any]) -> str:
        text = self._read(project, sha, path)
        if text is None:
            kind = "Local" if owner_is(project, self._project) else "Project"
            raise ConfigError(f"{kind} file `{path}` does not exist!")
        return filled(path, Template(text, sha), given)

    def _expanded(self, text: str) -> str:
        return _VARIABLE.sub(lambda one: self._variables.get(one[1] or one[2], ""), text)


class _Loader(yaml.SafeLoader):
    """YAML with GitLab's tag, of which nothing here needs the value."""


_Loader.add_constructor("!reference", lambda _, node: None)


def _value(node: yaml.Node) -> Any:
    return _Loader("").construct_document(node)


def owner_is(project: Project, other: Project) -> bool:
    """Whether both are the same."""
    return project.id == other.id
