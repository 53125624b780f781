# SPDX-License-Identifier: Apache-2.0
"""config.toml by compare-and-swap: read, merge here, swap if it is still the one that was read.

The daemon rewrites the file whenever it rotates a token, in place and without looking again
(gitlab-runner 19.3, commands/multi.go). No token, its or ours, may be lost in that.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from ansible.errors import AnsibleActionFail

from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _runner_cli,
    _runner_health,
    _secrets,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _runner_file,
    _runner_keys,
    _runner_lists,
    _runner_merge,
    _runner_toml,
    _tokens,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._controller import ToolkitAction
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_api import ApiProblem
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_sync import side_of
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._isolated import (
    VARIABLE,
    protected,
)

# A file that is being written is whole again within moments.
TORN_SECONDS = 10.0
# A rotation that is due is waited for, for so long: the daemon rotates at the moment itself.
ROTATION_WAIT = 20.0


class ActionModule(ToolkitAction):
    """The task's controller side."""

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Returns ``changed``, ``changed_keys``, ``foreign`` and ``verified``; no token."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        self._variables = task_vars or {}
        exposed = self.no_file_on_host("the runners' tokens")
        args = self._task.args
        side = self._side = side_of(
            args,
            str(args["url"]),
            str(self._variables.get("inventory_hostname", "")),
            self.find_file,
        )
        given = list(args["runners"])
        self._variable = "gitlab_runner_runners"
        if args.get("isolated"):
            given = protected(given)
            self._variable = f"{VARIABLE} ({args['isolated']}).runners"
        # Where each entry stands in the inventory's list, for messages.
        self._places = [i for i, runner in enumerate(given) if not _runner_lists.is_absent(runner)]
        leaving = {str(runner["name"]) for runner in given if _runner_lists.is_absent(runner)}
        entries = _runner_lists.effective_entries(
            str(args["url"]), side.take([_stateless(given[i]) for i in self._places])
        )
        wanted: _runner_toml.Data = {"concurrent": args["concurrent"], **args["settings"]}
        answers: dict[int, _runner_toml.Data] = {}
        asked: set[int] = set()
        written: dict[str, Any] = {}
        # What holds for the whole run, whatever the file is at the next try.
        self._said: list[str] = []
        self._woken: list[str] = []
        self._doubted: set[str] = set()
        self._dead: set[int] = set()
        # What the host's file was at the end of the last question.
        self._newer: dict[str, Any] | None = None
        for _ in range(_runner_file.TRIES):
            read, host = self._read()
            note = _runner_file.note_of(read)
            known = [k for k in _runner_merge.state_entries(note) if k.name not in leaving]
            planned = _runner_merge.plan(entries, host, known, side.ids())
            moved = sorted({*planned.foreign} & {str(n) for n in args.get("elsewhere") or []})
            self.refuse(
                [
                    f"{name} is in this service's config.toml, and another list of the inventory "
                    f"names it: let it leave first, by an entry of {self._variable} with "
                    "state: absent"
                    for name in moved
                    if name not in leaving
                ]
            )
            self.refuse(
                [
                    _runner_lists.legacy_refusal(self._at(entries, index))
                    for index in _runner_merge.unknown_legacy(entries, planned)
                ],
                "config.toml was not changed",
            )
            held = {i: host["runners"][p].get("id") for i, p in planned.matches.items()}
            self.refuse(
                [
                    f"{self._at(entries, index)}.gitlab.id got {number}, and config.toml has it as "
                    f"runner {held[index]}: give that id, or let that one leave first, by "
                    "state: absent"
                    for index, number in side.ids().items()
                    if held.get(index) and held[index] != number
                ],
                "config.toml was not changed",
            )
            self._name_lost(entries, host, known)
            if _runner_file.decode(read["text"]).startswith(_runner_toml.BYTE_ORDER_MARK):
                self._say(
                    f"{args['folder']}/config.toml begins with a byte order mark: the runner skips "
                    "it, and the next change removes it"
                )
            if self._wake(entries, planned, read, host):
                continue
            with self._answered():
                self._settle_by_api(entries, planned, host, known, asked)
            new = {i: q for i, q in planned.questions.items() if i not in asked}
            if new and not self._task.check_mode:
                answers.update(self._register(entries, new, known, read.get("system_id", "")))
                asked.update(new)
                # GitLab was asked over the network: the file may be another one by now, and came
                # with the answers.
                continue
            merged = _runner_merge.merge(wanted, entries, host, planned, answers, known)
            keys = _runner_merge.changed_keys(host, merged.config)
            if self._task.check_mode:
                # Asked about, a runner that the host has gets what GitLab answers.
                keys += [
                    f"runners.{entries[index]['name']}.identity"
                    for index, question in new.items()
                    if index in planned.matches and question.fallback is None
                ]
            self._name_dropped(host, merged.config)
            self._name_swapped(entries, host, planned, merged, known, new)
            unverified = self._unverified(entries, merged, known, asked)
            state = _state(merged.known)
            config_changes = bool(keys) or not read["exists"]
            # What the host itself puts in place while a disk is full.
            paused = _runner_file.without_runners(merged.config)
            pausable = read.get("paused_sha256") == hashlib.sha256(paused.encode()).hexdigest()
            ids = {
                index: note.id
                for index, entry in enumerate(entries)
                for note in merged.known
                if note.name == entry["name"]
            }
            with self._answered():
                updates = side.updates(ids)
            keys += [
                f"runners.{entries[index]['name']}.gitlab.{key}"
                for index, some in updates.items()
                for key in some
            ]
            changes = (
                config_changes
                or bool(updates)
                or not pausable
                or (not _same_state(state, note) and bool(merged.known or note))
            )
            keys += [f"runners.{name}.awake" for name in self._woken]
            result.update(
                changed=changes or not read["safe"] or bool(self._woken),
                changed_keys=keys,
                foreign=[name for name in planned.foreign if name not in leaving],
                leaving=sorted(leaving & set(planned.foreign)),
                verified={},
            )
            result["warnings"] = (
                exposed
                + side.warnings
                + self._said
                + self._warnings(result["foreign"], entries, asked, answers)
                + _shared_builds(merged.config)
            )
            result["gitlab"] = side.done
            if not result["changed"]:
                # A file that was written over right after our swap counts as written all the same.
                return {**result, **written}
            if keys:
                verb = "would change" if self._task.check_mode else "changed"
                result["msg"] = f"{verb}: {', '.join(keys)}"
            elif not _same_state(state, note):
                verb = "would change" if self._task.check_mode else "changed"
                result["msg"] = f"{verb}: the state file beside config.toml, not config.toml itself"
            result["diff"] = self._diff(host, merged.config, read["exists"])
            if self._task.check_mode:
                with self._answered():
                    said = [
                        f"{entries[i]['name']}: {side.intent(i, _noted(known, entries[i]))}"
                        if i in side.made_here
                        else f"GitLab would be asked about {entries[i]['name']}: {q.reason}"
                        for i, q in sorted(new.items())
                    ]
                result["msg"] = "; ".join([*([result["msg"]] if "msg" in result else []), *said])
                return result
            if updates:
                with self._answered():
                    side.apply(ids, updates)
            if not config_changes and pausable and _same_state(state, note) and read["safe"]:
                return result
            if config_changes and read["active"] and _runner_file.rotation_due(host, read["now"]):
                if self._wait_for_rotation(read["sha256"]):
                    continue
                result["warnings"].append(
                    "a runner's token was due for rotation, and the runner did not rotate it in "
                    f"{ROTATION_WAIT:.0f} s; is GitLab in reach of the host?"
                )
            answer = self._swap(read, merged, config_changes, unverified)
            if not answer["swapped"]:
                continue
            result["verified"] = answer.get("verified", {})
            self._judge(result["verified"])
            written = {k: result[k] for k in ("changed", "changed_keys", "verified", "diff")}
            after = self._parse(answer["read"])
            if after is not None and not _identities(merged.config) - _identities(after):
                return result
            # Something wrote the file right after us: look again.
        raise AnsibleActionFail(
            f"config.toml was changed by something else at each of {_runner_file.TRIES} tries; "
            "nothing of it was lost, run again"
        )

    def _swap(
        self,
        read: dict[str, Any],
        merged: _runner_merge.Merged,
        config_changes: bool,
        unverified: list[str],
    ) -> dict[str, Any]:
        """The new texts written, if the file is still the one that was read."""
        notes = [replace(note, verified=note.name not in unverified) for note in merged.known]
        return self._ask_quietly(
            {
                "op": "swap",
                "expected": read["sha256"],
                "text": _runner_file.encode(_runner_toml.dump(merged.config))
                if config_changes
                else "",
                "state_text": _runner_file.encode(json.dumps(_state(notes), indent=1) + "\n"),
                "paused_text": _runner_file.encode(_runner_file.without_runners(merged.config)),
                "verify": unverified,
                # Only then is it noted that GitLab takes them: a run that fails before asks again.
                "proven_text": _runner_file.encode(
                    json.dumps(_state(merged.known), indent=1) + "\n"
                )
                if unverified
                else "",
            }
        )

    @staticmethod
    def _unverified(
        entries: list[_runner_toml.Data],
        merged: _runner_merge.Merged,
        known: list[_runner_merge.Known],
        asked: set[int],
    ) -> list[str]:
        """Names of entries that are new, or that GitLab has not called valid yet."""
        doubted = {(note.id, note.token_sha256) for note in known if not note.verified}
        names = {str(entries[index]["name"]) for index in asked}
        names |= {n.name for n in merged.known if (n.id, n.token_sha256) in doubted}
        return sorted(names & {str(entry["name"]) for entry in entries})

    def _at(self, entries: list[_runner_toml.Data], index: int) -> str:
        """An entry as messages name it."""
        return f"{self._variable}[{self._places[index]}] ({entries[index]['name']})"

    def _warnings(
        self,
        foreign: list[str],
        entries: list[_runner_toml.Data],
        asked: set[int],
        answers: dict[int, _runner_toml.Data],
    ) -> list[str]:
        """What the user should know though nothing failed."""
        found = [
            f"{self._at(entries, index)}: GitLab refuses its token; "
            "the one that config.toml holds stays in use"
            for index in sorted(asked - set(answers))
        ]
        found += [
            f"{self._at(entries, index)}: its runner was made by the legacy registration, which "
            "GitLab 20.0 removes: it works as it is, but cannot be registered again. Create a new "
            "one in GitLab in time and give its token"
            for index, entry in enumerate(entries)
            if _tokens.is_legacy(entry["token"])
        ]
        if foreign:
            found.append(
                f"config.toml holds runners that {self._variable} does not name; "
                f"they are kept as they are: {', '.join(foreign)}"
            )
        return found

    def _name_lost(
        self,
        entries: list[_runner_toml.Data],
        host: _runner_toml.Data,
        known: list[_runner_merge.Known],
    ) -> None:
        """Says which runners the host had, and somebody took from its file."""
        held = {int(runner.get("id") or 0) for runner in host.get("runners", [])}
        names = {str(entry["name"]) for entry in entries}
        lost = [note.name for note in known if note.name in names and note.id not in held]
        if lost and not any("lacks runners" in text for text in self._said):
            self._said.append(
                f"config.toml lacks runners that this host had: {', '.join(lost)}; GitLab is "
                "asked about them, and they come back"
            )

    def _say(self, text: str) -> None:
        """A warning that holds for the whole run, once."""
        if text not in self._said:
            self._said.append(text)

    def _name_dropped(self, host: _runner_toml.Data, wanted: _runner_toml.Data) -> None:
        """Says which keys of the host's file go, before they go."""
        verb = "would be" if self._task.check_mode else "are"
        for name, keys in _runner_merge.dropped_keys(host, wanted).items():
            whose = f"of runner {name!r} " if name else ""
            self._say(
                f"config.toml has keys {whose}that the inventory does not set; they {verb} "
                f"removed: {', '.join(keys)}"
            )

    def _name_swapped(
        self,
        entries: list[_runner_toml.Data],
        host: _runner_toml.Data,
        planned: _runner_merge.Plan,
        merged: _runner_merge.Merged,
        known: list[_runner_merge.Known],
        unasked: Mapping[int, _runner_merge.Question],
    ) -> None:
        """Says which entries become another runner than the host has for them."""
        digests = {note.token_sha256 for note in known}
        for index, entry in enumerate(entries):
            position = planned.matches.get(index)
            if position is None or index in self._side.made_here:
                continue
            held = host["runners"][position].get("id")
            now = merged.config["runners"][position].get("id")
            before = held
            if held == now and _secrets.digest(str(entry["token"])) not in digests:
                # It has the token of another of the host's runners.
                before = _noted(known, entry) or held
            at = self._at(entries, index)
            if before and now and before != now:
                verb = "would take" if self._task.check_mode else "takes"
                self._say(
                    f"{at}: its token belongs to runner {now} in GitLab, the host has runner "
                    f"{before} for it: runner {now} {verb} its place here. If that is not meant, "
                    f"give the token of runner {before}"
                )
            elif held and index in unasked and unasked[index].fallback is None:
                self._say(
                    f"{at}: its token is not the one of runner {held}, which the host has for it: "
                    "GitLab tells whose it is, and that runner takes its place here"
                )

    def _wake(
        self,
        entries: list[_runner_toml.Data],
        planned: _runner_merge.Plan,
        read: dict[str, Any],
        host: _runner_toml.Data,
    ) -> bool:
        """Has the daemon ask for jobs again for valid runners that it leaves alone.

        Returns:
            True if the daemon was told so: the file has another time now.
        """
        said = [(moment, _runner_file.decode(text)) for moment, text in read.get("complaints", [])]
        names = _runner_health.asleep(said, host.get("runners", []), float(read["now"]))
        names = [name for name in names if name not in self._doubted]
        causes = _runner_health.causes(said, host.get("runners", []), float(read["now"]))
        for name in names:
            if name in causes:
                self._say(
                    f"{name}: its daemon leaves it alone, though GitLab has not refused it (403): "
                    f"{causes[name]}; mend that, and the daemon takes it up again"
                )
        names = [name for name in names if name not in causes]
        if not names:
            return False
        self._doubted.update(names)
        answer = self._ask_quietly({"op": "wake", "verify": names})
        self._woken += answer["woken"]
        told = answer["verified"]
        made_here = {str(entries[index]["name"]): index for index in self._side.made_here}
        for name in names:
            why = "GitLab refused its token three times, and the daemon has left it alone since"
            if told[name] == "valid":
                self._said.append(f"{name}: {why}; it is valid now, and asks for jobs again")
            elif told[name] == "refused" and made_here.get(name) in planned.matches:
                self._dead.add(made_here[name])
            elif told[name] == "refused":
                self._said.append(f"{name}: {why}; it is still refused (403): give its new token")
            else:
                reason = answer["reasons"].get(name, "")
                self._said.append(f"{name}: {why}; {_runner_cli.unanswered(reason)}")
        return bool(answer["woken"]) and not self._task.check_mode

    def _settle_by_api(
        self,
        entries: list[_runner_toml.Data],
        planned: _runner_merge.Plan,
        host: _runner_toml.Data,
        known: list[_runner_merge.Known],
        asked: set[int],
    ) -> None:
        """Of the entries that GitLab's API speaks for: which runner stands, which is gone."""
        gone = []
        for index in sorted(self._side.wanted):
            if index in asked:
                continue
            position = planned.matches.get(index)
            runner = host["runners"][position] if position is not None else {}
            if not runner.get("id") or not runner.get("token"):
                continue
            if index in planned.questions and index not in self._side.made_here:
                continue
            if self._side.is_gone(index, int(runner["id"])):
                lost = f"GitLab has no runner {runner['id']} any more"
                mend = "create it there anew and give its token"
                if index in self._side.made_here:
                    mend = "gitlab_runner_recreate=true creates it anew"
                    planned.questions[index] = _runner_merge.Question(index, lost)
                if index not in self._side.made_here or not self._side.recreate:
                    at = self._at(entries, index)
                    gone.append(f"{at}: {lost}; {mend}")
            elif index in self._dead:
                refused = "GitLab refuses the token that the host holds (403)"
                planned.questions[index] = _runner_merge.Question(index, refused)
            else:
                # The host's own identity: nothing to ask GitLab for.
                planned.questions.pop(index, None)
        self.refuse(gone, "config.toml was not changed")

    @contextmanager
    def _answered(self) -> Iterator[None]:
        """A problem with GitLab's API ends the task with its own words."""
        try:
            yield
        except ApiProblem as problem:
            self.refuse([str(problem)], "config.toml was not changed")

    def _ask_quietly(self, arguments: dict[str, Any]) -> dict[str, Any]:
        with self.quiet():
            return self.ask(
                _runner_file.IO,
                {
                    **arguments,
                    "folder": self._task.args["folder"],
                    "unit": self._task.args.get("unit", "gitlab-runner.service"),
                    "environment": _runner_file.way_to_gitlab(
                        self.ways(self._variables).environment(),
                        self._task.args.get("environment") or {},
                    ),
                },
                self._variables,
            )

    def _read(self) -> tuple[dict[str, Any], _runner_toml.Data]:
        """The host's file; a torn one is read again."""
        end = time.monotonic() + TORN_SECONDS
        while True:
            read = self._newer or self._ask_quietly({"op": "read"})["read"]
            self._newer = None
            data = self._parse(read)
            if data is not None:
                return read, data
            if time.monotonic() > end:
                try:
                    _runner_toml.parse(_runner_file.decode(read["text"]))
                except _runner_toml.TomlError as error:
                    raise AnsibleActionFail(
                        f"refused: {self._task.args['folder']}/config.toml on the host is no valid "
                        f"TOML ({error}); it holds runners' identities, so it is not overwritten. "
                        "Mend it, or move it away if its runners may be asked about anew"
                    ) from None

    @staticmethod
    def _parse(read: dict[str, Any]) -> _runner_toml.Data | None:
        try:
            return _runner_toml.parse(_runner_file.decode(read["text"]))
        except _runner_toml.TomlError:
            return None

    def _register(
        self,
        entries: list[_runner_toml.Data],
        questions: dict[int, _runner_merge.Question],
        known: list[_runner_merge.Known],
        system_id: str,
    ) -> dict[int, _runner_toml.Data]:
        """GitLab's answers; a refusal ends the task unless the host's own identity stands."""
        given = {index: str(entries[index]["token"]) for index in questions}
        for index in sorted(self._side.made_here & set(questions)):
            with self._answered():
                given[index] = self._side.token(index, _noted(known, entries[index]), system_id)
        requests = [
            {
                "index": index,
                "url": entries[index]["url"],
                "name": entries[index]["name"],
                "tls": {
                    "CI_SERVER_TLS_CA_FILE": entries[index].get("tls-ca-file", ""),
                    "CI_SERVER_TLS_CERT_FILE": entries[index].get("tls-cert-file", ""),
                    "CI_SERVER_TLS_KEY_FILE": entries[index].get("tls-key-file", ""),
                },
            }
            for index in sorted(questions)
        ]
        answered = self._ask_quietly(
            {
                "op": "register",
                "requests": requests,
                "tokens": [given[index] for index in sorted(questions)],
            }
        )
        said, self._newer = answered["answers"], answered["read"]
        answers: dict[int, _runner_toml.Data] = {}
        problems = []
        for index, question in sorted(questions.items()):
            answer = said[str(index)]
            at = self._at(entries, index)
            url = entries[index]["url"]
            if answer["ok"]:
                data = _runner_toml.parse(_runner_file.decode(answer["text"]))
                answers[index] = data["runners"][0]
            elif answer["refused"] and question.fallback is None:
                problems.append(
                    f"{at}.token: {url} does not know it (403), and {question.reason}: "
                    "create the runner anew in GitLab and give its token"
                )
            elif not answer["refused"]:
                problems.append(
                    f"{at}: {url}, asked about its token: {_runner_cli.unanswered(answer['said'])}"
                )
        self.refuse(problems, "config.toml was not changed")
        return answers

    def _wait_for_rotation(self, before: str) -> bool:
        """True once the file is another one than before."""
        end = time.monotonic() + ROTATION_WAIT
        while time.monotonic() < end:
            if self._ask_quietly({"op": "read"})["read"]["sha256"] != before:
                return True
            time.sleep(1)
        return False

    def _judge(self, verified: dict[str, str]) -> None:
        wrong = {name: said for name, said in verified.items() if said != "valid"}
        if wrong:
            said = {
                "refused": "GitLab refuses it",
                "unanswered": "GitLab gave no answer",
            }
            raise AnsibleActionFail(
                "config.toml is written, but "
                + "; ".join(f"{name}: {said[what]}" for name, what in sorted(wrong.items()))
            )

    @staticmethod
    def _diff(before: _runner_toml.Data, after: _runner_toml.Data, exists: bool) -> dict[str, str]:
        shown = _texts(after)
        old = _secrets.redact(_veiled(_runner_merge.spelled_alike(before, after), shown))
        new = _secrets.redact(after)
        for one, two, is_one, is_two in zip(
            before.get("runners", []),
            after.get("runners", []),
            old.get("runners", []),
            new.get("runners", []),
            strict=False,
        ):
            if one.get("token") != two.get("token") and "token" in is_one and "token" in is_two:
                is_two["token"] = f"{_secrets.HIDDEN} another"
        return {
            "before_header": "config.toml",
            "after_header": "config.toml",
            "before": _runner_toml.dump(old) if exists else "",
            "after": _runner_toml.dump(new),
        }


def _noted(known: list[_runner_merge.Known], entry: _runner_toml.Data) -> int | None:
    """The id that the host has noted for an entry's name."""
    for note in known:
        if note.name == entry["name"] and _runner_keys.same_url(note.url, str(entry["url"])):
            return note.id
    return None


def _stateless(runner: Mapping[str, Any]) -> _runner_toml.Data:
    return {key: value for key, value in runner.items() if key != "state"}


def _shared_builds(config: _runner_toml.Data) -> list[str]:
    """A warning for runners whose jobs gitlab-runner puts into one folder.

    It names the folder by the 9 characters behind the prefix glrt-, and knows no prefix in front of
    that (19.3, helpers/shorten_token.go; gitlab-runner#39938).
    """
    folders: dict[tuple[str, str], list[str]] = {}
    for runner in config.get("runners", []):
        token = str(runner.get("token", ""))
        if "glrt-" in token and not token.startswith("glrt-"):
            place = (token[:9], str(runner.get("builds_dir") or ""))
            folders.setdefault(place, []).append(str(runner.get("name")))
    return [
        f"runners {', '.join(names)}: their tokens have a prefix of the GitLab instance, which "
        "gitlab-runner up to 19.3 does not know; it builds their jobs in the same folders, where "
        "two jobs of one project disturb each other. Give each runner a builds_dir of its own"
        for names in folders.values()
        if len(names) > 1
    ]


def _texts(value: Any) -> set[str]:
    """All texts of plain data."""
    if isinstance(value, dict):
        return {text for item in value.values() for text in _texts(item)}
    if isinstance(value, list):
        return {text for item in value for text in _texts(item)}
    return {value} if isinstance(value, str) else set()


def _veiled(value: Any, shown: set[str], key: str = "") -> Any:
    """What the host's file holds, without free texts of others: a password may stand in them."""
    if isinstance(value, dict):
        return {name: _veiled(item, shown, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_veiled(item, shown, key) for item in value]
    free = key == "environment" or key.endswith("_script")
    if free and isinstance(value, str) and value not in shown:
        name, mark, _ = value.partition("=")
        return f"{name}={_secrets.HIDDEN}" if mark and key == "environment" else _secrets.HIDDEN
    return value


def _state(notes: list[_runner_merge.Known]) -> _runner_toml.Data:
    """The note beside config.toml."""
    return {"version": 1, "entries": [note.as_data() for note in notes]}


def _same_state(one: Mapping[str, Any], two: Mapping[str, Any]) -> bool:
    """True if two notes say the same; the order of their entries says nothing."""

    def sorted_entries(note: Mapping[str, Any]) -> list[str]:
        entries = note.get("entries", [])
        texts = [json.dumps(entry, sort_keys=True) for entry in entries]
        return sorted(texts) if isinstance(entries, list) else []

    return (
        one.get("version") == two.get("version")
        and isinstance(two.get("entries"), list)
        and sorted_entries(one) == sorted_entries(two)
    )


def _identities(config: _runner_toml.Data) -> set[tuple[str, int]]:
    """Which runners a configuration holds; a token may have been rotated, an id stays."""
    return {(str(r.get("url", "")), int(r["id"])) for r in config.get("runners", []) if r.get("id")}
