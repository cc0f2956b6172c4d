// What every part uses: finding and making elements, positions on a scale, the theme. No library, no network.

const query = (selector, within = document) => within.querySelector(selector);
const queryAll = (selector, within = document) => [...within.querySelectorAll(selector)];
const data = JSON.parse(query("#data").textContent);

function make(tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text; // never innerHTML: texts come from data
  if (className) element.className = className;
  return element;
}

// A long name may break after its dots, strokes and the like instead of anywhere; a number may not
function makeBreakable(tag, text, className) {
  const element = make(tag, undefined, className);
  for (const piece of text.split(/(?<=[_./=])(?![_./=])(?!(?<=\d\.)\d)/)) {
    if (element.hasChildNodes()) element.append(document.createElement("wbr"));
    element.append(piece);
  }
  return element;
}

const words = (text) => text.toLowerCase().split(/\s+/).filter(Boolean);
const extent = (values) => values.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);

// Scales: positions in %, on which marks are placed with CSS, so that they fit any width

function scaleOf(values, margin = 0.04) {
  const [low, high] = extent(values);
  const span = (high - low) || Math.abs(high) || 1;
  const from = low - margin * span, to = high + margin * span;
  return { from, to, at: (value) => `${(100 * (value - from)) / (to - from)}%` };
}

function ticksOf(scale, count) {
  const raw = (scale.to - scale.from) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((digit) => digit * power).find((candidate) => candidate >= raw);
  const first = Math.ceil(scale.from / step);
  const values = [];
  for (let k = first; k * step <= scale.to; k += 1) values.push(k * step);
  return { step, values };
}

function mark(className, scale, from, to) {
  const element = make("i", undefined, className);
  element.style.left = scale.at(from);
  if (to !== undefined) element.style.right = `calc(100% - ${scale.at(to)})`;
  return element;
}

function axis(element, scale, count, text) {
  const { step, values } = ticksOf(scale, count);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  element.replaceChildren(...values.map((value) => {
    const label = make("b", text(value, digits));
    label.style.left = scale.at(value);
    return label;
  }));
}

// Theme: the system's, or one that is stored for this page

const THEMES = ["system", "dark", "light"];

function storedTheme(value) {
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
  query("#theme b").textContent = theme;
}

function setUpTheme() {
  let theme = THEMES.includes(storedTheme()) ? storedTheme() : "system";
  useTheme(theme);
  query("#theme").hidden = false;
  query("#theme").addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    storedTheme(theme);
    useTheme(theme);
  });
}

// The section that is read is marked in the bar

function setUpBar() {
  const links = new Map(queryAll("nav a").map((link) => [link.hash.slice(1), link]));
  const visible = new Set();
  const observer = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) visible.add(entry.target.id);
      else visible.delete(entry.target.id);
    }
    const first = [...links.keys()].find((id) => visible.has(id));
    for (const [id, link] of links) {
      if (id === first) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  }, { rootMargin: "-15% 0px -75% 0px" });
  for (const section of queryAll("main > section")) observer.observe(section);
  const bar = query(".bar");
  new ResizeObserver(() => document.documentElement.style.setProperty("--bar", `${bar.offsetHeight + 8}px`)).observe(bar);
}

// What scrolls fades at an edge beyond which there is more

function setUpScroll() {
  for (const box of queryAll(".scroll")) {
    const update = () => {
      box.classList.toggle("cut-right", box.scrollLeft + box.clientWidth < box.scrollWidth - 1);
      box.classList.toggle("cut-below", box.matches(".tall") && box.scrollTop + box.clientHeight < box.scrollHeight - 1);
    };
    const sizes = new ResizeObserver(update);
    sizes.observe(box);
    sizes.observe(box.firstElementChild);
    box.addEventListener("scroll", update, { passive: true });
  }
}
