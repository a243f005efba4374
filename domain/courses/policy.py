"""What a grading policy may say. It is stored with the keys it was given.

Peers read the policy as its author wrote it and drop what they do not know, so nothing is
left out or filled in here; the rules only keep out what nobody could compute with.
"""

import base64
import hashlib
import json
from typing import Any, Final

from domain.courses.course import Policy
from domain.courses.fields import MAX_NAME, MAX_SLUG, Faults, Loc

MAX_GRADERS: Final = 100
MAX_CUTOFFS: Final = 100
MAX_KEYS: Final = 50
MAX_COUNT: Final = 1000
MAX_WEIGHT: Final = 1_000_000.0

_COUNTS: Final = frozenset({"min_count", "drop_count", "starting_index"})
_FLAGS: Final = frozenset({"show_only_average", "hide_average"})
_TEXTS: Final = frozenset({"type", "short_label", "category", "section_type"})


def check_policy(faults: Faults, given: object) -> Policy:
    """The policy as it is stored, and its hash; notes what is wrong."""
    place: Loc = ("grading_policy",)
    policy = faults.mapping(place, given)
    faults.known(place, policy, ("graders", "cutoffs"))
    for name in ("graders", "cutoffs"):
        if name not in policy:
            faults.add((*place, name), "This field is required.", "required")
    graders = _graders(faults, (*place, "graders"), policy.get("graders", []))
    cutoffs = _cutoffs(faults, (*place, "cutoffs"), policy.get("cutoffs", {}))
    return Policy(graders, cutoffs, "" if faults.found else policy_hash(graders, cutoffs))


def policy_hash(graders: list[dict[str, Any]], cutoffs: dict[str, float]) -> str:
    """What tells one policy from another: the hash that the peer stores with each grade."""
    policy = {"GRADER": graders, "GRADE_CUTOFFS": cutoffs}
    text = json.dumps(policy, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha1(text.encode(), usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


def _graders(faults: Faults, place: Loc, given: object) -> list[dict[str, Any]]:
    found, types = [], set()
    for number, entry in enumerate(faults.items(place, given, MAX_GRADERS)):
        loc: Loc = (*place, number)
        grader = faults.mapping(loc, entry)
        if len(grader) > MAX_KEYS:
            faults.add(loc, f"Ensure there are no more than {MAX_KEYS} fields.", "too_long")
            continue
        if grader.get("type") is None:
            faults.add((*loc, "type"), "This field is required.", "required")
        elif (kind := str(grader["type"])) in types:
            faults.add((*loc, "type"), "Another grader has this type.", "duplicate")
        else:
            types.add(kind)
        found.append(
            {
                faults.text((*loc, name), name, MAX_SLUG): _setting(faults, (*loc, name), value)
                for name, value in grader.items()
                if value is not None
            }
        )
    return found


def _setting(faults: Faults, loc: Loc, value: object) -> Any:
    name = loc[-1]
    if name in _COUNTS:
        return faults.count(loc, value, MAX_COUNT)
    if name in _FLAGS:
        return faults.flag(loc, value)
    if name in _TEXTS:
        return faults.text(loc, value, MAX_SLUG, blank=name != "type")
    if name == "weight":
        return faults.number(loc, value, MAX_WEIGHT)
    match value:
        case bool():
            return value
        case str():
            return faults.text(loc, value, MAX_NAME, blank=True)
        case _:  # nobody computes with it, yet it must be a number that JSON knows
            faults.number(loc, value)
            return value


def _cutoffs(faults: Faults, place: Loc, given: object) -> dict[str, float]:
    cutoffs = faults.mapping(place, given)
    if len(cutoffs) > MAX_CUTOFFS:
        faults.add(place, f"Ensure there are no more than {MAX_CUTOFFS}.", "too_long")
        return {}
    return {
        faults.text((*place, letter), letter, MAX_SLUG): faults.number((*place, letter), least, 1.0)
        for letter, least in cutoffs.items()
    }
