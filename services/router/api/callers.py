"""Who calls, and what they may do at all."""

from dataclasses import dataclass
from uuid import UUID

from services.router.api.problems import Problem
from services.router.domain.roles import Scope

# What the ids of callers begin with who came with a token of the OpenID issuer.
ISSUED = "oidc:"


@dataclass(frozen=True, slots=True)
class Caller:
    """`id` is for their bucket and their Idempotency-Keys; `actor` is what history calls them."""

    id: str
    actor: str
    role: str
    brands: tuple[UUID, ...]
    scopes: frozenset[Scope]
    agent_id: UUID | None = None
    is_development: bool = False

    @property
    def agent(self) -> UUID:
        """Raises Problem 403 for a caller who is not an agent."""
        if self.agent_id is None:
            raise Problem(403, "not_an_agent", "Only an agent can do this")
        return self.agent_id

    @property
    def is_issued(self) -> bool:
        return self.id.startswith(ISSUED)

    @property
    def leads(self) -> bool:
        return self.role in ("supervisor", "admin")
