"""The compose file fits the code: its commands, its settings, its versions, its secrets."""

import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from infra.cli.commands import app
from infra.kafka import libraries, node
from infra.settings import (
    FILE,
    SECRET_FIELDS,
    Settings,
    jwt_secret,
    master_key,
    read_settings,
    variable_of,
)
from projections.registry import read_model

ROOT = Path(__file__).parents[3]
COMPOSE = yaml.safe_load((ROOT / "infra" / "compose.yaml").read_text())
DOCKERFILE = (ROOT / "infra" / "Dockerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if service["image"].startswith("gradelog:")]

PAGE = (ROOT / "docs" / "operations.md").read_text()
SECRETS = re.findall(r"^```sh\n(mkdir .*? secrets .*?)^```", PAGE, re.DOTALL | re.MULTILINE)

KEYS = {
    "": {"name", "services", "volumes", "secrets"},
    "service": {
        *("build", "cap_drop", "command", "depends_on", "deploy", "environment", "healthcheck"),
        *("image", "init", "logging", "ports", "read_only", "restart", "secrets", "security_opt"),
        *("shm_size", "stop_grace_period", "tmpfs", "volumes"),
    },
    "healthcheck": {"test", "interval", "timeout", "retries", "start_period"},
    "build": {"context", "dockerfile"},
    "deploy": {"replicas", "resources"},
}
"""The keys that we use of those that Compose knows. A slip of the pen is none of them."""

POSTGRES = {"POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD_FILE"}


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The secrets, made as the page says."""
    (script,) = SECRETS
    directory = tmp_path_factory.mktemp("checkout")
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl here")
    subprocess.run(["/bin/sh", "-euc", script], cwd=directory, check=True)
    return directory / "secrets"


def granted(service: dict[str, Any]) -> dict[str, str]:
    """The secrets that a service gets: its name for each, and the name outside."""
    entries = [
        {"source": entry, "target": entry} if isinstance(entry, str) else entry
        for entry in service.get("secrets", [])
    ]
    return {entry["target"]: entry["source"] for entry in entries}


def test_keys_are_those_of_compose() -> None:
    assert {key for key in COMPOSE if not key.startswith("x-")} == KEYS[""]
    for name, service in SERVICES.items():
        assert service.keys() <= KEYS["service"], name
        for part in ("healthcheck", "build", "deploy"):
            assert service.get(part, {}).keys() <= KEYS[part], (name, part)


def test_versions_are_named_and_ours() -> None:
    images = {service["image"].partition(":")[::2] for service in SERVICES.values()}
    assert dict(images) == {
        "postgres": "18",
        "apache/kafka": libraries.version(),
        "gradelog": PROJECT["project"]["version"],
    }
    assert len(images) == 3


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_comes_back_and_has_its_limits(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    limits = service["deploy"]["resources"]["limits"]
    assert float(limits["cpus"]) > 0
    assert re.fullmatch(r"\d+[mg]", limits["memory"])


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_waits_for_is_there(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        condition = how["condition"]
        assert condition in {"service_started", "service_healthy"}
        assert condition == "service_started" or "healthcheck" in SERVICES[other], other


def test_volumes_and_secrets_are_declared_and_used() -> None:
    volumes = [volume for one in SERVICES.values() for volume in one.get("volumes", [])]
    assert sorted(volume.partition(":")[0] for volume in volumes) == sorted(COMPOSE["volumes"])
    used = {outside for service in SERVICES.values() for outside in granted(service).values()}
    assert used == COMPOSE["secrets"].keys()


@pytest.mark.parametrize("name", SERVICES)
def test_files_that_a_service_is_told_of_are_given_to_it(name: str) -> None:
    service = SERVICES[name]
    told = {value for key, value in service.get("environment", {}).items() if key.endswith("_FILE")}
    assert told == {f"/run/secrets/{target}" for target in granted(service)}


def test_replicas_have_a_port_each() -> None:
    taken: list[int] = []
    for service in SERVICES.values():
        for port in service.get("ports", []):
            address, outside, inside = port.split(":")
            first, _, last = outside.partition("-")
            ports = range(int(first), int(last or first) + 1)
            assert len(ports) == service["deploy"].get("replicas", 1)
            assert (address, inside) == ("127.0.0.1", "8000")
            taken += ports
    assert len(taken) == len(set(taken))


# --- our own services -----------------------------------------------------------------------


@pytest.mark.parametrize("name", OURS)
def test_the_settings_are_taken(name: str, secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = SERVICES[name]
    known = {variable_of(field) for field in Settings.model_fields}
    files = {variable_of(field) + FILE for field in SECRET_FIELDS}
    environment = {**dict(of_dockerfile()), **service["environment"]}
    for variable in known | files:
        monkeypatch.delenv(variable, raising=False)
    for variable, value in environment.items():
        assert variable in known | files, variable
        inside = value.removeprefix("/run/secrets/")
        path = secrets / granted(service)[inside] if inside != value else None
        monkeypatch.setenv(variable, str(path or value))

    settings = read_settings()
    assert settings.database_url is not None
    where = "remote-postgres" if name.startswith("remote-") else "postgres"
    assert settings.database_url.endswith(f"@{where}/gradelog")
    assert jwt_secret(settings)
    assert master_key(settings)
    if settings.kafka_bootstrap_servers is not None:
        assert settings.kafka_bootstrap_servers.partition(":")[0] in SERVICES


@pytest.mark.parametrize("name", OURS)
def test_the_command_is_one_of_ours(name: str) -> None:
    first, *rest = SERVICES[name]["command"]
    group = typer.main.get_command(app)
    command = group.commands[first]  # type: ignore[attr-defined]
    context = command.make_context(first, list(rest))  # parses, and runs nothing
    for model in (context.params.get("read_models") or "").split(","):
        assert not model or read_model(model) is not None, model


def test_the_database_that_is_fed_is_not_that_of_the_log(secrets: Path) -> None:
    for place in ("", "remote-"):
        assert granted(SERVICES[f"{place}postgres"]) == {
            "postgres-password": f"{place}postgres-password"
        }
        password = (secrets / f"{place}postgres-password").read_text().strip()
        assert f":{password}@{place}postgres/" in (secrets / f"{place}database-url").read_text()
    assert {path.name for path in secrets.iterdir()} == COMPOSE["secrets"].keys()
    places = {Path(secret["file"]).parent for secret in COMPOSE["secrets"].values()}
    assert places == {Path("../secrets")}
    assert "/secrets/\n" in (ROOT / ".gitignore").read_text()


# --- the others, and the image --------------------------------------------------------------


def test_the_broker_is_told_what_it_understands() -> None:
    known = {line.partition("=")[0] for line in node.PROPERTIES.splitlines() if "=" in line}
    for variable in SERVICES["kafka"]["environment"].keys() - {"KAFKA_HEAP_OPTS"}:
        setting = variable.removeprefix("KAFKA_").lower().replace("_", ".")
        assert setting in known, variable
    for name in ("postgres", "remote-postgres"):
        assert SERVICES[name]["environment"].keys() == POSTGRES


def of_dockerfile() -> Iterator[tuple[str, str]]:
    """The settings that the image brings."""
    (block,) = re.findall(r"^ENV ((?:.*\\\n)*.*)", DOCKERFILE, re.MULTILINE)
    for word in block.replace("\\\n", " ").split():
        name, _, value = word.partition("=")
        if name.startswith("GRADELOG_"):
            yield name, value


def test_the_image_holds_the_code_and_belongs_to_nobody() -> None:
    copied = set(re.findall(r"^COPY (\w+) \1$", DOCKERFILE, re.MULTILINE))
    assert copied == set(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    assert re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE) == ["10001:10001"]
    assert f"--tag gradelog:{PROJECT['project']['version']} " in DOCKERFILE
    ignored = (ROOT / "infra" / "Dockerfile.dockerignore").read_text().split()
    for line in re.findall(r"^COPY (?!--)(.*) \S+$", DOCKERFILE, re.MULTILINE):
        assert {f"!{path}" for path in line.split()} <= set(ignored)
