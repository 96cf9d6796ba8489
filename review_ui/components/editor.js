// Writes a verdict's text and reason. What is typed lives here; Python hears of it as drafts and as one submission.
const DRAFT_PAUSE_MS = 500;

const words = (text) => text.match(/\s+|[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu) ?? [];

// Longest common subsequence over words; [kind, text] pairs with kind same, cut or put.
function difference(before, after) {
  const a = words(before), b = words(after);
  if (a.length * b.length > 1_000_000) return [["cut", before], ["put", after]];
  const best = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      best[i][j] = a[i] === b[j] ? best[i + 1][j + 1] + 1 : Math.max(best[i + 1][j], best[i][j + 1]);
  const parts = [];
  const add = (kind, text) => {
    const last = parts[parts.length - 1];
    if (last && last[0] === kind) last[1] += text; else parts.push([kind, text]);
  };
  let i = 0, j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) { add("same", a[i]); i++; j++; }
    else if (j >= b.length || (i < a.length && best[i + 1][j] >= best[i][j + 1])) add("cut", a[i++]);
    else add("put", b[j++]);
  }
  return parts;
}

const TAG = { same: "span", cut: "del", put: "ins" };

function drawDifference(place, before, after) {
  place.replaceChildren(...difference(before, after).map(([kind, text]) => {
    const piece = document.createElement(TAG[kind]);
    piece.textContent = text;
    return piece;
  }));
}

function build(root, data) {
  const find = (name) => root.querySelector(`.${name}`);
  const text = find("words"), note = find("note"), problem = find("problem");
  find("edit-only").hidden = data.kind !== "edit";
  find("note-label").textContent = data.note_label;
  find("send").textContent = data.send_label;
  text.value = data.text;
  note.value = data.note;
  find("chips").replaceChildren(...data.reasons.map((reason) => {
    const chip = document.createElement("button");
    chip.type = "button";
    chip.textContent = reason;
    chip.onclick = () => { note.value = reason; note.dispatchEvent(new Event("input")); note.focus(); };
    return chip;
  }));
  drawDifference(find("difference"), data.original, text.value);
  return { text, note, problem, find };
}

export default function ({ data, parentElement, setStateValue, setTriggerValue }) {
  const root = parentElement.querySelector(".editor");
  if (root.dataset.form === data.form) return; // Python ran again; what is being typed stays
  root.dataset.form = data.form;
  const { text, note, problem, find } = build(root, data);
  let pause;
  const now = () => ({ form: data.form, text: text.value, note: note.value });
  const typed = () => {
    problem.textContent = "";
    if (data.kind === "edit") drawDifference(find("difference"), data.original, text.value);
    clearTimeout(pause);
    pause = setTimeout(() => setStateValue("draft", now()), DRAFT_PAUSE_MS);
  };
  const fault = () => {
    if (data.kind === "edit" && !text.value.trim()) return [text, "The answer is empty. Write it, or reject instead."];
    if (data.kind === "edit" && text.value === data.original) return [text, "Nothing is changed. Change it, or approve instead."];
    if (!note.value.trim()) return [note, "Say why, in a few words."];
    return null;
  };
  const send = () => {
    const wrong = fault();
    if (wrong) { problem.textContent = wrong[1]; wrong[0].focus(); return; }
    clearTimeout(pause);
    setTriggerValue("submit", now());
  };
  const leave = () => { clearTimeout(pause); setTriggerValue("cancel", now()); };
  text.oninput = note.oninput = typed;
  find("send").onclick = send;
  find("leave").onclick = leave;
  root.onkeydown = (event) => {
    event.stopPropagation(); // typing an A must never approve
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); send(); }
    else if (event.key === "Enter" && event.target === note) { event.preventDefault(); send(); }
    else if (event.key === "Escape") { event.preventDefault(); leave(); }
  };
  (data.kind === "edit" ? text : note).focus({ preventScroll: true });
  requestAnimationFrame(() => root.scrollIntoView({ block: "nearest" }));
}
