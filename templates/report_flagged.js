// The table of flagged images. Rows come from the page's data; names are set as text, never as HTML.
const grouped = (n) => n.toLocaleString("en-US");
const make = (name, text, className) => {
  const element = document.createElement(name);
  if (text !== undefined) { element.textContent = text; }
  if (className) { element.className = className; }
  return element;
};
// Step of the threshold of each category; null is what is in force, which each image has on its own.
const chosen = given.categories.map(() => null);
const isFlagged = (row) => (row.of === null || chosen[row.of] === null
  ? row.flagged : row.score > given.categories[row.of].stops[chosen[row.of]]);
// How many images of each class are flagged.
const flaggedIn = (index) => {
  const { flagged, above } = given.categories[index];
  return chosen[index] === null ? flagged : above.map((of) => of[chosen[index]] ?? 0);
};
const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);

// Rows at first; a button shows the others.
const FEW = 50;
const WORDS = ["normal", "anomalous", "–"];
const word = (number) => (number === null ? "" : given.words[number]);
const digits = (p) => (p < 1e-6 ? "< 0.000001" : p.toPrecision(2).includes("e") ? p.toFixed(6) : String(Number(p.toPrecision(2))));

// A path breaks after its folders rather than anywhere.
const path = (text) => text.split(/(?<=\/)/).flatMap((part) => [part, make("wbr")]);
function fileCell(row) {
  const cell = make("th");
  cell.scope = "row";
  const end = row.id.lastIndexOf("/") + 1;
  const name = row.id.slice(end);
  if (row.link) {
    const link = make("a", name);
    link.href = row.link;
    link.rel = "noreferrer";
    link.title = row.link;
    cell.append(link);
  } else { cell.append(name); }
  if (end > 0) {
    const folder = make("small");
    folder.append(...path(row.id.slice(0, end)));
    cell.append(folder);
  }
  return cell;
}
function imageCell(row) {
  const cell = make("td", undefined, "thumb");
  if (row.drawing === null) { return cell; }
  const button = make("button");
  button.type = "button";
  button.dataset.drawing = row.drawing;
  button.setAttribute("aria-label", `Open ${row.id}`);
  button.setAttribute("aria-haspopup", "dialog");
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", byId(`f${row.drawing}`).getAttribute("viewBox"));
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(space, "use");
  use.setAttribute("href", `#f${row.drawing}`);
  svg.append(use);
  button.append(svg);
  cell.append(button);
  return cell;
}
function referenceCell(row) {
  const cell = make("td", undefined, "words");
  cell.append(...path(word(row.reference)));
  return cell;
}
const area = (row) => (row.area === null ? "" : row.area / Math.max(row.pixels, 1));
const has = (key) => given.rows.some((row) => row[key] !== null);
const several = new Set(given.rows.map((row) => row.category)).size > 1;
const labelled = given.rows.some((row) => row.class < 2);
// Name, how it sorts, its value for sorting, its cell as text or as an element, and whether there is any.
const columns = [
  ["image", "", () => "", imageCell, has("drawing")],
  ["file", "text", (row) => row.id, fileCell, true],
  ["category", "text", (row) => word(row.category), (row) => word(row.category), several],
  ["score", "number", (row) => row.score, (row) => row.score.toFixed(3), true],
  ["p-value", "number", (row) => row.p ?? "", (row) => (row.p === null ? "" : digits(row.p)), has("p")],
  ["defect area", "number", area, (row) => (row.area === null ? "" : `${(100 * area(row)).toFixed(2)} %`), has("area")],
  ["truth", "text", (row) => WORDS[row.class], (row) => WORDS[row.class], labelled],
  ["looks like", "text", (row) => word(row.description), (row) => word(row.description), has("description")],
  ["nearest reference", "text", (row) => word(row.reference), referenceCell, has("reference")],
].filter((column) => column[4]);

const flaggedTable = byId("flagged-table");
const heads = columns.map(([name, sort]) => {
  const heading = make("th", name);
  heading.scope = "col";
  if (sort) { heading.dataset.sort = sort; }
  if (name === "p-value") { heading.dataset.first = "ascending"; }
  if (["file", "category", "truth", "looks like", "nearest reference"].includes(name)) { heading.className = "words"; }
  return heading;
});
flaggedTable.tHead.rows[0].append(...heads);
const sortedBy = columns.filter((column) => column[1]);
sortable(heads.filter((heading) => heading.dataset.sort), (column, compare, sign) => {
  const value = sortedBy[column][2];
  given.rows.sort((a, b) => inOrder(value(a), value(b), compare, sign));
  listFlagged();
});
// Scores compare inside a category only; p-values compare everywhere.
const firstSort = has("p") ? (a, b) => inOrder(a.p ?? "", b.p ?? "", compared.number, 1) : () => 0;
given.rows.sort((a, b) => firstSort(a, b) || b.score - a.score);

let showAll = false;
function listFlagged() {
  const wanted = byId("search").value.trim().toLowerCase();
  const matches = (row) => [row.id, word(row.category), word(row.description)]
    .some((text) => text.toLowerCase().includes(wanted));
  const flagged = given.rows.filter(isFlagged);
  const found = wanted ? flagged.filter(matches) : flagged;
  const listed = showAll ? found : found.slice(0, FEW);
  const rows = listed.map((row) => {
    const line = make("tr");
    line.append(...columns.map(([name, , , content]) => {
      const cell = content(row);
      return cell instanceof Node ? cell : make("td", cell, heads.find((head) => head.textContent === name).className);
    }));
    return line;
  });
  flaggedTable.tBodies[0].replaceChildren(...rows);
  byId("flagged-scroll").hidden = rows.length === 0;
  byId("all-rows").hidden = listed.length === found.length;
  byId("all-rows").textContent = `Show all ${grouped(found.length)} rows`;
  const total = sum(given.others[1]) + sum(given.categories.map((_, index) => sum(flaggedIn(index))));
  byId("flagged-about").textContent = total === 0 ? "No image is flagged."
    : wanted ? `${grouped(found.length)} of ${grouped(total)} flagged images match`
      : `${grouped(listed.length)} of ${grouped(total)} flagged images`;
  const more = total - flagged.length;
  byId("flagged-more").hidden = more <= 0;
  byId("flagged-more").textContent = `And ${grouped(more)} more that this page has no room for.`;
}
byId("search").addEventListener("input", listFlagged);
byId("all-rows").addEventListener("click", () => { showAll = true; listFlagged(); });
flaggedTable.addEventListener("click", (event) => {
  const button = event.target.closest("[data-drawing]");
  if (!button) { return; }
  const card = (of) => document.querySelector(`.picture[data-drawing="${of.dataset.drawing}"]`);
  const buttons = all("[data-drawing]", flaggedTable).filter(card);
  view(buttons, buttons.map(card), buttons.indexOf(button));
});
