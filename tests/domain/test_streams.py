from uuid import UUID, uuid4, uuid5

from hypothesis import given, settings
from hypothesis import strategies as st

from domain.streams import deriving

NAMESPACE = UUID("6f0a1d0e-0c52-5a3e-9a6b-2f6c1f8a4d11")


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_an_id_is_the_one_that_the_standard_says(name: str) -> None:
    for namespace in (NAMESPACE, uuid4()):
        found = deriving(namespace)(name)
        expected = uuid5(namespace, name)
        assert found == expected
        assert hash(found) == hash(expected)
        assert (found.version, found.variant) == (expected.version, expected.variant)
