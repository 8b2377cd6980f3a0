"""Templates: what agents of one kind have in common."""

from typing import Annotated

from fastapi import Body, Path, Query, Response

from hub.api.deps import Actor, Hub, NounRouter
from hub.api.errors import refusals
from hub.api.etags import Match, tag_of
from hub.api.paging import Paging
from hub.api.views.templates import TemplateView, VerdictView
from hub.api.views.view import View
from hub.settings.template_settings import TemplateTable
from protocol.errors import ErrorCode

router = NounRouter(prefix="/v1/templates", tags=["agents"], responses=refusals(ErrorCode.UNKNOWN_TEMPLATE))

TemplateName = Annotated[str, Path(pattern=r"^\w[\w.-]{0,63}$")]


class Templates(View):
    """Some templates."""

    templates: tuple[TemplateView, ...]
    next_cursor: str | None = None


@router.get("")
async def list_templates(hub: Hub, paging: Paging) -> Templates:
    """All templates, by name."""
    page = paging.cut(await hub.templates.all(), key=lambda template: (template.name, template.name))
    return Templates(templates=page.items, next_cursor=page.next_cursor)


@router.get("/{name}")
async def get_template(hub: Hub, name: TemplateName, match: Match) -> TemplateView:
    """One template, and the names of the agents that are made from it."""
    template = await hub.templates.get(name)
    match.tell(_tag(template))
    return template


@router.put(
    "/{name}",
    responses={
        201: {"model": TemplateView, "description": "It is new."},
        **refusals(ErrorCode.MANAGED_BY_FILE, ErrorCode.BAD_CONFIG, ErrorCode.LIMIT_REACHED),
    },
)
async def put_template(
    hub: Hub,
    actor: Actor,
    name: TemplateName,
    table: TemplateTable,
    match: Match,
    response: Response,
    force: Annotated[bool, Query(description="Agents that it breaks are put in error.")] = False,
) -> TemplateView:
    """Write a template, a new one or in place of the one of that name.

    It is judged for every agent that is made from it. One that some agent would not survive is
    refused, and each agent named.
    """
    version = None
    if match.is_asked:
        before = await hub.templates.get(name)
        match.check(_tag(before))
        version = before.version
    template, is_new = await hub.templates.put(name, table, force=force, version=version, actor=actor)
    if is_new:
        response.status_code = 201
        response.headers["location"] = f"/v1/templates/{name}"
    match.tell(_tag(template))
    return template


@router.delete("/{name}", responses=refusals(ErrorCode.MANAGED_BY_FILE, ErrorCode.TEMPLATE_IN_USE))
async def remove_template(hub: Hub, actor: Actor, name: TemplateName, match: Match) -> TemplateView:
    """Remove a template that no agent is made from."""
    if match.is_asked:
        match.check(_tag(await hub.templates.get(name)))
    return await hub.templates.remove(name, actor=actor)


@router.post("/{name}/validate")
async def validate_template(
    hub: Hub, name: TemplateName, table: Annotated[TemplateTable | None, Body()] = None
) -> VerdictView:
    """What would come of writing this template; without a body, of the one that is kept. Writes nothing."""
    return await hub.templates.validate(name, table)


def _tag(template: TemplateView) -> str:
    return tag_of(template.name, template.version, template.source)
