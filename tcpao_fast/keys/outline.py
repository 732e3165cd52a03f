"""What is known of a key without its secret: what a capture shows, for a key file to fill in."""

from __future__ import annotations

from dataclasses import dataclass

#: Algorithms by the length of their MAC, likeliest first.
LIKELY = {
    12: ("hmac-sha-1-96", "aes-128-cmac-96", "hmac(sha256)"),
    16: ("hmac-sha256-128", "aes-128-cmac-96", "hmac-sha-1-96", "kmac256-128"),
}
#: The others, with the longest MAC of each.
_ANY = {"hmac-sha-1-96": 20, "aes-128-cmac-96": 16, "hmac(sha256)": 32, "hmac(sha512)": 36}


@dataclass(slots=True)
class KeyOutline:
    """A key that is in use.

    Attributes
    ----------
    local, remote : str
        Addresses of the client and of the server.
    remote_port : int
        The server's.
    send_id, recv_id : int or None
        KeyIDs of the client and of the server; None of TCP-MD5.
    mac_length : int
        Bytes of the MACs; 0 of TCP-MD5, and of options without a MAC.
    connections : int
        How many connections use it.
    certain : bool
        Whether the two IDs belong together beyond doubt: they are the only ones.
    """

    local: str
    remote: str
    remote_port: int
    send_id: int | None = None
    recv_id: int | None = None
    mac_length: int = 0
    connections: int = 1
    certain: bool = True

    @property
    def is_tcp_md5(self) -> bool:
        """Whether it is a key for TCP-MD5."""
        return self.send_id is None

    @property
    def algorithms(self) -> tuple[str, ...]:
        """What it may be, likeliest first."""
        if self.is_tcp_md5:
            return ("tcp-md5",)
        long_enough = tuple(name for name, most in _ANY.items() if self.mac_length <= most)
        return LIKELY.get(self.mac_length, long_enough[:3])


def template(keys: list[KeyOutline]) -> str:
    """A native key file with everything but the secrets.

    It is read only once a secret is filled in for each key.
    """
    parts = [
        "# What a capture shows of the keys in use: fill in the secrets, check the algorithms.\n"
        "# local is the client, the side that opened the connection.\n"
    ]
    for one in keys:
        plural = "" if one.connections == 1 else "s"
        lines = [f"# used by {one.connections} connection{plural}"]
        if not one.certain:
            lines.append("# which send_id belongs to which recv_id is a guess")
        lines.append("[[key]]")
        others = one.algorithms[1:]
        hint = f"  # or {', '.join(others)}" if others else ""
        lines.append(f'algorithm = "{one.algorithms[0]}"{hint}')
        lines.append('# secret = "..."')
        if not one.is_tcp_md5:
            lines += [f"send_id = {one.send_id}", f"recv_id = {one.recv_id}"]
        lines += [
            f'local = "{one.local}"',
            f'remote = "{one.remote}"',
            f"remote_port = {one.remote_port}",
        ]
        if not one.is_tcp_md5:
            if one.mac_length:
                lines.append(f"mac_length = {one.mac_length}")
            lines.append("# exclude_options = true  # the default of Cisco and Junos")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)
