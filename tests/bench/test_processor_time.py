import os
import subprocess
import sys
import time

import pytest

from bench.processor_time import children, processor_seconds


def test_processor_time_counts_what_a_process_has_run() -> None:
    before, began = processor_seconds([os.getpid()]), time.process_time()
    while time.process_time() < began + 0.2:
        pass
    assert processor_seconds([os.getpid()]) - before == pytest.approx(0.2, abs=0.1)


def test_work_of_less_than_a_tick_is_counted() -> None:
    for _ in range(20):
        before = processor_seconds([os.getpid()])
        sum(range(10_000))
        assert processor_seconds([os.getpid()]) > before


def test_a_process_that_does_not_run_has_no_processor_time() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    with pytest.raises(ProcessLookupError):
        processor_seconds([child.pid])


def test_the_children_of_a_process_are_those_that_it_started() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert child.pid in children(os.getpid())
        assert children(child.pid) == []
        child.communicate(b"\n")
    assert child.pid not in children(os.getpid())
