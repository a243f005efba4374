"""Type checkers know which event a function gets."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "docs" / "examples" / "certificates.py"

pytestmark = pytest.mark.slow


def checked(*files: Path) -> str:
    command = [sys.executable, "-m", "mypy", "--strict", *map(str, files)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return found.stdout


def test_the_example_is_typed(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    text = EXAMPLE.read_text(encoding="utf-8")
    wrong.write_text(text.replace("event.course_id", "event.grade"), encoding="utf-8")
    another = tmp_path / "another.py"
    other = "from domain.learners.user import UserRegistered\n\n"
    another.write_text(
        other + text.replace("on(CoursePassedFirstTime)", "on(UserRegistered)"), encoding="utf-8"
    )
    found = checked(EXAMPLE, wrong, another).splitlines()
    errors = [line for line in found if ": error: " in line and not line.startswith("consumers/")]
    first, second = sorted(errors, key=lambda line: Path(line.partition(":")[0]).name)
    assert "another.py" in first
    assert "RecordedEvent[UserRegistered]" in first
    assert "wrong.py" in second
    assert '"CoursePassedFirstTime" has no attribute "grade"' in second
