"""Master key tuples: what they are, which of them fits, where they come from."""

from tcpao_fast.keys.key_chain import KeyChain
from tcpao_fast.keys.master_key import MasterKey
from tcpao_fast.keys.pickling import pickled_secrets

__all__ = ["KeyChain", "MasterKey", "pickled_secrets"]
