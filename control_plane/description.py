"""The OpenAPI description of what brokers and operators ask, `docs/internal-api.json`.

    python -m control_plane.description > docs/internal-api.json

Made of the same types that the routes read and answer, so that it says what they do. Pure.
"""

from __future__ import annotations

import sys
from http import HTTPStatus
from typing import Any, Final

import msgspec

from contracts.grants import (
    Grant,
    GrantAnswers,
    GrantRequest,
    GrantRequests,
    Refused,
    Settlement,
    Settlements,
)
from contracts.policy import PolicySnapshot
from contracts.tools import Invocation, ToolAnswer
from control_plane.allowance import Allowance
from control_plane.routes.admin_limits import LimitChange
from control_plane.routes.admin_users import NewKey, NewUser, UserChange
from control_plane.routes.internal import LeaseIds, LostLeases
from control_plane.store.audit import Kept
from control_plane.store.export import SettledJob, UsageSum
from control_plane.store.keys import KeyRecord
from control_plane.store.logins import Login
from control_plane.store.users import User

BROKERS: Final = "/internal/v1"
ADMINS: Final = "/internal/v1/admin"
_REF: Final = "#/components/schemas/{name}"
_BODY: Final = (400, 413, 415)
_TEXT: Final = {"type": "string"}
_PAGE: Final = {"type": "integer", "minimum": 1, "maximum": 1000}


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One call. `answer`: a type, or members of an object by name, [type] is a list of it;
    None has no body. `refusals` beside 401 and 503; `query`: parameter -> schema."""

    method: str
    path: str
    summary: str
    body: Any = None
    answer: Any = None
    status: int = 200
    refusals: tuple[int, ...] = ()
    query: dict[str, Any] = {}


_MONTH: Final = {"type": "string", "pattern": "^[0-9]{4}-(0[1-9]|1[0-2])$"}
_OF_USER: Final = {"user": _TEXT}

CALLS: Final = (
    Call(
        method="POST", path=f"{BROKERS}/grants", summary="Leave to run a job",
        body=GrantRequest, answer=Grant, refusals=(*_BODY, 403, 404, 429),
    ),
    Call(
        method="POST", path=f"{BROKERS}/grants/batch", summary="The same for several jobs",
        body=GrantRequests, answer=GrantAnswers, refusals=_BODY,
    ),
    Call(
        method="POST", path=f"{BROKERS}/leases/renew", summary="Keep slots",
        body=LeaseIds, answer={"unknown": [str]}, refusals=_BODY,
    ),
    Call(
        method="POST", path=f"{BROKERS}/leases/acquire", summary="Take slots for running jobs",
        body=LostLeases, answer={"refused": [str]}, refusals=_BODY,
    ),
    Call(
        method="POST", path=f"{BROKERS}/leases/{{lease_id}}/renew", summary="Keep one slot",
        status=204, refusals=(404,),
    ),
    Call(
        method="POST", path=f"{BROKERS}/settlements", summary="The end of a job",
        body=Settlement, status=204, refusals=_BODY,
    ),
    Call(
        method="POST", path=f"{BROKERS}/settlements/batch", summary="The ends of several jobs",
        body=Settlements, answer=Refused, refusals=_BODY,
    ),
    Call(
        method="POST", path=f"{BROKERS}/tools/{{name}}/invoke", summary="Run a tool",
        body=Invocation, answer=ToolAnswer, refusals=(*_BODY, 404),
    ),
    Call(
        method="GET", path=f"{BROKERS}/policy", summary="What brokers decide with by themselves",
        answer=PolicySnapshot,
    ),
    Call(
        method="GET", path=f"{ADMINS}/users", summary="Every user", answer={"users": [User]}
    ),
    Call(
        method="POST", path=f"{ADMINS}/users", summary="A new user",
        body=NewUser, answer=User, status=201, refusals=_BODY,
    ),
    Call(
        method="GET", path=f"{ADMINS}/users/{{user}}", summary="One user",
        answer=User, refusals=(404,),
    ),
    Call(
        method="PATCH", path=f"{ADMINS}/users/{{user}}", summary="Another tier, password, state",
        body=UserChange, answer=User, refusals=(*_BODY, 404),
    ),
    Call(
        method="GET", path=f"{ADMINS}/users/{{user}}/keys", summary="A user's keys",
        answer={"keys": [KeyRecord]}, refusals=(404,),
    ),
    Call(
        method="POST", path=f"{ADMINS}/users/{{user}}/keys", summary="A new key, shown this once",
        body=NewKey, answer=KeyRecord, status=201, refusals=(*_BODY, 404),
    ),
    Call(
        method="DELETE", path=f"{ADMINS}/keys/{{key_id}}", summary="End a key",
        status=204, refusals=(404,),
    ),
    Call(
        method="GET", path=f"{ADMINS}/tiers", summary="Every tier and its limits",
        answer={"tiers": [Allowance]},
    ),
    Call(
        method="PATCH", path=f"{ADMINS}/tiers/{{tier}}", summary="Limits of a tier",
        body=LimitChange, answer=Allowance, refusals=_BODY,
    ),
    Call(
        method="GET", path=f"{ADMINS}/users/{{user}}/quota", summary="A user's limits, and taken",
        answer={"user_id": str, "limits": Allowance, "own": Allowance, "taken": dict[str, int]},
        refusals=(404,),
    ),
    Call(
        method="PATCH", path=f"{ADMINS}/users/{{user}}/quota", summary="A user's own limits",
        body=LimitChange,
        answer={"user_id": str, "limits": Allowance, "own": Allowance, "taken": dict[str, int]},
        refusals=(*_BODY, 404),
    ),
    Call(
        method="GET", path=f"{ADMINS}/usage", summary="Sums of a month",
        query=_OF_USER | {"month": _MONTH}, refusals=(400, 404),
        answer={"month": str, "usage": [UsageSum]},
    ),
    Call(
        method="GET", path=f"{ADMINS}/usage/jobs", summary="A month job by job",
        query=_OF_USER | {"month": _MONTH, "limit": _PAGE, "after": _TEXT}, refusals=(400, 404),
        answer={"month": str, "jobs": [SettledJob], "next": str | None},
    ),
    Call(
        method="GET", path=f"{ADMINS}/logins", summary="Browsers that are signed in",
        query=_OF_USER, answer={"logins": [Login]}, refusals=(404,),
    ),
    Call(
        method="DELETE", path=f"{ADMINS}/logins/{{login_id}}", summary="End a login",
        status=204, refusals=(404,),
    ),
    Call(
        method="DELETE", path=f"{ADMINS}/users/{{user}}/logins", summary="End all of a user's",
        answer={"ended": int}, refusals=(404,),
    ),
    Call(
        method="GET", path=f"{ADMINS}/audit", summary="Who did, or was refused, what",
        query={
            "limit": _PAGE, "before": {"type": "integer", "minimum": 1},
            "actor": _TEXT, "action": _TEXT,
        },
        answer={"audit": [Kept]}, refusals=(400,),
    ),
    Call(
        method="POST", path=f"{ADMINS}/signing-keys/reload", summary="Read the signing keys anew",
        answer={"signs": str, "accepted": [str], "token_ttl_s": float}, refusals=(400, 404),
    ),
)  # fmt: skip


def describe() -> dict[str, Any]:
    """The description, as JSON takes it."""
    kinds = {kind for call in CALLS for kind in _kinds(call)}
    ordered = sorted(kinds, key=lambda kind: str(kind))
    _, schemas = msgspec.json.schema_components(ordered, ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for call in CALLS:
        paths.setdefault(call.path, {})[call.method.lower()] = _operation(call)
    problem = {
        "type": "object",
        "required": ["type", "title", "status", "detail", "code"],
        "properties": {
            **dict.fromkeys(("type", "title", "detail", "code", "field"), _TEXT),
            "status": {"type": "integer"},
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "OKOME, internal",
            "version": "1",
            "description": "What brokers (service credential, or mutual TLS) and operators "
            "(credential `admin_key`) ask of the control plane. Never through the ingress.",
        },
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Problem": problem} | schemas,
        },
    }


def _kinds(call: Call) -> list[Any]:
    """The types whose schemas a call refers to."""
    members = list(call.answer.values()) if isinstance(call.answer, dict) else [call.answer]
    members = [member[0] if isinstance(member, list) else member for member in members]
    return [kind for kind in (*members, call.body) if _is_struct(kind)]


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _operation(call: Call) -> dict[str, Any]:
    names = [part[1:-1] for part in call.path.split("/") if part.startswith("{")]
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in names
    ] + [{"name": name, "in": "query", "schema": schema} for name, schema in call.query.items()]
    answer: dict[str, Any] = {"description": HTTPStatus(call.status).phrase}
    if call.answer is not None:
        answer["content"] = _json(_schema(call.answer))
    refusals = sorted({*call.refusals, 401, 503})
    found: dict[str, Any] = {
        "summary": call.summary,
        "responses": {str(call.status): answer} | {str(code): _refusal(code) for code in refusals},
    }
    if parameters:
        found["parameters"] = parameters
    if call.body is not None:
        found["requestBody"] = {"required": True, "content": _json(_schema(call.body))}
    return found


def _schema(kind: Any) -> dict[str, Any]:
    if isinstance(kind, dict):
        members = {name: _schema(member) for name, member in kind.items()}
        return {"type": "object", "required": list(kind), "properties": members}
    if isinstance(kind, list):
        return {"type": "array", "items": _schema(kind[0])}
    if _is_struct(kind):
        return {"$ref": _REF.format(name=kind.__name__)}
    return msgspec.json.schema(kind)


def _refusal(code: int) -> dict[str, Any]:
    schema = {"$ref": _REF.format(name="Problem")}
    content = {"application/problem+json": {"schema": schema}}
    return {"description": HTTPStatus(code).phrase, "content": content}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def rendered() -> str:
    """The document as text."""
    return msgspec.json.format(msgspec.json.encode(describe()), indent=2).decode() + "\n"


if __name__ == "__main__":
    sys.stdout.write(rendered())
