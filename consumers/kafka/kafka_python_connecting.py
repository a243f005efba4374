"""What kafka-python connects with, and why it does not."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from kafka import errors as kafka_errors
from kafka.net.compat import KafkaNetClient
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector

from consumers.kafka.client import KafkaError
from consumers.kafka.kafka_python_repairs import read_all
from consumers.kafka.kafka_python_settings import readable
from consumers.kafka.settings import ClientSettings

_REFUSALS: Final = (
    kafka_errors.SaslAuthenticationFailedError,
    kafka_errors.UnsupportedSaslMechanismError,
    kafka_errors.AuthorizationError,
)


class _Manager(KafkaConnectionManager):  # type: ignore[misc]
    """Remembers why a connection failed; the library logs it, and tells that time has run out."""

    problem: BaseException | None = None

    def get_connection(self, *arguments: Any, **options: Any) -> Any:
        connection = super().get_connection(*arguments, **options)
        connection.init_future.add_errback(self._note)
        return connection

    async def _build_transport(self, *arguments: Any, **options: Any) -> Any:
        transport = await super()._build_transport(*arguments, **options)
        read_all(transport)
        return transport

    def _note(self, problem: BaseException) -> None:
        # Once refused, a later attempt may just have run out of time.
        if is_refusal(problem) or not is_refusal(self.problem):
            self.problem = problem


def is_refusal(problem: BaseException | None) -> bool:
    """Whether a broker does not let us in, or is not whom it should be."""
    return isinstance(problem, _REFUSALS) or "[SSL" in str(problem)


class Connections:
    """Makes what one client of the library connects with."""

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        self._made: KafkaNetClient | None = None

    def __call__(self, **configs: Any) -> KafkaNetClient:
        """As the library would make it itself."""
        net = NetworkSelector(**configs)
        self._made = KafkaNetClient(net=net, manager=_Manager(net, **configs))
        return self._made

    @contextmanager
    def begun(self) -> Iterator[None]:
        """Connect in here.

        Raises:
            KafkaError: that failed; nothing stays behind, as the library would leave it.
        """
        try:
            yield
        except BaseException as error:
            problem = self.problem
            if self._made is not None:
                self._made.close()
            if isinstance(error, KafkaError) or not isinstance(error, Exception):
                raise
            if isinstance(error, kafka_errors.KafkaTimeoutError) and problem is not None:
                raise KafkaError(self._settings.unreachable(readable(problem))) from error
            raise KafkaError(readable(error)) from error

    @property
    def problem(self) -> BaseException | None:
        """Why the last connection that failed did."""
        return None if self._made is None else self._made._manager.problem  # noqa: SLF001

    def check(self) -> None:
        """Tell what does not pass by itself.

        Raises:
            KafkaError: a broker does not let us in, or is not whom it should be.
        """
        problem = self.problem
        if problem is not None and is_refusal(problem):
            raise KafkaError(self._settings.unreachable(readable(problem)))
