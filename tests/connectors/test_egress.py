"""Row 8 of the attacks: however an address is written, what is not public is not connected to."""

import socket
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

import msgspec
import pytest
import requests

from modelyard.connectors.egress import Egress, Endpoint
from modelyard.connectors.locations import Found
from modelyard.connectors.tunnel import Tunnel
from modelyard.errors import InvalidParameterError
from modelyard.settings import Settings
from tests.connectors.conftest import Answer

Web = Callable[[dict[str, Answer]], str]
CLOSED = [
    "169.254.169.254", "127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0x7f.1", "017700000001",
    "0", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "198.18.0.1", "224.0.0.1", "240.0.0.1",
    "255.255.255.255", "::1", "::", "::ffff:127.0.0.1", "::ffff:7f00:1", "::127.0.0.1", "fe80::1", "fc00::1",
    "fd00:ec2::254", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2001:0:7f00:1::", "ff02::1",
    "64:ff9b:1::7f00:1",
]  # fmt: skip


@pytest.mark.parametrize("host", CLOSED)
def test_addresses_that_are_not_public_are_refused(host: str) -> None:
    with pytest.raises(InvalidParameterError, match=r"can't be reached from here|is not known"):
        Egress().resolve(host, 80)


@pytest.mark.parametrize("host", ["1.1.1.1", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"])
def test_public_addresses_are_not(host: str) -> None:
    assert Egress().resolve(host, 443)


@pytest.mark.parametrize(
    "host", ["", "a b", "host\n", "-x", "[::1]", "user@host", "/tmp/socket", "a,b", "h" * 300, "%00"]
)
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(InvalidParameterError):
        Egress().resolve(host, 80)


def test_a_name_that_resolves_to_loopback_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("127.0.0.1", 80))])
    with pytest.raises(InvalidParameterError, match="loopback"):
        Egress().resolve("innocent.example.com", 80)


def test_the_address_that_was_judged_is_the_one_that_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that answers differently the second time (rebinding) changes nothing: there is no second time."""
    answers = [[(2, 1, 6, "", ("192.0.2.1", 80))], [(2, 1, 6, "", ("127.0.0.1", 80))]]
    asked: list[str] = []

    def resolve(host: str, *_: object, **__: object) -> object:
        asked.append(host)
        return answers[min(len(asked), 2) - 1]

    rule = Egress.of(Settings.load({}, allowed_networks=["192.0.2.0/24"]))
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    connected: list[object] = []
    monkeypatch.setattr(socket, "create_connection", lambda address, *_: connected.append(address))
    rule.connect("rebinding.example.com", 80)
    assert (asked, connected) == (["rebinding.example.com"], [("192.0.2.1", 80)])


def test_the_operator_opens_networks_and_connectors_their_own_endpoint() -> None:
    settings = Settings.load({"MODELYARD_ALLOWED_NETWORKS": "127.0.0.0/8,fd00::/8"})
    assert settings.allowed_networks == ("127.0.0.0/8", "fd00::/8")
    assert Egress.of(settings).resolve("127.0.0.1", 80) == "127.0.0.1"
    assert Egress.of(settings).resolve("::ffff:127.0.0.1", 80)
    with pytest.raises(InvalidParameterError):
        Egress.of(settings).resolve("10.0.0.1", 80)
    named = Egress(trusted=frozenset({Endpoint("127.0.0.1", 9000)}))
    assert named.resolve("127.0.0.1", 9000)
    with pytest.raises(InvalidParameterError):
        named.resolve("127.0.0.1", 9001)


def test_a_tunnel_judges_every_host_it_is_asked_for(web: Web, opened: Settings) -> None:
    url = web({"/a": (200, {"Content-Length": "2"}, b"ok"), "/r": (302, {"Location": "http://127.0.0.2:1/"}, b"")})
    with Tunnel(Egress.of(opened)) as tunnel:
        proxies = {"http": tunnel.url, "https": tunnel.url}
        assert requests.get(f"{url}/a", proxies=proxies, timeout=5).content == b"ok"
        assert requests.get(f"{url}/r", proxies=proxies, timeout=5).status_code == 403
        assert tunnel.refusal is not None
        assert requests.get("http://169.254.169.254/latest", proxies=proxies, timeout=5).status_code == 403
        with pytest.raises(requests.exceptions.ProxyError, match="403"):
            requests.get("https://127.0.0.2/", proxies=proxies, timeout=5)
        bare = f"http://127.0.0.1:{urlsplit(tunnel.url).port}"
        assert requests.get(f"{url}/a", proxies={"http": bare}, timeout=5).status_code == 407
    with pytest.raises(requests.exceptions.ConnectionError):
        requests.get(f"{url}/a", proxies=proxies, timeout=5)
    for thread in [thread for thread in threading.enumerate() if thread.name == "tunnel"]:
        thread.join(2)
        assert not thread.is_alive()


def read(settings: Settings, location: str) -> bytes:
    with Found(location, settings).open() as place:
        return b"".join(place.read(place.files()[0]))


def test_a_file_is_read_from_the_web_over_redirects(web: Web, opened: Settings) -> None:
    url = web({"/a": (302, {"Location": "/b?x=1"}, b""), "/b?x=1": (200, {}, b"a,b\n1,2\n")})
    assert read(opened, f"{url}/a") == b"a,b\n1,2\n"


@pytest.mark.parametrize(
    "target",
    ["http://127.0.0.2/", "http://169.254.169.254/latest/meta-data", "https://127.0.0.2/", "file:///etc/passwd",
     "http://[::1]/", "http://2130706434/", "gopher://127.0.0.1/", "http://user@127.0.0.2/", "//127.0.0.2/x"],
)  # fmt: skip
def test_a_redirect_to_what_is_closed_is_refused(web: Web, opened: Settings, target: str) -> None:
    url = web({"/": (302, {"Location": target}, b"")})
    with pytest.raises(InvalidParameterError):
        read(opened, f"{url}/")


@pytest.mark.parametrize(
    "location", ["https://127.0.0.1/a", "http://localhost/a", "https://[::ffff:127.0.0.1]/", "https://2130706433/x"]
)
def test_a_location_on_what_is_closed_is_refused(settings: Settings, location: str) -> None:
    with pytest.raises(InvalidParameterError):
        read(settings, location)


def test_endless_redirects_long_answers_and_broken_ones_are_refused(web: Web, opened: Settings) -> None:
    small = msgspec.structs.replace(opened, location_limit=10)
    url = web({
        "/loop": (302, {"Location": "/loop"}, b""), "/said": (200, {"Content-Length": "11"}, b"a" * 11),
        "/unsaid": (200, {}, b"a" * 11), "/broken": (200, {"Content-Length": "9"}, b"a"),
    })  # fmt: skip
    for path, reason in (
        ("loop", "redirects"),
        ("said", "location_limit"),
        ("unsaid", "location_limit"),
        ("no", "404"),
    ):
        with pytest.raises(InvalidParameterError, match=reason):
            read(small, f"{url}/{path}")
    with pytest.raises(InvalidParameterError, match=r"broke off|IncompleteRead"):
        read(small, f"{url}/broken")
