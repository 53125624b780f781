# SPDX-License-Identifier: GPL-3.0-or-later
"""One run over a service's config.toml: read, ask GitLab, merge, swap, until nothing is left.

The daemon rewrites the file whenever it rotates a token, in place and without looking again
(gitlab-runner 19.3, commands/multi.go). No token, its or ours, may be lost in that.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ansible.errors import AnsibleActionFail

from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _runner_cli,
    _runner_health,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _runner_config_plan,
    _runner_toml,
    _runner_warnings,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._controller import ToolkitAction
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_api import ApiProblem
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_sync import GitLabSync
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_config_plan import (
    ConfigPlan,
    Found,
    WantedConfig,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_file import (
    TRIES,
    Answer,
    ConfigIO,
    HostFile,
    Request,
    rotation_due,
    without_runners,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_match import Question
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_outcome import (
    Outcome,
    awoken,
    outcome_of,
    require_valid,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_toml import Data

# A file that is being written is whole again within moments.
TORN_SECONDS = 10.0
# A rotation that is due is waited for, for so long: the daemon rotates at the moment itself.
ROTATION_WAIT = 20.0
_UNTOUCHED = "config.toml was not changed"


class Convergence:
    """One run.

    Args:
        io: the host's half.
        gitlab: what GitLab holds of the runners.
        wanted: what the file is to hold.
        check_mode: whether nothing is to be changed.
    """

    def __init__(
        self, io: ConfigIO, gitlab: GitLabSync, wanted: WantedConfig, *, check_mode: bool
    ) -> None:
        self._io = io
        self._gitlab = gitlab
        self._wanted = wanted
        self._check = check_mode
        # What holds for the whole run, whatever the file is at the next try.
        self._answers: dict[int, Answer] = {}
        self._warnings: dict[str, str] = {}
        self._woken: list[str] = []
        self._examined: set[str] = set()
        self._refused: set[int] = set()
        # What the host's file was at the end of the last question.
        self._newer: HostFile | None = None
        # What an earlier try has written.
        self._written: Outcome | None = None

    def run(self) -> Outcome:
        """Tries until the host has what is wanted."""
        for __ in range(TRIES):
            outcome = self._try()
            if outcome is not None:
                return outcome
        raise AnsibleActionFail(
            f"config.toml was changed by something else at each of {TRIES} tries; no change was "
            "lost: find what writes it, and run again"
        )

    def _try(self) -> Outcome | None:
        """One try; None if the file is another one by now."""
        found = self._find()
        self._warn(_runner_warnings.lost(self._wanted, found), "lost")
        self._warn(_runner_warnings.byte_order_mark(self._wanted, found))
        if self._wake(found):
            return None
        self._settle_by_api(found)
        new = {
            index: question
            for index, question in found.matches.questions.items()
            if index not in self._answers
        }
        if new and not self._check:
            # GitLab is asked over the network: the file may be another one by now, and came with
            # the answers.
            self._register(found, new)
            return None
        plan = self._plan(found, new)
        outcome = self._outcome(plan)
        if not outcome.changed:
            return outcome.with_written(self._written)
        if self._check:
            outcome.message = "; ".join(filter(None, [outcome.message, *self._intents(found, new)]))
            return outcome
        return self._apply(found, plan, outcome)

    def _find(self) -> Found:
        """The host's file, and which of its runners are the wanted ones."""
        file, config = self._read()
        ids = self._gitlab.ids()
        found = _runner_config_plan.find(self._wanted, file, config, ids)
        ToolkitAction.refuse(_runner_config_plan.refusals(self._wanted, found, ids), _UNTOUCHED)
        return found

    def _read(self) -> tuple[HostFile, Data]:
        """The host's file; a torn one is read again."""
        end = time.monotonic() + TORN_SECONDS
        while True:
            file = self._newer or self._io.read()
            self._newer = None
            try:
                return file, file.config()
            except _runner_toml.TomlError as error:
                problem = str(error)
            if time.monotonic() > end:
                raise AnsibleActionFail(
                    f"refused, {_UNTOUCHED}: {self._wanted.folder}/config.toml on the host is not "
                    f"valid TOML ({problem}); it holds the runners' identities: correct it, or "
                    "move it away to have its runners asked about anew"
                )

    def _wake(self, found: Found) -> bool:
        """Has the daemon ask for jobs again for valid runners that it leaves alone.

        Returns:
            True if the daemon was told so: the file has another time now.
        """
        file, runners = found.file, found.config.get("runners", [])
        asleep = _runner_health.asleep(file.complaints, runners, file.now)
        names = [name for name in asleep if name not in self._examined]
        causes = _runner_health.causes(file.complaints, runners, file.now)
        self._warn(
            f"{name}: its daemon leaves it alone, though GitLab has not refused it (403): "
            f"{causes[name]}; correct that, and the daemon takes it up again"
            for name in names
            if name in causes
        )
        names = [name for name in names if name not in causes]
        if not names:
            return False
        self._examined.update(names)
        woken = self._io.wake(names)
        self._woken += woken.names
        created = {self._wanted.runners[index].name: index for index in self._gitlab.created}
        for name in names:
            answer = woken.verified[name]
            if answer == "refused" and created.get(name) in found.matches.positions:
                self._refused.add(created[name])
            else:
                self._warn([awoken(name, answer, woken.reasons.get(name, ""))])
        return bool(woken.names) and not self._check

    def _settle_by_api(self, found: Found) -> None:
        """Of the runners that GitLab's API speaks for: which stands, which is gone."""
        gone = []
        questions = found.matches.questions
        for index in self._gitlab.managed:
            runner, held = self._wanted.runners[index], found.runner(index)
            if index in self._answers or not held.get("id") or not held.get("token"):
                continue
            if index in questions and not runner.created:
                continue
            with self._gitlab_answers():
                is_gone = self._gitlab.is_gone(index, int(held["id"]))
            if is_gone:
                lost = f"GitLab no longer has runner {held['id']}"
                remedy = "create it there again and set its token"
                if runner.created:
                    remedy = "gitlab_runner_recreate=true creates it again"
                    questions[index] = Question(index, lost)
                if not runner.created or not self._gitlab.recreate:
                    gone.append(f"{runner.at}: {lost}; {remedy}")
            elif index in self._refused:
                lost = "GitLab refuses the token that the host holds (403)"
                questions[index] = Question(index, lost)
            else:
                # The host's own identity: nothing to ask GitLab for.
                questions.pop(index, None)
        ToolkitAction.refuse(gone, _UNTOUCHED)

    def _register(self, found: Found, questions: dict[int, Question]) -> None:
        """GitLab's answers; a refusal ends the task unless the host's own identity stands."""
        tokens = {index: self._wanted.runners[index].token for index in questions}
        for index in sorted(self._gitlab.created & set(questions)):
            known = found.known_id(self._wanted.runners[index])
            with self._gitlab_answers():
                tokens[index] = self._gitlab.token(index, known, found.file.system_id)
        answers, self._newer = self._io.register(
            [
                Request.of_table(index, self._wanted.runners[index].table, tokens[index])
                for index in sorted(questions)
            ]
        )
        problems = []
        for index, question in sorted(questions.items()):
            answer, runner = answers[index], self._wanted.runners[index]
            if answer.refused and question.fallback is None:
                problems.append(
                    f"{runner.at}.token: {runner.url} does not know it (403), and "
                    f"{question.reason}: create the runner again in GitLab and set its token"
                )
            elif not answer.identity and not answer.refused:
                problems.append(
                    f"{runner.at}: {runner.url}, asked about its token: "
                    f"{_runner_cli.unanswered(answer.message)}"
                )
        ToolkitAction.refuse(problems, _UNTOUCHED)
        self._answers.update(answers)

    def _plan(self, found: Found, unasked: dict[int, Question]) -> ConfigPlan:
        """What is to be written and set; warns of what goes by it."""
        wanted = self._wanted
        merged = _runner_config_plan.merged(wanted, found, self._answers)
        self._warn(_runner_warnings.dropped_keys(found.config, merged.config, check=self._check))
        self._warn(
            _runner_warnings.replaced(wanted, found, merged, unasked, check=self._check),
        )
        with self._gitlab_answers():
            updates = self._gitlab.updates(_runner_config_plan.ids_of(wanted, merged))
        return _runner_config_plan.plan(
            wanted,
            found,
            merged,
            updates=updates,
            asked=self._answers,
            unasked=unasked if self._check else {},
            woken=self._woken,
        )

    def _outcome(self, plan: ConfigPlan) -> Outcome:
        """What the run says if it ends with this plan."""
        refused = {index for index, answer in self._answers.items() if not answer.identity}
        warnings = [
            *self._gitlab.warnings,
            *self._warnings.values(),
            *_runner_warnings.refused_tokens(self._wanted, refused),
            *_runner_warnings.legacy(self._wanted.runners),
            *_runner_warnings.foreign(self._wanted, plan.foreign),
            *_runner_warnings.shared_builds(plan.merged.config),
        ]
        return outcome_of(plan, warnings, self._gitlab.done, check=self._check)

    def _intents(self, found: Found, questions: dict[int, Question]) -> list[str]:
        """What the real run would ask GitLab, or do there."""
        said = []
        for index, question in sorted(questions.items()):
            runner = self._wanted.runners[index]
            if runner.created:
                with self._gitlab_answers():
                    intent = self._gitlab.intent(index, found.known_id(runner))
                said.append(f"{runner.name}: {intent}")
            else:
                said.append(f"GitLab would be asked about {runner.name}: {question.reason}")
        return said

    def _apply(self, found: Found, plan: ConfigPlan, outcome: Outcome) -> Outcome | None:
        """Writes and sets what is planned; None if the file is another one by now."""
        if plan.updates:
            with self._gitlab_answers():
                ids = _runner_config_plan.ids_of(self._wanted, plan.merged)
                self._gitlab.apply(ids, plan.updates)
        if not (
            plan.writes_config or plan.writes_paused or plan.writes_state or not found.file.safe
        ):
            return outcome
        if plan.writes_config and found.file.active and rotation_due(found.config, found.file.now):
            if self._wait_for_rotation(found.file.sha256):
                return None
            outcome.warnings.append(
                "a runner's token was due for rotation, and the runner did not rotate it in "
                f"{ROTATION_WAIT:.0f} s; can the host reach GitLab?"
            )
        config = plan.merged.config
        swapped = self._io.swap(
            found.file.sha256,
            _runner_toml.dump(config) if plan.writes_config else "",
            state=plan.state_text(),
            paused=without_runners(config),
            verify=plan.unverified,
            # Only then the state file says that GitLab takes them: a run that fails before asks
            # again.
            checked_state=plan.checked_state_text() if plan.unverified else "",
        )
        if not swapped.done:
            return None
        require_valid(swapped.verified)
        outcome.verified = swapped.verified
        self._written = outcome
        # Something may have written the file right after us: then from the start.
        return outcome if _has_all(swapped.file, config) else None

    def _wait_for_rotation(self, before: str) -> bool:
        """True once the file is another one than before."""
        end = time.monotonic() + ROTATION_WAIT
        while time.monotonic() < end:
            if self._io.read().sha256 != before:
                return True
            time.sleep(1)
        return False

    def _warn(self, texts: Iterator[str] | Sequence[str], about: str = "") -> None:
        """Warnings that hold for the whole run, each once; of one subject the first alone."""
        for text in texts:
            self._warnings.setdefault(about or text, text)

    @contextmanager
    def _gitlab_answers(self) -> Iterator[None]:
        """A problem with GitLab's API ends the task with its own words."""
        try:
            yield
        except ApiProblem as problem:
            ToolkitAction.refuse([str(problem)], _UNTOUCHED)


def _has_all(file: HostFile, config: Data) -> bool:
    """True if the file still holds all the runners that were written."""
    try:
        now = file.config()
    except _runner_toml.TomlError:
        return False
    return _runner_config_plan.identities(config) <= _runner_config_plan.identities(now)
