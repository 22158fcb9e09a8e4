"""Decisions as pure functions: no await, no I/O, `now` is an argument."""
