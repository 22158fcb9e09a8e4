"""Turns vendors' bytes into facts on the bus. Decides nothing."""
