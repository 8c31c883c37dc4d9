"""Take the pictures of docs/images: starts the demo on a free port, clicks, and stops it. Run by `make screenshots`."""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
]
SHOWN = "unhashable type after I added"


def picture(browser: Browser, base: str, name: str, *, width: int, height: int, scheme: str, page_of: str) -> None:
    """Sign in as noor, open the list or the thread, and store what is on the screen."""
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(f"{base}/sign-in/")
    page.get_by_label("E-mail").fill("noor@example.edu")
    page.get_by_label("Password").fill("quokka-demo")
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url("**/courses/")
    page.goto(f"{base}/c/cs-101/")
    if page_of == "thread":
        page.get_by_role("link", name=SHOWN).click()
        page.wait_for_selector(".quotation")
    page.screenshot(path=IMAGES / f"{name}.png")
    context.close()


def main() -> None:
    """Start, take, stop."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    base = f"http://127.0.0.1:{port}"
    demo = subprocess.Popen(
        [sys.executable, "manage.py", "run_demo"],
        cwd=ROOT,
        env={**os.environ, "QUOKKAQ_MODE": "demo", "PORT": str(port)},
    )
    try:
        for _ in range(300):
            try:
                with urlopen(f"{base}/health", timeout=1):  # noqa: S310 (our own address)  # nosec B310
                    break
            except OSError:
                time.sleep(0.2)
        IMAGES.mkdir(parents=True, exist_ok=True)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium") or shutil.which("chromium-browser"), args=FLAGS
            )
            picture(browser, base, "thread", width=1280, height=1180, scheme="light", page_of="thread")
            picture(browser, base, "phone", width=390, height=844, scheme="light", page_of="list")
            picture(browser, base, "dark", width=1280, height=1180, scheme="dark", page_of="thread")
            browser.close()
    finally:
        demo.terminate()
        demo.wait(20)


if __name__ == "__main__":
    main()
