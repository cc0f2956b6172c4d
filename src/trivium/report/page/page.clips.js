// Clips: thousands are sorted and searched as numbers, and rendered a piece at a time

const PIECE = 60;
const clips = { order: [], shown: 0, key: "error", direction: "descending", rows: [], scale: null };

function predictionsOf(run) {
  return data.clips.runs[run][query("#clip-split").value];
}

// What a clip's target and prediction are as words, and as places on the scale. Scores lie on theirs, of several their
// mean; classes and labels on that of the probability of what is true, at whose end the truth lies.
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
const KINDS = {
  score: {
    at: (run, place) => run.predictions[place],
    truth: (set, place) => set.targets[place],
    error: (set, run, place) => Math.abs(run.predictions[place] - set.targets[place]),
    words: (set, value) => value.toFixed(2),
  },
  scores: {
    at: (run, place) => mean(run.predictions[place]),
    truth: (set, place) => mean(set.targets[place]),
    error: (set, run, place) => mean(set.targets[place].map((value, k) => Math.abs(value - run.predictions[place][k]))),
    words: (set, value) => value.map((score) => score.toFixed(2)).join(", "),
  },
  classes: {
    at: (run, place) => run.sure[place],
    truth: () => 1,
    error: (set, run, place) => 1 - run.sure[place],
    words: (set, value) => set.names[value],
  },
  labels: {
    at: (run, place) => run.sure[place],
    truth: () => 1,
    error: (set, run, place) => 1 - run.sure[place],
    words: (set, value) => value.map((label) => set.names[label]).join(", ") || "none",
  },
};

function clipRows() {
  const run = predictionsOf(Number(query("#clip-run").value)), beside = query("#clip-beside").value;
  const others = beside === "" ? null : predictionsOf(Number(beside));
  const set = data.clips.sets[run.set], kind = KINDS[set.kind];
  return set.ids.map((id, place) => {
    const text = set.texts ? set.texts[place] : "", error = kind.error(set, run, place);
    return {
      id, text, place, error,
      target: set.kind === "classes" ? set.targets[place] : kind.truth(set, place),
      truth: kind.truth(set, place),
      prediction: set.kind === "classes" ? run.predictions[place] : kind.at(run, place),
      at: kind.at(run, place),
      other: others ? kind.at(others, place) : 0,
      gain: others ? kind.error(set, others, place) - error : 0,
      words: [kind.words(set, set.targets[place]), kind.words(set, run.predictions[place])],
      besides: others ? kind.words(set, others.predictions[place]) : "",
      searched: `${id} ${text}`.toLowerCase(),
    };
  });
}

function clipRow(clip) {
  const row = make("tr"), first = make("td", clip.text || undefined), strip = make("td", undefined, "strip");
  const beside = query("#clip-beside").value !== "", line = make("span", undefined, "track");
  first.append(make("span", clip.id, clip.text ? "id" : ""));
  line.setAttribute("aria-hidden", "true");
  line.append(mark("apart", clips.scale, Math.min(clip.truth, clip.at), Math.max(clip.truth, clip.at)));
  if (clips.scale.from < 0 && clips.scale.to > 0) line.append(mark("zero", clips.scale, 0));
  if (beside) line.append(mark("beside", clips.scale, clip.other));
  line.append(mark("true", clips.scale, clip.truth), mark("predicted", clips.scale, clip.at));
  strip.append(line);
  row.append(first, strip);
  for (const text of [...clip.words, clip.error.toFixed(2)]) row.append(make("td", text));
  if (beside) for (const text of [clip.besides, clip.gain.toFixed(2)]) row.append(make("td", text));
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
  const { kind, names } = data.clips.sets[predictionsOf(Number(query("#clip-run").value)).set];
  query("#clip-scale").textContent = {
    score: "", scores: `${names.join(", ")}; on the scale: the mean of them.`,
    classes: "On the scale: the probability of the true class; error: how much it lacks of 1.",
    labels: "On the scale: the probability of the true answer, in the mean over labels; error: how much it lacks of 1.",
  }[kind];
  const certain = kind === "classes" || kind === "labels" ? [0] : [];
  clips.scale = scaleOf([...certain, ...clips.rows.flatMap((clip) => [clip.truth, clip.at, ...(beside ? [clip.other] : [])])]);
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
