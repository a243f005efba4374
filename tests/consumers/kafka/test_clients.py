"""Which library is taken, and what is said when it is not there."""

import subprocess
import sys

import pytest

from consumers.kafka.client import KafkaError
from consumers.kafka.clients import ClientSettings, Library, client


def test_the_settings_say_which_library(library: Library) -> None:
    found = client(ClientSettings("localhost:9092", library=library))
    assert type(found).__module__ == f"consumers.kafka.{library.replace('-', '_')}"


def test_a_library_that_nobody_knows() -> None:
    with pytest.raises(KafkaError, match="'telepathy'"):
        client(ClientSettings("localhost:9092", library="telepathy"))  # type: ignore[arg-type]


def test_a_library_that_is_not_installed_is_named_with_its_extra() -> None:
    program = """
import sys
sys.modules["confluent_kafka"] = None
from consumers.kafka.clients import ClientSettings, client
from consumers.kafka.client import KafkaError
try:
    client(ClientSettings("localhost:9092", library="confluent"))
except KafkaError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert "gradelog[confluent]" in done.stdout


@pytest.mark.parametrize(
    ("compression", "modules", "package"),
    [
        ("lz4", ["lz4", "lz4f", "lz4framed"], "lz4"),
        ("snappy", ["snappy"], "python-snappy"),
        ("zstd", ["zstandard"], "zstandard"),
    ],
)
def test_a_compression_that_is_not_installed_is_named_with_its_package(
    compression: str, modules: list[str], package: str
) -> None:
    program = f"""
import sys
sys.modules |= dict.fromkeys({modules})
from consumers.kafka.clients import ClientSettings, client
from consumers.kafka.client import KafkaError
client(ClientSettings("localhost:9092", compression="gzip"))
client(ClientSettings("localhost:9092", library="confluent", compression="{compression}"))
try:
    client(ClientSettings("localhost:9092", compression="{compression}"))
except KafkaError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert f"pip install {package}," in done.stdout


def test_the_other_library_is_not_loaded_unless_it_is_chosen() -> None:
    program = """
import sys
from consumers.kafka.clients import ClientSettings, client
client(ClientSettings("localhost:9092"))
print("confluent_kafka" in sys.modules, "kafka" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["False", "True"]


def test_a_password_does_not_show() -> None:
    assert "secret" not in repr(ClientSettings("localhost:9092", username="u", password="secret"))


def test_several_servers_and_no_compression() -> None:
    settings = ClientSettings(" a:1, b:2,", compression="none")
    assert settings.servers == ["a:1", "b:2"]
    assert settings.codec is None
    assert ClientSettings("a:1", compression="zstd").codec == "zstd"
