// Rows compared in one measure: each seed a dot, the mean with its interval, the difference from the best or baseline

const DIFFERENCES = {
  best: ["best_difference", "best_low", "best_high", "p_best"],
  baseline: ["difference", "low", "high", "p_holm"],
};
const numberText = (value, measure, digits = measure.share ? 1 : 3) => (measure.share ? 100 * value : value).toFixed(digits);
const signed = (value, measure) => (value > 0 ? "+" : "") + numberText(value, measure).replace(/^-(0\.?0*)$/, "$1"); // no -0
const pText = (p) => (p === null ? "-" : p < 0.0005 ? "<.001" : p >= 0.9995 ? "1" : p.toFixed(3).replace("0.", "."));

function scoreText(row, measure) {
  if (row.mean === null) return "-";
  const around = row.std === null ? "" : ` ± ${numberText(row.std, measure)}`;
  return `${numberText(row.mean, measure)}${around}`;
}

function track(row, measure, scale, from) {
  const element = make("span", undefined, "track");
  element.setAttribute("aria-hidden", "true");
  if (from !== null) element.append(mark("reference", scale, from));
  if (row.mean_low !== null) element.append(mark("interval", scale, row.mean_low, row.mean_high));
  element.append(...row.values.filter(([, value]) => value !== null).map(([, value]) => mark("seed", scale, value)));
  if (row.mean !== null) element.append(mark("mean", scale, row.mean));
  if (row.published) element.append(mark("published", scale, row.published[0]));
  element.append(...row.cells.map((cell) => cellMark(cell, measure, scale)));
  return element;
}

// A published result: a tick by its kind, pale on other features, dotted where test chose its epoch
function cellMark(cell, measure, scale) {
  const element = mark(`cell ${cell.kind}${cell.same ? "" : " pale"}${cell.on_test ? " on-test" : ""}`, scale, cell.value);
  element.title = `${numberText(cell.value, measure)}: ${cell.source}`;
  return element;
}

function cellsText(cells, measure) {
  const [low, high] = extent(cells.map(({ value }) => value)).map((value) => numberText(value, measure));
  const count = (fits) => new Set(cells.filter(fits).map(({ source }) => source)).size;
  const all = count(() => true), same = count((cell) => cell.same), onTest = count((cell) => cell.on_test);
  const of = [`${all} source${all > 1 ? "s" : ""}`, `${same} on these features`, ...(onTest ? [`${onTest} selected on test`] : [])];
  return `published ${low === high ? low : `${low} to ${high}`} (${of.join(", ")})`;
}

function publishedText(row, measure) {
  return row.published ? `published ${numberText(row.published[0], measure)}${row.published[1] ? "" : ", other features"}` : "";
}

function standingRow(row, measure, scale, from, reference, named) {
  const line = make("tr"), head = makeBreakable("th", row.row);
  head.scope = "row";
  if (named) head.append(" ", make("span", named, "tag"));
  const score = make("td"), text = make("span", scoreText(row, measure), "score"), both = make("div", undefined, "beside-track");
  both.append(text, track(row, measure, scale, from));
  score.append(both);
  if (row.published) text.append(make("small", publishedText(row, measure)));
  if (row.cells.length) text.append(make("small", cellsText(row.cells, measure)));
  const [value, low, high, p] = DIFFERENCES[reference].map((column) => row[column]);
  const difference = make("td", value === null ? "-" : signed(value, measure));
  if (low !== null) difference.append(make("small", `${signed(low, measure)} to ${signed(high, measure)}`));
  if (reference === "baseline" && row.clips.length)
    difference.append(make("small", `with clips ${signed(row.clips[0], measure)} to ${signed(row.clips[1], measure)}`));
  const test = make("td", `${pText(p)}${row.told[reference] ? "*" : ""}`);
  if (reference === "baseline" && row.verdict) {
    test.prepend(make("strong", row.verdict), " ");
    test.append(make("small", `would show ${numberText(row.smallest, measure)}`));
  }
  line.append(head, score, difference, test);
  return line;
}

function showStanding() {
  const board = data.boards[Number(query("#board").value)];
  const measure = board.measures.find(({ name }) => name === query("#measure").value) ?? board.measures[0];
  const reference = query("#reference").value;
  const against = reference === "baseline" ? measure.rows.find((row) => row.row === board.baseline) : measure.rows[0];
  const from = measure.lower === null && reference === "best" ? null : (against?.mean ?? null);
  const values = measure.rows.flatMap((row) => [...row.values.map(([, value]) => value), row.mean_low, row.mean_high, row.published?.[0], ...row.cells.map(({ value }) => value)]);
  const scale = scaleOf(values.filter((value) => value !== null && value !== undefined));
  const named = (row) => (row.row === board.baseline ? "baseline" : "");
  query("#standing tbody").replaceChildren(
    ...measure.rows.map((row) => standingRow(row, measure, scale, from, reference, named(row))),
  );
  const digits = (step) => Math.max(0, measure.share ? step - 2 : step);
  axis(query("#standing .axis"), scale, innerWidth < 700 ? 3 : 6, (value, step) => numberText(value, measure, digits(step)));
  const unit = measure.share ? ", %" : "", way = { true: ", lower is better", false: ", higher is better" };
  query("#unit").textContent = `${measure.name}${unit}${way[measure.lower] ?? ""}`;
  const [first, ...others] = measure.verdict;
  if (measure.train_mean !== null) others.push(`Predicting the ${measure.guess}: ${numberText(measure.train_mean, measure)}.`);
  query("#verdict").replaceChildren(make("strong", first ?? ""), ` ${others.join(" ")}`);
  query("#key-published").hidden = !measure.rows.some((row) => row.published);
  query("#key-cells").hidden = !measure.rows.some((row) => row.cells.length);
  const family = { best: "over the rows; the best is chosen by the same numbers, which flatters it", baseline: "over the row's measures" };
  query("#holm").textContent = `p: paired t test, corrected (Holm) ${family[measure.rows[0].row === board.baseline ? "baseline" : reference]}.`;
  query("#few").hidden = !measure.few;
  query("#verdicts").hidden = reference !== "baseline" || !measure.rows.some((row) => row.verdict);
  query("#margin").textContent = measure.margin === null ? "" : ` (${numberText(measure.margin, measure)})`;
}

function chooseBoard() {
  const board = data.boards[Number(query("#board").value)], measure = query("#measure"), reference = query("#reference");
  const previous = measure.value;
  measure.replaceChildren(...board.measures.map(({ name }) => new Option(name, name)));
  measure.value = board.measures.some(({ name }) => name === previous) ? previous : board.first;
  const choices = [new Option("the best", "best")];
  if (board.baseline) choices.unshift(new Option(`${board.baseline} (baseline)`, "baseline"));
  reference.replaceChildren(...choices);
  showStanding();
}

function setUpStandings() {
  if (!query("#compare")) return;
  const boards = data.boards.map((board, place) => [board, place]).filter(([board]) => board.measures[0].rows.length > 1);
  query("#board").replaceChildren(...boards.map(([board, place]) => new Option(board.name, place)));
  query("#board").parentElement.hidden = boards.length < 2;
  query("#board").addEventListener("change", chooseBoard);
  query("#measure").addEventListener("change", showStanding);
  query("#reference").addEventListener("change", showStanding);
  query("#compare").hidden = false;
  chooseBoard();
}
