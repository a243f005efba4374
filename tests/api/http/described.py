"""Cases for schemathesis, thought out for one path after the other."""

from collections.abc import Mapping
from typing import Any

import pytest
import schemathesis


def cases_of(document: Mapping[str, Any]) -> Any:
    """A fixture with what an OpenAPI document says of one path; whoever uses it runs for each.

    To think out the cases takes long. As parameters of a test they would be thought out when
    tests are collected, for all paths, by every worker, and kept.
    """

    @pytest.fixture(params=document["paths"])
    def described(request: pytest.FixtureRequest) -> Any:
        request.node._nodeid = request.node.nodeid  # where schemathesis looks for it
        path = {request.param: document["paths"][request.param]}
        return schemathesis.openapi.from_dict({**document, "paths": path})

    return described
