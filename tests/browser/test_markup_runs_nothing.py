"""What people write runs no script in a real browser; the same text unsanitised does (so the test could tell)."""

import html
import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from quokkaq.lib.markdown import _sanitise, render

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

ATTACKS = [
    "<script>fired()</script>", "<img src=x onerror=fired()>", "<svg onload=fired()>", "<svg><script>fired()</script></svg>",
    "<body onload=fired()>", "<details open ontoggle=fired()>x</details>", "<input autofocus onfocus=fired()>",
    "<iframe srcdoc='<script>parent.fired()</script>'></iframe>", "<math><mtext><img src=x onerror=fired()></mtext></math>",
    "<math><annotation-xml encoding='text/html'><img src=x onerror=fired()></annotation-xml></math>",
    "<math><mi><table><style><img src=x onerror=fired()></style></table></mi></math>",
    "<form><math><mtext></form><form><mglyph><style></math><img src=x onerror=fired()>",
    "<svg><style><img src=x onerror=fired()></style></svg>", "<video><source onerror=fired()></video>",
    "<noscript><p title='</noscript><img src=x onerror=fired()>'></noscript>",
]  # fmt: skip
KNOWN = Path(__file__).parents[2].parent / "shared" / "data" / "markup" / "html_payloads.json"


def strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [text for inner in (value.values() if isinstance(value, dict) else value) for text in strings(inner)]


def fired(browser: Browser, pieces: list[str]) -> int:
    """Show each piece in a frame of its own, without any content security policy; return how many ran something."""
    page = browser.new_page()
    page.route("**/*", lambda route: route.abort())
    frames = "".join(
        f'<iframe srcdoc="{html.escape("<script>window.fired=window.alert=()=>parent.count.add(" + str(n) + ")</script>" + piece)}"></iframe>'
        for n, piece in enumerate(pieces)
    )
    page.set_content(f"<script>window.count = new Set()</script>{frames}", wait_until="load")
    page.wait_for_timeout(500)
    count: int = page.evaluate("window.count.size")
    page.close()
    return count


def test_attacks_run_nothing_and_their_control_does(browser: Browser) -> None:
    known = (
        [text for text in strings(json.loads(KNOWN.read_text(encoding="utf-8"))) if "<" in text]
        if KNOWN.exists()
        else []
    )
    attacks = ATTACKS + known
    assert fired(browser, attacks) >= 10
    assert fired(browser, [render(attack) for attack in attacks]) == 0
    # The last wall alone, as if every step before it had let the text through.
    assert fired(browser, [_sanitise(attack) for attack in attacks]) == 0
