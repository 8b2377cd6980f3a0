"""``[model]``: what finds items in plain text."""

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from hub.ops.address import Address
from hub.ops.effect import REQUIRED, restart
from hub.ops.secret import SecretRef
from hub.ops.values import Flag, Seconds, Table, Whole, refusal


def _web_address(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise refusal("url", "not the address of a web service", hint='as in "https://host/v1"')
    return url


class ModelTuning(Table):
    """What both kinds of model can be told."""

    timeout_s: Seconds = restart(60.0, "The longest silence of the endpoint while it thinks.")
    concurrency: Whole = restart(8, "Questions at once, of all runs together.")
    chunk_tokens: Whole | None = restart(
        None, "How much text goes into one question; by default what suits the kind of model."
    )


class OpenAIModelSettings(ModelTuning):
    """``[model] kind = "openai"``: any endpoint that speaks that interface."""

    kind: Literal["openai"] = restart(REQUIRED, "An endpoint that speaks the interface of OpenAI.")
    base_url: Annotated[str, AfterValidator(_web_address)] = restart(REQUIRED, "Where the endpoint is.")
    name: Annotated[str, StringConstraints(min_length=1, max_length=200)] = restart(
        REQUIRED, "The model's name at its endpoint."
    )
    api_key: SecretRef | None = restart(None, "Where the key is found; none where none is needed.")
    insecure: Flag = restart(False, "Documents and key may cross the network unencrypted.")

    @model_validator(mode="after")
    def _is_encrypted_on_its_way(self) -> Self:
        parts = urlsplit(self.base_url)
        if parts.scheme == "http" and not Address(parts.hostname or "", 0).is_loopback and not self.insecure:
            raise refusal(
                "not_encrypted",
                "documents and key would cross the network unencrypted",
                key="base_url",
                hint="use https, or write insecure = true",
            )
        return self


class LocalModelSettings(ModelTuning):
    """``[model] kind = "local"``: the small model of the extra ``[local]``, served by the hub itself."""

    kind: Literal["local"] = restart(REQUIRED, "The small model on this machine, of the extra [local].")
    timeout_s: Seconds = restart(300.0, "The longest silence while it thinks: one thread is slow.")
    concurrency: Whole = restart(1, "Questions at once.")


ModelSettings = Annotated[OpenAIModelSettings | LocalModelSettings, Field(discriminator="kind")]
