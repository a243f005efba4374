"""How pages are made: templates that escape everything, and a policy that allows only our files.

Every page works without scripts. What there is of them, and all of the style, are files of
ours (``static/``), so nothing inside a page is ever run, whatever somebody got into it.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import Response

from api.http import cookies
from api.http.calls import Call
from api.http.pages.assets import ASSETS

HERE: Final = Path(__file__).parent
POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
WIDTHS: Final = 20
"""Steps in which bars grow: the style sheet has a class for each."""


def html(call: Call, template: str, *, status: int = 200, **values: Any) -> Response:
    """A page.

    Args:
        call: the request.
        template: name of a file.
        status: of the answer.
        values: what the template shows.
    """
    caller = getattr(call, "caller", None)  # missing while it is not known who calls
    base = cookies.base_of(call).path
    text = _TEMPLATES.get_template(template).render(
        site=call.config.site_name,
        base=base,
        home=path(call),
        assets={name: f"{base}{asset.address}" for name, asset in ASSETS.items()},
        username=None if caller is None else caller.username,
        **values,
    )
    return Response(
        text.encode(errors="replace"),
        status,
        headers={
            "Cache-Control": "private, no-store",
            "Content-Security-Policy": POLICY,
            # Without this a browser hides from us that our own forms come from here.
            "Referrer-Policy": "same-origin",
        },
        media_type="text/html",
    )


def macro(template: str, name: str) -> Callable[..., Markup]:
    """A part of a page, to be made again and again."""
    return cast(Callable[..., Markup], getattr(_TEMPLATES.get_template(template).module, name))


def path(call: Call, *parts: str) -> str:
    """The address of a page below ``/gradebook``, without the host."""
    escaped = "".join(f"{quote(part, safe=':+@/~')}/" for part in parts)
    return f"{cookies.base_of(call).path}/gradebook/{escaped}"


# --- how values are written -------------------------------------------------------------------


def percent(share: float | None) -> str:
    """A share as people read it: at most one decimal."""
    return "–" if share is None else f"{round(share * 100, 1):.12g}\u202f%"  # noqa: RUF001


def points(value: float | None) -> str:
    """Points without decimals that say nothing."""
    return "–" if value is None else f"{round(value, 2):.12g}"  # noqa: RUF001


def fraction(pair: Sequence[float | None] | None) -> str:
    """Points earned of those possible."""
    if pair is None or pair[0] is None:
        return "–"  # noqa: RUF001
    return f"{points(pair[0])} / {points(pair[1])}"


def moment(value: datetime) -> str:
    """A time for people; the zone is said, because the reader's is not known here."""
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def width(share: float | None) -> int:
    """How wide a bar is, in steps."""
    return round(max(0.0, min(1.0, share or 0.0)) * WIDTHS)


_TEMPLATES: Final = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
_TEMPLATES.filters.update(
    percent=percent, points=points, fraction=fraction, moment=moment, width=width
)
