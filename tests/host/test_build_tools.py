# SPDX-License-Identifier: GPL-3.0-or-later
"""Compilers, cmake and ninja are there and work."""

from __future__ import annotations

from typing import Any


def test_package_is_installed(installed: dict[str, str], package: str) -> None:
    name = package.partition("=")[0]
    assert name in installed, f"package {name}: expected installed, found nothing"


def test_a_c_file_compiles_and_runs(host: Any) -> None:
    script = (
        "d=$(mktemp -d) && trap 'rm -rf $d' EXIT && cd $d && "
        "echo 'int main(void){return 7;}' > a.c && cc a.c -o a; ./a"
    )
    done = host.run(script)
    said = (done.stderr.strip().splitlines() or [f"exit code {done.rc}"])[-1]
    assert done.rc == 7, f"a C program: expected to compile and run, found {said}"


def test_cmake_finds_ninja(host: Any) -> None:
    for name, version in (("cmake", "cmake version"), ("ninja", r".")):
        done = host.run(f"{name} --version")
        said = (done.stderr or done.stdout or "no output").strip().splitlines()[-1]
        told = f"{name}: expected to run, found {said}"
        assert done.rc == 0, told
        assert version in done.stdout, told
