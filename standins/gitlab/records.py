# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab's GitLab keeps: records that are JSON documents in the store.

Times are seconds since the epoch. Tokens of users and runners are kept as digests, as GitLab does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

CREATED, PENDING, RUNNING, CANCELING = "created", "pending", "running", "canceling"
SUCCESS, FAILED, CANCELED = "success", "failed", "canceled"
MANUAL, SKIPPED, WAITING = "manual", "skipped", "waiting_for_resource"
ACTIVE = (RUNNING, CANCELING)
FINISHED = (SUCCESS, FAILED, CANCELED)


@dataclass
class Project:
    """A project and the path of its repository below ``repos/``."""

    id: int
    path: str
    default_branch: str = "main"
    visibility: str = "private"
    job_tokens_limited: bool = True
    """Whether other projects' job tokens are let in by the allowlist alone."""

    @property
    def name(self) -> str:
        """Return the last part of the path."""
        return self.path.rsplit("/", 1)[-1]

    @property
    def namespace(self) -> str:
        """Return the path without its last part."""
        return self.path.rsplit("/", 1)[0]


@dataclass
class Runner:
    """A runner. ``token_ttl`` (seconds) makes each new token expire.

    ``project_id`` is the project that owns it, ``assigned`` are others that it serves.
    """

    id: int
    token_digest: str
    short_token: str
    runner_type: str = "instance_type"
    project_id: int | None = None
    assigned: list[int] = field(default_factory=list)
    group_id: int | None = None
    description: str = ""
    paused: bool = False
    locked: bool = False
    run_untagged: bool = True
    tag_list: list[str] = field(default_factory=list)
    access_level: str = "not_protected"
    maximum_timeout: int | None = None
    maintenance_note: str = ""
    created_at: float = 0.0
    contacted_at: float | None = None
    token_expires_at: float | None = None
    token_ttl: float | None = None

    def serves(self, project_id: int) -> bool:
        """Whether a project's runner is this one's."""
        return project_id in (self.project_id, *self.assigned)


@dataclass
class Manager:
    """A runner manager: one host that uses a runner's token."""

    id: int
    runner_id: int
    system_id: str
    version: str = ""
    revision: str = ""
    platform: str = ""
    architecture: str = ""
    features: dict[str, Any] = field(default_factory=dict)
    created_at: float = 0.0
    contacted_at: float = 0.0


@dataclass
class Pickup:
    """One hand-over of a job to a runner."""

    runner_id: int
    system_id: str
    at: float


@dataclass
class Plan:
    """What a job of a pipeline has, beside what any job has.

    Attributes:
        group: the name without what a matrix adds.
        exit_codes: those with which it may fail, if no other may.
        needs: other jobs by their group (job, artifacts, optional, matrix); None: earlier stages.
        sources: groups of earlier stages whose artifacts it takes; None: all.
        variables: those of the configuration.
        action: what it does with its environment; only start and stop make a deployment.
        attempts: how often it runs again by itself after a failure.
        interruptible: whether a newer pipeline of its branch may cancel it once it has begun.
        id_tokens: variables for ID tokens, and whom each is for.
    """

    group: str
    stage_index: int
    when: str = "on_success"
    allow_failure: bool = False
    exit_codes: list[int] = field(default_factory=list)
    needs: list[dict[str, Any]] | None = None
    sources: list[str] | None = None
    variables: list[dict[str, Any]] = field(default_factory=list)
    environment: str = ""
    action: str = "start"
    resource_group: str = ""
    index: int = 0
    total: int = 1
    attempts: int = 0
    interruptible: bool = False
    id_tokens: dict[str, Any] = field(default_factory=dict)
    retried: bool = False


@dataclass
class Job:
    """A job and what became of it; ``timeout`` in seconds. ``plan``: if it is a pipeline's."""

    id: int
    project_id: int
    name: str
    stage: str
    ref: str
    ref_type: str
    sha: str
    token: str
    pipeline_id: int
    timeout: int = 3600
    tags: list[str] = field(default_factory=list)
    protected: bool = False
    variables: list[dict[str, Any]] = field(default_factory=list)
    steps: list[dict[str, Any]] = field(default_factory=list)
    artifacts: list[dict[str, Any]] = field(default_factory=list)
    cache: list[dict[str, Any]] = field(default_factory=list)
    hooks: list[dict[str, Any]] = field(default_factory=list)
    dependencies: list[int] = field(default_factory=list)
    depth: int = 20
    allow_git_fetch: bool = True
    payload_overrides: dict[str, Any] = field(default_factory=dict)
    state: str = PENDING
    revision: int = 0
    created_at: float = 0.0
    started_at: float | None = None
    finished_at: float | None = None
    runner_id: int | None = None
    system_id: str | None = None
    failure_reason: str | None = None
    exit_code: int | None = None
    checksum_ok: bool | None = None
    pickups: list[Pickup] = field(default_factory=list)
    uploads: list[dict[str, Any]] = field(default_factory=list)
    dotenv: list[dict[str, Any]] = field(default_factory=list)
    plan: Plan | None = None

    @property
    def of_pipeline(self) -> Plan:
        """The plan of a job that is known to be a pipeline's."""
        assert self.plan is not None
        return self.plan


@dataclass
class AccessToken:
    """An access token: a person's, or of a project's bot with an access level there alone."""

    id: int
    token_digest: str
    scopes: list[str]
    project_id: int | None = None
    access_level: int = 50
    name: str = "lab"
    user: str = "root"
    expires_at: str | None = None


@dataclass
class Pipeline:
    """A pipeline; its state is that of its jobs, unless ``problem`` says why it has none."""

    id: int
    project_id: int
    iid: int
    ref: str
    tag: bool
    sha: str
    before_sha: str
    source: str
    protected: bool
    user: str = "root"
    problem: str = ""
    skipped: bool = False
    variables: list[dict[str, Any]] = field(default_factory=list)
    commit: dict[str, str] = field(default_factory=dict)
    created_at: float = 0.0


@dataclass
class ProtectedRef:
    """A protected branch or tag, or several by ``*``; levels are GitLab's, 0 is no one."""

    id: int
    project_id: int
    tag: bool
    name: str
    push_level: int = 40
    merge_level: int = 40
    allow_force_push: bool = False


@dataclass
class Setting:
    """A CI/CD variable of a project or group, ``owner``."""

    id: int
    owner: int
    key: str
    value: str
    variable_type: str = "env_var"
    protected: bool = False
    masked: bool = False
    hidden: bool = False
    raw: bool = False
    environment_scope: str = "*"
    description: str | None = None


@dataclass
class Environment:
    """An environment of a project."""

    id: int
    project_id: int
    name: str
    slug: str
    tier: str
    external_url: str | None = None
    description: str | None = None
    created_at: float = 0.0


@dataclass
class DeployToken:
    """A deploy token of a project; ``expires_at`` is a date, None for never."""

    id: int
    project_id: int
    token_digest: str
    name: str
    username: str
    scopes: list[str]
    expires_at: str | None = None


@dataclass
class Allowed:
    """A project or group whose job tokens a project lets in."""

    id: int
    project_id: int
    group: bool
    target: int


@dataclass
class Schedule:
    """A pipeline schedule of a project; nothing here starts its pipelines."""

    id: int
    project_id: int
    description: str
    ref: str
    cron: str
    cron_timezone: str = "UTC"
    active: bool = True
    variables: list[dict[str, str]] = field(default_factory=list)
    created_at: float = 0.0
