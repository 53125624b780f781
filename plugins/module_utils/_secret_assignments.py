# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets in assignments and options of a text: NAME=value, NAME: value, --name value.

Used on the controller and on the hosts: standard library of Python 3.10 alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from ansible_collections.runnerhost.toolkit.plugins.module_utils._secret_rules import (
    HIDDEN,
    is_harmless,
    looks_secret_name,
    words,
)

# What follows a name in a sentence.
_PROSE = words(
    "a an and as at be by can cannot for from has have in is it may must not of on option options "
    "or that the this to was were will with"
)
# NAME=value, NAME: value, "name": "value", name => value, --name=value; also in a text in which
# line breaks and quotes are escaped.
_ASSIGNMENT = re.compile(
    r"(?:(?<=\\[nrt])|(?<![\w\\\-]))(?:-[A-Za-z](?=[A-Z_])|-{1,2}|(?P<open>\$\{))?"
    r"(?P<name>[A-Za-z_][\w\-]*(?:\.[\w\-]+)*)(?P<close>\\*[\"']?\]?)"
    r"(?P<separator>[ \t]*(?:=>|:=|:-|\+=|(?<![!<>=])=(?![=~])|:(?![:/]))[ \t]*)"
)
# --password value, also as entries of a list.
_OPTION = re.compile(
    r"(?<![\w\-])--?(?P<name>[A-Za-z][\w\-]*)(?P<close>)"
    r"(?P<separator>[ \t]+(?:\\\n\s*)?|[\"'][ \t]*,[ \t]*(?=[\"']))"
)
_QUOTED = re.compile(
    r"\"\"\"(?P<a>.*?)\"\"\"|'''(?P<b>.*?)'''|\"(?P<c>(?:[^\"\\]|\\.)*)\"|'(?P<d>[^']*)'"
    r"|(?P<q>\\+[\"'])(?P<e>.*?)(?P=q)",
    re.S,
)
_WORD = re.compile(
    r"(?:\"(?:[^\"\\]|\\.)*\"|'[^'\n]*'|\$\([^)\n]*\)|\$\{[^}\n]*\}|\{\{.*?\}\}|\\.|[^\s;&|<>()]|\([^\s()]*\))+",
    re.S,
)
# Right behind a quote: all in it is the value, unless the quotes hold a whole command.
_DIRECT = re.compile(r"(?<!c )(?<!c\t)[\"'`]-{0,2}\Z")
_BLOCK = re.compile(r"[|>][+\-]?\d?[ \t]*\n")
_AUTHORIZATION = re.compile(r"(?:bearer|basic|token|digest|negotiate)\s+", re.I)
# What may stand before a key: the begin of a line, of a table, of a list's entry, a diff's mark.
_BEFORE_KEY = re.compile(
    r"(?:^|[{\[,(\"';|&])[ \t]*(?:[-+][ \t]*)?\\*[\"']?\Z|(?:^|\s)-H\s+\Z", re.M
)


def hide(text: str) -> str:
    """The text without the values of assignments and options whose name tells of a secret."""
    text = _hide_spans(text, _ASSIGNMENT, _is_assignment)
    return _hide_spans(text, _OPTION, _is_option)


def _hide_spans(text: str, pattern: re.Pattern[str], tells: Callable[[re.Match[str]], bool]) -> str:
    """The text without the values that follow the matches of a pattern."""
    parts: list[str] = []
    done = 0
    for match in pattern.finditer(text):
        if match.start() < done or not looks_secret_name(match["name"]) or not tells(match):
            continue
        for begin, end in _values(match):
            if end > begin >= done:
                parts += [text[done:begin], HIDDEN]
                done = end
    return "".join([*parts, text[done:]])


def _is_assignment(match: re.Match[str]) -> bool:
    """False for what only looks like one: a reference, a sentence, a name in a path."""
    text, begin = match.string, match.start()
    separator = match["separator"].strip()
    if match["open"]:
        # ${NAME:-value}
        return separator in (":-", ":=", "=") and not match["close"]
    if separator == ":-":
        return False
    before = text[max(0, begin - 1) : begin]
    if before == "$":
        return False
    if separator != ":":
        return True
    name = match["name"]
    if match["close"] or name.lower() == "authorization":
        return True
    if _BEFORE_KEY.search(text, text.rfind("\n", 0, begin) + 1, begin):
        return True
    compound = bool(re.search(r"[_\-]", name)) or name.isupper()
    return compound and before not in ("/", ".")


def _is_option(match: re.Match[str]) -> bool:
    word = _WORD.match(match.string, match.end())
    if word is None or word[0] in _PROSE:
        return False
    # The second: docker build --secret id=NAME,src=FILE
    return not word[0].startswith(("-", "id="))


def _values(match: re.Match[str]) -> Iterator[tuple[int, int]]:
    """Where the value of an assignment or option begins and ends, without its quotes."""
    text, at = match.string, match.end()
    name, separator = match["name"], match["separator"]
    colon = separator.strip() == ":"
    if match.re is _ASSIGNMENT and match["open"]:
        end = text.find("}", at)
        yield from _unless_harmless(text, at, end if end >= 0 else at, name)
        return
    if block := _BLOCK.match(text, at):
        yield from _block(text, match.start(), block.end())
        return
    closed = match["close"].strip("]") or "," in separator
    opened = "" if closed else _open_quote(text, match.start())
    if not (opened and text.startswith(opened, at)) and (quoted := _QUOTED.match(text, at)):
        group = next((key for key in "abcde" if quoted[key] is not None), "a")
        begin, end = quoted.span(group)
        # A shell's word may go on behind the quotes.
        rest = _WORD.match(text, quoted.end())
        if rest and not separator.endswith((" ", "\t")) and rest[0].rstrip(",}])\\\"'"):
            yield from _unless_harmless(text, quoted.start(), rest.end(), name)
            return
        yield from _unless_harmless(text, begin, end, name)
        return
    line_end = text.find("\n", at)
    line_end = len(text) if line_end < 0 else line_end
    line = text[text.rfind("\n", 0, at) + 1 : match.start()]
    if opened:
        if text.startswith(opened, at):
            # "NAME="value
            at += 1
            word = _WORD.match(text, at)
            end = word.end() if word else at
        else:
            close = text.find(opened, at, line_end)
            close = line_end if close < 0 else close
            direct = _DIRECT.search(text, max(0, match.start() - 8), match.start()) is not None
            end = close
            if not (direct or colon):
                end = at + len(re.match(r"[^\s&;]*", text[at:close])[0])  # type: ignore[index]
    elif match.re is _ASSIGNMENT and (
        (colon and separator.endswith((" ", "\t")))
        or separator[:1].isspace()
        or re.fullmatch(r"[ +]*-[ \t]+", line)
    ):
        end = line_end
        if line.count("{") > line.count("}"):
            end = at + len(re.match(r"[^,}]*", text[at:line_end])[0])  # type: ignore[index]
    else:
        word = _WORD.match(text, at)
        end = word.end() if word else at
        pairs = {"}": "{", "]": "[", ")": "("}
        while end > at and text[end - 1] in ",}])\"'`":
            # What closes nothing in the value belongs to what is around it.
            if pairs.get(text[end - 1], "\n") in text[at:end]:
                break
            end -= 1
    yield from _unless_harmless(text, at, end, name)


def _unless_harmless(text: str, begin: int, end: int, name: str) -> Iterator[tuple[int, int]]:
    while end > begin and text[end - 1].isspace():
        end -= 1
    value = text[begin:end]
    if name.lower().endswith("authorization") and (scheme := _AUTHORIZATION.match(value)):
        begin += scheme.end()
        value = text[begin:end]
    if not is_harmless(value, name):
        yield begin, end


def _block(text: str, key: int, at: int) -> Iterator[tuple[int, int]]:
    """YAML's ``name: |`` and what stands deeper below it."""
    line = text[text.rfind("\n", 0, key) + 1 :]
    depth = len(line) - len(line.lstrip(" -+"))
    end, begin = at, -1
    for entry in text[at:].splitlines(keepends=True):
        inner = len(entry) - len(entry.lstrip(" +"))
        if entry.strip() and inner <= depth:
            break
        if entry.strip() and begin < 0:
            begin = end + inner
        end += len(entry)
    if begin >= 0:
        yield from _unless_harmless(text, begin, end, "")


def _open_quote(text: str, at: int) -> str:
    """The quote inside which a place of a line is; empty for none."""
    opened = ""
    begin = text.rfind("\n", 0, at) + 1
    skip = False
    for character in text[begin:at]:
        if skip:
            skip = False
        elif character == "\\" and opened != "'":
            skip = True
        elif character == opened:
            opened = ""
        elif not opened and character in "\"'`":
            opened = character
    return opened
