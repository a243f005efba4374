"""Where the definition of a block is, and under which id the block goes.

A *pointer* has nothing but a ``url_name``, and its definition is a file of that name. Anything
else is its own definition, of which ``filename`` may name the body. Ids are taken from what
the element says about itself, as long as they fit into a key.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element

from api.olx.documents import Documents, source_of
from api.olx.errors import BrokenPartError, CourseImportError, Report, quoted
from api.olx.kinds import BODIES
from domain.keys import BlockKey, CourseKey, InvalidKeyError, parse_block_key

LONGEST_ID: Final = 255

_UNCLEAN: Final = re.compile(r"[^\w\-~.]+|_{2,}")


@dataclass(frozen=True)
class Definition:
    """What a block is.

    Attributes:
        element: holds its content; None if it cannot be read.
        attributes: its settings.
        body: the file that ``filename`` led to, in which the same must not come again.
    """

    element: Element | None
    attributes: Mapping[str, str]
    body: str | None = None


class Definitions:
    """The definitions of one course."""

    def __init__(self, files: Mapping[str, bytes], names: frozenset[str], report: Report) -> None:
        """Prepare to read.

        Args:
            files: the definitions, by their names within the course.
            names: of all files of the course.
            report: is told what is broken.
        """
        self.used: set[str] = set()
        self._files = files
        self._names = names
        self._report = report
        self._documents = Documents()

    def read(self, name: str) -> Element:
        """Parse one file.

        Raises:
            BrokenPartError: it is missing, or no XML.
            CourseImportError: it is made to do harm.
        """
        data = self._files.get(name)
        if data is None:
            raise BrokenPartError(f"{quoted(name)} is missing")
        self.used.add(name)
        try:
            return self._documents.parse_xml(name, data)
        except BrokenPartError as broken:
            raise BrokenPartError(f"{quoted(name)} is {broken}") from None

    def define(self, element: Element, what: str, above: frozenset[str]) -> Definition:
        """What defines the block of this element.

        Args:
            element: as it stands in its parent.
            what: type and id of the block.
            above: blocks and files inside which it stands.

        Raises:
            CourseImportError: it stands in itself, or is made to do harm.
        """
        try:
            source = None
            if is_pointer(element):
                source = file_of(element.tag, element.get("url_name", ""))
                element = self._of_type(element.tag, source, what)
            return self._with_body(element, source, what, above)
        except BrokenPartError as broken:
            self._report.add(f"{what}: {broken}; kept without content")
            return Definition(None, dict(element.attrib))

    def _of_type(self, tag: str, name: str, what: str) -> Element:
        element = self.read(name)
        if element.tag != tag:
            self._report.add(f"{what}: its file holds {quoted(element.tag)}")
        return element

    def _with_body(
        self, element: Element, source: str | None, what: str, above: frozenset[str]
    ) -> Definition:
        attributes = dict(element.attrib)
        filename = element.get("filename")
        if filename is None:
            return Definition(element, attributes)
        block_type = what.partition("/")[0]
        if block_type in BODIES:
            page = file_of(block_type, filename, ".html")
            if page not in self._names:
                raise BrokenPartError(f"{quoted(page)} is missing")
            return Definition(element, attributes)
        body = file_of(block_type, filename)
        if body == source:
            return Definition(element, attributes)
        if body in above:
            raise CourseImportError(f"{quoted(body)} contains itself")
        element = self._of_type(block_type, body, what)
        return Definition(element, {**element.attrib, **attributes}, body)


class Ids:
    """The ids of the blocks of one course, each given once for each type."""

    def __init__(self, course: CourseKey, report: Report) -> None:
        self._course = course
        self._report = report
        self._taken: set[tuple[str, str]] = set()

    def of(self, element: Element) -> str | None:
        """The id of the block of an element; None for an element that can be no block."""
        tag = element.tag
        if not self._fits(tag, "x"):
            self._report.add(f"an element {quoted(tag)} is no block: skipped")
            return None
        given = element.get("url_name") or ""
        if self._fits(tag, given):
            if is_pointer(element) or (tag, given) not in self._taken:
                return given
            again = _fallback(element)
            self._report.add(f"{tag}/{given} is there twice: the second one is {tag}/{again}")
            return again
        for name in (given, *(element.get(other) for other in ("slug", "name", "display_name"))):
            cleaned = _cleaned(name or "")
            if self._fits(tag, cleaned):
                if name == given:
                    self._report.add(f"{tag} {quoted(given)} goes by the id {quoted(cleaned)}")
                elif (tag, cleaned) in self._taken:
                    continue
                return cleaned
        return _fallback(element)

    def take(self, block_type: str, block_id: str) -> bool:
        """Take an id; whether it was free."""
        if (block_type, block_id) in self._taken:
            return False
        self._taken.add((block_type, block_id))
        return True

    def _fits(self, block_type: str, block_id: str) -> bool:
        try:
            parse_block_key(str(BlockKey(self._course, block_type, block_id)))
        except InvalidKeyError:
            return False
        return True


def is_pointer(element: Element) -> bool:
    """Whether an element only tells where its definition is."""
    return (
        len(element) == 0
        and not (element.text or "").strip()
        and element.attrib.keys() == {"url_name"}
    )


def file_of(block_type: str, name: str, suffix: str = ".xml") -> str:
    """The file of a definition."""
    return f"{block_type}/{name.replace(':', '/')}{suffix}"


def _cleaned(name: str) -> str:
    """The name as an id: everything else becomes an underscore, and several become one."""
    return _UNCLEAN.sub("_", _UNCLEAN.sub("_", name[:LONGEST_ID]))


def _fallback(element: Element) -> str:
    digest = hashlib.sha1(source_of(element).encode(), usedforsecurity=False).hexdigest()
    return f"{element.tag}_{digest[:12]}"
