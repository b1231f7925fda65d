"""The one day by which it is told who is over 89: in rules, rewriting and columns alike.

A run has `deid.as_of`, else the day on which it began, which its job keeps; so what is removed does not depend on when a worker does it, or on
whether the run was resumed. The age at disclosure is what counts (45 CFR 164.514(b)(2)(i)(C)), so a record from before that day is taken by
it; one that is dated after it is taken by its own date.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nosology.config import DeidConfig


def day_of(config: DeidConfig) -> datetime.date:
    """`deid.as_of`, else today (UTC)."""
    return config.as_of or datetime.datetime.now(datetime.UTC).date()


def on_its_day(config: DeidConfig, day: str | None = None) -> DeidConfig:
    """The section with its day written in.

    Args:
        day: ISO 8601, of a run that has begun; it counts where the section names none.
    """
    held = datetime.date.fromisoformat(day) if day and config.as_of is None else day_of(config)
    return config.model_copy(update={"as_of": held})


def told_on(config: DeidConfig, *dates: datetime.date | None) -> datetime.date:
    """The latest of the run's day and the dates of a record."""
    return max((day_of(config), *(date for date in dates if date is not None)), key=datetime.date.toordinal)
