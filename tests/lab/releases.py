# SPDX-License-Identifier: GPL-3.0-or-later
"""A host before and after the upgrade of its system: what it has, what it is, what is wrong."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from lab.platforms import PLATFORMS
from tests.lab.site import Site

PYTHONS = ["3.9", "3.11", "3.13"]
"""What the new release's host has; the second was the old one's own, the third is the new one's."""
HOME = "/home/gitlab-runner"
EXTENSION = """\
#include <Python.h>
static struct PyModuleDef here = {PyModuleDef_HEAD_INIT, "here", 0, -1, 0};
PyMODINIT_FUNC PyInit_here(void) { return PyModule_Create(&here); }
"""


def make_venvs(site: Site) -> None:
    """Four, as jobs keep them: of the system's Python by its two names, and two of another."""
    site.sh(
        f"cat > /tmp/here.c <<'X'\n{EXTENSION}X\n"
        "cat > /tmp/where.py <<'X'\n"
        "import site, sysconfig\nprint(site.getsitepackages()[0], sysconfig.get_path('include'))\n"
        "X\n"
        "sudo -u gitlab-runner -H bash -euc '\n"
        "cd; python3 -m venv --without-pip own; python3.11 -m venv --without-pip v3.11\n"
        "python3.9 -m venv --without-pip v3.9; python3.9 -m venv v3.9-pip\n"
        "for venv in v3.9 v3.11; do\n"
        "  read -r site include < <($venv/bin/python /tmp/where.py)\n"
        "  cc -shared -fPIC -I $include -o $site/here.so /tmp/here.c\n"
        '  $venv/bin/python -c "import here"\n'
        "done'"
    )


def identity(site: Site) -> dict[str, Any]:
    """What the runner is, on the host and in GitLab."""
    config = site.sh("cat /etc/gitlab-runner/config.toml")
    (number,) = re.findall(r"(?m)^ *id = (\d+)", config)
    with site.gitlab() as gitlab:
        managers = [one["system_id"] for one in gitlab.managers(int(number))]
        known = sorted(one["id"] for one in gitlab.api("GET", "/runners/all?per_page=100"))
    return {
        "id": number,
        "token": re.findall(r'(?m)^ *token = "([^"]+)"', config),
        "system": site.sh("cat /etc/gitlab-runner/.runner_system_id"),
        "managers": managers,
        "all runners": known,
    }


def files(site: Site) -> str:
    """The service's files, with their digests."""
    return site.sh(
        "find /etc -type f '(' -name '*runnerhost*' -not -path '/etc/apt/*' "
        "-o -path '/etc/gitlab-runner/*' -o -name gitlab-runner.service ')' | sort | "
        "xargs sha256sum"
    )


@dataclass(frozen=True)
class Host:
    """A host to be upgraded, or upgraded, and what was so before."""

    site: Site
    identity: dict[str, Any]
    files: str

    @classmethod
    def of(cls, site: Site) -> Host:
        """As it is now."""
        return cls(site, identity(site), files(site))


def heals(site: Site) -> None:
    """One run does what check mode says, the next nothing, and the host is as it should be."""
    predicted = site.changes("site.yml", "--check")
    assert predicted
    done = site.changes("site.yml")
    only = sorted(predicted - done), sorted(done - predicted)
    assert predicted == done, f"said and not done: {only[0]}; done and not said: {only[1]}"
    second = site.playbook("site.yml")
    assert second.code == 0, second.output
    assert second.counts()["changed"] == 0, second.output
    verified = site.playbook("verify.yml")
    assert verified.code == 0, verified.output


NEWER = "3.13.99-1+jammy1"
FAMILY = "python3.13 python3.13-minimal libpython3.13-minimal libpython3.13-stdlib"
# The new release's own files under a higher version, and without the script that would run them:
# they need its newer libraries, which come with the upgrade.
_NEWER_PYTHON = f"""\
set -euo pipefail; exec 2>&1
export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
if ! test -e /srv/ppa/Packages; then
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' \
  'Codename: {PLATFORMS["jammy"].debian}' | sed -n 1p)
mkdir -p /srv/ppa /tmp/newer/lists/partial; chmod -R 755 /tmp/newer; cd /tmp/newer
echo "deb $mirror {PLATFORMS["noble"].debian} main" > next.list
next="-o Dir::Etc::sourcelist=/tmp/newer/next.list -o Dir::Etc::sourceparts=/dev/null
  -o Dir::State::lists=/tmp/newer/lists -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache="
apt-get $next -q update
apt-get $next -q download {FAMILY}
for deb in *.deb; do
  dpkg-deb -R $deb tree; version=$(dpkg-deb -f $deb Version)
  sed -i -e "s/$version/{NEWER}/g" -e '/Depends:/{{s/ (>=[^)]*)//g; s/t64//g}}' tree/DEBIAN/control
  rm -f tree/DEBIAN/p{{re,ost}}{{inst,rm}}
  dpkg-deb -Zgzip -z1 -b tree /srv/ppa; rm -r tree
done
cd /srv/ppa; rm -r /tmp/newer
dpkg-scanpackages -m . > Packages
sum=$(sha256sum Packages); size=$(stat -c %s Packages)
printf '%s\n' 'Origin: LP-PPA-newer' 'Suite: jammy' 'Codename: jammy' SHA256: \
  " ${{sum%% *}} $size Packages" > Release
fi
echo 'deb [trusted=yes] file:/srv/ppa ./' > /etc/apt/sources.list.d/newer-python.list
apt-get -q update
apt-get -q -y install {FAMILY}
"""


def newer_python(site: Site) -> None:
    """A PPA's build of what the next release has as its own, with a higher version."""
    site.sh(_NEWER_PYTHON)


def has(site: Site, package: str) -> str:
    """A package's version; empty unless it is installed."""
    said = site.sh(f"dpkg-query -W -f '${{db:Status-Abbrev}}${{Version}}' {package} || true")
    return said.removeprefix("ii ") if said.startswith("ii ") else ""
