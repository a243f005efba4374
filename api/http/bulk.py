"""Many commands in one request: lines in, lines out, in the same order.

Lines are taken as they come and carried out in windows: commands about the same student
item one after the other and in one append, the others side by side. A line that is broken,
too long, not allowed or refused fails alone.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast
from uuid import UUID

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.http import commands, log_reads
from api.http.auth import WRITE_SUBMISSIONS
from api.http.bodies import LINES_TYPES, check_media_type, parse_json, read_lines
from api.http.calls import Call
from api.http.idempotency import Written, checked_key, header_key, promise, reopen
from api.http.problems import IN_BODY, Locations, Problem, error_at, invalid, problem_of
from api.http.responses import NDJSON, lines
from api.http.spool import Spool
from api.rendering import Result
from domain.application import Done, Idempotency
from domain.events import Provenance
from domain.submissions.application import Prepared
from domain.submissions.errors import SubmissionRequestError
from projections.submissions import Submission, submissions_by_uuids

WINDOW: Final = 512
"""Commands that are carried out side by side."""

WINDOWS: Final = 2
"""Windows that are under way at a time."""

_COMMON: Final = frozenset({"id", "command", "idempotency_key"})
_FIELDS: Final = {
    "create_submission": _COMMON
    | {"student_item", "answer", "submitted_at", "attempt_number", "team_submission_uuid"},
    "set_score": _COMMON
    | {
        "submission_uuid",
        "points_earned",
        "points_possible",
        "annotation_creator",
        "annotation_type",
        "annotation_reason",
    },
    "reset_score": _COMMON | {"student_id", "course_id", "item_id", "clear_state"},
}
_LOCATIONS: Final = {
    "create_submission": commands.IN_STUDENT_ITEM,
    "set_score": Locations(unnamed=("body", "submission_uuid")),
    "reset_score": IN_BODY,
}
MAX_ID: Final = 255


@dataclass(slots=True)
class Line:
    """One line on its way from text to result."""

    number: int
    raw: bytes = b""
    id: str | int | None = None
    body: dict[str, Any] | None = None
    error: Exception | None = None
    render: Callable[[Any], Written] | None = None
    prepared: Prepared | None = None

    @property
    def name(self) -> str:
        """Of the command."""
        assert self.body is not None
        return cast(str, self.body["command"])


async def carry_out_commands(call: Call) -> Response:
    """Carry out many commands."""
    commands.refuse_unless_writer(call.caller)
    check_media_type(call.raw, LINES_TYPES)
    return _Results(call, header_key(call), call.provenance())


class _Results(Response):
    """The results, sent while further commands are read."""

    def __init__(self, call: Call, key: str | None, provenance: Provenance) -> None:
        super().__init__(media_type=NDJSON, headers={"Cache-Control": "no-store"})
        del self.headers["content-length"]
        self._call = call
        self._key = key
        self._provenance = provenance

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        with Spool() as spool:
            worker = asyncio.create_task(self._work(receive, spool))
            try:
                async for chunk in spool.chunks():
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                await worker
            finally:
                if not worker.done():
                    worker.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await worker
        await send({"type": "http.response.body", "body": b""})

    async def _work(self, receive: Receive, spool: Spool) -> None:
        """Carry out window after window: while one is stored, the next is read and prepared.

        Each decision waits for its turn at its stream, so the order of the lines is kept.
        """
        number = 0
        running: deque[asyncio.Task[None]] = deque()
        try:
            async for found in read_lines(receive, self._call.config.line_limit):
                parsed = [self._parsed(n, raw) for n, raw in enumerate(found, number + 1)]
                number += len(found)
                for window in _windows(parsed):
                    await self._make_ready(window)
                    before = running[-1] if running else None
                    running.append(asyncio.create_task(self._finish(window, before, spool)))
                    if len(running) > WINDOWS:
                        await _settle(running)
            while running:
                await _settle(running)
        finally:
            # What has come whole is carried out, also when the client has gone meanwhile.
            await asyncio.gather(*running, return_exceptions=True)
            spool.end()

    async def _finish(
        self, window: Sequence[Line], before: asyncio.Task[None] | None, spool: Spool
    ) -> None:
        results = lines(await self._carried_out(window))
        if before is not None:
            await before
        spool.write(results)

    def _parsed(self, number: int, raw: bytes | Problem) -> Line:
        line = Line(number)
        if isinstance(raw, Problem):
            line.error = raw
            return line
        line.raw = raw
        try:
            line.body = _command(line, parse_json(raw))
        except Problem as problem:
            line.error = problem
        return line

    async def _make_ready(self, window: Sequence[Line]) -> None:
        await self._check_rights(window)
        # Started in the order of the lines: the moment of each is taken when it starts.
        await asyncio.gather(*(self._prepare(line) for line in window if line.error is None))

    async def _carried_out(self, window: Sequence[Line]) -> list[Result]:
        ready = [line for line in window if line.error is None]
        outcomes = await self._call.backend.submissions.execute_all(
            [cast(Prepared, line.prepared) for line in ready], provenance=self._provenance
        )
        results = dict(zip((line.number for line in ready), outcomes, strict=True))
        return [await self._result(line, results.get(line.number)) for line in window]

    async def _check_rights(self, window: Iterable[Line]) -> None:
        caller = self._call.caller
        if caller.may_everywhere(WRITE_SUBMISSIONS):
            return
        scored: list[tuple[Line, UUID]] = []
        for line in window:
            if line.body is None:
                continue
            try:
                match line.name:
                    case "create_submission":
                        commands.refuse_submission(caller, line.body.get("student_item"))
                    case "reset_score":
                        commands.refuse_in_course(caller, commands.reset_arguments(line.body)[1])
                    case _:
                        scored.append((line, _uuid_of(line.body)))
            except Exception as error:  # noqa: BLE001 - the answer to this line
                line.error = error
        if not scored:
            return
        query = submissions_by_uuids({submission_uuid for _, submission_uuid in scored})
        try:
            found = (await self._call.backend.reads.ask(query, latest=True)).value
        except Exception as error:  # noqa: BLE001 - the answer to each of these lines
            for line, _ in scored:
                line.error = error
            return
        await asyncio.gather(*(self._check_score(*one, found.get(one[1])) for one in scored))

    async def _check_score(
        self, line: Line, submission_uuid: UUID, found: Submission | None
    ) -> None:
        try:
            if found is not None:
                course_id: str | None = found.student_item.course_id
            else:
                course_id = await log_reads.course_of_submission(self._call, submission_uuid)
            commands.refuse_score(self._call.caller, course_id, submission_uuid)
        except Exception as error:  # noqa: BLE001 - the answer to this line
            line.error = error

    async def _prepare(self, line: Line) -> None:
        try:
            line.prepared = await self._prepared(line)
        except Exception as error:  # noqa: BLE001 - the answer to this line
            line.error = error

    async def _prepared(self, line: Line) -> Prepared:
        body = cast(dict[str, Any], line.body)
        submissions = self._call.backend.submissions
        match line.name:
            case "create_submission":
                line.render = commands.created
                return await submissions.prepare_create_submission(
                    *commands.submission_arguments(body), idempotency=self._promise(line)
                )
            case "set_score":
                line.render = commands.scored(body)
                return await submissions.prepare_set_score(
                    _uuid_of(body),
                    *commands.score_arguments(body),
                    idempotency=self._promise(line),
                )
            case _:
                line.render = commands.reset
                return submissions.prepare_reset_score(
                    *commands.reset_arguments(body), idempotency=self._promise(line)
                )

    def _promise(self, line: Line) -> Idempotency[Any] | None:
        assert line.body is not None
        assert line.render is not None
        key = line.body.get("idempotency_key")
        if key is not None:
            key = "line:" + checked_key(key, "body", "idempotency_key")
        elif self._key is not None:
            key = f"line {line.number}:{self._key}"
        else:
            return None
        lifetime = self._call.config.idempotency_lifetime
        return promise(self._call.caller, key, line.raw, line.render, lifetime)

    async def _result(self, line: Line, outcome: Done[Any] | BaseException | None) -> Result:
        error = line.error or outcome
        if isinstance(error, Exception):
            return _refused(line, error)
        assert isinstance(outcome, Done)
        assert line.render is not None
        replay = outcome.replay
        try:
            written = (
                line.render(outcome.value) if replay is None else await reopen(self._call, replay)
            )
        except Exception as failure:  # noqa: BLE001 - the answer to this line
            return _refused(line, failure)
        result: Result = {"id": line.id, "status": written.status}
        if outcome.position is not None:
            result["position"] = outcome.position
        if replay is not None:
            result["replayed"] = True
        result["result"] = written.body
        return result


def _refused(line: Line, error: Exception) -> Result:
    problem = problem_of(error, _LOCATIONS[line.name] if line.body else IN_BODY)
    return {"id": line.id, "status": problem.status, "error": problem.as_dict()}


async def _settle(running: deque[asyncio.Task[None]]) -> None:
    """Wait for the oldest window; whoever is cancelled meanwhile does not cancel it."""
    await asyncio.wait([running[0]])
    running.popleft().result()


def _windows(parsed: Iterable[Line]) -> Iterator[list[Line]]:
    """Lines that are carried out together: a key that comes again begins a new window."""
    window: list[Line] = []
    keys: set[object] = set()
    for line in parsed:
        key = line.body.get("idempotency_key") if line.body else None
        repeated = isinstance(key, str) and key in keys
        if window and (repeated or len(window) == WINDOW):
            yield window
            window, keys = [], set()
        window.append(line)
        if isinstance(key, str):
            keys.add(key)
    if window:
        yield window


def _command(line: Line, value: object) -> dict[str, Any]:
    """The members of a command; its id is noted first, so that a refusal carries it."""
    where = f"line {line.number} was refused"
    if not isinstance(value, dict):
        raise invalid(where, error_at("Input should be an object.", "object_type", "body"))
    given = value.get("id")
    if isinstance(given, bool) or not isinstance(given, str | int | None) or _is_long(given):
        raise invalid(
            where,
            error_at(f"Text of at most {MAX_ID} characters, or an integer.", "id", "body", "id"),
        )
    line.id = given
    name = value.get("command")
    allowed = _FIELDS.get(name) if isinstance(name, str) else None
    if allowed is None:
        raise invalid(
            where, error_at(f"One of {', '.join(_FIELDS)}.", "literal_error", "body", "command")
        )
    if unknown := [member for member in value if member not in allowed]:
        raise invalid(
            where, *(error_at("Unknown field.", "unknown", "body", name) for name in unknown)
        )
    return value


def _is_long(value: str | int | None) -> bool:
    if isinstance(value, int):
        return abs(value) > 2**63 - 1
    return value is not None and (len(value) > MAX_ID or not value.isprintable())


def _uuid_of(body: dict[str, Any]) -> UUID:
    if "submission_uuid" not in body:
        raise SubmissionRequestError(field_errors={"submission_uuid": [commands.REQUIRED]})
    return commands.submission_uuid(body["submission_uuid"])
