"""Courses, policies and scores for these tests; random ones too."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from domain.grades.policy import GradingPolicy, read_policy
from domain.grades.scores import Override, SubsectionGrade, Totals, subsection_grade
from domain.grades.structure import CourseStructure, Subsection, read_structure

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)

EXAMPLE_GRADERS: list[dict[str, Any]] = [
    {"type": "Homework", "short_label": "HW", "min_count": 4, "drop_count": 1, "weight": 0.4},
    {"type": "Final Exam", "short_label": "Final", "min_count": 1, "drop_count": 0, "weight": 0.6},
]
EXAMPLE_CUTOFFS = {"A": 0.9, "B": 0.8, "C": 0.7}


def block(usage_key: str, kind: str, parent: str | None, **more: Any) -> dict[str, Any]:
    return {
        "usage_key": usage_key,
        "type": kind,
        "parent": parent,
        "display_name": more.pop("display_name", usage_key.upper()),
        **more,
    }


def course(*blocks: dict[str, Any]) -> CourseStructure:
    """A course ``course`` with a chapter ``chapter``, and these blocks."""
    return read_structure(
        [block("course", "course", None), block("chapter", "chapter", "course"), *blocks]
    )


def homework(*problems: dict[str, Any], **more: Any) -> Subsection:
    """A graded sequential ``hw`` with these problems in a vertical ``v``."""
    structure = course(
        block("hw", "sequential", "chapter", graded=True, **more),
        block("v", "vertical", "hw"),
        *problems,
    )
    return structure.by_key["hw"]


def graded(
    kind: str | None, earned: float, possible: float, name: str = "", key: str = ""
) -> tuple[Subsection, SubsectionGrade]:
    """A subsection of this type, and its stored grade."""
    found = Subsection(
        usage_key=key,
        display_name=name,
        format=kind,
        graded=True,
        chapter_key="chapter",
        chapter_name="Chapter",
        due=None,
        staff_only=False,
        hidden_from_toc=False,
        listed=True,
        gates=(),
        problems=(),
    )
    totals = Totals(earned, possible, earned, possible)
    return found, subsection_grade(totals, NOW, None, totals)


def policy(*graders: dict[str, Any], **cutoffs: float) -> GradingPolicy:
    return read_policy(graders, cutoffs)


TYPES = ["Homework", "Lab", "Exam"]

points = st.one_of(
    st.integers(0, 12).map(float),
    st.integers(0, 48).map(lambda quarters: quarters / 4),
    st.floats(0, 20, allow_subnormal=False),
)
moments = st.integers(-3, 3).map(lambda days: NOW + timedelta(days=days))
group_lists = st.lists(st.integers(1, 3), max_size=2)

attributes = st.fixed_dictionaries(
    {},
    optional={
        "graded": st.booleans(),
        "format": st.sampled_from([*TYPES, "Unknown"]),
        "weight": st.one_of(st.just(0.0), points),
        "start": moments.map(datetime.isoformat),
        "visible_to_staff_only": st.just(True),
        "hide_from_toc": st.just(True),
        "group_access": st.dictionaries(st.sampled_from(["50", "7"]), group_lists, max_size=2),
    },
)
"""What may stand on any block. Most blocks carry little, or nobody would see anything."""

few_attributes: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}), st.just({}), st.just({}), attributes
)

kinds = st.sampled_from(
    ["chapter", "sequential", "sequential", "vertical", "problem", "problem", "problem", "html"]
)


@st.composite
def outlines(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Any tree at all: chapters in sequentials, problems with children, what you like."""
    blocks = [block("course", "course", None, **draw(few_attributes))]
    path = ["course"]
    for number in range(draw(st.integers(0, 25))):
        kind = draw(kinds)
        parent = draw(st.integers(0, len(path) - 1))
        if draw(st.booleans()):
            parent = min(len(path) - 1, {"chapter": 0, "sequential": 1, "vertical": 2}.get(kind, 3))
        key = f"{kind}{number}"
        more = dict(draw(few_attributes))
        if kind == "sequential" and draw(st.integers(0, 3)):
            more.setdefault("graded", True)
            more.setdefault("format", draw(st.sampled_from(TYPES)))
        if kind == "problem" and draw(st.integers(0, 9)):
            more["max_score"] = draw(points)
        blocks.append(block(key, kind, path[parent], **more))
        path[parent + 1 :] = [key]
    return blocks


@st.composite
def policies(draw: st.DrawFn) -> tuple[list[dict[str, Any]], dict[str, float]]:
    names = draw(st.lists(st.sampled_from(TYPES), unique=True, max_size=3))
    optional = {
        "min_count": st.one_of(st.integers(0, 4), st.integers(0, 4).map(float)),
        "drop_count": st.integers(0, 4),
        "short_label": st.sampled_from(["HW", "L", ""]),
        "weight": st.one_of(st.integers(0, 20).map(lambda n: n / 20), st.floats(0, 1.5)),
        "category": st.just("Category"),
        "section_type": st.just("Section"),
        "show_only_average": st.booleans(),
        "hide_average": st.booleans(),
        "starting_index": st.integers(0, 3),
    }
    graders = [
        {"type": name, **draw(st.fixed_dictionaries({}, optional=optional))} for name in names
    ]
    cutoff = st.integers(0, 20).map(lambda n: n / 20)
    cutoffs = draw(st.dictionaries(st.sampled_from(["A", "B", "C", "F"]), cutoff))
    return graders, cutoffs


@st.composite
def work(draw: st.DrawFn, blocks: list[dict[str, Any]]) -> dict[str, Any]:
    """Scores, stored records and overrides of one learner."""
    worth = [b["usage_key"] for b in blocks if "max_score" in b]
    sequentials = [b["usage_key"] for b in blocks if b["type"] == "sequential"]
    score = st.tuples(points, points, st.one_of(st.none(), moments))
    component = st.one_of(st.none(), points)
    override = st.tuples(component, component, component, component)
    return {
        "scores": draw(st.dictionaries(st.sampled_from(worth), score)) if worth else {},
        "forced": draw(st.sets(st.sampled_from(sequentials))) if sequentials else set(),
        "overrides": (
            {
                key: Override(*values)
                for key, values in draw(
                    st.dictionaries(st.sampled_from(sequentials), override, max_size=3)
                ).items()
            }
            if sequentials
            else {}
        ),
        "groups": draw(
            st.one_of(
                st.none(),
                st.dictionaries(
                    st.sampled_from(["50", "7"]), st.sets(st.integers(1, 3), max_size=2)
                ),
            )
        ),
    }


def is_halfway(number: float) -> bool:
    return math.isclose(number % 1, 0.5, abs_tol=1e-9)
