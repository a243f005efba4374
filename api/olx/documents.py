"""XML and JSON out of an archive, within a budget for all of it.

Many small files may name the same large one, so what is parsed is counted and not only what
is stored.
"""

from typing import Any, Final
from xml.etree.ElementTree import Element, TreeBuilder, tostring

import orjson
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser, ParseError

from api.olx.errors import BrokenPartError, CourseImportError, quoted

MOST_BYTES: Final = 256 * 2**20
MOST_NODES: Final = 1_000_000
"""Elements and attributes of all documents together."""

DEEPEST: Final = 200
"""Elements inside each other; those that are blocks are fewer."""


class Documents:
    """Parses the documents of one archive."""

    def __init__(self) -> None:
        self._bytes = MOST_BYTES
        self._nodes = MOST_NODES

    def parse_xml(self, name: str, data: bytes) -> Element:
        """Parse a definition.

        Raises:
            BrokenPartError: no well-formed XML.
            CourseImportError: declarations or entities of its own, or beyond the budget.
        """
        self._bytes -= len(data)
        if self._bytes < 0:
            raise CourseImportError(f"more than {MOST_BYTES >> 20} MiB of definitions to read")
        builder = _Builder(name, self._nodes)
        parser = DefusedXMLParser(target=builder, forbid_dtd=True)
        try:
            parser.feed(data)
            root = parser.close()
        except DefusedXmlException:
            raise CourseImportError(
                f"{quoted(name)} declares a document type or entities of its own"
            ) from None
        except ParseError as error:
            line, column = error.position
            raise BrokenPartError(f"no well-formed XML at line {line}, column {column}") from None
        except (ValueError, LookupError):  # an encoding that nobody knows
            raise BrokenPartError("no well-formed XML") from None
        finally:
            self._nodes = builder.left
        assert isinstance(root, Element)
        return root


class _Builder:
    """Builds the tree and refuses what is too deep or too much."""

    def __init__(self, name: str, left: int) -> None:
        self.left = left
        self._name = name
        self._depth = 0
        self._tree = TreeBuilder()

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > DEEPEST:
            raise CourseImportError(
                f"{quoted(self._name)} has more than {DEEPEST} elements inside each other"
            )
        self.left -= 1 + len(attributes)
        if self.left < 0:
            raise CourseImportError(f"the definitions have more than {MOST_NODES:,} elements")
        self._tree.start(tag, attributes)

    def data(self, text: str) -> None:
        self._tree.data(text)

    def end(self, tag: str) -> None:
        self._depth -= 1
        self._tree.end(tag)

    def close(self) -> Element:
        return self._tree.close()


def parse_json(name: str, data: bytes) -> dict[str, Any]:
    """Parse a policy.

    A course whose policy is dropped in silence would be graded by another one, so a broken
    policy ends the import.

    Raises:
        CourseImportError: no JSON object in UTF-8, or values that no database keeps.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise CourseImportError(f"{quoted(name)} is not in UTF-8") from None
    try:
        found = orjson.loads(text or "{}")
    except orjson.JSONDecodeError as error:
        raise CourseImportError(
            f"{quoted(name)} is no JSON at line {error.lineno}, column {error.colno}"
        ) from None
    if not isinstance(found, dict) or "\\u0000" in text:
        raise CourseImportError(f"{quoted(name)} holds no JSON object of plain values")
    return found


def source_of(element: Element) -> str:
    """The element as XML text."""
    return tostring(element, encoding="unicode")
