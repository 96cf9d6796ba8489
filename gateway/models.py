"""GET /v1/models: the served model, under its name and under the id that carries its weights' digest."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request

from gateway.auth import caller
from gateway.chat import served_model
from gateway.context import context_of
from gateway.model_client import ServedModel
from gateway.openapi import ERRORS
from storage.records import Key

router = APIRouter(prefix="/v1/models", tags=["models"], responses=ERRORS)


@router.get("")
async def list_models(request: Request, key: Key = Depends(caller)) -> dict[str, Any]:
    served = await context_of(request).model_client.model()
    names = dict.fromkeys((served.name, served.id))  # an upstream's model may have one name only
    return {"object": "list", "data": [described(served, name) for name in names]}


@router.get("/{name:path}")
async def retrieve_model(request: Request, name: str, key: Key = Depends(caller)) -> dict[str, Any]:
    return described(await served_model(context_of(request), name), name)


def described(served: ServedModel, name: str) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": 0,  # a checkpoint carries a digest and no date
        "owned_by": "countersign",
        "served_model": served.id,
        "context_length": served.context_length,
    }
