"""Readers and writers for checkpoint files."""
