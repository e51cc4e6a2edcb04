"""Opens reports of `filo report` in a headless Chromium and uses them as a person would: reads the
console, follows links, sorts, opens pictures by keyboard, toggles layers, at two widths and in both
themes, and asks axe-core. Usage: page_test.py [--screenshots DIR] [--hostile] REPORT.html...

With --hostile the report must have a picture whose name is HTML, shown as text.
"""

import argparse
import pathlib
import re
import shutil
import sys

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import sync_playwright

WIDTHS = {"wide": (1280, 900), "narrow": (390, 844)}
NAMES = ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"]
SERIOUS = {"serious", "critical"}


def check(holds, what):
    if not holds:
        raise SystemExit(f"page_test: {what}")


def axe(page, where):
    page.evaluate(AXE_SCRIPT)
    result = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    found = [v for v in result["violations"] if v["impact"] in SERIOUS]
    told = [f"{v['id']} ({v['impact']}): {[n['html'][:160] for n in v['nodes'][:3]]}" for v in found]
    check(not found, f"{where}: axe finds " + "; ".join(told))
    check(len(result.get("passes", [])) > 0, f"{where}: axe checked nothing")
    return [f"{v['id']} ({v['impact']})" for v in result["violations"]]


def sorts(page):
    """Every column of numbers, by mouse and by keyboard: what has no value comes last either way."""
    values = """() => {
      const th = document.querySelector('#metrics-table thead th[aria-sort]');
      const rows = [...document.querySelectorAll('#metrics-table tbody')];
      return rows.map((body) => body.rows[0].cells[th.cellIndex].dataset.v);
    }"""
    names = """() => [...document.querySelectorAll('#metrics-table tbody')].map(
      (body) => body.rows[0].cells[0].dataset.v)"""
    all_names = sorted(page.evaluate(names))
    columns = page.locator("#metrics-table thead th[data-sort=number]")
    check(columns.count() >= 10, f"{columns.count()} columns of numbers")
    for i in range(columns.count()):
        column = columns.nth(i)
        column.locator("button").click()
        check(column.get_attribute("aria-sort") == "descending", "a click does not sort")
        shown = page.evaluate(values)
        down = [float(value) for value in shown if value]
        check(down == sorted(down, reverse=True), f"not sorted downwards: {shown}")
        check("" not in shown[: len(down)], f"missing values are not last: {shown}")
        column.locator("button").focus()
        page.keyboard.press("Enter")
        check(column.get_attribute("aria-sort") == "ascending", "Enter does not sort")
        shown = page.evaluate(values)
        up = [float(value) for value in shown if value]
        check(up == sorted(up), f"not sorted upwards: {shown}")
        check("" not in shown[: len(up)], f"missing values are not last: {shown}")
        check(sorted(page.evaluate(names)) == all_names, "rows are lost in sorting")
    page.locator("#metrics-table thead th[data-sort=text] button").click()
    check(len(set(all_names)) == len(all_names), f"a category twice: {all_names}")


def opens_pictures(page):
    """With the keyboard alone."""
    first = page.locator(".picture").first
    n = page.locator(".gallery").first.locator(".picture").count()
    first.focus()
    page.keyboard.press("Enter")
    viewer = page.locator("#viewer")
    check(viewer.evaluate("(d) => d.open"), "Enter on a picture does not open it")
    heading = page.locator("#viewer-h")
    check(heading.inner_text() == first.get_attribute("aria-label"), "another picture is open")
    if first.locator(".compared").count():
        compared = page.locator("#viewer-pair .compared")
        check(compared.is_visible() and compared.bounding_box()["width"] > 60, "no reference in the viewer")
    before = heading.inner_text()
    page.keyboard.press("ArrowRight")
    check(n == 1 or heading.inner_text() != before, "→ shows the same picture")
    page.keyboard.press("ArrowLeft")
    check(heading.inner_text() == before, "← does not lead back")
    if page.locator("symbol .heat").count():
        hidden = "() => getComputedStyle(document.querySelector('symbol .heat')).display === 'none'"
        page.keyboard.press("h")
        check(page.evaluate(hidden), "H does not hide the heat map")
        page.keyboard.press("h")
        check(not page.evaluate(hidden), "H does not show the heat map again")
    findings = axe(page, "open picture")
    page.keyboard.press("Escape")
    check(not viewer.evaluate("(d) => d.open"), "Escape does not close the picture")
    label = page.evaluate("() => document.activeElement.getAttribute('aria-label')")
    check(label == before, f"the focus is on {label!r} and not on the picture that was open")
    return findings


def pictures_decode(page):
    n, broken = page.evaluate(
        """async () => {
          const images = [...document.querySelectorAll('symbol image')];
          const decoded = await Promise.allSettled(images.map((image) => {
            const one = new Image();
            one.src = image.getAttribute('href');
            return one.decode();
          }));
          return [images.length, decoded.filter((one) => one.status === 'rejected').length];
        }"""
    )
    check(broken == 0, f"{broken} of {n} images cannot be decoded")
    return n


def counts_add_up(page):
    sums = page.evaluate(
        """() => [...document.querySelectorAll('#summary .sum dl')].map((list) => {
          const row = (div) => Number(div.querySelector('dd').firstChild.textContent.replaceAll(',', ''));
          const parts = [...list.querySelectorAll('div:not(.total)')].map(row);
          const total = list.querySelector('.total');
          return total ? [parts.reduce((a, b) => a + b, 0), row(total)] : [0, 0];
        })"""
    )
    check(len(sums) >= 2 and all(parts == total for parts, total in sums), f"counts: {sums}")
    table = page.evaluate(
        """() => [...document.querySelectorAll('.confusion tbody tr')].map((row) =>
          [...row.cells].slice(1).map((td) => Number(td.firstChild.textContent.replaceAll(',', ''))))"""
    )
    *rows, total = table
    check([sum(column) for column in zip(*rows)] == total, f"counts by threshold: {table}")
    check(sum(total) == sums[1][1], f"counts by threshold and by truth differ: {table} {sums}")


def anchors_land(browser, uri, where, viewport):
    """The first click on a link shows its heading below the bar, whatever lies undrawn between."""
    def opened():
        context = browser.new_context(viewport=viewport, offline=True)
        page = context.new_page()
        page.goto(uri, wait_until="load")
        return context, page

    context, page = opened()
    links = page.evaluate("() => [...document.querySelectorAll('a[href^=\"#\"]')].map((a) => a.getAttribute('href'))")
    context.close()
    categories = [link for link in links if link.startswith("#category-")]
    sections = [link for link in links if link not in categories and link != "#main"]
    check({"#summary", "#metrics", "#failures"} <= set(sections), f"{where}: links {sections}")
    for link in dict.fromkeys(sections + categories[-1:]):
        context, page = opened()
        page.locator(f'a[href="{link}"]').first.click()
        page.wait_for_timeout(200)
        top, bottom, left = page.evaluate(
            """(link) => {
              const heading = document.querySelector(link).querySelector('h1, h2, h3').getBoundingClientRect();
              const bar = document.querySelector('header').getBoundingClientRect();
              const page = document.documentElement;
              return [heading.top - bar.bottom, innerHeight - heading.bottom, page.scrollHeight - innerHeight - scrollY];
            }""",
            link,
        )
        # The last sections of a page cannot rise to its top.
        lands = top >= 0 and bottom >= 0 and (top <= 60 or left <= 1)
        check(lands, f"{where}: {link} lands with its heading {top:.0f} pixels below the bar, {left:.0f} pixels from the end")
        context.close()


def tables_fit(page, where):
    """No table leaves its card, not even with the counts of a million images; wide ones scroll."""
    over = page.evaluate(
        """() => {
          for (const td of document.querySelectorAll('.confusion td')) {
            if (td.closest('tbody')) { td.firstChild.textContent = '1,234,567 '; }
          }
          return [...document.querySelectorAll('table')].map((table) => {
            const card = table.closest('.card, .category, .scroll');
            const inner = card.clientWidth - 2 * parseFloat(getComputedStyle(card).paddingRight);
            const scrolls = getComputedStyle(card).overflowX === 'auto';
            return scrolls ? 0 : table.getBoundingClientRect().width - inner;
          });
        }"""
    )
    check(len(over) >= 2 and max(over) <= 0.5, f"{where}: tables leave their cards by {over} pixels")


def test(browser, report, screenshots, hostile):
    uri = report.resolve().as_uri()
    notes = []
    for theme in ["light", "dark"]:
        for width, (w, h) in WIDTHS.items():
            context = browser.new_context(
                viewport={"width": w, "height": h}, color_scheme=theme, offline=True
            )
            page = context.new_page()
            complaints, requests = [], []
            page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("request", lambda r: requests.append(r.url) if not r.url.startswith("data:") else None)
            page.goto(uri, wait_until="load")
            where = f"{report.name}, {width}, {theme}"
            wide = page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
            check(wide <= 0, f"{where}: {wide} pixels wider than the window")
            notes += axe(page, where)
            if theme == "light":
                counts_add_up(page)
                sorts(page)
                n_images = pictures_decode(page)
                if page.locator(".picture").count():
                    notes += opens_pictures(page)
            elements = page.evaluate(
                "() => ['img', 'script', 'iframe', 'a:not([href^=\"#\"])'].map((s) => document.querySelectorAll(s).length)"
            )
            check(elements == [0, 1, 0, 0], f"{where}: foreign elements {elements}")
            handlers = page.evaluate(
                "() => [...document.querySelectorAll('*')].filter((e) => [...e.attributes].some((a) => a.name.startsWith('on'))).length"
            )
            check(handlers == 0, f"{where}: {handlers} elements have handlers in their attributes")
            if hostile:
                text = page.locator("#categories").inner_text()
                check("<img src=x onerror=" in page.content() or "&lt;img src=x onerror=" in page.content(), "no hostile name")
                check(re.search(r"<img src=x onerror=", text + str(page.locator(".picture").evaluate_all("(c) => c.map((b) => b.getAttribute('aria-label'))"))), "the hostile name is not shown as text")
                check(page.evaluate("() => typeof window.injected") == "undefined", "a name was run")
            if screenshots:
                page.screenshot(path=screenshots / f"{report.stem}-{width}-{theme}.png")
                if page.locator(".category").count():
                    page.locator(".category").first.scroll_into_view_if_needed()
                    page.evaluate("() => document.querySelector('.category').scrollIntoView()")
                    page.wait_for_timeout(300)
                    page.screenshot(path=screenshots / f"{report.stem}-{width}-{theme}-category.png")
                    page.locator(".gallery").first.evaluate("(g) => g.scrollIntoView()")
                    page.wait_for_timeout(300)
                    page.screenshot(path=screenshots / f"{report.stem}-{width}-{theme}-gallery.png")
                    page.locator(".picture").first.click()
                    page.wait_for_timeout(300)
                    page.screenshot(path=screenshots / f"{report.stem}-{width}-{theme}-picture.png")
            if theme == "light":
                anchors_land(browser, uri, where, {"width": w, "height": h})
                tables_fit(page, where)
            check(not complaints, f"{where}: the console says {complaints}")
            check(requests == [uri], f"{where}: asked for {requests}")
            context.close()
    size = report.stat().st_size
    check(size <= 15_000_000, f"{report}: {size} bytes")
    minor = sorted(set(notes))
    print(f"{report.name}: {size / 1e6:.1f} MB, {n_images} images, as it should be"
          + (f"; minor findings of axe: {', '.join(minor)}" if minor else ""))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("reports", nargs="+", type=pathlib.Path)
    parser.add_argument("--screenshots", type=pathlib.Path)
    parser.add_argument("--hostile", action="store_true")
    args = parser.parse_args()
    program = next(filter(None, map(shutil.which, NAMES)), None)
    check(program, f"no browser: install one of {', '.join(NAMES)}")
    if args.screenshots:
        args.screenshots.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for report in args.reports:
            test(browser, report, args.screenshots, args.hostile)
        browser.close()


if __name__ == "__main__":
    sys.exit(main())
