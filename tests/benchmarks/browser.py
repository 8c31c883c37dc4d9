"""What Chromium makes of the pages of a running server: first paint, shifts of the layout, bytes by kind, requests.

.venv/bin/python -m tests.benchmarks.browser --url http://127.0.0.1:8000 --json FILE [--course cs-101 --rounds 3]

Signs in (as `ada` of the demo, unless told otherwise: the queue and insights are for staff) and opens each page with an
empty cache and again with a filled one; figures are medians of the rounds. "Slow phone" is 390 × 844 at 1.6 Mbit/s, 150 ms
away, with a processor four times slower (Chromium's own throttling, as in Lighthouse); "fast desktop" is 1280 × 900, not
slowed down. Ends with 1 when a page is over a budget. The server should serve static files as production does:
`STATIC_FILES_COLLECTED=yes` after `manage.py collectstatic`.
"""

import argparse
import json
import shutil
import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, CDPSession, Page, sync_playwright

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
# Bytes: stylesheets as they are read, scripts as they come over the wire. A shift is the sum of all that nobody caused.
CSS_BUDGET = 30_000
JS_BUDGET = 40_000
SHIFT_BUDGET = 0.01
KINDS = {"Document": "html", "Stylesheet": "css", "Script": "js"}
# Runs before any script of the page.
OBSERVE = """
window.seen = {shift: 0, largest: 0, moved: []};
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) {
    if (entry.hadRecentInput) continue;
    seen.shift += entry.value;
    for (const { node } of entry.sources) seen.moved.push(node?.outerHTML?.slice(0, 120) ?? String(node?.nodeName));
  }
}).observe({type: "layout-shift", buffered: true});
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) seen.largest = entry.startTime;
}).observe({type: "largest-contentful-paint", buffered: true});
"""
SETTLE_MS = 800


@dataclass(frozen=True)
class Profile:
    """A device and its connection; None: not slowed down."""

    name: str
    width: int
    height: int
    slower: int = 1
    latency_ms: int = 0
    bytes_per_second: float | None = None


PROFILES = [
    Profile("slow phone", 390, 844, slower=4, latency_ms=150, bytes_per_second=1.6e6 / 8),
    Profile("fast desktop", 1280, 900),
]


@dataclass
class Load:
    """One page load. Times in ms since the navigation began; `sent` and `read` are bytes by kind, on the wire and unpacked."""

    first_paint: float
    largest_paint: float
    shift: float
    moved: list[str]
    requests: int
    sent: dict[str, int] = field(default_factory=dict)
    read: dict[str, int] = field(default_factory=dict)


class Counting:
    """Counts what a page fetches over the network; what comes from the cache doesn't count."""

    def __init__(self, session: CDPSession) -> None:
        self.kinds: dict[str, str] = {}
        self.sent: defaultdict[str, int] = defaultdict(int)
        self.read: defaultdict[str, int] = defaultdict(int)
        self.session = session
        session.send("Network.enable")
        session.on("Network.responseReceived", self._begun)
        session.on("Network.dataReceived", self._more)
        session.on("Network.loadingFinished", self._done)

    def reset(self) -> None:
        for counts in (self.kinds, self.sent, self.read):
            counts.clear()

    def _begun(self, event: dict[str, Any]) -> None:
        if not event["response"].get("fromDiskCache"):
            self.kinds[event["requestId"]] = KINDS.get(event["type"], "other")

    def _more(self, event: dict[str, Any]) -> None:
        if kind := self.kinds.get(event["requestId"]):
            self.read[kind] += event["dataLength"]

    def _done(self, event: dict[str, Any]) -> None:
        if kind := self.kinds.get(event["requestId"]):
            self.sent[kind] += int(event["encodedDataLength"])


def throttle(session: CDPSession, profile: Profile) -> None:
    """Slow a page down, or don't."""
    speed = -1 if profile.bytes_per_second is None else profile.bytes_per_second
    session.send(
        "Network.emulateNetworkConditions",
        {"offline": False, "latency": profile.latency_ms, "downloadThroughput": speed, "uploadThroughput": speed},
    )
    session.send("Emulation.setCPUThrottlingRate", {"rate": profile.slower})


def open_page(page: Page, counting: Counting, url: str) -> Load:
    """Open an address, let it come to rest, go to its end and back, and return what was seen."""
    page.goto("about:blank")
    counting.reset()
    answer = page.goto(url, wait_until="load")
    if answer is None or answer.status != 200:
        raise SystemExit(f"{url} answered {answer and answer.status}")
    page.wait_for_timeout(SETTLE_MS)
    first = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0")
    largest = page.evaluate("seen.largest")
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    page.wait_for_timeout(SETTLE_MS // 2)
    seen = page.evaluate("seen")
    return Load(
        first, largest, seen["shift"], seen["moved"], len(counting.kinds), dict(counting.sent), dict(counting.read)
    )  # fmt: skip


def context_of(browser: Browser, profile: Profile, state: Any) -> BrowserContext:
    """Return a browser with an empty cache in which somebody is signed in."""
    context = browser.new_context(
        viewport={"width": profile.width, "height": profile.height}, storage_state=state, reduced_motion="no-preference"
    )
    context.add_init_script(OBSERVE)
    return context


def sign_in(browser: Browser, base: str, email: str, password: str) -> Any:
    """Return the cookies of somebody who signed in."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{base}/sign-in/")
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url("**/courses/")
    state = context.storage_state()
    context.close()
    return state


def medians(loads: Sequence[Load]) -> Load:
    """Return the median of each figure; of shifts the worst."""

    def of(name: str) -> dict[str, int]:
        return {
            kind: int(statistics.median(getattr(load, name).get(kind, 0) for load in loads))
            for kind in ("html", "css", "js", "other")
        }

    worst = max(loads, key=lambda load: load.shift)
    return Load(
        first_paint=statistics.median(load.first_paint for load in loads),
        largest_paint=statistics.median(load.largest_paint for load in loads),
        shift=worst.shift,
        moved=worst.moved,
        requests=int(statistics.median(load.requests for load in loads)),
        sent=of("sent"),
        read=of("read"),
    )


def measure(browser: Browser, pages: dict[str, str], state: Any, rounds: int) -> list[dict[str, Any]]:
    """Return for every page and profile what was seen with an empty and with a filled cache."""
    found = []
    for name, url in pages.items():
        for profile in PROFILES:
            loads: dict[str, list[Load]] = {"cold": [], "warm": []}
            for _ in range(rounds):
                context = context_of(browser, profile, None if name == "sign-in" else state)
                page = context.new_page()
                page.set_default_timeout(60_000)
                session = context.new_cdp_session(page)
                counting = Counting(session)
                throttle(session, profile)
                for cache, seen in loads.items():
                    seen.append(open_page(page, counting, url))
                    assert cache == "cold" or seen[-1].requests, url
                context.close()
            found += [
                {"page": name, "profile": profile.name, "cache": cache, **asdict(medians(seen))}
                for cache, seen in loads.items()
            ]
            print(f"{name}, {profile.name}", file=sys.stderr)
    return found


def over_budget(found: list[dict[str, Any]]) -> list[str]:
    """Return a sentence for every page that is over a budget."""
    said = []
    for one in found:
        where = f"{one['page']}, {one['profile']}, {one['cache']}"
        if one["read"]["css"] >= CSS_BUDGET:
            said.append(f"{where}: {one['read']['css']} B of stylesheets")
        if one["sent"]["js"] >= JS_BUDGET:
            said.append(f"{where}: {one['sent']['js']} B of scripts on the wire")
        if one["shift"] >= SHIFT_BUDGET:
            said.append(f"{where}: the layout shifts by {one['shift']:.3f}: {one['moved']}")
    return said


def table(found: list[dict[str, Any]]) -> str:
    """Return a Markdown table: paints in ms with an empty / a filled cache, bytes in kB with an empty one (unpacked)."""
    lines = [
        "| page | device | first paint, cold / warm | largest, cold / warm | shift | requests, cold / warm | HTML | CSS | JS | other |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    by = {(one["page"], one["profile"], one["cache"]): one for one in found}
    for page, profile in dict.fromkeys((one["page"], one["profile"]) for one in found):
        cold, warm = by[page, profile, "cold"], by[page, profile, "warm"]
        size = [
            f"{cold['sent'][kind] / 1000:.1f} ({cold['read'][kind] / 1000:.1f})"
            for kind in ("html", "css", "js", "other")
        ]
        lines.append(
            f"| {page} | {profile} | {cold['first_paint']:.0f} / {warm['first_paint']:.0f} | {cold['largest_paint']:.0f} / "
            f"{warm['largest_paint']:.0f} | {max(cold['shift'], warm['shift']):.3f} | {cold['requests']} / {warm['requests']} | "
            + " | ".join(size)
            + " |"
        )
    return "\n".join(lines)


def main() -> None:
    wanted = argparse.ArgumentParser()
    wanted.add_argument("--url", required=True)
    wanted.add_argument("--json", type=Path)
    wanted.add_argument("--email", default="ada@example.edu")
    wanted.add_argument("--password", default="quokka-demo")
    wanted.add_argument("--course", default="cs-101")
    wanted.add_argument("--thread", type=int, default=1, help="number of the hot thread")
    wanted.add_argument("--words", default="unhashable type", help="what is searched for")
    wanted.add_argument("--rounds", type=int, default=3)
    asked = wanted.parse_args()
    course = f"{asked.url}/c/{asked.course}"
    pages = {
        "sign-in": f"{asked.url}/sign-in/",
        "thread list": f"{course}/",
        "hot thread": f"{course}/{asked.thread}/",
        "search": f"{course}/search/?q={asked.words.replace(' ', '+')}",
        "ask": f"{course}/ask/",
        "queue": f"{course}/queue/",
        "insights": f"{course}/insights/",
    }
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("chromium-browser"), args=FLAGS
        )
        state = sign_in(browser, asked.url, asked.email, asked.password)
        found = measure(browser, pages, state, asked.rounds)
        version = browser.version
        browser.close()
    print(table(found))
    if asked.json:
        asked.json.write_text(
            json.dumps({"chromium": version, "rounds": asked.rounds, "pages": found}, indent=1) + "\n"
        )
    said = over_budget(found)
    print(*said, sep="\n")
    sys.exit(bool(said))


if __name__ == "__main__":
    main()
