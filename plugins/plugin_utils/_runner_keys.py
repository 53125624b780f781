# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys of gitlab-runner's config.toml with their types.

Source: gitlab-runner 19.3, common/config.go and cache/cacheconfig/cacheconfig.go; the runner
itself ignores an unknown key in silence, so this table is what detects typos.
"""

from __future__ import annotations

from collections.abc import Iterator

# A type is "str", "int", "bool", "float", "duration", "list" (of strings), "map" (of strings),
# "flags" (map of booleans), "any" (a table of an executor that the toolkit does not look into)
# or a nested table.
Table = dict[str, "str | Table"]

_CACHE: Table = {
    "Type": "str",
    "Path": "str",
    "Shared": "bool",
    "MaxUploadedArchiveSize": "int",
    "s3": {
        "ServerAddress": "str",
        "AccessKey": "str",
        "SecretKey": "str",
        "SessionToken": "str",
        "BucketName": "str",
        "BucketLocation": "str",
        "Insecure": "bool",
        "AuthenticationType": "str",
        "ServerSideEncryption": "str",
        "ServerSideEncryptionKeyID": "str",
        "DualStack": "bool",
        "PathStyle": "bool",
        "Accelerate": "bool",
        "RoleARN": "str",
        "UploadRoleARN": "str",
        "AssumeRoleMaxConcurrency": "int",
        "DisableAssumeRoleCredentialsCaching": "bool",
    },
    "gcs": {
        "CredentialsFile": "str",
        "AccessID": "str",
        "PrivateKey": "str",
        "BucketName": "str",
        "UniverseDomain": "str",
    },
    "azure": {
        "AccountName": "str",
        "AccountKey": "str",
        "ContainerName": "str",
        "StorageDomain": "str",
    },
}

RUNNER: Table = {
    "name": "str",
    "url": "str",
    "token": "str",
    "executor": "str",
    "limit": "int",
    "output_limit": "int",
    "request_concurrency": "int",
    "strict_check_interval": "bool",
    "unhealthy_requests_limit": "int",
    "unhealthy_interval": "duration",
    "job_status_final_update_retry_limit": "int",
    "tls-ca-file": "str",
    "tls-cert-file": "str",
    "tls-key-file": "str",
    "builds_dir": "str",
    "cache_dir": "str",
    "clone_url": "str",
    "environment": "list",
    "proxy_exec": "bool",
    "pre_get_sources_script": "str",
    "post_get_sources_script": "str",
    "pre_build_script": "str",
    "post_build_script": "str",
    "prepare_timeout": "duration",
    "get_sources_timeout": "duration",
    "debug_trace_disabled": "bool",
    "safe_directory_checkout": "bool",
    "clean_git_config": "bool",
    "shell": "str",
    "labels": "map",
    "feature_flags": "flags",
    "use_slot_cgroups": "bool",
    "slot_cgroup_template": "str",
    "step_runner_image": "str",
    "custom_build_dir": {"enabled": "bool"},
    "artifact": {"upload_timeout": "duration", "response_header_timeout": "duration"},
    "monitoring": "any",
    "referees": "any",
    "experimental": "any",
    "cache": _CACHE,
    "instance": "any",
    "ssh": "any",
    "docker": "any",
    "parallels": "any",
    "virtualbox": "any",
    "machine": "any",
    "kubernetes": "any",
    "custom": "any",
    "autoscaler": "any",
}

SETTINGS: Table = {
    "listen_address": "str",
    "check_interval": "int",
    "log_level": "str",
    "log_format": "str",
    "sentry_dsn": "str",
    "connection_max_age": "duration",
    "shutdown_timeout": "int",
    "labels": "map",
    "session_server": {
        "listen_address": "str",
        "advertise_address": "str",
        "session_timeout": "int",
    },
    "machine": "any",
    "experimental": "any",
}

# Which of them name something on the host, and what lies there (a kind of `host_checks`).
HOST_PATHS: dict[tuple[str, ...], str] = {
    ("tls-ca-file",): "certificates",
    ("tls-cert-file",): "certificates",
    ("tls-key-file",): "private_key",
    ("cache", "gcs", "CredentialsFile"): "json",
    ("ssh", "identity_file"): "file",
    ("ssh", "known_hosts_file"): "file",
    ("docker", "tls_cert_path"): "directory",
    ("kubernetes", "cert_file"): "file",
    ("kubernetes", "key_file"): "file",
    ("kubernetes", "ca_file"): "file",
    ("custom", "config_exec"): "program",
    ("custom", "prepare_exec"): "program",
    ("custom", "run_exec"): "program",
    ("custom", "cleanup_exec"): "program",
    ("autoscaler", "connector_config", "key_path"): "file",
}
# With another executor these are in a container or on another machine.
SHELL_PATHS: dict[tuple[str, ...], str] = {
    ("builds_dir",): "folder",
    ("cache_dir",): "folder",
    ("shell",): "program",
}
# Keys that only the host's file holds: GitLab issued them.
IDENTITY_KEYS = ("id", "token", "token_obtained_at", "token_expires_at")

# What GitLab itself holds of a runner (GitLab docs, "Users API", create a runner; "Runners API").
GITLAB: Table = {
    "id": "int",
    "runner_type": "str",
    "group_id": "int",
    "project_id": "int",
    "description": "str",
    "tag_list": "list",
    "run_untagged": "bool",
    "locked": "bool",
    "access_level": "str",
    "maximum_timeout": "int",
    "paused": "bool",
    "maintenance_note": "str",
}
CHANGEABLE_KEYS = (
    "description",
    "tag_list",
    "run_untagged",
    "locked",
    "access_level",
    "maximum_timeout",
    "paused",
    "maintenance_note",
)
CREATION_KEYS = ("runner_type", "group_id", "project_id", *CHANGEABLE_KEYS)
RUNNER_TYPES = ("instance_type", "group_type", "project_type")
# GitLab refuses less (Runners API, maximum_timeout).
LEAST_TIMEOUT = 600

_LOG_LEVELS = ("panic", "fatal", "error", "warn", "warning", "info", "debug", "trace")
_LOG_FORMATS = ("runner", "text", "json")
_SHELLS = ("bash", "sh", "pwsh", "powershell", "cmd")
_EXECUTORS = (
    "shell",
    "docker",
    "docker-windows",
    "docker+machine",
    "docker-autoscaler",
    "instance",
    "kubernetes",
    "custom",
    "ssh",
    "parallels",
    "virtualbox",
)
# The table of each other executor, and which executors read it (GitLab Runner docs, "Advanced
# configuration"; common/config.go).
_DOCKER = ("docker", "docker-windows", "docker+machine", "docker-autoscaler")
EXECUTOR_TABLES = {
    "docker": _DOCKER,
    "machine": ("docker+machine",),
    "kubernetes": ("kubernetes",),
    "custom": ("custom",),
    "ssh": ("ssh", "parallels", "virtualbox"),
    "parallels": ("parallels",),
    "virtualbox": ("virtualbox",),
    "instance": ("instance",),
    "autoscaler": ("docker-autoscaler", "instance"),
}
CHOICES = {
    "runner_type": RUNNER_TYPES,
    "access_level": ("not_protected", "ref_protected"),
    "log_level": _LOG_LEVELS,
    "log_format": _LOG_FORMATS,
    "shell": _SHELLS,
    "executor": _EXECUTORS,
    # Of a cache.
    "Type": ("s3", "gcs", "azure"),
}


def same_url(one: str, other: str) -> bool:
    """True if both name one GitLab (the runner trims a trailing slash and ``/ci``)."""
    return bare_url(one) == bare_url(other)


def bare_url(url: str) -> str:
    """An address as the runner itself keeps it."""
    return str(url).rstrip("/").removesuffix("/ci").rstrip("/").lower()


def durations(table: Table) -> Iterator[str]:
    """The keys of a table, and of those in it, that are durations."""
    for key, kind in table.items():
        if isinstance(kind, dict):
            yield from durations(kind)
        elif kind == "duration":
            yield key
