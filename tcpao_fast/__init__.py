"""Sign and verify TCP-AO segments (RFC 5925, RFC 5926) in bulk."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tcpao_fast.version import __version__ as __version__

if TYPE_CHECKING:
    from tcpao_fast.capi import (
        get_include as get_include,
    )
    from tcpao_fast.capture.packets import (
        Packets as Packets,
    )
    from tcpao_fast.capture.reader import (
        CaptureReader as CaptureReader,
    )
    from tcpao_fast.core.flow.traffic_keys import (
        derive_traffic_keys as derive_traffic_keys,
    )
    from tcpao_fast.core.mac.mac import (
        TrafficKeys as TrafficKeys,
    )
    from tcpao_fast.core.mac.mac import (
        kernels as kernels,
    )
    from tcpao_fast.core.mac.mac import (
        mac_batch as mac_batch,
    )
    from tcpao_fast.core.wire.records import (
        Records as Records,
    )
    from tcpao_fast.diagnose.finding import (
        Finding as Finding,
    )
    from tcpao_fast.endpoint import (
        AoInfo as AoInfo,
    )
    from tcpao_fast.endpoint import (
        Connection as Connection,
    )
    from tcpao_fast.endpoint import (
        DropReason as DropReason,
    )
    from tcpao_fast.endpoint import (
        KeyInfo as KeyInfo,
    )
    from tcpao_fast.endpoint import (
        Listener as Listener,
    )
    from tcpao_fast.endpoint import (
        Outcome as Outcome,
    )
    from tcpao_fast.endpoint import (
        RepairState as RepairState,
    )
    from tcpao_fast.endpoint import (
        State as State,
    )
    from tcpao_fast.engine import (
        Engine as Engine,
    )
    from tcpao_fast.engine import (
        InplaceResult as InplaceResult,
    )
    from tcpao_fast.engine import (
        KeyChanges as KeyChanges,
    )
    from tcpao_fast.engine import (
        Rewritten as Rewritten,
    )
    from tcpao_fast.engine import (
        RewrittenPacket as RewrittenPacket,
    )
    from tcpao_fast.engine import (
        Verified as Verified,
    )
    from tcpao_fast.engine import (
        VerifyResult as VerifyResult,
    )
    from tcpao_fast.engine import (
        strip as strip,
    )
    from tcpao_fast.engine import (
        strip_inplace as strip_inplace,
    )
    from tcpao_fast.engine.counters import (
        Counters as Counters,
    )
    from tcpao_fast.engine.counters import (
        KeyCounters as KeyCounters,
    )
    from tcpao_fast.engine.counters import (
        snmp_counters as snmp_counters,
    )
    from tcpao_fast.engine.events import (
        Event as Event,
    )
    from tcpao_fast.engine.events import (
        Tracer as Tracer,
    )
    from tcpao_fast.engine.policy import (
        Policy as Policy,
    )
    from tcpao_fast.engine.sne import (
        SequenceExtender as SequenceExtender,
    )
    from tcpao_fast.engine.verdicts import (
        SignOutcome as SignOutcome,
    )
    from tcpao_fast.engine.verdicts import (
        Verdict as Verdict,
    )
    from tcpao_fast.errors import (
        AlreadyConnectedError as AlreadyConnectedError,
    )
    from tcpao_fast.errors import (
        CaptureError as CaptureError,
    )
    from tcpao_fast.errors import (
        EndpointError as EndpointError,
    )
    from tcpao_fast.errors import (
        InvalidArgumentError as InvalidArgumentError,
    )
    from tcpao_fast.errors import (
        InvalidKeyError as InvalidKeyError,
    )
    from tcpao_fast.errors import (
        InvalidRequestError as InvalidRequestError,
    )
    from tcpao_fast.errors import (
        KernelSupportError as KernelSupportError,
    )
    from tcpao_fast.errors import (
        KeyExistsError as KeyExistsError,
    )
    from tcpao_fast.errors import (
        KeyExpiredError as KeyExpiredError,
    )
    from tcpao_fast.errors import (
        KeyFileError as KeyFileError,
    )
    from tcpao_fast.errors import (
        KeyInUseError as KeyInUseError,
    )
    from tcpao_fast.errors import (
        KeyOverlapError as KeyOverlapError,
    )
    from tcpao_fast.errors import (
        KeyRejectedError as KeyRejectedError,
    )
    from tcpao_fast.errors import (
        MacTooLongError as MacTooLongError,
    )
    from tcpao_fast.errors import (
        MissingExtraError as MissingExtraError,
    )
    from tcpao_fast.errors import (
        NoSuchKeyError as NoSuchKeyError,
    )
    from tcpao_fast.errors import (
        NotConnectedError as NotConnectedError,
    )
    from tcpao_fast.errors import (
        RepairModeError as RepairModeError,
    )
    from tcpao_fast.errors import (
        StateError as StateError,
    )
    from tcpao_fast.errors import (
        TcpAoError as TcpAoError,
    )
    from tcpao_fast.errors import (
        UnknownAlgorithmError as UnknownAlgorithmError,
    )
    from tcpao_fast.jobs.diagnose import (
        diagnose_capture as diagnose_capture,
    )
    from tcpao_fast.jobs.inspect import (
        inspect_capture as inspect_capture,
    )
    from tcpao_fast.jobs.report import (
        report_capture as report_capture,
    )
    from tcpao_fast.jobs.rewrite import (
        sign_capture as sign_capture,
    )
    from tcpao_fast.jobs.rewrite import (
        strip_capture as strip_capture,
    )
    from tcpao_fast.jobs.verify import (
        verify_capture as verify_capture,
    )
    from tcpao_fast.keys import (
        KeyChain as KeyChain,
    )
    from tcpao_fast.keys import (
        MasterKey as MasterKey,
    )
    from tcpao_fast.keys import (
        pickled_secrets as pickled_secrets,
    )
    from tcpao_fast.keys.files import (
        compare_keys as compare_keys,
    )
    from tcpao_fast.keys.files import (
        convert_keys as convert_keys,
    )
    from tcpao_fast.keys.files import (
        load_keys as load_keys,
    )
    from tcpao_fast.report.results import (
        CaptureReport as CaptureReport,
    )
    from tcpao_fast.report.results import (
        ConnectionReport as ConnectionReport,
    )
    from tcpao_fast.report.results import (
        Diagnosis as Diagnosis,
    )
    from tcpao_fast.report.results import (
        RewriteReport as RewriteReport,
    )

#: Where each public name is: imported when it is first asked for, so that ``import tcpao_fast`` and
#: the command line's ``--help`` cost nothing.
_MODULES = {
    "AlreadyConnectedError": "tcpao_fast.errors",
    "AoInfo": "tcpao_fast.endpoint",
    "CaptureError": "tcpao_fast.errors",
    "CaptureReader": "tcpao_fast.capture.reader",
    "CaptureReport": "tcpao_fast.report.results",
    "Connection": "tcpao_fast.endpoint",
    "ConnectionReport": "tcpao_fast.report.results",
    "Counters": "tcpao_fast.engine.counters",
    "Diagnosis": "tcpao_fast.report.results",
    "DropReason": "tcpao_fast.endpoint",
    "EndpointError": "tcpao_fast.errors",
    "Engine": "tcpao_fast.engine",
    "Event": "tcpao_fast.engine.events",
    "Finding": "tcpao_fast.diagnose.finding",
    "InplaceResult": "tcpao_fast.engine",
    "InvalidArgumentError": "tcpao_fast.errors",
    "InvalidKeyError": "tcpao_fast.errors",
    "InvalidRequestError": "tcpao_fast.errors",
    "KernelSupportError": "tcpao_fast.errors",
    "KeyChain": "tcpao_fast.keys",
    "KeyChanges": "tcpao_fast.engine",
    "KeyCounters": "tcpao_fast.engine.counters",
    "KeyExistsError": "tcpao_fast.errors",
    "KeyExpiredError": "tcpao_fast.errors",
    "KeyFileError": "tcpao_fast.errors",
    "KeyInUseError": "tcpao_fast.errors",
    "KeyInfo": "tcpao_fast.endpoint",
    "KeyOverlapError": "tcpao_fast.errors",
    "KeyRejectedError": "tcpao_fast.errors",
    "Listener": "tcpao_fast.endpoint",
    "MacTooLongError": "tcpao_fast.errors",
    "MasterKey": "tcpao_fast.keys",
    "MissingExtraError": "tcpao_fast.errors",
    "NoSuchKeyError": "tcpao_fast.errors",
    "NotConnectedError": "tcpao_fast.errors",
    "Outcome": "tcpao_fast.endpoint",
    "Packets": "tcpao_fast.capture.packets",
    "Policy": "tcpao_fast.engine.policy",
    "Records": "tcpao_fast.core.wire.records",
    "RepairModeError": "tcpao_fast.errors",
    "RepairState": "tcpao_fast.endpoint",
    "RewriteReport": "tcpao_fast.report.results",
    "Rewritten": "tcpao_fast.engine",
    "RewrittenPacket": "tcpao_fast.engine",
    "SequenceExtender": "tcpao_fast.engine.sne",
    "SignOutcome": "tcpao_fast.engine.verdicts",
    "State": "tcpao_fast.endpoint",
    "StateError": "tcpao_fast.errors",
    "TcpAoError": "tcpao_fast.errors",
    "Tracer": "tcpao_fast.engine.events",
    "TrafficKeys": "tcpao_fast.core.mac.mac",
    "UnknownAlgorithmError": "tcpao_fast.errors",
    "Verdict": "tcpao_fast.engine.verdicts",
    "Verified": "tcpao_fast.engine",
    "VerifyResult": "tcpao_fast.engine",
    "compare_keys": "tcpao_fast.keys.files",
    "convert_keys": "tcpao_fast.keys.files",
    "derive_traffic_keys": "tcpao_fast.core.flow.traffic_keys",
    "diagnose_capture": "tcpao_fast.jobs.diagnose",
    "get_include": "tcpao_fast.capi",
    "inspect_capture": "tcpao_fast.jobs.inspect",
    "kernels": "tcpao_fast.core.mac.mac",
    "load_keys": "tcpao_fast.keys.files",
    "mac_batch": "tcpao_fast.core.mac.mac",
    "pickled_secrets": "tcpao_fast.keys",
    "report_capture": "tcpao_fast.jobs.report",
    "sign_capture": "tcpao_fast.jobs.rewrite",
    "snmp_counters": "tcpao_fast.engine.counters",
    "strip": "tcpao_fast.engine",
    "strip_inplace": "tcpao_fast.engine",
    "strip_capture": "tcpao_fast.jobs.rewrite",
    "verify_capture": "tcpao_fast.jobs.verify",
}

__all__ = ["__version__", *_MODULES]

if not TYPE_CHECKING:  # a checker would take any name for one of ours

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(_MODULES[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
