// The answer with the model's own doubt under each token, and a mark before each step that was checked: line style and
// sign first, tint second, words on hover or focus.
const LEVELS = ["sure", "mild", "doubtful", "guess"]; // by data.limits, e.g. 0.9, 0.6, 0.3

const percent = (p) => (p >= 0.995 ? "over 99 %" : p < 0.005 ? "under 1 %" : `${Math.round(p * 100)} %`);
const quoted = (text) => `“${text.replaceAll("\n", "⏎")}”`;

function level(probability, limits) {
  const place = limits.findIndex((limit) => probability >= limit);
  return LEVELS[place === -1 ? limits.length : place];
}

function describe(token) {
  const others = token.alternatives.map(([text, p]) => `${quoted(text)} ${percent(p)}`).join(", ");
  return `${quoted(token.token || token.text)} was ${percent(token.probability)} likely.` + (others ? ` Instead: ${others}.` : "");
}

function tokenSpan(token, limits) {
  const element = document.createElement("span");
  const cutOff = token.text !== token.token && !token.text.trim(); // the blank before a step, of a token that began there
  const doubt = cutOff ? "sure" : level(token.probability, limits);
  element.className = `token ${doubt}`;
  element.textContent = token.text;
  if (doubt !== "sure") {
    element.tabIndex = -1;
    element.setAttribute("role", "mark");
    element.setAttribute("aria-label", describe(token));
  }
  return element;
}

function stepSpan(step) {
  const element = document.createElement("span");
  element.className = `step ${step.state}`;
  element.dataset.mark = step.mark; // drawn by the style: it is no part of the answer's text
  element.tabIndex = -1;
  element.setAttribute("role", "group");
  element.setAttribute("aria-label", step.says);
  return element;
}

// Tokens in the order of the text, those of a step within its span; what each element says.
function draw(data) {
  const says = new Map(), top = [];
  let step = null, around = null;
  for (const token of data.tokens) {
    const element = tokenSpan(token, data.limits);
    if (token.step === null) { top.push(element); step = null; says.set(element, describe(token)); continue; }
    if (token.step !== step) {
      step = token.step;
      around = stepSpan(data.steps[step]);
      says.set(around, data.steps[step].says);
      top.push(around);
    }
    around.append(element);
    says.set(element, `${describe(token)} ${data.steps[step].says}`);
  }
  return { top, says };
}

export default function ({ data, parentElement }) {
  const text = parentElement.querySelector(".text");
  const detail = parentElement.querySelector(".detail");
  const what = data.steps.length ? "a token or a step" : "a token";
  const hint = `Point at ${what}, or press ← and → in the text, to ${data.steps.length ? "read more" : "see how likely it was"}.`;
  const { top, says } = draw(data);
  text.replaceChildren(...top);
  detail.textContent = hint;
  parentElement.querySelectorAll(".of-steps").forEach((line) => { line.hidden = data.steps.length === 0; });

  let shown = null;
  const show = (element) => {
    shown?.classList.remove("shown");
    shown = says.has(element) ? element : null;
    shown?.classList.add("shown");
    detail.textContent = says.get(shown) ?? hint;
  };
  const go = (by) => {
    const stops = [...text.querySelectorAll("[tabindex]")];
    const now = shown === null && by < 0 ? 0 : stops.indexOf(shown); // -1: nothing yet, so on to the first
    const next = stops[(now + by + stops.length) % stops.length] ?? stops[0];
    if (next) { show(next); next.scrollIntoView({ block: "nearest" }); }
  };
  text.onmouseover = (event) => show(event.target);
  text.onkeydown = (event) => {
    if (event.key === "ArrowRight" || event.key === "ArrowLeft") {
      event.preventDefault();
      go(event.key === "ArrowRight" ? 1 : -1);
    }
  };
}
