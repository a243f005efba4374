"""Where webhooks may lead: the internet, and nothing that only this server can reach."""

import asyncio
import ipaddress
from typing import Any

import pytest

from infra.settings import SettingsError, read_settings
from infra.webhooks.running import policy_of
from infra.webhooks.targets import Policy, Target, TargetError, is_public, parse

NOT_PUBLIC = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "192.168.255.255",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808",
    "64:ff9b:1::a00:1",
    "100::1",
    "2001::1",
    "2001:0:7f00:1::",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fdff::1",
    "fe80::1",
    "fe80::1%1",
    "2606:4700::1%1",
    "fec0::1",
    "ff02::1",
]
PUBLIC = [
    "1.1.1.1",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.1",
    "168.63.129.17",
    "169.253.255.255",
    "172.15.255.255",
    "172.32.0.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2001:200::1",
    "2001:4860:4860::8888",
    "2606:4700:4700::1111",
    "2a00:1450:4001::1",
]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_what_is_not_of_the_internet(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("network", ["127.0.0.0/8", "::/0", "0.0.0.0/0"])
def test_what_an_operator_allows_is_allowed_and_nothing_else(network: str) -> None:
    policy = Policy(allowed_networks=[network])
    for text in NOT_PUBLIC:
        address = ipaddress.ip_address(text)
        inside = ipaddress.ip_network(network)
        assert policy.allows(address) is (address.version == inside.version and address in inside)


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("https://example.org", Target("https", "example.org", 443, "/")),
        ("HTTPS://Example.ORG/A?b=C&d", Target("https", "example.org", 443, "/A?b=C&d")),
        ("https://example.org:8443/x", Target("https", "example.org", 8443, "/x")),
        ("https://example.org:80/", Target("https", "example.org", 80, "/")),
        ("http://example.org/", Target("http", "example.org", 80, "/")),
        ("https://[2606:4700::1]:8443/", Target("https", "2606:4700::1", 8443, "/")),
        (
            "https://xn--bcher-kva.example/%C3%BC",
            Target("https", "xn--bcher-kva.example", 443, "/%C3%BC"),
        ),
        ("https://example.org/a@b", Target("https", "example.org", 443, "/a@b")),
    ],
)
def test_the_parts_of_an_address(url: str, parts: Target) -> None:
    assert parse(url) == parts


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("", "url"),
        ("example.org", "url"),
        ("ftp://example.org/", "url"),
        ("file:///etc/passwd", "url"),
        ("gopher://example.org:1/_x", "url"),
        ("https://", "url"),
        ("https:///x", "url"),
        ("https://example.org/#x", "url"),
        ("https://example.org/ x", "url"),
        ("https://example.org/\r\nHost: x", "url"),
        ("https://example.org\\@127.0.0.1/", "credentials"),
        ("https://example.org\\.evil.example/", "url"),
        ("https://exa mple.org/", "url"),
        ("https://b\u00fccher.example/", "url"),
        ("https://\u2460.example/", "url"),
        ("https://127\u30020.0.1/", "url"),
        ("https://[::1/", "url"),
        ("https://[:::1]/", "url"),
        ("https://[fe80::1%251]/", "url"),
        ("https://example.org?x", "url"),
        ("https://example.org/" + "x" * 2000, "url"),
        ("https://kim@example.org/", "credentials"),
        ("https://kim:secret@example.org/", "credentials"),
        ("https://example.org:22/", "port"),
        ("https://example.org:0/", "port"),
        ("https://example.org:65536/", "port"),
        ("https://example.org:99999/", "port"),
        ("https://example.org:999999/", "url"),
        ("https://example.org:/", "url"),
    ],
)
def test_what_is_no_address(url: str, kind: str) -> None:
    with pytest.raises(TargetError) as refused:
        parse(url)
    assert refused.value.kind == kind


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("https://example.org/hook", "example.org"),
        ("https://example.org:443/", "example.org"),
        ("http://example.org:80/", "example.org"),
        ("http://example.org:443/", "example.org:443"),
        ("https://Example.org:8443/", "example.org:8443"),
        ("https://[2606:4700::1111]/", "[2606:4700::1111]"),
        ("https://[2606:4700::1111]:8443/", "[2606:4700::1111]:8443"),
    ],
)
def test_how_a_target_is_called_in_the_header(url: str, authority: str) -> None:
    assert parse(url).authority == authority


def test_only_what_is_encrypted_unless_somebody_says_so() -> None:
    with pytest.raises(TargetError, match="https"):
        Policy().target("http://example.org/")
    assert Policy(allow_insecure=True).target("http://example.org/").port == 80


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::]",
    ],
)
def test_this_machine_by_any_name_is_refused(host: str) -> None:
    with pytest.raises(TargetError) as refused:
        asyncio.run(Policy().check(f"https://{host}/"))
    assert refused.value.kind == "forbidden_address"


def test_an_address_of_the_internet_is_resolved_to_itself() -> None:
    found = asyncio.run(Policy().resolve("2606:4700:4700::1111", 443))
    assert found == [ipaddress.ip_address("2606:4700:4700::1111")]


def test_a_name_that_is_none() -> None:
    with pytest.raises(TargetError) as refused:
        asyncio.run(Policy().check("https://no-such-name.invalid/"))
    assert refused.value.kind == "unresolved"


@pytest.mark.parametrize("inside", ["10.0.0.7", "::1"])
def test_one_address_inside_rules_out_the_name(
    monkeypatch: pytest.MonkeyPatch, inside: str
) -> None:
    def answers(*_: Any) -> list[Any]:
        return [(2, 1, 6, "", ("1.1.1.1", 443)), (2, 1, 6, "", (inside, 443))]

    monkeypatch.setattr("infra.webhooks.targets.socket.getaddrinfo", answers)
    with pytest.raises(TargetError) as refused:
        asyncio.run(Policy().check("https://example.org/"))
    assert refused.value.kind == "forbidden_address"
    assert inside not in str(refused.value)


def test_what_is_allowed_stands_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADELOG_WEBHOOK_ALLOWED_NETWORKS", "10.20.0.0/16, fd00:20::/64")
    policy = policy_of(read_settings())
    assert policy.allows(ipaddress.ip_address("10.20.3.4"))
    assert policy.allows(ipaddress.ip_address("fd00:20::1"))
    assert not policy.allows(ipaddress.ip_address("10.21.0.1"))
    monkeypatch.setenv("GRADELOG_WEBHOOK_ALLOWED_NETWORKS", "10.20.0.1/16")
    with pytest.raises(SettingsError, match="GRADELOG_WEBHOOK_ALLOWED_NETWORKS: must be ranges"):
        read_settings()
