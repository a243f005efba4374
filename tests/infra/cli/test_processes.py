"""Processes that are told to end."""

import subprocess
import sys

import pytest

from tests.infra.cli.support import PATIENCE, ROOT

TOLD_WHILE_IT_HOLDS_A_LOCK = """
import os, signal, sys, threading
from infra.cli.processes import on_signals

lock, told = threading.Lock(), threading.Event()

def end():
    with lock:
        told.set()

on_signals(end)
with lock:
    os.kill(os.getpid(), getattr(signal, sys.argv[1]))
told.wait()
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_ends_a_process_whatever_its_main_thread_holds(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TOLD_WHILE_IT_HOLDS_A_LOCK, name],
        cwd=ROOT,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0
