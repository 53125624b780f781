# SPDX-License-Identifier: GPL-3.0-or-later
"""What the toolkit's action plugins share on the controller."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any, ClassVar, TypedDict, TypeVar, cast

from ansible import constants
from ansible.errors import AnsibleActionFail, AnsibleError, AnsibleFileNotFound
from ansible.module_utils.common.text.converters import to_text
from ansible.module_utils.urls import open_url
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _apt_sources, _secrets
from ansible_collections.runnerhost.toolkit.plugins.module_utils._apt_request import Answer
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _authorities,
    _network,
    _network_settings,
    _openpgp,
    _repository_keys,
    _unreachable,
    _variables,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._arguments import (
    NO_FILE,
    ROOT,
    documentation,
    missing_packages,
    validated,
)

HOST_INFO = "runnerhost.toolkit.host_info"
CANDIDATES = "runnerhost.toolkit.apt_candidates_info"
DISTRIBUTION_SOURCES = _apt_sources.DISTRIBUTION_SOURCES
NETWORK = "network_access_"
NETWORK_DEFAULTS = ROOT / "roles" / "network_access" / "defaults" / "main.yml"
# What may hold secrets of the inventory's, whichever role's task fails.
_WITH_SECRETS = frozenset(
    {
        "gitlab_runner_api_token",
        "gitlab_runner_environment",
        "gitlab_runner_isolated",
        "gitlab_runner_runners",
        "network_access_proxy_password",
        "network_access_repository_credentials",
        "gitlab_project_api_token",
        "gitlab_project_groups",
        "gitlab_project_projects",
        "index_credentials_indexes",
        "release_pipeline_api_token",
    }
)


def kept_files(what: str) -> list[str]:
    """The refusal if Ansible would leave modules' arguments in files on the host."""
    if not constants.DEFAULT_KEEP_REMOTE_FILES:
        return []
    return [
        f"ANSIBLE_KEEP_REMOTE_FILES is set: it would leave {what} in files on the host; "
        "unset it (keep_remote_files in ansible.cfg)"
    ]


Run = TypeVar("Run", bound=Callable[..., Any])


def _redacted(run: Run) -> Run:
    """An action's `run` whose refusals and warnings show no secret."""

    @functools.wraps(run)
    def redacting(
        self: ToolkitAction, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        failure: AnsibleActionFail | None = None
        result = {}
        try:
            result = run(self, tmp, task_vars)
        except AnsibleActionFail as error:
            found = self.known_secrets(task_vars or {})
            said = _secrets.redact_message(str(error.message), found)
            if said == str(error.message):
                raise
            kept = {key: value for key, value in error.result.items() if key != "exception"}
            failure = AnsibleActionFail(said, result={**kept, "msg": said})
        if failure is not None:
            # Outside the handler: a traceback would show the other message.
            raise failure
        said_too = [key for key in ("warnings", "msg") if result.get(key)]
        if said_too:
            found = self.known_secrets(task_vars or {})
            for key in said_too:
                texts = result[key]
                result[key] = (
                    [_secrets.redact_message(str(text), found) for text in texts]
                    if isinstance(texts, list)
                    else _secrets.redact_message(str(texts), found)
                )
        return result

    return cast(Run, redacting)


class DistributionSources(TypedDict):
    """The arguments of apt_candidates_info about a mirror of the distribution."""

    distribution_sources: str
    distribution_suites: list[str]


def _last_words(exception: object) -> str:
    """Of a module that broke: the end of its traceback, or, from 2.19 on, what was raised."""
    event = getattr(exception, "event", None)
    trace = getattr(event, "formatted_traceback", None) or getattr(event, "msg", None) or exception
    return (str(trace or "").strip().splitlines() or ["no answer"])[-1]


class ToolkitAction(ActionBase):  # type: ignore[misc]
    """Base of the action plugins: asks modules, refuses with one message, keeps secrets quiet."""

    _supports_check_mode = True
    _supports_diff = True

    # Roles whose variables are the action's arguments.
    variables_of: ClassVar[list[str]] = []
    # The task's variables.
    variables: Mapping[str, Any]
    # The action's name, which is that of the module with its documentation.
    _name = ""

    def __init_subclass__(cls, **more: Any) -> None:
        """Notes the action's name."""
        super().__init_subclass__(**more)
        package, __, name = cls.__module__.rpartition(".")
        if package.endswith(".plugins.action"):
            cls._name = name

    @_redacted
    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Validates the arguments, fills in defaults, and does what `act` does."""
        result = super().run(tmp, task_vars)
        self.variables = task_vars or {}
        if self._name:
            self.refuse(missing_packages(*documentation(self._name).get("requirements", [])))
            arguments, problems = validated(self._name, self._task.args)
            if (ROOT / "roles" / self._name).is_dir():
                # The role of that name hands its variables on.
                problems = [one.replace(f"{self._name}.", f"{self._name}_", 1) for one in problems]
            if problems and self.variables_of:
                # What the user has set goes by the name that it has there.
                self.validate(self.variables_of, self.variables)
            self.refuse(problems)
            self._task.args = arguments
        self._pipeline()
        return {**result, **self.act()}

    def act(self) -> Mapping[str, object]:
        """What the action does with valid arguments, and its result."""
        return {}

    def known_secrets(self, task_vars: Mapping[str, Any]) -> set[str]:
        """The inventory's own secrets, as far as they can be read."""
        found = _secrets.known(dict(self._task.args))
        for name, value in task_vars.items():
            if name in _WITH_SECRETS:
                try:
                    found |= _secrets.known({name: self._templar.template(value)})
                except Exception:
                    # The task that uses it tells why.
                    continue
        return found

    def _pipeline(self) -> None:
        """Pipelining, unless somebody has said otherwise.

        An installed collection has no ansible.cfg of its own, and Ansible's default writes each
        module with its arguments into a file on the host. The default is off for the sake of sudo's
        requiretty (ansible-core, config/base.yml), which Ubuntu does not set.
        """
        try:
            wanted, origin = self._connection.get_option_and_origin("pipelining")
        except (KeyError, AttributeError):
            # A connection without the option.
            return
        if not wanted and origin == "default":
            self._connection.set_option("pipelining", True)

    def no_file_on_host(self, what: str) -> list[str]:
        """A warning if a module's arguments lie in a file on the host while it runs.

        Refuses if they would stay there.

        Args:
            what: what the arguments hold, for messages.
        """
        self.refuse(kept_files(what))
        if self._connection.is_pipelining_enabled():
            return []
        return [
            f"modules are not pipelined: {what} lie in the login user's temporary folder on the "
            "host while a module runs; see pipelining in the documentation of the connection plugin"
        ]

    def ask(
        self, module: str, arguments: Mapping[str, Any], task_vars: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """A module's answer; its failure ends the task."""
        answer: Mapping[str, Any] = self._execute_module(
            module_name=module, module_args=dict(arguments), task_vars=task_vars
        )
        if answer.get("failed") or answer.get("unreachable"):
            said = str(answer.get("msg") or f"{module}: {_last_words(answer.get('exception'))}")
            # A module that never ran: what sudo or a shell said in its place.
            obstacle = _unreachable.of_module(answer)
            if obstacle:
                said = str(obstacle)
            if self._connection._play_context.no_log:
                # The raw answer may hold tokens, and hex passes every filter.
                raise AnsibleActionFail(_secrets.redact_text(said))
            raise AnsibleActionFail(said, result=answer)
        return answer

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """At -vvv the ssh plugin prints what a module answers: not while secrets are in it.

        Also keeps the call out of the host's syslog.
        """
        context = self._connection._play_context
        before = context.no_log, self._task.no_log
        context.no_log = True
        self._task.no_log = True
        try:
            yield
        finally:
            context.no_log, self._task.no_log = before

    @staticmethod
    def refuse(problems: list[str], untouched: str = "nothing was changed") -> None:
        """Ends the task if there is any problem, naming all of them at once."""
        if problems:
            lines = problems if len(problems) == 1 else [f"{len(problems)} problems:", *problems]
            said = f"refused, {untouched}: " + "\n- ".join(lines)
            # What a handler has caught is said in it: Ansible would print both.
            raise AnsibleActionFail(_secrets.redact_message(said)) from None

    def refuse_here(self, problems: list[str]) -> None:
        """Refuses as `refuse`, and names the group or host whose variables this play cannot see."""
        self.refuse(self.set_elsewhere(problems))

    def set_elsewhere(self, problems: list[str]) -> list[str]:
        """What `_variables.set_elsewhere` makes of problems in this inventory."""
        return _variables.set_elsewhere(
            problems,
            self.variables.get("hostvars") or {},
            self.variables.get("groups") or {},
            str(self.variables.get("inventory_hostname", "localhost")),
        )

    def validate(
        self, roles: list[str], task_vars: Mapping[str, Any], more: Iterable[str] = ()
    ) -> list[str]:
        """Refuses unknown variables and wrong types, with ``more``, in one message.

        Returns warnings. Of ``more`` is left out what is said of the same variable already.
        """
        found, warnings = _variables.problems(roles, task_vars, self._templar.template)
        told = {re.split(r"[^\w]", text)[0] for text in found}
        self.refuse(found + [text for text in more if re.split(r"[^\w]", text)[0] not in told])
        return warnings

    def network_values(self, task_vars: Mapping[str, Any]) -> Mapping[str, Any]:
        """The variables ``network_access_*`` without that prefix, the role's defaults below them.

        The other roles read them too: what they ask before the first change to a host must use
        the proxies and CAs that the role is about to set up there.
        """
        defaults = self._loader.load_from_file(str(NETWORK_DEFAULTS), trusted_as_template=True)
        merged = {**defaults, **task_vars}
        templar = self._templar.copy_with_new_env(available_variables=merged)
        found = {}
        for name, default in defaults.items():
            value = templar.template(merged[name])
            # `name:` without a value says what leaving it out says.
            found[name.removeprefix(NETWORK)] = (
                templar.template(default) if value is None else value
            )
        return found

    def network(self, task_vars: Mapping[str, Any]) -> _network.Network:
        """The network settings, validated, with the private CAs loaded."""
        values = self.network_values(task_vars)
        self.refuse(_network_settings.problems(values))
        authorities, wrong = _authorities.read(values["ca_certificates"], self.find_file)
        self.refuse(wrong)
        network = _network.from_values(values, authorities)
        if network.secrets():
            for text in self.no_file_on_host("the passwords of proxies and repositories"):
                self.warn(text)
        return network

    def warn(self, text: str, task_vars: Mapping[str, Any] | None = None) -> None:
        """A warning that no result carries."""
        Display().warning(_secrets.redact_message(text, self.known_secrets(task_vars or {})))

    def hide(self, result: MutableMapping[str, Any]) -> None:
        """Has Ansible show nothing of a result but its warnings, which it would drop too."""
        for text in result.pop("warnings", []):
            self.warn(text)
        result["_ansible_no_log"] = True

    def candidates(
        self, arguments: Mapping[str, Any], network: _network.Network, task_vars: Mapping[str, Any]
    ) -> Answer:
        """What a repository offers, asked through the proxies and CAs that the host is to have."""
        given = {
            "conf": network.apt_conf("@ROOT@/apt-direct"),
            "direct": network.apt_direct(),
            "authorities": "".join(text for __, text in network.authorities),
        }
        found = self.ask(
            CANDIDATES, {**arguments, "network": given, "auth": network.apt_auth()}, task_vars
        )
        answer = cast(Answer, dict(found))

        def redacted(text: str) -> str:
            return _secrets.redact_text(text, network.secrets())

        if "error" in answer:
            answer["error"] = redacted(answer["error"])
        if "distribution_error" in answer:
            answer["distribution_error"] = redacted(answer["distribution_error"])
        if simulated := answer.get("simulated"):
            simulated["error"] = redacted(simulated["error"])
            simulated["unreadable"] = [redacted(one) for one in simulated["unreadable"]]
        return answer

    def distribution_offer(
        self, task_vars: Mapping[str, Any], deployed: str
    ) -> tuple[DistributionSources, list[str]]:
        """What puts the distribution's mirror in its place, and warnings about its key's expiry.

        The arguments of apt_candidates_info: the text of the mirror's source file, empty where
        there is no mirror, and the releases whose entries it replaces.

        Args:
            task_vars: the task's variables.
            deployed: the text of that file on the host, as `key` takes it.
        """
        values = self.network_values(task_vars)
        if not values["distribution_url"]:
            return {"distribution_sources": "", "distribution_suites": []}, []
        key = str(values["distribution_keyring"])
        warnings: list[str] = []
        if values["distribution_key"]:
            key, warnings = self.key(
                f"{NETWORK}distribution_key",
                str(values["distribution_key"]),
                str(values["distribution_key_fingerprint"]),
                deployed,
            )
        suites = [str(suite) for suite in values["distribution_suites"]]
        text = _apt_sources.render_sources(
            str(values["distribution_url"]),
            suites,
            [str(component) for component in values["distribution_components"]],
            key,
            "The distribution, from a mirror of it",
        )
        return {
            "distribution_sources": text,
            "distribution_suites": _network.bare_suites(suites),
        }, warnings

    def key(
        self, variable: str, source: str, fingerprint: str, deployed: str = ""
    ) -> tuple[str, list[str]]:
        """A repository key, checked, and warnings about its expiry.

        Args:
            variable: name of the Ansible variable, for messages.
            source: path on the controller, or an http(s) address.
            fingerprint: the only one that is trusted.
            deployed: the text of the host's source file, in which a key may stand.
        """
        try:
            return _repository_keys.read(variable, source, fingerprint, deployed, self._fetch)
        except _openpgp.KeyProblem as problem:
            said = str(problem)
        self.refuse([said])
        raise AssertionError(said)

    def find_file(self, name: str) -> str:
        """A controller's file: absolute, or searched for as Ansible's file lookup does.

        Raises:
            AnsibleError: with the reason alone; Ansible's own lists every folder, in many lines.
        """
        try:
            return str(self._find_needle("files", name))
        except AnsibleFileNotFound:
            raise AnsibleError(NO_FILE) from None

    def _fetch(self, source: str) -> str:
        if _repository_keys.is_remote(source):
            with open_url(source, timeout=30, http_agent="runnerhost.toolkit") as answer:
                return str(to_text(answer.read(), errors="surrogate_or_strict"))
        # A binary key is refused as what it is.
        with open(self.find_file(source), encoding="utf-8", errors="replace") as stream:
            return stream.read()
