"use strict";
// Sorting and filtering of tables, one run's settings, clips rendered a piece at a time. No library, no network.
(() => {
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const data = JSON.parse(one("#data").textContent);

  function make(tag, text, className) {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text; // never innerHTML: texts come from data
    if (className) element.className = className;
    return element;
  }

  const words = (text) => text.toLowerCase().split(/\s+/).filter(Boolean);

  // Theme: the system's, or one that is kept for this page

  const THEMES = ["system", "dark", "light"];

  function kept(value) {
    try {
      if (value !== undefined) localStorage.setItem("trivium-theme", value);
      return localStorage.getItem("trivium-theme");
    } catch {
      return null; // a browser may refuse storage to files: then the choice lasts as long as the page
    }
  }

  function useTheme(theme) {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    one("#theme").textContent = `Theme: ${theme}`;
  }

  function setUpTheme() {
    let theme = THEMES.includes(kept()) ? kept() : "system";
    useTheme(theme);
    one("#theme").hidden = false;
    one("#theme").addEventListener("click", () => {
      theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
      kept(theme);
      useTheme(theme);
    });
  }

  // Tables that are on the page whole

  const collator = new Intl.Collator(undefined, { numeric: true });

  function compareCells(a, b, sign) {
    // numbers before words; what has no value stays last in both directions
    const x = a.dataset.sort, y = b.dataset.sort;
    if (x !== undefined && y !== undefined) return sign * (Number(x) - Number(y));
    if (x !== undefined || y !== undefined) return x !== undefined ? -1 : 1;
    return sign * collator.compare(a.textContent, b.textContent);
  }

  function markSorted(head, direction) {
    all("th", head.parentElement).forEach((other) => other.setAttribute("aria-sort", "none"));
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
    const input = one(`[data-filter="${table.id}"]`);
    const wanted = input ? words(input.value) : [];
    const choices = table.id === "runs" ? all("[data-choice]").filter((choice) => choice.value) : [];
    let shown = 0, total = 0;
    for (const row of table.tBodies[0].rows) {
      const text = [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase();
      const fits = wanted.every((word) => text.includes(word));
      const chosen = choices.every((choice) => row.cells[choice.dataset.choice].textContent === choice.value);
      row.hidden = !(fits && chosen);
      if (table.classList.contains("only-differing") && row.classList.contains("same")) continue;
      total += 1;
      shown += row.hidden ? 0 : 1;
    }
    const count = one(`[data-count="${table.id}"]`);
    if (count) count.textContent = shown === total ? `${total} rows` : `${shown} of ${total} rows`;
  }

  function setUpTables() {
    for (const table of all("table.sortable")) {
      for (const button of all("thead button", table)) button.addEventListener("click", () => sortBy(table, button));
    }
    for (const input of all("[data-filter]")) {
      const table = document.getElementById(input.dataset.filter);
      input.addEventListener("input", () => filterTable(table));
      if (input.value) filterTable(table); // a browser may bring back what was typed before
    }
    const runs = one("#runs");
    if (!runs) return;
    for (const choice of all("[data-choice]")) {
      const column = Number(choice.dataset.choice);
      const values = new Set([...runs.tBodies[0].rows].map((row) => row.cells[column].textContent));
      for (const value of [...values].sort(collator.compare)) choice.append(new Option(value, value));
      choice.parentElement.hidden = values.size < 2;
      choice.addEventListener("change", () => filterTable(runs));
    }
    one("#choices").hidden = all("[data-choice]").every((choice) => choice.parentElement.hidden);
  }

  // Settings: of all runs side by side, and of one run when it is opened

  function setUpDifferences() {
    const box = one("#differing"), table = one("#settings");
    if (!table) return;
    const update = () => {
      table.classList.toggle("only-differing", box.checked);
      one("#alike").hidden = !box.checked || one("tr:not(.same)", table.tBodies[0]) !== null;
      filterTable(table);
    };
    box.addEventListener("change", update);
    update();
  }

  function settingsRow(key, value, differs) {
    const row = make("tr", undefined, differs ? "" : "same");
    const head = make("th", key);
    head.scope = "row";
    row.append(head, make("td", value, differs ? "differs" : ""));
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
      const target = /^#run-\d+$/.test(location.hash) ? one(location.hash) : null;
      if (!target) return;
      target.open = true;
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

  // Clips: thousands are sorted and searched as numbers, and rendered a piece at a time

  const PIECE = 60;
  const clips = { order: [], shown: 0, key: "error", direction: "descending", rows: null };

  function clipRows() {
    const found = data.clips.runs[Number(one("#clip-run").value)][one("#clip-split").value];
    const set = data.clips.sets[found.set];
    return set.ids.map((id, place) => {
      const target = set.targets[place], prediction = found.predictions[place];
      const text = set.texts ? set.texts[place] : "";
      const error = Math.abs(prediction - target);
      return { id, text, place, target, prediction, error, searched: `${id} ${text}`.toLowerCase() };
    });
  }

  function clipRow(clip) {
    const row = make("tr"), first = make("td", clip.text || undefined);
    first.append(make("span", clip.id, clip.text ? "id" : ""));
    row.append(first);
    for (const key of ["target", "prediction", "error"]) row.append(make("td", clip[key].toFixed(2)));
    return row;
  }

  function showMore() {
    const body = one("#clips tbody");
    const piece = clips.order.slice(clips.shown, clips.shown + PIECE);
    body.append(...piece.map(clipRow));
    clips.shown += piece.length;
    one("#clip-more").hidden = clips.shown >= clips.order.length;
  }

  function showClips() {
    const wanted = words(one("#clip-search").value);
    const sign = clips.direction === "ascending" ? 1 : -1;
    clips.order = clips.rows.filter((clip) => wanted.every((word) => clip.searched.includes(word)));
    clips.order.sort((a, b) => sign * (a[clips.key] - b[clips.key]) || a.place - b.place);
    clips.shown = 0;
    one("#clips tbody").replaceChildren();
    const errors = clips.order.reduce((sum, clip) => sum + clip.error, 0);
    const mean = clips.order.length ? `, mean error ${(errors / clips.order.length).toFixed(3)}` : "";
    one("#clip-count").textContent = `${clips.order.length} of ${clips.rows.length} clips${mean}`;
    showMore();
  }

  function chooseSplit() {
    clips.rows = clipRows();
    showClips();
  }

  function chooseRun() {
    const select = one("#clip-split"), before = select.value;
    const splits = Object.keys(data.clips.runs[Number(one("#clip-run").value)]);
    select.replaceChildren(...splits.map((split) => new Option(split, split)));
    select.value = splits.includes(before) ? before : splits.includes("test") ? "test" : splits[0];
    chooseSplit();
  }

  function setUpClips() {
    if (!one("#clips")) return;
    one("#clip-tools").hidden = false;
    one("#clip-run").addEventListener("change", chooseRun);
    one("#clip-split").addEventListener("change", chooseSplit);
    let waiting = 0;
    one("#clip-search").addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(showClips, 80);
    });
    for (const button of all("[data-clip]")) {
      button.addEventListener("click", () => {
        const head = button.parentElement;
        markSorted(head, next(head, button.dataset.clip === "error" ? "descending" : "ascending"));
        clips.key = button.dataset.clip;
        clips.direction = head.getAttribute("aria-sort");
        showClips();
      });
    }
    one("#clip-more").addEventListener("click", showMore);
    chooseRun();
  }

  setUpTheme();
  setUpTables();
  setUpDifferences();
  setUpClips();
  setUpRuns();
})();
