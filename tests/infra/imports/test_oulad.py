"""Reading the data set: what is understood, and how what is not is told."""

import gzip
from datetime import UTC, datetime
from pathlib import Path

import pytest

from domain.grades.structure import read_structure
from infra.imports.oulad import Course, Dataset
from infra.imports.oulad_courses import blocks, policy
from infra.imports.tables import TableError
from tests.infra.imports import oulad


def refusal(directory: Path) -> str:
    with pytest.raises(TableError) as caught:
        Dataset(directory).check()
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def test_a_row_is_read_with_what_its_assessment_says(tmp_path: Path) -> None:
    dataset = Dataset(oulad.write(tmp_path / "data"))
    assert dataset.check() == len(oulad.registered(oulad.ROWS)) + len(oulad.ROWS)
    first, *_, last = dataset.results()
    assert first.assessment.course.course_id == "course-v1:OU+AAA+2013J"
    assert first.assessment.item_id == "block-v1:OU+AAA+2013J+type@problem+block@1752"
    assert (first.line, first.score, first.is_banked) == (2, 78, False)
    assert first.submitted_at == datetime(2013, 10, 19, tzinfo=UTC)
    assert last.submitted_at == datetime(2014, 3, 26, tzinfo=UTC)
    assert last.score == 0


def test_the_original_download_is_understood(tmp_path: Path) -> None:
    """Quoted, with question marks, from a spreadsheet, columns in another order."""
    data = oulad.write(
        tmp_path / "data",
        ['"78.0","1752","11391","18","0"', '"?","1752","28400","22","1"', ""],
        header='\ufeff"score","id_assessment","id_student","date_submitted","is_banked"',
        registrations=['"AAA","2013J","11391","-159","?"', '"AAA","2013J","28400","?","12"'],
    )
    oulad.pack(data)
    dataset = Dataset(data)
    there, gone = dataset.registrations
    assert (there.enrolled_at, there.unenrolled_at) == (datetime(2013, 4, 25, tzinfo=UTC), None)
    assert gone.enrolled_at == datetime(2013, 10, 1, tzinfo=UTC)
    assert gone.unenrolled_at == datetime(2013, 10, 13, tzinfo=UTC)
    first, second = dataset.results()
    assert (first.score, first.student_id, first.is_banked) == (78, "11391", False)
    assert (second.score, second.student_id, second.is_banked) == (None, "28400", True)


def test_parts_share_the_rows_and_no_student(tmp_path: Path) -> None:
    dataset = Dataset(oulad.write(tmp_path / "data", oulad.many(500)))
    parts = [dataset.part(number, 3) for number in range(3)]
    assert sum(len(results) for _, results in parts) == 500
    assert all(results for _, results in parts)
    students = [{result.student_id for result in results} for _, results in parts]
    for (registrations, _), of_results in zip(parts, students, strict=True):
        assert {row.student_id for row in registrations} == of_results
    assert not students[0] & students[1] | students[1] & students[2] | students[0] & students[2]


def test_the_rows_of_a_student_lie_together(tmp_path: Path) -> None:
    registrations, results = Dataset(oulad.write(tmp_path / "data")).part(0, 1)
    assert [row.student_id for row in results] == ["11391", "11391", "28400", "28400", "30268"]
    assert [row.line for row in results] == [2, 5, 3, 6, 4]
    assert [row.student_id for row in registrations] == ["11391", "28400", "28400", "30268"]


def test_a_course_is_published_with_a_subsection_for_each_assessment(tmp_path: Path) -> None:
    first, second = Dataset(oulad.write(tmp_path / "data")).courses
    found = blocks(first)
    structure = read_structure(found)
    assert [
        (s.display_name, s.format, s.graded, s.due, [p.usage_key for p in s.problems])
        for s in structure.subsections
    ] == [
        (
            *("TMA 1752", "TMA 1752", True, datetime(2013, 10, 20, tzinfo=UTC)),
            ["block-v1:OU+AAA+2013J+type@problem+block@1752"],
        ),
        (
            *("Exam 1757", "Exam 1757", True, None),
            ["block-v1:OU+AAA+2013J+type@problem+block@1757"],
        ),
    ]
    assert all(p.possible == 100 and p.direct for s in structure.subsections for p in s.problems)
    assert policy(first) == {
        "graders": [
            {"type": "TMA 1752", "min_count": 1, "drop_count": 0, "weight": 10 / 110},
            {"type": "Exam 1757", "min_count": 1, "drop_count": 0, "weight": 100 / 110},
        ],
        "cutoffs": {"Pass": 0.4, "Distinction": 0.85},
    }
    assert policy(second)["graders"][0]["weight"] == 1.0
    assert policy(Course("CCC", "2013J", first.start, 1))["graders"] == []


def test_a_course_without_weights_is_worth_nothing(tmp_path: Path) -> None:
    assessments = oulad.ASSESSMENTS.replace("19,10", "19,0").replace(",,100", ",,0")
    first, _ = Dataset(oulad.write(tmp_path / "data", assessments=assessments)).courses
    assert [grader["weight"] for grader in policy(first)["graders"]] == [0.0, 0.0]


def test_everything_that_goes_into_the_events_goes_into_the_fingerprint(tmp_path: Path) -> None:
    rows = ["1752,1,18,0,78", "1752,1,19,0,78", "1752,1,18,1,78", "1752,1,18,0,77", "1752,1,18,0,"]
    _, results = Dataset(oulad.write(tmp_path / "data", rows)).part(0, 1)
    assert len({result.fingerprint for result in results}) == len(rows)
    assert len({result.key for result in results}) == 1


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("1752,11391,18,0,78.5", "line 7, column score: '78.5' is not a whole number"),
        ("1752,11391,18,0,101", "line 7, column score: '101' is not a whole number from 0 to 100"),
        ("1752,11391,18,0,-1", "line 7, column score"),
        ("1752,11391,18,0,lots", "line 7, column score: 'lots'"),
        ("1752,11391,soon,0,78", "line 7, column date_submitted: 'soon'"),
        ("1752,11391,,0,78", "line 7, column date_submitted: ''"),
        ("1752,11391,99999,0,78", "line 7, column date_submitted"),
        ("1752,11391,18,2,78", "line 7, column is_banked: '2' is not 0 or 1"),
        ("1752,anna,18,0,78", "line 7, column id_student: 'anna' is not a number"),
        ("9999,11391,18,0,78", "line 7, column id_assessment: '9999' is not one of"),
        ("1752,28401,18,0,78", "column id_student: '28401' is not registered in AAA 2013J"),
        ("1752,11391,18,0", "line 7: column score is missing: 4 values instead of 5"),
        ("1752,11391,18,0,78,1", "line 7: 6 values instead of 5"),
        ('1752,11391,18,0,"78', "line 7: unexpected end of data"),
        ("1752,11391,18,0," + "7" * 200, "7…' is not a whole number"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: str, said: str) -> None:
    rows = [*oulad.ROWS, row]
    registrations = oulad.registered(oulad.ROWS)
    message = refusal(oulad.write(tmp_path / "data", rows, registrations=registrations))
    assert "studentAssessment.csv" in message
    assert said in message


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("AAA,2014J,11391,,", "line 3, column code_presentation: 'AAA 2014J' is not one of"),
        ("AAA,2013J,anna,,", "line 3, column id_student: 'anna' is not a number"),
        ("AAA,2013J,11391,,", "line 3, column id_student: '11391' is not unique in its course"),
        ("AAA,2013J,28400,soon,", "line 3, column date_registration: 'soon'"),
        ("AAA,2013J,28400,,1.5", "line 3, column date_unregistration: '1.5'"),
    ],
)
def test_a_bad_registration_is_named(tmp_path: Path, row: str, said: str) -> None:
    rows = ["AAA,2013J,11391,-159,", row]
    message = refusal(oulad.write(tmp_path / "data", [], registrations=rows))
    assert "studentRegistration.csv" in message
    assert said in message


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {"header": "id_assessment,id_student,date_submitted,is_banked"},
            "column score is missing",
        ),
        ({"header": f"{oulad.HEADER},weather"}, "column 'weather' is not one of"),
        ({"header": f"{oulad.HEADER},score"}, "column score is there twice"),
        ({"courses": ""}, "courses.csv: is empty"),
        ({"courses": oulad.COURSES + "CCC,2013X,1\n"}, "line 4, column code_presentation: '2013X'"),
        ({"assessments": oulad.ASSESSMENTS + "AAA,2013J,1,Quiz,,1\n"}, "column assessment_type"),
        ({"assessments": oulad.ASSESSMENTS + "ZZZ,2013J,1,TMA,,1\n"}, "'ZZZ 2013J' is not one of"),
        ({"assessments": oulad.ASSESSMENTS + "AAA,2013J,1752,TMA,,1\n"}, "it is there twice"),
        ({"assessments": oulad.ASSESSMENTS + "AAA,2013J,1,TMA,,-1\n"}, "column weight: '-1'"),
        ({"assessments": oulad.ASSESSMENTS + "AAA,2013J,1,TMA,soon,1\n"}, "column date: 'soon'"),
        ({"courses": oulad.COURSES + "AAA,2013J,1\n"}, "column code_presentation: 'AAA 2013J' is"),
        ({"courses": oulad.COURSES + "CCC,2013J,\n"}, "column module_presentation_length: ''"),
    ],
)
def test_an_odd_table_is_named(tmp_path: Path, files: dict[str, str], said: str) -> None:
    assert said in refusal(oulad.write(tmp_path / "data", **files))


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert "is not a directory" in refusal(data)
    oulad.write(data)
    results = data / "studentAssessment.csv"
    results.write_bytes(b"\xff\xfe nonsense")
    assert "studentAssessment.csv: is not UTF-8 text" in refusal(data)
    oulad.write(data, oulad.many(5000))
    packed = data / "studentAssessment.csv.gz"
    packed.write_bytes(gzip.compress(results.read_bytes()))
    assert "both studentAssessment.csv and studentAssessment.csv.gz" in refusal(data)
    results.unlink()
    packed.write_bytes(packed.read_bytes()[:-100])
    assert "studentAssessment.csv.gz: is damaged or not all there" in refusal(data)
    packed.unlink()
    assert "neither studentAssessment.csv nor studentAssessment.csv.gz is there" in refusal(data)
