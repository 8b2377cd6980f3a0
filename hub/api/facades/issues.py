"""Issues, as an operator asks for them."""

from collections.abc import Sequence
from typing import Protocol

from hub.api.views.issues import IssueView


class IssueFacade(Protocol):
    """What a person should see to."""

    async def all(self, *, online: bool = False, anew: bool = False) -> Sequence[IssueView]:
        """Everything that is found now, the worst first.

        Args:
            online: ask other machines too, as the endpoint of the model.
            anew: look now; else a look a few seconds old will do.
        """
        ...
