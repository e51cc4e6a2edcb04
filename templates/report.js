"use strict";
// What the page does beyond showing: it sorts, opens pictures, and shows or hides layers.
const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
const root = document.documentElement;
all(".tools, .kinds, #theme").forEach((tool) => { tool.hidden = false; });

// The theme: that of the system until it is changed, which is not kept.
const themes = ["system", "light", "dark"];
const themeButton = document.getElementById("theme");
themeButton.addEventListener("click", () => {
  const next = themes[(themes.indexOf(root.dataset.theme ?? "system") + 1) % themes.length];
  if (next === "system") { delete root.dataset.theme; } else { root.dataset.theme = next; }
  themeButton.textContent = `Theme: ${next}`;
});

// Sorting: a body of the table is a category with its kinds, and moves as one.
const table = document.getElementById("metrics-table");
const bodies = [...table.tBodies];
const headings = all("thead th", table);
const valueIn = (body, column) => body.rows[0]?.cells[column]?.dataset.v ?? "";
const compared = {
  text: (a, b) => a.localeCompare(b, undefined, { numeric: true }),
  number: (a, b) => Number(a) - Number(b),
};
function sortBy(heading) {
  const { sort } = heading.dataset;
  const column = heading.cellIndex;
  const first = sort === "text" ? "ascending" : "descending";
  const other = first === "ascending" ? "descending" : "ascending";
  const order = heading.getAttribute("aria-sort") === first ? other : first;
  headings.forEach((of) => of.removeAttribute("aria-sort"));
  heading.setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  // What has no value comes last in either order.
  const empty = (body) => Number(valueIn(body, column) === "");
  bodies.sort((a, b) => empty(a) - empty(b)
    || sign * compared[sort](valueIn(a, column), valueIn(b, column)));
  bodies.forEach((body) => table.insertBefore(body, table.tFoot));
  document.getElementById("sorted").textContent = `sorted by ${heading.textContent}, ${order}`;
}
headings.forEach((heading) => {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = heading.textContent;
  button.addEventListener("click", () => sortBy(heading));
  heading.replaceChildren(button);
});
all(".kinds").forEach((button) => button.addEventListener("click", () => {
  const show = button.getAttribute("aria-expanded") !== "true";
  button.setAttribute("aria-expanded", String(show));
  all(".kind", button.closest("tbody")).forEach((row) => { row.hidden = !show; });
}));
document.getElementById("bounds")?.addEventListener("change", (event) => {
  table.classList.toggle("show-bounds", event.target.checked);
});

// Layers: one choice for the whole page, wherever it is made.
function showLayer(layer, shown) {
  root.classList.toggle(`no-${layer}`, !shown);
  all(`[data-layer="${layer}"]`).forEach((box) => { box.checked = shown; });
}
all("[data-layer]").forEach((box) => box.addEventListener("change", () => {
  showLayer(box.dataset.layer, box.checked);
}));

// The viewer: a picture of a gallery, large, with its neighbours a key away.
const viewer = document.getElementById("viewer");
let cards = [];
let at = 0;
function show(index) {
  at = (index + cards.length) % cards.length;
  const card = cards[at];
  const facts = card.parentElement.querySelector(".facts").cloneNode(true);
  facts.hidden = false;
  document.getElementById("viewer-h").textContent = card.getAttribute("aria-label");
  document.getElementById("viewer-at").textContent = `${at + 1} of ${cards.length}`;
  document.getElementById("viewer-pair").replaceChildren(card.querySelector(".pair").cloneNode(true));
  document.getElementById("viewer-facts").replaceChildren(facts);
}
all(".picture").forEach((card) => card.addEventListener("click", () => {
  cards = all(".picture", card.closest("ul"));
  show(cards.indexOf(card));
  viewer.showModal();
}));
all("[data-step]", viewer).forEach((button) => button.addEventListener("click", () => {
  show(at + Number(button.dataset.step));
}));
document.getElementById("viewer-close").addEventListener("click", () => viewer.close());
// The picture that was looked at last has the focus afterwards.
viewer.addEventListener("close", () => cards[at]?.focus());
const layerOf = { h: "heat", m: "mask", t: "truth", b: "boxes" };
viewer.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) { return; }
  const layer = layerOf[event.key.toLowerCase()];
  if (event.key === "ArrowLeft") { show(at - 1); }
  else if (event.key === "ArrowRight") { show(at + 1); }
  else if (layer) { showLayer(layer, root.classList.contains(`no-${layer}`)); }
  else { return; }
  event.preventDefault();
});
