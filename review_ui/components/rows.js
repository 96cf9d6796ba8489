// A plain table whose cells are textContent; a row's first cell can be a button that tells Python which row was picked.
function cell(tag, content) {
  const element = document.createElement(tag);
  element.textContent = content;
  return element;
}

function bodyRow(row, pick) {
  const line = document.createElement("tr");
  row.cells.forEach((content, place) => {
    const data = document.createElement("td");
    data.dir = "auto";
    if (place === 0 && row.action) {
      const button = cell("button", content);
      button.type = "button";
      button.setAttribute("aria-label", row.action);
      button.onclick = () => pick(row.id);
      data.append(button);
    } else data.textContent = content;
    line.append(data);
  });
  line.classList.toggle("marked", Boolean(row.marked));
  return line;
}

export default function ({ data, parentElement, setTriggerValue }) {
  const table = parentElement.querySelector("table");
  const head = document.createElement("thead");
  const titles = document.createElement("tr");
  titles.append(...data.columns.map((title) => { const th = cell("th", title); th.scope = "col"; return th; }));
  head.append(titles);
  const body = document.createElement("tbody");
  body.append(...data.rows.map((row) => bodyRow(row, (id) => setTriggerValue("picked", id))));
  const caption = cell("caption", data.caption);
  table.replaceChildren(caption, head, body);
}
