"""Requests of devices to the hub, assembled from the services that answer them."""

from hub.accounts.sign_in import SignIns
from hub.api.device import requests_of
from hub.api.hub import Hub
from hub.clock import Clock
from hub.links.device_events import DeviceEvents
from hub.links.rotation import KeyRotation
from hub.metrics import Metrics
from hub.requests.agents import AgentRequests, Written
from hub.requests.grants import granted
from hub.requests.keys import KeyRequests
from hub.requests.params import Methods
from hub.requests.review import ReviewRequests
from hub.requests.runs import RunRequests
from hub.requests.service import Requests
from hub.requests.sign_ins import SignInRequests
from hub.requests.subscriptions import SubscriptionRequests
from hub.runs.control import RunControl
from storage.store import Store


def make_requests(
    store: Store,
    nouns: Hub,
    *,
    control: RunControl,
    clock: Clock,
    metrics: Metrics,
    rotation: KeyRotation | None = None,
    events: DeviceEvents | None = None,
    writing: Written | None = None,
    sign_ins: SignIns | None = None,
) -> Requests:
    """Create the handler for the requests of the nouns, and for those of the services that are given."""
    declared: Methods = {method: one.answer for method, one in requests_of(nouns, store).items()}
    served: list[Methods] = [
        AgentRequests(store, writing).methods,
        RunRequests(store, control).methods,
        ReviewRequests(store, clock=clock, metrics=metrics).methods,
        {} if rotation is None else KeyRequests(rotation).methods,
        {} if events is None else SubscriptionRequests(events).methods,
        {} if sign_ins is None else SignInRequests(sign_ins).methods,
    ]
    return Requests(declared, *(granted(store, methods) for methods in served), clock=clock, metrics=metrics)
