"""The blocks of a course in document order, each with what it says itself.

Each definition is visited once, so that what names itself ends, and what names everything
twice stays small.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from xml.etree.ElementTree import Element

from api.olx.definitions import Definitions, Ids
from api.olx.errors import CourseImportError, Report, quoted
from api.olx.kinds import CONTAINERS, LEAVES, LOTTERIES, default_name, is_setting, misplaced
from api.olx.scores import DATA_LIMIT, maximum_score, problem_source
from api.olx.settings import Settings
from domain.courses.blocks import MAX_BLOCKS, MAX_LEVELS
from domain.courses.fields import MAX_SLUG, moment_text
from domain.keys import BlockKey, CourseKey

ALL_DATA_LIMIT: Final = 16 * 2**20
"""Bytes of the sources of all problems: they are stored in one event."""


@dataclass(frozen=True)
class _Place:
    """Where a block stands.

    Attributes:
        parent: key of the block above.
        types: of all blocks above, the course first.
        above: those blocks, and the files that hold their bodies.
    """

    parent: str
    types: tuple[str, ...]
    above: frozenset[str] = frozenset()

    def inside(self, key: str, block_type: str, *above: str | None) -> "_Place":
        """The place of what is in a block that stands here."""
        return _Place(key, (*self.types, block_type), self.above.union(filter(None, above)))


class Blocks:
    """Walks through the definitions of one course."""

    def __init__(
        self,
        definitions: Definitions,
        policy: Mapping[str, Any],
        course: CourseKey,
        report: Report,
    ) -> None:
        """Prepare to walk.

        Args:
            definitions: of the course.
            policy: settings by ``type/id``, which count before those in the definitions.
            course: whose blocks these are.
            report: is told what is skipped or repaired.
        """
        self.found: list[dict[str, Any]] = []
        self._definitions = definitions
        self._policy = policy
        self._course = course
        self._report = report
        self._ids = Ids(course, report)
        self._unknown: Counter[str] = Counter()
        self._data = 0

    def add_course(self, root: Element, run: str) -> Settings:
        """Add the course and everything in it; return what the course says itself."""
        settings = self._settings(root.attrib, f"course/{run}")
        key = str(self._course.root_block)
        block = _block(key, "course", None, settings, self._course.run.replace("_", " "))
        self.found.append(block)
        self._add_children(root, _Place(key, ("course",)))
        for block_type, count in sorted(self._unknown.items()):
            self._report.add(
                f"{count} of the unknown type {quoted(block_type)}: kept without children or score"
            )
        return settings

    def _add_children(self, element: Element, place: _Place) -> int:
        """Add what is in a container; return how many blocks stand directly in it."""
        return sum(
            self._add(child, place)
            for child in element
            if not is_setting(child.tag, place.types[-1])
        )

    def _add(self, element: Element, place: _Place) -> bool:
        """Add a block and what is in it; whether there is one now."""
        element.tail = None
        block_type, block_id = element.tag, self._ids.of(element)
        if block_id is None:
            return False
        what = f"{block_type}/{block_id}"
        if len(place.types) >= MAX_LEVELS:
            raise CourseImportError(f"blocks are nested more than {MAX_LEVELS} levels deep")
        if len(self.found) >= MAX_BLOCKS:
            raise CourseImportError(f"the course has more than {MAX_BLOCKS:,} blocks")
        if why := misplaced(block_type, place.types):
            self._report.add(f"{what} {why}: skipped with what is in it")
            return False
        if not self._ids.take(block_type, block_id):
            if what in place.above:
                raise CourseImportError(f"{what} contains itself")
            self._report.add(f"{what} is there twice: the second one is skipped")
            return False
        definition = self._definitions.define(element, what, place.above)
        settings = self._settings(definition.attributes, what)
        key = str(BlockKey(self._course, block_type, block_id))
        name = default_name(block_type, block_id)
        block = _block(key, block_type, place.parent, settings, name)
        self.found.append(block)
        if definition.element is not None:
            inside = place.inside(key, block_type, what, definition.body)
            self._add_content(block, definition.element, settings, inside)
        return True

    def _add_content(
        self, block: dict[str, Any], element: Element, settings: Settings, inside: _Place
    ) -> None:
        """Add what a block holds: other blocks, a score, a problem."""
        block_type = block["type"]
        if block_type in CONTAINERS:
            count = self._add_children(element, inside)
            if block_type in LOTTERIES and count:
                drawn = settings.text("max_count") or "some"
                settings.complain(
                    f"shows each learner {drawn} of its {count} children; all are taken as visible"
                )
            return
        if block_type not in LEAVES:
            self._unknown[block_type] += 1
        score = maximum_score(block_type, element, settings)
        if score is not None:
            block["max_score"] = score
        if block_type == "openassessment" and not settings.text("display_name"):
            title = (element.findtext("title") or "").strip()
            block["display_name"] = title or block["display_name"]
        if block_type == "problem":
            self._add_source(block, element, settings.complain)

    def _add_source(
        self, block: dict[str, Any], element: Element, complain: Callable[[str], None]
    ) -> None:
        source = problem_source(element)
        size = len(source.encode())
        if size > DATA_LIMIT:
            complain(f"its source of {size:,} bytes is too large and left out")
        elif self._data + size > ALL_DATA_LIMIT:
            complain("its source is left out, because those of the others are large")
        else:
            self._data += size
            block["data"] = source

    def _settings(self, attributes: Mapping[str, str], what: str) -> Settings:
        policy = self._policy.get(what)
        return Settings(
            attributes,
            policy if isinstance(policy, dict) else {},
            lambda message: self._report.add(f"{what}: {message}"),
        )


def _block(
    key: str, block_type: str, parent: str | None, settings: Settings, default_name: str
) -> dict[str, Any]:
    """What a block says itself, without what is in it."""
    name = settings.text("display_name") or ""
    due, start = settings.moment("due"), settings.moment("start")
    found = {
        "graded": settings.flag("graded"),
        "format": (settings.text("format") or "")[:MAX_SLUG] or None,
        "weight": settings.number("weight"),
        "due": due and moment_text(due),
        "start": start and moment_text(start),
        "visible_to_staff_only": settings.flag("visible_to_staff_only") or None,
        "hide_from_toc": settings.flag("hide_from_toc") or None,
        "show_correctness": (settings.text("show_correctness") or "")[:MAX_SLUG] or None,
        "group_access": settings.groups("group_access") or None,
    }
    return {
        "usage_key": key,
        "type": block_type,
        "parent": parent,
        "display_name": name if name.strip() else default_name,
        **{field: value for field, value in found.items() if value is not None},
    }
