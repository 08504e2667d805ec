"""Cohorts larger than memory, on one machine or many."""
