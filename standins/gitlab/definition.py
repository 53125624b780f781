# SPDX-License-Identifier: GPL-3.0-or-later
"""From a compiled job to what the queue keeps of it (GitLab docs, "CI/CD YAML syntax reference").

A keyword that the runner would miss, and that this stand-in has not, is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from standins.gitlab.ci_variables import expand, expanded, variable
from standins.gitlab.compiler import JobConfig
from standins.gitlab.components import ConfigError
from standins.gitlab.records import Plan

_UNKNOWN = ("run", "trigger", "secrets", "dast_configuration", "release", "pages", "inputs")
_WHENS = ("on_success", "on_failure", "always", "manual")
_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
# Name and format of reports (GitLab's enums/ci/job_artifact.rb).
_REPORTS = {
    "dotenv": (".env", "gzip"),
    "junit": ("junit.xml", "gzip"),
    "metrics": ("metrics.txt", "gzip"),
    "codequality": ("gl-code-quality-report.json", "raw"),
}
_RETRY = 2


def definition(
    job: JobConfig,
    known: Mapping[str, str],
    settings: Sequence[dict[str, Any]],
    protected: bool,
) -> dict[str, Any]:
    """Return the fields of the queue's job, its plan among them.

    Args:
        job: the compiled job.
        known: GitLab's own variables, which its tags, environment and resource group may name.
        settings: variables of groups, projects and the pipeline, which they may name, too.
        protected: whether the ref is.
    """
    config = job.config
    if unknown := [name for name in _UNKNOWN if config.get(name)]:
        raise ConfigError(f"jobs:{job.name}: the stand-in has no {', '.join(unknown)}")
    if job.when not in _WHENS:
        raise ConfigError(f"jobs:{job.name}: the stand-in has no when: {job.when}")
    own = {**known, "CI_JOB_NAME": job.name, "CI_JOB_STAGE": job.stage}
    of_file = [variable(key, value) for key, value in job.variables.items()]
    all_of = [*(variable(key, value) for key, value in own.items()), *of_file, *settings]
    values = {one["key"]: one["value"] for one in expanded(all_of)}
    environment = config.get("environment") or {}
    if isinstance(environment, str):
        environment = {"name": environment}
    allowed = job.allow_failure
    plan = Plan(
        group=job.group,
        stage_index=job.stage_index,
        when=job.when,
        allow_failure=allowed is True,
        exit_codes=_codes(allowed),
        needs=None if job.needs is None else [_need(job.name, one) for one in job.needs],
        sources=config.get("dependencies"),
        variables=of_file,
        environment=expand(str(environment.get("name") or ""), values),
        action=str(environment.get("action") or "start"),
        resource_group=expand(str(config.get("resource_group") or ""), values),
        index=job.index,
        total=job.total,
        attempts=_attempts(config.get("retry")),
        interruptible=bool(config.get("interruptible")),
        id_tokens=dict(_id_tokens(job.name, config.get("id_tokens") or {})),
    )
    timeout = seconds(config["timeout"]) if "timeout" in config else 3600
    return {
        "name": job.name,
        "stage": job.stage,
        "timeout": timeout,
        "tags": [expand(str(tag), values) for tag in config.get("tags") or []],
        "steps": _steps(config, timeout),
        "artifacts": list(_artifacts(config.get("artifacts") or {})),
        "cache": list(_caches(job.name, config.get("cache") or [], protected)),
        "hooks": [
            {"name": name, "script": list(_lines(script))}
            for name, script in (config.get("hooks") or {}).items()
        ],
        "plan": plan,
    }


def seconds(text: object) -> int:
    """Return the seconds of ``1h 30m``, ``10 minutes`` or a number."""
    if isinstance(text, (int, float)):
        return int(text)
    found = [
        float(number) * _SECONDS.get(unit[0], 0)
        for number, unit in _TIME.findall(str(text).lower())
        if not unit.startswith("mo")
    ]
    if str(text).isdecimal():
        return int(str(text))
    if not found or not all(found):
        raise ConfigError(f"timeout config should be a duration: {text!r}")
    return int(sum(found))


def _codes(allowed: bool | dict[str, Any]) -> list[int]:
    codes = allowed.get("exit_codes", []) if isinstance(allowed, dict) else []
    return [int(code) for code in (codes if isinstance(codes, list) else [codes])]


def _need(job: str, need: Mapping[str, Any]) -> dict[str, Any]:
    if unknown := sorted({"pipeline", "project", "ref"} & set(need)):
        raise ConfigError(f"jobs:{job}: the stand-in has no needs of another {unknown[0]}")
    return {
        "job": str(need["job"]),
        "artifacts": need.get("artifacts", True) is not False,
        "optional": bool(need.get("optional", False)),
        "matrix": (need.get("parallel") or {}).get("matrix"),
    }


def _attempts(retry: object) -> int:
    found = retry.get("max", 0) if isinstance(retry, dict) else retry or 0
    return min(int(str(found)), _RETRY)


def _id_tokens(job: str, config: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    for name, about in config.items():
        if not (isinstance(about, dict) and about.get("aud")):
            raise ConfigError(f"jobs:{job}:id_tokens:{name} config missing required keys: aud")
        yield name, about["aud"]


def _lines(script: object) -> Iterable[str]:
    if isinstance(script, list):
        for line in script:
            yield from _lines(line)
    elif script is not None:
        yield str(script)


def _steps(config: Mapping[str, Any], timeout: int) -> list[dict[str, Any]]:
    script = [*_lines(config.get("before_script")), *_lines(config.get("script"))]
    after = list(_lines(config.get("after_script")))
    steps = [("script", script, "on_success", False)]
    if after:
        steps.append(("after_script", after, "always", True))
    return [
        {
            "name": name,
            "script": lines,
            "timeout": timeout,
            "when": when,
            "allow_failure": allow_failure,
        }
        for name, lines, when, allow_failure in steps
    ]


def _artifacts(config: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    expire_in = str(config.get("expire_in") or "")
    if config.get("paths") or config.get("untracked"):
        yield {
            "name": str(config.get("name") or ""),
            "untracked": bool(config.get("untracked")),
            "paths": list(_lines(config.get("paths"))),
            "exclude": list(_lines(config.get("exclude"))),
            "when": str(config.get("when") or "on_success"),
            "expire_in": expire_in,
            "artifact_type": "archive",
            "artifact_format": "zip",
        }
    for kind, paths in (config.get("reports") or {}).items():
        if kind not in _REPORTS:
            raise ConfigError(f"artifacts:reports: the stand-in has no {kind}")
        name, form = _REPORTS[kind]
        yield {
            "name": name,
            "untracked": False,
            "paths": list(_lines(paths)),
            "exclude": [],
            "when": "always",
            "expire_in": expire_in,
            "artifact_type": kind,
            "artifact_format": form,
        }


def _caches(job: str, caches: Any, protected: bool) -> Iterable[dict[str, Any]]:
    """Protected branches and others have caches of their own, as GitLab has it by default."""
    for cache in caches if isinstance(caches, list) else [caches]:
        key = cache.get("key") or "default"
        if not isinstance(key, str):
            raise ConfigError(f"jobs:{job}: the stand-in has no cache:key:files")
        yield {
            "key": f"{key}-{'protected' if protected else 'non_protected'}",
            "paths": list(_lines(cache.get("paths"))),
            "untracked": bool(cache.get("untracked")),
            "policy": str(cache.get("policy") or "pull-push"),
            "when": str(cache.get("when") or "on_success"),
        }
