"""What the tests of files of grades share: uploading one, and reading one."""

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

import httpx

from tests.api.http.grades.classroom import Caller

BULK = "/api/bulk_grades/course"


def send(caller: Caller, method: str, part: str = "", **more: Any) -> httpx.Response:
    """Send something, as of everything that was written and what follows from it."""
    applied = {"X-Min-Log-Position": str(caller.site.head())}
    headers = {**caller.site.headers, **applied, **more.pop("headers", {})}
    course_id = more.pop("course_id", caller.room.course_id)
    url = f"{caller.site.url}{BULK}/{course_id}/{part}"
    return caller.site.client.request(method, url, headers=headers, **more)


def get(caller: Caller, part: str = "", **parameters: Any) -> httpx.Response:
    """Ask for something."""
    return send(caller, "GET", part, params=parameters or None)


def upload(
    caller: Caller, content: str | bytes, name: str = "grades.csv", **more: Any
) -> httpx.Response:
    raw = content.encode() if isinstance(content, str) else content
    return send(caller, "POST", files={"csv": (name, raw, "text/csv")}, **more)


def saved(caller: Caller, content: str | bytes, **more: Any) -> dict[str, Any]:
    """Upload a file that is answered."""
    response = upload(caller, content, **more)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def table(response: httpx.Response) -> list[dict[str, str]]:
    """The rows of a file."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(response.text, newline="")))


def header(response: httpx.Response) -> list[str]:
    return next(csv.reader(io.StringIO(response.text, newline="")))


def written(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as a file, with the columns of the first."""
    rows = list(rows)
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()
