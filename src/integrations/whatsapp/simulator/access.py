"""The access token of the simulated account: whether it lets in, what it permits, and what Meta says of it.

https://developers.facebook.com/docs/graph-api/reference/debug_token
"""

from aiohttp import web

from integrations.simulating.company import Json
from integrations.whatsapp.simulator.account import Account
from integrations.whatsapp.simulator.conditions import Conditions, Permission
from integrations.whatsapp.simulator.errors import MetaError

_EXPIRED = "Error validating access token: Session has expired."
_WITHDRAWN = "Error validating access token: The session has been invalidated."
_NOT_OURS = "Invalid OAuth access token - Cannot parse access token"
_PROOF_WRONG = "Invalid appsecret_proof provided in the API argument"
_PROOF_NEEDED = "API calls from the server require an appsecret_proof argument"


def token_refusal(
    account: Account, conditions: Conditions, request: web.Request, permission: Permission | None
) -> MetaError | None:
    """Why a request is not let in, if it is not."""
    if not account.admits(request.headers.get("Authorization", "")):
        return MetaError(190, text=_NOT_OURS)
    if conditions.token == "expired":  # noqa: S105
        return MetaError(190, subcode=463, text=_EXPIRED)
    if conditions.token == "withdrawn":  # noqa: S105
        return MetaError(190, subcode=460, text=_WITHDRAWN)
    proof = request.query.get("appsecret_proof")
    if proof is not None and not account.is_proof(proof):
        return MetaError(100, text=_PROOF_WRONG)
    if proof is None and conditions.requires_proof:
        return MetaError(100, text=_PROOF_NEEDED)
    if permission is not None and permission not in conditions.permissions:
        code = 10 if permission is Permission.SEND else 200
        return MetaError(code, f"Requires {permission}", text="Application does not have permission for this action")
    return None


def token_shown(account: Account, conditions: Conditions, given: str) -> Json:
    """What Meta says of a token."""
    if given != account.token:
        error = {"code": 190, "message": _NOT_OURS}
        return {"data": {"error": error, "is_valid": False, "scopes": []}}
    return {
        "data": {
            "app_id": "300000000000003",
            "type": "SYSTEM_USER",
            "application": "Simulated app",
            "expires_at": 0,
            "is_valid": conditions.token == "valid",  # noqa: S105
            "scopes": list(conditions.permissions),
        }
    }
