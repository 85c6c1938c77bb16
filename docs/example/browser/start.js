"use strict";
// Which view is shown, keys and links.

let view = null;
const views = new Map();
let pending = 0;

function refresh() {
  clearTimeout(pending);
  pending = setTimeout(() => {
    view.choose();
    view.showItems();
  }, 150);
}

/** Show a row, and put its link into the address. */
function open(which, row) {
  which.current = row;
  const link = `#${which.kind}/${encodeURIComponent(which.keys[row])}`;
  if (location.hash !== link) history.pushState(null, "", link);
  document.body.classList.add("reading");
  which.showItems();
  return which.showDetail(row).then(() => {
    byId("detail").scrollTop = 0;
    if (!matchMedia("(min-width: 60rem)").matches) byId("detail").scrollIntoView();
  }, fail);
}

function close() {
  document.body.classList.remove("reading");
  byId("items").querySelector("[aria-current]")?.focus();
}

/** Show the row that comes after the current one in the list, by so many places. */
function move(by) {
  const place = view.found.indexOf(view.current) + (view.current === null ? Math.max(by, 0) : by);
  if (view.found[place] === undefined) return;
  view.page = Math.floor(place / PAGE_ROWS);
  open(view, view.found[place]);
}

function show(name) {
  view = views.get(name) instanceof View ? views.get(name) : null;
  for (const part of ["rows", "blind", "marks", "help"]) byId(part).hidden = part !== (view ? "rows" : name);
  for (const link of byId("views").children) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (name === "blind") blind.show();
  if (name === "marks") showMarks();
  if (view) {
    byId("search").value = "";
    byId("detail").replaceChildren(make("p", { class: "none" }, "Choose a row, or press j."));
    view.choose();
    view.showFields();
    view.showItems();
  }
}

/** Show what the address asks for. */
function follow() {
  const [name, key] = location.hash.slice(1).split(/\/(.*)/s);
  const wanted = views.has(name) ? name : "questions";
  if (!view || view.kind !== wanted) show(wanted);
  if (key === undefined || !view) {
    document.body.classList.remove("reading");
    return;
  }
  const row = view.places.get(decodeURIComponent(key));
  if (row === undefined) {
    byId("detail").replaceChildren(make("p", { class: "trouble", role: "alert" }, `There is no row ${decodeURIComponent(key)} here: it was not made, or is not among those shown.`));
    document.body.classList.add("reading");
  } else {
    open(view, row);
  }
}

function showMarks() {
  const all = marks.all();
  const file = make("input", { type: "file", accept: ".jsonl", multiple: true });
  const trouble = make("p", { class: "trouble", role: "alert" });
  file.addEventListener("change", async () => {
    for (const chosen of file.files) {
      for (const line of (await chosen.text()).split("\n").filter(Boolean)) {
        try {
          const { id, mark, note, blind: seed } = JSON.parse(line);
          if (seed === undefined && typeof id === "string" && ["good", "bad"].includes(mark)) marks.set(id, { mark, note: String(note ?? "") });
        } catch {
          trouble.textContent = `${chosen.name} has a line that is no mark: ${line.slice(0, 80)}`;
          return;
        }
      }
    }
    showMarks();
  });
  const link = (id) => make("a", { href: `#${views.get("answers")?.places.has(id) ? "answers" : "questions"}/${encodeURIComponent(id)}` }, id);
  byId("marks").replaceChildren(
    make("h2", {}, plural(all.length, "mark")),
    make("p", {}, "Save them into the folder ", make("code", {}, "marks"), " of the run, and they are part of the next page and report."),
    make("div", { class: "marking" },
      make("button", { type: "button", on: { click: () => save("marks.jsonl", all) } }, "Save as marks.jsonl"),
      make("label", {}, "Read marks from a file ", file)),
    trouble,
    all.length ? table("Marks", ["Row", "Mark", "Note"], all.map(({ id, mark, note }) => [link(id), mark, plain(note)])) : "");
}

function fail(error) {
  byId("shown").className = "trouble";
  byId("shown").textContent = error.message;
}

function onKey(event) {
  const typing = /^(?:INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const reading = !byId("blind").hidden;
  const chosen = { g: "good", b: "bad" }[event.key];
  if (reading && chosen) blind.mark(chosen);
  else if (!view) return;
  else if (event.key === "/") byId("search").focus();
  else if (event.key === "j" || event.key === "ArrowRight") move(1);
  else if (event.key === "k" || event.key === "ArrowLeft") move(-1);
  else if (chosen && view.current !== null) view.marking?.choose(chosen);
  else return;
  event.preventDefault();
}

function turn(by) {
  view.page += by;
  view.showItems();
  byId("items").scrollTo?.(0, 0);
}

async function start() {
  const index = await readBlock("index");
  marks.load(await readBlock("marks"));
  const questions = new Questions(index.counts.questions, index.chunk, index.filters, index.cuts);
  const answers = new Answers(index.counts.answers, index.chunk);
  for (const one of [questions, answers]) {
    await one.read();
    if (one.counts.rows || one === questions) views.set(one.kind, one);
  }
  blind.load(questions, index.seed_problems);
  for (const name of ["blind", "marks", "help"]) views.set(name, name);
  const titles = { questions: "Questions", answers: "Benchmark answers", blind: "Blind reading", marks: "Marks", help: "Help" };
  byId("views").replaceChildren(...[...views.keys()].map((name) => make("a", { href: `#${name}` }, titles[name])));
  const said = [questions, answers].filter(({ counts }) => counts.of).map(({ counts, title }) =>
    `${counts.rows === counts.of ? "all" : `${counts.rows.toLocaleString("en")} of`} ${counts.of.toLocaleString("en")} ${title.toLowerCase()}`);
  byId("shown").textContent = said.length ? `Shown: ${said.join(", ")}.` : "There is no row yet.";

  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("search").addEventListener("input", refresh);
  byId("search-loaded").addEventListener("change", refresh);
  byId("reset").addEventListener("click", () => {
    view.values = {};
    byId("search").value = "";
    view.choose();
    view.showFields();
    view.showItems();
  });
  byId("before").addEventListener("click", () => turn(-1));
  byId("after").addEventListener("click", () => turn(1));
  document.addEventListener("keydown", onKey);
  addEventListener("hashchange", follow);
  addEventListener("popstate", follow);
  follow();
  document.body.dataset.ready = "yes";
}

start().catch(fail);
