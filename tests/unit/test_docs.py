# SPDX-License-Identifier: GPL-3.0-or-later
"""The documents: true to the code, without dead links, without registries' addresses."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _network
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._controller import (
    DISTRIBUTION_SOURCES,
)
from tools import reference
from tools.tree import files

ROOT = Path(__file__).resolve().parents[2]
GROUP_VARS = ROOT / "inventories" / "example" / "group_vars"
EXAMPLE = GROUP_VARS / "runner_hosts"
MARKDOWN = [*files("*.md"), *files("docs/*.md"), *files("roles/*/README.md")]

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)

# Every address of a package registry comes from the clients' own configuration. In pieces, so that
# this file does not hold what it looks for.
_REGISTRIES = [
    r"pypi\." + "org",
    "pythonhosted" + r"\.org",
    r"(?:deb|security|ftp|snapshot|archive)\.debian\." + "org",
    r"(?:archive|security|ports)\.ubuntu\." + "com",
    r"npmjs\." + "(?:org|com)",
    r"proxy\.golang\." + "org",
    r"sum\.golang\." + "org",
    r"(?:galaxy|console)\.(?:ansible|redhat)\." + "com",
    r"docker\." + "io",
    r"(?:quay|ghcr)\." + "io",
]


def tracked() -> list[Path]:
    """The repository's files, as git has them (and those that are about to be added)."""
    done = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    paths = [ROOT / name for name in done.stdout.decode().split("\0") if name]
    return [path for path in paths if path.is_file()]


def anchors(text: str) -> set[str]:
    """The anchors of a document's headings, as GitLab and GitHub make them."""
    found = set()
    for heading in _HEADING.findall(_FENCE.sub("", text)):
        plain = re.sub(r"[^\w\- ]", "", heading.lower()).strip()
        found.add(plain.replace(" ", "-"))
    return found


def verbs() -> set[str]:
    """The Makefile's targets."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z][a-z-]*):", text, re.MULTILINE))


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_role_reference_is_what_the_argument_specs_say() -> None:
    text = (ROOT / "docs" / "roles.md").read_text(encoding="utf-8")
    assert text == reference.reference(), "run: python -m tools.reference"


def test_the_table_of_symptoms_is_what_the_data_say() -> None:
    text = reference.SYMPTOMS.read_text(encoding="utf-8")
    assert text == reference.symptoms(), "run: python -m tools.reference"


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (r"variable \w+: empty;", "variable …: empty;"),
        (r"Enter your (API token|password):", "Enter your API token:"),
        (r"(ERROR: )?Job failed: (aborted|canceled)", "Job failed: aborted"),
        (r"reserved character\(s\)", "reserved character(s)"),
        (r"\b401\b.{0,40}Unauthorized", "401…Unauthorized"),
    ],
)
def test_a_pattern_is_shown_as_words(words: str, shown: str) -> None:
    assert reference._said(words) == shown


@pytest.mark.parametrize("name", reference.role_order())
def test_a_roles_readme_is_what_its_argument_spec_says(name: str) -> None:
    text = (ROOT / "roles" / name / "README.md").read_text(encoding="utf-8")
    assert text == reference.readme(name), "run: python -m tools.reference"
    assert text.startswith(f"# {name}\n")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("", '""'),
        ("0022", '"0022"'),
        ("latest", "latest"),
        ("{{ role_path }}/x", "{{ role_path }}/x"),
        (["3.10"], '["3.10"]'),
        (False, "false"),
    ],
)
def test_a_default_is_shown_as_it_is_written(value: Any, shown: str) -> None:
    assert reference._value(value) == shown


def test_the_shape_of_what_the_role_checks_itself_is_told() -> None:
    """The type says `raw`; the first sentence says what it takes."""
    for path in files("roles/*/meta/argument_specs.yml"):
        every = load(path)["argument_specs"].values()
        for name, option in ((n, o) for spec in every for n, o in spec["options"].items()):
            if option["type"] == "raw":
                told = option["description"]
                first = told if isinstance(told, str) else told[0]
                assert re.match(r"A (text|list of|mapping)", first), name


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: path.name)
def test_relative_links_lead_somewhere(path: Path) -> None:
    dead = []
    for link in _LINK.findall(_FENCE.sub("", path.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        inside = target.exists() and target.is_relative_to(ROOT)
        if not inside or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            dead.append(link)
    assert dead == []


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: path.name)
def test_named_make_verbs_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    # In code only: prose says "make" too.
    code = "\n".join([*_FENCE.findall(text), *re.findall(r"`([^`\n]+)`", _FENCE.sub("", text))])
    named = set(re.findall(r"\bmake ((?!PYTHON)[a-z][a-z-]*)", code))
    assert named <= verbs()


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: path.name)
def test_named_paths_exist(path: Path) -> None:
    text = _FENCE.sub("", path.read_text(encoding="utf-8"))
    named = re.findall(r"`((?:roles|plugins|playbooks|tests|bench|lab|docs)/[\w./-]*)`", text)
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_installed_names_the_versions_of_ansible_that_the_collection_takes() -> None:
    takes = load(ROOT / "meta" / "runtime.yml")["requires_ansible"]
    found = re.fullmatch(r">=2\.(\d+)\.0", takes)
    assert found, takes
    text = (ROOT / "docs" / "installed.md").read_text(encoding="utf-8")
    assert f"ansible-core 2.{found[1]} or newer " in text
    # The lock has the newest for each Python: the oldest one that is supported, and a later one.
    lock = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    locked = re.findall(r"^ansible-core==(2\.\d+)\.", lock, re.M)
    assert f"tried with {' and '.join(locked)})" in text
    assert f"2.{found[1]}" == locked[0] != locked[-1]


def test_docs_name_every_file_that_the_roles_write() -> None:
    told = (ROOT / "docs" / "files.md").read_text(encoding="utf-8")
    constants = {}
    for role in ("python_versions", "gitlab_runner"):
        constants.update(load(ROOT / "roles" / role / "vars" / "main.yml"))
    missing = {
        path for name, path in constants.items() if name.endswith("_path") and path not in told
    }
    written = (_network.APT_CONF, _network.APT_AUTH, _network.APT_DIRECT, DISTRIBUTION_SOURCES)
    missing |= {path for path in written if path not in told}
    folder = ROOT / "roles" / "gitlab_runner" / "templates"
    for template in files("roles/gitlab_runner/templates/**/*.j2"):
        path = "/" + str(template.relative_to(folder)).removesuffix(".j2").replace("@.", "@UID.")
        if path not in told:
            missing.add(path)
    assert missing == set()


def example(secrets: bool = False) -> str:
    """The example inventory's variables, or its secrets."""
    names = sorted(GROUP_VARS.glob("*/vault.yml.example" if secrets else "*/*.yml"))
    return "\n".join(path.read_text(encoding="utf-8") for path in names)


def test_example_inventory_has_every_variable_and_no_other() -> None:
    public = {"runner_host_verify_roles"}
    # The options of other entry points are given with the verb that they are for.
    for specs in files("roles/*/meta/argument_specs.yml"):
        public |= set(load(specs)["argument_specs"]["main"]["options"])
    text = example()
    # Set, or shown with its default as a comment.
    assert set(re.findall(r"^(?:# )?([a-z]\w+):", text, re.MULTILINE)) == public


def test_defaults_in_the_examples_comments_are_true() -> None:
    text = example()
    defaults: dict[str, Any] = {}
    for path in files("roles/*/defaults/main.yml"):
        defaults.update(load(path))
    # These comments show how to set the variable, since its default is empty or of no use here.
    examples = {
        "network_access_no_proxy",
        "network_access_proxy_password",
        "network_access_ca_certificates",
        "network_access_package_index_url",
        "publish_tools_lock",
        "network_access_distribution_key",
        "gitlab_runner_path",
        "gitlab_runner_user_groups",
        "gitlab_runner_known_hosts",
        "gitlab_runner_environment_allowed",
        "gitlab_runner_api_token",
        "gitlab_runner_settings",
        "python_versions_repository_key",
        "gitlab_project_api_token",
        "gitlab_project_api_ca_certificate",
        "gitlab_runner_api_ca_certificate",
        "release_pipeline_api_ca_certificate",
        "gitlab_project_url",
        "release_pipeline_api_token",
        "release_pipeline_inputs",
        "release_pipeline_url",
        "runner_host_verify_roles",
    }
    shown = {
        name: yaml.safe_load(value)
        for name, value in re.findall(r"^# ([a-z]\w+): (.+)$", text, re.MULTILINE)
        if name not in examples
    }
    assert shown == {name: defaults[name] for name in shown}


def test_example_secrets_are_references_to_the_vault_example() -> None:
    held = re.findall(r"^(vault_\w+):", example(secrets=True), re.MULTILINE)
    assert set(re.findall(r"\bvault_\w+", example())) == set(held)
    for entry in load(EXAMPLE / "main.yml")["gitlab_runner_runners"]:
        assert re.fullmatch(r"\{\{ vault_\w+ \}\}", entry["token"])


def test_no_registry_is_named() -> None:
    pattern = re.compile("|".join(_REGISTRIES))
    found = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {hit}" for hit in pattern.findall(text)]
    assert found == []


def test_search_for_registries_finds_a_planted_one() -> None:
    pattern = re.compile("|".join(_REGISTRIES))
    assert pattern.search("https://pypi." + "org/simple")
    assert not pattern.search("https://pypi.example.com/simple")


def test_alerts_name_metrics_that_exist() -> None:
    """The runner's own as its docs and source have them, ours as the host writes them."""
    rules = load(ROOT / "docs" / "monitoring" / "alerts.yml")
    named = {
        name
        for group in rules["groups"]
        for rule in group["rules"]
        for name in re.findall(r"\b(?:gitlab_runner|runnerhost)_\w+", rule["expr"])
    }
    ours = (ROOT / "plugins" / "module_utils" / "_full_disk.py").read_text(encoding="utf-8")
    known = {
        "gitlab_runner_worker_health_check_failures_total",
        "gitlab_runner_configuration_loading_error_total",
        "gitlab_runner_jobs",
        "gitlab_runner_concurrent",
    }
    assert {name for name in named if name not in known and name not in ours} == set()
    jobs = load(ROOT / "docs" / "monitoring" / "prometheus.yml")["scrape_configs"]
    assert jobs[0]["static_configs"] == [{"targets": ["127.0.0.1:9252"]}]
