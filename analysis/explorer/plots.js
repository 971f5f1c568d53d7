/* The scatter plot, by Observable Plot, and the parallel coordinates, by D3. */
"use strict";

let front = [];

function drawScatter(trials) {
  const box = find("scatter"), width = Math.max(280, box.clientWidth), narrow = width < NARROW;
  const x = trial => value(trial, state.x), y = trial => value(trial, state.y);
  const look = trial => data.looks[trial.method];
  const inside = new Set(trials.filter(within));
  const [xMetric, yMetric] = [metricOf(state.x), metricOf(state.y)];
  front = frontOf(trials);
  const named = trials.filter(trial => trial.roles.length);
  const marked = trials.filter(trial => state.pins.includes(trial.label));
  const size = narrow ? 5 : 6;
  const isReal = yMetric.real !== null && drawable(yMetric.real, state.logY) && worthShowing(trials.map(y), yMetric.real);
  const scale = (values, log) => {
    const domain = padded(d3.extent(values), log);
    return {type: log ? "log" : "linear", domain, label: null, grid: true, tickFormat: plain, ticks: ticksOf(domain, log, narrow ? 4 : 7)};
  };
  const real = isReal
    ? [Plot.ruleY([yMetric.real], {stroke: "#6b6b6b", strokeDasharray: "4 3"}),
       Plot.text([yMetric.real], {y: d => d, frameAnchor: "right", dy: -6, textAnchor: "end", text: d => `real-data baseline ${number(d)}`, fill: "#595959"})]
    : [];
  const pointed = given => Plot.pointer({x, y, maxRadius: 14, ariaHidden: true, ...given});  // they are drawn anew
  if (!trials.length) {
    box.replaceChildren(make("p", {class: "note"}, "No trial passes the filters: widen them, or begin again."));
    return;
  }
  const plot = picture({
    width, height: narrow ? 320 : 420, marginLeft: 58, marginBottom: 36, marginTop: 28, marginRight: 16,
    ariaLabel: `${yMetric.label} against ${xMetric.label}`,
    ariaDescription: `${trials.length} trials, ${front.length} of them Pareto-optimal. The menu below names each trial.`,
    x: scale(trials.map(x), state.logX), y: scale([...trials.map(y), ...(isReal ? [yMetric.real] : [])], state.logY),
    marks: [
      ...real,
      Plot.line(front, {x, y, stroke: "#c4c4c4", strokeWidth: 6, strokeLinejoin: "round",
        curve: xMetric.direction === "maximize" ? "step-before" : "step-after"}),  // nothing better was seen within the corners
      Plot.dot(trials, {
        x, y, r: size, className: "trials", symbol: trial => (trial.eligible ? look(trial)[1] : "circle"), stroke: trial => look(trial)[0], strokeWidth: 1.5,
        fill: trial => (trial.eligible ? look(trial)[0] : "white"), opacity: trial => (inside.has(trial) ? 0.9 : 0.15),
      }),
      Plot.dot(marked, {x, y, r: size + 5, stroke: "#000", strokeWidth: 2, fill: "none"}),
      Plot.text(named, {x, y, text: "label", dy: -13, fontWeight: 700, fill: "#1a1a1a", stroke: "#fff", strokeWidth: 3}),
      Plot.dot(trials, pointed({r: size + 3, stroke: "#000", fill: "none"})),
      Plot.tip(trials, pointed({fontSize: 12, lineWidth: 22, title: trial =>
        [describe(trial), `${number(x(trial))}, ${number(y(trial))}`, ...trial.roles].join("\n")})),
    ],
  });
  plot.addEventListener("input", () => { if (plot.value) select(plot.value.label, false); });
  box.replaceChildren(make("p", {class: "axis"}, `↑ ${yMetric.label}`), plot, make("p", {class: "axis end"}, `${xMetric.label} →`));
}

/** An axis a little longer than its values, so that no mark lies on its end. */
function padded([low, high], log) {
  if (low === undefined) return [log ? 0.1 : 0, 1];
  if (log) return low < high ? [low * (low / high) ** 0.08, high * (high / low) ** 0.08] : [low / 2, high * 2];
  const room = low < high ? 0.06 * (high - low) : Math.abs(low) / 2 || 1;
  return [low - room, high + room];
}

function plain(tick) { return String(+tick.toPrecision(6)); }

function ticksOf(domain, log, count) {
  const few = log ? logTicks(domain) : [];
  return few.length > 2 ? few : d3.ticks(...domain, count);
}

/** Plain numbers, more of them the less the values span. */
function logTicks([low, high]) {
  const span = high / low, firsts = span <= 5 ? [1, 1.5, 2, 3, 4, 5, 6, 8] : span <= 20 ? [1, 2, 3, 5, 7] : span <= 1000 ? [1, 2, 5] : [1];
  const decades = d3.range(Math.floor(Math.log10(low)), Math.ceil(Math.log10(high)) + 1);
  return decades.flatMap(decade => firsts.map(first => +`${first}e${decade}`)).filter(tick => tick >= low && tick <= high);
}

/** Whether an axis should extend to a baseline: not if that would squeeze the values into a corner. */
function worthShowing(values, baseline) {
  const [low, high] = d3.extent(values);
  if (low > 0 && baseline > 0) {
    const room = Math.max(high / low, 10) ** 0.4;
    return low / room <= baseline && baseline <= high * room;
  }
  const room = 0.6 * Math.max(high - low, Math.abs(high));
  return low - room <= baseline && baseline <= high + room;
}

function buildParallel() {
  const axes = data.parallel, box = find("parallel");
  if (!axes.length) { find("parallel-section").hidden = true; return () => {}; }
  const height = 300, top = 46, bottom = 14, side = 72;
  const width = Math.max(box.clientWidth, 96 * axes.length);
  const across = d3.scalePoint(d3.range(axes.length), [side, width - 48]);
  const up = d3.scaleLinear([0, 1], [height - bottom, top]);
  const svg = d3.create("svg").attr("viewBox", [0, 0, width, height]).attr("width", width).attr("height", height)
    .attr("role", "img").attr("aria-label", `Parallel coordinates of ${axes.map(axis => axis.name).join(", ")}`);
  const path = d3.line().x(point => across(point[0])).y(point => up(point[1])).curve(d3.curveMonotoneX);
  const placed = data.trials.filter(trial => axes.every(axis => axis.places[trial.row] !== null));
  const lines = svg.append("g").attr("fill", "none").selectAll("path").data(placed).join("path")
    .attr("d", trial => path(axes.map((axis, index) => [index, axis.places[trial.row]])))
    .attr("stroke", trial => data.looks[trial.method][0])
    .on("click", (_, trial) => select(trial.label));
  lines.append("title").text(describe);
  axes.forEach((axis, index) => {
    const group = svg.append("g").attr("transform", `translate(${across(index)},0)`);
    group.append("line").attr("y1", top).attr("y2", height - bottom).attr("stroke", "#767676");
    const heading = group.append("text").attr("text-anchor", "middle").attr("class", "heading");
    axis.name.split("/").flatMap(part => (part.length > 14 ? part.split(/(?<=_)/) : [part])).slice(0, 3)
      .forEach((part, line) => heading.append("tspan").attr("x", 0).attr("y", 10 + 12 * line).text(part));
    for (const [place, text] of axis.ticks) {
      group.append("text").attr("x", -5).attr("y", up(place)).attr("dy", "0.32em").attr("text-anchor", "end").text(text);
    }
    const brush = d3.brushY().extent([[-12, top - 8], [12, height - bottom + 8]]);
    const drawn = group.append("g").attr("class", "brush").attr("data-axis", axis.name).call(brush);
    if (state.brushes.has(axis.name)) drawn.call(brush.move, state.brushes.get(axis.name).map(up).reverse());
    brush.on("brush end", ({type, selection}) => {
      if (selection) state.brushes.set(axis.name, [up.invert(selection[1]), up.invert(selection[0])]);
      else state.brushes.delete(axis.name);
      if (type === "end") update();
      else drawPlots(shownTrials());  // no more while it is dragged: text of another length would move the axis away
    });
  });
  box.replaceChildren(svg.node());
  return trials => {
    const shown = new Set(trials.filter(within)), best = new Set(front);
    lines.attr("stroke-opacity", trial => (!shown.has(trial) ? 0.06 : best.has(trial) ? 0.95 : 0.45))
      .attr("stroke-width", trial => (trial.label === state.current || state.pins.includes(trial.label) ? 4 : best.has(trial) ? 2 : 1));
    find("unbrush").hidden = !state.brushes.size;
  };
}

let drawParallel = () => {};
function buildAgain() { drawParallel = buildParallel(); }
