"""Labelled query sets that ship with the project, and the programs that make them."""
