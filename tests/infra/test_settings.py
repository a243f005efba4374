"""What an operator may say, and how a wrong word is answered."""

import base64
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import ValidationError

from infra.settings import (
    DEVELOPMENT_SECRET,
    KNOWN_SECRETS,
    MASK,
    Settings,
    SettingsError,
    effective,
    in_development,
    jwt_secret,
    master_key,
    read_settings,
    refuse_exposed_development,
)

DATABASE = "postgresql://teacher:hunter2@db.example.org:5432/gradelog"
LONG_SECRET = "kX2v-9dQ4rT7_bWm1zLc8nHs5pYg3fJa"
KEY = base64.b64encode(bytes(range(32))).decode()


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in list(os.environ):
        if variable.startswith(("GRADELOG_", "DATABASE_URL", "KAFKA_")):
            monkeypatch.delenv(variable)
    monkeypatch.setenv("GRADELOG_HOME", str(tmp_path / "home"))


def problems() -> tuple[str, ...]:
    with pytest.raises(SettingsError) as refused:
        read_settings()
    return refused.value.problems


def test_nothing_has_to_be_set() -> None:
    settings = read_settings()
    assert settings.database_url is None
    assert (settings.host, settings.port, settings.workers) == ("127.0.0.1", 8000, 1)
    assert settings.development is False
    assert settings.body_limit == 1024 * 1024


def test_the_environment_sets_what_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", DATABASE)
    monkeypatch.setenv("GRADELOG_PORT", "9000")
    monkeypatch.setenv("GRADELOG_BODY_LIMIT", "2MiB")
    monkeypatch.setenv("GRADELOG_LOG_LEVEL", "debug")
    settings = read_settings()
    assert settings.database_url == DATABASE
    assert settings.port == 9000
    assert settings.body_limit == 2 * 1024 * 1024
    assert settings.log_level == "DEBUG"


def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "")
    monkeypatch.setenv("GRADELOG_PORT", "")
    settings = read_settings()
    assert settings.database_url is None
    assert settings.port == 8000


def test_settings_cannot_be_changed_afterwards() -> None:
    settings = read_settings()
    with pytest.raises(ValidationError):
        settings.port = 1  # type: ignore[misc]


def test_root_keeps_its_data_with_the_system_and_others_with_their_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("GRADELOG_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    expected = Path("/var/lib/gradelog") if os.geteuid() == 0 else tmp_path / "gradelog"
    assert read_settings().home == expected


def test_a_relative_home_does_not_follow_the_working_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRADELOG_HOME", "here")
    settings = read_settings()
    monkeypatch.chdir("/")
    assert settings.home == tmp_path / "here"


def test_a_misspelt_variable_is_refused_with_the_nearest_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GRADELOG_JWT_SECERT", LONG_SECRET)
    monkeypatch.setenv("gradelog_port", "1")
    assert problems() == (
        "GRADELOG_JWT_SECERT: no such setting; the nearest is GRADELOG_JWT_SECRET",
        "gradelog_port: no such setting; the nearest is GRADELOG_PORT",
    )


def test_every_problem_is_told_at_once_and_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADELOG_PORT", "eighty")
    monkeypatch.setenv("GRADELOG_WORKERS", "0")
    monkeypatch.setenv("GRADELOG_READ_TIMEOUT", "inf")
    monkeypatch.setenv("GRADELOG_NONSENSE", "1")
    told = problems()
    assert [problem.partition(":")[0] for problem in told] == [
        "GRADELOG_NONSENSE",
        "GRADELOG_PORT",
        "GRADELOG_WORKERS",
        "GRADELOG_READ_TIMEOUT",
    ]
    assert not any("\n" in problem for problem in told)


@pytest.mark.parametrize(
    "url", ["mysql://root:hunter2@db/grades", "hunter2", "postgresql://u:hunter2@db:port/x?a=b"]
)
def test_a_wrong_database_url_is_refused_without_repeating_its_password(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    (problem,) = problems()
    assert problem.startswith("DATABASE_URL: is not a PostgreSQL connection string")
    assert "hunter2" not in problem


def test_a_database_may_be_named_by_keywords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "host=db dbname=gradelog password='hun ter2'")
    values = {each.name: each.value for each in effective(read_settings())}
    assert values["DATABASE_URL"] == f"host=db dbname=gradelog password={MASK}"


def test_keys_are_fetched_from_the_web_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADELOG_JWKS_URL", "file:///etc/passwd")
    assert problems() == ("GRADELOG_JWKS_URL: must be an http:// or https:// address",)


# --- secrets in files -----------------------------------------------------------------------


def test_a_secret_may_stand_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable, content in {
        "GRADELOG_JWT_SECRET": LONG_SECRET,
        "GRADELOG_MASTER_KEY": KEY,
        "DATABASE_URL": DATABASE,
    }.items():
        file = tmp_path / variable
        file.write_text(f"{content}\n")
        monkeypatch.setenv(f"{variable}_FILE", str(file))
    settings = read_settings()
    assert jwt_secret(settings) == LONG_SECRET
    assert master_key(settings) == bytes(range(32))
    assert settings.database_url == DATABASE


def test_only_secrets_may_stand_in_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADELOG_PORT_FILE", "/etc/hostname")
    assert problems()[0].startswith("GRADELOG_PORT_FILE: no such setting")


def test_a_secret_given_twice_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(LONG_SECRET)
    monkeypatch.setenv("GRADELOG_JWT_SECRET", LONG_SECRET)
    monkeypatch.setenv("GRADELOG_JWT_SECRET_FILE", str(file))
    (problem,) = problems()
    assert problem.startswith("GRADELOG_JWT_SECRET: is given twice")


def test_a_file_that_cannot_be_read_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    absent, empty, binary = tmp_path / "absent", tmp_path / "empty", tmp_path / "binary"
    empty.touch()
    binary.write_bytes(b"\xff\xfe")
    monkeypatch.setenv("DATABASE_URL_FILE", str(absent))
    monkeypatch.setenv("GRADELOG_JWT_SECRET_FILE", str(empty))
    monkeypatch.setenv("GRADELOG_MASTER_KEY_FILE", str(binary))
    assert problems() == (
        f"DATABASE_URL_FILE: cannot read {absent}: No such file or directory",
        f"GRADELOG_JWT_SECRET_FILE: {empty} is empty",
        f"GRADELOG_MASTER_KEY_FILE: cannot read {binary}: it is not UTF-8 text",
    )


# --- what is in force -----------------------------------------------------------------------


def test_what_is_in_force_is_shown_with_its_source_and_without_secrets(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    file.write_text(KEY)
    monkeypatch.setenv("DATABASE_URL", DATABASE)
    monkeypatch.setenv("GRADELOG_JWT_SECRET", LONG_SECRET)
    monkeypatch.setenv("GRADELOG_MASTER_KEY_FILE", str(file))
    shown = {name: (value, source) for name, value, source in effective(read_settings())}
    assert shown["DATABASE_URL"] == (
        f"postgresql://teacher:{MASK}@db.example.org:5432/gradelog",
        "environment",
    )
    assert shown["GRADELOG_JWT_SECRET"] == (MASK, "environment")
    assert shown["GRADELOG_MASTER_KEY"] == (MASK, f"file {file}")
    assert shown["GRADELOG_PORT"] == ("8000", "default")
    assert shown["GRADELOG_JWKS_URL"] == ("not set", "default")
    assert len(shown) == len(Settings.model_fields)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hunter2@h1:1,h2:2/db",
        "postgresql://u:hunter2%40@h/db?sslmode=require",
        "postgresql://h/db?user=u&password=hunter2&sslmode=require",
        "postgresql://h/db?user=u&sslpassword=hunter2",
        "postgresql://u:p@hunter2@h/db",
        "host=h password=hunter2",
        r"host=h password='hunter2\'hunter2' dbname=d",
    ],
)
def test_no_spelling_of_a_password_is_shown(url: str) -> None:
    settings = Settings(database_url=url)
    assert "hunter2" not in effective(settings)[0].value
    assert "hunter2" not in repr(settings)


# --- the secret of tokens -------------------------------------------------------------------


@pytest.mark.parametrize(
    "secret", ["short", "x" * 31, "a" * 64, "abc" * 20, *sorted(KNOWN_SECRETS)]
)
def test_a_secret_that_can_be_guessed_is_refused(secret: str) -> None:
    settings = Settings.model_validate({"jwt_secret": secret})
    with pytest.raises(SettingsError, match="anybody could sign tokens"):
        jwt_secret(settings)


def test_a_known_secret_is_refused_in_any_spelling() -> None:
    settings = Settings.model_validate({"jwt_secret": DEVELOPMENT_SECRET.upper()})
    with pytest.raises(SettingsError, match="well known example"):
        jwt_secret(settings)


def test_development_takes_any_secret() -> None:
    settings = Settings.model_validate({"jwt_secret": "secret", "development": True})
    assert jwt_secret(settings) == "secret"


def test_development_has_a_secret_of_its_own() -> None:
    assert jwt_secret(Settings(development=True)) == DEVELOPMENT_SECRET


def test_a_refusal_does_not_repeat_the_secret() -> None:
    settings = Settings.model_validate({"jwt_secret": "hunter2"})
    with pytest.raises(SettingsError) as refused:
        jwt_secret(settings)
    assert "hunter2" not in str(refused.value)


def test_published_keys_make_a_secret_unnecessary() -> None:
    settings = Settings(database_url=DATABASE, jwks_url="https://lms.example.org/jwks.json")
    assert jwt_secret(settings) is None


def test_with_a_database_of_its_own_somebody_has_to_choose_the_secret() -> None:
    with pytest.raises(SettingsError, match="GRADELOG_JWT_SECRET: must be set") as refused:
        jwt_secret(Settings(database_url=DATABASE))
    assert "GRADELOG_JWKS_URL" in str(refused.value)


def test_the_embedded_server_comes_with_a_random_secret_that_stays() -> None:
    settings = Settings()
    secret = jwt_secret(settings)
    assert secret is not None
    assert len(secret) >= 32
    assert jwt_secret(Settings()) == secret
    file = settings.home / "jwt-secret"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in settings.home.iterdir()] == ["jwt-secret"]


def test_all_who_ask_first_get_the_same_secret() -> None:
    settings = Settings()
    with ThreadPoolExecutor(16) as threads:
        found = set(threads.map(lambda _: jwt_secret(settings), range(64)))
    assert len(found) == 1


def test_a_damaged_secret_is_refused(tmp_path: Path) -> None:
    settings = Settings()
    settings.home.mkdir()
    (settings.home / "jwt-secret").touch()
    with pytest.raises(SettingsError, match="holds fewer than 32 characters"):
        jwt_secret(settings)


def test_a_home_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="GRADELOG_HOME: cannot keep jwt-secret in"):
        jwt_secret(Settings(home=tmp_path / "file" / "home"))


# --- the key that wraps learners' keys ------------------------------------------------------


@pytest.mark.parametrize(
    "key", ["", "abc", base64.b64encode(b"x" * 31).decode(), "é" * 44, "=" * 44]
)
def test_a_master_key_is_32_bytes(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    with pytest.raises(ValidationError, match="base64 of exactly 32 bytes"):
        Settings.model_validate({"master_key": key})


def test_a_master_key_may_be_written_for_addresses() -> None:
    key = bytes([251, 255] * 16)
    settings = Settings.model_validate({"master_key": base64.urlsafe_b64encode(key).decode()})
    assert master_key(settings) == key


@pytest.mark.parametrize("development", [True, False])
def test_the_embedded_server_keeps_one_master_key_whatever_the_mode(*, development: bool) -> None:
    key = master_key(Settings())
    assert len(key) == 32
    assert master_key(Settings(development=development)) == key


def test_with_a_database_of_its_own_keys_are_bare_until_somebody_chooses_a_master_key() -> None:
    assert master_key(Settings(database_url=DATABASE)) is None
    assert master_key(Settings(database_url=DATABASE, development=True)) is None


# --- Kafka ----------------------------------------------------------------------------------


def test_without_brokers_there_is_no_kafka() -> None:
    settings = read_settings()
    assert settings.kafka_bootstrap_servers is None
    assert (settings.kafka_client, settings.kafka_topic_prefix) == ("kafka-python", "gradelog")
    assert (settings.kafka_partitions, settings.kafka_replicas) == (24, 1)
    assert settings.kafka_compression == "none"
    assert settings.event_source == "/gradelog"


@pytest.mark.parametrize(
    ("text", "brokers"),
    [
        ("localhost:9092", "localhost:9092"),
        (" kafka_1:9092, [::1]:19092 ", "kafka_1:9092,[::1]:19092"),
    ],
)
def test_brokers_are_addresses_with_ports(
    monkeypatch: pytest.MonkeyPatch, text: str, brokers: str
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", text)
    settings = read_settings()
    assert settings.kafka_bootstrap_servers == brokers
    shown = {one.name: one for one in effective(settings)}
    assert shown["KAFKA_BOOTSTRAP_SERVERS"][1:] == (brokers, "environment")


@pytest.mark.parametrize(
    "text",
    ["kafka", "kafka:", ":9092", "kafka:0", "kafka:65536", "a:1,", "a:1 b:2", "PLAINTEXT://a:1"],
)
def test_what_is_no_broker_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", text)
    (problem,) = problems()
    assert problem.startswith("KAFKA_BOOTSTRAP_SERVERS: must be addresses with ports")


def test_who_puts_the_prefix_before_the_brokers_is_told_the_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GRADELOG_KAFKA_BOOTSTRAP_SERVERS", "kafka:9092")
    assert problems() == (
        "GRADELOG_KAFKA_BOOTSTRAP_SERVERS: no such setting; the nearest is KAFKA_BOOTSTRAP_SERVERS",
    )


def test_whoever_signs_in_to_brokers_says_how_and_who(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GRADELOG_KAFKA_SECURITY_PROTOCOL", "sasl_ssl")
    assert problems() == tuple(
        f"GRADELOG_KAFKA_{name}: must be set, because GRADELOG_KAFKA_SECURITY_PROTOCOL is SASL_SSL"
        for name in ("SASL_MECHANISM", "USERNAME", "PASSWORD")
    )
    (tmp_path / "password").write_text("hunter2\n")
    monkeypatch.setenv("GRADELOG_KAFKA_SASL_MECHANISM", "scram-sha-512")
    monkeypatch.setenv("GRADELOG_KAFKA_USERNAME", "gradelog")
    monkeypatch.setenv("GRADELOG_KAFKA_PASSWORD_FILE", str(tmp_path / "password"))
    settings = read_settings()
    assert settings.kafka_sasl_mechanism == "SCRAM-SHA-512"
    assert settings.kafka_password is not None
    assert settings.kafka_password.get_secret_value() == "hunter2"
    shown = {one.name: one.value for one in effective(settings)}
    assert shown["GRADELOG_KAFKA_PASSWORD"] == MASK
    assert "hunter2" not in repr(settings)


def test_a_password_that_would_not_be_used_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADELOG_KAFKA_SECURITY_PROTOCOL", "SSL")
    monkeypatch.setenv("GRADELOG_KAFKA_PASSWORD", "hunter2")
    (problem,) = problems()
    assert problem.startswith("GRADELOG_KAFKA_PASSWORD: is of no use with the protocol SSL")
    assert "hunter2" not in problem


def test_a_wrong_protocol_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADELOG_KAFKA_SECURITY_PROTOCOL", "TLS")
    monkeypatch.setenv("GRADELOG_KAFKA_USERNAME", "gradelog")
    (problem,) = problems()
    assert problem.startswith("GRADELOG_KAFKA_SECURITY_PROTOCOL: ")


def test_certificates_are_for_encrypted_connections_and_can_be_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRADELOG_KAFKA_SECURITY_PROTOCOL", "SSL")
    monkeypatch.setenv("GRADELOG_KAFKA_CA_FILE", "ca.pem")
    assert problems() == ("GRADELOG_KAFKA_CA_FILE: cannot read ca.pem: No such file or directory",)
    (tmp_path / "ca.pem").touch()
    assert read_settings().kafka_ca_file == tmp_path / "ca.pem"
    monkeypatch.setenv("GRADELOG_KAFKA_SECURITY_PROTOCOL", "PLAINTEXT")
    assert problems()[0].startswith("GRADELOG_KAFKA_CA_FILE: is of no use")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KAFKA_TOPIC_PREFIX", "a/b"),
        ("KAFKA_TOPIC_PREFIX", "x" * 201),
        ("KAFKA_PARTITIONS", "0"),
        ("KAFKA_REPLICAS", "0"),
        ("KAFKA_CLIENT", "aiokafka"),
        ("KAFKA_COMPRESSION", "zip"),
        ("EVENT_SOURCE", "our grades"),
    ],
)
def test_what_kafka_would_not_take_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"GRADELOG_{name}", value)
    (problem,) = problems()
    assert problem.startswith(f"GRADELOG_{name}: ")


def test_the_place_of_the_keys_is_as_secret_as_that_of_the_data(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GRADELOG_KEYS_URL", "mysql://root:hunter2@db/keys")
    (problem,) = problems()
    assert problem.startswith("GRADELOG_KEYS_URL: is not a PostgreSQL connection string")
    assert "hunter2" not in problem
    (tmp_path / "keys").write_text(DATABASE)
    monkeypatch.delenv("GRADELOG_KEYS_URL")
    monkeypatch.setenv("GRADELOG_KEYS_URL_FILE", str(tmp_path / "keys"))
    settings = read_settings()
    assert settings.keys_url == DATABASE
    shown = {one.name: one.value for one in effective(settings)}
    assert shown["GRADELOG_KEYS_URL"] == f"postgresql://teacher:{MASK}@db.example.org:5432/gradelog"
    assert "hunter2" not in repr(settings)


# --- people and pages -----------------------------------------------------------------------


def test_origins_are_named_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_settings().allowed_origins == ()
    monkeypatch.setenv(
        "GRADELOG_ALLOWED_ORIGINS", "https://MFE.example/, http://localhost:1994 http://[::1]:80"
    )
    settings = read_settings()
    named = ("https://mfe.example", "http://localhost:1994", "http://[::1]:80")
    assert settings.allowed_origins == named
    shown = {one.name: one.value for one in effective(settings)}
    assert shown["GRADELOG_ALLOWED_ORIGINS"] == ", ".join(named)
    assert shown["GRADELOG_MFE_CONFIG"] == "not set"


@pytest.mark.parametrize(
    ("origins", "problem"),
    [
        ("*", "every page in the world"),
        ("https://a.example, *", "every page in the world"),
        ("null", "every page in the world"),
        ("https://*.example", "origins without a path"),
        ("a.example", "origins without a path"),
        ("https://a.example/path", "origins without a path"),
        ("https://user@a.example", "origins without a path"),
        ("ftp://a.example", "origins without a path"),
    ],
)
def test_a_star_is_no_origin(monkeypatch: pytest.MonkeyPatch, origins: str, problem: str) -> None:
    monkeypatch.setenv("GRADELOG_ALLOWED_ORIGINS", origins)
    (told,) = problems()
    assert told.startswith("GRADELOG_ALLOWED_ORIGINS: must")
    assert problem in told


def test_settings_of_front_ends_are_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADELOG_MFE_CONFIG", '{"SUPPORT_URL": "https://help.example"}')
    monkeypatch.setenv("GRADELOG_MFE_CONFIG_OVERRIDES", '{"gradebook": {"X": null}}')
    settings = read_settings()
    assert settings.mfe_config == {"SUPPORT_URL": "https://help.example"}
    assert settings.mfe_config_overrides == {"gradebook": {"X": None}}
    for bad in ("{", "[]", '{"gradebook": 1}'):
        monkeypatch.setenv("GRADELOG_MFE_CONFIG_OVERRIDES", bad)
        assert problems()[0].startswith("GRADELOG_MFE_CONFIG_OVERRIDES: ")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_development_may_listen_to_this_machine(host: str) -> None:
    refuse_exposed_development(Settings(development=True), host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.0.0.1", "example.org", "localhost.evil"])
def test_development_is_asked_for_twice_where_others_are(host: str) -> None:
    with pytest.raises(SettingsError, match="could be anybody"):
        refuse_exposed_development(Settings(development=True), host)
    refuse_exposed_development(Settings(development=True, development_anywhere=True), host)
    refuse_exposed_development(Settings(), host)


def test_the_demonstration_in_development_keeps_its_secret() -> None:
    settings = in_development(Settings())
    assert settings.development
    assert jwt_secret(settings) == jwt_secret(Settings()) != DEVELOPMENT_SECRET


# --- the event bus of Open edX ------------------------------------------------------------------

PASSING = "org.openedx.learning.course.passing.status.updated.v1"


def test_topics_of_the_event_bus_stand_by_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADELOG_EVENT_BUS_TOPICS", f'{{"{PASSING}": "grades"}}')
    monkeypatch.setenv("GRADELOG_SCHEMA_REGISTRY_URL", "https://key:hunter2@registry.example.org")
    settings = read_settings()
    assert settings.event_bus_topics == {PASSING: "grades"}
    shown = {one.name: one.value for one in effective(settings)}
    assert shown["GRADELOG_SCHEMA_REGISTRY_URL"] == f"https://key:{MASK}@registry.example.org"
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    ("topics", "problem"),
    [
        ("grades", "must be a JSON object of topics by type of event"),
        (f'{{"{PASSING[:-1]}2": "grades"}}', f"is neither written nor read; {PASSING} would be"),
        (f'{{"{PASSING}": "my grades"}}', "'my grades' cannot be the name of a topic"),
        (f'{{"{PASSING}": ""}}', "'' cannot be the name of a topic"),
    ],
)
def test_bad_topics_of_the_event_bus_are_refused(
    monkeypatch: pytest.MonkeyPatch, topics: str, problem: str
) -> None:
    monkeypatch.setenv("GRADELOG_EVENT_BUS_TOPICS", topics)
    monkeypatch.setenv("GRADELOG_SCHEMA_REGISTRY_URL", "http://registry.example.org")
    (told,) = problems()
    assert told.startswith("GRADELOG_EVENT_BUS_TOPICS: ")
    assert problem in told


def test_an_event_bus_needs_a_registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRADELOG_EVENT_BUS_TOPICS", f'{{"{PASSING}": "grades"}}')
    (told,) = problems()
    assert "GRADELOG_SCHEMA_REGISTRY_URL: must be set" in told
    monkeypatch.setenv("GRADELOG_SCHEMA_REGISTRY_URL", "registry.example.org")
    (told,) = problems()
    assert "must begin with http:// or https://" in told
    monkeypatch.delenv("GRADELOG_SCHEMA_REGISTRY_URL")
    (tmp_path / "url").write_text("https://key:secret@registry.example.org\n")
    monkeypatch.setenv("GRADELOG_SCHEMA_REGISTRY_URL_FILE", str(tmp_path / "url"))
    assert read_settings().schema_registry_url == "https://key:secret@registry.example.org"
