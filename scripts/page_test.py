"""Opens reports of `filo report` in a headless Chromium and uses them as a person would: reads the
console, follows links, sorts, searches, moves thresholds and opens images by keyboard, toggles layers, at
two widths and in both themes, prints, and asks axe-core. Usage:
page_test.py [--screenshots DIR] [--hostile] REPORT.html...

With --hostile the report must have a picture whose name is HTML, shown as text.
"""

import argparse
import json
import pathlib
import re
import shutil
import sys
import urllib.parse

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
    if page.locator("#metrics-table").count() == 0:
        return
    values = """() => {
      const th = document.querySelector('#metrics-table thead th[aria-sort]');
      const rows = [...document.querySelectorAll('#metrics-table tbody')];
      return rows.map((body) => body.rows[0].cells[th.cellIndex].dataset.v);
    }"""
    names = """() => [...document.querySelectorAll('#metrics-table tbody')].map(
      (body) => body.rows[0].cells[0].dataset.v)"""
    all_names = sorted(page.evaluate(names))
    columns = page.locator("#metrics-table thead th[data-sort=number]")
    check(columns.count() >= 5, f"{columns.count()} columns of numbers")
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


ROWS = "() => [...document.querySelectorAll('#flagged-table tbody tr')].map((row) => row.innerText)"
SCORES = """() => {
  const at = [...document.querySelectorAll('#flagged-table thead th')].findIndex((th) => th.innerText.startsWith('score'));
  return [...document.querySelectorAll('#flagged-table tbody tr')].map((row) => Number(row.cells[at].innerText));
}"""


def tile(page, key):
    of = page.locator(f"#tile-{key}")
    return of.inner_text().replace(",", "") if of.count() else None


def lists_flagged(page):
    """The table has as many rows as the first card says, sorts, and finds a file by its name."""
    flagged = int(tile(page, "flagged"))
    if page.locator("#all-rows").is_visible():
        page.locator("#all-rows").click()
    rows = page.evaluate(ROWS)
    more = page.locator("#flagged-more")
    left = int(re.search(r"And ([\d,]+) more", more.inner_text())[1].replace(",", "")) if more.is_visible() else 0
    check(len(rows) + left == flagged, f"{len(rows)} rows and {left} more of {flagged} flagged images")
    if not rows:
        check("No image is flagged" in page.locator("#flagged-about").inner_text(), "an empty table says nothing")
        return
    score = page.locator("#flagged-table thead th", has_text="score").first
    score.locator("button").click()
    down = page.evaluate(SCORES)
    check(down == sorted(down, reverse=True), f"not sorted by score: {down}")
    score.locator("button").focus()
    page.keyboard.press("Enter")
    up = page.evaluate(SCORES)
    check(up == sorted(up), f"not sorted by score: {up}")
    name = page.locator("#flagged-table tbody tr").last.locator("th").inner_text().split("\n")[0]
    page.locator("#search").fill(name)
    found = page.evaluate(ROWS)
    check(found and all(name in row for row in found), f"a search for {name!r} finds {found}")
    check(len(found) <= len(rows), "a search adds rows")
    page.locator("#search").fill("no image is called this")
    check(page.evaluate(ROWS) == [], "a search for nothing finds something")
    page.locator("#search").fill("")
    check(len(page.evaluate(ROWS)) == len(rows), "rows are lost in searching")
    thumb = page.locator("#flagged-table .thumb button").first
    if thumb.count():
        thumb.focus()
        page.keyboard.press("Enter")
        check(page.locator("#viewer").evaluate("(d) => d.open"), "a small image does not open")
        page.keyboard.press("Escape")
        check(page.evaluate("() => document.activeElement.closest('.thumb') !== null"), "the focus is lost")


def links_are_safe(page):
    links = page.evaluate(
        "() => [...document.querySelectorAll('a:not([href^=\"#\"])')].map((a) => [a.href, a.closest('#flagged-table') !== null])"
    )
    for href, in_table in links:
        check(in_table and re.match(r"(file|s3|gs|az|https?)://", href), f"a link to {href}")
    files = page.locator("#flagged-table tbody th").count()
    check(len(links) == files, f"{len(links)} links of {files} files")
    for href, _ in links[:20]:
        if href.startswith("file://"):
            path = urllib.parse.unquote(urllib.parse.urlparse(href).path)
            check(pathlib.Path(path).exists(), f"{href} leads nowhere")


def moves_threshold(page):
    """By keyboard: figures, table and galleries follow, and come back."""
    sliders = page.locator(".adjust input")
    check(sliders.count() > 0, "no threshold to move")
    slider = sliders.first
    slider.evaluate("(s) => { s.closest('details').open = true; }")
    keys = ["flagged", "missed", "false-alarms", "precision", "recall"]
    before = {key: tile(page, key) for key in keys}
    rows = page.evaluate(ROWS)
    cards = """() => [...document.querySelectorAll('.gallery')].map((g) =>
      [g.dataset.gallery, g.hidden, g.querySelectorAll('li').length])"""
    shown = page.evaluate(cards)
    for gallery, hidden, n in shown:
        check(hidden == (n == 0), f"gallery {gallery} with {n} images is hidden: {hidden}")
    labels = "() => [...document.querySelectorAll('.picture')].map((p) => p.getAttribute('aria-label'))"
    names = page.evaluate(labels)
    category = slider.evaluate("(s) => Number(s.closest('.adjust').dataset.category)")
    data = json.loads(page.locator("#data").text_content())

    def totals(step):
        flagged = list(data["others"][1])
        n = list(data["others"][0])
        for i, other in enumerate(data["categories"]):
            here = [a[step] if a else 0 for a in other["above"]] if i == category else other["flagged"]
            flagged = [a + b for a, b in zip(flagged, here)]
            n = [a + b for a, b in zip(n, other["n"])]
        return flagged, n

    for key, step in [("Home", 0), ("End", 400), ("ArrowLeft", 399), ("PageDown", None)]:
        slider.focus()
        page.keyboard.press(key)
        at = int(slider.input_value())
        check(step is None or at == step, f"{key} moves the threshold to {at}")
        flagged, n = totals(at)
        check(int(tile(page, "flagged")) == sum(flagged), f"{key}: {tile(page, 'flagged')} flagged, not {sum(flagged)}")
        if before["missed"] is not None:
            check(int(tile(page, "missed")) == n[1] - flagged[1], f"{key}: missed {tile(page, 'missed')}")
        if before["false-alarms"] is not None:
            check(int(tile(page, "false-alarms")) == flagged[0], f"{key}: false alarms {tile(page, 'false-alarms')}")
        if before["precision"] is not None and flagged[0] + flagged[1]:
            precision = 100 * flagged[1] / (flagged[0] + flagged[1])
            check(abs(float(tile(page, "precision").split()[0]) - precision) <= 0.051, f"{key}: {tile(page, 'precision')}")
        moved = page.evaluate(cards)
        check(sum(n for *_, n in moved) == sum(n for *_, n in shown), f"{key}: cards are lost: {moved}")
        for gallery, hidden, count in moved:
            check(hidden == (count == 0), f"{key}: gallery {gallery} with {count} images is hidden: {hidden}")
        line = slider.evaluate("(s) => { const l = s.closest('.plot').querySelector('.moved line'); const t = s.getBoundingClientRect(); const r = l.getBoundingClientRect(); return [r.left + r.width / 2 - t.left - 8, t.width - 16, getComputedStyle(l).display]; }")
        share = (at / 400) if line[1] else 0
        check(line[2] != "none" and abs(line[0] - share * line[1]) < 4, f"{key}: the line is {line[0]:.0f} pixels along {line[1]:.0f}, not at {share:.2f}")
        check(page.locator("#moved").is_visible(), "nothing says that a threshold was moved")
        check(slider.get_attribute("aria-valuetext").startswith("At "), "the slider does not say its value")
    page.locator(".reset").first.click()
    check({key: tile(page, key) for key in keys} == before, "the threshold in force does not come back")
    check(page.evaluate(cards) == shown and page.evaluate(labels) == names, "the galleries do not come back")
    check(sorted(page.evaluate(ROWS)) == sorted(rows), "the table does not come back")
    check(not page.locator("#moved").is_visible(), "the page still says that a threshold was moved")


def shows_nothing_twice(page):
    twice = page.evaluate(
        """() => {
          const used = [...document.querySelectorAll('.picture[data-drawing]')].map((p) => p.dataset.drawing);
          return used.length - new Set(used).size;
        }"""
    )
    check(twice == 0, f"{twice} images are in two galleries")
    for layer, shown in page.evaluate(
        "() => [...new Set([...document.querySelectorAll('[data-layer]')].map((b) => b.dataset.layer))].map((l) => [l, document.querySelectorAll(`symbol .${l}`).length])"
    ):
        check(shown > 0, f"a layer {layer} that no image has")
    empty = page.evaluate(
        """() => [...document.querySelectorAll('table')].flatMap((table) => {
          const heads = [...table.querySelectorAll('thead th')];
          const rows = [...table.querySelectorAll('tbody tr, tfoot tr')];
          const says = (cell) => cell && (!['', '–'].includes(cell.textContent.trim()) || cell.querySelector('svg'));
          return heads.filter((_, i) => rows.length && i > 0 && !rows.some((row) => says(row.cells[i])))
            .map((head) => head.textContent);
        })"""
    )
    check(not empty, f"columns without a value: {empty}")


def prints(page, where):
    """On a few pages."""
    page.emulate_media(media="print")
    pdf = page.pdf(format="A4", print_background=True)
    page.emulate_media(media="screen")
    n = len(re.findall(rb"/Type\s*/Page[^s]", pdf))
    check(1 <= n <= 12, f"{where}: {n} printed pages")
    return pdf, n


def opens_pictures(page):
    """With the keyboard alone."""
    page.locator(".category").first.evaluate("(d) => { d.open = true; }")
    gallery = page.locator(".gallery:not([hidden])").first
    first = gallery.locator(".picture").first
    n = gallery.locator(".picture").count()
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
    check(sums and all(parts == total for parts, total in sums), f"counts: {sums}")
    data = json.loads(page.locator("#data").text_content())
    flagged = sum(map(sum, [data["others"][1]] + [of["flagged"] for of in data["categories"]]))
    scored = sum(map(sum, [data["others"][0]] + [of["n"] for of in data["categories"]]))
    check(int(tile(page, "flagged")) == flagged, f"{tile(page, 'flagged')} flagged, {flagged} in the categories")
    about = page.locator("#about-flagged").inner_text()
    check(about.startswith(f"of {scored:,},"), f"{about}, {scored} in the categories")
    first = page.locator(".rules tbody tr").first.locator("td").first.inner_text().replace(",", "")
    check(int(first) == flagged, f"the rule in force flags {first}")


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
    check({"#summary", "#flagged", "#categories"} <= set(sections), f"{where}: links {sections}")
    for link in dict.fromkeys(sections + categories[:1] + categories[-1:]):
        context, page = opened()
        first = page.locator(f'a[href="{link}"]').first
        first.scroll_into_view_if_needed()
        first.click()
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
          for (const td of document.querySelectorAll('.rules td')) { td.textContent = '1,234,567'; }
          for (const tile of document.querySelectorAll('.tile b')) { tile.textContent = '1,234,567'; }
          return [...document.querySelectorAll('table')].map((table) => {
            const card = table.closest('.card, .category, .scroll');
            const inner = card.clientWidth - 2 * parseFloat(getComputedStyle(card).paddingRight);
            const scrolls = getComputedStyle(card).overflowX === 'auto';
            return scrolls ? 0 : table.getBoundingClientRect().width - inner;
          });
        }"""
    )
    wide = page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
    check(wide <= 0, f"{where}: with large numbers {wide} pixels wider than the window")
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
            links_are_safe(page)
            if theme == "light":
                shows_nothing_twice(page)
                counts_add_up(page)
                sorts(page)
                lists_flagged(page)
                moves_threshold(page)
                n_images = pictures_decode(page)
                if page.locator(".picture").count():
                    notes += opens_pictures(page)
            elements = page.evaluate(
                "() => ['img', 'script:not([type])', 'script[type]', 'iframe'].map((s) => document.querySelectorAll(s).length)"
            )
            check(elements == [0, 1, 1, 0], f"{where}: foreign elements {elements}")
            handlers = page.evaluate(
                "() => [...document.querySelectorAll('*')].filter((e) => [...e.attributes].some((a) => a.name.startsWith('on'))).length"
            )
            check(handlers == 0, f"{where}: {handlers} elements have handlers in their attributes")
            if hostile:
                text = page.locator("#categories").inner_text() + page.locator("#flagged").inner_text()
                check("<img src=x onerror=" in page.content() or "&lt;img src=x onerror=" in page.content(), "no hostile name")
                check(re.search(r"<img src=x onerror=", text + str(page.locator(".picture").evaluate_all("(c) => c.map((b) => b.getAttribute('aria-label'))"))), "the hostile name is not shown as text")
                check(page.evaluate("() => typeof window.injected") == "undefined", "a name was run")
            if screenshots:
                page.evaluate("() => { document.activeElement.blur(); scrollTo(0, 0); }")
                page.wait_for_timeout(300)
                page.screenshot(path=screenshots / f"{report.stem}-{width}-{theme}.png")
                if page.locator(".category").count():
                    page.evaluate("() => document.querySelector('#flagged').scrollIntoView()")
                    page.wait_for_timeout(300)
                    page.screenshot(path=screenshots / f"{report.stem}-{width}-{theme}-flagged.png")
                    page.evaluate("() => { document.querySelector('.category').open = true; document.querySelector('.category').scrollIntoView(); }")
                    page.wait_for_timeout(300)
                    page.screenshot(path=screenshots / f"{report.stem}-{width}-{theme}-category.png")
                    page.locator(".gallery:not([hidden])").first.evaluate("(g) => g.scrollIntoView()")
                    page.wait_for_timeout(300)
                    page.screenshot(path=screenshots / f"{report.stem}-{width}-{theme}-gallery.png")
                    page.locator(".gallery:not([hidden]) .picture").first.click()
                    page.wait_for_timeout(300)
                    page.screenshot(path=screenshots / f"{report.stem}-{width}-{theme}-picture.png")
                    page.keyboard.press("Escape")
            if theme == "light":
                anchors_land(browser, uri, where, {"width": w, "height": h})
                pdf, n_pages = prints(page, where)
                if screenshots:
                    (screenshots / f"{report.stem}-{width}.pdf").write_bytes(pdf)
                tables_fit(page, where)
            check(not complaints, f"{where}: the console says {complaints}")
            check(requests == [uri], f"{where}: asked for {requests}")
            context.close()
    size = report.stat().st_size
    check(size <= 15_000_000, f"{report}: {size} bytes")
    minor = sorted(set(notes))
    print(f"{report.name}: {size / 1e6:.1f} MB, {n_images} images, {n_pages} printed pages, as it should be"
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
