// Names and values, one pair a line.
export default function ({ data, parentElement }) {
  const list = parentElement.querySelector(".facts");
  list.replaceChildren(...data.lines.flatMap(([name, value]) => {
    const term = document.createElement("dt"), meaning = document.createElement("dd");
    term.textContent = name;
    meaning.textContent = value;
    return [term, meaning];
  }));
}
