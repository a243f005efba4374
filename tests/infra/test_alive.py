"""Whether a process that was noted by its number still runs."""

import subprocess
import sys

from infra.alive import has_ended, serves
from tests.infra.cli.support import eventually, is_running

WORD = "a word of this test"
LARGE = "import sys; held = bytes(range(256)) * 2_000_000; print(flush=True); sys.stdin.read()"


def test_one_that_dies_has_not_ended_before_it_is_dead() -> None:
    # To let go of so much takes a while, in which it has no command line any more.
    with subprocess.Popen(
        [sys.executable, "-c", LARGE, WORD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as large:
        assert large.stdout is not None
        large.stdout.readline()
        assert serves(large.pid, WORD)
        assert not has_ended(large.pid, WORD)
        large.kill()
        eventually(lambda: has_ended(large.pid, WORD))
        assert not is_running(large.pid)


def test_a_number_that_somebody_else_has_now_is_of_one_that_ended() -> None:
    assert has_ended(1, WORD)
    assert has_ended(2, WORD)
