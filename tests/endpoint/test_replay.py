"""Captures of a Linux kernel replayed through our endpoints: what it signed they sign, byte for
byte, and they end with its counters and its keys."""

from dataclasses import asdict, replace

import reference
from ends import ACK, SYN

import tcpao_fast as ao
from tcpao_fast.core.batch.one import ParsedSegment

SYN_ACK = SYN | ACK
CLIENT, SERVER = "10.0.0.1", "10.0.0.2"
#: Where a closed socket of Linux has given way to a stub that verifies and counts nothing.
GONE = (ao.State.FIN_WAIT_2, ao.State.TIME_WAIT)


def without_checksum(packet):
    """The capture has checksums that the device was to fill in."""
    at = 4 * (packet[0] & 15) + 16
    return packet[:at] + packet[at + 2 :]


class Hosts:
    """The two kernels of a capture: listeners, connections, and a namespace's counters of each."""

    def __init__(self, client_keys, server_keys):
        self.keys = {CLIENT: client_keys, SERVER: server_keys}
        self.snmp = {CLIENT: ao.snmp_counters(), SERVER: ao.snmp_counters()}
        self.listeners = {}
        self.endpoints = {}
        self.dropped = []

    def listen(self, port, keys=None, **policy):
        listener = self.listeners[port] = ao.Listener(
            (SERVER, port), policy=ao.Policy.linux(**policy), snmp=self.snmp[SERVER]
        )
        for key in self.keys[SERVER] if keys is None else keys:
            listener.add_key(key)

    def connect(self, here, there, keys=None):
        connection = ao.Connection(here, snmp=self.snmp[CLIENT])
        for key in self.keys[CLIENT] if keys is None else keys:
            connection.add_key(key)
        connection.connect(there)
        self.endpoints[here, there] = connection

    def endpoint(self, here, there):
        return self.endpoints.get((here, there)) or self.listeners.get(here[1])

    def pass_on(self, ip):
        """A captured packet: sent by one side's endpoint, received by the other's."""
        packet = reference.Packet.parse(ip)
        here, there = (CLIENT, packet.ports[0]), (SERVER, packet.ports[1])
        if packet.source == b"\x0a\0\0\x02":
            here, there = (SERVER, packet.ports[0]), (CLIENT, packet.ports[1])
        sender, receiver = self.endpoint(here, there), self.endpoint(there, here)
        assert without_checksum(sender.sign(ParsedSegment(ip).strip())) == without_checksum(ip)
        if receiver.state in GONE:
            return
        outcome = receiver.process(ip)
        if isinstance(receiver, ao.Listener) and (accepted := receiver.accept()) is not None:
            self.endpoints[there, here] = accepted
        if not outcome.accepted:
            self.dropped.append((there, outcome.reason))


def packets(capture):
    return [ip for ip in map(capture.ip, range(len(capture.records[1]))) if ip and ip[0] == 0x45]


def state(endpoint):
    info = endpoint.info()
    return {"current": info.current, "rnext": info.rnext, **asdict(info.counters)}


def expected_totals(description, side, strays):
    """What the capture's kernel counted, without the segments of a connection that the capture
    does not have: one that an earlier test left, whose segments go on being sent. Its client takes
    them as good and its server as bad (ISN 0xFFFFFFFF: SNE 0 where 1 is right)."""
    totals = dict(description["kernel_counters"][side])
    totals["TCPAOGood" if side == "client" else "TCPAOBad"] -= strays
    return totals


def test_rotation(named_capture):
    """Three MKTs, two algorithms, three MAC lengths; the user's calls are those of the log."""
    capture = named_capture("rotation")
    description = capture.description
    keys = [replace(key, name=None) for key in capture.keys]
    hosts = Hosts(keys, [key.mirrored() for key in keys])
    hosts.listen(2032)
    log = list(description["sockets"]["log"])
    icmps = 0
    strays = 0
    snapshot = None
    for ip in packets(capture):
        packet = reference.Packet.parse(ip)
        if 2032 not in packet.ports:
            strays += packet.source == b"\x0a\0\0\x02"
            continue
        if packet.source == b"\x0a\0\0\x01":
            here, there = (CLIENT, packet.ports[0]), (SERVER, 2032)
            if packet.flags & SYN:
                hosts.connect(here, there)
            client = hosts.endpoints[here, there]
            at, _ = packet.option(29)
            seen = packet.tcp[at + 2], packet.tcp[at + 3]
            if seen != (client.info().current, client.info().rnext):
                call = log.pop(0)  # the user, between two packets
                client.set_info(current=call["set_current"], rnext=call["set_rnext"])
                while icmps < call["client"]["dropped_icmp"]:
                    assert not client.icmp(3, 2 + icmps)
                    icmps += 1
                assert seen == (client.info().current, client.info().rnext)
            if packet.flags & 1 and snapshot is None:
                server = hosts.endpoints[there, here]
                while icmps < description["sockets"]["client"]["dropped_icmp"]:
                    assert not client.icmp(3, 3)
                    icmps += 1
                snapshot = state(client), state(server)
        hosts.pass_on(ip)
    assert not log and not hosts.dropped and strays == 1
    sockets = description["sockets"]
    assert snapshot == (sockets["client"], sockets["server"])
    assert hosts.snmp[CLIENT] == expected_totals(description, "client", strays)
    assert hosts.snmp[SERVER] == expected_totals(description, "server", strays)


def test_bad_and_unsigned(named_capture):
    """A good connection, a wrong secret, a KeyID that is not there, unsigned SYNs where TCP-AO is
    required, an unsigned connection and one with TCP-MD5."""
    capture = named_capture("bad-and-unsigned")
    description = capture.description
    key = replace(capture.keys[0], name=None)
    md5 = description["sockets"]["md5"]
    md5_key = ao.MasterKey(algorithm="tcp-md5", secret=md5["key"].encode())
    hosts = Hosts([key], [key.mirrored()])
    for port in (2242, 2243, 2244):
        hosts.listen(port)
    hosts.listen(7777, [], ao_required=True)
    hosts.listen(7778, [])
    hosts.listen(md5["server_port"], [md5_key])
    connects = {2242: [key], 7778: [], md5["server_port"]: [md5_key]}
    strays = 0
    snapshot = None
    for ip in packets(capture):
        packet = reference.Packet.parse(ip)
        port = next((port for port in packet.ports if port in hosts.listeners), None)
        if port is None:
            strays += packet.source == b"\x0a\0\0\x02"
        elif port not in connects:  # with keys that the capture does not tell
            outcome = hosts.listeners[port].process(ip)
            hosts.dropped.append((port, outcome.reason))
        else:
            if packet.flags & SYN_ACK == SYN:
                hosts.connect((CLIENT, packet.ports[0]), (SERVER, port), connects[port])
            if port == 2242 and packet.flags & 1 and snapshot is None:
                ends = (CLIENT, packet.ports[0]), (SERVER, port)
                snapshot = [state(hosts.endpoints[pair]) for pair in (ends, ends[::-1])]
            hosts.pass_on(ip)
    good = description["sockets"]["good_conn"]
    assert snapshot == [
        {name: good[side][name] for name in snapshot[0]} for side in ("client", "server")
    ]
    assert hosts.snmp[CLIENT] == expected_totals(description, "client", strays)
    assert hosts.snmp[SERVER] == expected_totals(description, "server", strays)
    reasons = [reason for _, reason in hosts.dropped]
    assert sorted(reasons, key=str) == sorted(
        [ao.DropReason.TCP_AOFAILURE] * 6
        + [ao.DropReason.TCP_AOKEYNOTFOUND] * 3
        + [ao.DropReason.TCP_AONOTFOUND] * 2,
        key=str,
    )
    unsigned = [one for ends, one in hosts.endpoints.items() if 7778 in (ends[0][1], ends[1][1])]
    assert len(unsigned) == 2 and not any(one.has_ao for one in unsigned)
