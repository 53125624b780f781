# SPDX-License-Identifier: GPL-3.0-or-later
"""State of the lab's GitLab: SQLite for what is small, files for traces, artifacts and git.

Each record is a dataclass kept as a JSON document; the columns beside it are what is searched.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sqlite3
import string
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from standins.gitlab.records import (
    PENDING,
    RUNNING,
    AccessToken,
    Allowed,
    DeployToken,
    Environment,
    Job,
    Manager,
    Pickup,
    Pipeline,
    Plan,
    Project,
    ProtectedRef,
    Runner,
    Schedule,
    Setting,
)
from standins.gitlab.tables import Table

_ALPHABET = string.ascii_letters + string.digits + "-_"


def new_token(prefix: str) -> str:
    """Return a token of 20 random characters behind ``prefix``, as GitLab makes them."""
    # A hyphen or underscore first would be legal, but makes tokens that no eye can split.
    first = secrets.choice(string.ascii_letters + string.digits)
    return prefix + first + "".join(secrets.choice(_ALPHABET) for _ in range(19))


def digest(token: str) -> str:
    """Return what is stored of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


class Store:
    """All state of one lab GitLab. One process, one thread, transactions for what must be whole."""

    def __init__(self, state_dir: Path) -> None:
        self.root = state_dir
        for folder in (state_dir, *(state_dir / name for name in ("repos", "traces", "artifacts"))):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        database = state_dir / "gitlab.sqlite3"
        os.close(os.open(database, os.O_CREAT | os.O_RDWR, 0o600))
        self._db = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.executescript(
            """
            CREATE TABLE IF NOT EXISTS projects (
              id INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT UNIQUE COLLATE NOCASE, doc TEXT);
            CREATE TABLE IF NOT EXISTS runners (
              id INTEGER PRIMARY KEY AUTOINCREMENT, token_digest TEXT UNIQUE, doc TEXT);
            CREATE TABLE IF NOT EXISTS managers (
              id INTEGER PRIMARY KEY AUTOINCREMENT, runner_id INTEGER, system_id TEXT, doc TEXT,
              UNIQUE (runner_id, system_id));
            CREATE TABLE IF NOT EXISTS jobs (
              id INTEGER PRIMARY KEY AUTOINCREMENT, state TEXT, runner_id INTEGER, doc TEXT);
            CREATE TABLE IF NOT EXISTS access_tokens (
              id INTEGER PRIMARY KEY AUTOINCREMENT, token_digest TEXT UNIQUE, doc TEXT);
            CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT);
            """
        )

        self.pipelines = Table(self._db, "pipelines", Pipeline, "project_id")
        self.protected_refs = Table(self._db, "protected_refs", ProtectedRef, "project_id")
        self.project_settings = Table(self._db, "project_settings", Setting, "owner")
        self.group_settings = Table(self._db, "group_settings", Setting, "owner")
        self.environments = Table(self._db, "environments", Environment, "project_id")
        self.deploy_tokens = Table(self._db, "deploy_tokens", DeployToken, "project_id")
        self.allowed = Table(self._db, "allowed", Allowed, "project_id")
        self.schedules = Table(self._db, "schedules", Schedule, "project_id")

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """A transaction: all changes inside are applied, or none."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    # -- projects -----------------------------------------------------------------------------

    def add_project(self, path: str, default_branch: str, visibility: str = "private") -> Project:
        """Add a project; ``sqlite3.IntegrityError`` when the path is taken."""
        key = self._insert("projects", path=path)
        project = Project(key, path, default_branch, visibility)
        self._put("projects", key, project)
        return project

    def save_project(self, project: Project) -> None:
        """Save a project."""
        self._put("projects", project.id, project)

    def project(self, key: int) -> Project | None:
        """Return a project by id."""
        doc = self._one("SELECT doc FROM projects WHERE id = ?", key)
        return Project(**doc) if doc else None

    def projects(self) -> list[Project]:
        """Return all projects, oldest first."""
        return [Project(**doc) for doc in self._all("SELECT doc FROM projects ORDER BY id")]

    def project_by_path(self, path: str) -> Project | None:
        """Return a project by its full path, whatever its case."""
        doc = self._one("SELECT doc FROM projects WHERE path = ?", path)
        return Project(**doc) if doc else None

    def groups_of(self, project: Project) -> list[int]:
        """Return the numbers of a project's groups, the outermost first."""
        numbers = {path.lower(): number for number, path in self.namespaces().items()}
        parts = project.path.lower().split("/")[:-1]
        paths = ["/".join(parts[: end + 1]) for end in range(len(parts))]
        return [numbers[path] for path in paths if path != "root"]

    def namespaces(self) -> dict[int, str]:
        """Return the namespaces of all projects, and the administrator's, by their numbers."""
        found = {"root"}
        for doc in self._all("SELECT doc FROM projects"):
            parts = str(doc["path"]).split("/")[:-1]
            found |= {"/".join(parts[: end + 1]) for end in range(len(parts))}
        return {zlib.crc32(path.lower().encode()): path for path in sorted(found)}

    def repository(self, project: Project) -> Path:
        """Return the folder of the project's bare repository."""
        return self.root / "repos" / f"{project.path}.git"

    # -- runners ------------------------------------------------------------------------------

    def add_runner(self, token: str, **fields: Any) -> Runner:
        """Add a runner."""
        key = self._insert("runners", token_digest=digest(token))
        runner = Runner(
            id=key,
            token_digest=digest(token),
            short_token=token.removeprefix("glrt-")[:8],
            created_at=time.time(),
            **fields,
        )
        self.save_runner(runner)
        return runner

    def save_runner(self, runner: Runner) -> None:
        """Save a runner."""
        self._db.execute(
            "UPDATE runners SET token_digest = ?, doc = ? WHERE id = ?",
            (runner.token_digest, json.dumps(asdict(runner)), runner.id),
        )

    def runner(self, key: int) -> Runner | None:
        """Return a runner by id."""
        doc = self._one("SELECT doc FROM runners WHERE id = ?", key)
        return Runner(**doc) if doc else None

    def runner_by_token(self, token: str) -> Runner | None:
        """Return the runner that ``token`` belongs to, unless the token has expired."""
        doc = self._one("SELECT doc FROM runners WHERE token_digest = ?", digest(token))
        runner = Runner(**doc) if doc else None
        if runner and runner.token_expires_at and runner.token_expires_at <= time.time():
            return None
        return runner

    def runners(self) -> list[Runner]:
        """Return all runners."""
        return [Runner(**doc) for doc in self._all("SELECT doc FROM runners ORDER BY id")]

    def delete_runner(self, key: int) -> None:
        """Delete a runner and its managers."""
        with self.transaction():
            self._db.execute("DELETE FROM managers WHERE runner_id = ?", (key,))
            self._db.execute("DELETE FROM runners WHERE id = ?", (key,))

    def touch_manager(self, runner: Runner, system_id: str, info: dict[str, object]) -> Manager:
        """Note a contact of one host; ``info`` is what the runner says of itself."""
        now = time.time()
        doc = self._one(
            "SELECT doc FROM managers WHERE runner_id = ? AND system_id = ?", runner.id, system_id
        )
        if doc is None:
            key = self._insert("managers", runner_id=runner.id, system_id=system_id)
            manager = Manager(key, runner.id, system_id, created_at=now)
        else:
            manager = Manager(**doc)
        for name in ("version", "revision", "platform", "architecture"):
            if isinstance(value := info.get(name), str):
                setattr(manager, name, value)
        if isinstance(features := info.get("features"), dict):
            manager.features = features
        manager.contacted_at = now
        self._put("managers", manager.id, manager)
        runner.contacted_at = now
        self.save_runner(runner)
        return manager

    def managers(self, runner_id: int) -> list[Manager]:
        """Return the hosts that have used a runner's token."""
        rows = self._all("SELECT doc FROM managers WHERE runner_id = ? ORDER BY id", runner_id)
        return [Manager(**doc) for doc in rows]

    def delete_manager(self, runner_id: int, system_id: str) -> bool:
        """Delete one host of a runner; False when there is none."""
        cursor = self._db.execute(
            "DELETE FROM managers WHERE runner_id = ? AND system_id = ?", (runner_id, system_id)
        )
        return cursor.rowcount == 1

    # -- jobs ---------------------------------------------------------------------------------

    def add_job(self, state: str = PENDING, **fields: Any) -> Job:
        """Queue a job, or add one that waits for others."""
        key = self._insert("jobs", state=state)
        token = f"glcbt-64_{new_token('')}"
        job = Job(id=key, token=token, state=state, created_at=time.time(), **fields)
        self.save_job(job)
        return job

    def save_job(self, job: Job) -> None:
        """Write a job back, as a new revision."""
        job.revision += 1
        self._db.execute(
            "UPDATE jobs SET state = ?, runner_id = ?, doc = ? WHERE id = ?",
            (job.state, job.runner_id, json.dumps(asdict(job)), job.id),
        )

    def job(self, key: int) -> Job | None:
        """Return a job by id."""
        doc = self._one("SELECT doc FROM jobs WHERE id = ?", key)
        return _job(doc) if doc else None

    def jobs_of(self, pipeline_id: int) -> list[Job]:
        """Return the jobs of a pipeline, retried ones too, oldest first."""
        query = "SELECT doc FROM jobs WHERE json_extract(doc, '$.pipeline_id') = ? ORDER BY id"
        return [_job(doc) for doc in self._all(query, pipeline_id)]

    def next_pipeline_id(self) -> int:
        """Return a number that no pipeline has, and no job that was queued without one."""
        query = "SELECT MAX(json_extract(doc, '$.pipeline_id')) FROM jobs"
        row = self._db.execute(query).fetchone()
        return max(int(row[0] or 0), self.pipelines.last()) + 1

    def jobs(self, *states: str) -> list[Job]:
        """Return the jobs in any of these states (all jobs when none is named), oldest first."""
        if not states:
            return [_job(doc) for doc in self._all("SELECT doc FROM jobs ORDER BY id")]
        marks = ",".join("?" * len(states))
        query = f"SELECT doc FROM jobs WHERE state IN ({marks}) ORDER BY id"
        return [_job(doc) for doc in self._all(query, *states)]

    def take_job(self, job: Job, runner: Runner, system_id: str) -> bool:
        """Give a pending job to a runner, once; False when another one was faster."""
        with self.transaction():
            taken = self._db.execute(
                "UPDATE jobs SET state = ? WHERE id = ? AND state = ?", (RUNNING, job.id, PENDING)
            ).rowcount
            if taken != 1:
                return False
            now = time.time()
            job.state, job.runner_id, job.system_id = RUNNING, runner.id, system_id
            job.started_at = now
            job.pickups.append(Pickup(runner.id, system_id, now))
            self.save_job(job)
        return True

    def trace_file(self, job_id: int) -> Path:
        """Return the file of a job's trace; it may not exist yet."""
        return self.root / "traces" / f"{job_id}.log"

    def trace(self, job_id: int) -> bytes:
        """Return a job's trace so far."""
        path = self.trace_file(job_id)
        return path.read_bytes() if path.exists() else b""

    def append_trace(self, job_id: int, data: bytes) -> int:
        """Append to a job's trace and return its size."""
        path = self.trace_file(job_id)
        with os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600), "ab") as file:
            file.write(data)
        return path.stat().st_size

    def artifact_file(self, job_id: int, kind: str) -> Path:
        """Return the file of one artifact of a job; its folder exists."""
        folder = self.root / "artifacts" / str(job_id)
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder / kind

    # -- tokens, queue value ------------------------------------------------------------------

    def add_access_token(self, token: str, scopes: list[str], **fields: Any) -> AccessToken:
        """Add an access token; a person's unless fields say whose."""
        key = self._insert("access_tokens", token_digest=digest(token))
        record = AccessToken(key, digest(token), scopes, **fields)
        self._put("access_tokens", key, record)
        return record

    def access_token(self, token: str) -> AccessToken | None:
        """Return a personal access token's record."""
        doc = self._one("SELECT doc FROM access_tokens WHERE token_digest = ?", digest(token))
        return AccessToken(**doc) if doc else None

    def access_tokens_of(self, project_id: int) -> list[AccessToken]:
        """Return the tokens of a project's bots."""
        query = (
            "SELECT doc FROM access_tokens WHERE json_extract(doc, '$.project_id') = ? ORDER BY id"
        )
        return [AccessToken(**doc) for doc in self._all(query, project_id)]

    def delete_access_token(self, key: int) -> None:
        """Revoke a personal access token."""
        self._db.execute("DELETE FROM access_tokens WHERE id = ?", (key,))

    def queue_value(self) -> str:
        """Return the value of X-GitLab-Last-Update: it changes whenever the queue does."""
        row = self._db.execute("SELECT value FROM meta WHERE key = 'queue'").fetchone()
        return str(row[0]) if row else self.tick_queue()

    def tick_queue(self) -> str:
        """Change the queue value, so that no runner is answered from its last one."""
        value = secrets.token_hex(16)
        self._db.execute("INSERT OR REPLACE INTO meta VALUES ('queue', ?)", (value,))
        return value

    # -- plumbing -----------------------------------------------------------------------------

    def _insert(self, table: str, **columns: object) -> int:
        names = ", ".join((*columns, "doc"))
        marks = ", ".join("?" * (len(columns) + 1))
        query = f"INSERT INTO {table} ({names}) VALUES ({marks})"
        cursor = self._db.execute(query, (*columns.values(), "{}"))
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def _put(self, table: str, key: int, record: Project | Manager | AccessToken) -> None:
        doc = json.dumps(asdict(record))
        self._db.execute(f"UPDATE {table} SET doc = ? WHERE id = ?", (doc, key))

    def _one(self, query: str, *values: object) -> dict[str, Any] | None:
        row = self._db.execute(query, values).fetchone()
        return json.loads(row[0]) if row else None

    def _all(self, query: str, *values: object) -> list[dict[str, Any]]:
        return [json.loads(row[0]) for row in self._db.execute(query, values).fetchall()]


def _job(doc: dict[str, Any]) -> Job:
    doc["pickups"] = [Pickup(**pickup) for pickup in doc["pickups"]]
    doc["plan"] = Plan(**doc["plan"]) if doc.get("plan") else None
    return Job(**doc)
