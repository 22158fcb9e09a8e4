"""The configuration file: read with every mistake named by its line, compared with the database, and applied.

The file holds clients, brands, accounts, inboxes, agents, pools, plans, calendars, policies, webhooks and API keys,
each under a handle.
Ids derive from handles, so applying the same file again changes nothing, in any database.
"""

from services.router.configuration.changes import apply, diff
from services.router.configuration.errors import ConfigurationError
from services.router.configuration.forms import Account, Wanted
from services.router.configuration.reading import load

__all__ = ["Account", "ConfigurationError", "Wanted", "apply", "diff", "load"]
