"""Metrics, their uncertainty, and paired differences."""
