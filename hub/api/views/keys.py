"""What the operator's side is told of the keys that seal sign-ins; never a key itself."""

from hub.api.views.view import View


class SealingKeyView(View):
    """A key. *rows*: how many things it seals; *is_newest*: it seals what comes."""

    id: str
    rows: int
    is_newest: bool


class SealingKeysView(View):
    """The keys, the newest first. *place*: where they are; no backup of the database has them."""

    place: str
    keys: tuple[SealingKeyView, ...]
