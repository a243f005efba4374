"""What an operator decides, read once from the environment into a frozen model.

A process that starts on a misspelt variable or on a secret from a manual does harm
quietly and for long. So unknown ``GRADELOG_`` variables are refused, every problem is
told at once and in one line each, and secrets that anybody could guess are refused
outside development.
"""

import base64
import binascii
import difflib
import ipaddress
import json
import os
import re
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import (
    ByteSize,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

PREFIX: Final = "GRADELOG_"
FILE: Final = "_FILE"
OF_EVERYBODY: Final = {
    "database_url": "DATABASE_URL",
    "kafka_bootstrap_servers": "KAFKA_BOOTSTRAP_SERVERS",
}
"""Fields whose variables are known under these names everywhere, and so have no prefix."""

SECRET_FIELDS: Final = (
    "database_url",
    "keys_url",
    "jwt_secret",
    "master_key",
    "kafka_password",
    "schema_registry_url",
)
"""Fields that may also be given as the name of a file, by a variable that ends in ``_FILE``."""

MASK: Final = "********"
SHORTEST_SECRET: Final = 32
FEWEST_CHARACTERS: Final = 8
"""A secret of fewer different characters is a row of the same letter, not a secret."""

DEVELOPMENT_SECRET: Final = "gradelog-development-secret-never-in-production"  # noqa: S105  # public on purpose
KNOWN_SECRETS: Final = frozenset(
    {
        DEVELOPMENT_SECRET,
        "secret",
        "change-me",
        "changeme",
        "password",
        "lms-secret",
        "set-me-please",
        "your-256-bit-secret",
        "a-string-secret-at-least-256-bits-long",
        "your-secret-key-here-at-least-32-characters",
        "replace-this-with-at-least-32-characters",
    }
)
"""Secrets that stand in manuals, ours and others': whoever reads those can sign tokens."""

COOKIE_NAME: Final = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$"
TOPIC_PREFIX: Final = r"^[A-Za-z0-9._-]{1,200}$"
"""What Kafka takes in names of topics, and room for the rest of the name."""

EVENT_BUS_WRITTEN: Final = tuple(
    f"org.openedx.learning.{name}.v1"
    for name in (
        "course.persistent_grade_summary.changed",
        "course.passing.status.updated",
        "external_grader.score.submitted",
        "ora.submission.created",
    )
)
EVENT_BUS_READ: Final = tuple(
    f"org.openedx.learning.{name}.v1"
    for name in (
        "course.enrollment.created",
        "course.enrollment.changed",
        "course.unenrollment.completed",
        "user.course_access_role.added",
        "user.course_access_role.removed",
    )
)
EVENT_BUS_TYPES: Final = EVENT_BUS_WRITTEN + EVENT_BUS_READ
"""What is written to the event bus of Open edX, and read from it."""

_BROKER: Final = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})")
_ORIGIN: Final = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:\d{1,5})?")
_URL_PASSWORD: Final = re.compile(r"(://[^:@/]*):[^/]*@")
_NAMED_PASSWORD: Final = re.compile(r"(password\s*=\s*)('(?:\\.|[^'\\])*'|[^\s&]+)")


class SettingsError(Exception):
    """The settings cannot be used as they stand.

    Attributes:
        problems: one readable sentence for each thing that is wrong.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Effective(NamedTuple):
    """One setting as it is in force, for people to read."""

    name: str
    value: str
    source: str


def default_home() -> Path:
    """Where data goes when nobody says: the system's place for root, else the user's own."""
    if os.geteuid() == 0:
        return Path("/var/lib/gradelog")
    data_home = Path(os.environ.get("XDG_DATA_HOME", ""))
    if data_home.is_absolute():  # the specification says to ignore a relative one
        return data_home / "gradelog"
    try:
        return Path.home() / ".local" / "share" / "gradelog"
    except RuntimeError:
        raise SettingsError(
            "GRADELOG_HOME: must be set, because this user has no home directory"
        ) from None


class Settings(BaseSettings):
    """Everything that may differ between two installations."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False
    )

    database_url: str | None = Field(default=None, repr=False)
    """A PostgreSQL connection string; without it, an embedded server keeps the data in ``home``."""
    home: Path = Field(default_factory=default_home)
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    workers: int = Field(default=1, ge=1, le=256)
    jwt_secret: SecretStr | None = None
    jwks_url: str | None = None
    jwt_audience: str | None = None
    jwt_issuer: str | None = None
    development: bool = False
    """Accept well known secrets, and let whoever comes sign in as anybody. Never on a machine
    that others can reach."""
    development_anywhere: bool = False
    """Even there, because the network is closed."""
    public_url: str | None = None
    """Where browsers find this server, if not where they ask for it."""
    allowed_origins: tuple[str, ...] = ()
    """Sites whose pages may call with the cookies of whoever looks at them."""
    cookie_domain: str | None = None
    """Domain of the tokens' cookies, when pages of other hosts have to read them."""
    payload_cookie: str = Field(default="edx-jwt-cookie-header-payload", pattern=COOKIE_NAME)
    signature_cookie: str = Field(default="edx-jwt-cookie-signature", pattern=COOKIE_NAME)
    login_url: str | None = None
    """Where people sign in when another system lets them in; nobody can sign in here then."""
    logout_url: str | None = None
    refresh_url: str | None = None
    session_days: int = Field(default=30, ge=1, le=365)
    site_name: str = Field(default="gradelog", max_length=100)
    mfe_config: dict[str, Any] = Field(default_factory=dict)
    """JSON object: settings for the front ends besides those that are known here."""
    mfe_config_overrides: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """JSON object: the same for one front end each."""
    master_key: SecretStr | None = None
    """Base64 of the 32 bytes that wrap the learners' keys. Losing it loses their answers."""
    body_limit: ByteSize = Field(default=ByteSize(1024 * 1024), ge=1024)
    line_limit: ByteSize = Field(default=ByteSize(1024 * 1024), ge=1024)
    append_timeout: float = Field(default=10.0, gt=0, le=3600)
    """Seconds until a command that waits for the log is given up."""
    read_timeout: float = Field(default=30.0, gt=0, le=3600)
    """Seconds until the server ends a reading statement."""
    pool_size: int = Field(default=8, ge=1, le=1000)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    log_format: Literal["auto", "json", "console"] = "auto"
    log_queue: int = Field(default=10_000, ge=1)
    """How many appends may wait in one process before more are turned away."""
    idempotency_days: int = Field(default=7, ge=1, le=3650)
    kafka_bootstrap_servers: str | None = None
    """Where Kafka is found: ``host:port``, separated by commas. Without it there is no Kafka."""
    kafka_client: Literal["kafka-python", "confluent"] = "kafka-python"
    kafka_topic_prefix: str = Field(default="gradelog", pattern=TOPIC_PREFIX)
    kafka_partitions: int = Field(default=24, ge=1, le=10_000)
    """Of the topic of courses, when it is made; never changed afterwards."""
    kafka_replicas: int = Field(default=1, ge=1, le=100)
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        default=None, validate_default=True
    )
    kafka_username: str | None = Field(default=None, validate_default=True)
    kafka_password: SecretStr | None = Field(default=None, validate_default=True)
    kafka_ca_file: Path | None = None
    """Certificates of those who vouch for the brokers, if the system does not know them."""
    kafka_compression: Literal["none", "gzip", "lz4", "zstd", "snappy"] = "none"
    kafka_inbound: bool = False
    """Carry out the commands of the inbound topics beside the server. Whoever may write to those
    may change grades."""
    event_source: str = Field(default="/gradelog", pattern=r"^[!-~]{1,500}$")
    """The ``source`` of the published events: a URI of this installation."""
    event_bus_topics: Mapping[str, str] = Field(default_factory=dict)
    """Topics of the event bus of Open edX by type of event, those that are written and those
    that are read. Empty: there is no event bus."""
    event_bus_topic_prefix: str = Field(default="", pattern=r"^[A-Za-z0-9._-]{0,100}$")
    """Stands before the names of all its topics, with a hyphen between."""
    event_bus_pii: bool = False
    """Write names, addresses and answers to it; else empty texts stand there."""
    schema_registry_url: str | None = Field(default=None, repr=False, validate_default=True)
    """Where its schemas are registered."""
    event_streams: int = Field(default=1000, ge=0, le=100_000)
    """How many streams of events may be open in one process."""
    keys_url: str | None = Field(default=None, repr=False)
    """Connection string of the database with the learners' keys, when it is another one."""
    webhook_allow_insecure: bool = False
    """Let webhooks lead to ``http://``, too. In development they may anyway."""
    webhook_allowed_networks: tuple[str, ...] = ()
    """Ranges of addresses that webhooks may lead to though they are not of the internet."""
    webhook_concurrency: int = Field(default=32, ge=0, le=1000)
    """How many webhooks a projector delivers side by side; 0 leaves them to others."""
    webhook_give_up_hours: float = Field(default=24.0, gt=0, le=24 * 365)
    """After so many hours without a delivery a webhook is disabled."""

    @field_validator("database_url", "keys_url")
    @classmethod
    def _is_a_connection_string(cls, value: str | None) -> str | None:
        # The library's own message quotes the text, and the text may hold a password.
        if value is not None and not _is_conninfo(value):
            raise ValueError(
                "is not a PostgreSQL connection string,"
                " such as postgresql://user:password@host:5432/gradelog"
            )
        return value

    @field_validator("home")
    @classmethod
    def _is_absolute(cls, value: Path) -> Path:
        try:
            return value.expanduser().absolute()
        except RuntimeError:
            raise ValueError("names the home of a user that does not exist") from None

    @field_validator("allowed_origins", mode="before")
    @classmethod
    def _are_origins(cls, value: object) -> object:
        words = value.replace(",", " ").split() if isinstance(value, str) else value
        if not isinstance(words, list | tuple) or not all(isinstance(w, str) for w in words):
            return words
        origins = []
        for word in words:
            origin = word.removesuffix("/").lower()
            if origin in ("*", "null"):
                raise ValueError(
                    "must name origins: with a star every page in the world could act for"
                    " whoever is signed in"
                )
            if _ORIGIN.fullmatch(origin) is None:
                raise ValueError("must be origins without a path, such as https://grades.example")
            origins.append(origin)
        return tuple(origins)

    @field_validator("webhook_allowed_networks", mode="before")
    @classmethod
    def _are_networks(cls, value: object) -> object:
        words = value.replace(",", " ").split() if isinstance(value, str) else value
        if not isinstance(words, list | tuple) or not all(isinstance(w, str) for w in words):
            return words
        try:
            return tuple(str(ipaddress.ip_network(word)) for word in words)
        except ValueError:
            raise ValueError(
                "must be ranges of addresses, such as 10.20.0.0/16 fd00:20::/64"
            ) from None

    @field_validator("cookie_domain")
    @classmethod
    def _is_a_domain(cls, value: str | None) -> str | None:
        if value is not None and re.fullmatch(r"\.?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*", value) is None:
            raise ValueError("must be a domain, such as example.org")
        return value

    @field_validator("mfe_config", "mfe_config_overrides", mode="before")
    @classmethod
    def _is_an_object(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except ValueError:
            raise ValueError("must be a JSON object") from None

    @field_validator("jwks_url", "public_url", "login_url", "logout_url", "refresh_url")
    @classmethod
    def _is_a_web_address(cls, value: str | None) -> str | None:
        if value is not None and re.fullmatch(r"https?://[^/\s]+(/\S*)?", value) is None:
            raise ValueError("must be an http:// or https:// address")
        return value

    @field_validator("master_key")
    @classmethod
    def _is_a_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            decode_key(value.get_secret_value())
        return value

    @field_validator("kafka_bootstrap_servers")
    @classmethod
    def _are_brokers(cls, value: str | None) -> str | None:
        if value is None:
            return None
        brokers = [broker.strip() for broker in value.split(",")]
        for broker in brokers:
            found = _BROKER.fullmatch(broker)
            if found is None or not 0 < int(found[2]) < 65536:
                raise ValueError(
                    "must be addresses with ports, separated by commas,"
                    " such as kafka1.example.org:9092,kafka2.example.org:9092"
                )
        return ",".join(brokers)

    @field_validator("event_bus_topics", mode="before")
    @classmethod
    def _is_a_map(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except ValueError:
            raise ValueError(
                "must be a JSON object of topics by type of event, such as"
                ' {"org.openedx.learning.course.passing.status.updated.v1": "grades"}'
            ) from None

    @field_validator("event_bus_topics")
    @classmethod
    def _has_known_types(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        for type_, topic in value.items():
            if type_ not in EVENT_BUS_TYPES:
                known = difflib.get_close_matches(type_, EVENT_BUS_TYPES, 1, 0)
                raise ValueError(f"{type_} is neither written nor read; {known[0]} would be")
            if not re.fullmatch(TOPIC_PREFIX, topic):
                raise ValueError(f"{topic!r} cannot be the name of a topic")
        return value

    @field_validator("schema_registry_url")
    @classmethod
    def _is_a_registry(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None:
            if info.data.get("event_bus_topics"):
                raise ValueError("must be set, because GRADELOG_EVENT_BUS_TOPICS is")
        elif not re.fullmatch(r"https?://[^\s/][^\s]*", value):
            raise ValueError("must begin with http:// or https://")
        return value

    @field_validator("kafka_sasl_mechanism", "kafka_username", "kafka_password")
    @classmethod
    def _goes_with_sasl(cls, value: object, info: ValidationInfo) -> object:
        protocol = info.data.get("kafka_security_protocol")
        if protocol is None:  # wrong itself
            return value
        if value is None and protocol.startswith("SASL_"):
            raise ValueError(f"must be set, because GRADELOG_KAFKA_SECURITY_PROTOCOL is {protocol}")
        if value is not None and not protocol.startswith("SASL_"):
            raise ValueError(
                f"is of no use with the protocol {protocol};"
                " set GRADELOG_KAFKA_SECURITY_PROTOCOL to SASL_SSL"
            )
        return value

    @field_validator("kafka_ca_file")
    @classmethod
    def _vouches_for_brokers(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is None:
            return None
        protocol = info.data.get("kafka_security_protocol")
        if protocol is not None and not protocol.endswith("SSL"):
            raise ValueError(
                f"is of no use with the protocol {protocol};"
                " set GRADELOG_KAFKA_SECURITY_PROTOCOL to SSL or SASL_SSL"
            )
        try:
            value.open("rb").close()
        except OSError as error:
            raise ValueError(f"cannot read {value}: {error.strerror}") from None
        return value.absolute()

    @field_validator("log_level", "kafka_security_protocol", "kafka_sasl_mechanism", mode="before")
    @classmethod
    def _in_capitals(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # the framework's signature
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then the environment as this module reads it."""
        return init_settings, Environment(settings_cls)


class Environment(PydanticBaseSettingsSource):
    """The environment, in which ``X_FILE`` may stand for a secret ``X`` and empty means unset."""

    def get_field_value(
        self,
        field: FieldInfo,  # noqa: ARG002  # the framework's signature
        field_name: str,
    ) -> tuple[Any, str, bool]:
        """What the environment says about one field; what cannot be read counts as unset."""
        variable = variable_of(field_name)
        if value := os.environ.get(variable):
            return value, field_name, False
        if field_name in SECRET_FIELDS and (path := os.environ.get(variable + FILE)):
            try:
                return _first_of_file(path), field_name, False
            except ValueError:  # told by _problems_of_environment
                return None, field_name, False
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """All fields that the environment says something about."""
        given = {
            name: self.get_field_value(field, name)[0]
            for name, field in self.settings_cls.model_fields.items()
        }
        return {name: value for name, value in given.items() if value is not None}


def read_settings() -> Settings:
    """Read the environment.

    Raises:
        SettingsError: with everything that is wrong, not only the first.
    """
    problems = list(_problems_of_environment())
    try:
        settings = Settings()
    except ValidationError as error:
        problems += [_sentence(problem) for problem in error.errors(include_url=False)]
        raise SettingsError(*problems) from None
    if problems:
        raise SettingsError(*problems)
    return settings


def variable_of(field_name: str) -> str:
    """The variable that sets a field."""
    return OF_EVERYBODY.get(field_name, PREFIX + field_name.upper())


def effective(settings: Settings) -> list[Effective]:
    """What is in force and who said so, with every secret masked."""
    return [
        Effective(variable_of(name), _shown(getattr(settings, name)), _source(settings, name))
        for name in type(settings).model_fields
    ]


def jwt_secret(settings: Settings) -> str | None:
    """The secret that tokens are signed with; None if only the keys of a JWKS count.

    With the embedded server there is one installation and its home, so a random secret is
    made there once. With a database of its own there may be many machines, which must
    agree, so somebody has to decide.

    Raises:
        SettingsError: the secret can be guessed, or there is none and none may be made.
    """
    if settings.jwt_secret is not None:
        secret = settings.jwt_secret.get_secret_value()
        if not settings.development:
            _refuse_if_guessable(secret)
        return secret
    if settings.jwks_url is not None:
        return None
    if settings.development:
        return DEVELOPMENT_SECRET
    if settings.database_url is not None:
        raise SettingsError(
            "GRADELOG_JWT_SECRET: must be set when DATABASE_URL is, to a random text of"
            f" {SHORTEST_SECRET} characters or more; or set GRADELOG_JWT_SECRET_FILE to a file"
            " that holds it, or GRADELOG_JWKS_URL to where tokens' public keys are published"
        )
    secret = _kept_in_home(settings.home, "jwt-secret", secrets.token_urlsafe(48))
    if len(secret) < SHORTEST_SECRET:
        raise SettingsError(
            f"{settings.home / 'jwt-secret'}: holds fewer than {SHORTEST_SECRET} characters;"
            " delete it and a new secret is made"
        )
    return secret


def keys_of(settings: Settings, dsn: str) -> str | None:
    """The database of the keys for one that is fed from Kafka; None if nothing says where."""
    return None if settings.keys_url == dsn else settings.keys_url


def writes_event_bus(settings: Settings) -> bool:
    """Whether the settings name a topic of the event bus to write to; others are read."""
    return not settings.event_bus_topics.keys().isdisjoint(EVENT_BUS_WRITTEN)


def in_development(settings: Settings) -> Settings:
    """The same settings, with people who choose whom to be; the secret stays a secret.

    Raises:
        SettingsError: there is no secret that can be used.
    """
    secret = jwt_secret(settings)
    changes: dict[str, object] = {"development": True}
    if secret is not None:
        changes["jwt_secret"] = SecretStr(secret)
    return settings.model_copy(update=changes)


def refuse_exposed_development(settings: Settings, host: str) -> None:
    """Keep development away from where others can reach it, unless somebody insists.

    In development whoever can open a connection can be anybody, global staff included, and
    the secret of tokens may be one that everybody knows.

    Raises:
        SettingsError: other machines may reach this address.
    """
    if not settings.development or settings.development_anywhere or _is_loopback(host):
        return
    raise SettingsError(
        f"GRADELOG_DEVELOPMENT: whoever reaches {host or 'this machine'} could be anybody, because"
        " people choose there whom to be; listen on 127.0.0.1, or, if nobody but you can reach"
        " this machine, say so with GRADELOG_DEVELOPMENT_ANYWHERE=true as well"
    )


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def master_key(settings: Settings) -> bytes | None:
    """The 32 bytes that wrap the learners' keys; None to store those keys bare.

    With the embedded server the data is ours to keep, and so is its key. With a database of
    its own there may be many machines, which must agree, so somebody has to decide; until
    then the learners' keys are protected as the rest of the database is.

    Raises:
        SettingsError: the key in the home is damaged.
    """
    if settings.master_key is not None:
        return decode_key(settings.master_key.get_secret_value())
    if settings.database_url is not None:
        return None
    made = base64.b64encode(secrets.token_bytes(32)).decode()
    try:
        return decode_key(_kept_in_home(settings.home, "master-key", made))
    except ValueError as error:
        raise SettingsError(f"{settings.home / 'master-key'}: {error}") from None


def decode_key(text: str) -> bytes:
    """The 32 bytes behind base64, in the usual or in the URL-safe alphabet.

    Raises:
        ValueError: it is something else.
    """
    try:
        key = base64.b64decode(text.translate(str.maketrans("-_", "+/")), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != 32:
        raise ValueError("must be the base64 of exactly 32 bytes (openssl rand -base64 32)")
    return key


def make_home(home: Path) -> None:
    """Make the home if it is not there.

    Root's home is open to be passed through, because the embedded server does not run as
    root and keeps its data inside; what is secret in it is closed file by file.

    Raises:
        OSError: it cannot be made.
    """
    home.mkdir(mode=0o755 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)


def _problems_of_environment() -> Iterator[str]:
    fields = {variable_of(name): name for name in Settings.model_fields}
    files = {variable_of(name) + FILE for name in SECRET_FIELDS}
    known = fields.keys() | files
    for variable in sorted(os.environ):
        if variable.upper().startswith(PREFIX) and variable not in known:
            nearest = difflib.get_close_matches(variable.upper(), known, n=1, cutoff=0.0)
            yield f"{variable}: no such setting; the nearest is {nearest[0]}"
    for file_variable in sorted(files):
        path = os.environ.get(file_variable)
        if not path:
            continue
        variable = file_variable.removesuffix(FILE)
        if os.environ.get(variable):
            yield f"{variable}: is given twice, because {file_variable} is set too; unset one"
            continue
        try:
            _first_of_file(path)
        except ValueError as error:
            yield f"{file_variable}: {error}"


def _first_of_file(path: str) -> str:
    try:
        content = Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    except ValueError:
        raise ValueError(f"cannot read {path}: it is not UTF-8 text") from None
    if not content:
        raise ValueError(f"{path} is empty")
    return content


def _sentence(problem: Any) -> str:
    """One validation error, without the input: it may be a secret."""
    name = str(problem["loc"][0]) if problem["loc"] else ""
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"{variable_of(name)}: {message[:1].lower()}{message[1:]}"


def _is_conninfo(value: str) -> bool:
    try:
        return bool(conninfo_to_dict(value))
    except psycopg.ProgrammingError:
        return False


def _shown(value: object) -> str:
    match value:
        case None:
            return "not set"
        case SecretStr():
            return MASK
        case bool():
            return "true" if value else "false"
        case tuple() | dict() if not value:
            return "not set"
        case tuple():
            return ", ".join(value)
        case dict():
            return json.dumps(value, ensure_ascii=False)
        case str():
            masked = _URL_PASSWORD.sub(rf"\1:{MASK}@", value)
            return _NAMED_PASSWORD.sub(rf"\1{MASK}", masked)
        case _:
            return str(int(value) if isinstance(value, ByteSize) else value)


def _source(settings: Settings, name: str) -> str:
    if name not in settings.model_fields_set:
        return "default"
    variable = variable_of(name)
    if os.environ.get(variable):
        return "environment"
    if path := os.environ.get(variable + FILE):
        return f"file {path}"
    return "program"


def _refuse_if_guessable(secret: str) -> None:
    if secret.lower() in KNOWN_SECRETS:
        problem = "is a well known example"
    elif len(secret) < SHORTEST_SECRET:
        problem = f"has fewer than {SHORTEST_SECRET} characters"
    elif len(set(secret)) < FEWEST_CHARACTERS:
        problem = "repeats the same few characters"
    else:
        return
    raise SettingsError(
        f"GRADELOG_JWT_SECRET: {problem}, so anybody could sign tokens;"
        " use a random one (openssl rand -base64 48), or set GRADELOG_DEVELOPMENT=true"
        " on a machine that nobody else can reach"
    )


def _kept_in_home(home: Path, name: str, proposal: str) -> str:
    """The content of a private file, written once with the proposal of whoever comes first.

    The file appears by a link, whole or not at all, so of several processes that start
    together all read what one of them wrote.
    """
    path = home / name
    try:
        if not path.exists():
            make_home(home)
            with tempfile.NamedTemporaryFile("w", prefix=f".{name}-", dir=home) as file:
                file.write(proposal + "\n")
                file.flush()
                os.fsync(file.fileno())
                with suppress(FileExistsError):
                    path.hardlink_to(file.name)
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingsError(
            f"GRADELOG_HOME: cannot keep {name} in {home}: {error.strerror};"
            " set GRADELOG_HOME to a directory that can be written"
        ) from None
