// The answer with the model's own doubt under each token: underline style first, tint second, figures on hover or focus.
const LEVELS = ["sure", "mild", "doubtful", "guess"]; // by data.limits, e.g. 0.9, 0.6, 0.3

const percent = (p) => (p >= 0.995 ? "over 99 %" : p < 0.005 ? "under 1 %" : `${Math.round(p * 100)} %`);
const quoted = (text) => `“${text.replaceAll("\n", "⏎")}”`;

function level(probability, limits) {
  const place = limits.findIndex((limit) => probability >= limit);
  return LEVELS[place === -1 ? limits.length : place];
}

function describe(token) {
  const others = token.alternatives.map(([text, p]) => `${quoted(text)} ${percent(p)}`).join(", ");
  return `${quoted(token.text)} was ${percent(token.probability)} likely.` + (others ? ` Instead: ${others}.` : "");
}

function span(token, limits) {
  const element = document.createElement("span");
  const doubt = level(token.probability, limits);
  element.className = `token ${doubt}`;
  element.textContent = token.text;
  if (doubt !== "sure") {
    element.tabIndex = -1;
    element.setAttribute("role", "mark");
    element.setAttribute("aria-label", describe(token));
  }
  return element;
}

export default function ({ data, parentElement }) {
  const text = parentElement.querySelector(".text");
  const detail = parentElement.querySelector(".detail");
  const hint = "Point at a token, or press ← and → in the text, to see how likely it was.";
  const spans = data.tokens.map((token) => span(token, data.limits));
  text.replaceChildren(...spans);
  detail.textContent = hint;

  const show = (element) => {
    const place = spans.indexOf(element);
    detail.textContent = place === -1 ? hint : describe(data.tokens[place]);
    spans.forEach((one, n) => one.classList.toggle("shown", n === place));
  };
  const step = (by) => {
    const doubtful = spans.filter((one) => one.tabIndex === -1 && !one.classList.contains("sure"));
    const now = doubtful.findIndex((one) => one.classList.contains("shown"));
    const next = doubtful[(now + by + doubtful.length) % doubtful.length] ?? doubtful[0];
    if (next) { show(next); next.scrollIntoView({ block: "nearest" }); }
  };
  text.onmouseover = (event) => show(event.target);
  text.onkeydown = (event) => {
    if (event.key === "ArrowRight" || event.key === "ArrowLeft") {
      event.preventDefault();
      step(event.key === "ArrowRight" ? 1 : -1);
    }
  };
}
