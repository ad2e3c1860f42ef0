// Charts: drawn in the palette that the reader prefers, and saved as CSV.
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const palette = JSON.parse(document.getElementById("palette").textContent);
const either = new RegExp(Object.keys(palette).map(c => c.replace("(", "\\(")).join("|"), "g");
const boxes = () => document.querySelectorAll("[data-chart]");
const textOfChart = box => document.getElementById("data-" + box.dataset.chart).textContent;

function draw() {
  for (const box of boxes()) {
    let text = textOfChart(box);
    if (dark.matches) text = text.replace(either, c => palette[c]);
    const chart = JSON.parse(text);
    Plotly.react(box, chart.data, chart.layout, {displayModeBar: false, responsive: true});
  }
}

const kinds = {f4: Float32Array, f8: Float64Array, i1: Int8Array, u1: Uint8Array, i2: Int16Array, i4: Int32Array};
function listOf(values) {
  if (!values || values.bdata === undefined) return values ?? [];
  const bytes = Uint8Array.from(atob(values.bdata), c => c.charCodeAt(0));
  const list = Array.from(new kinds[values.dtype](bytes.buffer));
  const drawn = list.map(x => !Number.isFinite(x) ? "" : values.dtype === "f4" ? Number(x.toPrecision(7)) : x);
  if (!values.shape) return drawn;
  const width = Number(String(values.shape).split(",")[1]);
  return Array.from({length: drawn.length / width}, (_, row) => drawn.slice(row * width, (row + 1) * width));
}
const plainOf = text => new DOMParser().parseFromString(text, "text/html").documentElement.textContent;
function chartCsv(box) {
  const chart = JSON.parse(textOfChart(box));
  if (chart.layout.meta?.csv) return chart.layout.meta.csv;
  const quoted = value => /[",\n]/.test(value) ? '"' + String(value).replaceAll('"', '""') + '"' : value ?? "";
  const lines = rows => rows.map(row => row.map(quoted).join(",") + "\n").join("");
  if (chart.data[0].type === "heatmap") return lines([["objective", "asset", "from", "value"],
    ...chart.data.flatMap(trace => listOf(trace.z).flatMap((row, y) =>
      listOf(row).map((value, x) => [plainOf(trace.name), plainOf(trace.y[y]), trace.x[x], value])))]);
  const named = chart.data.filter(trace => trace.meta ?? trace.name);
  const columns = named.map(trace => {
    const [x, y] = [listOf(trace.x), listOf(trace.y)];
    return new Map(x.map((date, i) => [date, y[i]]));
  });
  const dates = [...new Set(columns.flatMap(column => [...column.keys()]))].sort();
  return lines([["date", ...named.map(trace => trace.meta ?? plainOf(trace.name))],
    ...dates.map(date => [date, ...columns.map(column => column.get(date))])]);
}
function saveCsv(name, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], {type: "text/csv"}));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

draw();
dark.addEventListener("change", draw);
for (const box of boxes()) {
  const button = document.createElement("button");
  button.className = "csv";
  button.innerHTML = "<span>Download </span>CSV";
  button.setAttribute("aria-label", "Download CSV of " + box.getAttribute("aria-label"));
  button.addEventListener("click", () => saveCsv("chart-" + box.dataset.chart + ".csv", chartCsv(box)));
  box.closest("figure").append(button);
}
