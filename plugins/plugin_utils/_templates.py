# SPDX-License-Identifier: GPL-3.0-or-later
"""Rendering of a role's templates.

Not by the template lookup, which copies all variables of the play for each.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.template import trust_as_template


def rendered(path: Path, loader: Any, templar: Any, variables: Mapping[str, Any]) -> str:
    """A template's text.

    Args:
        path: the template.
        loader: Ansible's.
        templar: the action's.
        variables: what it may use.
    """
    try:
        text = trust_as_template(loader.get_text_file_contents(str(path)))
        own = templar.copy_with_new_env(
            searchpath=[str(path.parent)], available_variables=variables
        )
        return str(own.template(text, escape_backslashes=False, overrides={"trim_blocks": True}))
    except AnsibleError as error:
        raise AnsibleActionFail(f"{path.name}: {error}") from error
