// Settings: of all runs side by side, and of one run when it is opened

const BESIDE = 8; // columns up to which those of all data sets are shown at first

function mostCommon(texts) {
  const counts = new Map();
  for (const text of texts) counts.set(text, (counts.get(text) ?? 0) + 1);
  return [...counts].reduce((most, entry) => (entry[1] > most[1] ? entry : most))[0];
}

function markDifferences(table) {
  const only = query("#settings-data select").value, from = Number(query("#settings-from select").value);
  const heads = [...table.tHead.rows[0].cells];
  const shown = heads.map((head, column) => column === 0 || !only || query("small", head).textContent === only);
  heads.forEach((head, column) => { head.hidden = !shown[column]; });
  for (const row of table.tBodies[0].rows) {
    const cells = [...row.cells];
    cells.forEach((cell, column) => { cell.hidden = !shown[column]; });
    const visible = cells.filter((_, column) => column > 0 && shown[column]);
    const compared = from ? [...visible, cells[from]] : visible;
    const values = new Set(compared.map((cell) => cell.textContent));
    const usual = from ? cells[from].textContent : mostCommon(visible.map((cell) => cell.textContent));
    for (const cell of visible) cell.classList.toggle("differs", cell.textContent !== usual);
    row.classList.toggle("same", values.size < 2);
    // equal wherever it is: the others lack the part that it belongs to
    const where = compared.filter((cell) => !cell.classList.contains("none"));
    row.classList.toggle("lacking", values.size > 1 && new Set(where.map((cell) => cell.textContent)).size < 2);
  }
}

function setUpDifferences() {
  const box = query("#differing"), table = query("#settings"), more = query("#lacking");
  if (!table) return;
  const update = () => {
    const folded = box.checked && more.ariaExpanded === "false", count = queryAll("tr.lacking", table.tBodies[0]).length;
    table.classList.toggle("only-differing", box.checked);
    table.classList.toggle("folded", folded);
    more.hidden = !box.checked || count === 0;
    more.textContent = `${folded ? "Show" : "Hide"} ${count} settings of parts that some runs do not have`;
    query("#alike").hidden = !box.checked || query("tr:not(.same)", table.tBodies[0]) !== null;
    filterTable(table);
  };
  const again = () => { markDifferences(table); update(); };
  const heads = [...table.tHead.rows[0].cells].slice(1), from = query("#settings-from"), of = query("#settings-data");
  heads.forEach((head, column) => query("select", from).append(new Option(head.textContent, column + 1)));
  const sets = new Set(heads.map((head) => query("small", head)?.textContent ?? ""));
  for (const name of sets) query("select", of).append(new Option(name, name));
  if (sets.size > 1 && heads.length > BESIDE) query("select", of).value = [...sets][0];
  from.hidden = heads.length < 2;
  of.hidden = sets.size < 2;
  for (const choice of [from, of]) query("select", choice).addEventListener("change", again);
  box.addEventListener("change", update);
  more.addEventListener("click", () => { more.ariaExpanded = more.ariaExpanded === "false"; update(); });
  again();
}

function settingsRow(key, value, differs) {
  const row = make("tr", undefined, differs ? "" : "same");
  const head = makeBreakable("th", key);
  head.scope = "row";
  row.append(head, makeBreakable("td", value, differs ? "differs" : ""));
  return row;
}

function showSettings(details) {
  const runs = data.settings.runs, settings = runs[Number(details.dataset.run)];
  const differs = (key) => new Set(runs.filter((run) => Object.hasOwn(run, key)).map((run) => run[key])).size > 1;
  const table = query("table", details), body = make("tbody");
  for (const key of data.settings.keys) {
    if (Object.hasOwn(settings, key)) body.append(settingsRow(key, settings[key], differs(key)));
    else if (Object.hasOwn(data.settings.common, key)) body.append(settingsRow(key, data.settings.common[key], false));
  }
  table.replaceChildren(body);
  const box = query("[data-differing]", details);
  const update = () => table.classList.toggle("only-differing", box.checked);
  box.addEventListener("change", update);
  update();
}

function setUpRuns() {
  for (const details of queryAll("details.config")) {
    details.addEventListener("toggle", () => { if (details.open && !query("tbody", details)) showSettings(details); });
  }
  for (const link of queryAll("[data-clips]")) {
    link.addEventListener("click", () => {
      query("#clip-run").value = link.dataset.clips;
      query("#clip-run").dispatchEvent(new Event("change"));
    });
  }
  const open = () => {
    const target = /^#(run|group)-\d+$/.test(location.hash) ? query(location.hash) : null;
    if (!target) return;
    for (let outer = target; outer; outer = outer.parentElement.closest("details")) outer.open = true;
    query("summary", target).focus({ preventScroll: true });
    target.scrollIntoView();
  };
  for (const link of queryAll('a[href^="#run-"]')) {
    // also when the address has it already, which changes nothing and tells nobody
    link.addEventListener("click", () => { if (link.hash === location.hash) open(); });
  }
  addEventListener("hashchange", open);
  open();
}
