"""Pages that people sign in with: plain forms, no scripts, nothing from anywhere else."""

import secrets
from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from starlette.responses import Response

from projections.gradebook.rows import UserRow

_STYLE: Final = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 10vh auto; max-width: 24rem; padding: 0 1rem; }
label, input { display: block; width: 100%; box-sizing: border-box; }
input { font: inherit; margin: .25rem 0 1rem; padding: .5rem; }
button { font: inherit; padding: .5rem 1rem; cursor: pointer; }
[role=alert] { border-left: .25rem solid #c33; padding-left: .75rem; }
ul { list-style: none; padding: 0; }
li button { display: block; margin-bottom: .25rem; text-align: left; width: 100%; }
small { opacity: .75; }
"""


def sign_in(
    site: str,
    *,
    csrf_token: str,
    next_url: str | None,
    message: str | None = None,
    username: str = "",
    choices: Sequence[UserRow] | None = None,
    note: str | None = None,
) -> str:
    """What somebody sees who is not signed in.

    Args:
        site: what this is called.
        csrf_token: for the forms.
        next_url: where to go afterwards.
        message: what went wrong before.
        username: as it was typed before.
        choices: in development, whom one may be at a click.
        note: further words.
    """
    hidden = _hidden(csrf_token=csrf_token, next=next_url)
    parts = [f"<h1>{escape(site)}</h1>"]
    if message:
        parts.append(f"<p role=alert>{escape(message)}</p>")
    parts.append(
        f"<form method=post action=login>{hidden}"
        "<label for=username>User name</label>"
        f"<input id=username name=username value='{escape(username)}' required maxlength=255"
        " autocomplete=username autocapitalize=none spellcheck=false autofocus>"
        "<label for=password>Password</label>"
        "<input id=password name=password type=password required maxlength=1000"
        " autocomplete=current-password>"
        "<button>Sign in</button></form>"
    )
    if note:
        parts.append(f"<p><small>{escape(note)}</small></p>")
    if choices is not None:
        parts.append("<h2>Development</h2><p>Be somebody at a click:</p>")
        parts.append(f"<form method=post action=login>{hidden}<ul>")
        parts += [
            f"<li><button name=as value='{escape(one.username)}'>{escape(one.username)}"
            f" <small>{escape(one.full_name or '')}{' (staff)' if one.is_staff else ''}</small>"
            "</button>"
            for one in choices
        ]
        parts.append("</ul></form>")
        if not choices:
            parts.append("<p>Nobody is registered yet: <code>gradelog user add NAME</code></p>")
    return "".join(parts)


def signed_in(site: str, username: str) -> str:
    """What somebody sees who is."""
    return (
        f"<h1>{escape(site)}</h1><p>You are signed in as <strong>{escape(username)}</strong>.</p>"
        "<form method=post action=logout><button>Sign out</button></form>"
    )


def signed_out(site: str) -> str:
    """What somebody sees who was."""
    return (
        f"<h1>{escape(site)}</h1><p>You are signed out.</p><p><a href=login>Sign in again</a></p>"
    )


def refused(site: str, message: str) -> str:
    """What is seen when nothing can be done here."""
    return f"<h1>{escape(site)}</h1><p role=alert>{escape(message)}</p>"


def page(
    title: str, body: str, *, status: int = 200, style: str = _STYLE, targets: Iterable[str] = ()
) -> Response:
    """A page whose only style is its own.

    Args:
        title: of the window, as text.
        body: as HTML.
        status: of the answer.
        style: as CSS.
        targets: origins of other sites that a form of this page may lead to.
    """
    nonce = secrets.token_urlsafe(16)
    allowed = " ".join(["'self'", *targets])
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; base-uri 'none'; frame-ancestors 'none';"
        f" form-action {allowed}"
    )
    document = (
        f"<!doctype html><html lang=en><head><meta charset=utf-8><title>{escape(title)}</title>"
        "<meta name=viewport content='width=device-width'>"
        f"<style nonce='{nonce}'>{style}</style></head><body>{body}</body></html>"
    )
    return Response(
        document.encode(errors="replace"),
        status,
        headers={
            "Cache-Control": "no-store",
            "Content-Security-Policy": policy,
            # Without this a browser hides from us that our own forms come from here.
            "Referrer-Policy": "same-origin",
        },
        media_type="text/html",
    )


def _hidden(**values: str | None) -> str:
    return "".join(
        f"<input type=hidden name={name} value='{escape(value)}'>"
        for name, value in values.items()
        if value is not None
    )
