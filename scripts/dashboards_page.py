#!/usr/bin/env python3
"""Opens the dashboard of pipelines/dashboards/superset in a headless Chromium and compares what it shows
with the figures of dashboards_nights.py.

    dashboards_page.py URL PASSWORD FIGURES.json SCREENSHOTS

Every chart must be drawn and none may show an error; the counts, the table of nights and the worst images
must be DuckDB's, also with the filter set to one category. Needs playwright.
"""

import json
import re
import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

NAMES = ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"]
# The server may be as slow as a machine that does something else.
TIMEOUT_MS = 120_000
WIDTH = 1280
CANVASES = [
    "Flagged share per night", "Drift of scores (PSI)", "Median score", "99th percentile of scores",
    "Failures by code",
]
TABLES = ["Nights", "Worst images"]
COUNTS = {"Images scored": "scored", "Images flagged": "flagged", "Images that could not be scored": "failed"}
SETTLED = """() => {
  const charts = [...document.querySelectorAll('[data-test=chart-grid-component]')];
  return charts.length === %d && !document.querySelector('.loading, [data-test=loading-indicator]')
    && charts.every((chart) => chart.querySelector('canvas, table, .header-line, [role=alert]'));
}"""


def check(holds, what):
    if not holds:
        raise SystemExit(f"dashboards_page: {what}")


class Dashboard:
    """The open page."""

    def __init__(self, page):
        self.page = page

    def settle(self):
        """Waits until every chart is drawn; ends the script if one shows an error."""
        number = len(CANVASES) + len(TABLES) + len(COUNTS)
        # What is below the window is drawn when it comes into view.
        self.page.wait_for_selector("[data-test=chart-grid-component]", timeout=TIMEOUT_MS)
        for chart in self.page.locator("[data-test=chart-grid-component]").all():
            chart.scroll_into_view_if_needed()
            self.page.wait_for_timeout(300)
        self.page.wait_for_function(SETTLED % number, timeout=TIMEOUT_MS)
        self.page.wait_for_timeout(2000)
        alerts = self.page.locator("[data-test=chart-grid-component] [role=alert], .ant-alert-error")
        alerts = alerts.all_inner_texts()
        check(not alerts, f"errors: {alerts}")
        check(self.page.get_by_text("No results were returned").count() == 0, "a chart has no rows")

    def save(self, file):
        """A screenshot of all of it."""
        self.page.set_viewport_size({"width": WIDTH, "height": 2100})
        self.page.wait_for_timeout(3000)
        self.page.screenshot(path=file)
        self.page.set_viewport_size({"width": WIDTH, "height": 900})

    def chart(self, title):
        found = self.page.locator("[data-test=chart-grid-component]").filter(
            has=self.page.locator("[data-test=editable-title]", has_text=re.compile(f"^{re.escape(title)}$"))
        )
        check(found.count() == 1, f"{found.count()} charts {title!r}")
        return found

    def count(self, title):
        return int(self.chart(title).locator(".header-line").inner_text().replace(",", ""))

    def rows(self, title):
        rows = self.chart(title).locator("tbody tr").all()
        return [[cell.strip() for cell in row.locator("td").all_inner_texts()] for row in rows]


def compare(dashboard, figures):
    for title, key in COUNTS.items():
        shown = dashboard.count(title)
        check(shown == figures[key], f"{title}: {shown}, not {figures[key]}")
    for title in CANVASES:
        canvas = dashboard.chart(title).locator("canvas").first
        check(canvas.bounding_box()["height"] > 100, f"{title}: nothing is drawn")
    nights = sorted(row[:6] for row in dashboard.rows("Nights"))
    expected = sorted([str(value) for value in row] for row in figures["nights"])
    check(nights == expected, f"nights: {nights}, not {expected}")
    worst = [Path(row[2]).name for row in dashboard.rows("Worst images")[: len(figures["worst"])]]
    check(worst == figures["worst"], f"worst images: {worst}, not {figures['worst']}")


def filter_nuts(dashboard, figures):
    """Chooses one of the two categories."""
    bar = dashboard.page.locator("[data-test=filter-bar]")
    bar.locator(".ant-select-selector, .ant-select").first.click()
    dashboard.page.locator(".ant-select-item-option", has_text=re.compile("^nut$")).click()
    dashboard.page.keyboard.press("Escape")
    dashboard.page.locator("[data-test=filter-bar__apply-button]").click()
    dashboard.page.wait_for_timeout(1000)
    dashboard.settle()
    shown = [dashboard.count(title) for title in ["Images scored", "Images flagged"]]
    check(shown == figures["of_nuts"], f"nuts: {shown}, not {figures['of_nuts']}")
    check({row[1] for row in dashboard.rows("Nights")} == {"nut"}, "nights of other categories")


def main() -> int:
    url, password, figures, screenshots = sys.argv[1:]
    figures, screenshots = json.loads(Path(figures).read_text()), Path(screenshots)
    screenshots.mkdir(parents=True, exist_ok=True)
    program = next(filter(None, map(shutil.which, NAMES)), None)
    check(program, f"no browser: {NAMES}")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 900}, color_scheme="light")
        page.set_default_timeout(TIMEOUT_MS)
        failed = []
        page.on("response", lambda r: failed.append((r.status, r.url)) if r.status >= 400 else None)
        page.goto(f"{url}/login/")
        page.locator("input#username, input[name=username]").first.fill("admin")
        page.locator("input[type=password]").first.fill(password)
        page.keyboard.press("Enter")
        page.wait_for_url(lambda at: "/login" not in at)
        page.goto(f"{url}/superset/dashboard/filo/")
        dashboard = Dashboard(page)
        try:
            dashboard.settle()
            compare(dashboard, figures)
            dashboard.save(screenshots / "dashboard.png")
            filter_nuts(dashboard, figures)
        finally:
            dashboard.save(screenshots / "last.png")
        check(not failed, f"requests that failed: {failed}")
        browser.close()
    print(f"{len(CANVASES) + len(TABLES) + len(COUNTS)} charts, {figures['scored']} images scored")
    return 0


if __name__ == "__main__":
    sys.exit(main())
