// Settings: of all runs side by side, and of one run when it is opened

const BESIDE = 8; // columns up to which those of all data sets are shown at first

function mostCommon(texts) {
  const counts = new Map();
  for (const text of texts) counts.set(text, (counts.get(text) ?? 0) + 1);
  return [...counts].reduce((most, found) => (found[1] > most[1] ? found : most))[0];
}

function markDifferences(table) {
  const only = one("#settings-data select").value, from = one("#settings-from select").value;
  const heads = [...table.tHead.rows[0].cells];
  const shown = heads.map((head, column) => column === 0 || !only || head.dataset.of === only);
  heads.forEach((head, column) => { head.hidden = !shown[column]; });
  for (const row of table.tBodies[0].rows) {
    const cells = [...row.cells];
    cells.forEach((cell, column) => { cell.hidden = !shown[column]; });
    const visible = cells.filter((_, column) => column > 0 && shown[column]);
    const texts = visible.map((cell) => cell.textContent);
    const usual = from ? cells[Number(from)].textContent : mostCommon(texts);
    for (const cell of visible) cell.classList.toggle("differs", cell.textContent !== usual);
    row.classList.toggle("same", new Set(from ? [...texts, usual] : texts).size < 2);
  }
}

function setUpDifferences() {
  const box = one("#differing"), table = one("#settings");
  if (!table) return;
  const update = () => {
    table.classList.toggle("only-differing", box.checked);
    one("#alike").hidden = !box.checked || one("tr:not(.same)", table.tBodies[0]) !== null;
    filterTable(table);
  };
  const again = () => { markDifferences(table); update(); };
  const heads = [...table.tHead.rows[0].cells].slice(1), from = one("#settings-from"), of = one("#settings-data");
  heads.forEach((head, column) => one("select", from).append(new Option(head.textContent, column + 1)));
  const sets = new Set(heads.map((head) => head.dataset.of));
  for (const name of sets) one("select", of).append(new Option(name, name));
  if (sets.size > 1 && heads.length > BESIDE) one("select", of).value = heads[0].dataset.of;
  from.hidden = heads.length < 2;
  of.hidden = sets.size < 2;
  for (const choice of [from, of]) one("select", choice).addEventListener("change", again);
  box.addEventListener("change", update);
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
  const own = data.settings.runs[Number(details.dataset.run)];
  const table = one("table", details), body = make("tbody");
  for (const key of data.settings.keys) {
    if (Object.hasOwn(own, key)) body.append(settingsRow(key, own[key], true));
    else if (Object.hasOwn(data.settings.common, key)) body.append(settingsRow(key, data.settings.common[key], false));
  }
  table.replaceChildren(body);
  const box = one("[data-differing]", details);
  const update = () => table.classList.toggle("only-differing", box.checked);
  box.addEventListener("change", update);
  update();
}

function setUpRuns() {
  for (const details of all("details.config")) {
    details.addEventListener("toggle", () => { if (details.open && !one("tbody", details)) showSettings(details); });
  }
  for (const link of all("[data-clips]")) {
    link.addEventListener("click", () => {
      one("#clip-run").value = link.dataset.clips;
      one("#clip-run").dispatchEvent(new Event("change"));
    });
  }
  const open = () => {
    const target = /^#(run|group)-\d+$/.test(location.hash) ? one(location.hash) : null;
    if (!target) return;
    for (let outer = target; outer; outer = outer.parentElement.closest("details")) outer.open = true;
    one("summary", target).focus({ preventScroll: true });
    target.scrollIntoView();
  };
  for (const link of all('a[href^="#run-"]')) {
    // also when the address has it already, which changes nothing and tells nobody
    link.addEventListener("click", () => { if (link.hash === location.hash) open(); });
  }
  addEventListener("hashchange", open);
  open();
}
