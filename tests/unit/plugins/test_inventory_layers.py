# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables that an inventory sets in several places: which are told, and which are right so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader

from ansible_collections.runnerhost.toolkit.plugins.action import validate_variables
from ansible_collections.runnerhost.toolkit.plugins.module_utils import _secrets
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _inventory_layers
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._inventory_layers import Inventory

NAMES = (
    "build_tools_extra_packages",
    "gitlab_runner_concurrent",
    "gitlab_runner_environment",
    "gitlab_runner_url",
)
HOSTS = """
all:
  children:
    runner_hosts:
      hosts:
        one:
        two:
      children:
        big:
          hosts:
            one:
    jammy:
      hosts:
        one:
"""
Told = Callable[..., list[str]]


@pytest.fixture
def told(tmp_path: Path) -> Told:
    """All that is said of an inventory with these files."""

    def ask(files: dict[str, str], hosts: str = HOSTS) -> list[str]:
        for path, text in {"hosts.yml": hosts, **files}.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
        loader = DataLoader()
        manager = InventoryManager(loader, [str(tmp_path / "hosts.yml")])
        inventory = Inventory([str(tmp_path)], loader, NAMES)
        listed = manager.get_hosts()
        found = [
            *inventory.ignored("group", "runner_hosts"),
            *inventory.by_address(listed),
            *inventory.below_vars("group", "runner_hosts"),
            *_inventory_layers.twice(inventory, listed),
            *_inventory_layers.between_siblings(inventory, listed),
            *_inventory_layers.replaced_mappings(inventory, listed),
        ]
        return [one.replace(f"{tmp_path}/", "") for one in found]

    return ask


def test_two_files_of_one_group(told: Told) -> None:
    place = "group_vars/runner_hosts"
    files = {f"{place}/main.yml": "gitlab_runner_concurrent: 6\n"}
    old = "gitlab_runner_concurrent: 4\ngitlab_runner_url: https://a.test\n"
    assert told(files) == []
    assert told({**files, f"{place}/old.yml": old}) == [
        f"gitlab_runner_concurrent: set in {place}/main.yml, and again in {place}/old.yml, which "
        "alone counts; remove one of them"
    ]
    # Said twice alike, it is no matter which of them counts.
    assert told({**files, f"{place}/old.yml": "gitlab_runner_concurrent: 6\n"}) == []


def test_the_inventory_file_and_group_vars(told: Told) -> None:
    hosts = HOSTS.replace(
        "      children:", "      vars: {gitlab_runner_concurrent: 9}\n      children:"
    )
    files = {"group_vars/runner_hosts.yml": "gitlab_runner_concurrent: 6\nmy_own: 1\n"}
    (said,) = told(files, hosts)
    assert said.startswith(
        "gitlab_runner_concurrent: set in the inventory's own vars of runner_hosts, and again in "
        "group_vars/runner_hosts.yml, which alone counts"
    )


def test_a_file_beside_the_folder_of_its_name(told: Told) -> None:
    files = dict.fromkeys(("group_vars/runner_hosts/main.yml", "group_vars/runner_hosts.yml"), "{}")
    assert told(files) == [
        "group_vars/runner_hosts.yml: Ansible does not read it, since there is the folder "
        "group_vars/runner_hosts; move it there"
    ]


def test_a_file_with_the_address_of_a_host(told: Told) -> None:
    hosts = HOSTS.replace("        two:\n", "        two: {ansible_host: 10.0.0.2}\n")
    assert told({"host_vars/10.0.0.2.yml": "{}"}, hosts) == [
        "host_vars/10.0.0.2.yml: the inventory has no host 10.0.0.2, which is the address of two; "
        "name it after the host"
    ]
    assert told({"host_vars/10.0.0.2.yml": "{}"}, hosts.replace("one:", "10.0.0.2:")) == []


def test_a_host_that_no_playbook_works_on(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text(
        HOSTS
        + "    builders:\n      vars: {gitlab_runner_concurrent: 8}\n      hosts:\n        x:\n"
    )
    manager = InventoryManager(DataLoader(), [str(tmp_path / "hosts.yml")])
    inventory = Inventory([str(tmp_path)], DataLoader(), NAMES)
    hosts = [host for host in manager.get_hosts() if host.name in ("x", "two")]
    assert _inventory_layers.outside(inventory, hosts) == [
        "x: has gitlab_runner_concurrent and is not in the group runner_hosts: it is not "
        "provisioned; add it, or its group as a child"
    ]


def test_a_child_group_that_ansible_has_made_of_a_typo(tmp_path: Path) -> None:
    text = HOSTS.replace("        big:\n", "        biig:\n        empty:\n        big:\n")
    (tmp_path / "hosts.yml").write_text(text)
    manager = InventoryManager(DataLoader(), [str(tmp_path / "hosts.yml")])
    assert _inventory_layers.empty_children(manager.groups, "runner_hosts") == [
        "group biig of runner_hosts: has no host; did you mean big?"
    ]
    assert _inventory_layers.empty_children(manager.groups, "nowhere") == []
    # Named for what tells them apart.
    text = HOSTS.replace("        big:\n", "        big_prod:\n        big_dev:\n")
    (tmp_path / "hosts.yml").write_text(text)
    manager = InventoryManager(DataLoader(), [str(tmp_path / "hosts.yml")])
    assert _inventory_layers.empty_children(manager.groups, "runner_hosts") == []


def test_all_hosts_are_looked_at_though_the_play_works_on_some(tmp_path: Path) -> None:
    text = HOSTS + "    other:\n      hosts: {x: {gitlab_runner_concurrent: 1}}\n"
    (tmp_path / "hosts.yml").write_text(text)
    manager = InventoryManager(DataLoader(), [str(tmp_path / "hosts.yml")])
    manager.restrict_to_hosts([manager.get_host("one")])
    action = object.__new__(validate_variables.ActionModule)
    action._loader = DataLoader()
    action.variables = {
        "hostvars": SimpleNamespace(_inventory=manager),
        "inventory_hostname": "one",
        "ansible_play_hosts_all": ["one", "two"],
        "ansible_inventory_sources": [str(tmp_path / "hosts.yml")],
        "groups": manager.get_groups_dict(),
    }
    (said,) = action._layers(["gitlab_runner"])
    assert said.startswith("x: has gitlab_runner_concurrent and is not in the group runner_hosts")


def test_a_misspelt_variable_of_the_connection(tmp_path: Path) -> None:
    text = HOSTS.replace("        two:\n", "        two: {ansible_hosts: 10.0.0.2, ansible_x: 1}\n")
    (tmp_path / "hosts.yml").write_text(text)
    manager = InventoryManager(DataLoader(), [str(tmp_path / "hosts.yml")])
    assert _inventory_layers.connection_slips(manager.get_hosts()) == [
        "two: ansible_hosts: unknown variable; did you mean ansible_host? "
        "(runnerhost_unknown_variables: warn accepts it)"
    ]
    text = HOSTS.replace("        two:\n", "        two: {ansible_users: [one, two]}\n")
    (tmp_path / "hosts.yml").write_text(text)
    manager = InventoryManager(DataLoader(), [str(tmp_path / "hosts.yml")])
    assert _inventory_layers.connection_slips(manager.get_hosts()) == []


def test_a_list_that_was_meant_to_grow(tmp_path: Path, told: Told) -> None:
    files = {
        "group_vars/runner_hosts.yml": "build_tools_extra_packages: [libffi-dev, libssl-dev]\n",
        "host_vars/one.yml": "build_tools_extra_packages: [libpq-dev, libffi-dev]\n",
    }
    (said,) = told(files)
    assert "one does not get libssl-dev; repeat there" in said


def test_variables_below_a_key_vars(told: Told) -> None:
    files = {"group_vars/runner_hosts.yml": "vars:\n  gitlab_runner_concurrent: 3\n"}
    (said,) = told(files)
    assert said.startswith("group_vars/runner_hosts.yml: its variables lie below vars:, where no ")
    assert told({"group_vars/runner_hosts.yml": "vars: {my_own: 1}\n"}) == []


def test_what_switches_off_loses_nothing(told: Told) -> None:
    files = {
        "group_vars/runner_hosts.yml": "gitlab_runner_environment: {A: 1}\n",
        "host_vars/one.yml": "gitlab_runner_environment: {}\n",
    }
    assert told(files) == []


def test_a_later_inventory_is_meant_to_count(tmp_path: Path) -> None:
    folders = [str(tmp_path / name) for name in ("base", "prod")]
    for number, folder in enumerate(folders):
        Path(folder, "group_vars").mkdir(parents=True)
        text = f"gitlab_runner_concurrent: {number}\n"
        Path(folder, "group_vars/runner_hosts.yml").write_text(text)
        Path(folder, "hosts.yml").write_text(HOSTS)
    hosts = InventoryManager(DataLoader(), [f"{folders[0]}/hosts.yml"]).get_hosts()
    both = Inventory([*folders, str(tmp_path)], DataLoader(), NAMES)
    assert _inventory_layers.twice(both, hosts) == []
    # A playbook's own group_vars are forgotten more often than meant.
    beside = Inventory(folders, DataLoader(), NAMES)
    (said,) = _inventory_layers.twice(beside, hosts)
    assert "prod/group_vars/runner_hosts.yml, which alone counts" in said


def test_an_address_that_is_this_machine(told: Told) -> None:
    hosts = HOSTS.replace("        two:\n", "        two: {ansible_host: localhost}\n")
    assert told({"host_vars/localhost.yml": "gitlab_runner_concurrent: 2\n"}, hosts) == []


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("three.yml", "three-prod"),
        ("two.example.com.yml", "two"),
        ("two.example.com", "two"),
        ("web.yml", ""),
        ("localhost.yml", ""),
        ("two.json", ""),
        ("two.sops.yml", ""),
        ("two.yml~", ""),
        ("two.yml.bak", ""),
        (".two.yml.swp", ""),
    ],
)
def test_a_file_with_a_part_of_a_hosts_name(tmp_path: Path, name: str, near: str) -> None:
    text = HOSTS.replace(
        "        two:\n", "        two:\n        three-prod:\n        web-1:\n        web-2:\n"
    )
    (tmp_path / "hosts.yml").write_text(text)
    (tmp_path / "host_vars").mkdir()
    (tmp_path / "host_vars" / name).write_text("{}")
    hosts = InventoryManager(DataLoader(), [str(tmp_path / "hosts.yml")]).get_hosts()
    found = list(Inventory([str(tmp_path)], DataLoader(), NAMES).by_short_name(hosts))
    assert [f"did you mean {near}?" in one for one in found] == [True] * bool(near)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("---\nvault_token: glrt-abc\n", True),
        ("vault_token: !vault |\n  $ANSIBLE_VAULT;1.1\n", False),
        ("$ANSIBLE_VAULT;1.1;AES256\n6162\n", False),
        ('vault_token: \'{{ lookup("env", "T") }}\'\n', False),
        ("vault_token: glrt-REPLACE-ME\n", False),
        ("my_own: 1\n", False),
    ],
)
def test_a_vault_that_is_not_encrypted(tmp_path: Path, text: str, told: bool) -> None:
    place = tmp_path / "group_vars" / "all"
    place.mkdir(parents=True)
    (place / "vault.yml").write_text(text)
    (place / "main.yml").write_text("my_own: x\n")
    found = list(Inventory([str(tmp_path)], DataLoader(), NAMES).open_vaults("group", "all"))
    path = tmp_path / "group_vars/all/vault.yml"
    said = f"{path}: is not encrypted: ansible-vault encrypt {path}; it has vault_token"
    assert found == [said] * told
    # The toolkit's own redaction leaves the cure.
    assert [_secrets.redact_message(one) for one in found] == found
    assert "glrt" not in str(found)


ENCRYPTED = "!vault |\n          $ANSIBLE_VAULT;1.1;AES256\n          6162\n"


@pytest.mark.parametrize(
    ("file", "text", "names"),
    [
        ("main.yml", "vault_token: glrt-abc\n", "vault_token"),
        ("main.yml", "gitlab_runner_runners: [{name: one, token: glrt-abc}]\n",
         "gitlab_runner_runners"),
        ("main.yml", "gitlab_runner_runners: [{name: one, token: '{{ vault_token }}'}]\n", ""),
        ("main.yml", "gitlab_runner_runners:\n  - name: one\n    token: glrt-REPLACE-ME\n", ""),
        ("main.yml", f"gitlab_runner_runners:\n  - name: one\n    token: {ENCRYPTED}", ""),
        ("main.yml", f"vault_token: {ENCRYPTED}", ""),
        ("main.yml", "ansible_become_password: hunter22\n", "ansible_become_password"),
        ("main.yml", "ansible_become_password: '{{ vault_sudo }}'\n", ""),
        ("main.yml", "gitlab_runner_url: https://ci:pass-word1@git.example.com\n",
         "gitlab_runner_url"),
        ("main.yml", "gitlab_runner_url: https://git.example.com\n", ""),
        ("main.yml", "gitlab_runner_environment: {DB_PASSWORD_FILE: /etc/ci/password}\n", ""),
        ("main.yml", "gitlab_runner_environment: {CACHE_KEY_PASSWORD: hunter22}\n", ""),
        ("main.yml", "someone_elses_password: hunter22\n", ""),
        # HashiCorp's.
        ("main.yml", "vault_namespace: admin/platform\nvault_version: 1.15.2\n", ""),
        ("main.yml", "$ANSIBLE_VAULT;1.1;AES256\n6162\n", ""),
        ("vault.yml", "ansible_become_password: hunter22\n", ""),
    ],
)  # fmt: skip
def test_a_secret_in_clear_outside_the_vault(
    tmp_path: Path, file: str, text: str, names: str
) -> None:
    place = tmp_path / "group_vars" / "all" / file
    place.parent.mkdir(parents=True)
    place.write_text(text)
    manager = InventoryManager(DataLoader(), [])
    inventory = Inventory([str(tmp_path)], DataLoader(), {*NAMES, "gitlab_runner_runners"})
    found = list(inventory.secrets_outside("group", manager.groups["all"]))
    assert found == [
        f"{place}: has a secret that is not encrypted; move it to a file that ansible-vault "
        f"encrypts, as inventories/example does: {names}"
    ] * bool(names)
    assert [_secrets.redact_message(one) for one in found] == found


def test_a_password_in_the_inventory_file(tmp_path: Path) -> None:
    hosts = "all:\n  vars: {ansible_become_password: hunter22, ansible_password: hunter23}\n"
    (tmp_path / "hosts.yml").write_text(hosts)
    manager = InventoryManager(DataLoader(), [str(tmp_path / "hosts.yml")])
    inventory = Inventory([str(tmp_path)], DataLoader(), NAMES)
    (found,) = inventory.secrets_outside("group", manager.groups["all"])
    assert found.startswith(f"{tmp_path / 'hosts.yml'}: has a secret that is not encrypted; ")
    assert found.endswith(": ansible_become_password, ansible_password")
    assert _secrets.redact_message(found) == found
    # What a program has found out stands nowhere.
    (tmp_path / "hosts.yml").chmod(0o755)
    assert list(inventory.secrets_outside("group", manager.groups["all"])) == []


def test_groups_whose_names_decide(told: Told) -> None:
    files = {
        "group_vars/runner_hosts.yml": "gitlab_runner_concurrent: 4\n",
        "group_vars/jammy.yml": "gitlab_runner_concurrent: 3\n",
    }
    assert told(files) == [
        "gitlab_runner_concurrent: the groups jammy and runner_hosts both set it for one, and none "
        "of them is inside the other: Ansible takes that of runner_hosts, by its name; make one a "
        "child of the other (children:), or set it in host_vars"
    ]
    host = {"host_vars/one.yml": "gitlab_runner_concurrent: 3\n"}
    assert told({**files, **host}) == []


def test_a_group_inside_decides(told: Told) -> None:
    files = {
        "group_vars/all.yml": "gitlab_runner_concurrent: 1\n",
        "group_vars/runner_hosts.yml": "gitlab_runner_concurrent: 4\n",
        "group_vars/big.yml": "gitlab_runner_concurrent: 8\n",
    }
    assert told(files) == []
    assert told({**files, "group_vars/jammy.yml": "gitlab_runner_concurrent: 3\n"}) == []


def test_a_priority_decides(told: Told) -> None:
    files = {
        "group_vars/runner_hosts.yml": "gitlab_runner_concurrent: 4\n",
        "group_vars/jammy.yml": "gitlab_runner_concurrent: 3\n",
    }
    hosts = HOSTS.replace("    jammy:\n", "    jammy:\n      vars: {ansible_group_priority: 10}\n")
    assert told(files, hosts) == []


def test_a_mapping_that_replaces_another(told: Told) -> None:
    files = {
        "group_vars/runner_hosts.yml": "gitlab_runner_environment: {A: '1', B: '2'}\n",
        "host_vars/one.yml": "gitlab_runner_environment: {C: '3', A: '4'}\n",
    }
    assert told(files) == [
        "gitlab_runner_environment: host_vars/one.yml replaces what group_vars/runner_hosts.yml "
        "sets, since Ansible merges neither mappings nor lists: one does not get B; repeat there "
        "what is to be kept"
    ]
    files["host_vars/one.yml"] = "gitlab_runner_environment: {B: '', C: '3', A: '4'}\n"
    assert told(files) == []
    combined = "gitlab_runner_environment: \"{{ {'C': '3'} | combine(common) }}\"\n"
    assert told({**files, "host_vars/one.yml": combined}) == []


@pytest.mark.parametrize("text", ["$ANSIBLE_VAULT;1.1;AES256\n6162\n", "- a\n", "a: b: c\n", ""])
def test_what_cannot_be_read_is_left_to_ansible(told: Told, text: str) -> None:
    files = {"group_vars/runner_hosts/vault.yml": text}
    assert (
        told({**files, "group_vars/runner_hosts/main.yml": "gitlab_runner_concurrent: 6\n"}) == []
    )
