"""How to say what is to be changed in the words of the file that the keys are from."""

from __future__ import annotations

from dataclasses import dataclass, field

from tcpao_fast.keys import MasterKey


@dataclass(frozen=True, slots=True)
class Dialect:
    """The words of one format.

    Attributes
    ----------
    secret : str
        Where the secret stands.
    send_id, recv_id, algorithm, mac_length : str
        Commands with ``{}`` where the value goes; empty where there is none.
    covered, excluded : str
        How options are covered by the MAC, and left out; empty where that is fixed.
    nat : str
        How RFC 6978's flags are set; empty where they cannot be.
    accept : str
        What a lifetime to accept is called.
    algorithms : dict of str to str
        Other names of algorithms than ours.
    """

    secret: str
    send_id: str = ""
    recv_id: str = ""
    algorithm: str = ""
    mac_length: str = ""
    covered: str = ""
    excluded: str = ""
    nat: str = ""
    accept: str = "`accept-lifetime`"
    algorithms: dict[str, str] = field(default_factory=dict)

    def set_coverage(self, excluded: bool) -> str:
        """To cover the other TCP options here, or to leave them out."""
        said = self.excluded if excluded else self.covered
        return f"set {said} here" if said else "change the peer's setting (here it is fixed)"

    def set_id(self, which: str, value: int) -> str:
        """To change ``send_id`` or ``recv_id`` here."""
        return f"set {getattr(self, which).format(value)} here"

    def swap_ids(self, send_id: int, recv_id: int) -> str:
        """To swap the two here, which are these now."""
        return f"set {self.send_id.format(recv_id)} and {self.recv_id.format(send_id)} here"

    def set_algorithm(self, name: str) -> str:
        """To use another algorithm here."""
        return f"set {self.algorithm.format(self.algorithms.get(name, name))} here"

    def set_mac_length(self, length: int) -> str:
        """To use another MAC length here."""
        if not self.mac_length:
            return "use MACs of 12 bytes on the peer (here the length is fixed)"
        return f"set {self.mac_length.format(length)} here"


_NATIVE = Dialect(
    send_id="send_id = {}",
    recv_id="recv_id = {}",
    algorithm='algorithm = "{}"',
    mac_length="mac_length = {}",
    covered="exclude_options = false",
    excluded="exclude_options = true",
    secret="secret (secret_hex and secret_base64 are unambiguous)",
    nat="local_nat or remote_nat",
    accept="accept_lifetime or accept_tolerance",
)

_DIALECTS = {
    "cisco_xe": Dialect(
        send_id="`send-id {}` in the key chain",
        recv_id="`recv-id {}` in the key chain",
        algorithm="`cryptographic-algorithm {}` in the key chain",
        covered="`include-tcp-options` in the key chain and on `neighbor ... ao`",
        excluded="`no include-tcp-options` in the key chain and on `neighbor ... ao`",
        secret="`key-string` of the key chain, or `neighbor ... password`",
        algorithms={
            "hmac-sha-1-96": "hmac-sha-1",
            "aes-128-cmac-96": "aes-128-cmac",
            "hmac(sha256)": "hmac-sha-256",
        },
    ),
    "cisco_xr": Dialect(
        send_id="`SendID {}` under `tcp ao keychain`",
        recv_id="`ReceiveID {}` under `tcp ao keychain`",
        algorithm="`cryptographic-algorithm {}` in the key chain",
        covered="`ao ... include-tcp-options enable` on the neighbor",
        excluded="`ao ... include-tcp-options disable` on the neighbor",
        secret="`key-string password` of the key chain, or `password` of the neighbor",
        algorithms={"hmac-sha-1-96": "HMAC-SHA1-96", "aes-128-cmac-96": "AES-128-CMAC-96"},
    ),
    "junos": Dialect(
        send_id="`ao-attribute send-id {}` in the key chain",
        recv_id="`ao-attribute recv-id {}` in the key chain",
        algorithm="`ao-attribute cryptographic-algorithm {}` in the key chain",
        covered="`ao-attribute tcp-ao-option enabled` in the key chain",
        excluded="`ao-attribute tcp-ao-option disabled` in the key chain",
        secret="`secret` of the key chain, or `authentication-key`",
    ),
    "bird": Dialect(
        send_id="`send id {}`",
        recv_id="`recv id {}`",
        algorithm="`algorithm {}`",
        secret="`secret` of the key, or `password`",
        algorithms={"hmac-sha-1-96": "hmac sha1", "aes-128-cmac-96": "cmac aes128"},
    ),
    "rfc8177": Dialect(
        send_id='"send-id": {}',
        recv_id='"recv-id": {}',
        algorithm='"crypto-algorithm": "{}"',
        covered='"include-tcp-options": true',
        excluded='"include-tcp-options": false',
        secret='"keystring" or "hexadecimal-string"',
    ),
    "gobgp": Dialect(secret="`auth-password`"),
    "frr": Dialect(
        send_id="`send-id {}` in the key chain",
        recv_id="`recv-id {}` in the key chain",
        algorithm="`cryptographic-algorithm {}` in the key chain",
        secret="`key-string`, or `neighbor ... password`",
    ),
}


def dialect_of(key: MasterKey) -> Dialect:
    """The words of the file that a key is from."""
    return _DIALECTS.get(key.form or "", _NATIVE)
