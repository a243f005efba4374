"""Reading the data set: what is understood, and how what is not is told."""

import gzip
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra.imports.oulad import Dataset
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
    assert dataset.check() == len(oulad.ROWS)
    first, *_, last = dataset.results()
    assert first.assessment.course_id == "course-v1:OU+AAA+2013J"
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
    )
    oulad.pack(data)
    first, second = Dataset(data).results()
    assert (first.score, first.student_id, first.is_banked) == (78, "11391", False)
    assert (second.score, second.student_id, second.is_banked) == (None, "28400", True)


def test_parts_share_the_rows_and_no_student(tmp_path: Path) -> None:
    dataset = Dataset(oulad.write(tmp_path / "data", oulad.many(500)))
    parts = [list(dataset.part(number, 3)) for number in range(3)]
    assert sum(map(len, parts)) == 500
    assert all(parts)
    students = [{result.student_id for result in part} for part in parts]
    assert not students[0] & students[1] | students[1] & students[2] | students[0] & students[2]


def test_everything_that_goes_into_the_events_goes_into_the_fingerprint(tmp_path: Path) -> None:
    rows = ["1752,1,18,0,78", "1752,1,19,0,78", "1752,1,18,1,78", "1752,1,18,0,77", "1752,1,18,0,"]
    results = list(Dataset(oulad.write(tmp_path / "data", rows)).results())
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
        ("1752,11391,18,0", "line 7: column score is missing: 4 values instead of 5"),
        ("1752,11391,18,0,78,1", "line 7: 6 values instead of 5"),
        ('1752,11391,18,0,"78', "line 7: unexpected end of data"),
        ("1752,11391,18,0," + "7" * 200, "7…' is not a whole number"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: str, said: str) -> None:
    message = refusal(oulad.write(tmp_path / "data", [*oulad.ROWS, row]))
    assert "studentAssessment.csv" in message
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
