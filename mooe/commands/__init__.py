"""Verbs of the console script `mooe`, a module each."""
