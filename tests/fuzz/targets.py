"""What is fuzzed: each target takes bytes, and fails where the package does anything but its job or
one of its own errors; with oracles where two ways must agree."""

from __future__ import annotations

import contextlib
import json
import os
import random
import struct
import sys
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from wire import ACK, SYN, ao_option, records, tcp_packet  # noqa: E402

import tcpao_fast as ao  # noqa: E402
from tcpao_fast.capture.isns import read_isns  # noqa: E402
from tcpao_fast.core.wire.parse import LINK_TYPES, parse, parse_records  # noqa: E402
from tcpao_fast.core.wire.records import Records  # noqa: E402
from tcpao_fast.keys.files import FORMATS, WRITTEN, convert_keys  # noqa: E402

LINKS = sorted(LINK_TYPES)
CLIENT, SERVER = ("10.0.0.1", 40000), ("10.0.0.2", 179)
KEYS = [
    ao.MasterKey(algorithm="hmac-sha-1-96", secret=b"secret", send_id=1, recv_id=2),
    ao.MasterKey(algorithm="aes-128-cmac-96", secret=b"secret", send_id=3, recv_id=4),
    ao.MasterKey(algorithm="tcp-md5", secret=b"secret"),
]
REFUSED = (ao.TcpAoError,)


def _frames(data: bytes) -> tuple[int, list[bytes]]:
    """A link type, and frames: two bytes of length before each."""
    if not data:
        return 101, []
    link, at, found = LINKS[data[0] % len(LINKS)], 1, []
    while at + 2 <= len(data) and len(found) < 64:
        size = int.from_bytes(data[at : at + 2], "big") % 2048
        found.append(data[at + 2 : at + 2 + size])
        at += 2 + size
    return link, found


def packets(data: bytes) -> None:
    """verify, sign, strip and sign_inplace of frames: sound, and the same however cut."""
    link, frames = _frames(data)
    buffer, offsets, lengths = records(frames)
    where = (buffer, offsets, lengths, link)
    full = parse_records(Records(*where), in_full=True)
    assert np.array_equal(full, parse_records(Records(*where)))
    whole, three, single = ao.Engine(KEYS), ao.Engine(KEYS, threads=3), ao.Engine(KEYS)
    found = whole.verify(*where, final=False)
    other = three.verify(*where, final=False)
    one_by_one = [single.verify(frame, [0], [len(frame)], link, final=False) for frame in frames]
    for name in ("verdict", "key", "connection", "sne"):
        assert np.array_equal(getattr(found, name), getattr(other, name)), name
        apart = [getattr(one, name)[0] for one in one_by_one]
        assert np.array_equal(getattr(found, name), np.array(apart, getattr(found, name).dtype))
    for result, chain in ((ao.Engine(KEYS).sign(*where), KEYS), (ao.strip(*where), None)):
        for i, frame in enumerate(frames):
            at, size = int(result.offsets[i]), int(result.lengths[i])
            after = bytes(result.buffer[at : at + size])
            if result.outcome[i] not in (ao.SignOutcome.signed, ao.SignOutcome.stripped):
                assert after == frame
                continue
            old, new = full[i], parse(after, [0], [size], link)[0]
            assert new["kind"] == 1
            payload = [int(row["length"]) - int(row["header_length"]) for row in (old, new)]
            assert payload[0] == payload[1]
            assert (new["auth"] > 0) == (chain is not None)
    writable = bytearray(buffer)
    ao.Engine(KEYS).sign_inplace(writable, offsets, lengths, link)
    assert len(writable) == len(buffer)


def fragments(data: bytes) -> None:
    """IPv4 fragments of a few datagrams, whatever they say."""
    found = []
    for at in range(0, len(data) - 6, 7):
        ident, place, size = (
            data[at] % 4,
            int.from_bytes(data[at + 1 : at + 3], "big"),
            data[at + 3],
        )
        body = bytes(data[at + 4 : at + 7]) * (size // 3 + 1)
        head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + size, ident, place, 64, 6, 0)
        found.append(head + b"\x0a\0\0\1\x0a\0\0\2" + body[:size])
    where = (*records(found), 101)
    one, two = ao.Engine(KEYS), ao.Engine(KEYS, threads=2)
    assert one.verify(*where).counts == two.verify(*where).counts


def endpoints(data: bytes) -> None:
    """A listener and a connection take packets from strangers."""
    _, frames = _frames(data)
    for policy in (ao.Policy.linux(), ao.Policy.rfc5925()):
        listener = ao.Listener(SERVER, policy=policy)
        listener.add_key(KEYS[0].mirrored())
        connection = ao.Connection(CLIENT, policy=policy)
        for frame in frames:
            before = listener.process(frame)
            assert before.verdict in ao.Verdict
            connection.process(frame)


def captures(data: bytes) -> None:
    """pcap and pcapng files."""
    with _file(data) as path, contextlib.suppress(*REFUSED):
        report = ao.verify_capture(path, KEYS)
        assert report.segments == sum(report.counts.values())
        out = f"{path}.out"
        try:
            ao.strip_capture(path, out)
            ao.verify_capture(out, KEYS)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(out)  # noqa: PTH108


def state(data: bytes) -> None:
    """States: taken over or refused, and what was taken over can be given again."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return
    engine = ao.Engine(KEYS)
    try:
        engine.import_state(value)
    except REFUSED:
        assert engine.export_state(candidates=True)["connections"] == []
        return
    again = ao.Engine(KEYS)
    exported = json.loads(json.dumps(engine.export_state(candidates=True)))
    again.import_state(exported)
    assert again.export_state(candidates=True) == engine.export_state(candidates=True)


def isns(data: bytes) -> None:
    """``--isn``, as text and as a file."""
    text = data.decode("latin-1")
    with contextlib.suppress(*REFUSED):
        read_isns(text if "," in text else text + ",")
    with _file(data) as path, contextlib.suppress(*REFUSED):
        ao.Engine(KEYS).restore(read_isns(path))


def filters(data: bytes) -> None:
    """Filter expressions, and the records they choose from."""
    from tcpao_fast.capture.filter import PacketFilter

    with contextlib.suppress(*REFUSED):
        PacketFilter(data.decode("latin-1"))


def _key_file(form: str):
    def target(data: bytes) -> None:
        secret = b"S3cr3tWord"
        with _file(data) as path:
            try:
                chain = ao.load_keys(path, form)
            except REFUSED as error:
                assert secret.decode() not in str(error), "a secret in a message"
                return
            for to in WRITTEN:
                with contextlib.suppress(*REFUSED):
                    done = convert_keys(path, to, form)
                    if to == "toml":
                        with _file(done.text.encode()) as again:
                            assert len(ao.load_keys(again)) == len(chain)

    target.__doc__ = f"Key files read as {form}."
    return target


@contextlib.contextmanager
def _file(data: bytes):
    handle, path = tempfile.mkstemp()
    try:
        os.write(handle, data)
        os.close(handle)
        yield path
    finally:
        os.unlink(path)  # noqa: PTH108


TARGETS = {
    "packets": packets, "fragments": fragments, "endpoints": endpoints, "captures": captures,
    "state": state, "isns": isns, "filters": filters,
    **{f"keys-{form}": _key_file(form) for form in FORMATS},
}  # fmt: skip


# -- seeds and mutations ---------------------------------------------------------------------------


def _framed(link: int, frames: list[bytes]) -> bytes:
    head = bytes([LINKS.index(link)])
    return head + b"".join(len(one).to_bytes(2, "big") + one for one in frames)


def seeds(target: str) -> list[bytes]:
    """What mutation begins with: real packets, captures and configurations."""
    tests = HERE.parent
    if target in ("packets", "endpoints"):
        md5 = b"\1\1\x13\x12" + bytes(16)
        plain = [
            tcp_packet(CLIENT, SERVER, SYN, 100, options=ao_option(1, 2)),
            tcp_packet(SERVER, CLIENT, SYN | ACK, 900, 101, options=ao_option(2, 1)),
            tcp_packet(CLIENT, SERVER, ACK, 101, 901, b"data", ao_option(1, 2)),
            tcp_packet(CLIENT, SERVER, ACK, 101, 901, b"data", md5),
        ]
        six = [tcp_packet(("fd00::1", 1), ("fd00::2", 179), SYN, 5, options=ao_option(1, 2))]
        unsigned = [
            tcp_packet(CLIENT, SERVER, SYN, 100),
            tcp_packet(SERVER, CLIENT, SYN | ACK, 900, 101),
            tcp_packet(CLIENT, SERVER, ACK, 101, 901, b"data"),
        ]
        signed = ao.Engine(KEYS[:1]).sign(*records(unsigned), 101)
        good = [
            bytes(signed.buffer[a : a + n])
            for a, n in zip(signed.offsets, signed.lengths, strict=True)
        ]
        ether = b"\2" * 12
        snap = ether + struct.pack(">H", 8 + len(plain[0])) + b"\xaa\xaa\3\0\0\0\x08\0" + plain[0]
        inner = len(unsigned[2]) + 2
        pppoe = ether + b"\x88\x64\x11\0\0\1" + struct.pack(">H", inner) + b"\0\x21" + unsigned[2]
        vlan = ether + b"\x81\0\0\5\x08\0" + plain[2]
        gre = struct.pack(">BBHHHBBH", 0x45, 0, 24 + len(plain[0]), 1, 0, 64, 47, 0)
        gre += b"\xc0\0\2\1\xc0\0\2\2" + b"\0\0\x08\0" + plain[0]
        return [
            _framed(101, plain), _framed(101, six), _framed(101, unsigned), _framed(101, good),
            _framed(101, [gre]), _framed(1, [snap, pppoe, vlan, ether + b"\x08\0" + unsigned[0]]),
        ]  # fmt: skip
    if target == "fragments":
        rng = random.Random(1)
        return [rng.randbytes(7 * 40), b"\0\x20\0\x18abc" * 5 + b"\0\0\3\x18abc"]
    if target == "captures":
        found = [path.read_bytes()[:3000] for path in sorted((tests / "captures").glob("*.pcap"))]
        section = bytes.fromhex("0a0d0d0a1c0000004d3c2b1a01000000ffffffffffffffff1c000000")
        return [*found, section + bytes.fromhex("0100000014000000010000000000000014000000")]
    if target == "state":
        engine = ao.Engine(KEYS)
        unsigned = [tcp_packet(CLIENT, SERVER, SYN, 100),
                    tcp_packet(SERVER, CLIENT, SYN | ACK, 900, 101)]  # fmt: skip
        engine.sign(*records(unsigned), 101)
        return [json.dumps(engine.export_state(candidates=flag)).encode() for flag in (0, 1)]
    if target == "isns":
        return [
            b"10.0.0.1:40000,10.0.0.2:179,305419896,0x9abcdef0,1,2",
            b'[{"local":"10.0.0.1:1","remote":"[fd00::1]:2","snt_isn":1,"rcv_isn":"0x2"}]',
        ]
    if target == "filters":
        return [b"tcp port 179 and host 10.0.0.1", b"tcp[tcpflags] & (tcp-syn) != 0 or vlan 5"]
    texts = [
        path.read_bytes() for path in sorted((tests / "keyfiles").rglob("*")) if path.is_file()
    ]
    texts += [path.read_bytes() for path in sorted((tests / "captures").glob("*.toml"))]
    sys.path.insert(0, str(tests / "keys"))
    from test_routers import CASES

    texts += [text.encode() for form, _, text, *_ in CASES if target == f"keys-{form}"] * 3
    secret = (
        b"key chain A tcp\n key 1\n  key-string S3cr3tWord\nneighbor 10.0.0.1 password S3cr3tWord\n"
    )
    return [*texts, secret, b'protocol bgp a { neighbor 10.0.0.1; password "S3cr3tWord"; }']


INTERESTING = (0, 1, 4, 5, 19, 20, 29, 0x45, 0x60, 0x7F, 0x80, 0xFF)


def mutated(data: bytes, others: list[bytes], rng: random.Random, text: bool) -> bytes:
    """Another input: bytes, numbers, lines and pieces changed, doubled, or taken from others."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        if not found:
            found += rng.randbytes(8)
        at = rng.randrange(len(found))
        how = rng.randrange(8)
        if text and how < 4:
            lines = bytes(found).split(b"\n" if rng.random() < 0.5 else b" ")
            joint = b"\n" if b"\n" in found else b" "
            a, b = rng.randrange(len(lines)), rng.randrange(len(lines))
            if how == 0:
                lines[a] = lines[b]
            elif how == 1:
                lines.insert(a, lines[b])
            elif how == 2:
                del lines[a]
            else:
                lines[a] = rng.choice((b"", b"{", b"}", b'"', b"0", b"-1", b"99999999999", b"[",
                                       b"null", b"\xff", b"a" * 300))  # fmt: skip
            found = bytearray(joint.join(lines))
        elif how == 0:
            found[at] ^= 1 << rng.randrange(8)
        elif how in (1, 2):
            found[at] = rng.choice(INTERESTING)
        elif how == 3:
            found[at : at + 2] = struct.pack(
                ">H", rng.choice((0, 1, 20, 40, 1500, 65535, len(found)))
            )
        elif how == 4:
            del found[at : at + rng.randrange(1, 9)]
        elif how == 5:
            found[at:at] = found[at : at + rng.randrange(1, 60)]
        elif how == 6:
            other = rng.choice(others)
            start = rng.randrange(len(other) + 1)
            found[at : at + rng.randrange(40)] = other[start : start + rng.randrange(1, 80)]
        else:
            del found[at:]
    return bytes(found[:20_000])
