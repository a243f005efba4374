"""What an outline may hold: keys of one course, each once, nested as courses are.

Blocks come in document order, so a parent is one of those that are open when its child
comes. Only what differs from its default is kept: two ways to say the same are one version.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from domain.courses.course import Outline
from domain.courses.fields import MAX_NAME, MAX_SLUG, Faults, Loc, moment_text
from domain.keys import BlockKey, CourseKey, InvalidKeyError, parse_block_key

MAX_BLOCKS: Final = 50_000
MAX_LEVELS: Final = 30
MAX_DATA: Final = 1_000_000
MAX_PARTITIONS: Final = 100
MAX_GROUPS: Final = 1000
LARGEST_GROUP: Final = 2**31 - 1

NEEDED: Final = ("usage_key", "type", "parent", "display_name")
OPTIONAL: Final = (
    "graded",
    "format",
    "weight",
    "max_score",
    "due",
    "start",
    "visible_to_staff_only",
    "hide_from_toc",
    "show_correctness",
    "group_access",
    "data",
)
"""What a block may say, in the order in which it is stored."""

_NAMES: Final = frozenset((*NEEDED, *OPTIONAL))
_ABOVE: Final = {"chapter": "course", "sequential": "chapter"}
_ALWAYS: Final = "always"


def check_outline(faults: Faults, course: CourseKey, given: object) -> Outline:
    """The blocks as they are stored, and the version that they are; notes what is wrong."""
    if isinstance(given, list | tuple) and not given:
        faults.add(("blocks",), "The first block must be the course.", "root")
    checker = _Checker(faults, course)
    blocks = [
        checker.check(("blocks", number), block)
        for number, block in enumerate(faults.items(("blocks",), given, MAX_BLOCKS))
    ]
    return Outline("" if faults.found else digest(blocks), blocks)


def digest(value: object) -> str:
    """A name of a JSON value by what it holds."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class _Checker:
    """Checks one block after the other, with those in mind that came before."""

    def __init__(self, faults: Faults, course: CourseKey) -> None:
        self._faults = faults
        self._course = course.without_branch
        self._root = str(self._course.root_block)
        self._seen: set[str] = set()
        self._open: list[tuple[str, str]] = []
        """Key and type of the block before and of everything above it."""

    def check(self, loc: Loc, given: object) -> dict[str, Any]:
        faults = self._faults
        block = faults.mapping(loc, given)
        if not isinstance(given, Mapping):
            return {}
        key = self._own_key(loc, block)
        self._unknown(loc, block)
        text = "" if key is None else str(key)
        parent = self._place(loc, key, text, block)
        name = block.get("display_name")
        found = {
            "usage_key": text,
            "type": key.block_type if key else "",
            "parent": parent,
            "display_name": faults.text((*loc, "display_name"), name, MAX_NAME, blank=True),
        }
        for field in OPTIONAL:
            value = block.get(field)
            if value is not None and (kept := self._value(loc, field, value)) is not None:
                found[field] = kept
        return found

    def _unknown(self, loc: Loc, block: Mapping[str, Any]) -> None:
        """Refuse other members; two belong to the tree that callers write."""
        for field in block:
            if field in _NAMES:
                continue
            if field == "children":
                self._faults.add((*loc, field), "Input should be a list.", "list_type")
            elif field == "id":
                self._faults.add(
                    (*loc, field), "Give either the id or the usage_key, as text.", "invalid"
                )
            else:
                self._faults.add((*loc, field), "Unknown field.", "unknown")

    def _own_key(self, loc: Loc, block: Mapping[str, Any]) -> BlockKey | None:
        place, text, kind = (*loc, "usage_key"), block.get("usage_key"), block.get("type")
        if text is None:
            self._faults.add(place, "This field is required.", "required")
            return None
        key = self._key(place, text)
        if key is None:
            return None
        if kind is not None and kind != key.block_type:
            self._faults.add((*loc, "type"), f"The key says {key.block_type}.", "type")
        own = str(key)
        if own in self._seen:
            self._faults.add(place, "Another block has this key.", "duplicate")
        self._seen.add(own)
        return key

    def _key(self, loc: Loc, text: object) -> BlockKey | None:
        """A key of this course, without a branch."""
        checked = self._faults.text(loc, text, MAX_NAME)
        if not checked:
            return None
        try:
            key = parse_block_key(checked)
        except InvalidKeyError:
            self._faults.add(loc, "Not the key of a block.", "key")
            return None
        # Keys of blocks do not tell whether their course has a key of the older form.
        mine, own = self._course, key.course
        if (own.org, own.course, own.run) != (mine.org, mine.course, mine.run):
            self._faults.add(loc, f"Not a block of {mine}.", "foreign")
            return None
        return BlockKey(mine, key.block_type, key.block_id)

    def _place(
        self, loc: Loc, key: BlockKey | None, text: str, block: Mapping[str, Any]
    ) -> str | None:
        """The parent, which must be open, of a type that may hold this one."""
        given, place = block.get("parent"), (*loc, "parent")
        if not self._open:
            if given is not None or text != self._root:
                self._faults.add(loc, f"The first block must be the course, {self._root}.", "root")
            self._open.append((self._root, "course"))
            return None
        if given is None:
            self._faults.add(place, "Only the first block has no parent.", "required")
            return None
        depth = self._depth(given)
        parent = str(given)
        if depth is None:  # not the very text of an open block, yet perhaps its key
            if key is None or (found := self._key(place, given)) is None:
                return None
            parent = str(found)
            depth = self._depth(parent)
        if key is None:
            return None
        if depth is None:
            known = parent in self._seen
            msg = "Blocks must be in document order." if known else "No block has this key."
            self._faults.add(place, msg, "order" if known else "parent")
            return None
        del self._open[depth + 1 :]
        self._refuse_nesting(loc, key.block_type)
        self._open.append((text, key.block_type))
        return parent

    def _depth(self, key: object) -> int | None:
        """How deep the open block of this key stands."""
        return next((n for n, above in enumerate(self._open) if above[0] == key), None)

    def _refuse_nesting(self, loc: Loc, kind: str) -> None:
        """Chapters hold sequentials, and these verticals; everything else goes anywhere."""
        types = [above[1] for above in self._open]
        if kind == "course":
            msg = "A course stands in no other block."
        elif kind in _ABOVE and types[-1] != _ABOVE[kind]:
            msg = f"A {kind} stands in a {_ABOVE[kind]}, not in a {types[-1]}."
        elif kind == "vertical" and (types[-1] == "chapter" or "sequential" not in types):
            msg = f"A vertical stands in a sequential, not in a {types[-1]}."
        elif len(types) >= MAX_LEVELS:
            msg = f"Nested more than {MAX_LEVELS} levels deep."
        else:
            return
        self._faults.add(loc, msg, "nesting")

    def _value(self, loc: Loc, field: str, value: object) -> Any:
        """A value as it is stored; None for the default."""
        faults, place = self._faults, (*loc, field)
        match field:
            case "graded":
                return faults.flag(place, value)
            case "visible_to_staff_only" | "hide_from_toc":
                return faults.flag(place, value) or None
            case "weight" | "max_score":
                return faults.number(place, value)
            case "due" | "start":
                moment = faults.moment(place, value)
                return moment and moment_text(moment)
            case "format":
                return faults.text(place, value, MAX_SLUG, blank=True) or None
            case "show_correctness":
                found = faults.text(place, value, MAX_SLUG, blank=True)
                return None if found in ("", _ALWAYS) else found
            case "data":
                return faults.text(place, value, MAX_DATA, blank=True) or None
            case _:
                return self._group_access(place, value) or None

    def _group_access(self, loc: Loc, value: object) -> dict[str, list[int]]:
        faults = self._faults
        partitions = faults.mapping(loc, value)
        if len(partitions) > MAX_PARTITIONS:
            faults.add(loc, f"Ensure there are no more than {MAX_PARTITIONS}.", "too_long")
            return {}
        found = {}
        for partition, groups in partitions.items():
            place = (*loc, partition)
            if not (partition.isascii() and partition.isdigit() and len(partition) <= 10):
                faults.add(place, "Not the id of a partition.", "key")
            elif groups:
                found[partition] = [
                    faults.count((*place, n), group, LARGEST_GROUP)
                    for n, group in enumerate(faults.items(place, groups, MAX_GROUPS))
                ]
        return found
