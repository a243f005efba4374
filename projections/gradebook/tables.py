"""The tables of the gradebook, and how what is compact in them is written and read.

A learner's grades in a course are one row: a list of records in which each subsection has
its place, its ordinal in the course. Ordinals are given when a subsection is first seen
and never taken back, so a new outline moves nobody's grades.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, LiteralString, NamedTuple

import orjson

TABLES: Final[LiteralString] = """
CREATE TABLE courses (
    course_id             text    COLLATE "C" PRIMARY KEY,
    org                   text,
    display_name          text,
    start_at              timestamptz,
    end_at                timestamptz,
    self_paced            boolean NOT NULL DEFAULT false,
    registered            boolean NOT NULL DEFAULT false,
    writable_gradebook    boolean NOT NULL DEFAULT true,
    bulk_management       boolean NOT NULL DEFAULT false,
    freeze_after_end      boolean NOT NULL DEFAULT false,
    rejected_exam_overrides_grade boolean NOT NULL DEFAULT false,
    is_cohorted           boolean NOT NULL DEFAULT false,
    modes                 text    NOT NULL DEFAULT '[]',
    policy_hash           text,
    version               text,
    edited_at             timestamptz,
    active_enrollments    integer NOT NULL DEFAULT 0,
    -- Of the last of the course's own events, of the last that changed how somebody in it is
    -- called, and of the last that changed its outline or policy. Apart from each other,
    -- because elsewhere people and courses come in any order: together the first two never
    -- stay the same when a page of the gradebook changes.
    changed_position      bigint  NOT NULL DEFAULT 0,
    people_position       bigint  NOT NULL DEFAULT 0,
    layout_position       bigint  NOT NULL DEFAULT 0
);

-- Apart from the courses, whose rows change with every batch.
CREATE TABLE outlines (
    course_id text COLLATE "C" PRIMARY KEY,
    blocks    text NOT NULL DEFAULT '[]',
    graders   text,
    cutoffs   text,
    -- Usage keys of subsections; the place of each is its ordinal.
    ordinals  text NOT NULL DEFAULT '[]'
);

-- Of a user who is not registered yet, only the roles may be known.
CREATE TABLE users (
    user_id       bigint PRIMARY KEY,
    username      text   COLLATE "C" UNIQUE,
    email         text,
    full_name     text,
    is_active     boolean NOT NULL,
    is_staff      boolean NOT NULL,
    anonymous_ids text[]  NOT NULL,
    -- [[org, course or null, role], ...], sorted.
    roles         text    NOT NULL DEFAULT '[]',
    registered_at timestamptz,
    -- Of the last event that changed how the user is called.
    shown_position bigint NOT NULL DEFAULT 0
);

-- Under which ids of submissions a user may be known. The lowest kind wins: 0 anonymous id,
-- 1 user name, 2 number.
CREATE TABLE identities (
    student_id text COLLATE "C",
    kind       smallint,
    user_id    bigint NOT NULL,
    PRIMARY KEY (student_id, kind)
);
CREATE INDEX identities_of_user ON identities (user_id);

CREATE TABLE cohorts (
    cohort_id         bigint PRIMARY KEY,
    course_id         text   COLLATE "C" NOT NULL,
    name              text   NOT NULL,
    assignment_type   text   NOT NULL,
    user_partition_id integer,
    group_id          integer
);
CREATE INDEX cohorts_of_course ON cohorts (course_id, cohort_id);

-- Whoever has anything to do with a course. The rows are narrow, because filters walk over
-- all of a course; `percents` has the effective percentages of subsections by ordinal + 1.
CREATE TABLE learners (
    course_id         text   COLLATE "C",
    user_id           bigint,
    enrollment_id     bigint,
    mode              text,
    is_active         boolean NOT NULL DEFAULT false,
    enrolled_at       timestamptz,
    unenrolled_at     timestamptz,
    username          text,
    email             text,
    full_name         text,
    external_user_key text,
    external_status   text,
    -- What user_contains looks through: name, address and external key in lower case.
    search            text   NOT NULL DEFAULT '',
    cohort_id         bigint,
    roles             text[] NOT NULL DEFAULT '{}',
    percent           float8,
    letter            text,
    percents          float8[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (course_id, user_id)
) WITH (fillfactor = 80);
CREATE INDEX learners_of_page ON learners (course_id, enrollment_id) WHERE is_active;
CREATE INDEX learners_of_all_courses ON learners (enrollment_id) WHERE is_active;
CREATE INDEX learners_of_user ON learners (user_id);
CREATE INDEX learners_of_cohort ON learners (cohort_id) WHERE cohort_id IS NOT NULL;
CREATE INDEX learners_with_roles ON learners (course_id) WHERE roles <> '{}';

-- `version` is that of the learner's stream of grades.
CREATE TABLE grades (
    course_id        text   COLLATE "C",
    user_id          bigint,
    version          integer NOT NULL,
    records          text   NOT NULL DEFAULT '[]',
    overrides        text   NOT NULL DEFAULT '{}',
    percent          float8,
    letter           text,
    passed           boolean NOT NULL DEFAULT false,
    passed_at        timestamptz,
    policy_hash      text,
    course_version   text,
    course_edited_at timestamptz,
    calculated_at    timestamptz,
    PRIMARY KEY (course_id, user_id)
) WITH (fillfactor = 70);

CREATE TABLE override_history (
    history_id  bigint PRIMARY KEY,
    course_id   text   COLLATE "C" NOT NULL,
    user_id     bigint NOT NULL,
    usage_key   text   COLLATE "C" NOT NULL,
    override_id bigint NOT NULL,
    grade_id    bigint NOT NULL,
    created_at  timestamptz NOT NULL,
    changed_at  timestamptz NOT NULL,
    history_type text  NOT NULL,
    values      float8[] NOT NULL,
    before      float8[],
    reason      text,
    system      text   NOT NULL,
    changed_by  text,
    changed_by_id bigint,
    position    bigint NOT NULL
);
CREATE INDEX override_history_of_cell ON override_history (course_id, user_id, usage_key, position);

-- The score of each student item that counts now, whether its user is known yet or not.
CREATE TABLE problem_scores (
    stream_id    uuid   PRIMARY KEY,
    student_id   text   COLLATE "C" NOT NULL,
    course_id    text   COLLATE "C" NOT NULL,
    item_id      text   COLLATE "C" NOT NULL,
    earned       float8 NOT NULL,
    possible     float8 NOT NULL,
    attempted_at timestamptz NOT NULL
);
CREATE INDEX problem_scores_of_student ON problem_scores (student_id, course_id);

CREATE TABLE problem_states (
    state_id  bigint PRIMARY KEY,
    user_id   bigint NOT NULL,
    course_id text   COLLATE "C" NOT NULL,
    usage_key text   COLLATE "C" NOT NULL,
    state     text,
    grade     float8,
    max_grade float8,
    saved_at  timestamptz NOT NULL
);
CREATE INDEX problem_states_of_user ON problem_states (user_id, course_id, usage_key, state_id);

CREATE TABLE grade_imports (
    operation_id   bigint PRIMARY KEY,
    course_id      text   COLLATE "C" NOT NULL,
    file_name      text   NOT NULL,
    imported_by    text,
    imported_at    timestamptz NOT NULL,
    total_rows     integer NOT NULL,
    processed_rows integer NOT NULL,
    saved_rows     integer NOT NULL,
    columns        text   NOT NULL,
    rows           text   NOT NULL,
    error_message  text
);
CREATE INDEX grade_imports_of_course ON grade_imports (course_id, operation_id);

-- What the grading has to look at: a course's learner and perhaps one of their items, or a
-- whole course. What lies before the position that the grading has reached is done with.
CREATE TABLE marks (
    position  bigint NOT NULL,
    course_id text   NOT NULL,
    user_id   bigint,
    item_id   text,
    reason    text   NOT NULL
);
CREATE INDEX marks_in_order ON marks (position);
"""


class Record(NamedTuple):
    """The computed totals of a subsection as they were recorded last."""

    earned_all: float
    possible_all: float
    earned_graded: float
    possible_graded: float
    first_attempted: str | None
    """ISO 8601; None when nothing was attempted."""


class StoredOverride(NamedTuple):
    """The override of a subsection; a component that is None follows the computed one."""

    earned_all: float | None
    possible_all: float | None
    earned_graded: float | None
    possible_graded: float | None
    override_id: int
    grade_id: int
    created_at: str


def read_records(text: str | None) -> list[Record | None]:
    """The records of a learner by ordinal."""
    if not text:
        return []
    return [None if found is None else Record._make(found) for found in orjson.loads(text)]


def read_overrides(text: str | None) -> dict[int, StoredOverride]:
    """The overrides of a learner by ordinal."""
    if not text or text == "{}":
        return {}
    return {
        int(ordinal): StoredOverride._make(found) for ordinal, found in orjson.loads(text).items()
    }


def text_of(value: Any) -> str:
    """JSON text of plain values."""
    return orjson.dumps(value).decode()


Components = Sequence[Any]
"""A record or an override as it stands in a row, or as a tuple of its fields."""


def effective_percent(record: Components | None, override: Components | None) -> float | None:
    """By which filters find a grade, 0 to 100 and beyond; None when no range holds it.

    An override alone counts where there is one, whatever it leaves open.
    """
    counting = record if override is None else override
    if counting is None:
        return None
    _, _, earned, possible, *_ = counting
    if earned is None or not possible:
        return None
    return float(100 * earned / possible)


def percents(
    records: Sequence[Components | None], overrides: Mapping[int, Components]
) -> list[float | None]:
    """The effective percentages of all subsections, by ordinal."""
    count = max(len(records), max(overrides, default=-1) + 1)
    return [
        effective_percent(records[n] if n < len(records) else None, overrides.get(n))
        for n in range(count)
    ]
