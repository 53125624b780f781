# SPDX-License-Identifier: GPL-3.0-or-later
"""gitlab-ci-local as the compiler of pipelines: it merges a configuration and evaluates its rules.

It runs twice: ``--preview`` merges includes, extends, defaults and references; ``--list-json``
says which of the jobs exist for these variables, with their ``when``. What it does not tell, which
rule it was that matched, probes say: jobs of the same rules of which only one is left.
"""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from standins.gitlab.components import ConfigError
from standins.gitlab.includes import FOLDER, MAIN

_KEYWORDS = {"default", "include", "spec", "stages", "variables", "workflow"}
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_UNDEFINED = re.compile(r"needs: \[(.+)\] for (.+) could not be found")
_NOISE = re.compile(
    r"^(Using fallback git|Unable to retrieve default|\s+Command failed|fatal: ref |\s+at |$)"
)
_PROBE = "probe of the stand-in"
# What gitlab-ci-local would make up from the checkout.
_MADE_UP = ("CI_COMMIT_BRANCH", "CI_COMMIT_TAG")
_TIMEOUT = 120
_FORGOTTEN = ("hooks", "id_tokens", "interruptible", "retry", "tags", "timeout")


@dataclass(frozen=True)
class Source:
    """What a pipeline is made from.

    Attributes:
        repository: the bare repository.
        files: texts that lie over those of the commit.
        url: the address of the project.
        before: the commit to compare with for ``rules:changes``; empty if each of them holds.
        predefined: GitLab's own variables.
        default: what jobs take over from ``default:``.
        settings: variables of groups, projects and the pipeline, which override the configuration.
    """

    repository: Path
    sha: str
    files: Mapping[str, str]
    url: str
    default_branch: str
    before: str
    predefined: Mapping[str, str]
    settings: Mapping[str, str]
    default: Mapping[str, Any]


@dataclass(frozen=True)
class JobConfig:
    """A job of the pipeline: its merged configuration, and what its rules made of it."""

    name: str
    group: str
    stage_index: int
    config: dict[str, Any]
    stage: str
    when: str
    allow_failure: bool | dict[str, Any]
    needs: list[dict[str, Any]] | None
    variables: dict[str, str]
    """Those of the configuration: of all jobs, the workflow, its own, the matrix, the rule."""
    index: int = 0
    total: int = 1


class Compiler:
    """Runs gitlab-ci-local, ``command``."""

    def __init__(self, command: tuple[str, ...]) -> None:
        self._command = command

    def compile(self, source: Source) -> list[JobConfig] | None:
        """Return the jobs of the pipeline; None if its workflow's rules want none."""
        if not self._command or not all(Path(word).exists() for word in self._command):
            raise ConfigError(
                "the stand-in compiles pipelines with gitlab-ci-local, which is not installed: "
                "run python -m lab.pipeline_tools"
            )
        with tempfile.TemporaryDirectory(prefix="pipeline-") as scratch:
            return _Compilation(self._command, source, Path(scratch)).jobs()


class _Compilation:
    """One pipeline, in a folder of its own."""

    def __init__(self, command: tuple[str, ...], source: Source, scratch: Path) -> None:
        self._command, self._source, self._scratch = command, source, scratch
        self._tree = scratch / "tree"

    def jobs(self) -> list[JobConfig] | None:
        """Compile."""
        self._check_out()
        self._write_variables({**self._source.predefined, **self._source.settings})
        # It includes tracked files only. In comparisons with other commits they must not appear.
        self._git("add", "--force", "--", FOLDER)
        merged = yaml.safe_load(self._run("--preview").partition("---\n")[2])
        self._git("reset", "--quiet")
        self._write_variables(self._source.settings)
        shared: dict[str, str] = dict(merged.get("variables") or {})
        workflow = merged.get("workflow") or {}
        if "auto_cancel" in workflow:
            raise ConfigError("workflow: the stand-in has no auto_cancel")
        rules = workflow.get("rules")
        if rules:
            probes = self._probes("workflow", {"variables": {**self._given(), **shared}}, rules)
            exists = self._list(merged, probes)
            number = self._matched("workflow", exists)
            if number is None or rules[number].get("when") == "never":
                return None
            shared |= rules[number].get("variables") or {}
        return list(self._expanded(merged, shared))

    def _check_out(self) -> None:
        source, tree = self._source, self._tree
        main = f"refs/remotes/origin/{source.default_branch}"
        subprocess.run(
            ["git", "clone", "--quiet", "--shared", "--no-checkout", str(source.repository), tree],
            check=True, timeout=_TIMEOUT,
        )  # fmt: skip
        for words in (
            ("checkout", "--quiet", "--detach", source.sha),
            ("remote", "set-url", "origin", source.url),
            ("update-ref", main, source.before or source.sha),
            ("symbolic-ref", "refs/remotes/origin/HEAD", main),
        ):
            self._git(*words)
        # Options, variables and inputs for a developer's own gitlab-ci-local.
        for path in tree.glob(".gitlab-ci-local*"):
            if path.is_file() or path.is_symlink():
                path.unlink()
        for name, text in source.files.items():
            path = tree / name
            # A link of the project must not lead elsewhere.
            if path.is_symlink():
                path.unlink()
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def _git(self, *words: str) -> None:
        subprocess.run(["git", "-C", str(self._tree), *words], check=True, timeout=_TIMEOUT)

    def _given(self) -> dict[str, str]:
        """GitLab's own variables as a job's: what they contain is not expanded again."""
        return {key: value.replace("$", "$$") for key, value in self._source.predefined.items()}

    def _write_variables(self, variables: Mapping[str, str]) -> None:
        """In a file: command lines are read by everybody."""
        path = self._scratch / "variables.yml"
        path.touch(mode=0o600)
        path.write_text(json.dumps(dict(variables)), encoding="utf-8")

    def _run(self, *what: str) -> str:
        known = {*self._source.predefined, *self._source.settings}
        words = [*what, "--file", MAIN, "--home", str(self._scratch), "--no-color",
                 "--variables-file", "../variables.yml",
                 "--ignore-predefined-vars", ",".join(sorted(known))]  # fmt: skip
        for name in _MADE_UP:
            if name not in self._source.predefined:
                words += ["--unset-variable", name]
        if not self._source.before:
            words.append("--no-evaluate-rule-changes")
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(self._scratch),
                       "LANG": "C.UTF-8", "GIT_CONFIG_NOSYSTEM": "1"}  # fmt: skip
        try:
            done = subprocess.run(
                [*self._command, *words], cwd=self._tree, env=environment, capture_output=True,
                text=True, stdin=subprocess.DEVNULL, check=False, timeout=_TIMEOUT,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise ConfigError(f"gitlab-ci-local took longer than {_TIMEOUT} s") from None
        if done.returncode:
            raise ConfigError(_words(done.stderr or done.stdout))
        return done.stdout

    def _list(self, merged: dict[str, Any], jobs: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Which of the jobs exist, by name."""
        whole = {"stages": merged["stages"], **jobs}
        (self._tree / MAIN).write_text(json.dumps(whole), encoding="utf-8")
        # The schema took half of the time, and has seen what was merged.
        output = self._run("--list-json", "--no-json-schema-validation")
        listed = json.loads(output[output.index("[\n") :]) if "[\n" in output else []
        return {one["name"]: one for one in listed if one["when"] != "never"}

    def _probes(
        self, name: str, config: Mapping[str, Any], rules: list[dict[str, Any]]
    ) -> dict[str, dict[str, Any]]:
        """A job for each rule that exists if this rule is the first that matches."""
        kept = {key: config[key] for key in ("variables", "parallel") if key in config}
        conditions = [
            {key: rule[key] for key in ("if", "changes", "exists") if key in rule} for rule in rules
        ]
        return {
            f"{_PROBE} {name} {number}": {
                **kept, "script": ["true"], "stage": ".pre",
                "rules": [
                    *({**one, "when": "never"} for one in conditions[:number]),
                    {**conditions[number], "when": "on_success"},
                ],
            }
            for number in range(len(rules))
        }  # fmt: skip

    def _matched(self, name: str, exists: Mapping[str, Any], suffix: str = "") -> int | None:
        for number in itertools.count():
            if f"{_PROBE} {name} {number}{suffix}" in exists:
                return number
            if number > 200:
                return None
        raise AssertionError

    def _take_over(self, config: dict[str, Any]) -> None:
        """Keywords of ``default:`` that gitlab-ci-local forgets."""
        inherited = (config.get("inherit") or {}).get("default", True)
        for name in _FORGOTTEN:
            taken = name in inherited if isinstance(inherited, list) else inherited
            if taken and name in self._source.default:
                config.setdefault(name, self._source.default[name])

    def _expanded(self, merged: dict[str, Any], shared: dict[str, str]) -> Iterator[JobConfig]:
        """The jobs that exist, each matrix spread."""
        given = self._given()
        configs = {
            name: config for name, config in merged.items()
            if name not in _KEYWORDS and not str(name).startswith(".")
        }  # fmt: skip
        for config in configs.values():
            self._take_over(config)
        own: dict[str, dict[str, str]] = {}
        asked: dict[str, Any] = {}
        for name, config in configs.items():
            inherited = (config.get("inherit") or {}).get("variables", True)
            names = inherited if isinstance(inherited, list) else (shared if inherited else [])
            mine = {key: value for key, value in shared.items() if key in names}
            own[name] = {**mine, **(config.get("variables") or {})}
            asked[name] = {**config, "variables": {**given, **own[name]}}
            asked[name].pop("inherit", None)
            rules = config.get("rules") or []
            if any(rule.get("variables") for rule in rules):
                asked |= self._probes(name, asked[name], rules)
        exists = self._list(merged, asked) if configs else {}
        for name, config in configs.items():
            for index, (job, suffix, matrix) in enumerate(instances(name, config), 1):
                found = exists.get(f"{name}{suffix}")
                if found is None:
                    continue
                rule = self._matched(name, exists, suffix)
                chosen = config["rules"][rule].get("variables") or {} if rule is not None else {}
                yield JobConfig(
                    name=job, group=name, stage_index=merged["stages"].index(found["stage"]),
                    config=config, stage=found["stage"], when=found["when"],
                    allow_failure=_may_fail(config, found), needs=found.get("needs"),
                    variables={
                        key: text_of(value)
                        for key, value in {**own[name], **matrix, **chosen}.items()
                    },
                    index=index if suffix else 0, total=_count(config),
                )  # fmt: skip


def _may_fail(config: Mapping[str, Any], found: Mapping[str, Any]) -> bool | dict[str, Any]:
    """A manual job without rules is optional (GitLab's documentation, "allow_failure")."""
    if "allow_failure" not in config and not config.get("rules") and found["when"] == "manual":
        return True
    answer: bool | dict[str, Any] = found["allow_failure"]
    return answer


def _count(config: Mapping[str, Any]) -> int:
    return len(list(instances("", config)))


def instances(name: str, config: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, str]]]:
    """The jobs that ``parallel`` makes: name, the compiler's suffix for it, the matrix's values."""
    parallel = config.get("parallel")
    if parallel is None:
        yield name, "", {}
    elif isinstance(parallel, int):
        for number in range(1, parallel + 1):
            yield f"{name} {number}/{parallel}", f": [{number}/{parallel}]", {}
    else:
        for entry in parallel["matrix"]:
            choices = [one if isinstance(one, list) else [one] for one in entry.values()]
            for values in itertools.product(*choices):
                words = [str(value) for value in values]
                matrix = dict(zip(map(str, entry), words, strict=True))
                yield f"{name}: [{', '.join(words)}]", f": [{','.join(words)}]", matrix


def text_of(value: object) -> str:
    """The text of a variable of the configuration, which may be a number or true."""
    if isinstance(value, dict):
        return text_of(value.get("value"))
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _words(output: str) -> str:
    """What gitlab-ci-local says against a configuration, in GitLab's words where it is easy."""
    lines = [_ANSI.sub("", line).rstrip() for line in output.splitlines()]
    said = " ".join(line.strip() for line in lines if not _NOISE.search(line))
    if found := _UNDEFINED.search(said):
        return f"{found[2]} job: undefined need: {found[1]}"
    return said or "gitlab-ci-local failed"
