# SPDX-License-Identifier: GPL-3.0-or-later
"""Protected branches and tags at a push: what it would change, and a hook that refuses it.

GitLab refuses in a hook, so that git shows its words and "pre-receive hook declined".
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from standins.gitlab.protection import REWRITTEN, ZEROS, Change, keeps_commits, refusals
from standins.gitlab.records import Project
from standins.gitlab.store import Store

# Whether commits are lost only the hook can tell: it sees those that are pushed.
_HOOK = f"""\
#!/bin/sh
if [ -n "$LAB_REFUSAL" ]; then
  echo "GitLab: $LAB_REFUSAL" >&2
  exit 1
fi
while read -r before after ref; do
  case " $LAB_KEEPS_COMMITS " in
  *" $ref "*)
    git merge-base --is-ancestor "$before" "$after" && continue
    echo "GitLab: {REWRITTEN}" >&2
    exit 1
    ;;
  esac
done
"""


def commands(body: IO[bytes], encoding: str) -> tuple[list[Change], list[str]]:
    """Return what a push asks for, and its options, from its body (git docs, pack protocol)."""
    stream = gzip.GzipFile(fileobj=body) if encoding in ("gzip", "x-gzip") else body
    found, options = [], False
    for line in _lines(stream):
        asked, _, able = line.partition("\0")
        options |= "push-options" in able.split()
        words = asked.split()
        if len(words) == 3:
            found.append(Change(words[2], words[0], words[1]))
    return found, list(_lines(stream)) if options else []


def _lines(stream: IO[bytes] | gzip.GzipFile) -> Iterator[str]:
    """The lines up to the next flush packet."""
    while (size := stream.read(4)) not in (b"", b"0000"):
        yield stream.read(int(size, 16) - 4).decode("utf-8", "replace").rstrip("\n")


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[Change]:
    """Return what has changed from refs to refs."""
    return [
        Change(ref, before.get(ref, ZEROS), after.get(ref, ZEROS))
        for ref in sorted({*before, *after})
        if before.get(ref) != after.get(ref)
    ]


def environment(
    store: Store, project: Project, changes: Sequence[Change], level: int
) -> dict[str, str]:
    """Return the environment of git in which the hook refuses what this level may not."""
    settings = {
        "core.hooksPath": str(_hooks(store.root)),
        # Those of pipelines.
        "receive.hideRefs": "refs/pipelines",
        "receive.advertisePushOptions": "true",
    }
    kept = [one.ref for one in changes if keeps_commits(store, project, one)]
    return {
        "LAB_REFUSAL": next(refusals(store, project, changes, level), ""),
        "LAB_KEEPS_COMMITS": " ".join(kept),
        "GIT_CONFIG_COUNT": str(len(settings)),
        **dict(_numbered(settings)),
    }


def _numbered(settings: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for number, (key, value) in enumerate(settings.items()):
        yield f"GIT_CONFIG_KEY_{number}", key
        yield f"GIT_CONFIG_VALUE_{number}", value


def _hooks(root: Path) -> Path:
    """The folder of the hook."""
    hook = root / "hooks" / "pre-receive"
    if not hook.exists() or hook.read_text() != _HOOK:
        hook.parent.mkdir(mode=0o700, exist_ok=True)
        hook.write_text(_HOOK)
        hook.chmod(0o700)
    return hook.parent
