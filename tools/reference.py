# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes docs/roles.md and the roles' READMEs from their argument specs, and docs/symptoms.md.

Usage: python -m tools.reference
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tools.tree import ROOT, files

WHOLE_HOST = "runner_host"
TARGET = ROOT / "docs" / "roles.md"
HEAD = """\
# Roles

<!-- Written by `python -m tools.reference` from roles/*/meta/argument_specs.yml: edit those. -->

`runner_host` converges the whole host. It runs the other roles in this order, each with its name as
a tag; `network_access` runs with every tag. You can use each of them alone
(`runnerhost.toolkit.NAME`). `gitlab_project` and `release_pipeline` work in GitLab and on no host.
The [example inventory](../inventories/example/group_vars/runner_hosts/main.yml) sets the variables.

An entry point of a role is what `tasks_from` names. It takes the variables of the role and the
options that are listed with it.

The role itself validates variables of type `raw`, because Ansible's validation would print
rejected values, which may be secrets. The first sentence of the description says which type is
expected.
"""

README_HEAD = """\
<!-- Written by `make docs` from meta/argument_specs.yml: edit that. -->
"""

SYMPTOMS = ROOT / "docs" / "symptoms.md"
SYMPTOMS_HEAD = """\
# Symptoms of a release that did not happen

<!-- Written by `make docs` from data/symptoms.yml: edit that. -->

[`make doctor`](first-release.md#when-a-release-fails) finds these by itself. `…` stands for
any name or number. Where there are several causes, the last sentence says how to tell them apart.
"""

# Ansible's markup in descriptions (Ansible docs, "Ansible markup") -> Markdown.
_CODE = re.compile(r"\b[COVEM]\(((?:[^()]|\([^()]*\))*)\)")


def reference(checkout: Path = ROOT) -> str:
    """The document's text."""
    return "\n".join([HEAD, *(_role(checkout, name) for name in role_order(checkout))])


def role_order(checkout: Path = ROOT) -> list[str]:
    """The whole host, and the roles as it plans them; one that it does not use comes last."""
    path = checkout / "roles" / WHOLE_HOST / "tasks" / "plan.yml"
    name = "ansible.builtin.import_role"
    tasks = yaml.safe_load(path.read_text(encoding="utf-8"))
    planned = [task[name]["name"].rpartition(".")[2] for task in tasks if name in task]
    specs = [path.parts[-3] for path in files("roles/*/meta/argument_specs.yml", checkout)]
    named = [name for name in (WHOLE_HOST, *planned) if name in specs]
    return named + [name for name in specs if name not in named]


def _role(checkout: Path, name: str) -> str:
    path = checkout / "roles" / name / "meta" / "argument_specs.yml"
    specs = yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"]
    main = specs.pop("main")
    parts = [f"## {name}", *_head(main)]
    parts += [_option(*item) for item in main.get("options", {}).items()]
    told = set(main.get("options", {}))
    for entry_point, spec in specs.items():
        parts += [f"### {name}: {entry_point}", *_head(spec)]
        own = {key: option for key, option in spec.get("options", {}).items() if key not in told}
        parts += [_option(*item, level=4) for item in own.items()]
        told |= set(own)
    return "\n\n".join(parts) + "\n"


def _head(spec: Mapping[str, Any]) -> list[str]:
    return [f"{_markdown(spec['short_description'])}.", _lines(spec["description"])]


def _option(name: str, option: Mapping[str, Any], level: int = 3) -> str:
    kind = str(option.get("type", "str"))
    if option.get("elements"):
        kind += f" of {option['elements']}"
    facts = [kind]
    if option.get("choices"):
        facts.append("one of " + ", ".join(f"`{choice}`" for choice in option["choices"]))
    if option.get("required"):
        facts.append("required")
    if "default" in option:
        facts.append(f"default `{_value(option['default'])}`")
    return f"{'#' * level} {name}\n\n{'; '.join(facts)}\n\n{_lines(option['description'])}"


def _value(value: Any) -> str:
    """A value as YAML writes it in one line: a text in quotes where it would be something else."""
    if isinstance(value, str):
        try:
            return value if yaml.safe_load(value) == value else json.dumps(value)
        except yaml.YAMLError:
            # A template: its braces need quotes too, and are read better without.
            return value
    return json.dumps(value)


def _lines(description: str | Sequence[str]) -> str:
    return _markdown(description if isinstance(description, str) else "\n".join(description))


def _markdown(text: str) -> str:
    return _CODE.sub(r"`\1`", text).strip()


def readme(name: str, checkout: Path = ROOT) -> str:
    """A role's README: its part of the document, on a page of its own."""
    own = re.sub(r"(?m)^#(#{1,3} )", r"\1", _role(checkout, name))
    title, rest = own.split("\n", 1)
    return f"{title}\n\n{README_HEAD}\n{rest.lstrip()}"


def symptoms(checkout: Path = ROOT) -> str:
    """The table of symptoms: those of logs, and those that GitLab's API shows."""
    path = checkout / "data" / "symptoms.yml"
    known = yaml.safe_load(path.read_text(encoding="utf-8"))
    parts = [SYMPTOMS_HEAD]
    for title, key in (("In the log of a job", "words"), ("In GitLab", "sign")):
        rows = [_symptom(one, one[key]) for one in known if key in one]
        head = "| What you see | What it means | Possible causes | What to do |"
        parts.append("\n".join([f"## {title}\n", head, "|---|---|---|---|", *rows, ""]))
    return "\n".join(parts)


def _symptom(one: Mapping[str, Any], seen: str | Sequence[str]) -> str:
    shown = seen if isinstance(seen, str) else "; ".join(f"`{_said(words)}`" for words in seen)
    causes = " ".join([*one["causes"], *([f"*{one['tell']}*"] if "tell" in one else [])])
    cells = (shown, one["what"], causes, one["cure"])
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _said(words: str) -> str:
    """A regular expression as people write such things: one of its texts, … for what varies."""
    text = re.sub(r"\\b", "", words)
    text = re.sub(r"(\\[wSd]|\.|\[\^?[^\]]*\])(\\S)?([+*]\??|\{[\d,]+\})|\\d", "…", text)
    # Alternatives: the first; what may be left out: nothing.
    for _ in range(2):
        text = re.sub(
            r"(?<!\\)\(([^()|]*)(\|[^()]*)?(?<!\\)\)(\??)",
            lambda found: "" if found[3] else found[1],
            text,
        )
    text = re.sub(r"(?<!\\)[^\\]\?", "", text)
    return (
        re.sub("…[…+]*", "…", re.sub(r"\\(.)", r"\1", text)).replace("=+", "==").replace("`", "'")
    )


def main() -> int:
    """Write the documents; says which changed."""
    texts = {TARGET: reference(), SYMPTOMS: symptoms()}
    for name in role_order():
        texts[ROOT / "roles" / name / "README.md"] = readme(name)
    for path, text in texts.items():
        changed = not path.exists() or path.read_text(encoding="utf-8") != text
        if changed:
            path.write_text(text, encoding="utf-8")
        print(f"{path.relative_to(ROOT)}: {'written' if changed else 'up to date'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
