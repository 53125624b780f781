#!/usr/bin/python3 -I
"""Stand-in for gitlab-runner with the shell executor: one file, standard library, Python 3.11.

Same command line, config.toml, unit file, signals, wire format and quirks as gitlab-runner 19.3, as
far as a host's provisioning and its jobs touch them; with another VERSION, back to 17.4, those of
that one. Where this file and the real program differ, this file is wrong. Outside facts: GitLab
Runner docs (commands, advanced configuration, shells) and the source of gitlab-runner 19.3
(network/, common/build.go, commands/multi.go).
Not there: other executors, submodules, LFS, distributed caches, sessions, feature flags.
"""

from __future__ import annotations

import base64
import contextlib
import copy
import fnmatch
import functools
import glob
import gzip
import hashlib
import hmac
import http.client
import http.server
import io
import json
import os
import platform
import queue
import re
import secrets
import shlex
import shutil
import signal
import socket
import ssl
import stat
import string
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar, NoReturn

import tomllib

VERSION = "19.3.0"
REVISION = "standin0"
BUILT = "1970-01-01T00:00:00Z"

NAME = "gitlab-runner"
GLRT = "glrt-"
ZERO_TIME = "0001-01-01T00:00:00Z"
ARCH = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}.get(
    platform.machine(), platform.machine()
)
DOCS = "https://docs.gitlab.com/ci/runners/new_creation_workflow/"

RED, YELLOW, GREEN, CYAN = "\033[31;1m", "\033[0;33m", "\033[32;1m", "\033[36;1m"
RESET, CLEAR = "\033[0;m", "\033[0K"

RELOAD_INTERVAL = 3.0
CHECK_INTERVAL = 3
UPDATE_INTERVAL = 3.0
FORCE_SEND_INTERVAL = 30.0
PATCH_LIMIT = 1024 * 1024
GRACEFUL_KILL = 600.0
FORCE_KILL = 10.0
BUILD_FINISH_WAIT = 300.0
AFTER_SCRIPT_TIMEOUT = 300.0
ROTATE_AT = 0.75
DEAF_SECONDS = 0.3
"""From its start on, a signal ends the daemon."""
BEGAN = time.monotonic()
LONG_POLLING = "https://docs.gitlab.com/runner/configuration/advanced-configuration/"


def version_tuple() -> tuple[int, ...]:
    """Return the version as numbers."""
    return tuple(int(part) for part in re.findall(r"\d+", VERSION)[:3])


# --- log -----------------------------------------------------------------------------------------


class Log:
    """Log to stderr: the runner's own text format (with its colours, always), or JSON."""

    levels = ("debug", "info", "warning", "error", "fatal", "panic")
    prefixes: ClassVar = {
        "warning": "WARNING: ",
        "error": "ERROR: ",
        "fatal": "FATAL: ",
        "panic": "PANIC: ",
    }
    colours: ClassVar = {
        "warning": YELLOW,
        "error": RED,
        "fatal": RED,
        "panic": RED,
        "debug": "\033[37;1m",
    }

    def __init__(self) -> None:
        self.format = "runner"
        self.level = "info"
        self._lock = threading.Lock()

    def set_level(self, level: str) -> bool:
        """Set the lowest level that is shown; False when there is no such level."""
        level = "warning" if level == "warn" else level
        if level not in self.levels:
            return False
        self.level = level
        return True

    def write(self, level: str, message: str, **fields: object) -> None:
        """Write one line."""
        if self.levels.index(level) < self.levels.index(self.level):
            return
        shown = {key.rstrip("_").replace("__", "-"): value for key, value in fields.items()}
        if self.format == "json":
            now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
            line = json.dumps({"level": level, "msg": message, "time": now, **shown})
        else:
            prefix = f"{level.upper()}: " if level in self.colours else ""
            colour = self.colours.get(level, "")
            line = f"{colour}{prefix}{message:<{50 - len(prefix)}}{RESET} "
            for key in sorted(shown):
                line += f" {colour}{key}{RESET}={shown[key]}"
        with self._lock, contextlib.suppress(OSError):
            sys.stderr.write(line + "\n")
            sys.stderr.flush()

    def debug(self, message: str, **fields: object) -> None:
        """Write a line for those who look closely."""
        self.write("debug", message, **fields)

    def info(self, message: str, **fields: object) -> None:
        """Write a usual line."""
        self.write("info", message, **fields)

    def warning(self, message: str, **fields: object) -> None:
        """Write a warning."""
        self.write("warning", message, **fields)

    def error(self, message: str, **fields: object) -> None:
        """Write an error."""
        self.write("error", message, **fields)

    def fatal(self, message: str, **fields: object) -> NoReturn:
        """Write the last line and exit 1."""
        self.write("fatal", message, **fields)
        sys.stdout.flush()
        os._exit(1)

    def panic(self, message: str, **fields: object) -> NoReturn:
        """Raise what ends the program unless it is caught."""
        self.write("panic", message, **fields)
        raise PanicError(message)


class PanicError(Exception):
    """A failure that clean-up may watch pass by on its way to exit 1."""


log = Log()


# --- config.toml ---------------------------------------------------------------------------------


class ConfigError(Exception):
    """config.toml cannot be used."""


_S, _I, _B, _L, _T = (str,), (int,), (bool,), (list,), (dict,)
GLOBAL_KEYS: dict[str, tuple[type, ...]] = {
    "listen_address": _S,
    "concurrent": _I,
    "check_interval": _I,
    "log_level": _S,
    "log_format": _S,
    "user": _S,
    "sentry_dsn": _S,
    "connection_max_age": (str, int),
    "shutdown_timeout": _I,
    "session_server": _T,
    "machine": _T,
    "experimental": _T,
    "runners": _L,
}
RUNNER_KEYS: dict[str, tuple[type, ...]] = {
    "name": _S,
    "limit": _I,
    "output_limit": _I,
    "request_concurrency": _I,
    "strict_check_interval": _B,
    "unhealthy_requests_limit": _I,
    "unhealthy_interval": (str, int),
    "job_status_final_update_retry_limit": _I,
    "url": _S,
    "id": _I,
    "token": _S,
    "token_obtained_at": (datetime,),
    "token_expires_at": (datetime,),
    "tls-ca-file": _S,
    "tls-cert-file": _S,
    "tls-key-file": _S,
    "executor": _S,
    "builds_dir": _S,
    "cache_dir": _S,
    "clone_url": _S,
    "environment": _L,
    "proxy_exec": _B,
    "pre_get_sources_script": _S,
    "post_get_sources_script": _S,
    "pre_build_script": _S,
    "post_build_script": _S,
    "prepare_timeout": (str, int),
    "get_sources_timeout": (str, int),
    "debug_trace_disabled": _B,
    "safe_directory_checkout": _B,
    "clean_git_config": _B,
    "shell": _S,
    "use_slot_cgroups": _B,
    "slot_cgroup_template": _S,
    "step_runner_image": _S,
    **dict.fromkeys(
        (
            "labels",
            "custom_build_dir",
            "referees",
            "cache",
            "artifact",
            "feature_flags",
            "monitoring",
            "instance",
            "ssh",
            "docker",
            "parallels",
            "virtualbox",
            "machine",
            "kubernetes",
            "custom",
            "autoscaler",
            "experimental",
        ),
        _T,
    ),
}
# The order of the struct's fields, which is the order in the file (common/config.go).
_RUNNER_ORDER = list(RUNNER_KEYS)
_TIME_LINE = re.compile(r"^\s*(token_(?:obtained|expires)_at)\s*=\s*([0-9TtZz:.+\-]+)")
_DURATION = re.compile(r"0|([0-9.]+(ns|us|ms|s|m|h))+")
_RUNNER_HEADER = re.compile(r"^\s*\[\[\s*runners\s*\]\]")


def go_type(types: tuple[type, ...]) -> str:
    """Return the name that Go's decoder has for a type."""
    names = {str: "string", int: "int", bool: "bool", list: "slice", dict: "struct"}
    return names.get(types[0], "time.Time")


class Config:
    """One config.toml as it was read, with times as the text that stood there.

    Times keep their text because the standard library's parser cuts nanoseconds.
    """

    def __init__(self, data: dict[str, Any], mtime_ns: int) -> None:
        self.data = data
        self.mtime_ns = mtime_ns
        self.runners: list[dict[str, Any]] = data.setdefault("runners", [])

    @property
    def concurrent(self) -> int:
        """Return the number of jobs at once."""
        return int(self.data["concurrent"])

    @classmethod
    def load(cls, path: str) -> Config:
        """Read a file; a missing one is an empty configuration."""
        try:
            mtime_ns = os.stat(path).st_mtime_ns
            with open(path, encoding="utf-8") as file:
                text = file.read()
        except FileNotFoundError:
            return cls({"concurrent": 1}, 0)
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"open {path}: {error}") from None
        try:
            data = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            words = str(error)
            place = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)", words)
            number = place[1] if place and place[1] else len(text.splitlines())
            words = words.replace(place[0], "") if place else words
            raise ConfigError(
                f"decoding configuration file: toml: line {number}: {words}"
            ) from None
        data.setdefault("concurrent", 1)
        cls._check("", data, GLOBAL_KEYS)
        for runner in data.get("runners", []):
            if not isinstance(runner, dict):
                raise ConfigError("decoding configuration file: toml: runners must be tables")
            cls._check("runners.", runner, RUNNER_KEYS)
        cls._keep_time_texts(text, data.get("runners", []))
        return cls(data, mtime_ns)

    @staticmethod
    def _check(prefix: str, table: dict[str, Any], known: dict[str, tuple[type, ...]]) -> None:
        for key, value in table.items():
            types = known.get(key)
            is_bool = isinstance(value, bool)
            if types is None or (isinstance(value, types) and (not is_bool or bool in types)):
                if (
                    types == (str, int)
                    and isinstance(value, str)
                    and not _DURATION.fullmatch(value)
                ):
                    raise ConfigError(
                        f'decoding configuration file: toml: time: invalid duration "{value}"'
                    )
                continue
            raise ConfigError(
                "decoding configuration file: toml: incompatible types: TOML value of "
                f'"{prefix}{key}" has type {type(value).__name__}; '
                f"destination has type {go_type(types)}"
            )
        bad = [item for item in table.get("environment", []) if not isinstance(item, str)]
        if bad:
            raise ConfigError("decoding configuration file: toml: environment must hold strings")

    @staticmethod
    def _keep_time_texts(text: str, runners: list[dict[str, Any]]) -> None:
        index = -1
        for line in text.splitlines():
            if _RUNNER_HEADER.match(line):
                index += 1
            match = _TIME_LINE.match(line)
            if match and 0 <= index < len(runners) and match[1] in runners[index]:
                runners[index][match[1]] = match[2]
        for runner in runners:
            for key in ("token_obtained_at", "token_expires_at"):
                value = runner.get(key)
                if isinstance(value, datetime):
                    runner[key] = value.astimezone(UTC).isoformat().replace("+00:00", "Z")

    def dump(self) -> str:
        """Return the file's text as the daemon writes it: known keys only, no comments."""
        data = {key: value for key, value in self.data.items() if key in GLOBAL_KEYS}
        old = version_tuple() < (18,)
        lines: list[str] = []
        # `register` of 17 writes it, `install` does not (seen: 98 bytes, 17.4 to 19.3).
        if old and self.runners:
            data.setdefault("connection_max_age", "15m0s")
        for key in ("check_interval", "shutdown_timeout"):
            data.setdefault(key, 0)
        order = (
            "listen_address concurrent check_interval log_level log_format user sentry_dsn "
            "connection_max_age shutdown_timeout"
        )
        for key in order.split():
            if key in data:
                lines.append(f"{key} = {toml_value(data[key])}")
        session = {**data.get("session_server", {})}
        session.setdefault("session_timeout", 1800)
        lines += ["", "[session_server]", *toml_table("session_server", session, 1)]
        for key in ("machine", "experimental"):
            if key in data:
                lines += ["", f"[{key}]", *toml_table(key, data[key], 1)]
        for runner in self.runners:
            lines += ["", "[[runners]]", *toml_table("runners", self._written(runner, old), 1)]
        return "\n".join(lines) + "\n"

    @staticmethod
    def _written(runner: dict[str, Any], old: bool) -> dict[str, Any]:
        full = {key: value for key, value in runner.items() if key in RUNNER_KEYS}
        for key, zero in (("name", ""), ("url", ""), ("id", 0), ("token", ""), ("executor", "")):
            full.setdefault(key, zero)
        for key in ("token_obtained_at", "token_expires_at"):
            full[key] = Raw(str(full.get(key, ZERO_TIME)))
        if old:
            full.setdefault("custom_build_dir", {})
        cache = full.setdefault("cache", {})
        full["cache"] = {"MaxUploadedArchiveSize": 0, **cache}
        for name in ("s3", "gcs", "azure"):
            full["cache"].setdefault(name, {})
        return {key: full[key] for key in sorted(full, key=_RUNNER_ORDER.index)}

    def save(self, path: str) -> None:
        """Write the file in place, as the real one does: truncate, write, no second look.

        A reader may see a torn file and what was written since it was read is lost.
        """
        text = self.dump().encode()
        os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(text)
        # The time of now, not the file's: an older file that is put there is never loaded.
        self.mtime_ns = time.time_ns()


class Raw(str):
    """Text that stands in TOML as it is."""

    __slots__ = ()


def toml_value(value: object) -> str:
    """Return a value as TOML."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, list):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    if isinstance(value, dict):
        pairs = (f"{toml_key(key)} = {toml_value(item)}" for key, item in value.items())
        return "{" + ", ".join(pairs) + "}"
    # JSON's escapes are TOML's, but for DEL.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def toml_key(key: str) -> str:
    """Return a key, quoted where TOML wants it."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key)


def toml_table(path: str, table: dict[str, Any], depth: int) -> list[str]:
    """Return a table's lines: simple keys first, then its tables, two blanks a level."""
    pad = "  " * depth
    lines, tables = [], []
    for key, value in table.items():
        if value is None:
            continue
        name = f"{path}.{toml_key(key)}"
        if isinstance(value, dict):
            tables += [f"{pad}[{name}]", *toml_table(name, value, depth + 1)]
        elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            for item in value:
                tables += ["", f"{pad}[[{name}]]", *toml_table(name, item, depth + 1)]
        else:
            lines.append(f"{pad}{toml_key(key)} = {toml_value(value)}")
    return lines + tables


def parse_time(text: str) -> float:
    """Return an RFC 3339 time in seconds since the epoch; 0 for none."""
    if not text or text.startswith("0001-01-01"):
        return 0.0
    match = re.fullmatch(r"(.{19})(?:\.(\d+))?(Z|z|[+-]\d\d:\d\d)", text)
    if match is None:
        return 0.0
    fraction = float(f"0.{match[2]}") if match[2] else 0.0
    zone = "+00:00" if match[3] in "Zz" else match[3]
    return datetime.fromisoformat(match[1] + zone).timestamp() + fraction


def now_text(*, nanoseconds: bool) -> str:
    """Return the time of now: to the second as register writes it, or as a rotation does."""
    now = time.time_ns()
    text = datetime.fromtimestamp(now // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{now % 10**9:09d}Z" if nanoseconds else f"{text}Z"


def go_duration(value: object, default: float) -> float:
    """Return a duration such as 1h30m in seconds; integers are nanoseconds, as in Go."""
    if isinstance(value, int):
        return value / 1e9
    parts = re.findall(r"([0-9.]+)(ns|us|ms|h|m|s)", str(value or ""))
    units = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
    return sum(float(number) * units[unit] for number, unit in parts) if parts else default


def go_duration_text(seconds: float) -> str:
    """Return seconds as Go prints a duration."""
    whole = int(seconds)
    hours, rest = divmod(whole, 3600)
    text = f"{hours}h" if hours else ""
    text += f"{rest // 60}m" if hours or rest >= 60 else ""
    return f"{text}{rest % 60 + seconds - whole:g}s"


def short_token(token: str) -> str:
    """Return the nine characters by which a runner is named."""
    return re.sub(r"^(glrt-(t[123]_)?|t[123]_|glrtr-|glcbt-|GR[0-9A-Fa-f]{7})", "", token)[:9]


def system_id(config_path: str) -> str:
    """Return this host's id, made and kept beside config.toml where it is missing or bad."""
    path = os.path.join(os.path.dirname(config_path), ".runner_system_id")
    with contextlib.suppress(OSError), open(path, encoding="utf-8") as file:
        known = file.read().strip()
        if re.fullmatch(r"[sr]_[0-9a-zA-Z]{12}", known):
            return known
    value = ""
    for source in ("/var/lib/dbus/machine-id", "/etc/machine-id"):
        with contextlib.suppress(OSError), open(source, encoding="utf-8") as file:
            machine = file.read().strip()
            if machine:
                mac = hmac.new(machine.encode(), b"gitlab-runner", hashlib.sha256)
                value = "s_" + mac.hexdigest()[:12]
                break
    if not value:
        letters = string.ascii_letters + string.digits
        value = "r_" + "".join(secrets.choice(letters) for _ in range(12))
    log.info("Created missing unique system ID", system_id=value)
    try:
        os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(value)
    except OSError as error:
        log.warning(f"Couldn't save new system ID on state file. {error}")
    return value


# --- wire ----------------------------------------------------------------------------------------

CLIENT_ERROR = -100
RETRIED = (408, 429, 500, 502, 503, 504)


@dataclass
class Answer:
    """An answer; ``status`` is CLIENT_ERROR for a bad URL and -1 for no usable answer."""

    status: int
    text: str = ""
    body: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    ca_chain: str = ""


@functools.lru_cache(maxsize=8)
def proxy_credentials(proxy: urllib.parse.SplitResult) -> dict[str, str]:
    """The header for a proxy whose address has a login in it, as Go's net/http sends it."""
    if proxy.username is None:
        return {}
    given = f"{urllib.parse.unquote(proxy.username)}:{urllib.parse.unquote(proxy.password or '')}"
    return {"Proxy-Authorization": "Basic " + base64.b64encode(given.encode()).decode()}


def tls_context(ca_text: str) -> ssl.SSLContext:
    """The system's trust and one more CA; read once, as the real one reads its pool at start."""
    context = ssl.create_default_context()
    if ca_text:
        context.load_verify_locations(cadata=ca_text)
    return context


class Network:
    """GitLab's API, for one entry of ``[[runners]]`` or what stands for it."""

    def __init__(self, url: str, ca_file: str = "") -> None:
        self.url = re.sub(r"/ci$", "", url.rstrip("/"))
        self._ca_file = ca_file
        # Beside the default config.toml, wherever --config points.
        self._certs = os.path.join(default_config_dir(), "certs")
        self.last_update = ""

    def _ca(self) -> str:
        if self._ca_file:
            return self._ca_file
        host = urllib.parse.urlsplit(self.url).hostname or ""
        path = os.path.join(self._certs, f"{host}.crt")
        return path if os.path.exists(path) else ""

    def _connect(self, parts: urllib.parse.SplitResult, timeout: float) -> tuple[Any, str]:
        """Return a connection and the CA's text, which jobs get too."""
        host, ca_text = parts.hostname or "", ""
        proxies = urllib.request.getproxies()
        proxy = "" if urllib.request.proxy_bypass(parts.netloc) else proxies.get(parts.scheme, "")
        if parts.scheme == "https":
            if ca_file := self._ca():
                with open(ca_file, encoding="utf-8") as file:
                    ca_text = file.read()
            context = tls_context(ca_text)
            if proxy:
                via = urllib.parse.urlsplit(proxy)
                tunnel = http.client.HTTPSConnection(
                    via.hostname or "", via.port or 3128, timeout=timeout, context=context
                )
                tunnel.set_tunnel(host, parts.port or 443, proxy_credentials(via))
                return tunnel, ca_text
            direct = http.client.HTTPSConnection(
                host, parts.port or 443, timeout=timeout, context=context
            )
            return direct, ca_text
        if proxy:
            via = urllib.parse.urlsplit(proxy)
            return http.client.HTTPConnection(
                via.hostname or "", via.port or 3128, timeout=timeout
            ), ""
        return http.client.HTTPConnection(host, parts.port or 80, timeout=timeout), ""

    def raw(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: dict[str, str],
        sink: io.BufferedIOBase | None = None,
        timeout: float = 3600.0,
    ) -> Answer:
        """Send one request, without retries."""
        parts = urllib.parse.urlsplit(f"{self.url}/api/v4/{path}")
        if parts.scheme not in ("http", "https"):
            return Answer(CLIENT_ERROR, "only http or https scheme supported")
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        headers = {
            "User-Agent": f"{NAME} {VERSION} (stand-in; linux/{ARCH})",
            "X-Request-Id": uuid.uuid4().hex,
            **headers,
        }
        try:
            connection, ca_text = self._connect(parts, timeout)
        except (OSError, ssl.SSLError) as error:
            return Answer(-1, f"couldn't connect: {error}")
        try:
            connection.request(method, target, body=body, headers=headers)
            chain = ca_text or peer_chain(connection.sock)
            answer = connection.getresponse()
            if sink is not None and answer.status == 200:
                shutil.copyfileobj(answer, sink)
                content = b""
            else:
                content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            where = urllib.parse.urlunsplit(parts._replace(query=""))
            return Answer(
                -1,
                f"execute JSON request: couldn't execute {method} against "
                f"{where}: {method} {where}: {error}",
            )
        finally:
            connection.close()
        found = {name.lower(): value for name, value in answer.getheaders()}
        if value := found.get("x-gitlab-last-update"):
            self.last_update = value
        parsed: dict[str, Any] = {}
        if found.get("content-type", "").split(";")[0] == "application/json" and content:
            with contextlib.suppress(ValueError):
                loaded = json.loads(content)
                parsed = loaded if isinstance(loaded, dict) else {}
        text = f"{answer.status} {http.client.responses.get(answer.status, '')}".strip()
        if answer.status >= 300:
            text = f"{method} {urllib.parse.urlunsplit(parts._replace(query=''))}: {text}"
            if message := parsed.get("message"):
                text += f" ({message})"
        return Answer(answer.status, text, parsed, found, chain)

    def json(
        self,
        method: str,
        path: str,
        body: dict[str, Any],
        wanted: int,
        headers: dict[str, str] | None = None,
        *,
        parse: bool = True,
    ) -> Answer:
        """Send a JSON request, with the real one's retries on overload and failure."""
        sent = {"Content-Type": "application/json", "Accept": "application/json", **(headers or {})}
        delay = 0.1
        for attempt in range(5):
            answer = self.raw(method, path, json.dumps(body).encode(), sent)
            if answer.status not in RETRIED or attempt == 4:
                break
            wait = delay * (0.5 + secrets.randbelow(1000) / 2000)
            with contextlib.suppress(ValueError):
                wait = float(answer.headers.get("retry-after", wait))
            log.info(
                "Waiting before making the next call",
                duration=go_duration_text(round(wait, 3)),
                method=method,
                url=f"{self.url}/{path}",
            )
            time.sleep(wait)
            delay = min(delay * 2, 60.0)
        kind = answer.headers.get("content-type", "").split(";")[0]
        if answer.status == wanted and parse and kind != "application/json":
            return Answer(-1, f"response is not application/json: {kind}")
        return answer


def peer_chain(sock: object) -> str:
    """Return the verified chain of a TLS connection as PEM, which jobs get as their CA."""
    inner = getattr(sock, "_sslobj", None)
    if inner is None or not hasattr(inner, "get_verified_chain"):
        return ""
    # Public only from Python 3.13 on, there since 3.10.
    return "".join(certificate.public_bytes() for certificate in inner.get_verified_chain() or ())


def runner_info(executor: str = "", shell: str = "") -> dict[str, Any]:
    """Return what the runner says of itself."""
    features = (
        "variables artifacts cache fallback_cache_keys upload_multiple_artifacts "
        "upload_raw_artifacts session terminal refspecs masking raw_variables artifacts_exclude "
        "multi_build_steps trace_reset trace_checksum trace_size cancelable vault_secrets "
        "return_exit_code cancel_gracefully shared"
    )
    return {
        "name": NAME,
        "version": VERSION,
        "revision": REVISION,
        "platform": "linux",
        "architecture": ARCH,
        "executor": executor,
        "shell": shell or "bash",
        "features": dict.fromkeys(features.split(), True),
        "config": {"gpus": ""},
    }


class Api:
    """The calls about one runner, with the real one's log lines."""

    def __init__(self, runner: dict[str, Any]) -> None:
        self.runner = runner
        self.token = str(runner.get("token", ""))
        self.network = Network(str(runner.get("url", "")), str(runner.get("tls-ca-file", "")))
        self.fields = {"runner": short_token(self.token)}

    def verify(self, system: str) -> dict[str, Any] | None:
        """Return the server's word on the token: None when it is refused, {} when there is none."""
        body = {"token": self.token, "system_id": system}
        headers = {"RUNNER-TOKEN": self.token}
        answer = self.network.json("POST", "runners/verify", body, 200, headers)
        new = self.token.startswith(GLRT)
        if answer.status == 200:
            log.info(f"Verifying runner... is {'valid' if new else 'alive'}", **self.fields)
            return answer.body
        if answer.status == 403:
            if new:
                log.info("Verifying runner... is not valid", **self.fields)
            else:
                log.error("Verifying runner... is removed", status=answer.text, **self.fields)
            return None
        words = "client error" if answer.status == CLIENT_ERROR else "failed"
        log.error(f"Verifying runner... {words}", status=answer.text, **self.fields)
        return {}

    def register_legacy(self, parameters: dict[str, Any]) -> dict[str, Any] | None:
        """Register with a registration token, which servers refuse by now."""
        body = {**parameters, "token": self.token, "info": runner_info()}
        answer = self.network.json("POST", "runners", body, 201)
        if answer.status == 201:
            log.info("Registering runner... succeeded", **self.fields)
            return answer.body
        words = {403: "forbidden (check registration token)", CLIENT_ERROR: "client error"}
        log.error(
            f"Registering runner... {words.get(answer.status, 'failed')}",
            status=answer.text,
            **self.fields,
        )
        return None

    def unregister(self, system: str) -> bool:
        """Delete this host's manager (or the runner, with an old token)."""
        new = self.token.startswith(GLRT)
        path = "runners/managers" if new else "runners"
        body = {"token": self.token, **({"system_id": system} if new else {})}
        answer = self.network.json("DELETE", path, body, 204, parse=False)
        base = f"Unregistering runner{' manager' if new else ''} from GitLab"
        if answer.status == 204:
            log.info(f"{base} succeeded", **self.fields)
            return True
        words = {403: "forbidden", CLIENT_ERROR: "client error"}.get(answer.status, "failed")
        log.error(f"{base} {words}", status=answer.text, **self.fields)
        return False

    def reset(self, pat: str = "") -> bool:
        """Put a new token and its times into the entry; False when the server refuses."""
        path = "runners/reset_authentication_token"
        body: dict[str, Any] = {"token": self.token}
        headers: dict[str, str] = {}
        if pat:
            path = f"runners/{self.runner.get('id', 0)}/reset_authentication_token"
            body, headers = {}, {"PRIVATE-TOKEN": pat}
        answer = self.network.json("POST", path, body, 201, headers)
        base = "Resetting runner authentication token..."
        if answer.status == 201:
            log.info(f"{base} succeeded", **self.fields)
            self.runner["token"] = answer.body["token"]
            self.runner["token_obtained_at"] = now_text(nanoseconds=True)
            self.runner["token_expires_at"] = answer.body.get("token_expires_at") or ZERO_TIME
            return True
        words = {403: "failed (check used token)", CLIENT_ERROR: "client error"}
        log.error(f"{base} {words.get(answer.status, 'failed')}", status=answer.text, **self.fields)
        return False


# --- a job: variables, script, trace -------------------------------------------------------------


@dataclass
class Variable:
    """One variable of a job."""

    key: str
    value: str
    file: bool = False
    masked: bool = False
    raw: bool = False


def decode_variables(items: Iterable[dict[str, Any]]) -> list[Variable]:
    """Return a payload's variables; TypeError for a wrong JSON type, which loses the job."""
    variables = []
    for item in items:
        key, value = item.get("key"), item.get("value")
        if not isinstance(key or "", str) or not isinstance(value or "", str):
            raise TypeError("json: cannot unmarshal into Go struct field Variable of type string")
        flags = {name: bool(item.get(name)) for name in ("file", "masked", "raw")}
        variables.append(Variable(key or "", value or "", **flags))
    return variables


_EXPAND = re.compile(r"\$(?:\{([^}]*)\}|([*#$@!?0-9-])|([A-Za-z_][A-Za-z0-9_]*))")


def expand(text: str, get: Callable[[str], str]) -> str:
    """Expand ``$X`` and ``${X}`` as Go's os.Expand does."""
    return _EXPAND.sub(lambda match: get(match[1] or match[2] or match[3] or ""), text)


class Variables:
    """All variables of a job; the last one of a name counts."""

    def __init__(self, items: list[Variable], tmp_dir: str) -> None:
        self._tmp = tmp_dir
        self.items = items
        self.items = [
            item
            if item.raw
            else Variable(item.key, expand(item.value, self.get), item.file, item.masked)
            for item in items
        ]

    def get(self, key: str) -> str:
        """Return a value, or the path of a file variable."""
        if key == "$":
            return "$"
        for item in reversed(self.items):
            if item.key == key:
                return f"{self._tmp}/{key}" if item.file else item.value
        return ""

    def number(self, key: str, default: int) -> int:
        """Return a value as a number."""
        value = self.get(key)
        return int(value) if value.isdigit() else default


class Masker:
    """Puts ``[MASKED]`` for secrets in a stream of bytes, across the borders of writes too."""

    mask = b"[MASKED]"

    def __init__(
        self, values: Iterable[str], prefixes: Iterable[str], sink: Callable[[bytes], None]
    ) -> None:
        self._sink = sink
        self._values = sorted({value.encode() for value in values if value}, key=len, reverse=True)
        known = {prefix for prefix in {"glpat-", *prefixes} if prefix}
        tokens = "|".join(map(re.escape, sorted(known, key=len, reverse=True)))
        token = f"(?P<token>(?:{tokens})[A-Za-z0-9_=.-]+)".encode()
        # What may go on in the next write: a part of a value, a part or the whole of a prefix.
        self._starts = [value[:-1] for value in self._values]
        self._starts += [prefix.encode() for prefix in known]
        self._pattern = re.compile(b"|".join([*map(re.escape, self._values), token]))
        self._rest = b""
        self._lock = threading.Lock()

    def write(self, data: bytes) -> None:
        """Take bytes; the end is held back while it may be the start of a secret."""
        with self._lock:
            if ready := self._mask(self._rest + data, final=False):
                self._sink(ready)

    def flush(self) -> None:
        """Give out what was held back."""
        with self._lock:
            if self._rest:
                self._sink(self._mask(self._rest, final=True))

    def _mask(self, data: bytes, *, final: bool) -> bytes:
        ready, done, end = [], 0, len(data)
        for match in self._pattern.finditer(data):
            # A token that reaches the end of the data may go on in the next write.
            if match["token"] and match.end() == end and not final:
                end = match.start()
                break
            ready += [data[done : match.start()], self.mask]
            done = match.end()
        if not final and end == len(data):
            sizes = (
                size
                for begin in self._starts
                for size in range(min(len(begin), end - done), 0, -1)
                if data.endswith(begin[:size])
            )
            end -= max(sizes, default=0)
        self._rest = b"" if final else data[end:]
        return b"".join([*ready, data[done:end]])


class Stamps:
    """Puts a time and the mark of a stream before each line (FF_TIMESTAMPS, on from 18.7)."""

    def __init__(self, sink: Callable[[bytes], None]) -> None:
        self._sink = sink
        self._begins = True

    def write(self, data: bytes) -> None:
        """Take bytes that are masked already."""
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        mark = f"{now} 00O ".encode()
        out = b""
        for line in split_lines(data):
            out += (mark if self._begins else b"") + line
            self._begins = line.endswith(b"\n")
        self._sink(out)


def split_lines(data: bytes) -> list[bytes]:
    """Return the lines with their ends; a carriage return ends none."""
    parts = data.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


class Trace:
    """A job's log on its way to GitLab, and GitLab's word on the job on the way back."""

    def __init__(self, api: Api, job: dict[str, Any], limit_kb: int) -> None:
        self._api = api
        self._id = int(job["id"])
        self._token = str(job["token"])
        self._headers = {"JOB-TOKEN": self._token}
        self._limit = (limit_kb or 4096) * 1024
        self._data = bytearray()
        self._full = False
        self._sent = 0
        self._sent_at = time.monotonic()
        self._interval = UPDATE_INTERVAL
        self._lock = threading.Lock()
        self._finished = threading.Event()
        self.cancel: Callable[[], None] | None = None
        self.abort: Callable[[], None] | None = None
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._watcher.start()

    def append(self, data: bytes) -> None:
        """Take bytes that are masked already."""
        with self._lock:
            room = self._limit - len(self._data)
            if self._full:
                return
            self._data += data[:room] if len(data) > room else data
            if len(data) > room:
                self._full = True
                words = (
                    f"\n{YELLOW}Job's log exceeded limit of {self._limit} bytes.\n"
                    "Job execution will continue but no more output will be collected."
                    f"{RESET}\n"
                )
                self._data += words.encode()

    def _output(self) -> dict[str, Any]:
        with self._lock:
            return {"checksum": f"crc32:{zlib.crc32(self._data):08x}", "bytesize": len(self._data)}

    def _note(self, answer: Answer) -> str:
        """Read the headers about the job and return its state on the server."""
        with contextlib.suppress(ValueError):
            interval = float(answer.headers.get("x-gitlab-trace-update-interval", 0))
            if interval > 0:
                self._interval = min(interval, 900.0)
        state = answer.headers.get("job-status", "")
        if state == "canceling" and self.cancel is not None:
            cancel, self.cancel = self.cancel, None
            cancel()
        return state

    def _patch(self) -> str:
        """Send the next part; returns ok, abort, not-found, mismatch or failed."""
        with self._lock:
            part = bytes(self._data[self._sent : self._sent + PATCH_LIMIT])
            start = self._sent
        if not part:
            return "ok"
        headers = {
            **self._headers,
            "Content-Type": "text/plain",
            "Content-Range": f"{start}-{start + len(part) - 1}",
        }
        answer = self._api.network.raw(
            "PATCH", f"jobs/{self._id}/trace?debug_trace=false", part, headers
        )
        state = self._note(answer)
        fields: dict[str, object] = {
            "job": self._id,
            "code": answer.status,
            "job__status": state,
            "sent__log": f"{start}-{start + len(part) - 1}",
            **self._api.fields,
        }
        base = "Appending trace to coordinator..."
        if state in ("canceled", "failed") or answer.status == 403:
            log.warning(f"{base} job failed", **fields)
            return "abort"
        if answer.status == 202:
            self._sent, self._sent_at = start + len(part), time.monotonic()
            log.info(f"{base}ok", **fields)
            return "ok"
        if answer.status == 404:
            log.warning(f"{base} not-found", **fields)
            return "not-found"
        if answer.status == 416:
            log.warning(f"{base} range mismatch", **fields)
            match = re.fullmatch(r"\d+-(\d+)", answer.headers.get("range", ""))
            self._sent, self._sent_at = int(match[1]) if match else 0, time.monotonic()
            return "mismatch"
        log.warning(f"{base} failed", status=answer.text, **fields)
        return "failed"

    def update(self, state: str, reason: str = "", exit_code: int = 0) -> str:
        """Send the job's state; returns ok, accepted, invalid, abort or failed."""
        body: dict[str, Any] = {
            "info": runner_info("shell"),
            "token": self._token,
            "state": state,
            "output": self._output(),
        }
        body["checksum"] = body["output"]["checksum"]
        if reason:
            body["failure_reason"] = reason
        if exit_code:
            body["exit_code"] = exit_code
        fields = {"job": self._id, **self._api.fields}
        log.info("Updating job...", **fields, **body["output"])
        answer = self._api.network.json(
            "PUT", f"jobs/{self._id}", body, 200, self._headers, parse=False
        )
        status = self._note(answer)
        base = "Submitting job to coordinator..."
        outcome = {
            200: ("ok", "ok"),
            202: ("accepted", "accepted, but not yet completed"),
            412: ("invalid", "trace validation failed"),
            404: ("abort", "not found"),
            403: ("abort", "forbidden"),
            CLIENT_ERROR: ("abort", "client error"),
        }.get(answer.status, ("failed", "failed"))
        if status in ("canceled", "failed") and state == "running":
            outcome = ("abort", "job failed")
        write = log.info if outcome[0] in ("ok", "accepted", "invalid") else log.warning
        # Go's Info puts no blank between its words, its Warningln does.
        blank = "" if write == log.info else " "
        write(f"{base}{blank}{outcome[1]}", code=answer.status, job__status=status, **fields)
        return outcome[0]

    def _watch(self) -> None:
        while not self._finished.wait(self._interval):
            outcome = self._patch()
            if outcome == "ok" and time.monotonic() - self._sent_at > FORCE_SEND_INTERVAL:
                touched = self.update("running")
                self._sent_at = time.monotonic() if touched == "ok" else self._sent_at
                outcome = touched
            if outcome == "abort":
                if self.abort is not None:
                    self.abort()
                return

    def finish(self, state: str, reason: str, exit_code: int, tries: int) -> None:
        """Send the rest and the final state, as often as it takes (``tries`` rounds)."""
        self._finished.set()
        self._watcher.join()
        self._interval = UPDATE_INTERVAL
        delay = 1.0
        for _ in range(max(tries, 1)):
            if self._final_round(state, reason, exit_code):
                return
            time.sleep(delay)
            # 17.5 was seen to give up after about a minute.
            delay = min(delay * 2, 3.0)
        log.error('Job trace termination "Fail" failed', job=self._id)

    def _final_round(self, state: str, reason: str, exit_code: int) -> bool:
        while True:
            while self._sent != len(self._data):
                outcome = self._patch()
                if outcome in ("abort", "not-found"):
                    break
                if outcome in ("failed", "mismatch"):
                    time.sleep(self._interval)
                if outcome == "failed":
                    return False
            outcome = self.update(state, reason, exit_code)
            if outcome in ("ok", "abort"):
                return True
            if outcome == "invalid":
                self._sent = 0
            time.sleep(self._interval)
            if outcome == "failed":
                return False


class JobError(Exception):
    """A job that failed. ``system`` failures are worded so in the trace."""

    def __init__(self, words: str, reason: str, exit_code: int = 0) -> None:
        super().__init__(words)
        self.reason = reason
        self.exit_code = exit_code


class Script:
    """A stage's script, as the runner writes it for bash."""

    def __init__(self, tmp_dir: str) -> None:
        self._tmp = tmp_dir
        self._lines: list[str] = []

    def line(self, text: str) -> None:
        """Add a line as it is."""
        self._lines.append(text)

    def command(self, *words: str) -> None:
        """Add a command, quoted."""
        self.line(" ".join(shlex.quote(word) for word in words))

    def notice(self, text: str, colour: str = GREEN) -> None:
        """Add an echo in green (or another colour)."""
        self.line("echo " + shlex.quote(f"{colour}{text}{RESET}"))

    def remove(self, path: str) -> None:
        """Add the removal of a file."""
        self.command("rm", "-f", path)

    def remove_dir(self, path: str) -> None:
        """Add the removal of a folder, writable or not."""
        quoted = shlex.quote(path)
        self.line(f"if [ -d {quoted} ]; then chmod -R u+rwX {quoted}; fi")
        self.command("rm", "-r", "-f", path)

    def exports(self, variables: Variables) -> None:
        """Add the export of all variables, file variables written to their files."""
        tmp = shlex.quote(self._tmp)
        for item in variables.items:
            key = shlex.quote(item.key)
            if item.file:
                path = shlex.quote(f"{self._tmp}/{item.key}")
                self.line(f"mkdir -p {tmp}")
                self.line(f"printf '%s' {shlex.quote(item.value)} > {path}")
                self.line(f"export {key}={path}")
            else:
                self.line(f"export {key}={shlex.quote(item.value)}")
        env_file = shlex.quote(f"{self._tmp}/gitlab_runner_env")
        self.line(f"export GITLAB_ENV={env_file}")
        self.line(f"mkdir -p {tmp}")
        self.line(f"touch {env_file}")
        self.line(f'while read -r line; do export "$line"; done < {env_file}')

    def user_commands(self, commands: Iterable[str]) -> None:
        """Add a user's commands, each echoed before it runs."""
        for text in commands:
            command = text.strip()
            first, _, more = command.partition("\n")
            if not command:
                self.line("echo")
            elif more:
                self.notice(f"$ {first} # collapsed multi-line command")
            else:
                self.notice(f"$ {command}")
            self.line(command)

    def text(self, *, xtrace: bool) -> str:
        """Return the whole for the shell's standard input."""
        # Behind a pipe, so that a command that reads its input does not eat the script. That is
        # also why a failing command was reported as exit 1 until 19.1 put brackets around it.
        body = "\n".join(self._lines) + "\n"
        head = "set -o xtrace\n" if xtrace else ""
        evaluate = "(eval {0})" if version_tuple() >= (19, 1) else "eval {0}"
        return (
            f"#!/usr/bin/env bash\n\n{head}"
            "if set -o | grep pipefail > /dev/null; then set -o pipefail; fi; set -o errexit\n"
            f"set +o noclobber\n: | {evaluate.format(shlex.quote(body))}\nexit 0\n"
        )


class Stopped(Exception):
    """The stage was stopped from outside."""


class Build:
    """One job on its way through its stages."""

    def __init__(
        self, daemon: Daemon, runner: dict[str, Any], api: Api, job: dict[str, Any], ca_chain: str
    ) -> None:
        self.daemon = daemon
        self.runner = runner
        self.job = job
        self.id = int(job["id"])
        self.state = "pending"
        self.stage = "prepare_executor"
        self.started = time.monotonic()
        self.slot = 0
        self.project_slot = 0
        self.info: dict[str, Any] = job.get("job_info") or {}
        self.git: dict[str, Any] = job.get("git_info") or {}
        self.features: dict[str, Any] = job.get("features") or {}
        self.project_key = f"{runner.get('token')}/{self.info.get('project_id')}"
        self.timeout = float((job.get("runner_info") or {}).get("timeout") or 7200)
        self._ca_chain = ca_chain
        self.trace = Trace(api, job, int(runner.get("output_limit", 0)))
        self._masker = Masker((), (), self.trace.append)
        self._process: subprocess.Popen[bytes] | None = None
        self._stop_all = threading.Event()
        self._stop_script = threading.Event()
        self._why: JobError | None = None
        self._lock = threading.Lock()

    # -- what the job sees ----------------------------------------------------------------------

    def prepare(self) -> None:
        """Work out paths and variables; TypeError for a payload of wrong types."""
        given = decode_variables(self.job.get("variables") or [])
        strategy = next((item.value for item in reversed(given) if item.key == "GIT_STRATEGY"), "")
        if not strategy:
            for entry in self.runner.get("environment", []):
                key, found, value = entry.partition("=")
                strategy = value if found and key == "GIT_STRATEGY" else strategy
        self.strategy = strategy or ("fetch" if self.job.get("allow_git_fetch") else "clone")
        work = self.daemon.working_directory
        root = self.runner.get("builds_dir") or os.path.join(work, "builds")
        url = urllib.parse.urlsplit(self.repo_url)
        project = re.sub(r"\.git$", "", url.path).strip("/") if url.netloc else ""
        project = project or f"project-{self.info.get('project_id', 0)}"
        self.root_dir = str(root)
        self.dir = os.path.join(
            self.root_dir, short_token(str(self.runner["token"])), str(self.project_slot), project
        ) + ("-empty" if self.strategy == "empty" else "")
        self.tmp = f"{self.dir}.tmp"
        cache_root = self.runner.get("cache_dir") or os.path.join(work, "cache")
        self.cache_dir = os.path.join(str(cache_root), project)
        self.variables = Variables([*self._before(), *given, *self._after()], self.tmp)
        secrets_ = [item.value for item in self.variables.items if item.masked]
        prefixes = self.features.get("token_mask_prefixes") or []
        stamped = Stamps(self.trace.append).write if self._has_stamps() else self.trace.append
        self._masker = Masker(secrets_, prefixes, stamped)

    def _has_stamps(self) -> bool:
        """Return FF_TIMESTAMPS: the runner's own word, else the job's, else the default."""
        flags = self.runner.get("feature_flags") or {}
        if "FF_TIMESTAMPS" in flags:
            return bool(flags["FF_TIMESTAMPS"])
        said = self.variables.get("FF_TIMESTAMPS").lower()
        return said in ("true", "1") if said else version_tuple() >= (18, 7)

    @property
    def repo_url(self) -> str:
        """Return the address to clone, with the job's token in it."""
        url = str(self.git.get("repo_url") or "")
        if clone_url := self.runner.get("clone_url"):
            base, there = urllib.parse.urlsplit(str(clone_url)), urllib.parse.urlsplit(url)
            host = f"gitlab-ci-token:{self.job['token']}@{base.netloc}"
            path = base.path.rstrip("/") + there.path
            url = urllib.parse.urlunsplit((base.scheme, host, path, "", ""))
        return url

    @property
    def clean_url(self) -> str:
        """Return the address without credentials."""
        parts = urllib.parse.urlsplit(str(self.git.get("repo_url") or ""))
        host = parts.netloc.rpartition("@")[2]
        return urllib.parse.urlunsplit((parts.scheme, host, parts.path, "", ""))

    def _before(self) -> Iterator[Variable]:
        for entry in self.runner.get("environment", []):
            key, found, value = entry.partition("=")
            if found:
                yield Variable(key, value)
        for key, value in {
            "CI_BUILDS_DIR": self.root_dir,
            "CI_PROJECT_DIR": self.dir,
            "CI_CONCURRENT_ID": str(self.slot),
            "CI_CONCURRENT_PROJECT_ID": str(self.project_slot),
            "CI_SERVER": "yes",
            "CI_JOB_STATUS": "running",
            "CI_JOB_TIMEOUT": str(int(self.timeout)),
        }.items():
            yield Variable(key, value, raw=True)
        if self._ca_chain:
            yield Variable("CI_SERVER_TLS_CA_FILE", self._ca_chain, file=True, raw=True)

    def _after(self) -> Iterator[Variable]:
        for key, value in {
            "CI_SHARED_ENVIRONMENT": "true",
            "CI_RUNNER_SHORT_TOKEN": short_token(str(self.runner["token"])),
            "CI_RUNNER_VERSION": VERSION,
            "CI_RUNNER_REVISION": REVISION,
            "CI_RUNNER_EXECUTABLE_ARCH": f"linux/{ARCH}",
            "RUNNER_TEMP_PROJECT_DIR": self.tmp,
        }.items():
            yield Variable(key, value, raw=True)

    # -- stages ---------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Write a line of the runner's own into the trace."""
        self._masker.write(f"{text}\n".encode())

    def _section(self, name: str, title: str, action: Callable[[], None]) -> None:
        timed = self.features.get("trace_sections")
        if timed:
            self._masker.write(f"section_start:{int(time.time())}:{name}\r{CLEAR}".encode())
        try:
            self.say(f"{CYAN}{title}{RESET}")
            action()
        finally:
            if timed:
                self._masker.write(f"\nsection_end:{int(time.time())}:{name}\r{CLEAR}".encode())

    def _stage(
        self,
        name: str,
        title: str,
        script: Script | None,
        stop: threading.Event | None = None,
        timeout: float | None = None,
    ) -> None:
        if script is None:
            return
        if self._stop_all.is_set() or (stop is not None and stop.is_set()):
            raise Stopped
        self.stage = name
        xtrace = self.variables.get("CI_DEBUG_TRACE").lower() in ("true", "1", "yes")
        text = script.text(xtrace=xtrace and not self.runner.get("debug_trace_disabled"))
        self._section(name, title, lambda: self._run(text, stop, timeout))

    def _run(self, text: str, stop: threading.Event | None, timeout: float | None) -> None:
        command = ["bash", "-l"]
        if self.daemon.user:
            command = ["su", "-s", "/bin/bash", self.daemon.user, "-c", "bash -l"]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
        with self._lock:
            self._process = process
        done = threading.Event()

        def feed() -> None:
            assert process.stdin is not None
            with contextlib.suppress(OSError):
                process.stdin.write(text.encode())
            with contextlib.suppress(OSError):
                process.stdin.close()

        def drain() -> None:
            assert process.stdout is not None
            # To the end of the pipe, not of the process: whoever still holds it is waited for.
            while data := os.read(process.stdout.fileno(), 65536):
                self._masker.write(data)
            process.stdout.close()
            process.wait()
            done.set()

        threads = [threading.Thread(target=target, daemon=True) for target in (feed, drain)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + timeout if timeout else None
        stopped = False
        while not done.wait(0.05):
            stopped = self._stop_all.is_set() or (stop is not None and stop.is_set())
            if stopped or (deadline is not None and time.monotonic() > deadline):
                self._kill(process, done)
                break
        self._masker.flush()
        code = process.poll()
        if deadline is not None and time.monotonic() > deadline and not stopped:
            raise TimeoutError
        if stopped:
            raise Stopped
        if code:
            code = code if code > 0 else 128 - code
            raise JobError(f"exit status {code}", "script_failure", code)

    @staticmethod
    def _kill(process: subprocess.Popen[bytes], done: threading.Event) -> None:
        """Ask the process group to go, and wait for all who hold its output."""
        for sign, wait in ((signal.SIGTERM, GRACEFUL_KILL), (signal.SIGKILL, FORCE_KILL)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, sign)
            if done.wait(wait):
                return

    def _prepare_script(self) -> Script:
        script = Script(self.tmp)
        script.line('echo "Running on $(hostname)..."')
        self._remove_env_file(script)
        return script

    def _remove_env_file(self, script: Script) -> None:
        # Up to 18 the file stays, and with it the variables, for the next job in this folder.
        if version_tuple() >= (19,):
            script.remove(f"{self.tmp}/gitlab_runner_env")

    def _get_sources(self) -> Script:
        script = Script(self.tmp)
        script.exports(self.variables)
        script.line("export GIT_TERMINAL_PROMPT=0 GCM_INTERACTIVE=Never")
        hooks = {item["name"]: item.get("script") or [] for item in self.job.get("hooks") or []}
        if self.strategy in ("none", "empty"):
            script.notice(
                "Skipping Git repository setup"
                + (" and creating an empty build directory" if self.strategy == "empty" else "")
            )
            if self.strategy == "empty":
                script.remove_dir(self.dir)
            script.command("mkdir", "-p", self.dir)
            if self.variables.get("GIT_CHECKOUT").lower() != "false":
                script.notice("Skipping Git checkout")
            script.notice("Skipping Git submodules setup")
            return script
        if self.strategy not in ("clone", "fetch"):
            raise JobError("unknown GIT_STRATEGY", "runner_system_failure")
        own = str(self.runner.get("pre_get_sources_script") or "")
        script.user_commands([*([own] if own else []), *hooks.get("pre_get_sources_script", [])])
        self._fetch(script)
        own = str(self.runner.get("post_get_sources_script") or "")
        script.user_commands([*hooks.get("post_get_sources_script", []), *([own] if own else [])])
        return script

    def _fetch(self, script: Script) -> None:
        sha = str(self.git.get("sha") or "")
        if len(sha) < 8:
            raise JobError(
                "panic: runtime error: slice bounds out of range [:8]", "runner_system_failure"
            )
        depth = int(self.git.get("depth") or 0)
        git_dir = f"{self.dir}/.git"
        for name in (
            "index.lock",
            "shallow.lock",
            "HEAD.lock",
            "hooks/post-checkout",
            "config.lock",
        ):
            script.remove(f"{git_dir}/{name}")
        refs = shlex.quote(f"{git_dir}/refs")
        script.line(f"if [ -d {refs} ]; then find {refs} -name '*.lock' -type f -delete; fi")
        template = f"{self.tmp}/git-template"
        script.command("mkdir", "-p", template)
        config = f"{template}/config"
        settings = {
            "init.defaultBranch": "none",
            "fetch.recurseSubmodules": "false",
            "credential.interactive": "never",
            "gc.autoDetach": "false",
        }
        parts = urllib.parse.urlsplit(self.repo_url)
        host = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        if ca_file := self.variables.get("CI_SERVER_TLS_CA_FILE"):
            settings[f"http.{host}.sslCAInfo"] = ca_file
        for key, value in settings.items():
            script.command("git", "config", "-f", config, key, value)
        if self.strategy == "clone":
            script.remove_dir(self.dir)
        script.notice(
            f"Fetching changes with git depth set to {depth}..." if depth else "Fetching changes..."
        )
        script.command("git", "init", self.dir, "--template", template)
        script.command("cd", self.dir)
        url = shlex.quote(self.repo_url)
        script.line(f"if git remote add origin {url} >/dev/null 2>&1 ; then")
        script.notice("Created fresh repository.")
        script.line(f"else git remote set-url origin {url}")
        script.line("fi")
        agent = f"http.userAgent={NAME} {VERSION} linux/{ARCH}"
        flags = self.variables.get("GIT_FETCH_EXTRA_FLAGS") or "--prune --quiet"
        extra = [] if flags == "none" else flags.split()
        fetch = [
            "git",
            "-c",
            agent,
            "fetch",
            "origin",
            "--no-recurse-submodules",
            *(self.git.get("refspecs") or []),
        ]
        if depth:
            script.command(*fetch, "--depth", str(depth), *extra)
        else:
            words = " ".join(shlex.quote(word) for word in [*fetch, *extra])
            script.line(f"if [ -e .git/shallow ]; then {words} --unshallow; else {words}; fi")
        if self.variables.get("GIT_CHECKOUT").lower() == "false":
            script.notice("Skipping Git checkout")
            return
        script.notice(f"Checking out {sha[:8]} as detached HEAD (ref is {self.git.get('ref')})...")
        script.command("git", "-c", "submodule.recurse=false", "checkout", "-f", "-q", sha)
        clean = self.variables.get("GIT_CLEAN_FLAGS") or "-ffdx"
        if clean != "none":
            script.command("git", "clean", *clean.split())
        script.notice("Skipping Git submodules setup")

    def _begin(self) -> Script:
        script = Script(self.tmp)
        script.exports(self.variables)
        script.command("cd", self.dir)
        return script

    def _helper(self, script: Script, action: str, *calls: list[str]) -> None:
        """Add calls of this program as the job's user, who may not be able to run it."""
        binary = self.daemon.binary
        script.line(f"if {shlex.quote(binary)} --version >/dev/null 2>&1 ; then")
        for call in calls:
            script.command(binary, *call)
        script.line("else")
        script.notice(f"Missing {binary}. {action} is disabled.", YELLOW)
        script.line("fi")

    def _caches(self) -> Iterator[tuple[dict[str, Any], str, list[str]]]:
        for item in self.job.get("cache") or []:
            paths = [word for path in item.get("paths") or [] for word in ("--path", path)]
            paths += ["--untracked"] if item.get("untracked") else []
            key = expand(str(item.get("key") or ""), self.variables.get)
            key = key or f"{self.info.get('name', '')}/{self.git.get('ref', '')}"
            if paths:
                yield item, os.path.join(self.cache_dir, key.strip("/"), "cache.zip"), paths

    def _restore_cache(self) -> Script | None:
        script = self._begin()
        some = False
        for item, path, _ in self._caches():
            some = True
            if item.get("policy") == "push":
                script.notice("Not downloading cache due to policy")
                continue
            key = os.path.basename(os.path.dirname(path))
            script.notice(f"Checking cache for {key}...")
            self._helper(script, "Extracting cache", ["cache-extractor", "--file", path])
        return script if some else None

    def _archive_cache(self, success: bool) -> Script | None:
        script = self._begin()
        some = False
        for item, path, paths in self._caches():
            when = item.get("when") or "on_success"
            if item.get("policy") == "pull" or when not in (
                "always",
                "on_success" if success else "on_failure",
            ):
                continue
            some = True
            script.notice(f"Creating cache {os.path.basename(os.path.dirname(path))}...")
            self._helper(script, "Creating cache", ["cache-archiver", "--file", path, *paths])
        return script if some else None

    def _download_artifacts(self) -> Script | None:
        script = self._begin()
        calls = []
        for item in self.job.get("dependencies") or []:
            if not (item.get("artifacts_file") or {}).get("filename"):
                continue
            script.notice(f"Downloading artifacts for {item.get('name')} ({item['id']})...")
            calls.append(
                [
                    "artifacts-downloader",
                    "--url",
                    str(self.runner["url"]),
                    "--token",
                    str(item["token"]),
                    "--id",
                    str(item["id"]),
                ]
            )
        self._helper(script, "Artifacts downloading", *calls)
        return script if calls else None

    def _user_script(self, step: dict[str, Any]) -> Script:
        script = self._begin()
        if before := str(self.runner.get("pre_build_script") or ""):
            script.user_commands([before])
        script.user_commands(step.get("script") or [])
        if after := str(self.runner.get("post_build_script") or ""):
            script.user_commands([after])
        return script

    def _upload_artifacts(self, success: bool) -> Script | None:
        script = self._begin()
        some = False
        for item in self.job.get("artifacts") or []:
            when = item.get("when") or "on_success"
            if when not in ("always", "on_success" if success else "on_failure"):
                continue
            call = [
                "artifacts-uploader",
                "--url",
                str(self.runner["url"]),
                "--token",
                str(self.job["token"]),
                "--id",
                str(self.id),
            ]
            for option, name in (("--path", "paths"), ("--exclude", "exclude")):
                for path in item.get(name) or []:
                    call += [option, expand(path, self.variables.get)]
            if item.get("untracked"):
                call += ["--untracked"]
            if not {"--path", "--untracked"} & set(call):
                continue
            for option, name in (
                ("--name", "name"),
                ("--expire-in", "expire_in"),
                ("--artifact-format", "artifact_format"),
                ("--artifact-type", "artifact_type"),
            ):
                if value := item.get(name):
                    call += [option, expand(str(value), self.variables.get)]
            some = True
            script.notice("Uploading artifacts...")
            self._helper(script, "Uploading artifacts", call)
        return script if some else None

    def _cleanup(self) -> Script:
        script = Script(self.tmp)
        self._remove_env_file(script)
        for item in self.variables.items:
            if item.file:
                script.remove(f"{self.tmp}/{item.key}")
        return script

    # -- the whole ------------------------------------------------------------------------------

    def _attempts(self, key: str) -> int:
        return max(1, min(self.variables.number(key, 1), 10))

    def _stages(self) -> None:
        name = self.runner.get("shell") or "bash"

        def prepared() -> None:
            self.say(f"Using Shell ({name}) executor...")

        self._section("prepare_executor", 'Preparing the "shell" executor', prepared)
        try:
            self._stage("prepare_script", "Preparing environment", self._prepare_script())
        except JobError as error:
            raise JobError(
                f"prepare environment: {error}. Check "
                "https://docs.gitlab.com/runner/shells/#shell-profile-loading for more information",
                "runner_system_failure" if not error.exit_code else error.reason,
                error.exit_code,
            ) from None
        failure: JobError | None = None
        try:
            tries = self._attempts("GET_SOURCES_ATTEMPTS")
            for attempt in range(1, tries + 1):
                try:
                    self._stage(
                        "get_sources", "Getting source from Git repository", self._get_sources()
                    )
                    break
                except JobError:
                    if attempt == tries:
                        raise
            self._stage("restore_cache", "Restoring cache", self._restore_cache())
            self._stage("download_artifacts", "Downloading artifacts", self._download_artifacts())
            failure = self._user_scripts()
        except JobError as error:
            failure = error
        result = "success" if failure is None else "failure"
        try:
            self._stage(
                f"archive_cache{'' if failure is None else '_on_failure'}",
                f"Saving cache for {'successful' if failure is None else 'failed'} job",
                self._archive_cache(failure is None),
            )
            self._stage(
                f"upload_artifacts_on_{result}",
                f"Uploading artifacts for {'successful' if failure is None else 'failed'} job",
                self._upload_artifacts(failure is None),
            )
        except JobError as error:
            failure = failure or error
        with contextlib.suppress(JobError):
            self._stage(
                "cleanup_file_variables",
                "Cleaning up project directory and file based variables",
                self._cleanup(),
            )
        if failure is not None:
            raise failure

    def _user_scripts(self) -> JobError | None:
        failure: JobError | None = None
        self.trace.cancel = self._stop_script.set
        limit = go_duration(self.variables.get("RUNNER_SCRIPT_TIMEOUT"), 0) or None
        for step in self.job.get("steps") or []:
            if step.get("name") == "after_script" or failure is not None:
                continue
            name = step.get("name")
            stage = "step_script" if name == "script" else f"step_{name}"
            try:
                self._stage(
                    stage,
                    f'Executing "{stage}" stage of the job script',
                    self._user_script(step),
                    self._stop_script,
                    limit,
                )
            except JobError as error:
                failure = error
            except TimeoutError:
                failure = JobError(
                    "script timeout context: context deadline exceeded", "job_execution_timeout"
                )
            except Stopped:
                if self._stop_all.is_set():
                    raise
        if self._stop_script.is_set():
            failure = JobError("canceled", "job_canceled")
            self.say(f"{YELLOW}WARNING: script canceled externally (UI, API){RESET}")
        steps = self.job.get("steps") or []
        after = next((step for step in steps if step.get("name") == "after_script"), None)
        if after and after.get("script"):
            status = "success" if failure is None else "failed"
            status = "canceled" if self._stop_script.is_set() else status
            failure = self._after_script(after, status, failure)
        return failure

    def _after_script(
        self, step: dict[str, Any], status: str, failure: JobError | None
    ) -> JobError | None:
        self.variables.items.append(Variable("CI_JOB_STATUS", status))
        script = self._begin()
        script.notice("Running after script...")
        script.user_commands(step["script"])
        limit = go_duration(self.variables.get("RUNNER_AFTER_SCRIPT_TIMEOUT"), AFTER_SCRIPT_TIMEOUT)
        try:
            self._stage("after_script", "Running after_script", script, timeout=limit)
        except (JobError, TimeoutError) as error:
            words = str(error) or "context deadline exceeded"
            if self.variables.get("AFTER_SCRIPT_IGNORE_ERRORS").lower() in ("false", "0"):
                return failure or JobError(words, "script_failure", getattr(error, "exit_code", 1))
            self.say(
                f"{YELLOW}WARNING: after_script failed, but job will continue unaffected: "
                f"{words}{RESET}"
            )
        return failure

    def stop(self, why: JobError) -> None:
        """Stop the job; the first reason counts."""
        with self._lock:
            self._why = self._why or why
        self._stop_all.set()

    def run(self) -> None:
        """Run the job to its end and report it."""
        self.trace.abort = lambda: self.stop(JobError("canceled", "job_canceled"))
        self.trace.start()
        failure: JobError | None = None
        system = False
        box: queue.Queue[BaseException | None] = queue.Queue()

        def body() -> None:
            try:
                self._stages()
            except BaseException as error:
                box.put(error)
            else:
                box.put(None)

        self.say(f"Running with {NAME} {VERSION} ({REVISION})")
        token = short_token(str(self.runner["token"]))
        self.say(f"  on {self.runner.get('name')} {token}, system ID: {self.daemon.system_id}")
        self.state = "running"
        thread = threading.Thread(target=body, daemon=True)
        thread.start()
        deadline = time.monotonic() + self.timeout
        while thread.is_alive() and not self._stop_all.is_set():
            thread.join(min(0.1, max(deadline - time.monotonic(), 0.01)))
            if time.monotonic() > deadline and thread.is_alive():
                text = go_duration_text(self.timeout)
                self.stop(
                    JobError(f"execution took longer than {text} seconds", "job_execution_timeout")
                )
        thread.join(BUILD_FINISH_WAIT if self._stop_all.is_set() else None)
        if thread.is_alive():
            self.say(f"{YELLOW}WARNING: Timed out waiting for the build to finish{RESET}")
        error = box.get() if not box.empty() else Stopped()
        if isinstance(error, Stopped) or self._stop_all.is_set():
            failure = self._why or JobError("canceled", "job_canceled")
        elif isinstance(error, JobError):
            failure = error
        elif error is not None:
            failure = JobError(f"panic: {error}", "runner_system_failure")
        system = failure is not None and failure.reason == "runner_system_failure"
        self._finish(failure, system)

    def _finish(self, failure: JobError | None, system: bool) -> None:
        fields: dict[str, object] = {
            "job": self.id,
            "project": self.info.get("project_id"),
            "runner": short_token(str(self.runner["token"])),
            "duration_s": round(time.monotonic() - self.started, 3),
        }
        tries = int(self.runner.get("job_status_final_update_retry_limit") or 10)
        if failure is None:
            log.info("Job succeeded", job__status="success", **fields)
            self.say(f"{GREEN}Job succeeded{RESET}")
            self._masker.flush()
            self.state = "success"
            self.trace.finish("success", "", 0, tries)
            return
        words = f"Job failed{' (system failure)' if system else ''}: {failure}"
        log.warning(
            words,
            job__status="failed",
            failure_reason=failure.reason,
            exit_code=failure.exit_code,
            **fields,
        )
        self.say(f"{RED}ERROR: {words}{RESET}")
        self._masker.flush()
        known = {
            "script_failure",
            "runner_system_failure",
            "job_execution_timeout",
            *(self.features.get("failure_reasons") or []),
        }
        reason = failure.reason if failure.reason in known else "unknown_failure"
        self.state = "failed"
        self.trace.finish("failed", reason, failure.exit_code, tries)


# --- the daemon ----------------------------------------------------------------------------------


@dataclass
class Health:
    """How a runner's last requests went."""

    failures: int = 0
    last_check: float = field(default_factory=time.monotonic)


def warn_of_long_polling(config: Config) -> None:
    """Say at each load what may delay jobs while GitLab holds requests for one (from 18.4 on)."""
    issues = []
    count = len(config.runners)
    if config.concurrent < count:
        issues.append(
            f"  - Worker starvation: {count} runners, but concurrent={config.concurrent}: runners "
            "wait for a worker that holds another's request"
        )
    ones = sum(1 for runner in config.runners if int(runner.get("request_concurrency") or 1) == 1)
    if ones:
        issues.append(
            f"  - Request bottleneck: {ones} runners have request_concurrency=1, causing job "
            "delays during long polling"
        )
    if version_tuple() < (18, 4) or not issues:
        return
    lines = (
        "CONFIGURATION: Long polling issues detected.",
        "Issues found:",
        *issues,
        "This can cause job delays matching your GitLab instance's long polling timeout.",
        "Recommended solutions:",
        "  1. Increase 'concurrent' and set 'request_concurrency' to 2-4",
        "This message will be printed each time the configuration is reloaded if the issues "
        "persist.",
        f"See documentation: {LONG_POLLING}#long-polling-issues",
    )
    log.warning("\n".join(lines))


class Daemon:
    """``gitlab-runner run``."""

    def __init__(self, options: dict[str, str]) -> None:
        self.path = options["config"]
        self.user = options.get("user", "")
        self.working_directory = options.get("working-directory", "") or os.getcwd()
        self.listen_address = options.get("listen-address", "")
        self.binary = os.path.realpath(sys.argv[0])
        self.system_id = ""
        self.builds: list[Build] = []
        self.counters: dict[str, int] = {"jobs": 0, "failed": 0, "loads": 0, "load_errors": 0}
        self.process_state = "starting"
        self._config = Config({"concurrent": 1}, 0)
        self._seen_mtime = 0
        self._lock = threading.RLock()
        self._health: dict[str, Health] = {}
        self._networks: dict[str, str] = {}
        self._busy: dict[str, int] = {}
        self._requesting: set[str] = set()
        self._workers = 0
        self._wake = threading.Event()
        self._reloaded = threading.Event()
        self._draining = threading.Event()
        self._signals: queue.SimpleQueue[int] = queue.SimpleQueue()

    def _fields(self) -> dict[str, object]:
        return {"builds": len(self.builds), "max_builds": self._config.concurrent}

    # -- configuration --------------------------------------------------------------------------

    def _load(self) -> None:
        """Load the configuration; ConfigError leaves the old one in force."""
        try:
            config = Config.load(self.path)
        except ConfigError:
            self.counters["load_errors"] += 1
            raise
        self.counters["loads"] += 1
        if not self.system_id:
            self.system_id = system_id(self.path)
        for runner in config.runners:
            for key in ("token", "url"):
                # Written back expanded, if the daemon writes: as the real one loses references.
                runner[key] = expand(str(runner.get(key, "")), lambda k: os.environ.get(k, ""))
        with self._lock:
            self._config = config
            self._seen_mtime = config.mtime_ns
            self._health.clear()
        level = str(config.data.get("log_level") or "info")
        if not os.environ.get("LOG_LEVEL") and not log.set_level(level):
            raise ConfigError(f'not a valid logrus Level: "{level}"')
        if config.data.get("log_format") == "json":
            log.format = "json"
        log.info("Configuration loaded", **self._fields())
        for runner in config.runners:
            if not str(runner["token"]).strip():
                log.warning(
                    "Runner token is empty or whitespace; this runner will be skipped during job "
                    "polling. Check the 'token' field in your config.toml for this runner.",
                    runner="",
                    runner_name=runner.get("name", ""),
                )
        warn_of_long_polling(config)
        if config.concurrent < 1:
            log.fatal(
                f"Current configuration 'concurrent = {config.concurrent}' means that no jobs will "
                "be processed",
                **self._fields(),
            )
        self._reloaded.set()
        self._wake.set()

    def _watch_config(self) -> None:
        try:
            mtime = os.stat(self.path).st_mtime_ns
        except OSError as error:
            log.error(f"Failed to load config stat {self.path}: {error.strerror}", **self._fields())
            return
        if mtime <= self._seen_mtime:
            return
        self._try_load()
        # A bad file is not read again before its time changes.
        self._seen_mtime = max(self._seen_mtime, mtime)

    def _try_load(self) -> None:
        try:
            self._load()
        except ConfigError as error:
            log.error(f"Failed to load config {error}", **self._fields())

    # -- token rotation -------------------------------------------------------------------------

    def _rotation_due(self) -> tuple[float, str] | None:
        due = []
        for runner in self._config.runners:
            expires = parse_time(str(runner.get("token_expires_at", "")))
            if expires:
                obtained = parse_time(str(runner.get("token_obtained_at", "")))
                due.append((obtained + ROTATE_AT * (expires - obtained), str(runner["token"])))
        return min(due) if due else None

    def _rotate(self) -> None:
        while not self._draining.is_set():
            self._reloaded.clear()
            due = self._rotation_due()
            wait = None if due is None else max(due[0] - time.time(), 0.0)
            if wait and self._reloaded.wait(min(wait, 3600.0)):
                continue
            if due is None:
                self._reloaded.wait()
                continue
            if wait and due[0] > time.time():
                continue
            if self._rotate_one(due[1]):
                continue
            # Refused or unreachable: the real one asks again at once; once a second is enough.
            self._reloaded.wait(1.0)

    def _rotate_one(self, token: str) -> bool:
        try:
            config = Config.load(self.path)
        except ConfigError as error:
            log.error(f"Failed to load config (token reset) {error}", **self._fields())
            return False
        for runner in config.runners:
            for key in ("token", "url"):
                runner[key] = expand(str(runner.get(key, "")), lambda k: os.environ.get(k, ""))
        mine = [item for item in config.runners if item["token"] == token]
        if not mine or not Api(mine[0]).reset():
            return False
        config.save(self.path)
        with self._lock:
            self._config = config
            self._seen_mtime = config.mtime_ns
        self._wake.set()
        return True

    # -- polling --------------------------------------------------------------------------------

    def _healthy(self, runner: dict[str, Any]) -> bool:
        health = self._health.setdefault(self._unique(runner), Health())
        limit = int(runner.get("unhealthy_requests_limit") or 3)
        if health.failures < limit:
            return True
        interval = go_duration(runner.get("unhealthy_interval"), 3600.0)
        if time.monotonic() - health.last_check > interval:
            log.warning(
                f'Runner "{self._unique(runner)}" is not healthy, but check for a new job will be '
                "forced!",
                unhealthy_requests=health.failures,
            )
            health.failures, health.last_check = 0, time.monotonic()
            return True
        return False

    def _mark(self, runner: dict[str, Any], healthy: bool) -> None:
        with self._lock:
            health = self._health.setdefault(self._unique(runner), Health())
            if healthy:
                health.failures, health.last_check = 0, time.monotonic()
                return
            health.failures += 1
            limit = int(runner.get("unhealthy_requests_limit") or 3)
            if health.failures >= limit:
                interval = go_duration(runner.get("unhealthy_interval"), 3600.0)
                log.error(
                    f'Runner "{self._unique(runner)}" is unhealthy and will be disabled for '
                    f"{go_duration_text(interval)} seconds!",
                    unhealthy_requests=health.failures,
                    unhealthy_requests_limit=limit,
                )

    @staticmethod
    def _unique(runner: dict[str, Any]) -> str:
        return f"{runner.get('url')}{short_token(str(runner.get('token')))}"

    def _poll(self) -> None:
        """Feed one runner after the other, spread over the check interval."""
        index = 0
        while not self._draining.is_set():
            with self._lock:
                runners = [item for item in self._config.runners if str(item["token"]).strip()]
                interval = int(self._config.data.get("check_interval") or 0) or CHECK_INTERVAL
            if runners:
                self._feed(runners[index % len(runners)])
                index += 1
            self._draining.wait(interval / max(len(runners), 1))

    def _feed(self, runner: dict[str, Any]) -> None:
        key = str(runner["token"])
        with self._lock:
            limit = int(runner.get("limit") or 0)
            known = any(item is runner for item in self._config.runners)
            if (
                self._draining.is_set()
                or not known
                or not self._healthy(runner)
                or self._workers >= self._config.concurrent
                or (limit and self._busy.get(key, 0) >= limit)
                or key in self._requesting
            ):
                return
            if runner.get("executor") != "shell":
                log.error(
                    f'Executor "{runner.get("executor")}" is not known; marking Runner as '
                    "unhealthy",
                    runner=short_token(key),
                )
                self._mark(runner, False)
                return
            self._workers += 1
            self._busy[key] = self._busy.get(key, 0) + 1
            self._requesting.add(key)
        threading.Thread(target=self._work, args=(runner, key), daemon=True).start()

    def _work(self, runner: dict[str, Any], key: str) -> None:
        build = None
        try:
            try:
                build = self._request(runner)
            finally:
                with self._lock:
                    self._requesting.discard(key)
            if build is not None:
                # At once: there may be more where this one came from.
                if not runner.get("strict_check_interval"):
                    self._feed(runner)
                self._process(build)
        finally:
            with self._lock:
                self._workers -= 1
                self._busy[key] -= 1
                if build in self.builds:
                    self.builds.remove(build)
            self._wake.set()

    def _request(self, runner: dict[str, Any]) -> Build | None:
        api = Api(runner)
        unique = self._unique(runner)
        body: dict[str, Any] = {
            "info": runner_info("shell", str(runner.get("shell") or "bash")),
            "token": runner["token"],
            "system_id": self.system_id,
            "last_update": self._networks.get(unique, ""),
        }
        answer = api.network.json(
            "POST", "jobs/request", body, 201, {"RUNNER-TOKEN": str(runner["token"])}
        )
        if api.network.last_update:
            self._networks[unique] = api.network.last_update
        base = "Checking for jobs..."
        if answer.status == 403:
            log.error(f"{base} forbidden", status=answer.text, **api.fields)
            self._mark(runner, False)
            return None
        if answer.status == CLIENT_ERROR:
            log.error(f"{base} client error", status=answer.text, **api.fields)
            self._mark(runner, False)
            return None
        self._mark(runner, True)
        if answer.status == 204:
            log.debug(f"{base} no content", **api.fields)
            return None
        if answer.status != 201:
            log.warning(f"{base} failed", status=answer.text, **api.fields)
            return None
        try:
            check_types(answer.body)
            build = Build(self, copy.deepcopy(runner), api, answer.body, answer.ca_chain)
            self._add(build)
        except (TypeError, KeyError, ValueError) as error:
            # The server believes that the job runs; the real one drops it just so.
            log.warning(f"{base} failed", status=f"decoding json payload {error}", **api.fields)
            return None
        log.info(f"{base} received", job=build.id, repo_url=build.clean_url, **api.fields)
        return build

    def _add(self, build: Build) -> None:
        with self._lock:
            token = build.runner["token"]
            taken = {item.slot for item in self.builds if item.runner["token"] == token}
            build.slot = next(number for number in range(10**6) if number not in taken)
            taken = {
                item.project_slot for item in self.builds if item.project_key == build.project_key
            }
            build.project_slot = next(number for number in range(10**6) if number not in taken)
            build.prepare()
            self.builds.append(build)

    def _process(self, build: Build) -> None:
        fields: dict[str, object] = {
            "job": build.id,
            "project": build.info.get("project_id"),
            "repo_url": build.clean_url,
            "runner": short_token(str(build.runner["token"])),
        }
        log.info("Added job to processing list", **fields, **self._fields())
        self.counters["jobs"] += 1
        try:
            build.run()
        finally:
            with self._lock:
                self.builds.remove(build)
            self.counters["failed"] += build.state == "failed"
            log.info("Removed job from processing list", **fields, **self._fields())

    # -- life -----------------------------------------------------------------------------------

    def run(self) -> NoReturn:
        """Run until a signal ends it."""
        if VERSION == "17.5.0" and not os.environ.get("HOME"):
            # A real release that does not start under systemd, which sets no HOME for root.
            log.fatal("failed to get user home dir: $HOME is not defined")
        log.info(f"Starting multi-runner from {self.path}...", builds=0, max_builds=0)
        user_mode_warning(with_run=False)
        try:
            os.chdir(self.working_directory)
            self.working_directory = os.getcwd()
            if version_tuple() >= (19, 2):
                self._listen()
                self._load()
            else:
                self._load()
                self._listen()
        except (OSError, ConfigError) as error:
            log.fatal("Service run failed", error=error)
        self._serve_metrics()
        log.info(
            "[session_server].listen_address not defined, session endpoints disabled",
            **self._fields(),
        )
        log.info("Initializing executor providers", **self._fields())
        self.process_state = "running"
        for target in (self._poll, self._rotate):
            threading.Thread(target=target, daemon=True).start()
        stop = self._wait_for_stop()
        self._draining.set()
        self._shut_down(stop)
        log.info("All workers stopped.", **self._fields())
        log.info("Can exit now!", **self._fields())
        sys.stdout.flush()
        os._exit(0)

    def _listen(self) -> None:
        """Take signals as orders, from which moment on they do not end the program."""
        time.sleep(max(BEGAN + DEAF_SECONDS - time.monotonic(), 0.0))
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
            signal.signal(number, lambda number, _frame: self._signals.put(number))

    def _next_signal(self, timeout: float) -> int | None:
        try:
            return self._signals.get(timeout=timeout)
        except queue.Empty:
            return None

    def _wait_for_stop(self) -> int:
        next_look = time.monotonic() + RELOAD_INTERVAL
        while True:
            number = self._next_signal(max(next_look - time.monotonic(), 0.0))
            if number is None:
                self._watch_config()
            elif number == signal.SIGHUP:
                self._try_load()
            else:
                name = signal.strsignal(number)
                log.warning(
                    "[runWait] received stop signal",
                    stop__signal=str(name).lower(),
                    **self._fields(),
                )
                return number
            next_look = time.monotonic() + RELOAD_INTERVAL

    def _shut_down(self, stop: int) -> None:
        name = str(signal.strsignal(stop)).lower()
        if stop == signal.SIGQUIT:
            self.process_state = "graceful-shutdown"
            log.warning(
                "Starting graceful shutdown, waiting for builds to finish",
                StopSignal=name,
                **self._fields(),
            )
            while self._workers:
                number = self._next_signal(0.1)
                if number in (signal.SIGTERM, signal.SIGINT):
                    stop = number
                    break
            else:
                return
        name = str(signal.strsignal(stop)).lower()
        log.warning(
            "Graceful shutdown not finished properly. To gracefully clean up running plugins "
            "please use SIGQUIT (ctrl-\\) instead of SIGINT (ctrl-c)",
            error=f"received stop signal: {name}",
            **self._fields(),
        )
        self.process_state = "forceful-shutdown"
        limit = int(self._config.data.get("shutdown_timeout") or 0) or 30
        log.warning(
            "Starting forceful shutdown",
            StopSignal=name,
            shutdown__timeout=f"{limit}s",
            **self._fields(),
        )
        for build in list(self.builds):
            build.stop(JobError(f"aborted: {name}", "runner_system_failure"))
        deadline = time.monotonic() + limit
        while self._workers:
            number = self._next_signal(0.1)
            if number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
                log.fatal(
                    "Service run failed",
                    error=f"forced exit with stop signal: {str(signal.strsignal(number)).lower()}",
                )
            if time.monotonic() > deadline:
                log.fatal("Service run failed", error="shutdown timed out")

    # -- metrics --------------------------------------------------------------------------------

    def _serve_metrics(self) -> None:
        address = self.listen_address or str(self._config.data.get("listen_address") or "")
        if not address:
            log.info(
                "listen_address not defined, metrics & debug endpoints disabled", **self._fields()
            )
            return
        host, _, port = address.rpartition(":") if ":" in address else (address, "", "9252")
        daemon = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer = daemon.page(self.path.split("?")[0])
                self.send_response(404 if answer is None else 200)
                self.send_header("Content-Type", "text/plain; charset=utf-8")
                if self.path.startswith("/debug/jobs/list"):
                    self.send_header("X-List-Version", "2")
                self.end_headers()
                self.wfile.write((answer or "404 page not found\n").encode())

            def log_message(self, *_: object) -> None:
                """Stay quiet."""

        try:
            server = http.server.ThreadingHTTPServer((host.strip("[]"), int(port)), Handler)
        except (OSError, ValueError) as error:
            log.fatal("Failed to create listener for metrics server", error=error, **self._fields())
        log.info("Metrics server listening", address=address, **self._fields())
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def page(self, path: str) -> str | None:
        """Return a page of the metrics server."""
        with self._lock:
            if path == "/debug/jobs/list":
                return "".join(
                    f"url={re.sub(r'[.]git$', '', build.clean_url)}/-/jobs/{build.id} "
                    f"state={build.state} stage={build.stage} executor_stage=shell_run "
                    f"duration={go_duration_text(round(time.monotonic() - build.started, 3))}\n"
                    for build in self.builds
                )
            if path == "/debug/process/state":
                return f"{self.process_state}\n"
            if path != "/metrics":
                return None
            version = f'version="{VERSION}",revision="{REVISION}",name="{NAME}"'
            lines = [
                f"gitlab_runner_version_info{{{version}}} 1",
                f"gitlab_runner_concurrent {self._config.concurrent}",
                f"gitlab_runner_configuration_loaded_total {self.counters['loads']}",
                f"gitlab_runner_configuration_loading_error_total {self.counters['load_errors']}",
            ]
            for runner in self._config.runners:
                labels = (
                    f'runner="{short_token(str(runner["token"]))}",'
                    f'runner_name="{runner.get("name", "")}",system_id="{self.system_id}"'
                )
                lines.append(f"gitlab_runner_limit{{{labels}}} {runner.get('limit', 0)}")
                lines.append(f'gitlab_runner_jobs{{{labels},state="idle"}} 0')
                lines.append(f"gitlab_runner_jobs_total{{{labels}}} {self.counters['jobs']}")
            for build in self.builds:
                labels = (
                    f'runner="{short_token(str(build.runner["token"]))}",state="{build.state}",'
                    f'stage="{build.stage}",executor_stage="shell_run"'
                )
                lines.append(f"gitlab_runner_jobs{{{labels}}} 1")
            return "\n".join(lines) + "\n"


def check_types(job: dict[str, Any]) -> None:
    """Refuse what the real one's decoder refuses; TypeError names the field."""

    def want(value: object, types: tuple[type, ...], name: str) -> None:
        wrong_bool = isinstance(value, bool) and bool not in types
        if value is not None and (not isinstance(value, types) or wrong_bool):
            kind = type(value).__name__
            raise TypeError(f"json: cannot unmarshal {kind} into Go struct field Job.{name}")

    want(job.get("id"), (int,), "id")
    want(job.get("token"), (str,), "token")
    want(job.get("image"), (dict,), "image")
    for name in ("variables", "steps", "artifacts", "cache", "dependencies", "services"):
        want(job.get(name), (list,), name)
        for item in job.get(name) or []:
            want(item, (dict,), name)
    info = job.get("job_info") or {}
    want(info, (dict,), "job_info")
    for name in ("project_id", "pipeline_id", "user_id", "queue_size", "queue_depth"):
        want(info.get(name), (int,), f"job_info.{name}")
    for name in (
        "name",
        "stage",
        "project_name",
        "project_full_path",
        "instance_id",
        "project_jobs_running_on_instance_runners_count",
    ):
        want(info.get(name), (str,), f"job_info.{name}")
    git = job.get("git_info") or {}
    for name in ("repo_url", "ref", "sha", "before_sha", "ref_type"):
        want(git.get(name), (str,), f"git_info.{name}")
    want(git.get("depth"), (int,), "git_info.depth")
    for item in job.get("variables") or []:
        for name in ("key", "value"):
            want(item.get(name), (str,), f"variables.{name}")
        for name in ("public", "file", "masked", "raw"):
            want(item.get(name), (bool,), f"variables.{name}")
    for item in job.get("steps") or []:
        want(item.get("script"), (list,), "steps.script")
        for line in item.get("script") or []:
            want(line, (str,), "steps.script")
        want(item.get("timeout"), (int,), "steps.timeout")
    if "run" in job:
        want(job["run"] if job["run"] is not None else 0, (str,), "run")


# --- helper commands, run by the job's user ------------------------------------------------------


def matched_files(options: dict[str, list[str]]) -> list[str]:
    """Return the paths that an archive holds, relative to the current folder."""
    found: set[str] = set()
    base = os.getcwd()
    for pattern in options.get("path", []):
        hits: set[str] = set()
        for hit in glob.iglob(pattern, recursive=True, include_hidden=True):
            hits.add(hit)
            if os.path.isdir(hit) and not os.path.islink(hit):
                for folder, folders, files in os.walk(hit):
                    hits |= {os.path.join(folder, name) for name in (*folders, *files)}
        inside = {
            os.path.relpath(hit, base)
            for hit in hits
            if os.path.realpath(os.path.dirname(os.path.abspath(hit))).startswith(
                os.path.realpath(base)
            )
        }
        if inside:
            log.info(f"{pattern}: found {len(inside)} matching artifact files and directories")
        else:
            log.warning(
                f"{pattern}: no matching files. Ensure that the artifact path is relative "
                f"to the working directory ({base})"
            )
        found |= inside
    if "untracked" in options:
        listed = subprocess.run(
            ["git", "ls-files", "-o", "-z"], stdout=subprocess.PIPE, check=False
        ).stdout.decode(errors="surrogateescape")
        names = {name for name in listed.split("\0") if name}
        log.info(f"untracked: found {len(names)} files")
        found |= names
    for pattern in options.get("exclude", []):
        simple = pattern.replace("**/", "*")
        found = {
            name
            for name in found
            if not fnmatch.fnmatch(name, simple) and not fnmatch.fnmatch(name, pattern)
        }
    return sorted(found)


def write_zip(target: str, names: list[str]) -> None:
    """Write an archive with modes and symbolic links."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            state = os.lstat(name)
            info = zipfile.ZipInfo(name, time.localtime(state.st_mtime)[:6])
            info.external_attr = (state.st_mode & 0xFFFF) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            if stat.S_ISLNK(state.st_mode):
                archive.writestr(info, os.readlink(name))
            elif stat.S_ISDIR(state.st_mode):
                info.filename += "/"
                archive.writestr(info, b"")
            elif stat.S_ISREG(state.st_mode):
                with open(name, "rb") as file, archive.open(info, "w") as out:
                    shutil.copyfileobj(file, out)


def extract_zip(source: str) -> None:
    """Unpack an archive into the current folder, with modes and symbolic links."""
    with zipfile.ZipFile(source) as archive:
        for info in archive.infolist():
            mode = info.external_attr >> 16
            path = os.path.normpath(info.filename)
            if path.startswith(("/", "../")) or path == "..":
                raise ValueError(f"{info.filename} lies outside of the working directory")
            if stat.S_ISLNK(mode):
                os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
                os.symlink(archive.read(info).decode(), path)
            else:
                archive.extract(info)
                if mode:
                    os.chmod(path, stat.S_IMODE(mode))


def helper_network(options: dict[str, list[str]]) -> Network:
    """Return the API for a helper command; the CA is the one that the job was given."""
    return Network(options["url"][0], os.environ.get("CI_SERVER_TLS_CA_FILE", ""))


def artifacts_uploader(options: dict[str, list[str]]) -> None:
    """Pack and upload one artifact."""
    names = matched_files(options)
    files = [name for name in names if not os.path.isdir(name) or os.path.islink(name)]
    if not names:
        log.error("No files to upload.")
        return
    kind = options.get("artifact-type", ["archive"])[0]
    form = options.get("artifact-format", ["zip"])[0]
    with tempfile.TemporaryDirectory() as folder:
        packed = os.path.join(folder, "artifact")
        name = options.get("name", ["artifacts" if form == "gzip" else ""])[0]
        if form == "gzip":
            with open(packed, "wb") as out:
                for path in files:
                    with open(path, "rb") as file:
                        out.write(gzip.compress(file.read()))
            filename = f"{name}.gz"
        elif form == "raw":
            shutil.copyfile(files[0], packed)
            filename = os.path.basename(files[0])
        else:
            write_zip(packed, names)
            filename = f"{name or 'artifacts'}.zip"
        with open(packed, "rb") as file:
            upload(options, kind, form, filename, file.read())


def upload(
    options: dict[str, list[str]], kind: str, form: str, filename: str, content: bytes
) -> None:
    """Send an artifact, with the real one's number of tries."""
    network = helper_network(options)
    token, job = options["token"][0], options["id"][0]
    query = {"artifact_format": form, "artifact_type": kind}
    if expire := options.get("expire-in", [""])[0]:
        query["expire_in"] = expire
    boundary = uuid.uuid4().hex
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    body = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}", "JOB-TOKEN": token}
    base = f'Uploading artifacts as "{kind}" to coordinator...'
    fields = {"id": job, "token": short_token(token)}
    tries, attempt = 3, 0
    while True:
        attempt += 1
        path = f"jobs/{job}/artifacts?{urllib.parse.urlencode(sorted(query.items()))}"
        answer = network.raw("POST", path, body, headers)
        if answer.status == 201:
            log.info(f"{base} 201 Created", responseStatus=answer.text, **fields)
            return
        if answer.status == 503:
            tries = 6
        words = {403: "forbidden", 413: "too large archive"}.get(answer.status, "failed")
        log.error(f"{base} {words}", responseStatus=answer.text, **fields)
        if answer.status in (403, 413) or attempt >= tries:
            log.fatal(f"invalid argument: {answer.text}")
        log.warning("Retrying...", context="artifacts-uploader", error=answer.text)
        time.sleep(min(1.0 * 2 ** (attempt - 1), 5.0))


def artifacts_downloader(options: dict[str, list[str]]) -> None:
    """Fetch and unpack the archive of another job."""
    network = helper_network(options)
    token, job = options["token"][0], options["id"][0]
    base = "Downloading artifacts from coordinator..."
    with tempfile.TemporaryDirectory() as folder:
        target = os.path.join(folder, "artifacts.zip")
        for attempt in range(3):
            path = f"jobs/{job}/artifacts" + ("?direct_download=true" if attempt == 0 else "")
            with open(target, "wb") as sink:
                answer = network.raw("GET", path, None, {"JOB-TOKEN": token}, sink)
            if answer.status in (301, 302, 303, 307) and "location" in answer.headers:
                with (
                    urllib.request.urlopen(answer.headers["location"], timeout=600) as source,
                    open(target, "wb") as sink,
                ):
                    shutil.copyfileobj(source, sink)
                answer.status = 200
            if answer.status == 200:
                log.info(f"{base} ok", id=job, responseStatus="200 OK", token=short_token(token))
                extract_zip(target)
                return
            words = {401: "unauthorized", 403: "forbidden", 404: "not found"}
            log.error(
                f"{base} {words.get(answer.status, 'error')}",
                id=job,
                responseStatus=answer.text,
                token=short_token(token),
            )
            if answer.status in words:
                break
            time.sleep(1.0)
    log.fatal(answer.text)


def cache_archiver(options: dict[str, list[str]]) -> None:
    """Pack a cache; the folder is the job user's alone."""
    target = options["file"][0]
    names = matched_files(options)
    if not names:
        log.warning("No files to cache.")
        return
    os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
    part = f"{target}.part"
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    write_zip(part, names)
    os.replace(part, target)
    log.info(
        "No URL provided, cache will not be uploaded to shared cache server. Cache will be "
        "stored only locally."
    )
    print("Created cache", flush=True)


def cache_extractor(options: dict[str, list[str]]) -> None:
    """Unpack a cache; a miss is a warning."""
    path = options["file"][0]
    if not os.path.exists(path):
        log.warning("Cache file does not exist")
        return
    extract_zip(path)
    print("Successfully extracted cache", flush=True)


# --- command line --------------------------------------------------------------------------------


def default_config_dir() -> str:
    """Return where config.toml lies unless told otherwise."""
    if os.getuid() == 0:
        return "/etc/gitlab-runner"
    home = os.environ.get("HOME", "")
    return os.path.join(home, ".gitlab-runner") if home else os.getcwd()


def user_mode_warning(*, with_run: bool) -> None:
    """Say as whom this runs."""
    if os.getuid() == 0:
        log.info("Running in system-mode.")
    else:
        log.warning("Running in user-mode.")
        if with_run:
            log.warning("The user-mode requires you to manually start builds processing:")
            log.warning("$ gitlab-runner run")
        log.warning("Use sudo for system-mode:")
        log.warning("$ sudo gitlab-runner...")
    log.info("")


@dataclass(frozen=True)
class Flag:
    """One option: names (long first), environment names, and whether it is a switch or a list."""

    names: str
    env: str = ""
    kind: str = "text"


CONFIG = Flag("config c", "CONFIG_FILE")
URL = Flag("url u", "CI_SERVER_URL")
TOKEN = Flag("token t", "CI_SERVER_TOKEN")
CREDENTIALS = (
    URL,
    TOKEN,
    Flag("tls-ca-file", "CI_SERVER_TLS_CA_FILE"),
    Flag("tls-cert-file", "CI_SERVER_TLS_CERT_FILE"),
    Flag("tls-key-file", "CI_SERVER_TLS_KEY_FILE"),
)
SERVICE = (Flag("service n"),)
HELPER = (Flag("url u", "CI_SERVER_URL"), Flag("token t", "CI_JOB_TOKEN"), Flag("id", "CI_JOB_ID"))
ARCHIVE = (Flag("path", kind="list"), Flag("exclude", kind="list"), Flag("untracked", kind="bool"))

# Options that go into config.toml as they are: key, environment name, kind.
ENTRY_OPTIONS = {
    "executor": ("executor", "RUNNER_EXECUTOR", "text"),
    "limit": ("limit", "RUNNER_LIMIT", "int"),
    "output-limit": ("output_limit", "RUNNER_OUTPUT_LIMIT", "int"),
    "request-concurrency": ("request_concurrency", "RUNNER_REQUEST_CONCURRENCY", "int"),
    "unhealthy-requests-limit": (
        "unhealthy_requests_limit",
        "RUNNER_UNHEALTHY_REQUESTS_LIMIT",
        "int",
    ),
    "builds-dir": ("builds_dir", "RUNNER_BUILDS_DIR", "text"),
    "cache-dir": ("cache_dir", "RUNNER_CACHE_DIR", "text"),
    "clone-url": ("clone_url", "CLONE_URL", "text"),
    "env": ("environment", "RUNNER_ENV", "list"),
    "pre-get-sources-script": ("pre_get_sources_script", "RUNNER_PRE_GET_SOURCES_SCRIPT", "text"),
    "post-get-sources-script": (
        "post_get_sources_script",
        "RUNNER_POST_GET_SOURCES_SCRIPT",
        "text",
    ),
    "pre-build-script": ("pre_build_script", "RUNNER_PRE_BUILD_SCRIPT", "text"),
    "post-build-script": ("post_build_script", "RUNNER_POST_BUILD_SCRIPT", "text"),
    "debug-trace-disabled": ("debug_trace_disabled", "RUNNER_DEBUG_TRACE_DISABLED", "bool"),
    "shell": ("shell", "RUNNER_SHELL", "text"),
    "feature-flags": ("feature_flags", "FEATURE_FLAGS", "flags"),
}
# Options that a server keeps for itself once it has made the runner.
SERVER_OPTIONS = (
    Flag("tag-list", "RUNNER_TAG_LIST"),
    Flag("run-untagged", "REGISTER_RUN_UNTAGGED", "bool"),
    Flag("locked", "REGISTER_LOCKED", "bool"),
    Flag("access-level", "REGISTER_ACCESS_LEVEL"),
    Flag("maximum-timeout", "REGISTER_MAXIMUM_TIMEOUT"),
    Flag("paused", "REGISTER_PAUSED", "bool"),
    Flag("maintenance-note", "REGISTER_MAINTENANCE_NOTE"),
)
COMMANDS: dict[str, tuple[Flag, ...]] = {
    "run": (
        CONFIG,
        Flag("listen-address", "LISTEN_ADDRESS"),
        Flag("service n"),
        Flag("user u"),
        Flag("working-directory d"),
        Flag("syslog", kind="bool"),
    ),
    "register": (
        CONFIG,
        *CREDENTIALS,
        *SERVER_OPTIONS,
        Flag("non-interactive n", "REGISTER_NON_INTERACTIVE", "bool"),
        Flag("leave-runner", "REGISTER_LEAVE_RUNNER", "bool"),
        Flag("registration-token r", "REGISTRATION_TOKEN"),
        Flag("name description", "RUNNER_NAME"),
        Flag("template-config", "TEMPLATE_CONFIG_FILE"),
        *(
            Flag(name, env, kind if kind in ("list", "bool") else "text")
            for name, (_, env, kind) in ENTRY_OPTIONS.items()
        ),
    ),
    # Before 19.3.0 the environment filtered here too.
    "verify": (CONFIG, Flag("name n"), URL, TOKEN, Flag("delete", kind="bool")),
    "list": (CONFIG,),
    "unregister": (CONFIG, *CREDENTIALS, Flag("name n"), Flag("all-runners", kind="bool")),
    "reset-token": (
        CONFIG,
        Flag("name n"),
        Flag("url u"),
        Flag("id i"),
        Flag("all-runners", kind="bool"),
        Flag("pat"),
    ),
    "install": (
        *SERVICE,
        CONFIG,
        Flag("working-directory d"),
        Flag("user u"),
        Flag("init-user i"),
        Flag("syslog", kind="bool"),
    ),
    **dict.fromkeys(("uninstall", "start", "stop", "restart", "status"), SERVICE),
    "artifacts-uploader": (
        *HELPER,
        *ARCHIVE,
        Flag("name"),
        Flag("expire-in"),
        Flag("artifact-format"),
        Flag("artifact-type"),
    ),
    "artifacts-downloader": HELPER,
    "cache-archiver": (Flag("file"), *ARCHIVE),
    "cache-extractor": (Flag("file"),),
}


class Options:
    """Parsed options: given on the command line, else in the environment."""

    def __init__(self, flags: tuple[Flag, ...], words: list[str]) -> None:
        by_name = {name: flag for flag in flags for name in flag.names.split()}
        self.lists: dict[str, list[str]] = {}
        index = 0
        while index < len(words):
            word = words[index]
            index += 1
            if not word.startswith("-") or word == "--":
                continue
            name, has_value, value = word.lstrip("-").partition("=")
            flag = by_name.get(name)
            if flag is None:
                raise UsageError(f"flag provided but not defined: -{name}")
            if flag.kind == "bool":
                value = value if has_value else "true"
                if value.lower() not in ("true", "false", "1", "0", "t", "f"):
                    raise UsageError(f'invalid boolean value "{value}" for -{name}')
                value = "true" if value.lower() in ("true", "1", "t") else "false"
            elif not has_value:
                if index >= len(words):
                    raise UsageError(f"flag needs an argument: -{name}")
                value = words[index]
                index += 1
            key = flag.names.split()[0]
            if flag.kind == "list":
                self.lists.setdefault(key, []).append(value)
            else:
                self.lists[key] = [value]
        for flag in flags:
            key = flag.names.split()[0]
            value = os.environ.get(flag.env, "") if flag.env else ""
            if value and key not in self.lists:
                self.lists[key] = value.split(",") if flag.kind == "list" else [value]

    def get(self, name: str, default: str = "") -> str:
        """Return an option's value."""
        return self.lists[name][-1] if self.lists.get(name) else default

    def on(self, name: str) -> bool:
        """Say whether a switch is on."""
        return self.get(name).lower() in ("true", "1", "t")

    @property
    def config(self) -> str:
        """Return the path of config.toml."""
        return os.path.abspath(
            self.get("config", os.path.join(default_config_dir(), "config.toml"))
        )


class UsageError(Exception):
    """A command line that cannot be understood."""


def load_for_command(path: str) -> Config:
    """Load the configuration for a command; it does not see the service's environment."""
    config = Config.load(path)
    for runner in config.runners:
        for key in ("token", "url"):
            runner[key] = expand(str(runner.get(key, "")), lambda k: os.environ.get(k, ""))
    return config


def do_register(options: Options) -> None:
    """Register a runner: verify its token and append an entry."""
    user_mode_warning(with_run=True)
    level = options.get("access-level")
    if level not in ("", "not_protected", "ref_protected"):
        log.panic(
            "Given access-level is not valid. Refer to gitlab-runner register -h for the "
            "correct options."
        )
    entry = register_entry(options)
    try:
        config = load_for_command(options.config)
    except ConfigError as error:
        log.panic(str(error))
    system = system_id(options.config)
    if not entry["url"]:
        log.panic("The url needs to be entered")
    token = options.get("token") or options.get("registration-token")
    if not token:
        log.panic("The registration-token needs to be entered")
    entry["token"] = token
    api = Api(entry)
    if not token.startswith(GLRT):
        if options.get("token"):
            log.info("Token specified trying to verify runner...")
            log.warning("If you want to register use the '-r' instead of '-t'.")
            if api.verify(system) is None:
                log.panic("Failed to verify the runner. You may be having network problems.")
        else:
            register_by_old_token(options, entry, api)
    else:
        if any(item.get("token") == token for item in config.runners):
            log.warning("A runner with this system ID and token has already been registered.")
        refuse_server_options(options, token)
        answer = api.verify(system)
        if not answer or not answer.get("id"):
            log.panic("Failed to verify the runner.")
        take_identity(entry, answer)
    try:
        check_executor(entry)
    except PanicError:
        if not options.on("leave-runner") and token.startswith(GLRT):
            api.unregister(system)
        raise
    config.runners.append(entry)
    config.save(options.config)
    if config.concurrent < int(entry.get("limit", 0)):
        log.warning(
            f"The specified runner job concurrency limit ({entry['limit']}) is larger than current "
            f"global concurrency limit ({config.concurrent}). The global concurrent limit will not "
            "be increased and takes precedence."
        )
    log.info(
        "Runner registered successfully. Feel free to start it, but if it's running already "
        "the config should be automatically reloaded!"
    )
    log.info("")
    log.info(
        f"Configuration (with the authentication token) was saved in {json.dumps(options.config)}"
    )


def register_entry(options: Options) -> dict[str, Any]:
    """Return the entry that the options make, a template's values where they are empty."""
    entry: dict[str, Any] = {
        "name": options.get("name", socket.gethostname()),
        "url": options.get("url"),
    }
    for key in ("tls-ca-file", "tls-cert-file", "tls-key-file"):
        if value := options.get(key):
            entry[key] = value
    for option, (key, _, kind) in ENTRY_OPTIONS.items():
        value = options.get(option)
        if not value:
            continue
        if kind == "int":
            if not re.fullmatch(r"-?\d+", value):
                log.fatal(f'invalid value "{value}" for flag -{option}: parse error')
            entry[key] = int(value)
        elif kind == "bool":
            entry[key] = options.on(option)
        elif kind == "list":
            entry[key] = options.lists[option]
        elif kind == "flags":
            pairs = (pair.partition(":") for pair in value.split(","))
            entry[key] = {name: text == "true" for name, _, text in pairs}
        else:
            entry[key] = value
    if template := options.get("template-config"):
        log.info(f"Merging configuration from template file {json.dumps(template)}")
        try:
            if not os.path.exists(template):
                raise ConfigError(f"open {template}: no such file or directory")
            runners = Config.load(template).runners
        except ConfigError as error:
            log.fatal("Could not handle configuration merging from template file", error=error)
        if len(runners) != 1:
            log.fatal(
                "Could not handle configuration merging from template file",
                error="configuration template must contain exactly one [[runners]] entry",
            )
        for key, value in runners[0].items():
            if key not in ("token", "token_obtained_at", "token_expires_at") and not entry.get(key):
                entry[key] = value
    return entry


def refuse_server_options(options: Options, token: str) -> None:
    """Refuse options that a server keeps for itself; with the old option name only warn."""
    given = [
        flag.names
        for flag in SERVER_OPTIONS
        if options.get(flag.names)
        and (options.get(flag.names) != "false" or flag.names == "locked")
        and not (flag.names == "locked" and options.on("locked"))
    ]
    if not given:
        return
    names = (
        "--locked, --access-level, --run-untagged, --maximum-timeout, --paused, --tag-list, "
        "and --maintenance-note"
    )
    link = f"For more information, see {DOCS}#changes-to-the-gitlab-runner-register-command-syntax"
    if options.get("registration-token") == token:
        log.warning(
            "You have specified an authentication token in the legacy parameter "
            "--registration-token. This has triggered the 'legacy-compatible registration process' "
            f"which has resulted in the following command line parameters being ignored: {names}. "
            f"{link}"
        )
        return
    log.fatal(
        "Runner configuration other than name and executor configuration is reserved "
        f"(specifically {names}) and cannot be specified when registering with a runner "
        "authentication token. This configuration is specified on the GitLab server. Please try "
        f"again without specifying any of those arguments. {link}"
    )


def register_by_old_token(options: Options, entry: dict[str, Any], api: Api) -> None:
    """Try the old way of registration, which servers refuse."""
    log.warning(
        "Support for registration tokens and runner parameters in the 'register' command has been "
        "deprecated in GitLab Runner 15.6 and will be replaced with support for authentication "
        f"tokens. For more information, see {DOCS}"
    )
    tags = options.get("tag-list")
    answer = api.register_legacy(
        {
            "description": entry["name"],
            "tag_list": tags,
            "run_untagged": options.on("run-untagged") or not tags,
        }
    )
    if answer is None:
        log.panic("Failed to register the runner.")
    entry["token"] = answer["token"]
    take_identity(entry, answer)


def take_identity(entry: dict[str, Any], answer: dict[str, Any]) -> None:
    """Put what the server told into the entry."""
    entry["id"] = answer["id"]
    entry["token_obtained_at"] = now_text(nanoseconds=False)
    entry["token_expires_at"] = answer.get("token_expires_at") or ZERO_TIME
    if str(entry["token_expires_at"]).endswith(".000Z"):
        # Go prints no empty fraction.
        entry["token_expires_at"] = str(entry["token_expires_at"]).replace(".000Z", "Z")


def check_executor(entry: dict[str, Any]) -> None:
    """Refuse an executor that this program has not."""
    known = (
        "shell",
        "docker",
        "kubernetes",
        "custom",
        "ssh",
        "virtualbox",
        "parallels",
        "instance",
    )
    if not entry.get("executor"):
        log.panic("The executor needs to be entered")
    if entry["executor"] not in known:
        log.panic("Invalid executor specified")


def do_verify(options: Options) -> None:
    """Ask the server about each token; only a 403 counts."""
    user_mode_warning(with_run=True)
    try:
        config = load_for_command(options.config)
    except ConfigError as error:
        log.fatal(str(error))
    name, url, token = options.get("name"), options.get("url"), options.get("token")
    system = system_id(options.config)
    kept, asked, bad = [], 0, 0
    for runner in config.runners:
        same = runner["token"] == token and (
            not url or runner["url"].rstrip("/") == url.rstrip("/")
        )
        if (not (name or url or token)) or (name and runner.get("name") == name) or same:
            asked += 1
            if Api(runner).verify(system) is None:
                bad += 1
                continue
        kept.append(runner)
    if (name or url or token) and not asked:
        log.fatal("no runner matches the filtering parameters")
    if not bad:
        return
    if not options.on("delete"):
        log.fatal("Failed to verify runners")
    config.runners[:] = kept
    config.save(options.config)
    log.info(f"Updated {options.config}")


def do_list(options: Options) -> None:
    """List the runners, tokens and all, on stderr."""
    try:
        config = load_for_command(options.config)
    except ConfigError as error:
        log.warning(str(error))
        return
    system_id(options.config)
    log.info("Listing configured runners", ConfigFile=options.config)
    for runner in config.runners:
        log.info(
            str(runner.get("name", "")),
            Executor=runner.get("executor", ""),
            Token=runner["token"],
            URL=runner["url"],
        )


def do_unregister(options: Options) -> None:
    """Unregister one runner or all."""
    user_mode_warning(with_run=False)
    try:
        config = load_for_command(options.config)
    except ConfigError as error:
        log.fatal("failed to unregister runner", error=error)
    system = system_id(options.config)
    before = len(config.runners)
    if options.on("all-runners"):
        log.warning("Unregistering all runners")
        kept = [item for item in config.runners if not Api(item).unregister(system)]
        if kept:
            log.error("Failed to unregister runners")
    else:
        runner = find_runner(options, config)
        if not Api(runner).unregister(system):
            log.fatal(
                "failed to unregister runner",
                error="unregister runner: failed to "
                f"unregister runner {json.dumps(options.get('name'))}",
            )
        same = (runner["url"], runner["token"])
        kept = [item for item in config.runners if (item["url"], item["token"]) != same]
    if len(kept) == before:
        return
    config.runners[:] = kept
    config.save(options.config)
    log.info(f"Updated {options.config}")


def find_runner(options: Options, config: Config) -> dict[str, Any]:
    """Return the one runner that name and token select, or exit 1."""
    name, token = options.get("name"), options.get("token")
    if not (name or token):
        log.fatal(
            "failed to unregister runner",
            error="unregister runner: at least one of --name or --token must be specified",
        )
    found = [
        item
        for item in config.runners
        if (not name or item.get("name") == name) and (not token or item["token"] == token)
    ]
    if not found:
        log.fatal(
            "failed to unregister runner",
            error="unregister runner: get runner by token or name: could not find a runner",
        )
    return found[0]


def do_reset_token(options: Options) -> None:
    """Give runners new tokens."""
    user_mode_warning(with_run=True)
    try:
        config = load_for_command(options.config)
    except ConfigError as error:
        log.fatal("Failed to load configuration", error=error)
    system_id(options.config)
    if options.on("all-runners"):
        log.warning("Resetting all runner authentication tokens")
        for runner in config.runners:
            if not Api(runner).reset(options.get("pat")):
                log.error("Failed to reset runner authentication token", name=runner.get("name"))
    else:
        name, url, number = options.get("name"), options.get("url"), options.get("id", "0")
        runner_ = next(
            (
                item
                for item in config.runners
                if (
                    item.get("name") == name
                    if name
                    else item["url"] == url and str(item.get("id", 0)) == number
                )
            ),
            None,
        )
        if runner_ is None:
            log.fatal("Couldn't get runner credentials", error="could not find a runner")
        if not Api(runner_).reset(options.get("pat")):
            log.fatal("Failed to reset runner authentication token", id=number, name=name)
    config.save(options.config)
    now = datetime.now().strftime("%Y/%m/%d %H:%M:%S")
    print(f"{now} Updated", file=sys.stderr)


# --- the service ---------------------------------------------------------------------------------


def systemd_escape(word: str) -> str:
    """Escape a path in a unit file as the service library does."""
    return word.replace(" ", r"\x20")


def run_arguments(options: Options) -> list[str]:
    """Return the arguments that ``install`` gives the service's program."""
    arguments = ["run", "--config", options.config]
    arguments += ["--working-directory", options.get("working-directory", os.getcwd())]
    arguments += ["--service", options.get("service", NAME)]
    if options.on("syslog"):
        arguments.append("--syslog")
    if user := options.get("user"):
        arguments += ["--user", user]
    return arguments


def unit_text(options: Options) -> str:
    """Return the unit file that ``install`` writes."""
    service = options.get("service", NAME)
    binary = os.path.realpath(sys.argv[0])
    arguments = run_arguments(options)
    quoted = " ".join(
        '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"' for word in arguments
    )
    init_user = options.get("init-user")
    return (
        "[Unit]\n"
        "Description=GitLab Runner\n"
        f"ConditionFileIsExecutable={systemd_escape(binary)}\n"
        " \nAfter=network.target \n"
        "\n[Service]\n"
        "StartLimitInterval=5\n"
        "StartLimitBurst=10\n"
        f"ExecStart={systemd_escape(binary)} {quoted}\n"
        f"\n\n{f'User={init_user}' if init_user else ''}\n\n\n\n\n"
        "Restart=always\n"
        "\n"
        "RestartSec=120\n"
        f"EnvironmentFile=-/etc/sysconfig/{service}\n"
        "\n[Install]\n"
        "WantedBy=multi-user.target\n"
    )


def systemctl(*words: str) -> tuple[int, str, str]:
    """Run systemctl; the words of the real one where there is none."""
    try:
        done = subprocess.run(
            ["systemctl", *words], capture_output=True, text=True, timeout=7300, check=False
        )
    except FileNotFoundError:
        log.fatal('exec: "systemctl": executable file not found in $PATH')
    return done.returncode, done.stdout.strip(), done.stderr.strip()


def checked_systemctl(action: str, service: str, *words: str) -> None:
    """Run systemctl and exit 1 when it fails."""
    code, _, error = systemctl(*words)
    if code:
        log.fatal(f'Failed to {action} {service}: "systemctl" failed with stderr: {error}')


def is_systemd() -> bool:
    """Tell whether the service library takes this for a systemd machine (its isSystemd)."""
    if os.path.exists("/run/systemd/system"):
        return True
    if not shutil.which("systemctl"):
        return False
    with contextlib.suppress(OSError), open("/proc/1/comm", encoding="utf-8") as file:
        return file.read().strip() == "systemd"
    return False


SYSV_SCRIPT = """\
#!/bin/sh
cmd='{command}'
pid_file=/var/run/{service}.pid
is_running() {{
  [ -f "$pid_file" ] && cat "/proc/$(cat "$pid_file")/stat" >/dev/null 2>&1
}}
case "$1" in
  start) is_running || {{ $cmd >>/var/log/{service}.log 2>&1 & echo $! >"$pid_file"; }} ;;
  stop) if is_running; then kill "$(cat "$pid_file")"; fi ;;
  status) if is_running; then echo Running; else echo Stopped; exit 1; fi ;;
esac
"""
"""What the service library writes where it finds no systemd, in short."""


def do_sysv_service(command: str, options: Options) -> None:
    """Manage the service as the library does where it finds no systemd."""
    service = options.get("service", NAME)
    path = f"/etc/init.d/{service}"
    if command == "install":
        if os.path.lexists(path):
            log.fatal(f"Failed to install {service}: Init already exists: {path}")
        words = [os.path.realpath(sys.argv[0]), *run_arguments(options)]
        text = SYSV_SCRIPT.format(command=" ".join(words), service=service)
        write_service_file(service, path, text, 0o755)
        links = [f"/etc/rc{level}.d/S50{service}" for level in "2345"]
        links += [f"/etc/rc{level}.d/K02{service}" for level in "016"]
        for link in links:
            with contextlib.suppress(OSError):
                os.symlink(path, link)
    elif command == "uninstall":
        try:
            os.remove(path)
        except OSError as error:
            log.fatal(f"Failed to uninstall {service}: remove {path}: {error.strerror}")
    else:
        done = subprocess.run(["service", service, command], capture_output=True, check=False)
        if command == "status" and done.returncode:
            known = os.path.exists(path)
            words = ["Service has stopped" if known else "the service is not installed"]
            print(f"{service}: {words[0]}", file=sys.stderr)
        if done.returncode:
            sys.exit(1)


def save_first_config(options: Options) -> None:
    """Save a configuration without runners where there is none, as ``install`` does."""
    try:
        config = Config.load(options.config)
        if not os.path.exists(options.config):
            config.save(options.config)
    except (ConfigError, OSError) as error:
        log.fatal(f"Failed to install {options.get('service', NAME)}: {error}")


def write_service_file(service: str, path: str, text: str, mode: int) -> None:
    """Write a unit or an init script."""
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, mode)
    except OSError as error:
        words = (error.strerror or str(error)).lower()
        log.fatal(f"Failed to install {service}: open {path}: {words}")


def do_service(command: str, options: Options) -> None:
    """Manage the service."""
    if command == "install":
        save_first_config(options)
    if shutil.which("systemctl") and not is_systemd():
        do_sysv_service(command, options)
        return
    service = options.get("service", NAME)
    unit = f"{service}.service"
    path = f"/etc/systemd/system/{unit}"
    if command == "install":
        if options.get("user") and options.get("init-user"):
            log.fatal("Only one of 'user' or 'init-user' can be specified.")
        systemctl("--version")
        if os.path.lexists(path):
            log.fatal(f"Failed to install {service}: Init already exists: {path}")
        write_service_file(service, path, unit_text(options), 0o644)
        checked_systemctl(command, service, "enable", unit)
        checked_systemctl(command, service, "daemon-reload")
    elif command == "uninstall":
        checked_systemctl(command, service, "disable", unit)
        try:
            os.remove(path)
        except OSError as error:
            log.fatal(f"Failed to uninstall {service}: remove {path}: {error.strerror}")
        checked_systemctl(command, service, "daemon-reload")
    elif command == "status":
        do_status(service, unit)
    else:
        checked_systemctl(command, service, command, unit)


def do_status(service: str, unit: str) -> None:
    """Print the service's state; exit 1 unless it runs (activating counts as running)."""
    _, state, _ = systemctl("is-active", unit)
    if state in ("active", "activating"):
        print(f"{service}: Service is running")
        return
    _, known, _ = systemctl("list-unit-files", "-t", "service", unit)
    words = "Service has stopped" if unit in known else "the service is not installed"
    print(f"{service}: {words}", file=sys.stderr)
    sys.exit(1)


def print_version() -> None:
    """Print the version's lines."""
    for name, value in (
        ("Version", VERSION),
        ("Git revision", REVISION),
        ("Git branch", "stand-in"),
        ("GO version", "none"),
        ("Built", BUILT),
        ("OS/Arch", f"linux/{ARCH}"),
    ):
        print(f"{name + ':':<14}{value}")


def die_of_signal(number: int, _frame: object) -> NoReturn:
    """End as Go's runtime does of a signal that nobody asked for: with a dump of its goroutines."""
    # Not by sys.stderr: a line of the log may be under way there.
    os.write(2, f"{signal.Signals(number).name}\n\ngoroutine 1 [running]:\n".encode())
    os._exit(2)


def run_command(command: str, options: Options) -> None:
    """Run one command."""
    if command == "run":
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
            signal.signal(number, die_of_signal)
        daemon = Daemon(
            {
                "config": options.config,
                **{
                    key: options.get(key) for key in ("user", "working-directory", "listen-address")
                },
            }
        )
        daemon.run()
    simple: dict[str, Callable[[Options], None]] = {
        "register": do_register,
        "verify": do_verify,
        "list": do_list,
        "unregister": do_unregister,
        "reset-token": do_reset_token,
    }
    helpers: dict[str, Callable[[dict[str, list[str]]], None]] = {
        "artifacts-uploader": artifacts_uploader,
        "artifacts-downloader": artifacts_downloader,
        "cache-archiver": cache_archiver,
        "cache-extractor": cache_extractor,
    }
    if command in simple:
        simple[command](options)
    elif command in helpers:
        helpers[command](options.lists)
    else:
        do_service(command, options)


def main(words: list[str]) -> int:
    """Run the program; the exit code is 1 for whatever goes wrong."""
    log.format = os.environ.get("LOG_FORMAT", log.format)
    if level := os.environ.get("LOG_LEVEL"):
        log.set_level(level)
    while words and words[0].startswith("-"):
        name, has_value, value = words.pop(0).lstrip("-").partition("=")
        if name in ("version", "v"):
            print_version()
            return 0
        if name in ("log-format", "log-level", "l"):
            value = value if has_value else (words.pop(0) if words else "")
            if name == "log-format":
                log.format = value
            elif not log.set_level(value):
                log.fatal(f'not a valid logrus Level: "{value}"')
        elif name not in ("debug", "help", "h"):
            log.fatal(f"flag provided but not defined: -{name}")
    if log.format not in ("runner", "text", "json"):
        log.fatal(f'unknown log format "{log.format}", expected one of: [runner text json]')
    if not words or words[0] in ("help", "h"):
        print("Commands: " + " ".join(COMMANDS))
        return 0
    command, rest = words[0], words[1:]
    if command not in COMMANDS:
        log.fatal(f"Command {command} not found.")
    try:
        options = Options(COMMANDS[command], rest)
    except UsageError as error:
        print(f"Incorrect Usage: {error}\n")
        log.fatal(str(error))
    log.info(
        "Runtime platform",
        arch=ARCH,
        os="linux",
        pid=os.getpid(),
        revision=REVISION,
        version=VERSION,
    )
    try:
        run_command(command, options)
    except PanicError:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
