"""A broker that asks who comes: TLS, passwords, and rights that somebody may lack."""

import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from infra.alive import serves
from infra.kafka import node, process
from infra.kafka.broker import START_LIMIT
from infra.kafka.launch import CLASS_PATH, JAVA_OPTIONS, word_of
from infra.kafka.libraries import fetched
from infra.kafka.programs import java
from tests.infra.cli.support import eventually

PASSWORD = "open sesame"

SECURED = """
listeners=CLIENTS://{host}:{broker},SECURED://{host}:{secured},CONTROLLER://{host}:{controller}
advertised.listeners=CLIENTS://{host}:{broker},SECURED://{host}:{secured}
listener.security.protocol.map=CLIENTS:PLAINTEXT,SECURED:SASL_SSL,CONTROLLER:PLAINTEXT
ssl.keystore.type=PEM
ssl.keystore.location=server.pem
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.secured.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule \
required user_relay="{password}" user_guest="{password}";
listener.name.secured.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.secured.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:relay
"""


@contextmanager
def secured_broker(directory: Path, libraries: Path) -> Iterator[str]:
    """Addresses that let in ``relay``, who may do everything, and ``guest``, who may nothing.

    Args:
        directory: of the broker, empty; it gets ``ca.pem``, which vouches for the broker.
        libraries: where the programs of Kafka are kept.
    """
    broker, controller, secured = _free_ports(3)
    ports = node.Ports(broker, controller)
    _certify(directory)
    node.configure(directory, ports, fetched(libraries))
    arguments = node.begin_format(directory, ports)
    more = SECURED.format(host=node.HOST, secured=secured, password=PASSWORD, **ports._asdict())
    for name in ("server.properties", "format.properties"):
        with (directory / name).open("a", encoding="utf-8") as properties:
            properties.write(more)
    for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
        arguments += ["--add-scram", f"{mechanism}=[name=relay,password={PASSWORD}]"]
    run = [str(java()), *JAVA_OPTIONS]
    done = process.run([*run, *CLASS_PATH, "kafka.tools.StorageTool", *arguments], directory)
    assert done.returncode == 0, done.stdout
    node.end_format(directory)
    word = word_of(directory)
    process.spawn(
        [*run, "-Xmx512m", word, *CLASS_PATH, "kafka.Kafka", "server.properties"], directory
    )
    pid = process.noted(directory)
    assert pid is not None
    try:
        eventually(lambda: node.answers(ports.broker) or not serves(pid, word), within=START_LIMIT)
        assert serves(pid, word), (directory / "broker.out").read_text()
        yield f"{node.HOST}:{secured}"
    finally:
        process.run(["/bin/kill", "-KILL", str(pid)], directory)
        eventually(lambda: not serves(pid, word))


def _free_ports(count: int) -> list[int]:
    """So many ports where nobody listens, no two of them the same."""
    found: set[int] = set()
    while len(found) < count:
        found.add(node.free_port())
    return list(found)


def _certify(directory: Path) -> None:
    """A certificate for the broker and one of who vouches for it."""
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "school")])
    ca = (
        _begun(ca_name, ca_name, ca_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=True,
                crl_sign=True,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .sign(ca_key, hashes.SHA256())
    )
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "broker")])
    address = x509.IPAddress(ipaddress.ip_address(node.HOST))
    certificate = (
        _begun(name, ca_name, key)
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (directory / "ca.pem").write_bytes(ca.public_bytes(pem))
    (directory / "server.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(pem)
    )


def _begun(
    name: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
    )
