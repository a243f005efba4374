"""Calculates grades and records them: from scores, outlines and policies to events.

The gradebook marks what may change grades. The grading takes the marks in order, calculates
the learners they are about, and appends what differs from what is recorded; the gradebook
then folds that like any other event. It keeps two things: how far it has come, and which
courses it is grading anew. It may be killed at any moment: what is not noted as done is
calculated again, and finds nothing left to record.

One grader works among all processes, whoever holds the lock; others stand by. An append
refers to the version that it was calculated from: of two who calculate the same learner one
gets through, and the other looks again. What that does not catch is a grader that has lost the
lock and whose append comes only after another one has found that same learner to be as he was.
"""

import itertools
import selectors
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import psycopg
import structlog
from psycopg import Connection, sql

from domain.events import Event, Provenance, made
from domain.grades.learner_grades import (
    CoursePassedFirstTime,
    GradesCalculated,
    learner_grades_stream,
)
from domain.grades.regrading import CourseVersion, Lenses, Regraded, regrade
from domain.grades.structure import Subsection
from projections import positions
from projections.bulk import collector_paused, execute, fetch
from projections.gradebook import Gradebook, inputs, marks
from projections.gradebook.inputs import GradedCourse, Key, LearnerInput, Mark
from projections.positions import SERVING
from projections.read_model import Row
from projections.telling import in_one_line

logger = structlog.get_logger(__name__)

CHANNEL: Final = "gradelog_events"
LOCK: Final = "grades"
BATCH: Final = 5000
"""Marks looked at together."""

CHUNK: Final = 250
"""Learners of a course that are graded anew between two notes of progress."""

AT_A_TIME: Final = 1000
"""Learners whose scores are in memory together."""

RETRY_AFTER: Final = 60.0
"""Seconds after which a course that could not be graded is tried again."""

FREEZE_AFTER: Final = timedelta(days=30)
SHORTEST_PAUSE: Final = 0.002
LONGEST_PAUSE: Final = 0.05
PAUSE_GROWTH: Final = 1.25
STANDBY: Final = 1.0
FIRST_RECONNECT: Final = 0.1
LONGEST_RECONNECT: Final = 2.0
REMEMBERED_COURSES: Final = 50

Append = tuple[Sequence[Event], Provenance]
AppendAll = Callable[[Sequence[Append]], Sequence[int | Exception]]
"""Appends each of several sequences by itself; answers with last positions or errors."""

_STANDING: Final = """
SELECT m.position, m.state, n.oid FROM gradelog.read_models m
JOIN pg_catalog.pg_namespace n ON n.nspname = m.schema WHERE m.schema = %b
"""
# A rebuild may put new tables under the name between two statements of one snapshot, in which
# they are not filled yet. The name is looked up in the catalogue as it is, not in the snapshot's.
_SAME: Final = """
SELECT to_regnamespace(%b)::oid = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = %b)
"""
_HEAD: Final = "SELECT coalesce(max(position), 0) FROM gradelog.events"
_PROGRESS: Final = "SELECT position, recorded_at_position FROM gradelog.grading_progress"
_ADVANCE: Final = """
UPDATE gradelog.grading_progress
SET position = greatest(position, %b::bigint),
    recorded_at_position = greatest(recorded_at_position, %b::bigint), updated_at = now()
"""
_DROP_MARKS: Final = "DELETE FROM marks WHERE position <= %b::bigint"
# A recalculation that is asked for while one goes on begins anew; what the first was forced
# to do is forced still.
_REQUEST: Final = """
INSERT INTO gradelog.recalculations AS r (course_id, position, reason, total)
VALUES (%b, %b::bigint, %b, %b::int)
ON CONFLICT (course_id) DO UPDATE
SET position = excluded.position, total = excluded.total, done = 0, changed = 0,
    reason = CASE WHEN r.finished_at IS NULL AND r.reason = 'policy' THEN r.reason
                  ELSE excluded.reason END,
    after_user_id = 0, requested_at = now(), started_at = NULL, updated_at = now(),
    finished_at = NULL, error = NULL, retry_at = NULL
WHERE r.position < excluded.position
"""
_UNFINISHED: Final = """
SELECT course_id, position, reason, after_user_id FROM gradelog.recalculations
WHERE finished_at IS NULL AND (retry_at IS NULL OR retry_at <= now())
ORDER BY retry_at NULLS FIRST, position LIMIT 1
"""
_NOTE: Final = """
UPDATE gradelog.recalculations
SET done = done + %b::int, changed = changed + %b::int, after_user_id = %b::bigint,
    started_at = coalesce(started_at, now()), updated_at = now(),
    total = greatest(total, done + %b::int)
WHERE course_id = %b AND position = %b::bigint
"""
# All learners of the course have to be looked at again, whoever the failure was about.
_FAIL: Final = """
INSERT INTO gradelog.recalculations AS r (course_id, position, reason, error, retry_at)
VALUES (%b, %b::bigint, 'outline', %b, now() + %b::float8 * interval '1 second')
ON CONFLICT (course_id) DO UPDATE
SET error = excluded.error, retry_at = excluded.retry_at, done = 0, changed = 0,
    after_user_id = 0, finished_at = NULL, updated_at = now(),
    reason = CASE WHEN r.finished_at IS NULL THEN r.reason ELSE excluded.reason END
"""
_FINISH: Final = """
UPDATE gradelog.recalculations
SET finished_at = now(), updated_at = now(), started_at = coalesce(started_at, now()),
    error = NULL, retry_at = NULL
WHERE course_id = %b AND position = %b::bigint
"""


@dataclass(slots=True)
class Figures:
    """What a grader did so far, for metrics and benchmarks."""

    marks: int = 0
    learners: int = 0
    recorded: int = 0
    conflicts: int = 0
    failures: int = 0


@dataclass(slots=True)
class _Task:
    """Why and how a learner is to be graded.

    Attributes:
        position: of the first event that makes it necessary.
        items: problems that have other scores, and subsections that were overridden.
        resets: those of the problems whose score was taken away.
        whole: all subsections.
        forced: record what was never attempted, too.
        seen_anew: the same, of a learner who has a course grade already: another mode, cohort
            or role shows other content.
        overridden: the course grade at least.
    """

    position: int
    items: set[str] = field(default_factory=set)
    resets: set[str] = field(default_factory=set)
    whole: bool = False
    forced: bool = False
    seen_anew: bool = False
    overridden: bool = False

    def add(self, mark: Mark) -> None:
        self.position = min(self.position, mark.position)
        if mark.reason == marks.LEARNER:
            self.seen_anew = True
        elif mark.item_id is None:
            self.whole = True
        else:
            self.items.add(mark.item_id)
            if mark.reason == marks.RESET:
                self.resets.add(mark.item_id)
            self.overridden |= mark.reason == marks.OVERRIDE

    def join(self, other: "_Task") -> None:
        """Do what the other should have done, too."""
        self.position = min(self.position, other.position)
        self.items |= other.items
        self.resets |= other.resets
        self.whole |= other.whole
        self.forced |= other.forced
        self.seen_anew |= other.seen_anew
        self.overridden |= other.overridden

    @property
    def of_everything(self) -> bool:
        return self.whole or self.seen_anew


class SchemaReplacedError(Exception):
    """The tables of the gradebook were built anew; statements have to be prepared again."""


class Grader:
    """Keeps grades recorded until it is told to stop."""

    def __init__(
        self,
        connect: Callable[[], Connection[Row]],
        append_all: AppendAll,
        clock: Callable[[], datetime],
        *,
        batch: int = BATCH,
        chunk: int = CHUNK,
    ) -> None:
        """Make a grader.

        Args:
            connect: opens a connection in autocommit mode.
            append_all: appends to the log, waiting until it is durable.
            clock: gives the current moment, which start dates are compared with.
            batch: most marks to look at together.
            chunk: most learners of a course to grade anew together.
        """
        self._connect = connect
        self._append_all = append_all
        self._clock = clock
        self._batch = batch
        self._chunk = chunk
        self._schema = Gradebook.schema()
        self._courses: dict[str, GradedCourse] = {}
        self._read = 0
        self._recorded_at = 0
        self._again: dict[Key, _Task] = {}
        self._ahead: dict[Key, int] = {}
        self._failed: dict[str, tuple[int, Exception]] = {}
        self.figures = Figures()

    def run(self, stop: threading.Event) -> None:
        """Grade until ``stop`` is set, whatever happens to the database."""
        pause = FIRST_RECONNECT
        while not stop.is_set():
            began = time.monotonic()
            try:
                with self._connect() as db:
                    self._follow(db, stop)
            except SchemaReplacedError:
                logger.info("the gradebook was built anew")
            except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                logger.warning("grader lost the database", error=in_one_line(error))
                if time.monotonic() - began > LONGEST_RECONNECT:
                    pause = FIRST_RECONNECT
                stop.wait(pause)
                pause = min(pause * 2, LONGEST_RECONNECT)
            except Exception:
                # A defect, or a course that cannot be graded. Whoever waits for grades is
                # told; a grader that has gone would never try again.
                logger.exception("grader stumbled")
                stop.wait(LONGEST_RECONNECT)

    def _follow(self, db: Connection[Row], stop: threading.Event) -> None:
        db.add_notify_handler(lambda _: None)
        db.execute(f"LISTEN {CHANNEL}")
        while not positions.try_lock(db, LOCK, self._schema):
            if stop.wait(STANDBY):
                return
        self.take_over(db)
        logger.info("grader works")
        namespace: int | None = None
        pause = SHORTEST_PAUSE
        with selectors.DefaultSelector() as selector:
            selector.register(db.fileno(), selectors.EVENT_READ)
            while not stop.is_set():
                standing = fetch(db, _STANDING, self._schema)
                if not standing or standing[0][1] != SERVING:
                    stop.wait(STANDBY / 4)
                    continue
                namespace = namespace or standing[0][2]
                if standing[0][2] != namespace:
                    raise SchemaReplacedError
                if self.step(db):
                    pause = SHORTEST_PAUSE
                    continue
                pause = min(pause * PAUSE_GROWTH, LONGEST_PAUSE)
                selector.select(pause)

    def take_over(self, db: Connection[Row]) -> None:
        """Go on where the last grader has noted that it was; nobody else may grade."""
        db.execute(sql.SQL("SET search_path = {}, pg_catalog").format(sql.Identifier(self._schema)))
        self._courses.clear()
        self._again.clear()
        self._ahead.clear()
        self._read, self._recorded_at = fetch(db, _PROGRESS)[0]

    # --- one step ---------------------------------------------------------------------------

    def step(self, db: Connection[Row]) -> bool:
        """Take the next marks, or the next learners of a course; whether there was anything."""
        with collector_paused():
            took = self._take_marks(db)
            return self._recalculate(db) or took

    def _take_marks(self, db: Connection[Row]) -> bool:
        with db.transaction():
            db.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            applied = int(fetch(db, _STANDING, self._schema)[0][0])
            found = inputs.read_marks(db, self._read, self._batch)
            end = found[-1].position if len(found) >= self._batch else applied
            tasks = self._ready(applied)
            requested = [mark for mark in found if mark.user_id is None]
            for mark in found:
                if mark.user_id is not None:
                    key = (mark.course_id, mark.user_id)
                    task = tasks.get(key)
                    if task is None:
                        task = tasks[key] = _Task(mark.position)
                    task.add(mark)
            for key in [key for key in tasks if self._ahead.get(key, 0) > applied]:
                self._put_off(key, tasks.pop(key))
            totals = {m.course_id: inputs.count_users(db, m.course_id) for m in requested}
            appends = self._calculate(db, tasks)
            self._refuse_other_tables(db)
        for mark in requested:
            total = totals[mark.course_id]
            execute(db, _REQUEST, mark.course_id, mark.position, mark.reason, total)
        self._note_failures(db)
        for key in self._append(db, appends):
            self._put_off(key, tasks[key])
        self.figures.marks += len(found)
        moved = end > self._read
        self._read = max(self._read, end)
        if moved or tasks:
            self._advance(db)
        return bool(found or appends)

    def _put_off(self, key: Key, task: _Task) -> None:
        """Come back to a learner when the gradebook knows what was recorded last."""
        waiting = self._again.setdefault(key, task)
        if waiting is not task:
            waiting.join(task)

    def _refuse_other_tables(self, db: Connection[Row]) -> None:
        """Trust nothing that this snapshot showed if a rebuild has replaced the tables since.

        Raises:
            SchemaReplacedError: it has.
        """
        if not fetch(db, _SAME, self._schema, self._schema)[0][0]:
            raise SchemaReplacedError

    def _ready(self, applied: int) -> dict[Key, _Task]:
        """What was put off and may be done now, that the gradebook has come so far."""
        self._ahead = {key: at for key, at in self._ahead.items() if at > applied}
        ready = {key: task for key, task in self._again.items() if key not in self._ahead}
        for key in ready:
            del self._again[key]
        return ready

    def _advance(self, db: Connection[Row]) -> None:
        """Note what is done, but for what was put off; forget the marks of it."""
        done = min([self._read, *(task.position - 1 for task in self._again.values())])
        with db.transaction():
            execute(db, _ADVANCE, done, self._recorded_at)
            execute(db, _DROP_MARKS, done)

    # --- courses as a whole -----------------------------------------------------------------

    def _recalculate(self, db: Connection[Row]) -> bool:
        """Grade the next learners of a course that is being graded anew."""
        rows = fetch(db, _UNFINISHED)
        if not rows:
            return False
        course_id, position, reason, after = rows[0]
        with db.transaction():
            db.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            applied = int(fetch(db, _STANDING, self._schema)[0][0])
            users = inputs.next_users(db, course_id, after, self._chunk)
            # Up to whose grades were recorded a moment ago: those are not in the gradebook yet.
            ready = list(
                itertools.takewhile(
                    lambda user: self._ahead.get((course_id, user), 0) <= applied, users
                )
            )
            forced = reason == marks.POLICY
            tasks = {
                (course_id, user): _Task(position, whole=True, forced=forced) for user in ready
            }
            appends = self._calculate(db, tasks)
            self._refuse_other_tables(db)
        if self._note_failures(db):
            return False
        if not users:
            execute(db, _FINISH, course_id, position)
            logger.info("course graded anew", course_id=course_id, reason=reason)
            return True
        if not ready or self._append(db, appends):
            # Somebody else was faster with one of them: the same learners once more, as
            # soon as the gradebook knows.
            return False
        count = len(ready)
        execute(db, _NOTE, count, len(appends), ready[-1], count, course_id, position)
        execute(db, _ADVANCE, 0, self._recorded_at)
        return True

    # --- calculating ------------------------------------------------------------------------

    def _calculate(self, db: Connection[Row], tasks: Mapping[Key, _Task]) -> dict[Key, Append]:
        """What has to be recorded of these learners.

        A course that cannot be graded stops no other: it is noted, and tried again later.
        """
        by_course: dict[str, dict[Key, _Task]] = {}
        for key, task in tasks.items():
            by_course.setdefault(key[0], {})[key] = task
        if not by_course:
            return {}
        now = self._clock()
        appends: dict[Key, Append] = {}
        for course_id, head in inputs.read_heads(db, by_course).items():
            if _is_frozen(head, now):
                continue
            of_course = by_course[course_id]
            try:
                course = self._course(db, course_id, head.layout_position)
                appends |= self._calculate_course(db, course, of_course, now)
            except psycopg.Error:
                raise
            except Exception as error:  # noqa: BLE001 - noted with the course
                position = min(task.position for task in of_course.values())
                self._failed[course_id] = (position, error)
        return appends

    def _calculate_course(
        self,
        db: Connection[Row],
        course: GradedCourse,
        tasks: Mapping[Key, _Task],
        now: datetime,
    ) -> dict[Key, Append]:
        touched: dict[Key, list[Subsection]] = {}
        for key, task in tasks.items():
            subsections = _touched(course.version, task)
            if subsections or task.of_everything or task.overridden:
                touched[key] = subsections
        lenses = Lenses(now)
        appends: dict[Key, Append] = {}
        left = iter(touched.items())
        while part := dict(itertools.islice(left, AT_A_TIME)):
            appends |= self._regrade(db, tasks, part, course, lenses)
        return appends

    def _note_failures(self, db: Connection[Row]) -> bool:
        """Note which courses could not be graded; they are tried again as a whole."""
        failed, self._failed = self._failed, {}
        for course_id, (position, error) in failed.items():
            self.figures.failures += 1
            logger.error("course cannot be graded", course_id=course_id, exc_info=error)
            execute(db, _FAIL, course_id, position, in_one_line(error), RETRY_AFTER)
        return bool(failed)

    def _regrade(
        self,
        db: Connection[Row],
        tasks: Mapping[Key, _Task],
        touched: Mapping[Key, list[Subsection]],
        course: GradedCourse,
        lenses: Lenses,
    ) -> dict[Key, Append]:
        version = course.version
        learners = inputs.read_learners(db, touched)
        scores = inputs.read_scores(
            db,
            {
                key: None if tasks[key].of_everything else _items(found)
                for key, found in touched.items()
            },
            {version.course_id: version.structure},
        )
        appends: dict[Key, Append] = {}
        for key, subsections in touched.items():
            task, learner = tasks[key], learners[key]
            forced = task.forced or (task.seen_anew and learner.has_course_grade)
            if not (forced or task.whole or task.items):
                continue
            known = inputs.known_of(learner, course.ordinals)
            found = regrade(
                lenses.of(version, learner.viewer),
                known,
                subsections,
                scores[key],
                forced=forced,
                deleted=_subsections_of(version, task.resets),
            )
            self.figures.learners += 1
            if found is not None:
                events = _events(key, learner, version, found, known.has_passed, forced, lenses.now)
                appends[key] = (events, _provenance(task))
        return appends

    def _course(self, db: Connection[Row], course_id: str, layout_position: int) -> GradedCourse:
        found = self._courses.get(course_id)
        if found is None or found.layout_position != layout_position:
            while len(self._courses) >= REMEMBERED_COURSES:
                del self._courses[next(iter(self._courses))]
            found = self._courses[course_id] = inputs.read_course(db, course_id)
        elif len(found.ordinals) < len(found.version.structure.subsections):
            raise AssertionError("a subsection has no place in the records")
        return found

    def _append(self, db: Connection[Row], appends: Mapping[Key, Append]) -> list[Key]:
        """Record; return the learners whose grades somebody else has changed meanwhile."""
        failed: list[Key] = []
        if not appends:
            return failed
        outcomes = self._append_all(list(appends.values()))
        for key, outcome in zip(appends, outcomes, strict=True):
            if isinstance(outcome, int):
                self._ahead[key] = outcome
                self._recorded_at = max(self._recorded_at, outcome)
                self.figures.recorded += 1
            else:
                logger.info("grades were changed meanwhile", course_id=key[0], user_id=key[1])
                self.figures.conflicts += 1
                failed.append(key)
        if failed:
            # Before the gradebook shows what they were changed to, it would fail again.
            head = int(fetch(db, _HEAD)[0][0])
            self._ahead.update(dict.fromkeys(failed, head))
        return failed


def _touched(course: CourseVersion, task: _Task) -> list[Subsection]:
    if task.of_everything:
        return list(course.structure.subsections)
    return list(_subsections_of(course, task.items).values())


def _subsections_of(course: CourseVersion, items: Iterable[str]) -> dict[str, Subsection]:
    """The subsections that problems stand in, and those that are named themselves."""
    structure = course.structure
    found: dict[str, Subsection] = {}
    for item in items:
        for subsection in structure.subsections_of.get(item, ()):
            found[subsection.usage_key] = subsection
        if item in structure.by_key:
            found[item] = structure.by_key[item]
    return found


def _items(subsections: Iterable[Subsection]) -> set[str]:
    return {problem.usage_key for found in subsections for problem in found.problems}


def _is_frozen(head: inputs.CourseHead, now: datetime) -> bool:
    return head.freeze_after_end and head.end is not None and now > head.end + FREEZE_AFTER


def _provenance(task: _Task) -> Provenance:
    return Provenance(actor="gradelog", via="grading", cause=f"position {task.position}")


def _events(
    key: Key,
    learner: LearnerInput,
    course: CourseVersion,
    found: Regraded,
    has_passed: bool,
    forced: bool,
    now: datetime,
) -> list[Event]:
    course_id, user_id = key
    whose = {"user_id": user_id, "course_id": course_id}
    place = {"originator_id": learner_grades_stream(user_id, course_id), "timestamp": now}
    events: list[Event] = [
        made(
            GradesCalculated,
            {
                **place,
                "originator_version": learner.version + 1,
                **whose,
                "subsections": found.subsections,
                **found.course_grade._asdict(),
                **course.facts(forced=forced),
            },
        )
    ]
    if found.course_grade.passed and not has_passed:
        version = learner.version + 2
        events.append(
            made(CoursePassedFirstTime, {**place, "originator_version": version, **whose})
        )
    return events
