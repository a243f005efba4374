"""Courses over HTTP, from a body or an archive to the events, and back as an outline."""

import io
import json
import tarfile
import zlib
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.api.http.site import Site

COURSES = "/api/courses/v1/courses/"


def a_course(site: Site) -> tuple[Site, str]:
    """Somebody who may publish, and a course that nobody has used before."""
    lms = site.as_("lms", scopes=["courses:write"])
    return lms, f"course-v1:Demo+{uuid4().hex[:8]}+2026"


def a_body(**fields: Any) -> dict[str, Any]:
    return {
        "display_name": "Drawing",
        "start": "2026-03-01T00:00:00Z",
        "outline": [
            {
                "id": "week",
                "display_name": "Week",
                "children": [
                    {
                        "id": "homework",
                        "graded": True,
                        "format": "Homework",
                        "children": [
                            {
                                "id": "unit",
                                "children": [
                                    {
                                        "id": "sums",
                                        "type": "problem",
                                        "max_score": 4,
                                        "data": "<problem/>",
                                        "group_access": {"50": [1]},
                                    },
                                    {"id": "notes", "type": "html", "visible_to_staff_only": True},
                                ],
                            }
                        ],
                    }
                ],
            }
        ],
        "grading_policy": {
            "graders": [
                {
                    "type": "Homework",
                    "short_label": "HW",
                    "min_count": 1,
                    "drop_count": 0,
                    "weight": 1.0,
                }
            ],
            "grade_cutoffs": {"Pass": 0.5},
        },
        **fields,
    }


def call(site: Site, method: str, path: str = "", **more: Any) -> httpx.Response:
    headers = {**site.headers, **more.pop("headers", {})}
    return site.client.request(method, site.url + COURSES + path, headers=headers, **more)


def put(site: Site, course_id: str, body: Any) -> httpx.Response:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return call(
        site, "PUT", course_id + "/", content=raw, headers={"Content-Type": "application/json"}
    )


def get(site: Site, path: str, **query: Any) -> httpx.Response:
    """Ask for something, as of the last position of the log, however long that takes."""
    position = {"X-Min-Log-Position": str(site.head())}
    for _ in range(60):  # the server waits only so long each time
        response = call(site, "GET", path, params=query, headers=position)
        if response.status_code != 503:
            break
    return response


def types(site: Site, after: int) -> list[str]:
    return [type_ for type_, _, _ in site.events(after)]


def places(response: httpx.Response) -> list[tuple[Any, ...]]:
    assert response.status_code == 400, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    return [(*error["loc"], error["type"]) for error in response.json()["errors"]]


# --- publishing -------------------------------------------------------------------------------


def test_a_course_is_published_in_one_append(site: Site) -> None:
    lms, course_id = a_course(site)
    before = site.head()
    response = put(lms, course_id, a_body(flags={"bulk_management": True}))
    assert response.status_code == 201
    assert response.headers["X-Log-Position"] == str(site.head())
    answer = response.json()
    assert answer["course_id"] == course_id
    assert answer["changed"] == ["registered", "flags", "outline", "grading_policy"]
    events = site.events(before)
    assert [type_ for type_, _, _ in events] == [
        "courses.CourseRegistered",
        "courses.CourseFlagsChanged",
        "courses.CourseOutlinePublished",
        "courses.GradingPolicyChanged",
    ]
    assert {data["course_id"] for _, data, _ in events} == {course_id}
    assert {metadata["actor"] for _, _, metadata in events} == {"lms"}
    outline = events[2][1]
    assert outline["version"] == answer["version"]
    assert [block["type"] for block in outline["blocks"]] == [
        "course",
        "chapter",
        "sequential",
        "vertical",
        "problem",
        "html",
    ]
    assert events[0][1]["start"] == "2026-03-01T00:00:00Z"


def test_the_same_again_writes_nothing(site: Site) -> None:
    lms, course_id = a_course(site)
    first = put(lms, course_id, a_body(modes=[{"slug": "audit"}]))
    head = site.head()
    for body in (a_body(modes=[{"slug": "audit"}]), a_body(), a_body(grading_policy=None)):
        again = put(lms, course_id, body)
        assert (again.status_code, again.json()["changed"]) == (200, [])
        assert again.json()["version"] == first.json()["version"]
        assert again.headers["X-Log-Position"] == str(head)
    assert site.head() == head


def test_only_what_changed_is_written(site: Site) -> None:
    lms, course_id = a_course(site)
    put(lms, course_id, a_body())
    head = site.head()
    response = put(lms, course_id, a_body(display_name="Painting", end="2026-09-01T00:00:00Z"))
    assert response.json()["changed"] == ["details", "outline"]  # the course is its first block
    policy = a_body()["grading_policy"] | {"grade_cutoffs": {"A": 0.9, "B": 0.5}}
    response = put(
        lms,
        course_id,
        a_body(display_name="Painting", end="2026-09-01T00:00:00Z", grading_policy=policy),
    )
    assert response.json()["changed"] == ["grading_policy"]
    assert types(site, head) == [
        "courses.CourseDetailsChanged",
        "courses.CourseOutlinePublished",
        "courses.GradingPolicyChanged",
    ]


@pytest.mark.parametrize("form", ["raw", "escaped", "old", "branch"])
def test_keys_of_courses_come_in_several_forms(site: Site, form: str) -> None:
    lms, course_id = a_course(site)
    if form == "old":
        course_id = course_id.removeprefix("course-v1:").replace("+", "/")
    path = {
        "escaped": course_id.replace("+", "%2B").replace(":", "%3A"),
        "branch": course_id + "+branch@draft",
    }.get(form, course_id)
    assert put(lms, path, a_body()).json()["course_id"] == course_id
    assert get(lms, path + "/").json()["course_id"] == course_id


def test_ten_megabytes_are_a_course_too(site: Site) -> None:
    lms, course_id = a_course(site)
    leaves = [
        {"id": f"p{n}", "type": "problem", "max_score": 1, "data": "x" * 1000} for n in range(9000)
    ]
    body = a_body(
        outline=[
            {"id": "c", "children": [{"id": "s", "children": [{"id": "v", "children": leaves}]}]}
        ]
    )
    raw = json.dumps(body).encode()
    assert len(raw) > 9_000_000
    response = put(lms, course_id, raw)
    assert response.status_code == 201
    assert put(lms, course_id, raw).json()["changed"] == []
    before = int(response.headers["X-Log-Position"])
    position = call(lms, "GET", course_id + "/", params={"as_of_position": before})
    unit = position.json()["outline"][0]["children"][0]["children"][0]
    assert len(unit["children"]) == 9000


@pytest.mark.slow
def test_fifty_thousand_blocks_are_a_course_and_one_more_is_none(site: Site) -> None:
    lms, course_id = a_course(site)
    leaves = [{"id": f"p{n}", "type": "problem", "max_score": 1} for n in range(49_996)]
    unit = {"id": "v", "children": leaves}
    body = a_body(outline=[{"id": "c", "children": [{"id": "s", "children": [unit]}]}])
    assert put(lms, course_id, body).status_code == 201
    unit["children"] = [*leaves, {"id": "last", "type": "html"}]
    body = a_body(outline=[{"id": "c", "children": [{"id": "s", "children": [unit]}]}])
    assert places(put(lms, course_id, body)) == [("body", "outline", "too_long")]


# --- what is refused --------------------------------------------------------------------------


def test_everything_that_is_wrong_is_told_with_its_place(site: Site) -> None:
    lms, course_id = a_course(site)
    head = site.head()
    body = a_body(end="soon", flags={"fast": True}, modes=[{"slug": ""}])
    unit = body["outline"][0]["children"][0]["children"][0]
    sums = unit["children"][0]
    sums["weight"] = -1
    unit["children"] += [
        {"id": "sums", "type": "problem"},
        {"usage_key": "block-v1:Other+X+2026+type@html+block@x"},
        {"id": "deep", "type": "chapter"},
        {"type": "html"},
        "nothing",
    ]
    body["grading_policy"]["grade_cutoffs"]["Pass"] = 2
    above = ("body", "outline", 0, "children", 0, "children", 0, "children")
    assert set(places(put(lms, course_id, body))) == {
        ("body", "end", "datetime"),
        ("body", "flags", "fast", "unknown"),
        ("body", "modes", 0, "slug", "blank"),
        (*above, 0, "weight", "range"),
        (*above, 2, "usage_key", "duplicate"),
        (*above, 3, "usage_key", "foreign"),
        (*above, 4, "nesting"),
        (*above, 5, "usage_key", "required"),
        (*above, 6, "object_type"),
        ("body", "grading_policy", "grade_cutoffs", "Pass", "range"),
    }
    assert site.head() == head


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b"not json", ("body", 0, "json_invalid")),
        (b"[]", ("body", "object_type")),
        (b'{"display_name": "x"}', ("body", "outline", "required")),
        (b'{"display_name": "x", "outline": {}}', ("body", "outline", "list_type")),
        (b'{"display_name": " ", "outline": []}', ("body", "display_name", "blank")),
        (b'{"display_name": 5, "outline": []}', ("body", "display_name", "string_type")),
        (b'{"display_name": "x", "outline": [], "x": 1}', ("body", "x", "unknown")),
        (
            b'{"display_name": "x", "outline": [{"id": "a", "weight": NaN}]}',
            ("body", "json_invalid"),
        ),
        (
            b'{"display_name": "x", "outline": [{"id": "a", "weight": 1e999}]}',
            ("body", "outline", 0, "weight", "range"),
        ),
        (
            b'{"display_name": "x", "outline": [], "grading_policy": {"cutoffs": {}}}',
            ("body", "grading_policy", "cutoffs", "unknown"),
        ),
        (
            b'{"display_name": "x", "outline": [], "grading_policy": {"graders": []}}',
            ("body", "grading_policy", "grade_cutoffs", "required"),
        ),
        (
            b'{"display_name": "x", "outline": [], "grading_policy": []}',
            ("body", "grading_policy", "object_type"),
        ),
        (
            b'{"display_name": "x", "outline": '
            + b'[{"id": "a", "children": ' * 200
            + b"[]"
            + b"}]" * 200
            + b"}",
            ("body", "too_deep"),
        ),
    ],
)
def test_bodies_that_are_no_course_are_refused(
    site: Site, body: bytes, place: tuple[Any, ...]
) -> None:
    lms, course_id = a_course(site)
    head = site.head()
    assert place in places(put(lms, course_id, body))
    assert site.head() == head


def test_a_body_that_is_too_large_is_refused_whole(site: Site) -> None:
    lms, course_id = a_course(site)
    head = site.head()
    response = put(lms, course_id, b'{"display_name": "' + b"x" * (20 * 1024 * 1024) + b'"}')
    assert response.status_code == 413
    assert site.head() == head


def test_other_bodies_than_json_are_not_taken(site: Site) -> None:
    lms, course_id = a_course(site)
    response = call(lms, "PUT", course_id + "/", content=b"x", headers={"Content-Type": "text/xml"})
    assert response.status_code == 415


@pytest.mark.parametrize("course_id", ["foo+bar+baz", "library-v1:A+B", "course-v1:A+B", "A"])
def test_a_path_without_a_key_is_refused(site: Site, course_id: str) -> None:
    lms, _ = a_course(site)
    assert places(put(lms, course_id, a_body())) == [("path", "course_id", "key")]
    assert places(get(lms, course_id + "/")) == [("path", "course_id", "key")]


# --- rights -----------------------------------------------------------------------------------


def test_only_global_staff_and_services_with_the_scope_publish(site: Site) -> None:
    _, course_id = a_course(site)
    head = site.head()
    refused = [
        site.as_("anna"),
        site.service,
        site.as_("ben", course_roles={"staff": [course_id], "instructor": [course_id]}),
    ]
    for caller in refused:
        assert put(caller, course_id, a_body()).status_code == 403
        assert upload(caller, course_id).status_code == 403
    assert put(site.nobody, course_id, a_body()).status_code == 401
    assert site.head() == head
    assert put(site.as_("root", staff=True), course_id, a_body()).status_code == 201


def test_learners_do_not_see_what_is_for_staff(site: Site) -> None:
    lms, course_id = a_course(site)
    put(lms, course_id, a_body())

    def leaves(caller: Site) -> list[Any]:
        document = get(caller, course_id + "/").json()
        seen = document["outline"][0]["children"][0]["children"][0]["children"]
        return [document["grading_policy"] is None, document["flags"] is None, seen]

    hidden, no_flags, seen = leaves(site.as_("anna"))
    assert hidden
    assert no_flags
    assert [block["display_name"] for block in seen] == ["sums"]
    assert not {"data", "group_access"} & seen[0].keys()
    for caller in (
        lms,
        site.as_("root", staff=True),
        site.as_("ben", course_roles={"staff": [course_id]}),
    ):
        hidden, no_flags, seen = leaves(caller)
        assert not hidden
        assert not no_flags
        assert [block["display_name"] for block in seen] == ["sums", "notes"]
        assert seen[0]["data"] == "<problem/>"


def test_what_is_recorded_of_people_counts_like_their_tokens(site: Site) -> None:
    _, course_id = a_course(site)
    mark, root = uuid4().hex[:8], site.as_("root", staff=True)
    for name, is_staff in ((f"chief-{mark}", True), (f"helper-{mark}", False)):
        user = {"email": f"{name}@example.org", "is_staff": is_staff}
        path = f"{site.url}/api/users/v1/users/{name}/"
        site.client.put(path, json=user, headers=root.headers).raise_for_status()
    assert get(root, "").status_code == 200  # by then they are known
    assert put(site.as_(f"helper-{mark}"), course_id, a_body()).status_code == 403
    assert put(site.as_(f"chief-{mark}"), course_id, a_body()).status_code == 201
    helper = site.as_(f"helper-{mark}")
    assert get(helper, course_id + "/").json()["flags"] is None
    role = call(root, "PUT", f"{course_id}/roles/staff/helper-{mark}/")
    assert role.is_success, role.text
    assert get(helper, course_id + "/").json()["flags"] is not None
    assert put(helper, course_id, a_body()).status_code == 403


# --- reading ----------------------------------------------------------------------------------


def test_a_course_is_shown_as_it_was_published(site: Site) -> None:
    lms, course_id = a_course(site)
    published = put(lms, course_id, a_body()).json()
    response = get(lms, course_id + "/")
    document = response.json()
    assert int(response.headers["X-Log-Position"]) >= site.head()
    assert document["version"] == published["version"]
    assert document["org"] == "Demo"
    assert document["start"] == "2026-03-01T00:00:00.000000Z"
    assert document["modes"] == [{"slug": "audit", "name": "Audit", "expired_at": None}]
    assert document["flags"]["writable_gradebook"] is True
    policy = document["grading_policy"]
    assert policy["graders"] == a_body()["grading_policy"]["graders"]
    assert (policy["grade_cutoffs"], policy["is_default"]) == ({"Pass": 0.5}, False)
    homework = document["outline"][0]["children"][0]
    assert (homework["graded"], homework["format"]) == (True, "Homework")
    again = put(lms, course_id, a_body(outline=document["outline"]))
    assert again.json()["changed"] == []
    tag = {"If-None-Match": response.headers["ETag"]}
    assert call(lms, "GET", course_id + "/", headers=tag).status_code == 304


def test_a_course_without_a_policy_has_the_default_one(site: Site) -> None:
    lms, course_id = a_course(site)
    put(lms, course_id, a_body(grading_policy=None))
    policy = get(lms, course_id + "/").json()["grading_policy"]
    assert policy["is_default"] is True
    assert [grader["type"] for grader in policy["graders"]][:2] == ["Homework", "Lab"]


def test_the_past_of_a_course_can_be_asked_for(site: Site) -> None:
    lms, course_id = a_course(site)
    before = site.head()
    first = int(put(lms, course_id, a_body()).headers["X-Log-Position"])
    put(
        lms, course_id, a_body(display_name="Painting", outline=[], flags={"bulk_management": True})
    )
    then, now = get(lms, course_id + "/", as_of_position=first), get(lms, course_id + "/")
    assert then.headers["X-Log-Position"] == str(first)
    assert (then.json()["display_name"], now.json()["display_name"]) == ("Drawing", "Painting")
    assert (len(then.json()["outline"]), now.json()["outline"]) == (1, [])
    assert then.json()["flags"]["bulk_management"] is False
    assert now.json()["flags"]["bulk_management"] is True
    latest = get(lms, course_id + "/", as_of_position=site.head())
    assert latest.json() == now.json()
    assert get(lms, course_id + "/", as_of_position=before).status_code == 404
    assert get(lms, course_id + "/", as_of="2001-01-01").status_code == 404


def test_an_unknown_course_is_not_there(site: Site) -> None:
    lms, course_id = a_course(site)
    response = get(lms, course_id + "/")
    assert response.status_code == 404
    assert response.json()["type"].endswith("CourseNotFoundError")


def test_courses_are_listed_in_pages(site: Site) -> None:
    mark = uuid4().hex[:8]
    lms = site.as_("lms", scopes=["courses:write"])
    ids = [f"course-v1:AAA{mark}+C{n}+2026" for n in range(3)]
    for course_id in reversed(ids):
        put(lms, course_id, a_body(outline=[]))
    seen: list[str] = []
    page = get(site.as_("anna"), "", page_size=2).json()
    while page["next"]:
        seen += [entry["course_id"] for entry in page["results"]]
        page = site.client.get(page["next"], headers=lms.headers).json()
    seen += [entry["course_id"] for entry in page["results"]]
    assert seen == sorted(seen)
    assert [one for one in seen if one in ids] == ids
    assert len(set(seen)) == len(seen)


# --- importing --------------------------------------------------------------------------------


def an_archive(number: str) -> bytes:
    """A small course as Open edX exports it."""
    files = {
        "course.xml": f'<course url_name="2026" org="Demo" course="{number}"/>',
        "course/2026.xml": '<course display_name="Drawing"><chapter url_name="week"/></course>',
        "chapter/week.xml": '<chapter display_name="Week"><sequential url_name="hw"/></chapter>',
        "sequential/hw.xml": '<sequential display_name="Homework" graded="true" format="Homework">'
        '<vertical url_name="unit"/></sequential>',
        "vertical/unit.xml": '<vertical display_name="Unit"><problem url_name="sums"/></vertical>',
        "problem/sums.xml": '<problem display_name="Sums"><stringresponse answer="4"><textline/>'
        "</stringresponse></problem>",
        "policies/2026/grading_policy.json": json.dumps(
            {
                "GRADER": [{"type": "Homework", "min_count": 1, "drop_count": 0, "weight": 1.0}],
                "GRADE_CUTOFFS": {"Pass": 0.5},
            }
        ),
    }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"course/{name}")
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    return packed.getvalue()


def upload(
    site: Site,
    archived: str,
    data: bytes | None = None,
    *,
    field: str = "course",
    headers: Any = None,
    **fields: str,
) -> httpx.Response:
    content = an_archive(archived.split("+")[1]) if data is None else data
    files = {field: ("course.tar.gz", content, "application/gzip")}
    return call(site, "POST", "import/", files=files, data=fields, headers=headers or {})


@pytest.mark.parametrize("field", ["course", "file"])
def test_an_export_is_published(site: Site, field: str) -> None:
    lms, course_id = a_course(site)
    response = upload(lms, course_id, field=field)
    assert response.status_code == 201, response.text
    assert response.json()["course_id"] == course_id
    assert response.json()["changed"] == ["registered", "outline", "grading_policy"]
    assert isinstance(response.json()["report"], list)
    document = get(lms, course_id + "/").json()
    homework = document["outline"][0]["children"][0]
    assert (homework["display_name"], homework["graded"]) == ("Homework", True)
    assert homework["children"][0]["children"][0]["max_score"] == 1.0
    head = site.head()
    again = upload(lms, course_id)
    assert (again.status_code, again.json()["changed"]) == (200, [])
    assert site.head() == head


def test_an_export_is_published_under_another_key(site: Site) -> None:
    lms, course_id = a_course(site)
    _, other = a_course(site)
    response = upload(lms, course_id, course_id=other)
    assert (response.status_code, response.json()["course_id"]) == (201, other)


def test_an_import_is_carried_out_once_under_its_key(site: Site) -> None:
    lms, course_id = a_course(site)
    key = {"Idempotency-Key": uuid4().hex}
    archive = an_archive(course_id.split("+")[1])
    first = upload(lms, course_id, archive, headers=key)
    put(lms, course_id, a_body())  # the course moves on
    head = site.head()
    again = upload(lms, course_id, archive, headers=key)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert again.headers["X-Log-Position"] == first.headers["X-Log-Position"]
    assert site.head() == head
    _, other = a_course(site)
    assert upload(lms, other, headers=key).status_code == 422
    assert upload(lms, course_id, archive, course_id=other, headers=key).status_code == 422
    assert site.head() == head


def test_archives_that_hold_no_course_are_refused(site: Site) -> None:
    lms, course_id = a_course(site)
    head = site.head()
    for data in (b"", b"no archive", zlib.compress(b"x"), an_archive("x")[:100]):
        response = upload(lms, course_id, data)
        assert response.status_code == 400, response.text
        assert response.json()["type"].endswith("CourseImportError")
    assert upload(lms, course_id, course_id="nothing").status_code == 400
    assert site.head() == head


def test_forms_without_a_file_are_refused(site: Site) -> None:
    lms, course_id = a_course(site)
    assert places(upload(lms, course_id, field="archive"))[:2] == [
        ("body", "archive", "unknown"),
        ("body", "course", "required"),
    ]
    for content in (b"", b"--x\r\n", b"garbage", b"--x--\r\n"):
        response = call(
            lms,
            "POST",
            "import/",
            content=content,
            headers={"Content-Type": "multipart/form-data; boundary=x"},
        )
        assert response.status_code == 400, content
    headers = {"Content-Type": "multipart/form-data"}
    assert call(lms, "POST", "import/", content=b"x", headers=headers).status_code == 400
    headers = {"Content-Type": "application/gzip"}
    assert call(lms, "POST", "import/", content=b"x", headers=headers).status_code == 415
    files = [("course", ("a", b"x")), ("file", ("b", b"x"))]
    assert call(lms, "POST", "import/", files=files).status_code == 400


def test_an_archive_that_is_too_large_is_refused(site: Site) -> None:
    lms, _ = a_course(site)
    head = site.head()

    def chunks() -> Any:
        yield b'--x\r\nContent-Disposition: form-data; name="course"; filename="c"\r\n\r\n'
        for _ in range(66):
            yield b"x" * 1024 * 1024

    streamed = {**lms.headers, "Content-Type": "multipart/form-data; boundary=x"}
    response = lms.client.post(lms.url + COURSES + "import/", headers=streamed, content=chunks())
    assert response.status_code == 413
    assert site.head() == head
