"""Labelled query sets: reading, checking, importing, submission files."""
