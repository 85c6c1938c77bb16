"use strict";
// Texts of models, shown as text: no markup of theirs is ever parsed as HTML.

// As in scripts/scalequest/visible.py, less line ends and tabs.
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]/gu;
// Delimiters of mathematics and their ends; a dollar followed by a space begins none, as in "costs $ 5".
const MATHS = /\$\$([\s\S]+?)\$\$|\\\[([\s\S]+?)\\\]|\\\(([\s\S]+?)\\\)|(?<![\\$])\$(?![\s$])((?:\\.|[^$\\])+?)(?<!\s)\$(?!\d)/g;
// What is longer is shown as it is: to typeset it would take seconds.
const LONGEST_FORMULA = 2000;
const MOST_FORMULAS = 300;
const KATEX = { throwOnError: true, trust: false, strict: "ignore", maxSize: 20, maxExpand: 200 };

/** An element with attributes and children; texts among these become text nodes. */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Append text to an element, with each hidden character by its number. */
function appendPlain(element, text) {
  let end = 0;
  for (const found of text.matchAll(HIDDEN)) {
    element.append(text.slice(end, found.index));
    const code = found[0].codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
    element.append(make("span", { class: "hidden-char" }, `U+${code}`));
    end = found.index + found[0].length;
  }
  element.append(text.slice(end));
}

/** Append text to an element, with formulas typeset where they can be. */
function appendTypeset(element, text) {
  let end = 0;
  let formulas = 0;
  for (const found of text.matchAll(MATHS)) {
    const tex = found[1] ?? found[2] ?? found[3] ?? found[4];
    if (tex.length > LONGEST_FORMULA || ++formulas > MOST_FORMULAS) continue;
    const place = make("span", { class: "math", dir: "ltr" });
    try {
      katex.render(tex, place, { ...KATEX, displayMode: found[1] !== undefined || found[2] !== undefined });
    } catch {
      continue;
    }
    appendPlain(element, text.slice(end, found.index));
    element.append(place);
    end = found.index + found[0].length;
  }
  appendPlain(element, text.slice(end));
}

// What is far below is typeset when it is scrolled to.
const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting || !entry.target.typeset) continue;
    seen.unobserve(entry.target);
    entry.target.typeset();
  }
}, { rootMargin: "400px" });

/** A block that shows a text of a model, typeset once it is visible, with a switch to its source. */
function textBlock(text, label) {
  if (!text) return make("p", { class: "none" }, "(empty)");
  const body = make("div", { class: "text", dir: "auto" });
  appendPlain(body, text);
  if (!/[$\\]/.test(text)) return body;
  let typeset = true;
  const show = () => {
    body.replaceChildren();
    (typeset ? appendTypeset : appendPlain)(body, text);
  };
  body.typeset = show;
  seen.observe(body);
  const change = () => {
    typeset = !typeset;
    toggle.setAttribute("aria-pressed", String(!typeset));
    show();
  };
  const toggle = make("button", { type: "button", class: "source", "aria-pressed": "false", "aria-label": `Source of ${label}`, on: { click: change } }, "Source");
  return make("div", { class: "with-source" }, toggle, body);
}

/** The trace of a response, folded; nothing where it has none. */
function traceBlock(trace, label) {
  return trace === undefined ? [] : [make("details", {}, make("summary", {}, `Trace, ${trace.length} characters`), textBlock(trace, label))];
}
