"""apt's source files and the twins of a repository."""

from __future__ import annotations

from ansible_collections.runnerhost.toolkit.plugins.module_utils import apt_sources

URL = "https://packages.example.com/runner/ubuntu"
LIST = f"""# vendor
deb [signed-by=/usr/share/keyrings/x.gpg] {URL}/ jammy main
deb-src [signed-by=/usr/share/keyrings/x.gpg] {URL}/ jammy main
deb http://archive.example.com/ubuntu jammy main
"""
SOURCES = f"""Types: deb
URIs: {URL}
Suites: jammy
Components: main
Signed-By: /etc/apt/keyrings/x.asc

Types: deb
URIs: http://archive.example.com/ubuntu
Suites: jammy
Components: main
"""
TWINS = apt_sources.Twins(uris=(URL,))
JAMMY = apt_sources.Twins(suites=("jammy",))


def test_lines_of_the_repository_are_commented_out() -> None:
    text, found = apt_sources.without_list(LIST, TWINS)
    assert found == 2
    assert f"# deb [signed-by=/usr/share/keyrings/x.gpg] {URL}/ jammy main" in text
    assert "\ndeb http://archive.example.com/ubuntu jammy main" in text
    assert apt_sources.has_entries(text, deb822=False)
    assert apt_sources.without_list(text, TWINS) == (text, 0)


def test_a_vendors_own_file_is_empty_afterwards() -> None:
    text, _ = apt_sources.without_list("".join(LIST.splitlines(True)[:3]), TWINS)
    assert not apt_sources.has_entries(text, deb822=False)


def test_stanza_of_the_repository_is_disabled() -> None:
    text, found = apt_sources.without_deb822(
        SOURCES, apt_sources.Twins(uris=("http://packages.example.com/runner/ubuntu/",))
    )
    assert found == 1
    assert text.count("Enabled: no") == 1
    assert apt_sources.has_entries(text, deb822=True)
    assert apt_sources.without_deb822(text, TWINS) == (text, 0)


def test_longer_address_is_another_repository() -> None:
    assert apt_sources.without_list(LIST, apt_sources.Twins((URL + "-beta",)))[1] == 0


def test_sources_carry_their_key() -> None:
    text = apt_sources.render_sources(URL, "jammy", ["main"], "-----BEGIN-----\n\nabc\n", "About")
    fields = apt_sources.stanza_fields(text)
    assert fields["uris"] == URL
    assert fields["components"] == "main"
    assert text.endswith("Signed-By:\n -----BEGIN-----\n .\n abc\n")


def test_flat_repository_has_no_components() -> None:
    text = apt_sources.render_sources(URL, "./", ["main"], "k", "About")
    assert "Components" not in text


def test_distributions_own_entries_are_disabled_and_put_back() -> None:
    listed = """deb http://archive.example.com/ubuntu jammy main universe
deb [arch=amd64] http://archive.example.com/ubuntu jammy-security main
deb http://other.example.com/ubuntu noble main
"""
    text, found = apt_sources.without_list(listed, JAMMY)
    assert found == 2
    assert "\ndeb http://other.example.com" in text
    assert apt_sources.with_distribution(text) == listed
    named = (
        "Types: deb\nURIs: http://a.example.com/\nSuites: jammy jammy-updates\nComponents: main\n"
    )
    text, found = apt_sources.without_deb822(named, JAMMY)
    assert found == 1
    assert not apt_sources.has_entries(text, deb822=True)
    assert apt_sources.with_distribution(text) == named


def test_putting_the_distribution_back_leaves_other_twins_disabled() -> None:
    text, _ = apt_sources.without_list(LIST, TWINS)
    assert apt_sources.with_distribution(text) == text


def test_keyring_of_the_host_is_named_by_its_path() -> None:
    text = apt_sources.render_sources(URL, ["jammy", "jammy-updates"], ["main"], "/k.gpg", "About")
    fields = apt_sources.stanza_fields(text)
    assert (fields["suites"], fields["signed-by"]) == ("jammy jammy-updates", "/k.gpg")
