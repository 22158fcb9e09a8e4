"""How to come by a token, for whoever has none yet: the console asks this first."""

from fastapi import APIRouter

from services.router.api.context import Context
from services.router.api.documents import agents as d
from services.router.api.problems import unguarded

api = APIRouter(prefix="/v1", tags=["me"])


@api.get("/sign-in", response_model=d.SignInDocument, responses=unguarded(), operation_id="getSignIn")
async def get_sign_in(context: Context) -> d.SignInDocument:
    """Without a token, for it says nothing that a browser would not be told."""
    settings = context.settings
    openid = settings.oidc_issuer and d.OpenIdDocument(
        issuer=settings.oidc_issuer, client_id=settings.oidc_client_id, scopes=settings.oidc_scopes
    )
    return d.SignInDocument(development_tokens=settings.development_tokens, openid=openid or None)
