# SPDX-License-Identifier: GPL-3.0-or-later
"""Small projects of users, each in a git repository."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

SOURCE = """
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include "answer.h"
static PyObject *answer(PyObject *self, PyObject *unused) { return PyLong_FromLong(ANSWER); }
static PyMethodDef methods[] = {{"answer", answer, METH_NOARGS, "The answer."}, {NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_native", NULL, -1, methods};
PyMODINIT_FUNC PyInit__native(void) { return PyModule_Create(&module); }
"""


@dataclass
class Project:
    """A project's folder."""

    folder: Path

    def write(self, name: str, text: str) -> None:
        """Writes a file."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text).lstrip())

    def commit(self, tag: str = "") -> Project:
        """Commits all files."""
        person = ("-c", "user.name=A", "-c", "user.email=a@example.com")
        self.git("init", "-q", "-b", "main")
        self.git("add", "-A")
        self.git(*person, "commit", "-q", "--allow-empty", "-m", "A project")
        if tag:
            self.git("tag", tag)
        return self

    def git(self, *words: str) -> str:
        """Runs git here; its output."""
        argv = ["git", "-C", str(self.folder), *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    def pyproject(self, name: str, version: str, more: str = "") -> None:
        """The project's settings, with setuptools as build backend."""
        self.write(
            "pyproject.toml",
            f"""
            [build-system]
            requires = ["setuptools>=77"]
            build-backend = "setuptools.build_meta"

            [project]
            name = "{name}"
            version = "{version}"
            description = "A project"
            readme = "README.rst"
            requires-python = ">=3.9"
            {more}
            [tool.setuptools]
            package-dir = {{"" = "src"}}
            """.replace("\n            ", "\n"),
        )
        self.write("README.rst", f"{name}\n{'=' * len(name)}\n\nA project.\n")
        self.write(".gitignore", "dist/\nbuild/\n*.egg-info/\n")

    def tests(self, name: str, expression: str) -> None:
        """Tests that know where the package was imported from."""
        self.write(
            "tests/test_it.py",
            f"""
            import unittest
            import {name}

            class It(unittest.TestCase):
                def test_installed(self):
                    self.assertIn("site-packages", {name}.__file__)
                    self.assertEqual({expression}, 42)
            """,
        )

    def pure(self, name: str, version: str, dependency: str = "") -> Project:
        """A project without compiled code."""
        more = f'dependencies = ["{dependency}"]\n' if dependency else ""
        self.pyproject(name.replace("_", "-"), version, more)
        self.write(f"src/{name}/__init__.py", "ANSWER = 42\n")
        self.tests(name, f"{name}.ANSWER")
        return self.commit()

    def compiled(self, name: str, version: str, abi3: bool = False) -> Project:
        """A project with a C extension and a header, for one Python or for the stable ABI."""
        self.pyproject(name.replace("_", "-"), version)
        self.write(f"src/{name}/__init__.py", "from ._native import answer\n")
        self.write(f"src/{name}/answer.h", "#define ANSWER 42\n")
        self.write(f"src/{name}/native.c", SOURCE)
        self.write("MANIFEST.in", "include src/*/*.h\n")
        extension = f'"{name}._native", ["src/{name}/native.c"], depends=["src/{name}/answer.h"]'
        options = ""
        if abi3:
            extension += ', py_limited_api=True, define_macros=[("Py_LIMITED_API", "0x03090000")]'
            options = ', options={"bdist_wheel": {"py_limited_api": "cp39"}}'
        self.write(
            "setup.py",
            f"""
            from setuptools import Extension, setup

            setup(ext_modules=[Extension({extension})]{options})
            """,
        )
        self.tests(name, f"{name}.answer()")
        return self.commit()
