"""Where packages come from: what pip and uv are configured with, in pip's order of precedence."""

from pathlib import Path

import pytest

from modelyard.environments.indexes import find_indexes, local_path
from modelyard.environments.pip_settings import read_pip_settings


def _configure(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """The variables of a machine on which no file of the real one counts."""
    return {"HOME": str(tmp_path), "XDG_CONFIG_DIRS": str(tmp_path / "xdg"), "PIP_CONFIG_FILE": "/dev/null"}


def test_nothing_configured_means_the_public_index(bare: dict[str, str]) -> None:
    found = find_indexes(bare)
    assert found.remote
    assert dict(found.variables) == {"UV_INDEX_STRATEGY": "unsafe-best-match"}


def test_files_give_way_to_variables_and_global_to_install(tmp_path: Path) -> None:
    _configure(tmp_path / ".pip/pip.conf", "[install]\ntimeout = 7\n[global]\ntimeout = 5\nproxy = http://old:1\n")
    named = _configure(tmp_path / "named.conf", "[global]\ntimeout = 6\n")
    settings = read_pip_settings({"HOME": str(tmp_path)}, prefix=tmp_path)
    assert settings["timeout"] == "7"
    assert settings["proxy"] == "http://old:1"
    environ = {"HOME": str(tmp_path), "PIP_CONFIG_FILE": str(named), "PIP_TIMEOUT": "9"}
    settings = read_pip_settings(environ, prefix=tmp_path)
    assert settings["timeout"] == "9"
    assert "proxy" not in settings, "a file named by PIP_CONFIG_FILE replaces the user's"


def test_a_broken_configuration_file_is_passed_over(tmp_path: Path, bare: dict[str, str]) -> None:
    broken = _configure(tmp_path / "pip.conf", "[global\nindex-url")
    assert find_indexes(bare | {"PIP_CONFIG_FILE": str(broken)}).remote


def test_indexes_links_hosts_and_certificates_become_uvs(tmp_path: Path, bare: dict[str, str]) -> None:
    (tmp_path / "links").mkdir()
    text = f"""[global]
index-url = https://user:secret@one.example/simple
extra-index-url = https://two.example/simple
    https://three.example/simple
find-links = {tmp_path / "links"} {tmp_path / "absent"}
trusted-host = one.example two.example
cert = {tmp_path / "ca.pem"}
timeout = 60
"""
    _configure(tmp_path / "ca.pem", "x")
    found = find_indexes(bare | {"PIP_CONFIG_FILE": str(_configure(tmp_path / "pip.conf", text))})
    assert dict(found.variables) == {
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_DEFAULT_INDEX": "https://user:secret@one.example/simple",
        "UV_INDEX": "https://two.example/simple https://three.example/simple",
        "UV_FIND_LINKS": str(tmp_path / "links"),
        "UV_INSECURE_HOST": "one.example,two.example",
        "SSL_CERT_FILE": str(tmp_path / "ca.pem"),
        "UV_HTTP_TIMEOUT": "60",
    }
    assert found.readable == (tmp_path / "links", tmp_path / "ca.pem")


def test_local_indexes_that_are_absent_are_left_out(tmp_path: Path, bare: dict[str, str]) -> None:
    (tmp_path / "simple").mkdir()
    urls = f"file://{tmp_path}/simple file://{tmp_path}/none/simple"
    found = find_indexes(bare | {"PIP_EXTRA_INDEX_URL": urls, "PIP_NO_INDEX": "0"})
    assert found.variables["UV_INDEX"] == f"file://{tmp_path}/simple"


def test_a_local_index_shows_the_folders_its_pages_link_to_and_no_more(tmp_path: Path, bare: dict[str, str]) -> None:
    (tmp_path / "index/files").mkdir(parents=True)
    (tmp_path / "index/secret").mkdir()
    page = '<a href="../../files/a-1.whl#sha256=0">a</a><a href="../../../../etc/passwd">b</a><a href="x.whl">c</a>'
    _configure(tmp_path / "index/simple/a/index.html", page)
    found = find_indexes(bare | {"UV_DEFAULT_INDEX": f"file://{tmp_path}/index/simple"})
    assert not found.remote
    assert found.readable == (tmp_path / "index/simple", tmp_path / "index/files")


def test_variables_of_uv_win_over_pips_and_credentials_pass(bare: dict[str, str]) -> None:
    environ = bare | {
        "PIP_INDEX_URL": "https://pip.example/simple",
        "UV_DEFAULT_INDEX": "https://uv.example/simple",
        "UV_INDEX": "mine=https://mine.example/simple",
        "UV_INDEX_MINE_PASSWORD": "secret",
        "UV_CACHE_DIR": "/elsewhere",
        "MODELYARD_DATABASE_URL": "postgresql://u:p@h/d",
    }
    found = find_indexes(environ)
    assert found.variables["UV_DEFAULT_INDEX"] == "https://uv.example/simple"
    assert found.variables["UV_INDEX_MINE_PASSWORD"] == "secret"
    assert not {"UV_CACHE_DIR", "MODELYARD_DATABASE_URL"} & set(found.variables)


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("https://example.org/simple", None),
        ("name=https://example.org/simple", None),
        ("file:///a%20b/simple", Path("/a b/simple")),
        ("/wheels", Path("/wheels")),
    ],
)
def test_a_location_is_local_or_not(location: str, path: Path | None) -> None:
    assert local_path(location) == path
