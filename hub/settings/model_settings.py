"""``[model]``: model that extracts items from plain text; ``[[fallback_models]]``: its substitutes."""

from typing import Annotated, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from hub.outbound.rules import is_this_machine
from hub.settings.values import (
    REQUIRED,
    Address,
    Flag,
    Seconds,
    SecretRef,
    Table,
    Usd,
    Whole,
    live,
    refusal,
    restart,
    shaped,
)


def _web_address(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise refusal("url", "not the address of a web service", hint='as in "https://host/v1"')
    return url


class EndpointAccess(Table):
    """Settings of an endpoint with the interface of OpenAI."""

    base_url: Annotated[str, AfterValidator(_web_address), shaped(r"^https?://[^/ ]+", "https://host/v1")] = (
        live(REQUIRED, "URL of the endpoint.")
    )
    name: Annotated[str, StringConstraints(min_length=1, max_length=200)] = live(
        REQUIRED, "The model's name at its endpoint."
    )
    api_key: SecretRef | None = live(None, "API key, if the endpoint requires one.")
    insecure: Flag = live(False, "Allow sending documents and the key unencrypted over the network.")
    private: Flag = live(False, "People you trust run it, so agents with allow_cloud = false may use it.")

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

    @property
    def is_local(self) -> bool:
        """True if documents stay on the operator's machines."""
        return self.private or is_this_machine(urlsplit(self.base_url).hostname or "")


class TranscriptionSettings(EndpointAccess):
    """``[transcription]``: endpoint that converts recordings to text (``/audio/transcriptions``)."""

    timeout_s: Seconds = live(300.0, "Seconds without data after which a request to the endpoint fails.")
    concurrency: Whole = live(
        2, "Concurrent requests, of all runs together; each holds a recording in memory."
    )
    price_minute_usd: Usd | None = live(None, "Price of a minute of recording, in US dollars.")


class ModelTuning(Table):
    """Settings of both kinds of models."""

    timeout_s: Seconds = live(60.0, "Seconds without data after which a request to the endpoint fails.")
    concurrency: Whole = live(8, "Concurrent requests, of all runs together.")
    chunk_tokens: Whole | None = live(
        None, "Tokens of text in one request; by default as it suits the kind of model."
    )


class OpenAIModelSettings(EndpointAccess, ModelTuning):
    """``[model] kind = "openai"``: an endpoint with the interface of OpenAI."""

    kind: Literal["openai"] = live(REQUIRED, "An endpoint with the interface of OpenAI.")
    rpm: Whole | None = live(
        None, "Allowed requests per minute, of all hubs on the database; by default as the endpoint reports."
    )
    tpm: Whole | None = live(None, "Allowed tokens per minute, of prompts and answers; by default likewise.")
    price_in_usd: Usd | None = live(None, "Price of a million prompt tokens, in US dollars.")
    price_out_usd: Usd | None = live(None, "Price of a million answer tokens, in US dollars.")

    @model_validator(mode="after")
    def _has_both_prices(self) -> Self:
        if (self.price_in_usd is None) != (self.price_out_usd is None):
            raise refusal(
                "half_a_price",
                "the price of questions and that of answers are given together",
                key="price_out_usd" if self.price_in_usd is None else "price_in_usd",
                hint="write both price_in_usd and price_out_usd",
            )
        return self

    @property
    def has_price(self) -> bool:
        """True if the prices of its tokens are known."""
        return self.price_in_usd is not None


class LocalModelSettings(ModelTuning):
    """``[model] kind = "local"``: the small model of the extra ``[local]``, served by the hub itself."""

    needs_restart: ClassVar = True  # its server is started with the hub

    kind: Literal["local"] = restart(REQUIRED, "The small model of the extra [local], on this machine.")
    timeout_s: Seconds = restart(
        300.0, "Seconds without output after which a request fails; one thread is slow."
    )
    concurrency: Whole = restart(1, "Concurrent requests.")
    chunk_tokens: Whole | None = restart(None, "Tokens of text in one request.")
    reads_prose: Flag = restart(
        False,
        "Ask it about sentences that no rule reads. Most of what it adds is wrong, so rules read alone.",
    )

    is_local: ClassVar[bool] = True
    has_price: ClassVar[bool] = True  # it is free


ModelSettings = Annotated[OpenAIModelSettings | LocalModelSettings, Field(discriminator="kind")]
