"""`dragoman demo`: customers write on every channel, simulated agents answer, and each promise is checked.

Uses the public API and the stand-ins' control alone, as any program beside Dragoman could.
"""
