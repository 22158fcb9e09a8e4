"""Stand-ins for the vendors on loopback: their true wire formats, a record of what they got, misbehaviour on request.

Imports nothing of `shared.channels`, so that one misreading of a vendor's document cannot pass on both sides.
"""
