"""What a course says about itself: name, dates, pace, flags, modes."""

from typing import Any, Final

from domain.courses.course import Details, Flags
from domain.courses.fields import MAX_NAME, MAX_SLUG, Faults, Loc, moment_text

MAX_MODES: Final = 50
_MODE_FIELDS: Final = ("slug", "name", "expired_at")


def check_details(
    faults: Faults, display_name: object, start: object, end: object, self_paced: object
) -> Details:
    """The details as they are stored; notes what is wrong."""
    return Details(
        faults.text(("display_name",), display_name, MAX_NAME),
        None if start is None else faults.moment(("start",), start),
        None if end is None else faults.moment(("end",), end),
        faults.flag(("self_paced",), self_paced),
    )


def check_flags(faults: Faults, given: object) -> dict[str, bool]:
    """Some or all of the flags; notes what is wrong."""
    place: Loc = ("flags",)
    flags = faults.mapping(place, given)
    faults.known(place, flags, Flags._fields)
    return {
        name: faults.flag((*place, name), value)
        for name, value in flags.items()
        if name in Flags._fields
    }


def check_modes(faults: Faults, given: object) -> list[dict[str, Any]]:
    """The modes as they are stored; notes what is wrong."""
    found: list[dict[str, Any]] = []
    for number, entry in enumerate(faults.items(("modes",), given, MAX_MODES)):
        loc: Loc = ("modes", number)
        mode = faults.mapping(loc, entry)
        faults.known(loc, mode, _MODE_FIELDS)
        slug = faults.text((*loc, "slug"), mode.get("slug"), MAX_SLUG)
        if slug and any(slug == other["slug"] for other in found):
            faults.add((*loc, "slug"), "Another mode has this slug.", "duplicate")
        name, expired_at = mode.get("name"), mode.get("expired_at")
        moment = None if expired_at is None else faults.moment((*loc, "expired_at"), expired_at)
        found.append(
            {
                "slug": slug,
                "name": slug if name is None else faults.text((*loc, "name"), name, MAX_SLUG),
                "expired_at": moment and moment_text(moment),
            }
        )
    return found
