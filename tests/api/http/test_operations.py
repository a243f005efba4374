"""Health, figures and the description, also when the database is away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from api.backend import Backend
from api.http.app import OPERATIONS, create_app
from api.http.config import HttpConfig
from infra.log.postgres_log import PostgresLog
from infra.main import backend
from infra.reads import PostgresReads
from infra.vault import Vault
from projections.registry import READ_MODELS
from tests.api.http.site import SECRET, Site, an_item


def test_a_process_that_answers_is_alive(site: Site) -> None:
    assert site.nobody.get("/health/live").json() == {"status": "ok"}


def test_readiness_tells_where_each_read_model_stands(site: Site) -> None:
    site.service.create(an_item())
    site.service.get("/score/", **an_item())
    before = site.head()
    ready = site.nobody.get("/health/ready")
    assert ready.status_code == 200
    document = ready.json()
    assert document["status"] == "ok"
    assert before <= document["head"] <= site.head()  # what others began may be graded meanwhile
    assert set(document["read_models"]) == {model.name for model in READ_MODELS}
    for model in READ_MODELS:
        state = document["read_models"][model.name]
        assert (state["state"], state["version"]) == ("serving", model.version)
        assert state["lag"] == document["head"] - state["position"]


def test_figures_speak_of_routes_never_of_people(site: Site) -> None:
    item = an_item()
    site.service.create(item)
    site.service.get("/score/", **item)
    site.nobody.send("GET", f"/nothing/{item['student_id']}")
    answer = site.nobody.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain")
    text = answer.text
    assert (
        'gradelog_http_requests_total{method="POST",route="/api/submissions/v1/submissions/"'
        in (text)
    )
    assert "gradelog_http_request_seconds_bucket" in text
    assert "gradelog_appender_events_total" in text
    assert 'gradelog_read_model_lag{read_model="submissions"}' in text
    assert "gradelog_database_up 1.0" in text
    assert 'route="unknown"' in text
    assert item["student_id"] not in text
    assert item["course_id"] not in text


def test_the_description_needs_nothing_from_elsewhere(site: Site) -> None:
    page = site.nobody.get("/docs")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "src=" not in page.text
    assert "http://" not in page.text
    assert "https://" not in page.text
    for operation in OPERATIONS:
        assert f"id='{operation.operation_id}'" in page.text


def test_without_a_database_the_answer_is_503_and_tells_no_secrets() -> None:
    dsn = "postgresql://someone:secret@127.0.0.1:1/nothing"

    @asynccontextmanager
    async def open_backend() -> AsyncIterator[Backend]:
        log, vault = PostgresLog(dsn, timeout=0.3), Vault(dsn, timeout=0.3)
        reads = PostgresReads(dsn, wait=0.3)
        async with backend(dsn, log, vault, reads) as made:
            yield made

    async def ask() -> None:
        app = create_app(open_backend, HttpConfig(jwt_secret=SECRET))
        transport = httpx.ASGITransport(app)
        site = Site("", "http://gradelog", app.state.config, httpx.Client()).service
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://gradelog") as client,
        ):
            live = await client.get("/health/live")
            assert live.status_code == 200
            ready = await client.get("/health/ready")
            assert ready.status_code == 503
            assert ready.json() == {"status": "unavailable", "head": None, "read_models": {}}
            figures = await client.get("/metrics")
            assert "gradelog_database_up 0.0" in figures.text
            body = {"student_item": an_item(), "answer": 1}
            prefix = "/api/submissions/v1"
            for answer in (
                await client.post(f"{prefix}/submissions/", json=body, headers=site.headers),
                await client.get(f"{prefix}/score/", params=an_item(), headers=site.headers),
            ):
                assert answer.status_code == 503
                assert answer.headers["Retry-After"] == "1"
                assert answer.json()["type"].endswith("UnavailableError")
                for secret in ("someone", "secret", "127.0.0.1", "Traceback"):
                    assert secret not in answer.text
        site.client.close()

    asyncio.run(ask())
