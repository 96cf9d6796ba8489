// The conversation as asked. Every text enters the page through textContent: nothing in it can run or load.
const WHO = { system: "System prompt", user: "Caller", assistant: "Model, earlier", tool: "Tool" };

function turn(message) {
  const block = document.createElement("section");
  block.className = `turn ${message.role === "system" ? "system" : "other"}`;
  const who = document.createElement("h4");
  who.textContent = WHO[message.role] ?? message.role;
  const text = document.createElement("p");
  text.dir = "auto";
  text.textContent = message.text;
  block.append(who, text);
  return block;
}

export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".transcript");
  root.replaceChildren(...data.messages.map(turn));
}
