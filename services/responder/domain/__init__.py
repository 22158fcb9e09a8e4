"""Delivery states and receipts as pure functions."""
