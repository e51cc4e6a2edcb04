"use strict";
// What the page does beyond showing: themes, ways to categories, sorting, layers, and the viewer. The two
// files after this one list flagged images and move thresholds.
const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
const byId = (id) => document.getElementById(id);
const root = document.documentElement;
const given = JSON.parse(byId("data").textContent);
all(".tools, .kinds, #theme").forEach((tool) => { tool.hidden = false; });

// The theme: that of the system until it is changed, which is not kept.
const themes = ["system", "light", "dark"];
const themeButton = byId("theme");
themeButton.addEventListener("click", () => {
  const next = themes[(themes.indexOf(root.dataset.theme ?? "system") + 1) % themes.length];
  if (next === "system") { delete root.dataset.theme; } else { root.dataset.theme = next; }
  themeButton.textContent = `Theme: ${next}`;
});

// Ways: what a link leads to is opened first, and lands below the bar, however high that is.
const bar = document.querySelector("header");
const measure = () => { root.style.scrollPaddingTop = `${bar.offsetHeight + 8}px`; };
new ResizeObserver(measure).observe(bar);
measure();
function open(id) {
  const target = byId(id);
  if (target?.matches("details")) { target.open = true; }
}
document.addEventListener("click", (event) => {
  const link = event.target.closest?.('a[href^="#"]');
  if (link) { open(link.hash.slice(1)); }
});
byId("jump")?.addEventListener("change", (event) => {
  const { value } = event.target;
  open(value);
  event.target.value = "";
  if (value) { location.hash = ""; location.hash = value; }
});
if (location.hash) {
  open(location.hash.slice(1));
  byId(location.hash.slice(1))?.scrollIntoView();
}

// Sorting: a body of a table moves as one, a category with its defect types.
const compared = {
  text: (a, b) => a.localeCompare(b, undefined, { numeric: true }),
  number: (a, b) => Number(a) - Number(b),
};
// Turns headings into buttons. `sort` gets the column, how it compares, and 1 or -1.
function sortable(headings, sort) {
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent;
    heading.replaceChildren(button);
    button.addEventListener("click", () => {
      const first = heading.dataset.first ?? (heading.dataset.sort === "text" ? "ascending" : "descending");
      const other = first === "ascending" ? "descending" : "ascending";
      const order = heading.getAttribute("aria-sort") === first ? other : first;
      headings.forEach((of) => of.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", order);
      sort(column, compared[heading.dataset.sort], order === "ascending" ? 1 : -1);
      byId("sorted").textContent = `sorted by ${heading.textContent}, ${order}`;
    });
  });
}
// What has no value comes last in either order.
const inOrder = (a, b, compare, sign) => (a === "") - (b === "") || sign * compare(a, b);
all("table.sortable").forEach((table) => {
  const bodies = [...table.tBodies];
  const value = (body, column) => body.rows[0]?.cells[column]?.dataset.v ?? "";
  sortable(all("thead th", table), (column, compare, sign) => {
    bodies.sort((a, b) => inOrder(value(a, column), value(b, column), compare, sign));
    bodies.forEach((body) => table.insertBefore(body, table.tFoot));
  });
});
all(".kinds").forEach((button) => button.addEventListener("click", () => {
  const show = button.getAttribute("aria-expanded") !== "true";
  button.setAttribute("aria-expanded", String(show));
  all(".kind", button.closest("tbody")).forEach((row) => { row.hidden = !show; });
}));
byId("bounds")?.addEventListener("change", (event) => {
  byId("metrics-table").classList.toggle("show-bounds", event.target.checked);
});
byId("search-categories")?.addEventListener("input", (event) => {
  const wanted = event.target.value.trim().toLowerCase();
  for (const body of byId("overview-table").tBodies) {
    body.hidden = !body.rows[0].cells[0].dataset.v.toLowerCase().includes(wanted);
  }
});

// Layers: one choice for the whole page, wherever it is made.
function showLayer(layer, shown) {
  root.classList.toggle(`no-${layer}`, !shown);
  all(`[data-layer="${layer}"]`).forEach((box) => { box.checked = shown; });
}
all("[data-layer]").forEach((box) => box.addEventListener("change", () => {
  showLayer(box.dataset.layer, box.checked);
}));

// The viewer: an image of a gallery or of the table, large, with its neighbours a key away.
const viewer = byId("viewer");
let cards = [];
let openers = [];
let at = 0;
function show(index) {
  at = (index + cards.length) % cards.length;
  const card = cards[at];
  const facts = card.parentElement.querySelector(".facts").cloneNode(true);
  facts.hidden = false;
  byId("viewer-h").textContent = card.getAttribute("aria-label");
  byId("viewer-at").textContent = `${at + 1} of ${cards.length}`;
  byId("viewer-pair").replaceChildren(card.querySelector(".pair").cloneNode(true));
  byId("viewer-facts").replaceChildren(facts);
}
// `from` are the buttons that open the cards.
function view(from, list, index) {
  [openers, cards] = [from, list];
  show(index);
  viewer.showModal();
}
all(".picture").forEach((card) => card.addEventListener("click", () => {
  const list = all(".picture", card.closest("ul"));
  view(list, list, list.indexOf(card));
}));
all("[data-step]", viewer).forEach((button) => button.addEventListener("click", () => {
  show(at + Number(button.dataset.step));
}));
byId("viewer-close").addEventListener("click", () => viewer.close());
// What shows the image that was looked at last has the focus afterwards.
viewer.addEventListener("close", () => openers[at]?.focus());
const layerOf = Object.fromEntries(
  all("[data-key]").map((box) => [box.dataset.key.toLowerCase(), box.dataset.layer]));
viewer.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) { return; }
  const layer = layerOf[event.key.toLowerCase()];
  if (event.key === "ArrowLeft") { show(at - 1); }
  else if (event.key === "ArrowRight") { show(at + 1); }
  else if (layer) { showLayer(layer, root.classList.contains(`no-${layer}`)); }
  else { return; }
  event.preventDefault();
});
