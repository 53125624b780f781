# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables of the role release_pipeline, checked, and the files that follow from them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _secrets
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _github_workflow,
    _pipeline_template,
    _preflight,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_projects import File
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._pipeline_template import (
    COMPONENT,
    NAME,
    ROOT,
    TEMPLATE,
    Input,
)

ROLE = "release_pipeline"
FORMS = ("component", "standalone")
VISIBILITIES = ("internal", "public", "private")
PROGRAMS = ("release.py", "local-ci.sh")
OWN_FILE = ".gitlab-ci.yml"
"""The file that GitLab reads unless the project's settings name another."""
UNKNOWN_COMMIT = "COMMIT"
"""Stands for the commit that a real run would make."""
HEAD = f"""\
# Written by Runnerhost's role {ROLE}, from the inventory: change it there.
# Once it was changed here, the role leaves it alone.
"""
_PATH = re.compile(r"[\w][\w.-]*(/[\w][\w.-]*)+")
_FILE = re.compile(r"[\w.-]+(/[\w.-]+)*\.ya?ml")
PLATFORMS = ("gitlab", "github")
_KEYS = ("project", "folder", "platform", "branch", "file", "inputs", "packages", "programs")


@dataclass(frozen=True)
class Wanted:
    """A repository that gets a pipeline.

    Attributes:
        variable: where the inventory says so.
        project: its path in GitLab; empty for a folder of the controller.
        folder: that folder; empty for a project.
        platform: gitlab, or github for a workflow in place of a pipeline.
        branch: the branch that the commit goes to; empty for the default branch.
        file: the path of the pipeline.
        packages: the inputs of each package.
        programs: whether it gets the release program for desks.
    """

    variable: str
    project: str
    folder: str
    platform: str
    branch: str
    file: str
    packages: tuple[Mapping[str, Any], ...]
    programs: bool

    @property
    def name(self) -> str:
        """For messages."""
        return self.project or self.folder


@dataclass(frozen=True)
class Settings:
    """All that the role was told."""

    url: str
    token: str
    form: str
    component: str
    visibility: str
    wanted: tuple[Wanted, ...]

    @property
    def needs_gitlab(self) -> bool:
        """Whether there is anything to ask it."""
        return self.has_component or any(one.project for one in self.wanted)

    @property
    def has_component(self) -> bool:
        """Whether the component is wanted: alone, or by a pipeline."""
        pipelines = not self.wanted or any(one.platform == "gitlab" for one in self.wanted)
        return self.form == "component" and pipelines


class Template:
    """The component's template, read once."""

    def __init__(self) -> None:
        self.text = TEMPLATE.read_text(encoding="utf-8")
        self.inputs, self.body = _pipeline_template.parts(self.text)

    def pipeline(self, settings: Settings, wanted: Wanted, commit: str) -> str:
        """A project's pipeline."""
        if settings.form == "component":
            address = f"$CI_SERVER_FQDN/{settings.component}/{NAME}@{commit}"
            return HEAD + _pipeline_template.included(address, wanted.packages)
        bodies = [
            _pipeline_template.rendered(self.inputs, self.body, given) for given in wanted.packages
        ]
        return HEAD + "\n".join(bodies)

    def files(self, settings: Settings, wanted: Wanted, commit: str) -> dict[str, File]:
        """All files of a project."""
        if wanted.platform == "github":
            texts = _github_workflow.files(wanted.packages)
            lock = File(_github_workflow.LOCK.read_bytes())
            found = {path: File(HEAD.encode() + text) for path, text in texts.items()}
            found[_github_workflow.TOOLS] = lock
        else:
            text = self.pipeline(settings, wanted, commit)
            found = {wanted.file: File(text.encode())}
        for name in PROGRAMS if wanted.programs else ():
            content = (ROOT / "release" / name).read_bytes()
            found[name] = File(content, executable=True)
        return found

    def component(self) -> dict[str, File]:
        """The files of the component's own project."""
        paths = [TEMPLATE, COMPONENT / "README.md"]
        return {str(path.relative_to(COMPONENT)): File(path.read_bytes()) for path in paths}


def version() -> str:
    """The toolkit's version: an installed collection has a manifest, a checkout galaxy.yml."""
    manifest = ROOT / "MANIFEST.json"
    if manifest.exists():
        return str(json.loads(manifest.read_text())["collection_info"]["version"])
    return str(yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))["version"])


def settings_of(args: Mapping[str, Any], inputs: Mapping[str, Input]) -> tuple[Settings, list[str]]:
    """The settings, and what is wrong with them."""
    problems = list(_own_problems(args))
    wanted, found = wanted_of(args, inputs)
    problems += found
    settings = Settings(
        str(args["url"]).rstrip("/"), str(args["api_token"]), args["form"], args["component"],
        args["component_visibility"], tuple(wanted),
    )  # fmt: skip
    if not problems and settings.needs_gitlab:
        for name, value in (("url", settings.url), ("api_token", settings.token)):
            if not value:
                problems.append(f"{ROLE}_{name}: missing; {_why(settings)}")
    # A folder may be of another GitLab, or of none.
    own = [given for one in wanted if one.project for given in one.packages]
    if settings.url and any(map(_preflight.uses, own)):
        said = _preflight.issuer_problem(settings.url, bool(args["issuer_onboarded"]))
        problems += [said] if said else []
    return settings, problems


def missing(args: Mapping[str, Any], why: str) -> list[str]:
    """What an action lacks that asks GitLab about the projects.

    Args:
        args: ``url``, ``api_token`` and ``projects``, as the role's variables.
        why: what GitLab is asked for.
    """
    problems = [
        f"{ROLE}_{name}: missing; {why} by GitLab's API"
        for name in ("url", "api_token")
        if not args[name]
    ]
    if not args["projects"]:
        problems.append(f"{ROLE}_projects: empty; expected a project")
    return problems


def wanted_of(
    args: Mapping[str, Any], inputs: Mapping[str, Input]
) -> tuple[list[Wanted], list[str]]:
    """The repositories, and what is wrong with their entries.

    Args:
        args: ``inputs`` and ``projects``, as the role's variables.
        inputs: those of the template.
    """
    wanted: list[Wanted] = []
    workflow = _github_workflow.inputs()
    problems: list[str] = []
    for index, entry in enumerate(args["projects"]):
        variable = f"{ROLE}_projects[{index}]"
        found = list(_entry_problems(variable, entry))
        problems += found
        if found:
            continue
        platform = entry.get("platform", "gitlab")
        github = platform == "github"
        common = _github_workflow.known(args["inputs"], workflow) if github else args["inputs"]
        packages = _packages(common, entry)
        for number, given in enumerate(packages):
            where = (
                f"{variable}.packages[{number}]" if entry.get("packages") else f"{variable}.inputs"
            )
            declared = workflow if github else inputs
            problems += _pipeline_template.problems(where, declared, given)
            problems += _preflight.index_problems(where, given, declared)
            problems += [] if github else _address_problems(where, given)
        problems += _name_problems(variable, packages)
        wanted.append(
            Wanted(
                variable,
                entry.get("project", ""),
                str(Path(entry["folder"]).expanduser()) if entry.get("folder") else "",
                platform,
                entry.get("branch", ""),
                entry.get("file", ".gitlab-ci.yml"),
                tuple(packages),
                bool(entry.get("programs", github)),
            )
        )
    problems += _twice(wanted)
    return wanted, problems


def _why(settings: Settings) -> str:
    if settings.form == "component":
        return f"the component is a project of your GitLab ({ROLE}_form: standalone needs none)"
    return "projects of GitLab get their pipeline by its API"


def _own_problems(args: Mapping[str, Any]) -> Iterator[str]:
    for name, choices in (("form", FORMS), ("component_visibility", VISIBILITIES)):
        if args[name] not in choices:
            expected = " or ".join(choices)
            yield f"{ROLE}_{name}: invalid value {args[name]!r}; expected {expected}"
    if not _PATH.fullmatch(args["component"]):
        yield f"{ROLE}_component: invalid value {args['component']!r}; expected GROUP/PROJECT"
    if args["url"] and not re.fullmatch(r"https?://[^\s/@]+(/\S*)?", args["url"]):
        yield f"{ROLE}_url: invalid value; expected one such as https://gitlab.example.com"
    elif args["url"].rstrip("/").endswith("/api/v4"):
        yield f"{ROLE}_url: invalid value; expected GitLab's address, without /api/v4"
    if not args["projects"] and args["form"] == "standalone":
        yield f"{ROLE}_projects: empty; expected at least one project"


def _entry_problems(variable: str, entry: Any) -> Iterator[str]:
    if not isinstance(entry, Mapping):
        yield f"{variable}: {_secrets.unfit(entry)}; expected a mapping"
        return
    for key in entry:
        if key not in _KEYS:
            yield f"{variable}.{key}: unknown key; expected one of {', '.join(_KEYS)}"
    if bool(entry.get("project")) == bool(entry.get("folder")):
        yield f"{variable}: expected either project or folder"
    named = ("project", "folder", "platform", "branch", "file")
    texts = [key for key in named if key in entry]
    kinds: list[tuple[str, type]] = [(key, str) for key in texts]
    kinds += [("inputs", dict), ("packages", list), ("programs", bool)]
    wrong = [key for key, kind in kinds if key in entry and not isinstance(entry[key], kind)]
    for key in wrong:
        yield f"{variable}.{key}: {_secrets.unfit(entry[key])}"
    if wrong:
        return
    if entry.get("project") and not _PATH.fullmatch(entry["project"]):
        yield f"{variable}.project: invalid value {entry['project']!r}; expected GROUP/PROJECT"
    yield from _platform_problems(variable, entry)
    file = entry.get("file", ".gitlab-ci.yml")
    if not _FILE.fullmatch(file) or ".." in file.split("/"):
        yield f"{variable}.file: invalid value {file!r}; expected a path such as .gitlab-ci.yml"
    if entry.get("branch") and entry.get("folder"):
        yield f"{variable}.branch: not for a folder, which has its branch checked out"
    for index, package in enumerate(entry.get("packages") or []):
        if not isinstance(package, Mapping):
            where = f"{variable}.packages[{index}]"
            yield f"{where}: {_secrets.unfit(package)}; expected a mapping of inputs"


def _platform_problems(variable: str, entry: Mapping[str, Any]) -> Iterator[str]:
    platform = entry.get("platform", "gitlab")
    if platform not in PLATFORMS:
        expected = " or ".join(PLATFORMS)
        yield f"{variable}.platform: invalid value {platform!r}; expected {expected}"
    if platform != "github":
        return
    if entry.get("project"):
        yield (
            f"{variable}.project: not for platform github, which this role cannot reach; expected "
            "folder, a checkout that you push yourself"
        )
    if "file" in entry:
        yield f"{variable}.file: not for platform github; the input name gives the file its name"
    if entry.get("programs") is False:
        yield f"{variable}.programs: not for platform github, whose jobs run the program"


def _packages(common: Mapping[str, Any], entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The inputs of each package: those of all projects, of this one, and its own."""
    own = {**common, **entry.get("inputs", {})}
    return [{**own, **package} for package in entry.get("packages") or [{}]]


def _address_problems(where: str, given: Mapping[str, Any]) -> Iterator[str]:
    """Indexes whose address a job cannot know: it reads no settings of the project (release.py)."""
    for prefix in ("", "test_"):
        index = str(given.get(f"{prefix}index") or "")
        needed = [f"{prefix}upload_url", f"{prefix}simple_url"]
        known = index.partition(":")[0] in ("", "pypi", "testpypi", "gitlab")
        missing = [name for name in needed if not given.get(name)]
        if not known and missing:
            yield (
                f"{where}.{prefix}index: invalid value {index!r} without {' and '.join(missing)}; "
                "expected pypi, testpypi, gitlab or gitlab:PROJECT_ID, or a name of your own with "
                "both addresses"
            )


def _name_problems(variable: str, packages: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """GitLab merges jobs of one name without a word, and a tag belongs to one package."""
    for key, default in (("name", "release"), ("tag_prefix", "v")):
        values = [str(given.get(key, default)) for given in packages]
        for value in sorted({one for one in values if values.count(one) > 1}):
            yield f"{variable}.packages: several have the {key} {value!r}; expected one each"


def _twice(wanted: Sequence[Wanted]) -> Iterator[str]:
    names = [one.name for one in wanted]
    for index, one in enumerate(wanted):
        if one.name in names[:index]:
            yield f"{one.variable}: {one.name} is named twice; expected one entry, with packages"
