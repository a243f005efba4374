"""An installation of this process, on a database of the test's own."""

from tests.acceptance.conftest import gradelog

__all__ = ["gradelog"]
