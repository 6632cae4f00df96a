"""Labelled query sets, their formats, and how well rankings agree with them."""
