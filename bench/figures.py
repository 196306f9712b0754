"""Figures side by side: medians, the spread behind them, and the ratio that is worth reading."""

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Side:
    """One side's runs: messages a second, milliseconds of its process for each, and the tails where there are any."""

    name: str
    rates: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)
    halves: list[float] = field(default_factory=list)
    tails: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """The median."""
        return statistics.median(self.rates)

    def line(self) -> str:
        """Everything on one line."""
        spread = f"{min(self.rates):.0f} to {max(self.rates):.0f}"
        text = f"  {self.name:<24}{self.rate:7.0f} messages/s  ({spread:>14})"
        text += f"   {statistics.median(self.costs):5.2f} ms of its processor each"
        if self.tails:
            text += f"   p50 {median_ms(self.halves):4.0f} ms  p99 {median_ms(self.tails):4.0f} ms"
        return text


def median_ms(seconds: Sequence[float]) -> float:
    """The median in milliseconds."""
    return statistics.median(seconds) * 1000


def machine() -> str:
    """Where it ran, and how busy that was."""
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    return f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, load {load}"


def compare(ours: Side, peer: Side) -> None:
    """Print both and their ratio; the spread of the ratio is that of runs that followed each other."""
    pairs = [one / other for one, other in zip(ours.rates, peer.rates, strict=True)]
    print(ours.line())
    print(peer.line())
    text = f"  ours / peer             {ours.rate / peer.rate:7.2f}x  ({min(pairs):.2f} to {max(pairs):.2f} run by run)"
    if ours.tails:
        text += f"   p99 {statistics.median(ours.tails) / statistics.median(peer.tails):.2f}x"
    text += f"   processor {statistics.median(ours.costs) / statistics.median(peer.costs):.2f}x"
    print(text, flush=True)
