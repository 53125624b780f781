# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands that a job's own user runs: artifacts and caches."""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
import time
import urllib.parse
import urllib.request
import uuid

from standins.gitlab_runner.archives import extract_zip, matched_files, write_zip
from standins.gitlab_runner.log import log
from standins.gitlab_runner.network import Network
from standins.gitlab_runner.tokens import short_token


def helper_network(options: dict[str, list[str]]) -> Network:
    """Return the API for a helper command; the CA is the one that the job was given."""
    return Network(options["url"][0], os.environ.get("CI_SERVER_TLS_CA_FILE", ""))


def artifacts_uploader(options: dict[str, list[str]]) -> None:
    """Pack and upload one artifact."""
    names = matched_files(options)
    files = [name for name in names if not os.path.isdir(name) or os.path.islink(name)]
    if not names:
        log.error("No files to upload.")
        return
    kind = options.get("artifact-type", ["archive"])[0]
    form = options.get("artifact-format", ["zip"])[0]
    with tempfile.TemporaryDirectory() as folder:
        packed = os.path.join(folder, "artifact")
        name = options.get("name", ["artifacts" if form == "gzip" else ""])[0]
        if form == "gzip":
            with open(packed, "wb") as out:
                for path in files:
                    with open(path, "rb") as file:
                        out.write(gzip.compress(file.read()))
            filename = f"{name}.gz"
        elif form == "raw":
            shutil.copyfile(files[0], packed)
            filename = os.path.basename(files[0])
        else:
            write_zip(packed, names)
            filename = f"{name or 'artifacts'}.zip"
        with open(packed, "rb") as file:
            upload(options, kind, form, filename, file.read())


def upload(
    options: dict[str, list[str]], kind: str, form: str, filename: str, content: bytes
) -> None:
    """Send an artifact, with the real one's number of tries."""
    network = helper_network(options)
    token, job = options["token"][0], options["id"][0]
    query = {"artifact_format": form, "artifact_type": kind}
    if expire := options.get("expire-in", [""])[0]:
        query["expire_in"] = expire
    boundary = uuid.uuid4().hex
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    body = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}", "JOB-TOKEN": token}
    base = f'Uploading artifacts as "{kind}" to coordinator...'
    fields = {"id": job, "token": short_token(token)}
    tries, attempt = 3, 0
    while True:
        attempt += 1
        path = f"jobs/{job}/artifacts?{urllib.parse.urlencode(sorted(query.items()))}"
        answer = network.raw("POST", path, body, headers)
        if answer.status == 201:
            log.info(f"{base} 201 Created", responseStatus=answer.text, **fields)
            return
        if answer.status == 503:
            tries = 6
        words = {403: "forbidden", 413: "too large archive"}.get(answer.status, "failed")
        log.error(f"{base} {words}", responseStatus=answer.text, **fields)
        if answer.status in (403, 413) or attempt >= tries:
            log.fatal(f"invalid argument: {answer.text}")
        log.warning("Retrying...", context="artifacts-uploader", error=answer.text)
        time.sleep(min(1.0 * 2 ** (attempt - 1), 5.0))


def artifacts_downloader(options: dict[str, list[str]]) -> None:
    """Fetch and unpack the archive of another job."""
    network = helper_network(options)
    token, job = options["token"][0], options["id"][0]
    base = "Downloading artifacts from coordinator..."
    with tempfile.TemporaryDirectory() as folder:
        target = os.path.join(folder, "artifacts.zip")
        for attempt in range(3):
            path = f"jobs/{job}/artifacts" + ("?direct_download=true" if attempt == 0 else "")
            with open(target, "wb") as sink:
                answer = network.raw("GET", path, None, {"JOB-TOKEN": token}, sink)
            if answer.status in (301, 302, 303, 307) and "location" in answer.headers:
                with (
                    urllib.request.urlopen(answer.headers["location"], timeout=600) as source,
                    open(target, "wb") as sink,
                ):
                    shutil.copyfileobj(source, sink)
                answer.status = 200
            if answer.status == 200:
                log.info(f"{base} ok", id=job, responseStatus="200 OK", token=short_token(token))
                extract_zip(target)
                return
            words = {401: "unauthorized", 403: "forbidden", 404: "not found"}
            log.error(
                f"{base} {words.get(answer.status, 'error')}",
                id=job,
                responseStatus=answer.text,
                token=short_token(token),
            )
            if answer.status in words:
                break
            time.sleep(1.0)
    log.fatal(answer.text)


def cache_archiver(options: dict[str, list[str]]) -> None:
    """Pack a cache; the folder is the job user's alone."""
    target = options["file"][0]
    names = matched_files(options)
    if not names:
        log.warning("No files to cache.")
        return
    os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
    part = f"{target}.part"
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    write_zip(part, names)
    os.replace(part, target)
    log.info(
        "No URL provided, cache will not be uploaded to shared cache server. Cache will be "
        "stored only locally."
    )
    print("Created cache", flush=True)


def cache_extractor(options: dict[str, list[str]]) -> None:
    """Unpack a cache; a miss is a warning."""
    path = options["file"][0]
    if not os.path.exists(path):
        log.warning("Cache file does not exist")
        return
    extract_zip(path)
    print("Successfully extracted cache", flush=True)
