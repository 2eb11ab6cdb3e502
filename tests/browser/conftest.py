"""Headless Chromium with what a page does in it: console, requests, sizes, colours."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.conftest import missing_service

DESKTOP, PHONE = 1200, 390


@pytest.fixture(scope="session")
def driver(tmp_path_factory):
    binary = shutil.which("chromium") or shutil.which("google-chrome")
    service = shutil.which("chromedriver")
    if not binary or not service:
        missing_service("no Chromium: install chromium and chromium-driver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (
        *("headless", "no-sandbox", "disable-gpu", "no-first-run", "disable-sync"),
        *("disable-background-networking", "disable-component-update", "hide-scrollbars"),
        f"user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(service))
    browser.set_page_load_timeout(60)
    yield browser
    browser.quit()


class Page:
    """One page as a device of this width and colour scheme shows it, all details opened."""

    def __init__(self, driver, path, width=DESKTOP, scheme="light", media="screen"):
        self.driver = driver
        driver.get("about:blank")
        for kind in ("performance", "browser"):
            driver.get_log(kind)
        self.media(media, scheme)
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        driver.get(path.as_uri())
        self.console = driver.get_log("browser")
        self.requests = [
            event["params"]["request"]["url"]
            for event in self._events()
            if event["method"] == "Network.requestWillBeSent"
        ]

    def _events(self):
        return [json.loads(e["message"])["message"] for e in self.driver.get_log("performance")]

    def media(self, media, scheme):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        settings = {"media": media, "features": features}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", settings)

    def run(self, script):
        return self.driver.execute_script(script)

    def open_details(self):
        self.run("document.querySelectorAll('details').forEach(d => d.open = true)")

    def boxes(self, selector):
        return self.run(
            f"return [...document.querySelectorAll({selector!r})]"
            ".map(e => { const b = e.getBoundingClientRect(); return [b.width, b.height] })"
        )


@pytest.fixture
def show(driver):
    """Opens a file; see :class:`Page`."""
    return lambda path, **how: Page(driver, path, **how)
