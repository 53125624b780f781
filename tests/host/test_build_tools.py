"""Compilers, cmake and ninja are there and work."""

from __future__ import annotations

from typing import Any


def test_package_is_installed(installed: dict[str, str], package: str) -> None:
    assert package.partition("=")[0] in installed


def test_a_c_file_compiles_and_runs(host: Any) -> None:
    script = (
        "d=$(mktemp -d) && trap 'rm -rf $d' EXIT && cd $d && "
        "echo 'int main(void){return 7;}' > a.c && cc a.c -o a; ./a"
    )
    assert host.run(script).rc == 7


def test_cmake_finds_ninja(host: Any) -> None:
    assert "cmake version" in host.check_output("cmake --version")
    assert host.check_output("ninja --version").count(".") >= 2
