// Tables: sorted by a click on a head, within each group of rows; saved as CSV with every digit.
const textOf = cell => cell.textContent.trim().replaceAll("−", "-").replaceAll("\u00a0", " ");
const valueOf = cell => cell.dataset.value ?? textOf(cell);
const headsOf = table => table.tHead ? [...table.tHead.rows[0].cells] : [];
const isGroup = row => row.cells[0].scope === "rowgroup";

function compareValues(a, b) {
  const [x, y] = [Number(a.replaceAll(",", "")), Number(b.replaceAll(",", ""))];
  return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, undefined, {numeric: true}) : x - y;
}
function sortBy(table, column) {
  const head = headsOf(table)[column];
  const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  for (const other of headsOf(table)) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
  const missing = text => text === "" || text === "–";
  for (const body of table.tBodies) {
    const rows = [...body.rows].filter(row => !isGroup(row)).map(row => [valueOf(row.cells[column]), row]);
    rows.sort(([a], [b]) => missing(a) || missing(b) ? missing(a) - missing(b) : sign * compareValues(a, b));
    body.append(...rows.map(([, row]) => row));
  }
}
function csvOf(table) {
  const grouped = [...table.rows].some(isGroup);
  const quoted = text => /[",\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
  const lines = headsOf(table).length ? [[...grouped ? ["group"] : [], ...headsOf(table).map(textOf)]] : [];
  let group = "";
  for (const row of [...table.tBodies].flatMap(body => [...body.rows])) {
    if (isGroup(row)) group = textOf(row.cells[0]);
    else lines.push([...grouped ? [group] : [], ...[...row.cells].map(valueOf)]);
  }
  return lines.map(line => line.map(quoted).join(",") + "\n").join("");
}
function save(name, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], {type: "text/csv"}));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
for (const table of document.querySelectorAll("table[data-sort]")) {
  headsOf(table).forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    button.addEventListener("click", () => sortBy(table, column));
    head.append(button);
  });
}
for (const table of document.querySelectorAll("table[data-csv]")) {
  const button = document.createElement("button");
  button.className = "csv";
  button.innerHTML = "<span>Download </span>CSV";
  button.setAttribute("aria-label", "Download CSV of this table");
  button.addEventListener("click", () => save(table.dataset.csv + ".csv", csvOf(table)));
  const section = table.closest("section.card");
  if (section) section.append(button);
  else table.closest(".scroll").before(button);
}
