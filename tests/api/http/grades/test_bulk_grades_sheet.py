"""Reading files of grades, whatever they are."""

import pytest

from api.http.bulk_grades.columns import Cells, Column, guarded, quoted
from api.http.bulk_grades.sheet import Sheet, SheetError, read_sheet

COURSE = "course-v1:Uni+Physics+2026"
KEYS = {"hw1": "the first", "hw2": "the second"}


def read(text: str | bytes) -> Sheet:
    raw = text if isinstance(text, bytes) else text.replace("@", COURSE).encode()
    return read_sheet(raw, COURSE, KEYS)


def errors(text: str) -> list[str]:
    return [row.error for row in read(text).rows]


@pytest.mark.parametrize(
    ("cell", "points"),
    [
        *(("5", 5.0), (" 5 ", 5.0), ("+5", 5.0), ("0", 0.0), ("-0", 0.0), (".5", 0.5)),
        *(("5.", 5.0), ("1e2", 100.0), ("1E-400", 0.0), ('" 5"', 5.0)),
    ],
)
def test_numbers(cell: str, points: float) -> None:
    (row,) = read(f"user_id,course_id,new_override-hw1\n7,@,{cell}\n").rows
    assert row.error == ""
    assert str(row.grades["the first"]) == str(points)


@pytest.mark.parametrize(
    ("cell", "error"),
    [
        *((text, "Grade must be a number") for text in ("nan", "inf", "1e400", "1_0", "0x1")),
        *(
            (text, "Grade must be a number")
            for text in ("\u0665", "five", '"1,5"', "--1", "1 2", "%")
        ),
        *((text, "Grade must not be negative") for text in ("-1", " -0.001 ")),
    ],
)
def test_what_is_no_grade(cell: str, error: str) -> None:
    assert errors(f"user_id,course_id,new_override-hw1\n7,@,{cell}\n") == [error]


@pytest.mark.parametrize(
    "text",
    [
        "user_id,course_id,new_override-hw1\n7,@,5\n8,@,6\n",
        "user_id,course_id,new_override-hw1\r\n7,@,5\r\n8,@,6\r\n",
        "user_id,course_id,new_override-hw1\r7,@,5\r8,@,6",
        "\ufeffuser_id,course_id,new_override-hw1\n7,@,5\n\n\n8,@,6",
        'new_override-hw1,notes,user_id,course_id\n5,"a\n""b"", c",7,@\n6,,8,@\n',
        " user_id , course_id,new_override-hw1,x,x\n 7 , @,5,1\n8,@,6\n",
    ],
)
def test_spellings_of_the_same_file(text: str) -> None:
    found = [(row.user_id, row.grades, row.error) for row in read(text).rows]
    assert found == [(7, {"the first": 5.0}, ""), (8, {"the first": 6.0}, "")]


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("", ["Missing column: user_id", "Missing column: course_id"]),
        ("\n\n", ["Missing column: user_id", "Missing column: course_id"]),
        ("user_id;course_id\n7;@\n", ["Missing column: user_id", "Missing column: course_id"]),
        ("user_id\n7\n", ["Missing column: course_id"]),
        ("user_id,course_id,user_id\n7,@,8\n", ["Repeated column: user_id"]),
        (
            "user_id,course_id,new_override-hw1,new_override-hw1\n7,@,1,2\n",
            ["Repeated column: new_override-hw1"],
        ),
        (b"user_id,course_id\n7,\x00\n", ["The CSV file must not hold null characters"]),
        ("user_id,course_id\n7,@\n".encode("utf-16"), ["The CSV file must be UTF-8 text"]),
        (
            'user_id,course_id,x\n7,@,"never closed\n8,@,\n',
            ["The CSV file cannot be read: unexpected end of data"],
        ),
        (
            "user_id,course_id,x\n7,@," + "x" * 200_000,
            ["The CSV file cannot be read: field larger than field limit (131072)"],
        ),
    ],
)
def test_files_that_are_refused_whole(text: str | bytes, messages: list[str]) -> None:
    with pytest.raises(SheetError) as refused:
        read(text)
    assert refused.value.messages == messages


def test_rows_that_are_refused() -> None:
    text = (
        "user_id,course_id,new_override-hw1,new_override-old\n"
        "7,course-v1:Other+C+R,1,\n"
        "seven,@,1,\n"
        "-7,@,1,\n"
        f"{2**63},@,1,\n"
        "8,@,1,\n"
        "8,@,,\n"
        "9,@,1,2\n"
        "10,@,1,,,3\n"
        "11\n"
        ",,,\n"
        "12,@,,,,\n"
    )
    assert errors(text) == [
        f"Wrong course id course-v1:Other+C+R != {COURSE}",
        "Not a user_id: seven",
        "Not a user_id: -7",
        f"Not a user_id: {2**63}",
        "",
        "Repeated user_id: 8",
        "No such subsection: new_override-old",
        "More cells than columns",
        f"Wrong course id  != {COURSE}",
        "",
        "",
    ]


def test_what_bad_cells_hold_is_quoted_up_to_a_length() -> None:
    (error,) = errors(f"user_id,course_id\n7,{'x' * 1000}\n")
    assert len(error) < 200


def test_ten_thousand_columns() -> None:
    header = ",".join(f"new_override-c{n}" for n in range(10_000))
    text = f"user_id,course_id,{header},new_override-hw2\n7,@{',' * 10_000},4\n"
    sheet = read(text)
    assert [row.grades for row in sheet.rows] == [{"the second": 4.0}]
    assert sheet.columns == ["user_id", "course_id", "new_override-hw2"]


def test_only_columns_of_files_of_grades_are_kept() -> None:
    (row,) = read("user_id,course_id,email,new_override-hw1,grade-hw2\n7,@,a@b.c,5,1\n").rows
    assert row.cells == {"user_id": "7", "new_override-hw1": "5"}


@pytest.mark.parametrize("text", ["=1+1", "+1+cmd|' /C'!A0", "@SUM(1)", "-1+A(1)", "\t=1", "=x"])
def test_formulas_are_disarmed(text: str) -> None:
    assert guarded(text) == "'" + text


@pytest.mark.parametrize("text", ["", "anna", "@anna", "-5", "+x_y", "a=b", "1+1", "-é.-"])
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert guarded(text) == text


def test_cells_are_quoted_when_they_must_be() -> None:
    assert [quoted(text) for text in ("a", "a,b", 'a"b', "a\nb")] == [
        *("a", '"a,b"', '"a""b"', '"a\nb"')
    ]


def test_cells_are_forgotten_when_they_are_too_many() -> None:
    cells = Cells(Column("hw1", "the first", "HW, 1", None, 0))
    for number in range(Cells.KEPT + 1):
        assert cells[float(number), None] == f',"HW, 1",{float(number)},{float(number)},,'
    assert len(cells) == 1
    assert cells[1.0, 2.0] == ',"HW, 1",2.0,1.0,2.0,'
    assert cells[None, None] == ',"HW, 1",,,,'
