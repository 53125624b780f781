# SPDX-License-Identifier: GPL-3.0-or-later
"""PyPI's rules of upload (warehouse/forklift/legacy.py), in its order.

Not checked, and twine does so before each upload: whether the description renders; the framing of
ZIP archives; the list of classifiers.
"""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field

from packaging.metadata import InvalidMetadata, Metadata
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from standins.index.refusals import Refusal, said
from standins.index.store import File, Project, Projects, normal
from standins.index.tokens import Token

METADATA_VERSIONS = ("1.0", "1.1", "1.2", "2.0", "2.1", "2.2", "2.3", "2.4", "2.5")
RELEASE_DAYS = 14
LARGEST = 100 << 20
_EXTENSIONS = {"sdist": (".tar.gz", ".zip"), "bdist_wheel": (".whl",)}
_PLATFORMS = {
    "any", "win32", "win_arm64", "win_amd64", "win_ia64", "linux_armv6l", "linux_armv7l",
    "manylinux1_x86_64", "manylinux1_i686", "manylinux2010_x86_64", "manylinux2010_i686",
    *(f"manylinux2014_{arch}" for arch in
      ("x86_64", "i686", "aarch64", "armv7l", "ppc64", "ppc64le", "s390x")),
}  # fmt: skip
_LINUX = "x86_64|i686|aarch64|armv7l|ppc64le|s390x|riscv64"
_MAC = "ppc|ppc64|i386|x86_64|arm64|intel|fat|fat3|fat64|universal|universal2"
_PLATFORM = re.compile(
    rf"manylinux_\d+_\d+_({_LINUX}|ppc64)|musllinux_\d+_\d+_({_LINUX})"
    rf"|macosx_10_\d+_({_MAC})|macosx_(11|12|13|14|15|26)_0_({_MAC})"
    r"|ios_\d+_\d+_(arm64|x86_64)_(iphoneos|iphonesimulator)"
    r"|android_\d+_(armeabi_v7a|arm64_v8a|x86|x86_64)"
)


@dataclass
class Rules:
    """An index with PyPI's rules.

    Attributes:
        help: the address of its help page, for its words.
        read_only: whether it takes no uploads now.
    """

    help: str
    projects: Projects = field(default_factory=Projects)
    tokens: dict[str, Token] = field(default_factory=dict)
    read_only: bool = False

    def refuse(self, name: str, **values: object) -> Refusal:
        """A refusal of this index."""
        return Refusal("pypi", name, help=self.help, **values)

    def upload(
        self, login: tuple[str, str] | None, form: Mapping[str, str], filename: str, content: bytes
    ) -> bool:
        """Takes a file; whether it is a new one. Raises Refusal."""
        if self.read_only:
            raise self.refuse("read_only")
        token = self.tokens.get(login[1]) if login and login[0] == "__token__" else None
        if token is None:
            raise self.refuse("no_identity")
        if form.get("protocol_version", "1") != "1":
            raise self.refuse("protocol")
        self._check_form(form)
        name, version = self._metadata(form)
        if not filename:
            raise self.refuse("no_file")
        with self.projects.lock:
            project = self._project(name, token)
            self._check_filename(form["filetype"], filename)
            file = self._file(form, filename, content, version)
            if self._is_there(project, file, form):
                return False
            _Contents(self, project.name, version, file).check()
            if "attestations" in form and token.user:
                raise self.refuse("attestations")
            project.add(file)
            self.projects.keep(project)
        return True

    def _check_form(self, form: Mapping[str, str]) -> None:
        if form.get("filetype") not in _EXTENSIONS:
            raise self.refuse("filetype")
        if not any(form.get(f"{kind}_digest") for kind in ("md5", "sha256", "blake2_256")):
            raise self.refuse("no_digest")

    def _metadata(self, form: Mapping[str, str]) -> tuple[str, Version]:
        """Name and version."""
        stated = form.get("metadata_version", "")
        about = {"metadata_version": "2.1" if stated == "2.0" else stated}
        about |= {key: form[key] for key in ("name", "version") if form.get(key)}
        if stated not in METADATA_VERSIONS:
            words = said("pypi", "metadata_version", version=stated)
            raise self.refuse("metadata", error=words)
        try:
            known = Metadata.from_raw(about, validate=True)  # type: ignore[arg-type]
        # An ExceptionGroup, by whatever name this Python has it.
        except Exception as group:
            found = getattr(group, "exceptions", ())
            errors = [one for one in found if isinstance(one, InvalidMetadata)]
            order = ("metadata-version", "name", "version")
            first = min(errors, key=lambda one: order.index(one.field))
            raise self.refuse("metadata", error=str(first).rstrip(".")) from None
        if known.version.local:
            words = said("pypi", "local_version", version=known.version)
            raise self.refuse("metadata", error=words)
        return known.name, known.version

    def _project(self, name: str, token: Token) -> Project:
        """The project, which may be a new one, if the token is good for it."""
        project = self.projects.find(name)
        if project is None and not token.user:
            raise self.refuse("no_user")
        project = project or Project(name, token.user)
        if token.expires and time.time() >= token.expires:
            raise self.refuse("invalid_token", reason=said("pypi", "expired"))
        if token.projects and normal(name) not in token.projects:
            words = said("pypi", "other_project", project=project.name)
            if not token.user:
                words = f"{said('pypi', 'other_publisher', project=project.name)}, {words}"
            raise self.refuse("invalid_token", reason=words)
        if token.user and project.owner != token.user:
            raise self.refuse("not_yours", user=token.user, project=project.name)
        return project

    def _check_filename(self, filetype: str, filename: str) -> None:
        if "/" in filename or "\\" in filename:
            raise self.refuse("path_separator")
        found = re.search(r"\.(tar\.gz|zip|whl)$", filename, re.I)
        if not found:
            raise self.refuse("no_extension")
        if found[0] not in _EXTENSIONS[filetype]:
            raise self.refuse("extension", extension=found[0], filetype=filetype)

    def _file(
        self, form: Mapping[str, str], filename: str, content: bytes, version: Version
    ) -> File:
        file = File(
            filename, form["filetype"], str(version), content, form.get("requires_python", "")
        )
        if len(content) > LARGEST:
            raise self.refuse("too_large", project=form["name"], limit=LARGEST >> 20)
        found = {"sha256": file.sha256, "blake2_256": file.blake2,
                 "md5": hashlib.md5(content, usedforsecurity=False).hexdigest()}  # fmt: skip
        for kind, digest in found.items():
            if form.get(f"{kind}_digest", digest).lower() != digest:
                raise self.refuse("digest")
        return file

    def _is_there(self, project: Project, file: File, form: Mapping[str, str]) -> bool:
        """Whether the same file is there already; refuses another one of that name."""
        twins = (self.projects.file(file.name), *(
            one for other in self.projects.named.values() for one in other.files.values()
            if one.blake2 == file.blake2
        ))  # fmt: skip
        there = next((one for one in twins if one), None)
        if there and (there.name, there.blake2) == (file.name, file.blake2):
            return True
        if there:
            raise self.refuse("exists", filename=file.name, blake2=file.blake2)
        if any(file.name in one.used for one in self.projects.named.values()):
            raise self.refuse("name_used")
        same = [one for one in project.files.values() if one.version == file.version]
        if file.kind == "sdist" and any(one.kind == "sdist" for one in same):
            raise self.refuse("second_sdist")
        created = project.created.get(file.version)
        if created is not None and time.time() - created > RELEASE_DAYS * 86400:
            raise self.refuse("too_old")
        return False

    def delete(self, name: str, filename: str) -> None:
        """Deletes a file, as its owner may do in the browser."""
        project = self.projects.find(name)
        assert project
        del project.files[filename]


@dataclass
class _Contents:
    """The checks of what is in a file."""

    rules: Rules
    project: str
    version: Version
    file: File

    def check(self) -> None:
        """Raises Refusal."""
        if self.file.kind == "sdist":
            self._check_sdist()
        else:
            self._check_wheel()

    def _invalid(self, reason: str) -> Refusal:
        return self.rules.refuse("invalid_file", reason=reason)

    def _check_sdist(self) -> None:
        try:
            with tarfile.open(fileobj=io.BytesIO(self.file.content), mode="r:gz") as archive:
                names = archive.getnames()
        except (tarfile.TarError, EOFError, OSError):
            raise self._invalid("File is not a tarfile") from None
        tops = {name.partition("/")[0] for name in names}
        if len(tops) != 1 or tops & {".", ""}:
            raise self._invalid("Incorrect number of top-level directories in sdist")
        target = f"{tops.pop()}/PKG-INFO"
        if target not in names:
            raise self._invalid(f"PKG-INFO not found at {target}")
        stem = canonicalize_name(self.project).replace("-", "_")
        expected = f"{stem}-{self.version}.tar.gz"
        if canonicalize_name(self.file.name.rpartition("-")[0]) != canonicalize_name(self.project):
            raise self.rules.refuse("start_with", project=self.project, expected=stem)
        if self.file.name != expected:
            raise self.rules.refuse("sdist_name", filename=self.file.name, expected=expected)

    def _check_wheel(self) -> None:
        names = self._wheel_names()
        filename = self.file.name
        try:
            name, version, __, tags = parse_wheel_filename(filename)
        except InvalidWheelFilename as error:
            raise self.rules.refuse("wheel_filename", error=error) from None
        for tag in sorted(tags, key=str):
            if tag.platform not in _PLATFORMS and not _PLATFORM.fullmatch(tag.platform):
                raise self.rules.refuse("platform", filename=filename, platform=tag.platform)
        stem = canonicalize_name(self.project).replace("-", "_")
        if name != canonicalize_name(self.project):
            raise self.rules.refuse("start_with", project=self.project, expected=stem)
        found = filename.partition("-")[0]
        if found != stem:
            raise self.rules.refuse("wheel_name", filename=filename, expected=stem, found=found)
        if version != self.version:
            raise self.rules.refuse("wheel_version", expected=str(self.version), found=str(version))
        about = f"{'-'.join(filename.split('-')[:2])}.dist-info"
        for file, rule in (("RECORD", "no_record"), ("METADATA", "no_metadata")):
            if f"{about}/{file}" not in names:
                raise self.rules.refuse(rule, filename=filename, expected=f"{about}/{file}")

    def _wheel_names(self) -> list[str]:
        try:
            with zipfile.ZipFile(io.BytesIO(self.file.content)) as archive:
                kinds = {one.compress_type for one in archive.infolist()}
                names = archive.namelist()
        except zipfile.BadZipFile:
            raise self._invalid("File is not a zipfile") from None
        if kinds - {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise self._invalid("File does not use a supported compression type")
        parts = self.file.name.split("-", 2)
        if len(parts) < 3:
            raise self._invalid("Unable to parse name and version from wheel filename")
        wheel = f"{parts[0]}-{parts[1]}.dist-info/WHEEL"
        if wheel not in names:
            raise self._invalid(f"WHEEL not found at {wheel}")
        return names
