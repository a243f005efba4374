"""The keys by which Open edX names courses and the blocks in them.

Keys compare by exact text: two that differ in case are two courses. A branch is parsed and
kept, but the course is the same with and without it. The submissions interface takes any
text for a course or an item, so nothing there may insist on a key.

Source: the grammar of edx-opaque-keys, for courses and the blocks in courses.
"""

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from domain.errors import InvalidCommandError

MAX_LENGTH: Final = 255
CACHED_KEYS: Final = 10_000

_PART: Final = r"[\w\-~.:]+"
_OLD_PART: Final = r"[\w\-~.:%]+"
_COURSE: Final = re.compile(rf"course-v1:({_PART})\+({_PART})\+({_PART})(?:\+branch@({_PART}))?")
_OLD_COURSE: Final = re.compile(rf"({_OLD_PART})/({_OLD_PART})/({_OLD_PART})")
_BLOCK: Final = re.compile(
    rf"block-v1:({_PART})\+({_PART})\+({_PART})(?:\+branch@({_PART}))?"
    rf"\+type@({_PART})\+block@({_PART})"
)


class InvalidKeyError(InvalidCommandError):
    """A text is no key of the wanted kind."""


@dataclass(frozen=True, slots=True)
class CourseKey:
    """One run of a course.

    Attributes:
        deprecated: the slash form of old courses, in which the key is written back.
    """

    org: str
    course: str
    run: str
    branch: str | None = None
    deprecated: bool = False

    def __str__(self) -> str:
        if self.deprecated:
            return f"{self.org}/{self.course}/{self.run}"
        return f"course-v1:{self._parts}"

    @property
    def _parts(self) -> str:
        branch = f"+branch@{self.branch}" if self.branch else ""
        return f"{self.org}+{self.course}+{self.run}{branch}"

    @property
    def without_branch(self) -> "CourseKey":
        """The key to compare courses by."""
        return replace(self, branch=None) if self.branch else self

    @property
    def root_block(self) -> "BlockKey":
        """The block that holds all others."""
        return BlockKey(self, "course", "course")


@dataclass(frozen=True, slots=True)
class BlockKey:
    """One block of a course."""

    course: CourseKey
    block_type: str
    block_id: str

    def __str__(self) -> str:
        return f"block-v1:{self.course._parts}+type@{self.block_type}+block@{self.block_id}"  # noqa: SLF001 - the two forms share their middle


@lru_cache(maxsize=CACHED_KEYS)
def parse_course_key(text: str) -> CourseKey:
    """Read ``course-v1:Org+Course+Run``, with or without a branch, or ``Org/Course/Run``.

    Raises:
        InvalidKeyError: anything else; keys of libraries are not keys of courses.
    """
    if len(text) <= MAX_LENGTH:
        if found := _COURSE.fullmatch(text):
            org, course, run, branch = found.groups()
            return CourseKey(org, course, run, branch)
        if found := _OLD_COURSE.fullmatch(text):
            org, course, run = found.groups()
            return CourseKey(org, course, run, deprecated=True)
    raise InvalidKeyError(f"{text!r} is not the key of a course")


@lru_cache(maxsize=CACHED_KEYS)
def parse_block_key(text: str) -> BlockKey:
    """Read ``block-v1:Org+Course+Run+type@…+block@…``.

    The older ``i4x://`` form carries no run, so it names no block of a certain course.

    Raises:
        InvalidKeyError: anything else.
    """
    if len(text) <= MAX_LENGTH and (found := _BLOCK.fullmatch(text)):
        org, course, run, branch, block_type, block_id = found.groups()
        return BlockKey(CourseKey(org, course, run, branch), block_type, block_id)
    raise InvalidKeyError(f"{text!r} is not the key of a block")
