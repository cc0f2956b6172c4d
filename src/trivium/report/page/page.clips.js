// Clips: thousands are sorted and searched as numbers, and rendered a piece at a time

const PIECE = 60;
const clips = { order: [], shown: 0, key: "error", direction: "descending", rows: [], scale: null };

function predictionsOf(run) {
  return data.clips.runs[run][one("#clip-split").value];
}

function clipRows() {
  const found = predictionsOf(Number(one("#clip-run").value)), beside = one("#clip-beside").value;
  const others = beside === "" ? null : predictionsOf(Number(beside)).predictions;
  const set = data.clips.sets[found.set];
  return set.ids.map((id, place) => {
    const target = set.targets[place], prediction = found.predictions[place];
    const text = set.texts ? set.texts[place] : "";
    const error = Math.abs(prediction - target), other = others ? others[place] : 0;
    const gain = others ? Math.abs(other - target) - error : 0;
    return { id, text, place, target, prediction, error, other, gain, searched: `${id} ${text}`.toLowerCase() };
  });
}

function clipRow(clip) {
  const row = make("tr"), first = make("td", clip.text || undefined), strip = make("td", undefined, "strip");
  const beside = one("#clip-beside").value !== "", line = make("span", undefined, "track");
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

function chooseBeside() {
  const beside = one("#clip-beside").value !== "";
  for (const element of all("#predictions .beside")) element.hidden = !beside;
  if (!beside && ["other", "gain"].includes(clips.key)) {
    clips.key = "error";
    clips.direction = "descending";
    markSorted(one('[data-clip="error"]').parentElement, clips.direction);
  }
  clips.rows = clipRows();
  clips.scale = scaleOf(clips.rows.flatMap((clip) => [clip.target, clip.prediction, ...(beside ? [clip.other] : [])]));
  axis(one("#clips .axis"), clips.scale, 5, (value, digits) => value.toFixed(digits));
  showClips();
}

function chooseSplit() {
  // runs of the same clips can be looked at beside this one
  const select = one("#clip-beside"), before = select.value, split = one("#clip-split").value;
  const set = predictionsOf(Number(one("#clip-run").value)).set;
  const alike = [...one("#clip-run").options].filter((option) => option.value !== one("#clip-run").value
    && data.clips.runs[Number(option.value)][split]?.set === set);
  select.replaceChildren(new Option("none", ""), ...alike.map((option) => new Option(option.text, option.value)));
  select.value = alike.some((option) => option.value === before) ? before : "";
  one("#clip-beside-label").hidden = alike.length === 0;
  chooseBeside();
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
  one("#clip-beside").addEventListener("change", chooseBeside);
  let waiting = 0;
  one("#clip-search").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(showClips, 80);
  });
  for (const button of all("[data-clip]")) {
    button.addEventListener("click", () => {
      const head = button.parentElement;
      markSorted(head, next(head, ["error", "gain"].includes(button.dataset.clip) ? "descending" : "ascending"));
      clips.key = button.dataset.clip;
      clips.direction = head.getAttribute("aria-sort");
      showClips();
    });
  }
  one("#clip-more").addEventListener("click", showMore);
  chooseRun();
}
