// Tables that are on the page whole: sorted by a click on a head, filtered by words and choices

const collator = new Intl.Collator(undefined, { numeric: true });

function compareCells(a, b, sign) {
  // numbers before words; what has no value stays last in both directions
  const x = a.dataset.sort, y = b.dataset.sort;
  if (x !== undefined && y !== undefined) return sign * (Number(x) - Number(y));
  if (x !== undefined || y !== undefined) return x !== undefined ? -1 : 1;
  return sign * collator.compare(a.textContent, b.textContent);
}

function markSorted(head, direction) {
  queryAll("th[aria-sort]", head.parentElement).forEach((other) => other.setAttribute("aria-sort", "none"));
  head.setAttribute("aria-sort", direction);
}

function next(head, first = "ascending") {
  const now = head.getAttribute("aria-sort");
  if (now === "none") return first;
  return now === "ascending" ? "descending" : "ascending";
}

function sortBy(table, button) {
  const column = Number(button.dataset.column);
  const head = button.parentElement;
  markSorted(head, next(head));
  const sign = head.getAttribute("aria-sort") === "ascending" ? 1 : -1;
  const body = table.tBodies[0];
  const rows = [...body.rows];
  rows.sort((a, b) => compareCells(a.cells[column], b.cells[column], sign));
  body.append(...rows);
}

function filterTable(table) {
  const input = query(`[data-filter="${table.id}"]`);
  const wanted = input ? words(input.value) : [];
  const choices = table.id === "runs" ? queryAll("[data-choice]").filter((choice) => choice.value) : [];
  let shown = 0, total = 0;
  for (const row of table.tBodies[0].rows) {
    const text = [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase();
    const fits = wanted.every((word) => text.includes(word));
    const chosen = choices.every((choice) => row.cells[choice.dataset.choice].textContent === choice.value);
    row.hidden = !(fits && chosen);
    if (row.matches(".only-differing .same, .folded .lacking")) continue;
    total += 1;
    shown += row.hidden ? 0 : 1;
  }
  const count = query(`[data-count="${table.id}"]`);
  if (count) count.textContent = shown === total ? `${total} rows` : `${shown} of ${total} rows`;
}

function setUpTables() {
  for (const table of queryAll("table.sortable")) {
    for (const button of queryAll("thead button", table)) button.addEventListener("click", () => sortBy(table, button));
  }
  for (const input of queryAll("[data-filter]")) {
    const table = document.getElementById(input.dataset.filter);
    input.addEventListener("input", () => filterTable(table));
    if (input.value) filterTable(table); // a browser may bring back what was typed before
  }
  const runs = query("#runs");
  if (!runs) return;
  for (const choice of queryAll("[data-choice]")) {
    const column = Number(choice.dataset.choice);
    const values = new Set([...runs.tBodies[0].rows].map((row) => row.cells[column].textContent));
    for (const value of [...values].sort(collator.compare)) choice.append(new Option(value, value));
    choice.parentElement.hidden = values.size < 2;
    choice.addEventListener("change", () => filterTable(runs));
  }
}
