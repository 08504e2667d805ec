"""Cohorts larger than memory, on one machine or many."""

from attrib.scale.cohort import cohort

__all__ = ["cohort"]
