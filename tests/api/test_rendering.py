"""Result dicts: their keys, the order of them, and what is left of an erased learner."""

from api import rendering
from domain.errors import KeyDestroyedError
from domain.submissions.application import answer_context, reason_context
from projections.submissions import TopSubmission
from tests import facts


class Vault:
    """Opens whatever it was told, and knows no key of the erased."""

    def __init__(self, **known: tuple[str, str]) -> None:
        self.known = dict(known.values())

    def open(self, sealed: str, context: str) -> str:
        try:
            return self.known[sealed + context]
        except KeyError:
            raise KeyDestroyedError(sealed) from None


def test_a_submission_has_seven_keys_in_their_order() -> None:
    row = rendering.submission_row(facts.submission_created(1))
    assert list(rendering.submission(row, {"a": 1}).items()) == [
        ("uuid", str(facts.uuid(1))),
        ("student_item", 1),
        ("attempt_number", 1),
        ("submitted_at", facts.at(1)),
        ("created_at", facts.NOON),
        ("answer", {"a": 1}),
        ("team_submission_uuid", None),
    ]


def test_the_student_item_takes_the_place_of_its_id() -> None:
    row = rendering.submission_row(facts.submission_created(1))
    rendered = rendering.submission_with_student(row, 1)
    assert list(rendered) == list(rendering.submission(row, 1))
    assert rendered["student_item"] == facts.key().as_dict()


def test_the_student_id_comes_last() -> None:
    row = rendering.submission_row(facts.submission_created(1))
    rendered = rendering.submission_with_student_id(row, 1)
    assert list(rendered)[7:] == ["student_id"]


def test_a_team_submission_is_named_as_text() -> None:
    event = facts.submission_created(1, team_submission_uuid=facts.team_uuid(1))
    rendered = rendering.submission(rendering.submission_row(event), 1)
    assert rendered["team_submission_uuid"] == str(facts.team_uuid(1))


def test_a_score_has_its_annotations_last() -> None:
    row = rendering.score_row(facts.score_set(3, annotation=facts.annotation()))
    assert list(rendering.score(row, ["because"]).items()) == [
        ("student_item", 1),
        ("submission", 1),
        ("points_earned", 5),
        ("points_possible", 10),
        ("created_at", facts.NOON),
        ("submission_uuid", str(facts.uuid(1))),
        (
            "annotations",
            [{"creator": "staff", "reason": "because", "annotation_type": "staff_defined"}],
        ),
    ]
    assert "annotations" not in rendering.unannotated_score(row)


def test_a_top_entry_holds_points_and_answer() -> None:
    row = TopSubmission(1, 7, facts.uuid(1), "1:sealed")
    assert rendering.top_entry(row, "x") == {"score": 7, "content": "x"}


def test_answers_and_reasons_are_opened_in_their_contexts() -> None:
    submission = rendering.submission_row(facts.submission_created(1))
    score = rendering.score_row(facts.score_set(3, annotation=facts.annotation()))
    vault = Vault(
        a=(submission.answer + answer_context(facts.uuid(1)), '"plain"'),
        b=("1:sealed" + reason_context(3), "because"),
    )
    assert rendering.opened_answer(vault, submission) == '"plain"'
    assert rendering.opened_reasons(vault, score) == ["because"]
    assert list(rendering.sealed_reasons([score])) == ["1:sealed"]


def test_of_an_erased_learner_nothing_is_left_but_none() -> None:
    vault = Vault()
    submission = rendering.submission_row(facts.submission_created(1))
    score = rendering.score_row(facts.score_set(3, annotation=facts.annotation()))
    assert rendering.opened_answer(vault, submission) is None
    assert rendering.opened_answer(vault, TopSubmission(1, 7, None, None)) is None
    assert rendering.opened_reasons(vault, score) == [None]


def test_an_empty_reason_is_not_sealed() -> None:
    score = rendering.score_row(facts.score_set(3, annotation=facts.annotation(reason="")))
    assert rendering.opened_reasons(Vault(), score) == [""]
    assert list(rendering.sealed_reasons([score])) == []
