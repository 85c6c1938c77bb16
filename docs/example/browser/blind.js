"use strict";
// Blind reading: texts of several kinds are shuffled, and a text's kind is shown once all are marked.

/** Numbers from 0 to 1 by a seed (mulberry32). */
function randomNumbers(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

function shuffled(items, random) {
  const result = [...items];
  for (let last = result.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    [result[last], result[other]] = [result[other], result[last]];
  }
  return result;
}

/** The 95% interval of a share (Wilson's score interval). */
function interval(good, all) {
  const z = 1.959964;
  const share = good / all;
  const middle = (share + (z * z) / (2 * all)) / (1 + (z * z) / all);
  const half = (z / (1 + (z * z) / all)) * Math.sqrt((share * (1 - share)) / all + (z * z) / (4 * all * all));
  return [Math.max(0, middle - half), Math.min(1, middle + half)];
}

const blind = {
  kinds: new Map(),
  deck: null,
  key: `scalequest blind ${location.pathname}`,

  /** The kinds of texts: each generator's kept questions, what each filter dropped, seed problems. */
  load(questions, seedProblems) {
    const add = (kind, id, text) => {
      if (!this.kinds.has(kind)) this.kinds.set(kind, []);
      this.kinds.get(kind).push([id, text]);
    };
    const c = questions.columns;
    for (let row = 0; row < questions.counts.rows; row++) {
      add(c.kept[row] ? `${c.generator[row]}: kept` : `${c.generator[row]}: dropped by ${c.dropped_by[row]}`, c.id[row], c.question[row]);
    }
    for (const [id, text] of seedProblems) add("seed problems", id, text);
    try {
      this.deck = JSON.parse(localStorage.getItem(this.key) ?? "null");
    } catch {
      // A session that cannot be read is none.
    }
  },

  keep() {
    try {
      localStorage.setItem(this.key, JSON.stringify(this.deck));
    } catch {
      // Then it lives as long as the page.
    }
  },

  show() {
    const place = byId("blind");
    if (!this.deck) place.replaceChildren(...this.choices());
    else if (this.deck.cards.some((card) => !card.mark)) place.replaceChildren(...this.card());
    else place.replaceChildren(...this.result());
  },

  choices() {
    const boxes = distinct(this.kinds.keys()).map((kind) => {
      const box = make("input", { type: "checkbox", value: kind });
      return [box, make("label", { class: "check" }, box, ` ${kind} (${this.kinds.get(kind).length.toLocaleString("en")})`)];
    });
    const number = make("input", { type: "number", min: 1, max: 1000, value: 20 });
    const seed = make("input", { type: "number", min: 0, value: 1 });
    const trouble = make("p", { class: "trouble", role: "alert" });
    const begin = () => {
      const kinds = boxes.filter(([box]) => box.checked).map(([box]) => box.value);
      const each = Math.floor(Number(number.value));
      if (kinds.length < 2) return void (trouble.textContent = "Choose at least two kinds.");
      if (!(each >= 1)) return void (trouble.textContent = "Texts of each kind must be at least 1.");
      const random = randomNumbers(Number(seed.value));
      const cards = kinds.flatMap((kind) => shuffled(this.kinds.get(kind), random).slice(0, each).map(([id, text]) => ({ id, text, kind, mark: "", note: "" })));
      this.deck = { seed: Number(seed.value), cards: shuffled(cards, random) };
      this.keep();
      this.show();
    };
    return [
      make("h2", {}, "Blind reading"),
      make("p", {}, "Texts of the chosen kinds are shuffled. You mark each as good or bad, and see which kind it is once all are marked."),
      make("fieldset", {}, make("legend", {}, "Kinds"), ...boxes.map(([, label]) => label)),
      make("div", { class: "range" }, make("label", {}, "Texts of each kind ", number), make("label", {}, "Seed of the shuffle ", seed)),
      make("button", { type: "button", on: { click: begin } }, "Begin"), trouble,
    ];
  },

  card() {
    const number = this.deck.cards.findIndex((card) => !card.mark);
    const card = this.deck.cards[number];
    const note = make("input", { type: "text", maxlength: 500, value: card.note, on: { input: () => { card.note = note.value; } } });
    const button = (mark, label) => make("button", { type: "button", on: { click: () => this.mark(mark) } }, label);
    const back = make("button", { type: "button", disabled: number === 0, on: { click: () => { this.deck.cards[number - 1].mark = ""; this.keep(); this.show(); } } }, "Back to the last one");
    return [
      make("h2", {}, `Text ${number + 1} of ${this.deck.cards.length}`),
      make("section", { class: "question", "aria-label": "Text" }, textBlock(card.text, "the text")),
      make("div", { class: "marking" }, button("good", "Good"), button("bad", "Bad"), make("label", {}, "Note ", note), back, this.stop("Stop this reading")),
    ];
  },

  mark(mark) {
    const card = this.deck?.cards.find((other) => !other.mark);
    if (!card) return;
    card.mark = mark;
    this.keep();
    this.show();
  },

  stop(label) {
    return make("button", { type: "button", on: { click: () => { this.deck = null; this.keep(); this.show(); } } }, label);
  },

  result() {
    const { cards, seed } = this.deck;
    const percent = (share) => `${(100 * share).toFixed(0)}%`;
    const rows = distinct(cards.map((card) => card.kind)).map((kind) => {
      const mine = cards.filter((card) => card.kind === kind);
      const good = mine.filter((card) => card.mark === "good").length;
      return [kind, String(mine.length), String(good), percent(good / mine.length), interval(good, mine.length).map(percent).join(" to ")];
    });
    const saved = () => save("blind.jsonl", cards.map(({ id, kind, mark, note }) => ({ blind: seed, kind, id, mark, note })));
    return [
      make("h2", {}, "All are marked"),
      table("Share of good texts", ["Kind", "Texts", "Good", "Share", "95% interval"], rows),
      make("p", {}, "The interval is Wilson's. Shares whose intervals overlap may be equal."),
      make("div", { class: "marking" }, make("button", { type: "button", on: { click: saved } }, "Save as blind.jsonl"), this.stop("New reading")),
    ];
  },
};
