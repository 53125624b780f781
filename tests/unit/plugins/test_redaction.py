# SPDX-License-Identifier: GPL-3.0-or-later
"""Texts of any length shown without their secrets, and with everything else."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _secrets

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N"
AWS = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"

# A text in which hunter2 (or what is named with it) is the secret, and what must stay readable.
HIDDEN = [
    ("set -e\nexport TWINE_PASSWORD=hunter2\nmake", "set -e\nexport TWINE_PASSWORD=(hidden)\nmake"),
    ("export A=1 TWINE_PASSWORD=hunter2 B=2", "export A=1 TWINE_PASSWORD=(hidden) B=2"),
    ("TWINE_PASSWORD='hunter2 x' make", "TWINE_PASSWORD='(hidden)' make"),
    ('TWINE_PASSWORD="hunter2 \\"x" make', 'TWINE_PASSWORD="(hidden)" make'),
    ('TWINE_PASSWORD=a"hunter2 x"b make', "TWINE_PASSWORD=(hidden) make"),
    ("PASSWORD='abc'hunter2", "PASSWORD=(hidden)"),
    ("Environment=MY_SECRET=hunter2", "Environment=MY_SECRET=(hidden)"),
    ("DB_PASS=hunter2; MYSQL_PWD=hunter2 PGPASSWORD=hunter2 psql", "PGPASSWORD=(hidden) psql"),
    ("TWINE_PASSWORD_PROD=hunter2", "TWINE_PASSWORD_PROD=(hidden)"),
    ("echo PASSWORD1=hunter2 >> x", "echo PASSWORD1=(hidden) >> x"),
    ('docker run -e "PASSWORD=hunter2 and hunter2" image', '-e "PASSWORD=(hidden)" image'),
    ("docker run -e 'API_KEY=hunter2' image", "'API_KEY=(hidden)' image"),
    ("docker run -ePASSWORD=hunter2 image", "-ePASSWORD=(hidden) image"),
    ('bash -c "PASSWORD=hunter2 make"', 'make"'),
    ("cmake -DSIGNING_KEY=hunter2 .", "cmake -DSIGNING_KEY=(hidden) ."),
    ("x=${PASSWORD:-hunter2} y", "x=${PASSWORD:-(hidden)} y"),
    ("curl -u me:hunter2 https://h/", "curl -u me:(hidden) https://h/"),
    ("curl -sfuhunter:hunter2 https://h/", "https://h/"),
    ("curl -s \\\n  --user 'me:hunter2' \\\n  https://h/", "--user 'me:(hidden)' \\\n  https://h/"),
    ("curl --proxy-user me:hunter2 https://h/", "--proxy-user me:(hidden) https://h/"),
    ("http -u me:hunter2 https://h/", "me:(hidden) https://h/"),
    ("curl -H 'PRIVATE-TOKEN: hunter2' https://h/", "'PRIVATE-TOKEN: (hidden)' https://h/"),
    ('curl -H "Private-Token: hunter2" https://h/', '"Private-Token: (hidden)" https://h/'),
    ("curl -H PRIVATE-TOKEN:hunter2 https://h/", "-H PRIVATE-TOKEN:(hidden) https://h/"),
    ("curl -H 'X-Api-Key: hunter2' -H 'Accept: a'", "'X-Api-Key: (hidden)' -H 'Accept: a'"),
    ('-H "Authorization: Bearer hunter2" https', '"Authorization: Bearer (hidden)" https'),
    ("Authorization: Basic bWU6aHVudGVyMg==", "Authorization: Basic (hidden)"),
    ("authorization: token hunter2", "authorization: token (hidden)"),
    ('git -c http.extraHeader="AUTHORIZATION: basic hunter2" fetch', 'basic (hidden)" fetch'),
    ("sent: Bearer hunter2hunter2hunter2", "sent: Bearer (hidden)"),
    ("twine upload --password hunter2 dist/*", "twine upload --password (hidden) dist/*"),
    ("twine upload --password=hunter2 dist/*", "--password=(hidden) dist/*"),
    ("twine upload -u __token__ -p hunter2 dist/*", "-u __token__ -p (hidden) dist/*"),
    ("tool --auth-token 'hunter2' run", "tool --auth-token '(hidden)' run"),
    ("tool --token \\\n  hunter2 run", "(hidden) run"),
    ('["tool", "--password", "hunter2", "run"]', '["tool", "--password", "(hidden)", "run"]'),
    ("keytool -storepass hunter2 -list", "keytool -storepass (hidden) -list"),
    ("openssl rsa -passin pass:hunter2 -in k", "-passin pass:(hidden) -in k"),
    ("sshpass -p hunter2 ssh h", "sshpass -p (hidden) ssh h"),
    ("docker login -u me -p hunter2 registry", "docker login -u me -p (hidden) registry"),
    ("mysql -u me -phunter2 db", "mysql -u me -p(hidden) db"),
    ("echo hunter2 | docker login --password-stdin r", "echo (hidden) | docker login"),
    ("docker login --password-stdin r <<< hunter2", "<<< (hidden)"),
    ("echo hunter2 | sudo -S ls", "echo (hidden) | sudo -S ls"),
    ("echo me:hunter2 | chpasswd", "echo me:(hidden) | chpasswd"),
    ("echo hunter2 > ~/.vault_password", "echo (hidden) > ~/.vault_password"),
    ("machine h login me password hunter2", "machine h login me password (hidden)"),
    ("machine h\n  login me\n  password hunter2\nmachine i", "password (hidden)\nmachine i"),
    ("default login me password hunter2", "default login me password (hidden)"),
    ("echo 'machine h login me password hunter2' > ~/.netrc", "password (hidden)' > ~/.netrc"),
    ("printf 'machine h\\nlogin me\\npassword hunter2\\n'", "password (hidden)\\n'"),
    ('{"user": "me", "password": "hunter2", "x": 1}', '"password": "(hidden)", "x": 1}'),
    ('{"auths": {"r": {"auth": "bWU6aHVudGVyMg=="}}}', '{"auth": "(hidden)"}}}'),
    ("-d '{\"password\": \"hunter2\", \"x\": 1}'", '"(hidden)", "x": 1}\''),
    ('text = "{\\"password\\": \\"hunter2\\", \\"x\\": 1}"', '\\"(hidden)\\", \\"x\\": 1}"'),
    ('script = "a\\nexport SECRET=hunter2\\nb"', "SECRET=(hidden)"),
    ("user: me\npassword: hunter2\nhost: h", "user: me\npassword: (hidden)\nhost: h"),
    ("password: correct hunter2 staple\nhost: h", "password: (hidden)\nhost: h"),
    ("{user: me, password: hunter2, host: h}", "{user: me, password: (hidden), host: h}"),
    ("key:\n  password: |\n    hunter2\n    hunter2\n  next: 1", "|\n    (hidden)\n  next: 1"),
    ("password = hunter2\nuser = me", "password = (hidden)\nuser = me"),
    ("SecretKey = \"hunter2\"\nBucketName = 'b'", "SecretKey = \"(hidden)\"\nBucketName = 'b'"),
    ('SECRET = """\nhunter2\n"""\nA = 1', 'SECRET = """(hidden)\n"""\nA = 1'),
    ("//npm.example.com/:_authToken=hunter2", "//npm.example.com/:_authToken=(hidden)"),
    ("'password' => 'hunter2',", "'password' => '(hidden)',"),
    ('os.environ["API_TOKEN"] = "hunter2"', 'os.environ["API_TOKEN"] = "(hidden)"'),
    ("Server=h;Password=hunter2;Port=1", "Server=h;Password=(hidden);Port=1"),
    ("https://h/api?private_token=hunter2&page=2", "private_token=(hidden)&page=2"),
    ("curl -d 'user=me&password=hunter2&x=1' h", "password=(hidden)&x=1' h"),
    ("curl -F token=hunter2 -F ref=main h", "-F token=(hidden) -F ref=main h"),
    ("<server><password>hunter2</password></server>", "<password>(hidden)</password></server>"),
    ("git clone https://me:hunter2@h/g/p.git", "https://me:(hidden)@h/g/p.git"),
    ("git clone https://me:hunter2@2@h/g/p.git", "https://me:(hidden)@h/g/p.git"),
    ("redis://:hunter2@h:6379/0", "redis://:(hidden)@h:6379/0"),
    ("https://hunter2hunter2hunter2@h/g/p.git", "https://(hidden)@h/g/p.git"),
    ("+export TOKEN=hunter2\n-export A=1", "+export TOKEN=(hidden)\n-export A=1"),
    ("GITLAB_TOKEN=hunter2 make # it's odd", "GITLAB_TOKEN=(hidden) make # it's odd"),
    ("echo \"don't\"; export TOKEN=hunter2; make", "TOKEN=(hidden); make"),
    ("- A_TOKEN=hunter2 hunter2\n- B=1", "- A_TOKEN=(hidden)\n- B=1"),
    ("- name: DB_PASSWORD\n  value: hunter2\n", "value: (hidden)\n"),
    ('{"key": "DB_PASSWORD", "value": "hunter2"}', '"value": "(hidden)"}'),
    (f"id={JWT} x", "id=(hidden) x"),
    (f"aws_secret_access_key = {AWS}", "aws_secret_access_key = (hidden)"),
    (f"aws_secret_access_key = /{AWS}", "aws_secret_access_key = (hidden)"),
    ("glpat-hunter2hunter2, next", "(hidden), next"),
    ("token acme-glrt-t1_hunter2hunter2hunter2 is", "token acme-(hidden) is"),
    ("token acmeglrt-hunter2hunter2hunter2 is", "token acme(hidden) is"),
    ("SIE_glcbt-hunter2hunter2 x", "SIE_(hidden) x"),
    ("ghp_hunter2hunter2hunter2 x", "(hidden) x"),
    ("xoxb-1234-hunter2hunter2 x", "(hidden) x"),
    ("a\n  -----BEGIN OPENSSH PRIVATE KEY-----\n  hunter2\n  -----END OPENSSH PRIVATE KEY-----\nb",
     "a\n  (hidden)\nb"),
    ("-----BEGIN PGP PRIVATE KEY BLOCK-----\nhunter2\n-----END PGP PRIVATE KEY BLOCK-----\nb",
     "(hidden)\nb"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "kept"), HIDDEN)
def test_only_the_secret_of_a_text_is_hidden(text: str, kept: str) -> None:
    shown = _secrets.redact_text(text)
    for secret in ("hunter2", "bWU6aHVudGVyMg", AWS, JWT):
        assert secret not in shown
    assert kept in shown


@pytest.mark.parametrize(("text", "kept"), HIDDEN)
def test_a_script_is_redacted_wherever_it_stands(text: str, kept: str) -> None:
    """As config.toml, a file of variables and a report hold it."""
    long = f"set -eu\ncd /srv\n{text}\necho done\n"
    shown = _secrets.redact({"runners": [{"pre_build_script": long}], "lines": [long]})
    for place in (shown["runners"][0]["pre_build_script"], shown["lines"][0]):
        assert "hunter2" not in place
        assert place.startswith("set -eu\ncd /srv\n")
        assert place.endswith("echo done\n")
    assert "hunter2" not in _secrets.redact_text(json.dumps(shown))


@pytest.mark.parametrize(
    "text",
    [
        "PASSWORD_FILE=/etc/x TOKEN_TTL=30 TOKEN_URL=https://h/oauth/token",
        "GOOGLE_APPLICATION_CREDENTIALS=/etc/ci/key.json",
        "GOOGLE_APPLICATION_CREDENTIALS: key.json",
        "FF_USE_GIT_PROACTIVE_AUTH=true\nUSE_TOKEN=1\nMAX_TOKENS=4096",
        "export TOKEN=$CI_JOB_TOKEN PASSWORD=${PASSWORD:?is missing}",
        'export PASSWORD="$(cat /run/secrets/password)"',
        "token: {{ vault_gitlab_runner_build_token }}",
        "https://gitlab-ci-token:${CI_JOB_TOKEN}@gitlab.example.com/g/p.git",
        "twine upload -u __token__ --password $PYPI_TOKEN dist/*",
        "curl -H 'PRIVATE-TOKEN: $TOKEN' https://h/",
        'curl -u "me:$PASSWORD" https://h/',
        "docker run -u 1000:1000 -u node:node -p 80:80 image",
        "docker run --user app:app image",
        "docker build --secret id=npm,src=/root/.npmrc .",
        "mkdir -p build/dist; ssh -p 2222 h; grep -w word file",
        "docker login --password-stdin registry.example.com",
        "id_tokens:\n  ID_TOKEN:\n    aud: https://h\n",
        "permissions:\n  id-token: write\n  contents: read",
        "secrets: inherit",
        "tokenize = True\nauthor = Me\nsecretary: Ann\nkeymap=de",
        "cache:\n  key: files\n  paths: [.cache]",
        "git+https://h:8443/g/p.git@v1.0 git@h:g/p.git ssh://git@h/g/p.git",
        "the token is wrong: ask for a new password, or use the option --token to give one",
        "remote: HTTP Basic: Access denied. If a password was provided for Git authentication",
        "sudo: a password is required",
        "registry.example.com/group/app-token:1.2 and /secret:latest",
        'test "$TOKEN" != "" && [[ $PASSWORD == x ]]',
        "if token == other: pass",
        "token = get_token()\npassword = os.environ['X']",
        "ssh-keygen -f key; gpg --passphrase-fd 0",
        "AUTH_TYPE=basic SECRET_NAME=db CREDENTIALS_PATH=./x KEY_ID=ab12cd34",
        "token_obtained_at = 2026-01-01T00:00:00Z",
        "machine h login me account x; the default password is changed",
        "for key in a b; do echo $key; done",
        "password: ''\ntoken = \"\"",
    ],
)
def test_harmless_text_stays_as_it_is(text: str) -> None:
    assert _secrets.redact_text(text) == text
    assert _secrets.redact([text]) == [text]


@given(st.lists(st.sampled_from([text for text, _ in HIDDEN]), max_size=4), st.text(max_size=30))
def test_redacting_twice_is_redacting_once(parts: list[str], more: str) -> None:
    once = _secrets.redact_text("\n".join([*parts, more]))
    assert _secrets.redact_text(once) == once
    assert "hunter2" not in _secrets.redact_text("\n".join(parts))


def test_a_long_text_takes_no_time() -> None:
    text = 'export PATH=/x; echo "don\'t" | tee -a log && curl -s https://h/ -o x\n' * 5000
    began = time.monotonic()
    assert _secrets.redact_text(text) == text
    assert _secrets.redact_text("a" * 200_000) == "a" * 200_000
    assert _secrets.redact_text("password" * 20_000)
    assert time.monotonic() - began < 20
