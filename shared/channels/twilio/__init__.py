"""Twilio: one signature, one API and one set of error codes below all of its products."""
