-- Ids that results show, how far grading is, and which courses are being recalculated.

CREATE SEQUENCE user_ids;
CREATE SEQUENCE enrollment_ids;
CREATE SEQUENCE cohort_ids;
CREATE SEQUENCE subsection_grade_ids;
CREATE SEQUENCE override_ids;
CREATE SEQUENCE override_history_ids;
CREATE SEQUENCE problem_state_ids;
CREATE SEQUENCE grade_import_ids;

-- One row: what every event up to and including `position` means for grades has been
-- calculated and recorded, the last of it at `recorded_at_position` or before.
CREATE TABLE grading_progress (
    id                   boolean PRIMARY KEY DEFAULT true CHECK (id),
    position             bigint  NOT NULL DEFAULT 0,
    recorded_at_position bigint  NOT NULL DEFAULT 0,
    updated_at           timestamptz NOT NULL DEFAULT now()
);
INSERT INTO grading_progress DEFAULT VALUES;

-- Courses whose learners are all graded anew, because of the event at `position`. Goes
-- through the learners by user id; `after_user_id` is the last one that is done. A course
-- that cannot be graded has an `error` and is tried again at `retry_at`.
CREATE TABLE recalculations (
    course_id     text        COLLATE "C" PRIMARY KEY,
    position      bigint      NOT NULL,
    reason        text        NOT NULL,
    total         integer     NOT NULL DEFAULT 0,
    done          integer     NOT NULL DEFAULT 0,
    changed       integer     NOT NULL DEFAULT 0,
    after_user_id bigint      NOT NULL DEFAULT 0,
    requested_at  timestamptz NOT NULL DEFAULT now(),
    started_at    timestamptz,
    updated_at    timestamptz NOT NULL DEFAULT now(),
    finished_at   timestamptz,
    error         text,
    retry_at      timestamptz
);
