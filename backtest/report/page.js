const dark = window.matchMedia("(prefers-color-scheme: dark)");
const palette = JSON.parse(document.getElementById("palette").textContent);
const either = new RegExp(Object.keys(palette).map(c => c.replace("(", "\\(")).join("|"), "g");
function draw() {
  for (const box of document.querySelectorAll("[data-chart]")) {
    let text = document.getElementById("data-" + box.dataset.chart).textContent;
    if (dark.matches) text = text.replace(either, c => palette[c]);
    const chart = JSON.parse(text);
    Plotly.react(box, chart.data, chart.layout, {displayModeBar: false, responsive: true});
  }
}
draw();
dark.addEventListener("change", draw);
