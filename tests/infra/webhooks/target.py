"""A real HTTP server that webhooks are delivered to, and answers as it is told."""

import json
import os
import queue
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PATIENCE = 60.0


@dataclass(frozen=True)
class Got:
    """One request as it came."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def events(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.body)
        return found

    @property
    def positions(self) -> list[int]:
        return [event["position"] for event in self.events]

    @property
    def message_id(self) -> str:
        return self.headers["webhook-id"]


@dataclass(frozen=True)
class Reply:
    """How a request is answered.

    Attributes:
        waits: is waited for before.
        raw: sent instead of an answer in HTTP.
        bare: the same, beneath the encryption.
    """

    status: int = 204
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    waits: threading.Event | None = None
    raw: bytes | None = None
    bare: bytes | None = None


OK = Reply()


class Target:
    """What came, and how it is answered: by the next of ``replies``, at last by ``OK``."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.got: list[Got] = []
        self.coming: queue.SimpleQueue[Got] = queue.SimpleQueue()
        self.replies: queue.SimpleQueue[Reply] = queue.SimpleQueue()
        self.otherwise = OK
        self.connections = 0

    def answers(self, *replies: Reply) -> None:
        for reply in replies:
            self.replies.put(reply)

    def next(self) -> Got:
        """The next request that nobody has asked for yet."""
        try:
            return self.coming.get(timeout=PATIENCE)
        except queue.Empty:
            raise AssertionError("no request came") from None

    def positions(self) -> list[int]:
        return [position for got in self.got for position in got.positions]

    def take(self, got: Got) -> Reply:
        self.got.append(got)
        self.coming.put(got)
        try:
            return self.replies.get_nowait()
        except queue.Empty:
            return self.otherwise


@contextmanager
def target(
    *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None, name: str | None = None
) -> Iterator[Target]:
    """Serve in threads until the end. ``name``: what the host is called in the address."""
    opened: list[Target] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            opened[0].connections += 1

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {key.lower(): value for key, value in self.headers.items()}
            reply = opened[0].take(Got(self.path, headers, body))
            if reply.waits is not None:
                reply.waits.wait(PATIENCE)
            try:
                if reply.bare is not None:
                    os.write(self.connection.fileno(), reply.bare)
                    self.close_connection = True
                    return
                if reply.raw is not None:
                    self.wfile.write(reply.raw)
                    self.close_connection = True
                    return
                self.send_response(reply.status)
                for key, value in reply.headers.items():
                    self.send_header(key, value)
                if "Content-Length" not in reply.headers:
                    self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)
            except OSError:  # nobody waits for it any more
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            """Be quiet."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """A peer that was killed is what some tests are about."""

    with Server((host, 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        scheme = "http" if tls is None else "https"
        opened.append(Target(f"{scheme}://{name or host}:{server.server_address[1]}/hook?a=b"))
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield opened[0]
        finally:
            server.shutdown()
            thread.join(PATIENCE)


def certificate(directory: Path, *names: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's certificate for names and addresses: its side, and the side of who trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "target of the tests")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    chain, private = directory / "certificate.pem", directory / "key.pem"
    chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(chain, private)
    return theirs, ssl.create_default_context(cafile=str(chain))


def _name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@contextmanager
def closed_port() -> Iterator[int]:
    """A port that nobody listens on, nor can, until the end."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield int(taken.getsockname()[1])
