// Clips: thousands are sorted and searched as numbers, and rendered a piece at a time

const PIECE = 60;
const clips = { order: [], shown: 0, key: "error", direction: "descending", rows: [], scale: null };

function predictionsOf(run) {
  return data.clips.runs[run][query("#clip-split").value];
}

function clipRows() {
  const run = predictionsOf(Number(query("#clip-run").value)), beside = query("#clip-beside").value;
  const others = beside === "" ? null : predictionsOf(Number(beside)).predictions;
  const set = data.clips.sets[run.set];
  return set.ids.map((id, place) => {
    const target = set.targets[place], prediction = run.predictions[place];
    const text = set.texts ? set.texts[place] : "";
    const error = Math.abs(prediction - target), other = others ? others[place] : 0;
    const gain = others ? Math.abs(other - target) - error : 0;
    return { id, text, place, target, prediction, error, other, gain, searched: `${id} ${text}`.toLowerCase() };
  });
}

function clipRow(clip) {
  const row = make("tr"), first = make("td", clip.text || undefined), strip = make("td", undefined, "strip");
  const beside = query("#clip-beside").value !== "", line = make("span", undefined, "track");
  first.append(make("span", clip.id, clip.text ? "id" : ""));
  line.setAttribute("aria-hidden", "true");
  line.append(mark("apart", clips.scale, Math.min(clip.target, clip.prediction), Math.max(clip.target, clip.prediction)));
  if (clips.scale.from < 0 && clips.scale.to > 0) line.append(mark("zero", clips.scale, 0));
  if (beside) line.append(mark("beside", clips.scale, clip.other));
  line.append(mark("true", clips.scale, clip.target), mark("predicted", clips.scale, clip.prediction));
  strip.append(line);
  row.append(first, strip);
  for (const key of ["target", "prediction", "error"]) row.append(make("td", clip[key].toFixed(2)));
  if (beside) for (const key of ["other", "gain"]) row.append(make("td", clip[key].toFixed(2)));
  return row;
}

function showMore() {
  const body = query("#clips tbody");
  const piece = clips.order.slice(clips.shown, clips.shown + PIECE);
  body.append(...piece.map(clipRow));
  clips.shown += piece.length;
  query("#clip-more").hidden = clips.shown >= clips.order.length;
}

function showClips() {
  const wanted = words(query("#clip-search").value);
  const sign = clips.direction === "ascending" ? 1 : -1;
  clips.order = clips.rows.filter((clip) => wanted.every((word) => clip.searched.includes(word)));
  clips.order.sort((a, b) => sign * (a[clips.key] - b[clips.key]) || a.place - b.place);
  clips.shown = 0;
  query("#clips tbody").replaceChildren();
  const errors = clips.order.reduce((sum, clip) => sum + clip.error, 0);
  const mean = clips.order.length ? `, mean error ${(errors / clips.order.length).toFixed(3)}` : "";
  query("#clip-count").textContent = `${clips.order.length} of ${clips.rows.length} clips${mean}`;
  showMore();
}

function chooseBeside() {
  const beside = query("#clip-beside").value !== "";
  for (const element of queryAll("#predictions .beside")) element.hidden = !beside;
  if (!beside && ["other", "gain"].includes(clips.key)) {
    clips.key = "error";
    clips.direction = "descending";
    markSorted(query('[data-clip="error"]').parentElement, clips.direction);
  }
  clips.rows = clipRows();
  clips.scale = scaleOf(clips.rows.flatMap((clip) => [clip.target, clip.prediction, ...(beside ? [clip.other] : [])]));
  axis(query("#clips .axis"), clips.scale, 5, (value, digits) => value.toFixed(digits));
  showClips();
}

function chooseSplit() {
  // runs of the same clips can be looked at beside this one
  const select = query("#clip-beside"), previous = select.value, split = query("#clip-split").value;
  const set = predictionsOf(Number(query("#clip-run").value)).set;
  const others = [...query("#clip-run").options].filter((option) => option.value !== query("#clip-run").value
    && data.clips.runs[Number(option.value)][split]?.set === set);
  select.replaceChildren(new Option("none", ""), ...others.map((option) => new Option(option.text, option.value)));
  select.value = others.some((option) => option.value === previous) ? previous : "";
  query("#clip-beside-label").hidden = others.length === 0;
  chooseBeside();
}

function chooseRun() {
  const select = query("#clip-split"), previous = select.value;
  const splits = Object.keys(data.clips.runs[Number(query("#clip-run").value)]);
  select.replaceChildren(...splits.map((split) => new Option(split, split)));
  select.value = splits.includes(previous) ? previous : splits.includes("test") ? "test" : splits[0];
  chooseSplit();
}

function setUpClips() {
  if (!query("#clips")) return;
  query("#clip-tools").hidden = false;
  query("#clip-run").addEventListener("change", chooseRun);
  query("#clip-split").addEventListener("change", chooseSplit);
  query("#clip-beside").addEventListener("change", chooseBeside);
  let waiting = 0;
  query("#clip-search").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(showClips, 80);
  });
  for (const button of queryAll("[data-clip]")) {
    button.addEventListener("click", () => {
      const head = button.parentElement;
      markSorted(head, next(head, ["error", "gain"].includes(button.dataset.clip) ? "descending" : "ascending"));
      clips.key = button.dataset.clip;
      clips.direction = head.getAttribute("aria-sort");
      showClips();
    });
  }
  query("#clip-more").addEventListener("click", showMore);
  chooseRun();
}
