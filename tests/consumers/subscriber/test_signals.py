"""A subscriber that nobody handed an event ends when the system asks it to."""

import signal

import pytest

from consumers.subscriber.subscriber import _until_signalled


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_also_in_the_moment_in_which_it_begins_to_wait(
    number: signal.Signals,
) -> None:
    before = signal.getsignal(number)
    with _until_signalled() as stop:
        with stop._cond:  # as it does for that moment
            signal.raise_signal(number)
        assert stop.wait(60)
    assert signal.getsignal(number) is before
