"""Sign and verify TCP-AO segments (RFC 5925, RFC 5926) in bulk."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tcpao_fast.core.flow.traffic_keys import derive_traffic_keys
from tcpao_fast.core.mac.mac import TrafficKeys, kernels, mac_batch
from tcpao_fast.core.wire.records import Records
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
from tcpao_fast.keys import KeyChain, MasterKey
from tcpao_fast.version import __version__

if TYPE_CHECKING:
    from tcpao_fast.capture.reader import CaptureReader
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
    from tcpao_fast.jobs.diagnose import diagnose_capture
    from tcpao_fast.jobs.report import report_capture
    from tcpao_fast.jobs.rewrite import sign_capture, strip_capture
    from tcpao_fast.jobs.verify import verify_capture
    from tcpao_fast.keys.files import convert_keys, load_keys
    from tcpao_fast.report.results import CaptureReport, ConnectionReport, Diagnosis, RewriteReport

__all__ = [
    "AlreadyConnectedError",
    "AoInfo",
    "CaptureError",
    "CaptureReader",
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
    "Records",
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

#: Where names are that not every program wants: imported when they are first asked for.
_LATER = {
    "AoInfo": "tcpao_fast.endpoint",
    "CaptureReader": "tcpao_fast.capture.reader",
    "CaptureReport": "tcpao_fast.report.results",
    "Connection": "tcpao_fast.endpoint",
    "ConnectionReport": "tcpao_fast.report.results",
    "Diagnosis": "tcpao_fast.report.results",
    "DropReason": "tcpao_fast.endpoint",
    "Finding": "tcpao_fast.diagnose",
    "KeyInfo": "tcpao_fast.endpoint",
    "Listener": "tcpao_fast.endpoint",
    "Outcome": "tcpao_fast.endpoint",
    "RepairState": "tcpao_fast.endpoint",
    "RewriteReport": "tcpao_fast.report.results",
    "State": "tcpao_fast.endpoint",
    "convert_keys": "tcpao_fast.keys.files",
    "diagnose_capture": "tcpao_fast.jobs.diagnose",
    "load_keys": "tcpao_fast.keys.files",
    "report_capture": "tcpao_fast.jobs.report",
    "sign_capture": "tcpao_fast.jobs.rewrite",
    "strip_capture": "tcpao_fast.jobs.rewrite",
    "verify_capture": "tcpao_fast.jobs.verify",
}

if not TYPE_CHECKING:  # a checker would take any name for one of ours

    def __getattr__(name: str) -> Any:
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(_LATER[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
