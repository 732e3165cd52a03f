"""Sign and verify TCP-AO segments (RFC 5925, RFC 5926) in bulk."""

from tcpao_fast.core.flow.traffic_keys import derive_traffic_keys
from tcpao_fast.core.mac.mac import TrafficKeys, kernels, mac_batch
from tcpao_fast.diagnose import Finding
from tcpao_fast.endpoint import (
    AoInfo,
    Connection,
    DropReason,
    KeyInfo,
    Listener,
    Outcome,
    RepairState,
    State,
)
from tcpao_fast.engine import Engine, InplaceResult, Rewritten, VerifyResult, strip
from tcpao_fast.engine.counters import Counters, KeyCounters, snmp_counters
from tcpao_fast.engine.events import Event, Tracer
from tcpao_fast.engine.policy import Policy
from tcpao_fast.engine.sne import SequenceExtender
from tcpao_fast.engine.verdicts import SignOutcome, Verdict
from tcpao_fast.errors import (
    AlreadyConnectedError,
    CaptureError,
    EndpointError,
    InvalidArgumentError,
    InvalidKeyError,
    InvalidRequestError,
    KernelSupportError,
    KeyExistsError,
    KeyExpiredError,
    KeyFileError,
    KeyInUseError,
    KeyOverlapError,
    KeyRejectedError,
    MacTooLongError,
    MissingExtraError,
    NoSuchKeyError,
    NotConnectedError,
    RepairModeError,
    StateError,
    TcpAoError,
    UnknownAlgorithmError,
)
from tcpao_fast.jobs.diagnose import diagnose_capture
from tcpao_fast.jobs.report import report_capture
from tcpao_fast.jobs.rewrite import sign_capture, strip_capture
from tcpao_fast.jobs.verify import verify_capture
from tcpao_fast.keys import KeyChain, MasterKey
from tcpao_fast.keys.files import convert_keys, load_keys
from tcpao_fast.report.results import CaptureReport, ConnectionReport, Diagnosis, RewriteReport
from tcpao_fast.version import __version__

__all__ = [
    "AlreadyConnectedError",
    "AoInfo",
    "CaptureError",
    "CaptureReport",
    "Connection",
    "ConnectionReport",
    "Counters",
    "Diagnosis",
    "DropReason",
    "EndpointError",
    "Engine",
    "Event",
    "Finding",
    "InplaceResult",
    "InvalidArgumentError",
    "InvalidKeyError",
    "InvalidRequestError",
    "KernelSupportError",
    "KeyChain",
    "KeyCounters",
    "KeyExistsError",
    "KeyExpiredError",
    "KeyFileError",
    "KeyInUseError",
    "KeyInfo",
    "KeyOverlapError",
    "KeyRejectedError",
    "Listener",
    "MacTooLongError",
    "MasterKey",
    "MissingExtraError",
    "NoSuchKeyError",
    "NotConnectedError",
    "Outcome",
    "Policy",
    "RepairModeError",
    "RepairState",
    "RewriteReport",
    "Rewritten",
    "SequenceExtender",
    "SignOutcome",
    "State",
    "StateError",
    "TcpAoError",
    "Tracer",
    "TrafficKeys",
    "UnknownAlgorithmError",
    "Verdict",
    "VerifyResult",
    "__version__",
    "convert_keys",
    "derive_traffic_keys",
    "diagnose_capture",
    "kernels",
    "load_keys",
    "mac_batch",
    "report_capture",
    "sign_capture",
    "snmp_counters",
    "strip",
    "strip_capture",
    "verify_capture",
]
