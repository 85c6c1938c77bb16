"use strict";
// The rows of a kind: what is listed, searched, filtered, sorted and shown. What is read are scripts beside this page,
// as a page that was opened from disk may read nothing else.

const PAGE_ROWS = 50;
const scalequest = {
  waiting: new Map(),
  /** Called by each script of data with its name and its content. */
  block(name, packed) {
    this.waiting.get(name)?.(packed);
  },
};

/** The content of a block of data. */
async function readBlock(name) {
  const packed = await new Promise((resolve, reject) => {
    scalequest.waiting.set(name, resolve);
    const script = make("script", { src: `data/${name}.js` });
    script.onerror = () => reject(new Error(`data/${name}.js cannot be read. Is the whole folder here?`));
    script.onload = () => script.remove();
    document.head.append(script);
  });
  scalequest.waiting.delete(name);
  const bytes = Uint8Array.from(atob(packed), (character) => character.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
}

const byId = (id) => document.getElementById(id);
const distinct = (values) => [...new Set(values)].sort((a, b) => (a > b) - (a < b));
const short = (number) => (Number.isInteger(number) ? String(number) : number.toPrecision(3).replace(/\.?0+$/, ""));
const plural = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

// ---------------------------------------------------------------- marks

/** Marks of rows by id: those that came with the page, then those made here, which this web browser keeps. */
const marks = {
  key: `scalequest marks ${location.pathname}`,
  given: new Map(),
  own: new Map(),
  load(given) {
    this.given = new Map(given.map((mark) => [mark.id, mark]));
    try {
      this.own = new Map(JSON.parse(localStorage.getItem(this.key) ?? "[]").map((mark) => [mark.id, mark]));
    } catch {
      // Where nothing may be kept, marks live as long as the page.
    }
  },
  of(id) {
    return this.own.get(id) ?? this.given.get(id) ?? { id, mark: "", note: "" };
  },
  set(id, change) {
    this.own.set(id, { ...this.of(id), ...change });
    this.keep();
  },
  keep() {
    try {
      localStorage.setItem(this.key, JSON.stringify([...this.own.values()]));
    } catch {
      // As above.
    }
  },
  all() {
    return [...new Map([...this.given, ...this.own]).values()].filter((mark) => mark.mark);
  },
};

/** Save rows as a file of JSON lines. */
function save(name, rows) {
  const url = URL.createObjectURL(new Blob(rows.map((row) => JSON.stringify(row) + "\n"), { type: "application/jsonl" }));
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

/** Buttons and a note by which a row is marked. */
function marking(id) {
  const show = () => {
    const mark = marks.of(id);
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.value === mark.mark));
  };
  const choose = (value) => {
    marks.set(id, { mark: marks.of(id).mark === value ? "" : value });
    show();
    view?.showItems();
  };
  const buttons = ["good", "bad"].map((value) =>
    make("button", { type: "button", value, on: { click: () => choose(value) } }, value === "good" ? "Good" : "Bad"));
  const note = make("input", { type: "text", maxlength: 500, value: marks.of(id).note });
  note.addEventListener("input", () => marks.set(id, { note: note.value }));
  show();
  const block = make("div", { class: "marking" }, make("span", { id: "mark-label" }, "Mark:"), ...buttons, make("label", {}, "Note ", note));
  block.choose = choose;
  return block;
}

// ---------------------------------------------------------------- a kind of rows

class View {
  constructor(kind, title, counts, chunk) {
    Object.assign(this, { kind, title, counts, chunk, page: 0, current: null, details: new Map(), values: {} });
  }

  /** Read what lists need of all rows. */
  async read() {
    this.columns = {};
    for (let number = 0; number < this.counts.blocks; number++) {
      for (const [name, values] of Object.entries(await readBlock(`${this.kind}/columns${number}`))) {
        // One by one: a call has room for some thousand arguments.
        const column = (this.columns[name] ??= []);
        for (const value of values) column.push(value);
      }
    }
    this.keys = Array.from({ length: this.counts.rows }, (_, row) => this.key(row));
    this.places = new Map(this.keys.map((key, row) => [key, row]));
    this.lower = this.columns.question?.map((text) => text.toLowerCase()) ?? [];
    this.fields = this.makeFields();
    this.found = this.keys.map((_, row) => row);
  }

  async detail(row) {
    const chunk = Math.floor(row / this.chunk);
    if (!this.details.has(chunk)) this.details.set(chunk, await readBlock(`${this.kind}/${chunk}`));
    return this.details.get(chunk)[row % this.chunk];
  }

  /** The rows that pass the search and all filters, in order. */
  choose() {
    const words = byId("search").value.toLowerCase();
    const inLoaded = byId("search-loaded").checked;
    const tests = this.fields.map((field) => field.test(this.values[field.name] ?? {})).filter(Boolean);
    this.found = [];
    for (let row = 0; row < this.counts.rows; row++) {
      if (words && !this.lower[row].includes(words) && !(inLoaded && this.loadedTexts(row).includes(words))) continue;
      if (tests.every((test) => test(row))) this.found.push(row);
    }
    const { by = "", down = false } = this.values.order ?? {};
    const column = this.sortable[by]?.();
    if (column) {
      const direction = down ? -1 : 1;
      // What has no value comes last in either direction.
      this.found.sort((a, b) => {
        const [x, y] = [column[a] ?? null, column[b] ?? null];
        if (x === null || y === null) return (x === null) - (y === null) || a - b;
        return (direction * ((x > y) - (x < y))) || a - b;
      });
    }
    this.page = 0;
  }

  loadedTexts(row) {
    const detail = this.details.get(Math.floor(row / this.chunk))?.[row % this.chunk];
    return detail ? this.texts(detail).join("\n").toLowerCase() : "";
  }

  showFields() {
    byId("fields").replaceChildren(...this.fields.map((field) => field.show(this.values[field.name] ??= {})));
    const loaded = [...this.details.values()].reduce((sum, rows) => sum + rows.length, 0);
    byId("search-loaded-label").textContent = `also in the ${this.kind === "questions" ? "responses" : "answers"} of the ${loaded.toLocaleString("en")} of ${plural(this.counts.rows, "row")} that are loaded`;
  }

  showItems() {
    const first = this.page * PAGE_ROWS;
    const pages = Math.max(1, Math.ceil(this.found.length / PAGE_ROWS));
    byId("count").textContent = `${this.found.length.toLocaleString("en")} of ${plural(this.counts.rows, "row")}`;
    byId("page").textContent = `page ${this.page + 1} of ${pages}`;
    byId("before").disabled = this.page === 0;
    byId("after").disabled = this.page + 1 >= pages;
    byId("items").start = first + 1;
    byId("items").replaceChildren(...this.found.slice(first, first + PAGE_ROWS).map((row) => {
      const button = make("button", { type: "button", class: "item", "aria-current": row === this.current ? "true" : null, on: { click: () => open(this, row) } });
      const title = make("span", { class: "title", dir: "auto" });
      appendPlain(title, this.columns.question[row].slice(0, 160).replaceAll(/\s+/g, " ") || "(empty)");
      const mark = marks.of(this.keys[row]).mark;
      button.append(title, make("span", { class: "state" }, this.state(row), mark ? `; marked ${mark}` : ""));
      return make("li", {}, button);
    }));
    if (!this.found.length) byId("items").append(make("li", { class: "none" }, "No row passes. Reset the filters to see all."));
  }

  async showDetail(row) {
    const detail = await this.detail(row);
    // Another row was asked for while this one was read.
    if (view !== this || this.current !== row) return;
    const place = this.found.indexOf(row);
    const step = (by, label) => make("button", { type: "button", disabled: this.found[place + by] === undefined || (place < 0), on: { click: () => move(by) } }, label);
    this.marking = marking(this.keys[row]);
    byId("detail").replaceChildren(
      make("div", { class: "bar" },
        make("button", { type: "button", class: "back", on: { click: close } }, "Back to the list"),
        step(-1, "Previous"), step(1, "Next"),
        make("a", { href: `#${this.kind}/${encodeURIComponent(this.keys[row])}` }, "Link to this row")),
      make("h2", { class: "id" }, this.keys[row]),
      this.marking, ...this.body(row, detail));
    this.showFields();
  }
}

// ---------------------------------------------------------------- filters of a list

/** A field that lets through rows with one of the values of a column; `has` tells whether a row has a value. */
function choice(name, label, values, has) {
  return {
    name,
    test: ({ value }) => (value ? (row) => has(row, value) : null),
    show(state) {
      const select = make("select", {}, make("option", { value: "" }, "any"), ...values.map(([value, text]) => make("option", { value, selected: state.value === value }, text)));
      select.addEventListener("change", () => { state.value = select.value; refresh(); });
      return make("label", {}, `${label} `, select);
    },
  };
}

/** A field that lets through rows whose number lies between two others. */
function range(name, label, column) {
  return {
    name,
    test({ least, most }) {
      if (least === undefined && most === undefined) return null;
      return (row) => column[row] !== null && column[row] >= (least ?? -Infinity) && column[row] <= (most ?? Infinity);
    },
    show(state) {
      const input = (key, text) => {
        const box = make("input", { type: "number", step: "any", "aria-label": `${text} ${label}`, placeholder: text, value: state[key] });
        box.addEventListener("input", () => { state[key] = box.value === "" ? undefined : Number(box.value); refresh(); });
        return box;
      };
      return make("div", { class: "range", role: "group", "aria-label": label }, make("span", {}, label), input("least", "least"), input("most", "most"));
    },
  };
}

/** A field that lets through rows of which a column has a text. */
function containing(name, label, column) {
  return {
    name,
    test: ({ value }) => (value ? (row) => column[row].toLowerCase().includes(value.toLowerCase()) : null),
    show(state) {
      const box = make("input", { type: "text", value: state.value });
      box.addEventListener("input", () => { state.value = box.value; refresh(); });
      return make("label", {}, `${label} `, box);
    },
  };
}

function order(sortable) {
  return {
    name: "order",
    test: () => null,
    show(state) {
      const select = make("select", { id: "order" }, ...["", ...Object.keys(sortable)].map((by) => make("option", { value: by, selected: state.by === by }, by || "as they were made")));
      const down = make("input", { type: "checkbox", checked: Boolean(state.down) });
      select.addEventListener("change", () => { state.by = select.value; refresh(); });
      down.addEventListener("change", () => { state.down = down.checked; refresh(); });
      return make("div", { class: "range", role: "group", "aria-label": "Order" }, make("label", {}, "Order ", select), make("label", { class: "check" }, down, " falling"));
    },
  };
}

const marked = (keys) => choice("mark", "Mark", [["good", "good"], ["bad", "bad"], ["none", "not marked"]], (row, value) => (marks.of(keys[row]).mark || "none") === value);
const facts = (entries) => make("dl", { class: "facts" }, ...entries.filter(([, value]) => value !== null && value !== undefined && value !== "").flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, typeof value === "number" ? short(value) : value)]));
const plain = (text) => { const span = make("span", { dir: "auto" }); appendPlain(span, text); return span; };

/** A table, without the columns that are empty in all rows. */
function table(caption, head, rows) {
  const full = head.map((_, column) => rows.some((cells) => cells[column] && cells[column].textContent !== ""));
  [head, ...rows] = [head, ...rows].map((cells) => cells.filter((_, column) => full[column]));
  return make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption }, make("table", {}, make("caption", {}, caption),
    make("thead", {}, make("tr", {}, ...head.map((cell) => make("th", { scope: "col" }, cell)))),
    make("tbody", {}, ...rows.map((cells) => make("tr", {}, ...cells.map((cell) => make("td", {}, cell ?? "")))))));
}

// ---------------------------------------------------------------- questions

class Questions extends View {
  constructor(counts, chunk, filters, cuts) {
    super("questions", "Questions", counts, chunk);
    Object.assign(this, { filters, cuts });
  }

  key(row) {
    return this.columns.id[row];
  }

  makeFields() {
    const c = this.columns;
    const listed = (values) => distinct(values).map((value) => [String(value), String(value)]);
    const failed = (row) => [c.dropped_by[row], ...c.marks[row].split(",")].filter(Boolean);
    this.columns.length = c.question?.map((text) => text.length) ?? [];
    this.sortable = {
      ...Object.fromEntries(["difficulty", "solvable", "reward", "votes", "length", "generator", "seed"].map((name) => [name, () => c[name]])),
      filter: () => c.dropped_by.map((name) => name || null),
      reason: () => c.reason.map((reason) => reason || null),
      question: () => this.lower,
    };
    return [
      choice("status", "Status", [["kept", "kept"], ["selected", "in the dataset"], ["dropped", "dropped"], ["marked", "kept, but a filter marks it"]],
        (row, value) => ({ kept: c.kept[row], selected: c.selected[row], dropped: !c.kept[row], marked: c.kept[row] && c.marks[row] !== "" })[value]),
      choice("generator", "Generator", listed(c.generator ?? []), (row, value) => c.generator[row] === value),
      choice("seed", "Seed", listed(c.seed ?? []), (row, value) => String(c.seed[row]) === value),
      choice("filter", "Failed filter", this.filters.map(({ name }) => [name, name]), (row, value) => failed(row).includes(value)),
      containing("reason", "Reason contains", c.reason),
      // An option of the run: of some questions only.
      ...(c.topic ? [choice("topic", "Topic", listed(c.topic.filter((topic) => topic !== null)), (row, value) => c.topic[row] === value)] : []),
      range("difficulty", "Difficulty", c.difficulty),
      range("solvable", "Solvable", c.solvable),
      range("reward", "Reward", c.reward),
      range("votes", "Votes", c.votes),
      ...(c.agreement ? [range("agreement", "Agreement of the solvers", c.agreement)] : []),
      range("length", "Length, characters", c.length),
      marked(this.keys),
      order(this.sortable),
    ];
  }

  state(row) {
    const c = this.columns;
    const numbers = ["difficulty", "solvable", "reward"].filter((name) => c[name][row] !== null).map((name) => `${name} ${short(c[name][row])}`);
    return [c.kept[row] ? (c.selected[row] ? "in the dataset" : "kept") : `dropped: ${c.dropped_by[row]}`, ...numbers].join("; ");
  }

  /** What solvers found, where the run has any. */
  verified(row, detail) {
    if (!detail.verified) return [];
    const [answer, rates, type, reason] = detail.verified;
    const shown = answer === null ? "none" : make("span", {}, plain(answer), ` (${type}, agreement ${short(this.columns.agreement[row])})`);
    return [["Verified answer", shown], ["Pass rates", rates.map(([solver, rate]) => `${solver} ${short(rate)}`).join(", ")], ["Not for a reward", reason && plain(reason)]];
  }

  texts(detail) {
    return detail.candidates.map(([response]) => response);
  }

  /** The settings of a filter, with the threshold that followed from them for this row's generator and seed. */
  setting(name, row) {
    const filter = this.filters.find((one) => one.name === name);
    if (!filter) return "off";
    const given = Object.entries(filter).filter(([key, value]) => !["name", "enabled"].includes(key) && typeof value !== "object").map(([key, value]) => `${key} ${value}`);
    if (name === "difficulty") {
      const cut = this.cuts[this.columns.generator[row]]?.[this.columns.seed[row]];
      given.push(cut === null || cut === undefined ? "no threshold for this generator" : `threshold ${Number(cut.toPrecision(6))}`);
    }
    return given.join(", ");
  }

  body(row, detail) {
    const c = this.columns;
    const verdicts = detail.verdicts.map(([filter, keep, reason, score, evidence]) =>
      [filter, keep ? "passes" : "fails", plain(reason), score === null ? "" : short(score), evidence ? plain(evidence.slice(0, 500)) : "", this.setting(filter, row)]);
    const own = { difficulty: c.difficulty[row], solvability: c.solvable[row] };
    for (const [filter, score] of Object.entries(own)) {
      if (score === null) continue;
      const fails = c.dropped_by[row] === filter || c.marks[row].split(",").includes(filter);
      const reason = fails ? c.reason[row].match(new RegExp(`(?:^|; )${filter}: ([^;]*)`))?.[1] ?? "" : "";
      verdicts.push([filter, fails ? "fails" : "passes", reason, short(score), "", this.setting(filter, row)]);
    }
    const state = c.kept[row] ? (c.selected[row] ? "kept, in the dataset" : "kept") : `dropped by ${c.dropped_by[row]}`;
    return [
      make("section", { class: "question", "aria-label": "Question" }, textBlock(c.question[row], "the question")),
      facts([["Status", state], ["Reason", c.reason[row] && plain(c.reason[row])], ["Marked by", c.marks[row]], ["Difficulty (fail rate)", c.difficulty[row]], ["P(solvable)", c.solvable[row]], ["Length", `${c.length[row]} characters`], ["Topic, by a model", c.topic?.[row] && `${c.topic[row]} (probability ${short(detail.topic)})`], ...this.verified(row, detail)]),
      verdicts.length ? table("Filters", ["Filter", "Verdict", "Reason", "Score", "Found", "Setting"], verdicts) : null,
      detail.judge?.[2] ? make("details", {}, make("summary", {}, `The judge's reasoning: ${detail.judge[1] ?? short(detail.judge[0])}`), textBlock(detail.judge[2], "the reasoning")) : null,
      make("h3", {}, plural(detail.candidates.length, "response")),
      ...detail.candidates.map(([response, answer, reward, votes, selected, tokens, cut, trace], number) =>
        make("section", { class: selected ? "candidate selected" : "candidate", "aria-label": `Response ${number}` },
          make("h4", {}, `Response ${number}`, selected ? make("strong", {}, " selected") : ""),
          facts([["Answer", answer === null ? "none" : plain(answer)], ["Reward", reward], ["Votes", votes], ["Tokens", cut ? `${tokens}, cut` : tokens]]),
          ...traceBlock(trace, `the trace of response ${number}`),
          textBlock(response, `response ${number}`))),
    ].filter(Boolean);
  }
}

// ---------------------------------------------------------------- answers to benchmarks

class Answers extends View {
  constructor(counts, chunk) {
    super("answers", "Benchmark answers", counts, chunk);
  }

  key(row) {
    const c = this.columns;
    return `${c.model[row]}/${c.benchmark[row]}/${c.id[row]}/${c.sample[row]}`;
  }

  makeFields() {
    const c = this.columns;
    const listed = (values) => distinct(values).map((value) => [String(value), String(value)]);
    const graders = distinct((c.right ?? []).flatMap((right) => Object.keys(right)));
    const agreed = (right) => new Set(Object.values(right)).size < 2;
    this.sortable = { model: () => c.model, problem: () => c.id };
    return [
      choice("model", "Model", listed(c.model ?? []), (row, value) => c.model[row] === value),
      choice("benchmark", "Benchmark", listed(c.benchmark ?? []), (row, value) => c.benchmark[row] === value),
      ...graders.map((grader) => choice(`grader ${grader}`, `By ${grader}`, [["true", "right"], ["false", "wrong"]], (row, value) => String(c.right[row][grader]) === value)),
      choice("agreement", "Graders", [["yes", "agree"], ["no", "disagree"]], (row, value) => agreed(c.right[row]) === (value === "yes")),
      marked(this.keys),
      order(this.sortable),
    ];
  }

  state(row) {
    const c = this.columns;
    const verdicts = Object.entries(c.right[row]).map(([grader, right]) => `${grader}: ${right ? "right" : "wrong"}`);
    return [c.model[row], ...verdicts].join("; ");
  }

  texts(detail) {
    return [detail.response];
  }

  body(row, detail) {
    const c = this.columns;
    return [
      make("section", { class: "question", "aria-label": "Problem" }, textBlock(c.question[row], "the problem")),
      facts([["Model", c.model[row]], ["Benchmark", c.benchmark[row]], ["Gold answer", detail.gold === null ? "none" : plain(detail.gold)], ["Tokens", detail.cut ? `${detail.tokens}, cut` : detail.tokens]]),
      table("Graders", ["Grader", "Verdict", "Answer found", "Gold answer", "Decided by"], detail.grades.map(([grader, right, answer, gold, how]) => [grader, right ? "right" : "wrong", answer === null ? "none" : plain(answer), gold === null ? "none" : plain(gold), how])),
      make("h3", {}, "Answer"), ...traceBlock(detail.trace[0], "the trace"), textBlock(detail.response, "the answer"),
      detail.solution ? make("details", {}, make("summary", {}, "The benchmark's solution"), textBlock(detail.solution, "the solution")) : null,
    ].filter(Boolean);
  }
}
