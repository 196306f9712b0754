"""How a long-lived process configures the garbage collector."""

import gc

from api.process import tune_garbage_collector


def test_what_is_there_is_looked_at_no_more_and_what_is_new_still_is() -> None:
    usual = gc.get_threshold()
    settled = [[number] for number in range(100)]
    try:
        gc.set_threshold(700, 10, 10)
        tune_garbage_collector()
        assert gc.get_freeze_count() >= len(settled)
        assert gc.get_threshold()[0] > 700
        circle: list[object] = []
        circle.append(circle)
        del circle
        assert gc.collect() >= 1
    finally:
        gc.unfreeze()
        gc.set_threshold(*usual)
