"""What is known about the types of blocks."""

from typing import Final

CONTAINERS: Final = frozenset(
    {
        "course",
        "chapter",
        "sequential",
        "vertical",
        "conditional",
        "itembank",
        "library_content",
        "problemset",
        "randomize",
        "split_test",
        "videosequence",
        "wrapper",
    }
)

LOTTERIES: Final = frozenset({"itembank", "library_content", "randomize", "split_test"})
"""Those that show each learner only some of their children."""

LEAVES: Final = frozenset(
    {
        "about",
        "annotatable",
        "course_info",
        "discussion",
        "done",
        "drag-and-drop-v2",
        "edx_sga",
        "html",
        "lti",
        "lti_consumer",
        "openassessment",
        "poll",
        "poll_question",
        "problem",
        "staffgradedxblock",
        "static_tab",
        "survey",
        "video",
        "word_cloud",
    }
)

BODIES: Final = frozenset({"about", "course_info", "html", "static_tab"})
"""Types whose ``filename`` names a page and no definition."""

_SETTINGS: Final = {
    "course": frozenset({"html_textbook", "pdf_textbook", "textbook", "wiki"}),
    "conditional": frozenset({"show"}),
}
_NAMES: Final = {
    "annotatable": "Annotation",
    "discussion": "Discussion",
    "drag-and-drop-v2": "Drag and Drop",
    "edx_sga": "Staff Graded Assignment",
    "html": "Text",
    "library_content": "Randomized Content Module",
    "lti": "LTI",
    "openassessment": "Open Response Assessment",
    "poll": "Poll",
    "problem": "Blank Problem",
    "staffgradedxblock": "Staff Graded Points",
    "survey": "Survey",
    "video": "Video",
}
_PLACES: Final = {"chapter": "course", "sequential": "chapter"}


def is_setting(tag: str, container: str) -> bool:
    """Whether an element in a container is one of its settings and no block."""
    return tag in _SETTINGS.get(container, ())


def default_name(block_type: str, block_id: str) -> str:
    """What the peer calls a block that has no name."""
    return _NAMES.get(block_type) or block_id.replace("_", " ")


def misplaced(block_type: str, types: tuple[str, ...]) -> str | None:
    """Why a block cannot stand under blocks of these types; None if it can."""
    if block_type == "course":
        return "stands in a course"
    if (needed := _PLACES.get(block_type)) and types[-1] != needed:
        return f"stands in no {needed}"
    if block_type == "vertical" and (types[-1] == "chapter" or "sequential" not in types):
        return "stands in no sequential"
    return None
