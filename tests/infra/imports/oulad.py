"""Small data sets of the form of the large one."""

import gzip
from collections.abc import Iterable, Sequence
from pathlib import Path

COURSES = """code_module,code_presentation,module_presentation_length
AAA,2013J,268
BBB,2014B,234
"""
ASSESSMENTS = """code_module,code_presentation,id_assessment,assessment_type,date,weight
AAA,2013J,1752,TMA,19,10
AAA,2013J,1757,Exam,,100
BBB,2014B,1800,CMA,54,20
"""
REGISTERED = "code_module,code_presentation,id_student,date_registration,date_unregistration"
HEADER = "id_assessment,id_student,date_submitted,is_banked,score"
ROWS = (
    "1752,11391,18,0,78",
    "1752,28400,22,0,70",
    "1752,30268,-1,1,",
    "1757,11391,240,0,94",
    "1800,28400,53,0,0",
)


def write(
    directory: Path,
    rows: Iterable[str] = ROWS,
    *,
    courses: str = COURSES,
    assessments: str = ASSESSMENTS,
    header: str = HEADER,
    registrations: Iterable[str] | None = None,
) -> Path:
    """Write the files of a data set; return their directory.

    Whoever has a result is registered unless ``registrations`` says who is.
    """
    directory.mkdir(exist_ok=True)
    (directory / "courses.csv").write_text(courses)
    (directory / "assessments.csv").write_text(assessments)
    rows = list(rows)
    if registrations is None:
        registrations = registered(rows, assessments)
    lines = "\n".join([REGISTERED, *registrations])
    (directory / "studentRegistration.csv").write_text(lines + "\n")
    (directory / "studentAssessment.csv").write_text("\n".join([header, *rows]) + "\n")
    return directory


def registered(rows: Iterable[str], assessments: str = ASSESSMENTS) -> list[str]:
    """Registrations of those who have results, a month before the start."""
    course_of = {line.split(",")[2]: line.split(",")[:2] for line in assessments.splitlines()}
    found: dict[str, None] = {}
    for row in rows:
        assessment, student, *_ = row.replace('"', "").split(",")
        if assessment in course_of:
            found[",".join([*course_of[assessment], student, "-30", ""])] = None
    return list(found)


def pack(directory: Path) -> None:
    """Gzip each file, as the large data set is."""
    for path in directory.glob("*.csv"):
        with gzip.open(f"{path}.gz", "wb") as file:
            file.write(path.read_bytes())
        path.unlink()


def many(count: int) -> Sequence[str]:
    """Rows of one assessment, each of another student."""
    return [f"1752,{10_000 + n},{n % 200},0,{n % 101}" for n in range(count)]
