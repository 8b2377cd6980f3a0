"""What an operator is told who looks into something: the log, and the hub's insides at one moment."""

from pydantic import AwareDatetime

from hub.api.views.view import View


class TaskView(View):
    """Tasks that wait at the same place. *stack*: from the outermost call to the innermost."""

    count: int
    names: tuple[str, ...]  # some of them
    stack: tuple[str, ...]


class ThreadView(View):
    """A thread, and the innermost calls that it is in, the outermost first."""

    name: str
    stack: tuple[str, ...]


class ConnectionView(View):
    """A connected device: what it has not answered, and what it has not read."""

    device_id: str
    epoch: int
    pending_calls: int
    unsent_bytes: int


class DumpView(View):
    """The hub's insides at one moment. Of many connections, those that hold up the most."""

    at: AwareDatetime
    uptime_s: float
    loop_lag_s: float
    queues: dict[str, int]  # what waits where, by name
    connected: int
    pending_calls: int
    unsent_bytes: int
    connections: tuple[ConnectionView, ...]
    tasks: tuple[TaskView, ...]
    threads: tuple[ThreadView, ...]
