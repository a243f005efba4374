"""Where a webhook may lead: addresses on the internet, and no others unless somebody said so.

Whoever may name an address could otherwise use this server to reach what only this server
can reach: the database, a neighbour's console, the metadata of a cloud. The name is resolved
here, all its addresses are looked at, and the connection goes to one of those that were
looked at, so that a name cannot mean something else the moment after.
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LONGEST_URL: Final = 2000
RESOLVE_TIMEOUT: Final = 5.0
RESOLVERS: Final = 16
"""Names that are looked up at a time; a name server that is slow holds one of them."""

DEFAULT_PORTS: Final = {"http": 80, "https": 443}
FIRST_FREE_PORT: Final = 1024
"""Below it live mail, shells and databases that a request might be mistaken by."""

# One grammar for the check and for the connection: what two readers of addresses could
# understand differently is refused.
_URL: Final = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/[!$%&'()*+,./0-9:;=?@A-Z_a-z~-]*)?"
)

_NOWHERE: Final[Sequence[Network]] = [
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # behind a carrier's NAT
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # the platform of a cloud, at an address that looks public
        "169.254.0.0/16",  # link-local, and metadata of most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
        # Of version 6 only 2000::/3 is in use, so this is what is special inside of it.
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: an address of version 4 in disguise
        "3fff::/20",  # documentation
    )
]
_IN_USE: Final = ipaddress.ip_network("2000::/3")


class TargetError(Exception):
    """Nothing is sent there.

    Attributes:
        kind: a code for what is wrong.
    """

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Target:
    """An address in its parts. ``host`` is as it stands in a certificate, without brackets."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """Host and port as they stand in the header ``Host``."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


def parse(url: str) -> Target:
    """The parts of an address.

    Raises:
        TargetError: it is none, or of a kind that is never used.
    """
    scheme, separator, rest = url.partition("://")
    authority, slash, tail = rest.partition("/")
    if "@" in authority:
        raise TargetError("The address must hold no user and no password.", "credentials")
    found = _URL.fullmatch(f"{scheme.lower()}{separator}{authority.lower()}{slash}{tail}")
    if found is None or len(url) > LONGEST_URL:
        raise TargetError(
            "Not an address such as https://example.org/hook; names in other scripts are"
            " written in their ASCII form, other characters escaped, no fragment.",
            "url",
        )
    port = int(found["port"] or DEFAULT_PORTS[found["scheme"]])
    if port not in DEFAULT_PORTS.values() and not FIRST_FREE_PORT <= port < 65536:
        raise TargetError(
            f"The port must be 80, 443 or one from {FIRST_FREE_PORT} to 65535.", "port"
        )
    host = found["host"].strip("[]")
    if found["host"].startswith("["):
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise TargetError("Not an address of IPv6.", "url") from None
    return Target(found["scheme"], host, port, found["path"] or "/")


def is_public(address: Address) -> bool:
    """Whether an address is of the internet at large.

    Addresses of version 6 that stand for one of version 4 (mapped, translated by NAT64,
    6to4, Teredo) are not: what they lead to depends on the network.
    """
    if isinstance(address, ipaddress.IPv6Address) and (
        address not in _IN_USE or address.scope_id is not None
    ):
        return False
    return not any(address.version == net.version and address in net for net in _NOWHERE)


class Policy:
    """Says where requests may go, and where exactly they go."""

    def __init__(
        self, *, allow_insecure: bool = False, allowed_networks: Sequence[str] = ()
    ) -> None:
        """Make a policy.

        Args:
            allow_insecure: ``http`` will do.
            allowed_networks: ranges that are allowed though they are not public.
        """
        self._allow_insecure = allow_insecure
        self._allowed = [ipaddress.ip_network(network) for network in allowed_networks]
        self._threads = ThreadPoolExecutor(RESOLVERS, "gradelog resolver")

    def allows(self, address: Address) -> bool:
        """Whether requests may go to this address."""
        return is_public(address) or any(
            address.version == network.version and address in network for network in self._allowed
        )

    def target(self, url: str) -> Target:
        """The parts of an address that may be used as far as its text tells.

        Raises:
            TargetError: it may not.
        """
        target = parse(url)
        if target.scheme != "https" and not self._allow_insecure:
            raise TargetError("The address must begin with https://.", "insecure")
        return target

    async def check(self, url: str) -> Target:
        """The same, resolved.

        Raises:
            TargetError: it may not be used, or cannot be found.
        """
        target = self.target(url)
        await self.resolve(target.host, target.port)
        return target

    async def resolve(self, host: str, port: int) -> list[Address]:
        """The addresses of a host, all of which were looked at.

        One that is not allowed rules out the whole host: whoever names it controls what
        else it is called.

        Raises:
            TargetError: there are none, or one of them is not allowed.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(RESOLVE_TIMEOUT):
                found = await loop.run_in_executor(
                    self._threads, socket.getaddrinfo, host, port, 0, socket.SOCK_STREAM
                )
        except (OSError, UnicodeError, TimeoutError):
            raise TargetError(f"The name {host} cannot be resolved.", "unresolved") from None
        addresses = list(dict.fromkeys(ipaddress.ip_address(str(entry[4][0])) for entry in found))
        if not addresses or not all(map(self.allows, addresses)):
            # Which address it is stays here: it may be of a name that only we can resolve.
            raise TargetError("The address is not on the public internet.", "forbidden_address")
        return addresses

    def close(self) -> None:
        """Forget about names that are still looked up."""
        self._threads.shutdown(wait=False, cancel_futures=True)
