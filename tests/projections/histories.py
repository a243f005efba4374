"""Random histories, made by the aggregates themselves, so that they are such as can happen."""

from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID, uuid5

from domain.events import Event
from domain.submissions.fields import StudentItemKey
from domain.submissions.student_item import (
    NewScore,
    NewSubmission,
    StudentItem,
    student_item_stream,
)
from domain.submissions.team_submission import TeamSubmission

COURSES = ("course-v1:A+1+2026", "course-v1:B+1+2026")
ITEMS = ("essay", "upload")
TYPES = {"essay": "openassessment", "upload": "sga"}
STUDENTS = ("anna", "Ben", "Ähre")
TEAMS = ("red", "blue")
_START = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
_NAMESPACE = UUID("3a6c7f3e-21cb-4d24-9d94-93a7c1f0f3a5")


class History:
    """Goes on for as many commands as wanted. The same seed tells the same history."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self._seed = seed
        self._items: dict[StudentItemKey, StudentItem] = {}
        self._teams: dict[tuple[str, str, str], TeamSubmission] = {}
        self._ids = 0
        self._now = _START

    def events(self, commands: int) -> list[Event]:
        return [event for _ in range(commands) for event in self._command()]

    def _command(self) -> list[Event]:
        # Many things happen at the same moment, as in a batch of a service.
        self._now += timedelta(seconds=self.chance.choice((0, 0, 1, 30)))
        course, item = self.chance.choice(COURSES), self.chance.choice(ITEMS)
        kind = self.chance.choices(
            (self._hand_in, self._score, self._reset, self._team_hands_in, self._team_reset),
            (6, 9, 2, 1, 0.5),
        )[0]
        return kind(course, item)

    def _hand_in(self, course: str, item: str) -> list[Event]:
        aggregate = self._item(self.chance.choice(STUDENTS), course, item)
        self._submit(aggregate, None)
        return _collect(aggregate)

    def _score(self, course: str, item: str) -> list[Event]:
        aggregate = self._items.get(self._key(self.chance.choice(STUDENTS), course, item))
        if aggregate is None or not aggregate.attempts:
            return self._hand_in(course, item)
        attempt = self.chance.choice(list(aggregate.attempts))
        score_id = self._id()
        annotation = {
            "creator": "staff",
            "annotation_type": "staff_defined",
            "reason": f"1:sealed reason {score_id}",
        }
        aggregate.set_score(
            attempt,
            NewScore(
                score_id,
                self.chance.choice((0, 1, 5, 5, 10, 12)),
                self.chance.choice((0, 10, 10, 20)),
                annotation if self.chance.random() < 0.3 else None,
            ),
            at=self._now,
        )
        return _collect(aggregate)

    def _reset(self, course: str, item: str) -> list[Event]:
        aggregate = self._items.get(self._key(self.chance.choice(STUDENTS), course, item))
        if aggregate is None:
            return self._hand_in(course, item)
        self._reset_item(aggregate, clear_state=self.chance.random() < 0.4)
        return _collect(aggregate)

    def _team_hands_in(self, course: str, item: str) -> list[Event]:
        team_id = self.chance.choice(TEAMS)
        if (course, item, team_id) in self._teams:
            return self._team_reset(course, item)
        number = self._id()
        team_uuid = uuid5(_NAMESPACE, f"{self._seed} team {number}")
        members = [
            self._item(student_id, course, item)
            for student_id in self.chance.sample(STUDENTS, self.chance.randint(0, 2))
        ]
        made = [
            {
                "student_id": member.key.student_id,
                "submission_uuid": str(self._submit(member, team_uuid)),
            }
            for member in members
        ]
        team = self._teams[course, item, team_id] = TeamSubmission.create(
            team_uuid,
            at=self._now,
            team_submission_id=number,
            course_id=course,
            item_id=item,
            item_type=TYPES[item],
            team_id=team_id,
            submitted_by=None,
            attempt_number=1,
            submitted_at=self._now,
            answer=f"1:sealed team answer {number}",
            answer_size=9,
            member_submissions=made,
            skipped_members=[],
        )
        return [*(event for member in members for event in _collect(member)), *_collect(team)]

    def _team_reset(self, course: str, item: str) -> list[Event]:
        found = [known for known in self._teams if known[:2] == (course, item)]
        if not found:
            return self._hand_in(course, item)
        chosen = self.chance.choice(found)
        team = self._teams[chosen]
        clear_state = self.chance.random() < 0.7
        members = [self._items[self._key(student, course, item)] for student, _ in team.members]
        for member in members:
            self._reset_item(member, clear_state=clear_state)
        team.reset_scores(clear_state=clear_state, score_ids=[], at=self._now)
        if clear_state:
            del self._teams[chosen]
        return [*(event for member in members for event in _collect(member)), *_collect(team)]

    # --- parts ------------------------------------------------------------------------------

    def _submit(self, item: StudentItem, team_uuid: UUID | None) -> UUID:
        number = self._id()
        submission_uuid = uuid5(_NAMESPACE, f"{self._seed} submission {number}")
        days = self.chance.choice((0, 0, 0, -1, 2))
        item.create_submission(
            NewSubmission(
                submission_uuid,
                number,
                self._now + timedelta(days=days),
                None,
                f"1:sealed answer {number}",
                9,
                team_uuid,
            ),
            at=self._now,
        )
        return submission_uuid

    def _reset_item(self, item: StudentItem, *, clear_state: bool) -> None:
        item.reset_score(
            score_id=self._id(),
            clear_state=clear_state,
            emit_signal=True,
            cause="clear_state",
            at=self._now,
        )

    def _item(self, student_id: str, course: str, item: str) -> StudentItem:
        key = self._key(student_id, course, item)
        if key not in self._items:
            self._items[key] = StudentItem.register(
                key,
                stream_id=student_item_stream(student_id, course, item),
                student_item_id=self._id(),
                at=self._now,
            )
        return self._items[key]

    def _key(self, student_id: str, course: str, item: str) -> StudentItemKey:
        return StudentItemKey(student_id, course, item, TYPES[item])

    def _id(self) -> int:
        self._ids += 1
        return self._ids


def _collect(aggregate: StudentItem | TeamSubmission) -> list[Event]:
    return list(aggregate.collect_events())
