"""The foundation document: configs, states, capabilities and metrics of agents."""

from typing import Final

from tests.seeds.walk import Document, Walk

foundation = Document("foundation")
AS: Final = "agents/notes/as/foundation"
CAPABILITIES: Final = "agents/notes/capabilities"


@foundation("each agent can have multiple capability versions", lives="agent_capabilities")
async def a_pre_release_is_enabled_only_when_it_is_asked_for(walk: Walk) -> None:
    await walk.put(f"{CAPABILITIES}/file.read/1.0.0", {})
    assert not (await walk.put(f"{CAPABILITIES}/file.read/2.0.0-beta.1", {}))["capability"]["enabled"]
    assert (await walk.put(f"{CAPABILITIES}/file.read/1.1.0", {}))["disabled"] == "1.0.0"
    asked = await walk.put(f"{CAPABILITIES}/file.read/2.0.0-beta.2", {"enabled": True})
    assert asked["disabled"] == "1.1.0"


@foundation("capability_name String(255), capability_version String(50)", lives="agent_capabilities")
async def names_and_versions_of_capabilities_have_the_lengths_of_the_document(walk: Walk) -> None:
    await walk.put(f"{CAPABILITIES}/{'c' * 255}/1.0.0", {})
    await walk.refused("PUT", f"{CAPABILITIES}/{'c' * 256}/1.0.0", {}, status=422, says="1 to 255 letters")
    long = "1.0.0-" + "a" * 45
    await walk.refused("PUT", f"{CAPABILITIES}/c/{long}", {}, status=422, says="is no version")
