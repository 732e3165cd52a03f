"""Sign and verify TCP-AO segments (RFC 5925, RFC 5926) in bulk."""

from tcpao_fast.capture.rewrite import RewriteReport, sign_capture, strip_capture
from tcpao_fast.capture.verify import CaptureReport, ConnectionReport, verify_capture
from tcpao_fast.core.keys import derive_traffic_keys
from tcpao_fast.core.mac import TrafficKeys, kernels, mac_batch
from tcpao_fast.engine import Engine, InplaceResult, Rewritten, VerifyResult, strip
from tcpao_fast.errors import (
    CaptureError,
    InvalidArgumentError,
    InvalidKeyError,
    KeyFileError,
    KeyOverlapError,
    MissingExtraError,
    StateError,
    TcpAoError,
    UnknownAlgorithmError,
)
from tcpao_fast.keyfiles import load_keys
from tcpao_fast.keys import KeyChain, MasterKey
from tcpao_fast.policy import Policy
from tcpao_fast.sne import SequenceExtender
from tcpao_fast.verdicts import SignOutcome, Verdict

__version__ = "0.1.0"

__all__ = [
    "CaptureError",
    "CaptureReport",
    "ConnectionReport",
    "Engine",
    "InplaceResult",
    "InvalidArgumentError",
    "InvalidKeyError",
    "KeyChain",
    "KeyFileError",
    "KeyOverlapError",
    "MasterKey",
    "MissingExtraError",
    "Policy",
    "RewriteReport",
    "Rewritten",
    "SequenceExtender",
    "SignOutcome",
    "StateError",
    "TcpAoError",
    "TrafficKeys",
    "UnknownAlgorithmError",
    "Verdict",
    "VerifyResult",
    "__version__",
    "derive_traffic_keys",
    "kernels",
    "load_keys",
    "mac_batch",
    "sign_capture",
    "strip",
    "strip_capture",
    "verify_capture",
]
