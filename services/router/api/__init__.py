"""Every route of agent frontends."""
