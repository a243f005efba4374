"""The files that pages need besides themselves. Browsers keep them until they are others."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from starlette.responses import Response

from api.http.calls import Call
from api.http.responses import read
from api.http.routing import Answers, Operation, Parameter

VERSION: Final = "v"
FOREVER: Final = "public, max-age=31536000, immutable"
_HERE: Final = Path(__file__).parent / "static"


@dataclass(frozen=True, slots=True)
class Asset:
    """A file."""

    name: str
    media_type: str
    operation_id: str
    summary: str
    content: bytes
    version: str

    @property
    def path(self) -> str:
        """Where it is served."""
        return f"/static/{self.name}"

    @property
    def address(self) -> str:
        """The same for this very content."""
        return f"{self.path}?{VERSION}={self.version}"

    async def answer(self, call: Call) -> Response:
        """Send it, unless the browser has it."""
        asked = call.query().get(VERSION)
        response = read(self.content, 0, call.raw.get(b"if-none-match"))
        del response.headers["X-Log-Position"]
        response.headers["Cache-Control"] = FOREVER if asked == self.version else "no-cache"
        if response.status_code == 200:
            response.headers["Content-Type"] = self.media_type
        return response


def _asset(name: str, media_type: str, operation_id: str, summary: str) -> Asset:
    content = (_HERE / name).read_bytes()
    version = blake2b(content, digest_size=8).hexdigest()
    return Asset(name, media_type, operation_id, summary, content, version)


ASSETS: Final[Mapping[str, Asset]] = {
    "style": _asset("gradebook.css", "text/css; charset=utf-8", "getStyle", "The style of pages."),
    "script": _asset(
        "gradebook.js",
        "text/javascript; charset=utf-8",
        "getScript",
        "What makes pages handier and is not needed.",
    ),
    "icon": _asset("icon.svg", "image/svg+xml", "getIcon", "The sign of gradelog."),
}


def _operation(asset: Asset) -> Operation:
    media_type = asset.media_type.partition(";")[0]
    schema: Any = str
    return Operation(
        method="GET",
        path=asset.path,
        handler=asset.answer,
        operation_id=asset.operation_id,
        tag="pages",
        summary=asset.summary,
        public=True,
        parameters=(Parameter(VERSION, "Of the content; the right one is kept for a year."),),
        answers={
            200: Answers("The file.", schema, (media_type,), ("ETag",)),
            304: Answers("The file at hand is the same.", headers=("ETag",)),
        },
        problems=(400,),
    )


OPERATIONS: Final = tuple(_operation(asset) for asset in ASSETS.values())
