"""Counts requests where their line in the log is made, so that whoever wants no metrics has nothing in the way."""

from __future__ import annotations

from bisect import bisect_left
from typing import IO

from sirrd.log import Format, RequestLine, RequestLog
from sirrd.measures import SECONDS, Histogram, Measures


class MeasuredLog(RequestLog):
    """A log of requests that counts them, whether or not it is enabled."""

    def __init__(self, form: Format, stream: IO[str], *, enabled: bool, measures: Measures) -> None:
        super().__init__(form, stream, enabled=enabled)
        self._requests = measures.requests
        self._add = super().add

    def add(self, line: RequestLine, *, at: int) -> None:
        """See `RequestLog.add`. Method, route and status come from closed sets, so the table has a bound."""
        kind, seconds = line[:3], line[3]
        took = self._requests.get(kind)
        if took is None:
            took = self._requests[kind] = Histogram()
        # As `Histogram.observe` does, without the call: every request passes here.
        took.counts[bisect_left(SECONDS, seconds)] += 1
        took.sum += seconds
        self._add(line, at=at)
