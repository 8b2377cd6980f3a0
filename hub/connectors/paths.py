"""Type of a path in JSON (``hub.connectors.sdk.json_paths``) in settings and manifests."""

from typing import Annotated

from pydantic import AfterValidator, StringConstraints

from hub.connectors.sdk.json_paths import steps_of

Path = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200),
    AfterValidator(lambda path: steps_of(path) and path),
]
