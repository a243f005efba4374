"""How many points a block can bring, and the source of a problem.

The maximum here is the raw one: where a block has a ``weight`` too, what is earned is scaled
to it by whoever reads the blocks.

Source: the response types of the peer's problems, and ``max_score`` of the block types named.
"""

from collections.abc import Callable, Mapping
from typing import Final
from xml.etree.ElementTree import Element

from api.olx.documents import source_of
from api.olx.settings import LARGEST_NUMBER, Settings

DATA_LIMIT: Final = 100_000
"""Bytes of the source of one problem."""

ANNOTATION_POINTS: Final = 2.0
SGA_POINTS: Final = 100.0

INPUTS: Final = frozenset(
    {
        "annotationinput",
        "checkboxgroup",
        "checkboxtextgroup",
        "chemicalequationinput",
        "choicegroup",
        "codeinput",
        "crystallography",
        "designprotein2dinput",
        "drag_and_drop_input",
        "editageneinput",
        "editamoleculeinput",
        "filesubmission",
        "formulaequationinput",
        "imageinput",
        "javascriptinput",
        "jsinput",
        "jsme",
        "matlabinput",
        "optioninput",
        "radiogroup",
        "radiotextgroup",
        "schematic",
        "textbox",
        "textline",
        "vsepr_input",
    }
)
"""Elements into which a learner answers."""

Complain = Callable[[str], None]


def maximum_score(block_type: str, element: Element, settings: Settings) -> float | None:
    """The most points that a block can bring; None for one that has no score."""
    scoring = _SCORING.get(block_type)
    return None if scoring is None else scoring(element, settings)


def problem_source(element: Element) -> str:
    """A problem without its settings: what a learner is asked."""
    bare = Element(element.tag)
    bare.text = element.text
    bare.extend(element)
    return source_of(bare).strip()


def _problem(element: Element, settings: Settings) -> float:
    return _points_within(element, None, settings.complain)


def _points_within(element: Element, response: str | None, complain: Complain) -> float:
    total = 0.0
    for child in element:
        inside = child.tag if child.tag.endswith("response") else response
        if response is not None and child.tag in INPUTS:
            is_annotation = response == "annotationresponse"
            total += ANNOTATION_POINTS if is_annotation else _points(child, 1.0, complain)
        total += _points_within(child, inside, complain)
    return total


def _points(element: Element, default: float, complain: Complain) -> float:
    given = element.get("points")
    if given is None:
        return default
    try:
        points = float(int(given))
    except ValueError:
        points = -1.0
    if 0 <= points <= LARGEST_NUMBER:
        return points
    complain(f"the points of a {element.tag} are no whole number; they count as {default:g}")
    return default


def _rubric(element: Element, settings: Settings) -> float:
    best = [
        max(
            (_points(option, 0.0, settings.complain) for option in one.findall("option")), default=0
        )
        for one in element.findall("rubric/criterion")
    ]
    return float(sum(best))


def _one(_element: Element, _settings: Settings) -> float:
    return 1.0


def _weight(_element: Element, settings: Settings) -> float:
    weight = settings.number("weight")
    return 1.0 if weight is None else weight


def _weight_if_scored(element: Element, settings: Settings) -> float | None:
    return _weight(element, settings) if settings.flag("has_score") else None


def _staff_graded(_element: Element, settings: Settings) -> float:
    points = settings.number("points")
    return SGA_POINTS if points is None else points


_SCORING: Final[Mapping[str, Callable[[Element, Settings], float | None]]] = {
    "problem": _problem,
    "openassessment": _rubric,
    "drag-and-drop-v2": _one,
    "edx_sga": _staff_graded,
    "staffgradedxblock": _weight,
    "lti": _weight_if_scored,
    "lti_consumer": _weight_if_scored,
}
