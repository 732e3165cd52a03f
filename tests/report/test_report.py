"""The HTML report: what it says, and how it looks in a real browser."""

import html
import re
import shutil
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest
import wire
from click.testing import CliRunner
from samples import CAPTURES, HERE, Capture
from wire import ACK, PSH, pcap

import tcpao_fast as ao
from tcpao_fast.cli.app import tcpao
from tcpao_fast.report.timeline import BINS, MAX_CHANGES, TimeLine, TimeLines


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Reports of real captures, by name."""
    folder = tmp_path_factory.mktemp("reports")
    made = {}

    def page(name):
        if name not in made:
            capture = Capture(CAPTURES / f"{name}.pcap")
            made[name] = folder / f"{name}.html"
            ao.report_capture(capture.path, capture.keys, made[name])
        return made[name]

    return page


class TestContents:
    def test_what_is_wrong_comes_first(self, pages):
        text = pages("bad-and-unsigned").read_text()
        table = text[text.index('id="connections"') : text.index('id="details"')]
        ports = re.findall(r'<td data-label="Server">10\.0\.0\.2:(\d+)</td>', table)
        assert ports == ["7778", "2243", "2244", "7777", "2029", "7779", "2242"]
        for reason in ("unsigned_peer", "wrong_secret", "wrong_key_id", "missing_handshake"):
            assert f"<strong>{reason}</strong>" in text
        assert "#33" in text and "another secret on the two sides" in text

    @pytest.mark.parametrize(
        ("name", "keys", "said"),
        [
            ("ao_asa_both", "ao", "captured at two points"),
            ("aonat_both", "aonat", "has source address 192.168.1.10"),
            ("aofrag_missing2", "ao", "fragments are missing"),
            ("aogro", "ao", "receive offload merged several segments"),
            ("tfo_nosyn", "ao", "TCP Fast Open"),
            ("md5nat", "md5nat", "signed as going from 192.168.1.10"),
        ],
    )
    def test_each_finding_is_there_and_nothing_is_warned_of(self, name, keys, said, tmp_path):
        page = tmp_path / "report.html"
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = ao.report_capture(
                HERE / "field" / f"{name}.pcap", ao.load_keys(HERE / "field" / f"{keys}.toml"), page
            )
        text = html.unescape(page.read_text())
        assert said in text
        for one in found.findings:
            assert one.sentence in text and one.advice in text

    def test_one_finding_of_many_connections_is_at_each(self, tmp_path):
        page = tmp_path / "report.html"
        report = ao.report_capture(
            HERE / "field/ao60.pcap", ao.load_keys(HERE / "field/ao.toml"), page
        )
        assert len(report.report.connections) == 60
        articles = page.read_text().split("<article")[1:]
        assert articles and all("<strong>wrong_secret</strong>" in one for one in articles)

    def test_key_rotation(self, pages):
        text = pages("rotation").read_text()
        assert re.search(
            r"10\.0\.0\.1:36947 asked for KeyID 21 at [-0-9 :.]+ \(packet #75\); "
            r"10\.0\.0\.2:2032 followed \d+ microseconds later \(packet #77\)",
            text,
        )
        assert "Key hmac-sha-1-96 10/20 is in use by 10.0.0.2:2032." in text
        assert "so it can be deleted when late segments have gone" in text

    def test_sne_step(self, pages):
        text = pages("wrap-v4-sha1").read_text()
        assert "SNE of 10.0.0.1:39955 goes from 0 to 1" in text and "SNE 1</text>" in text

    def test_needs_nothing_from_elsewhere(self, pages):
        for name in ("rotation", "wrap-v4-sha1", "bad-and-unsigned"):
            text = pages(name).read_text()
            links = set(re.findall(r'(?:src|href|url)\s*[=(]\s*["\']?([^"\')\s>]+)', text))
            assert all(link.startswith("#") for link in links), links
            assert "<script" not in text and "@import" not in text

    def test_secrets_stay_out(self, pages):
        for name in ("rotation", "wrap-v4-sha1", "bad-and-unsigned"):
            text = pages(name).read_text()
            for key in Capture(CAPTURES / f"{name}.pcap").keys:
                assert key.secret.hex() not in text
                if len(key.secret) > 5:
                    assert key.secret.decode() not in text

    def test_names_are_escaped(self, tmp_path, key):
        odd = replace(key, name="<b>&\"'</b>")
        a, b = wire.pair(odd)
        path = pcap(tmp_path / "<i>.pcap", wire.handshake(a, b))
        ao.report_capture(path, [odd], tmp_path / "x.html")
        text = (tmp_path / "x.html").read_text()
        assert "<b>&" not in text and "<i>" not in text and "&lt;b&gt;&amp;" in text

    def test_a_request_that_is_not_followed(self, tmp_path, key):
        a, b = wire.pair(key)
        packets = wire.handshake(a, b)
        next_key = replace(key, send_id=101, recv_id=201, name="next")
        packets += [a.send(ACK, b"x", key=replace(key, recv_id=201))]
        ao.report_capture(pcap(tmp_path / "x.pcap", packets), [key, next_key], tmp_path / "x.html")
        text = (tmp_path / "x.html").read_text()
        assert "asked for KeyID 201" in text and "do not delete the old key yet" in text

    def test_nothing_and_no_times(self, tmp_path, key):
        ao.report_capture(pcap(tmp_path / "x.pcap", []), [key], tmp_path / "x.html")
        assert "0 packets" in (tmp_path / "x.html").read_text()

    def test_many_connections(self, tmp_path, key):
        packets = []
        for number in range(1100):
            a, _ = wire.pair(key, client=("10.0.0.1", 1000 + number))
            packets.append(a.send(wire.SYN))
        path = tmp_path / "x.html"
        ao.report_capture(pcap(tmp_path / "x.pcap", packets), [key], path)
        text = path.read_text()
        assert "100 more connections are not listed" in text
        assert text.count("<article") == 100 and "1,000 more connections have no time" in text
        assert path.stat().st_size < 4 << 20


class TestTimeLines:
    def test_every_segment_is_counted_once(self, capture):
        from tcpao_fast.engine import Engine
        from tcpao_fast.jobs.stream import verify_into

        engine, lines = Engine(capture.keys), TimeLines()
        report, _ = verify_into(engine, [capture.path], [lines])
        by_id = {one.id: one for one in report.connections}
        for number, line in lines.lines.items():
            assert line.counts.sum() == sum(by_id[number].counts.values())
            good = by_id[number].counts
            assert line.counts[:, 0].sum() == good.get("good", 0) + good.get("md5_good", 0)

    def test_bins_grow_with_the_capture(self):
        line = TimeLine(1000, 1000)
        rng = np.random.default_rng(1)
        total = 0
        for step in range(40):
            times = np.sort(1000 + rng.integers(0, 2**step, 50))
            direction, classes = rng.integers(0, 2, 50), rng.integers(0, 4, 50)
            line.add(times, direction, classes)
            total += 50
            assert line.counts.sum() == total
            assert line.last - line.first < line.width * BINS

    def test_time_going_backwards(self):
        line = TimeLine(1000, 1000)
        zero = np.zeros(1, np.int64)
        for moment in (1000, 5000, 10, 4000):
            line.add(np.array([moment]), zero, zero)
        assert line.counts.sum() == 4 and line.first == 1000

    def test_changes_are_bounded(self):
        line = TimeLine(0, 0)
        count = MAX_CHANGES + 50
        line.note("sne", 0, np.arange(count), np.arange(count), np.arange(count))
        assert len(line.changes) == MAX_CHANGES and line.dropped == 50

    def test_cut_anywhere(self, named_capture, monkeypatch):
        """The same lines, however the capture is cut into chunks."""
        from tcpao_fast.capture import reader
        from tcpao_fast.engine import Engine
        from tcpao_fast.jobs.stream import verify_into

        capture = named_capture("rotation")
        found = []
        for size in (1 << 16, 7):
            monkeypatch.setattr(reader, "CHUNK_RECORDS", size)
            lines = TimeLines()
            verify_into(Engine(capture.keys), [capture.path], [lines])
            found.append({
                number: (
                    sorted(map(repr, line.changes)), line.used, line.counts.tolist(), line.width,
                )
                for number, line in lines.lines.items()
            })  # fmt: skip
        assert found[0] == found[1]


def test_command_line(tmp_path):
    path = CAPTURES / "wrap-v4-sha1.pcap"
    out = tmp_path / "r.html"
    run = CliRunner().invoke(
        tcpao, ["report", str(path), "-k", str(path.with_suffix(".toml")), "-o", str(out)]
    )
    assert run.exit_code == 0 and "554 TCP segments, 1 connections" in run.stderr
    assert out.read_text().startswith("<!doctype html>")


def test_a_damaged_capture_strictly_leaves_no_page(tmp_path, named_capture):
    capture = named_capture("v4-sha1")
    path = tmp_path / "x.pcap"
    path.write_bytes(capture.data[:-5])
    with pytest.raises(ao.CaptureError) as caught:
        ao.report_capture(path, capture.keys, tmp_path / "x.html", strict=True)
    assert caught.value.report.segments and not (tmp_path / "x.html").exists()


@pytest.mark.parametrize("library", ["jinja2"])
def test_without_the_extra(library, tmp_path, named_capture, monkeypatch):
    capture = named_capture("v4-sha1")
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ao.MissingExtraError, match=r"tcpao-fast\[report\]"):
        ao.report_capture(capture.path, capture.keys, tmp_path / "x.html")
    assert not (tmp_path / "x.html").exists()


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium, or a skip that says what installs it."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("no browser is installed: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in (
        "headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run",
        "disable-background-networking", "disable-component-update", "disable-sync",
        "disable-dev-shm-usage", "hide-scrollbars",
    ):  # fmt: skip
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    found = webdriver.Chrome(options=options, service=Service(driver))
    yield found
    found.quit()


def luminance(colour):
    """WCAG 2's relative luminance of ``rgb(r, g, b)``."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["rotation", "bad-and-unsigned"])
def test_in_a_browser(pages, browser, name, width, dark, tmp_path):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False},
    )
    scheme = "dark" if dark else "light"
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    browser.get(pages(name).as_uri())
    assert browser.get_log("browser") == []
    ask = browser.execute_script
    # the page fits; only tables and drawings may be scrolled by themselves
    assert ask("return document.documentElement.scrollWidth") <= width
    # without scrolling: the table of connections, and what the colours mean
    edges = ask(
        "return [...document.querySelectorAll('#connections td, .legend li')]"
        ".map(e => e.getBoundingClientRect().right)"
    )
    assert edges and max(edges) <= width
    assert ask("return document.querySelectorAll('.legend li').length") >= 2
    assert ask("return performance.getEntriesByType('resource').length") == 0
    paper, ink = ask(
        "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]"
    )
    assert (luminance(paper) < 0.05) == dark and contrast(paper, ink) > 7
    card = ask("return getComputedStyle(document.querySelector('article')).backgroundColor")
    texts = ask(
        "return [...document.querySelectorAll('svg text')].map(t => getComputedStyle(t).fill)"
    )
    assert texts and all(contrast(card, colour) > 7 for colour in texts)
    coloured = ask(
        "return [...document.querySelectorAll('td.bad, td.good, td.undecided')]"
        ".map(t => getComputedStyle(t).color)"
    )
    assert coloured and all(contrast(paper, colour) > 4.5 for colour in coloured)
    drawings = ask(
        "return [...document.querySelectorAll('article svg')].map(s => {"
        "const r = s.getBoundingClientRect(); return [r.width, r.height]})"
    )
    assert drawings and all(w >= 500 and h >= 100 for w, h in drawings)
    # bars are there, in the page's colours, and no text of a drawing runs out of it
    assert ask(
        "const good = getComputedStyle(document.documentElement).getPropertyValue('--good');"
        "return document.querySelectorAll('article svg path').length"
    )
    outside = ask(
        "return [...document.querySelectorAll('article svg')].flatMap(s => {"
        "const box = s.getBoundingClientRect();"
        "return [...s.querySelectorAll('text')].filter(t => {"
        "const r = t.getBoundingClientRect();"
        "return r.left < box.left - 1 || r.right > box.right + 1 || r.bottom > box.bottom + 1"
        "}).map(t => t.textContent)})"
    )
    assert outside == []
    link = ask("const a = document.querySelector('td a'); a.click(); return location.hash")
    assert link == "#c0"
    picture = tmp_path / "page.png"
    browser.save_screenshot(str(picture))
    assert picture.stat().st_size > 10_000


def test_two_scripts_of_addresses_in_a_browser(browser, tmp_path):
    """IPv6 addresses are long; they are not cut."""
    key = ao.MasterKey(
        algorithm="hmac-sha-1-96", secret=b"secret", send_id=1, recv_id=2, name="a" * 60,
        local="2001:db8:1111:2222:3333:4444:5555:6666",
        remote="2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff",
    )  # fmt: skip
    a, b = wire.pair(
        key, (str(key.local.network_address), 50000), (str(key.remote.network_address), 179)
    )
    packets = [*wire.handshake(a, b), a.send(PSH | ACK, b"x")]
    ao.report_capture(pcap(tmp_path / "x.pcap", packets), [key], tmp_path / "x.html")
    browser.get((tmp_path / "x.html").as_uri())
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 1280
    left = browser.execute_script(
        "const s = document.querySelector('article svg'), b = s.getBoundingClientRect();"
        "return Math.min(...[...s.querySelectorAll('text')].map("
        "t => t.getBoundingClientRect().left - b.left))"
    )
    assert left >= -1
