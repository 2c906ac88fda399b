import os
import time

import pytest

from bench.processor_time import processor_seconds


def test_processor_time_counts_what_a_process_has_run() -> None:
    before, began = processor_seconds([os.getpid()]), time.process_time()
    while time.process_time() < began + 0.2:
        pass
    assert processor_seconds([os.getpid()]) - before == pytest.approx(0.2, abs=0.1)
