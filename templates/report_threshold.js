// Thresholds that move: the figures, the table and the galleries of the page follow. What is in force
// stays what the run decided, image by image.
const percent = (part, whole) => (whole > 0 ? `${(100 * part / whole).toFixed(1)} %` : "–");
// The words of a threshold, and what it gives.
function said(counts, flagged) {
  const [normal, anomalous] = counts;
  const parts = [`${grouped(sum(flagged))} of ${grouped(sum(counts))} flagged (${percent(sum(flagged), sum(counts))})`];
  if (anomalous > 0) { parts.push(`${grouped(anomalous - flagged[1])} of ${grouped(anomalous)} anomalous missed`); }
  if (normal > 0) { parts.push(`${grouped(flagged[0])} of ${grouped(normal)} normal flagged`); }
  if (anomalous > 0) {
    parts.push(`precision ${percent(flagged[1], flagged[0] + flagged[1])}`, `recall ${percent(flagged[1], anomalous)}`);
  }
  return parts.join(", ");
}
const decimals = ({ stops }) => Math.max(3, Math.ceil(1 - Math.log10(stops.at(-1) - stops[0])) + 1);

// What a run has not decided on yet is neither missed nor found, but any other threshold decides.
const decidedIn = (index) => (chosen[index] === null ? given.categories[index].decided : given.categories[index].n);

function fillTiles() {
  const [scored, flagged, n] = given.others.map((of) => of.slice());
  given.categories.forEach((category, index) => {
    flaggedIn(index).forEach((count, of) => { flagged[of] += count; });
    decidedIn(index).forEach((count, of) => { n[of] += count; });
    category.n.forEach((count, of) => { scored[of] += count; });
  });
  const fill = (key, text) => { const tile = byId(`tile-${key}`); if (tile) { tile.textContent = text; } };
  fill("flagged", grouped(sum(flagged)));
  byId("about-flagged").textContent = `of ${grouped(sum(scored))}, ${percent(sum(flagged), sum(scored))}`;
  fill("missed", grouped(n[1] - flagged[1]));
  fill("false-alarms", grouped(flagged[0]));
  fill("precision", percent(flagged[1], flagged[0] + flagged[1]));
  fill("recall", percent(flagged[1], n[1]));
  const moved = chosen.some((of) => of !== null);
  byId("moved").hidden = !moved;
  byId("decision-h").textContent = moved ? "At the thresholds of this page" : "At the threshold in force";
}

// Each image of a category goes to the gallery that it belongs to; where it came from it returns to.
const galleriesOf = (index) => {
  const category = document.querySelector(`.adjust[data-category="${index}"]`)?.closest(".category");
  return category ? Object.fromEntries(all(".gallery", category).map((of) => [of.dataset.gallery, of])) : {};
};
all(".gallery li").forEach((card, place) => {
  card.dataset.home = card.closest(".gallery").dataset.gallery;
  card.dataset.place = place;
});
function belongs(card, index) {
  const inForce = chosen[index] === null;
  if (inForce) { return card.dataset.home; }
  const flagged = Number(card.dataset.score) > given.categories[index].stops[chosen[index]];
  if (card.dataset.class === "1") { return flagged ? "found" : "missed"; }
  if (flagged) { return card.dataset.class === "0" ? "false-alarms" : "flagged"; }
  return ["closest", "lowest"].includes(card.dataset.home) ? card.dataset.home : "closest";
}
function sortGalleries(index) {
  const galleries = galleriesOf(index);
  const here = Object.values(galleries).flatMap((gallery) => all("li", gallery));
  for (const [key, gallery] of Object.entries(galleries)) {
    const sign = ["missed", "lowest"].includes(key) ? 1 : -1;
    const placed = here.filter((card) => belongs(card, index) === key);
    placed.sort(chosen[index] === null ? (a, b) => a.dataset.place - b.dataset.place
      : (a, b) => sign * (a.dataset.score - b.dataset.score));
    const list = gallery.querySelector("ul");
    list.replaceChildren(...placed);
    list.classList.toggle("compares", placed.some((card) => card.querySelector(".compared")));
    gallery.hidden = placed.length === 0;
    const n = decidedIn(index);
    const flagged = flaggedIn(index);
    const rest = given.categories[index].n[0] + given.categories[index].n[2] - flagged[0] - flagged[2];
    const of = { missed: n[1] - flagged[1], "false-alarms": flagged[0], found: flagged[1], flagged: flagged[2] };
    gallery.querySelector(".shown").textContent = `${placed.length} of ${grouped(of[key] ?? rest)}`;
  }
}

// Where the plot of a chart lies in its drawing, in its own units.
const PLOT = { left: 68, width: 356 };
const adjusts = all(".adjust").map((figure) => {
  const index = Number(figure.dataset.category);
  const category = given.categories[index];
  const slider = figure.querySelector("input");
  const line = figure.querySelector(".moved line");
  slider.max = category.stops.length - 1;
  function fill() {
    const inForce = chosen[index] === null;
    const step = inForce ? category.at : chosen[index];
    slider.value = step;
    const name = inForce
      ? (category.threshold === null ? "In force" : `In force, ${category.threshold.toFixed(decimals(category))}`)
      : `At ${category.stops[step].toFixed(decimals(category))}`;
    const text = `${name}: ${said(decidedIn(index), flaggedIn(index))}.`;
    figure.querySelector(".at").textContent = text;
    slider.setAttribute("aria-valuetext", text);
    figure.querySelector(".reset").hidden = inForce;
    const x = PLOT.left + PLOT.width * step / (category.stops.length - 1);
    line.setAttribute("x1", x);
    line.setAttribute("x2", x);
    line.toggleAttribute("hidden", inForce);
  }
  function move(step) {
    chosen[index] = step;
    fill();
    sortGalleries(index);
  }
  slider.addEventListener("input", () => { move(Number(slider.value)); follow(); });
  figure.querySelector(".reset").addEventListener("click", () => {
    move(null);
    follow();
    slider.focus();
  });
  fill();
  return () => move(null);
});
function follow() {
  fillTiles();
  listFlagged();
}
byId("reset-all").addEventListener("click", () => {
  adjusts.forEach((reset) => reset());
  follow();
  byId("decision-h").focus();
});
listFlagged();
