"""The grade model once more, from its specification and in the most obvious way.

Shares no code with ``domain.grades`` and takes raw blocks, policies and scores: whatever is
inherited is looked up block by block, numbers are rounded as decimals. Slow.
"""

from datetime import datetime
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import Any

Block = dict[str, Any]


class SlowCourse:
    """A published outline, asked one question at a time."""

    def __init__(self, blocks: list[Block]) -> None:
        self.blocks = blocks
        self.by_key = {block["usage_key"]: block for block in blocks}

    def above(self, block: Block) -> list[Block]:
        """The blocks it hangs below, nearest first."""
        found = []
        while block["parent"] is not None:
            block = self.by_key[block["parent"]]
            found.append(block)
        return found

    def chapter(self, block: Block) -> Block | None:
        for other in self.above(block):
            if other["type"] == "chapter":
                return other
        return None

    def sequentials(self) -> list[Block]:
        return [b for b in self.blocks if b["type"] == "sequential" and self.chapter(b)]

    def is_graded_sequential(self, block: Block) -> bool:
        for other in [block, *self.above(block)]:
            if "graded" in other:
                return bool(other["graded"])
        return False

    def counts(self, problem: Block, sequential: Block) -> bool:
        """The flag of a problem, or the nearest below the sequential."""
        for other in [problem, *self.above(problem)]:
            if other is sequential:
                break
            if "graded" in other:
                return bool(other["graded"])
        return True

    def for_staff_only(self, block: Block) -> bool:
        return any(b.get("visible_to_staff_only") for b in [block, *self.above(block)])

    def can_see(self, block: Block, groups: dict[str, set[int]] | None, now: datetime) -> bool:
        """``groups`` None: somebody who sees everything."""
        if groups is None:
            return True
        if self.for_staff_only(block):
            return False
        for other in [block, *self.above(block)]:
            if "start" in other and not datetime.fromisoformat(other["start"]) < now:
                return False
            for partition, wanted in other.get("group_access", {}).items():
                if wanted and not set(wanted) & groups.get(partition, set()):
                    return False
        return True

    def problems(self, block: Block) -> list[Block]:
        """Everything with a score below the block, children before parents."""
        found = []
        for child in self.blocks:
            if child["parent"] == block["usage_key"]:
                found += self.problems(child)
                if "max_score" in child:
                    found.append(child)
        return found

    def totals(
        self,
        sequential: Block,
        scores: dict[str, tuple[float, float, datetime | None]],
        groups: dict[str, set[int]] | None,
        now: datetime,
    ) -> tuple[tuple[float, float, float, float], datetime | None]:
        all_pairs, graded_pairs, times = [], [], []
        for problem in self.problems(sequential):
            if not self.can_see(problem, groups, now):
                continue
            possible = problem["max_score"]
            if "weight" in problem and possible != 0:
                possible = problem["weight"]
            earned, possible, at = scores.get(problem["usage_key"], (0.0, possible, None))
            all_pairs.append((earned, possible))
            if possible > 0 and self.counts(problem, sequential):
                graded_pairs.append((earned, possible))
            if at is not None:
                times.append(at)
        return (
            in_order(earned for earned, _ in all_pairs),
            in_order(possible for _, possible in all_pairs),
            in_order(earned for earned, _ in graded_pairs),
            in_order(possible for _, possible in graded_pairs),
        ), min(times) if times else None

    def gradebook(self, graders: list[dict[str, Any]]) -> list[tuple[str, str | None]]:
        """Usage key and label of each subsection of the gradebook."""
        return self._labels(
            [
                b
                for b in self.sequentials()
                if self.is_graded_sequential(b) and not self.for_staff_only(b)
            ],
            graders,
        )

    def grading_info(
        self, graders: list[dict[str, Any]], *, graded_only: bool
    ) -> list[tuple[str, str | None]]:
        listed = []
        for block in self.sequentials():
            chapter = self.chapter(block)
            assert chapter is not None
            if not any(
                b.get("visible_to_staff_only") or b.get("hide_from_toc") for b in (block, chapter)
            ):
                listed.append(block)
        if graded_only:
            listed = [b for b in listed if self.is_graded_sequential(b)]
        return self._labels(listed, graders)

    def _labels(
        self, sequentials: list[Block], graders: list[dict[str, Any]]
    ) -> list[tuple[str, str | None]]:
        found: list[tuple[str, str | None]] = []
        for position, block in enumerate(sequentials):
            label = None
            for grader in graders:
                if grader["type"] == block.get("format") and self.is_graded_sequential(block):
                    number = 1 + sum(
                        b.get("format") == grader["type"] and self.is_graded_sequential(b)
                        for b in sequentials[:position]
                    )
                    short = grader.get("short_label") or grader["type"]
                    label = f"{short} {str(number).zfill(2)}"
            found.append((block["usage_key"], label))
        return found


def in_order(numbers: Any) -> float:
    """Added from the first to the last, as doubles."""
    total = 0.0
    for number in numbers:
        total = total + number
    return total


def share(earned: float, possible: float) -> float:
    if possible <= 0:
        return 0.0
    scaled = Decimal(earned / possible * 10000.0)
    return float(scaled.to_integral_value(ROUND_HALF_EVEN)) / 10000.0


def course_percent(total: float) -> float:
    return float(Decimal(total * 100 + 0.05 + 0.5).to_integral_value(ROUND_FLOOR)) / 100


def grade_of(
    record: tuple[float, float, float, float] | None,
    attempted_at: datetime | None,
    override: tuple[float | None, float | None, float | None, float | None] | None,
    zero: tuple[float, float, float, float],
) -> tuple[float, float, float, bool]:
    """Earned, possible, percent, attempted."""
    base = zero if record is None else record
    effective = [
        computed if override is None or override[i] is None else override[i]
        for i, computed in enumerate(base)
    ]
    earned, possible = effective[2], effective[3]
    assert earned is not None
    assert possible is not None
    attempted = attempted_at is not None or override is not None
    return earned, possible, share(earned, possible), attempted


Graded = tuple[str, str, str | None, float, float, float]
"""Usage key, display name, format, earned, possible, percent."""


def breakdown_of(grader: dict[str, Any], graded: list[Graded]) -> tuple[list[Any], float]:
    """The entries of one assignment type, and its average."""
    kind = grader["type"]
    short = grader.get("short_label") or kind
    section = grader.get("section_type") or kind
    category = grader.get("category") or kind
    drop = int(grader.get("drop_count") or 0)
    first = grader.get("starting_index", 1)
    mine = [g for g in graded if g[2] == kind and g[4] > 0]
    entries: list[dict[str, Any]] = []
    for i in range(max(int(grader.get("min_count") or 0), len(mine))):
        number = i + first
        if i < len(mine):
            key, name, _, earned, possible, percent = mine[i]
            detail = f"{section} {number} - {name} - {percent:.2%} ({earned:.3n}/{possible:.3n})"
            sequential_id: str | None = key
        else:
            percent, detail, sequential_id = 0.0, f"{section} {number} Unreleased - 0% (?/?)", None
        entries.append(
            {
                "percent": percent,
                "label": f"{short} {number:02d}",
                "detail": detail,
                "category": category,
                "sequential_id": sequential_id,
            }
        )
    alive = list(range(len(entries)))
    for _ in range(min(drop, len(entries))):
        worst = alive[0]
        for i in alive:
            if entries[i]["percent"] <= entries[worst]["percent"]:
                worst = i
        alive.remove(worst)
        entries[worst]["mark"] = {"detail": f"The lowest {drop} {section} scores are dropped."}
    mean = 0.0
    if len(entries) > drop:
        mean = in_order(entries[i]["percent"] for i in alive) / (len(entries) - drop)
    average = {
        "percent": mean,
        "label": f"{short} Avg",
        "detail": f"{section} Average = {mean:.2%}",
        "category": category,
        "prominent": True,
    }
    if len(entries) == 1:
        only = {**average, "label": short, "detail": f"{section} = {mean:.2%}"}
        return [{**only, "sequential_id": entries[0]["sequential_id"]}], mean
    shown = [] if grader.get("show_only_average") else entries
    return shown + ([] if grader.get("hide_average") else [average]), mean


def course_of(
    graders: list[dict[str, Any]], cutoffs: dict[str, float], graded: list[Graded]
) -> tuple[list[Any], dict[str, Any], tuple[float, str | None, bool]]:
    """The whole section breakdown, the grade breakdown, and the course grade."""
    entries: list[Any] = []
    shares: dict[str, Any] = {}
    total = 0.0
    for grader in graders:
        found, mean = breakdown_of(grader, graded)
        entries += found
        weight = float(grader.get("weight") or 0.0)
        part = mean * weight
        total = total + part
        shares[grader["type"]] = {
            "percent": part,
            "detail": f"{grader['type']} = {part:.2%} of a possible {weight:.2%}",
            "category": grader.get("category") or grader["type"],
        }
    percent = course_percent(total)
    reached = [(least, letter) for letter, least in cutoffs.items() if percent >= least]
    letter = None
    if reached:
        best = max(least for least, _ in reached)
        letter = next(letter for least, letter in reached if least == best)
    passing = [least for least in cutoffs.values() if least != 0]
    return entries, shares, (percent, letter, bool(passing) and percent >= min(passing))
