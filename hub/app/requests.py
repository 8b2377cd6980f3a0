"""Requests of devices to the hub, assembled from the services that answer them."""

from hub.accounts.sign_in import SignIns
from hub.agents.capabilities import Capabilities
from hub.agents.checkpoints import Checkpoints
from hub.agents.configs import AgentConfigs
from hub.agents.locks import Locks
from hub.agents.measurements import Measurements
from hub.api.device import requests_of
from hub.api.hub import Hub
from hub.clock import Clock
from hub.links.device_events import DeviceEvents
from hub.links.rotation import KeyRotation
from hub.metrics import Metrics
from hub.requests.agents import AgentRequests, Written
from hub.requests.capabilities import CapabilityRequests
from hub.requests.checkpoints import CheckpointRequests
from hub.requests.config import ConfigRequests
from hub.requests.grants import granted
from hub.requests.keys import KeyRequests
from hub.requests.locks import LockRequests
from hub.requests.metrics import MetricRequests
from hub.requests.params import Methods
from hub.requests.review import ReviewRequests
from hub.requests.runs import RunRequests
from hub.requests.service import Requests
from hub.requests.sign_ins import SignInRequests
from hub.requests.standings import StatusRequests
from hub.requests.subscriptions import SubscriptionRequests
from hub.runs.agent_control import AgentControl
from hub.runs.control import RunControl
from storage.store import Store


def make_requests(
    store: Store,
    nouns: Hub,
    *,
    control: RunControl,
    clock: Clock,
    metrics: Metrics,
    measurements: Measurements | None = None,
    rotation: KeyRotation | None = None,
    events: DeviceEvents | None = None,
    configs: AgentConfigs | None = None,
    writing: Written | None = None,
    capabilities: Capabilities | None = None,
    checkpoints: Checkpoints | None = None,
    locks: Locks | None = None,
    sign_ins: SignIns | None = None,
) -> Requests:
    """Create the handler for the requests of the nouns, and for those of the services that are given."""
    declared: Methods = {method: one.answer for method, one in requests_of(nouns, store).items()}
    served: list[Methods] = [
        AgentRequests(store, writing).methods,
        RunRequests(store, control).methods,
        StatusRequests(store, AgentControl(store, control=control, clock=clock)).methods,
        ReviewRequests(store, clock=clock, metrics=metrics).methods,
        MetricRequests(store, measurements or Measurements(store, clock=clock, metrics=metrics)).methods,
        {} if rotation is None else KeyRequests(rotation).methods,
        {} if events is None else SubscriptionRequests(events).methods,
        {} if configs is None else ConfigRequests(store, configs).methods,
        {} if capabilities is None else CapabilityRequests(store, capabilities).methods,
        {} if checkpoints is None else CheckpointRequests(store, checkpoints).methods,
        {} if locks is None else LockRequests(store, locks).methods,
        {} if sign_ins is None else SignInRequests(sign_ins).methods,
    ]
    return Requests(declared, *(granted(store, methods) for methods in served), clock=clock, metrics=metrics)
