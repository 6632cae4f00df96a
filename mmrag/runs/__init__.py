"""Runs: what configurations ranked, kept, compared and handed on."""
