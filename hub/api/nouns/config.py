"""The settings: what they are, what they may be, and changing them."""

from typing import Annotated, Any

from fastapi import Header, Query, Response

from hub.api.deps import Actor, Caller, Hub, NounRouter
from hub.api.errors import refusals
from hub.api.views.config import ConfigCheckView, ConfigEdit, ConfigText, ConfigView, ReloadView
from hub.settings.schema import settings_schema
from protocol.errors import ErrorCode

router = NounRouter(prefix="/v1", tags=["settings"])


@router.get("/config")
async def get_config(hub: Hub, response: Response) -> ConfigView:
    """The settings in use, with the file's text and where each value was given."""
    response.headers["etag"] = hub.config.tag()
    return hub.config.get()


@router.patch("/config", responses=refusals(ErrorCode.BAD_SETTINGS))
async def edit_config(
    hub: Hub,
    caller: Caller,
    edit: ConfigEdit,
    response: Response,
    if_match: Annotated[
        str | None, Header(max_length=1_000, description="``ETag`` of the settings that were read.")
    ] = None,
) -> ReloadView:
    """Write into hub.toml and take it up; comments and order stay. What cannot be taken up is not written.

    A secret, a file or where the model is found is changed with all scopes of an admin only.
    """
    expected = None if if_match is None else tuple(tag.strip() for tag in if_match.split(","))
    done = await hub.config.edit(edit, expected=expected, by=caller)
    response.headers["etag"] = hub.config.tag()
    return done


@router.get("/config/schema")
async def get_config_schema() -> dict[str, Any]:
    """The JSON Schema of hub.toml."""
    return settings_schema()


@router.post("/config/check")
async def check_config(hub: Hub, caller: Caller, text: ConfigText) -> ConfigCheckView:
    """What would be wrong with a text, and what would change, if hub.toml said it. Changes nothing."""
    return await hub.config.check(text, by=caller)


@router.post("/reload", responses=refusals(ErrorCode.BAD_SETTINGS))
async def reload(
    hub: Hub,
    actor: Actor,
    response: Response,
    wait: Annotated[bool, Query(description="For a reload that is under way; else it is refused.")] = True,
) -> ReloadView:
    """Take up hub.toml as it is now, all or nothing."""
    done = await hub.config.reload(wait=wait, actor=actor)
    response.headers["etag"] = hub.config.tag()
    return done
