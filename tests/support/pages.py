"""Pages opened from disk in a real browser: headless Chromium by selenium, and Firefox by its own protocol."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from scalequest.hashing import file_sha256

AXE = Path(__file__).with_name("axe.min.js")
# Of axe-core 4.14.1 (npm), Mozilla Public License 2.0.
AXE_SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"
DESKTOP, PHONE = (1280, 900), (390, 844)
CHROMIUM = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
)


def installed(*names: str) -> None:
    """Skip where a browser is not installed; in CI, fail."""
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        assert "SCALEQUEST_CI" not in os.environ, missing
        pytest.skip(f"not installed: {', '.join(missing)} (apt-get install chromium chromium-driver firefox-esr)")


@contextmanager
def chromium(folder: Path, size: tuple[int, int] = DESKTOP) -> Iterator[Any]:
    """A Chromium of its own whose downloads and profile lie in `folder`."""
    installed("chromium", "chromedriver")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    for argument in (*CHROMIUM, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(argument)
    options.binary_location = str(shutil.which("chromium"))
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    downloads = {"download.default_directory": str(folder / "downloads"), "download.prompt_for_download": False}
    options.add_experimental_option("prefs", downloads)
    driver = webdriver.Chrome(options, Service(str(shutil.which("chromedriver"))))
    try:
        width, height = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == PHONE}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        driver.set_script_timeout(60)
        yield driver
    finally:
        driver.quit()


def wait(found: Any, what: str, seconds: float = 60) -> Any:
    """What a function returns, once that is true."""
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end, f"waited for {what}"
        time.sleep(0.05)
    return value


def requests(driver: Any) -> list[str]:
    """Addresses that the browser has asked for since the last call."""
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]


def trouble(driver: Any) -> list[str]:
    """What the browser has complained of since the last call."""
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]


def linked(driver: Any) -> list[str]:
    """All addresses in the page, those of its links, pictures, styles and scripts; a link to a part of the page itself
    is one only where that part is not there."""
    found: list[str] = driver.execute_script("""
        const here = `${location.href.split("#")[0]}#`;
        const isThere = (part) => part === "" || document.getElementById(decodeURIComponent(part)) !== null;
        return [...document.querySelectorAll("[href], [src], [data]")]
          .map((one) => one.href?.baseVal ?? one.href ?? one.src ?? one.data)
          .filter((url) => url && !(url.startsWith(here) && isThere(url.slice(here.length))));
    """)
    return found


def axe(driver: Any) -> list[str]:
    """Serious faults that axe-core finds in the page as it is."""
    assert file_sha256(AXE) == AXE_SHA256
    # By the debugger, which the page's policy does not concern.
    driver.execute_cdp_cmd("Runtime.evaluate", {"expression": AXE.read_text(encoding="utf-8")})
    script = "const done = arguments[0]; axe.run().then((found) => done(found.violations));"
    found = driver.execute_async_script(script)
    return [
        f"{one['id']}: {one['help']}: {node['html'][:200]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


class Firefox:
    """A headless Firefox, spoken to by WebDriver BiDi, which needs no driver of its own."""

    def __init__(self, folder: Path):
        installed("firefox-esr")
        import websocket

        profile = folder / "firefox"
        profile.mkdir()
        # Nothing is looked for in the network.
        quiet = {"app.normandy.enabled": False, "network.captive-portal-service.enabled": False}
        quiet |= {"network.connectivity-service.enabled": False, "browser.safebrowsing.update.enabled": False}
        lines = [f"user_pref({json.dumps(key)}, {json.dumps(value)});\n" for key, value in quiet.items()]
        (profile / "user.js").write_text("".join(lines), encoding="utf-8")
        line = ["firefox-esr", "--headless", "--no-remote", "--profile", str(profile), "--remote-debugging-port", "0"]
        log = (folder / "firefox.log").open("w")
        self.process = subprocess.Popen(line, stdout=log, stderr=log, env={**os.environ, "HOME": str(folder)})  # noqa: S603
        said = wait(lambda: "BiDi listening on" in (text := (folder / "firefox.log").read_text()) and text, "Firefox")
        address = said.split("BiDi listening on ")[1].split()[0]
        self.socket = websocket.create_connection(f"{address}/session", timeout=60, suppress_origin=True)
        self._number = 0
        self.ask("session.new", capabilities={})
        self.page = self.ask("browsingContext.getTree")["contexts"][0]["context"]

    def ask(self, method: str, **params: Any) -> Any:
        """The result of a command."""
        self._number += 1
        self.socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while (answer := json.loads(self.socket.recv())).get("id") != self._number:
            pass
        assert answer["type"] == "success", answer
        return answer["result"]

    def open(self, address: str) -> None:
        """Go to an address, and wait until it is loaded."""
        self.ask("browsingContext.navigate", context=self.page, url=address, wait="complete")

    def value(self, expression: str) -> Any:
        """The value of an expression in the page: a text, a number or a truth."""
        found = self.ask("script.evaluate", expression=expression, target={"context": self.page}, awaitPromise=True)
        assert found["type"] == "success", found
        return found["result"].get("value")

    def close(self) -> None:
        """End it."""
        self.socket.close()
        self.process.terminate()
        self.process.wait(30)
