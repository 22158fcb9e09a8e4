"""The stand-in of a mail provider: a submission server, a mail store that mail programs can open, and their control."""
