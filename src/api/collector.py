"""The collector of unreachable objects, told what a long-lived process knows: what its start made stays."""

import gc

_THRESHOLDS = 20_000, 20, 20
"""So many more objects made than freed before it looks at the young ones; by custom it is 700, 10, 10."""


def settle_collector() -> None:
    """Collect once, let it look no more at what is there now, and at anything new more seldom.

    A worker holds hundreds of thousands of objects that came with its modules. Looking through them for what a few
    hundred messages have left behind costs more than the messages.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
