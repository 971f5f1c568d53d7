/* What a person has chosen, kept in the address so that a page that is written again, or a link that is passed on,
   shows the same; and which trials follow from it. The data are what data.py wrote. */
"use strict";

const source = document.getElementById("explorer-data");
const data = JSON.parse(source.textContent);
const root = document.getElementById("explorer");
const find = name => root.querySelector(`[data-part="${name}"]`);
const metricIndex = new Map(data.metrics.map((metric, index) => [metric.name, index]));
const trialByLabel = new Map(data.trials.map(trial => [trial.label, trial]));
const NARROW = 640;

data.trials.forEach((trial, row) => { trial.row = row; });
const distinct = values => [...new Set(values)];
const methods = Object.keys(data.looks);
const sizes = distinct(data.trials.map(trial => trial.size)).filter(size => size !== null).sort(d3.ascending);
const outcomes = distinct(data.trials.map(trial => trial.outcome));
const studies = distinct(data.trials.map(trial => trial.study));

const picked = data.trials.filter(trial => trial.roles.some(role => /recommended|Best in every/.test(role)));
const recommended = (picked.find(trial => trial.roles.some(role => role.endsWith("recommended"))) || picked[0])?.label ?? null;

const LIMITS = ["xLimit", "yLimit"];
const initial = () => ({
  x: data.x, y: data.y, logX: metricOf(data.x).log, logY: metricOf(data.y).log,
  hidden: new Set(outcomes.filter(outcome => !["completed", "running"].includes(outcome)).map(name => `outcome:${name}`)),
  extra: false, xLimit: null, yLimit: null,
  bounds: new Map(),   // parameter -> [least, most], either may be null
  brushes: new Map(),  // axis of the parallel coordinates -> [low, high], as places from 0 to 1
  pins: [], current: recommended,
});
const state = initial();

function remember() {
  const words = new URLSearchParams({x: state.x, y: state.y, logx: +state.logX, logy: +state.logY});
  words.set("hide", [...state.hidden].join("|"));
  if (state.extra) words.set("extra", "1");
  for (const name of LIMITS) if (state[name] !== null) words.set(name, state[name]);
  for (const [name, ends] of state.bounds) words.set(`bound:${name}`, ends.map(end => end ?? "").join("|"));
  for (const [name, ends] of state.brushes) words.set(`brush:${name}`, ends.map(end => end.toFixed(4)).join("|"));
  if (state.pins.length) words.set("pins", state.pins.join("|"));
  if (state.current) words.set("trial", state.current);
  try { history.replaceState(null, "", `#explore?${words}`); } catch { /* a page inside another may not */ }
}

/** What the address says; nonsense in it is passed over. */
function recall() {
  Object.assign(state, initial());
  if (!location.hash.startsWith("#explore?")) return;
  const words = new URLSearchParams(location.hash.slice("#explore?".length));
  const numbers = text => text.split("|").map(part => (part.trim() && Number.isFinite(+part) ? +part : null));
  for (const [axis, log] of [["x", "logX"], ["y", "logY"]]) {
    if (metricIndex.has(words.get(axis))) state[axis] = words.get(axis);
    state[log] = words.has(log.toLowerCase()) ? words.get(log.toLowerCase()) === "1" : metricOf(state[axis]).log;
    const [limit] = numbers(words.get(`${axis}Limit`) || "");
    if (metricOf(state[axis]).direction !== "none") state[`${axis}Limit`] = limit;
  }
  if (words.has("hide")) state.hidden = new Set(words.get("hide").split("|").filter(Boolean));
  state.extra = words.has("extra");
  for (const {name} of data.params) {
    const ends = numbers(words.get(`bound:${name}`) || "");
    if (ends.length === 2) state.bounds.set(name, ends);
  }
  for (const {name} of data.parallel) {
    const ends = numbers(words.get(`brush:${name}`) || "");
    if (ends.length === 2 && !ends.includes(null)) state.brushes.set(name, ends);
  }
  state.pins = distinct((words.get("pins") || "").split("|")).filter(label => trialByLabel.has(label));
  if (trialByLabel.has(words.get("trial"))) state.current = words.get("trial");
}

function metricOf(name) { return data.metrics[metricIndex.get(name)]; }
function value(trial, name) { return trial.values[metricIndex.get(name)]; }
function number(v) {
  if (v === null || v === undefined) return "n/a";
  return Math.abs(v) >= 100 ? d3.format(",.0f")(v) : String(+v.toPrecision(3));
}
function drawable(v, log) { return v !== null && (!log || v > 0); }
function better(name, a, b) { return metricOf(name).direction === "maximize" ? a > b : a < b; }

/** Trials that pass the filters, whether or not they have a place on the axes. */
function filteredTrials() {
  const places = new Map(data.parallel.map(axis => [axis.name, axis.places]));
  const kinds = trial => [`method:${trial.method}`, `study:${trial.study}`, `size:${trial.size}`, `outcome:${trial.outcome}`,
    ...data.params.filter(param => param.choices).map(param => `${param.name}:${trial.params[param.name]}`)];
  return data.trials.filter(trial =>
    (state.extra || !trial.extra) && !kinds(trial).some(kind => state.hidden.has(kind)) &&
    [...state.bounds].every(([name, [least, most]]) => {
      const own = parseFloat(trial.params[name]);
      return (least === null || own >= least) && (most === null || own <= most);
    }) &&
    [...state.brushes].every(([name, [low, high]]) => {
      const place = places.get(name)[trial.row];
      return place !== null && place >= low && place <= high;
    }));
}

function hasPlace(trial) {
  return drawable(value(trial, state.x), state.logX) && drawable(value(trial, state.y), state.logY);
}

function shownTrials() { return filteredTrials().filter(hasPlace); }

function within(trial) {
  return [["x", state.xLimit], ["y", state.yLimit]].every(([axis, limit]) =>
    limit === null || value(trial, state[axis]) === limit || better(state[axis], value(trial, state[axis]), limit));
}

/** The Pareto front of the shown trials on the two axes, if both have a direction. */
function frontOf(trials) {
  if ([state.x, state.y].some(name => metricOf(name).direction === "none")) return [];
  const able = trials.filter(trial => trial.eligible);
  const atLeast = (name, a, b) => value(a, name) === value(b, name) || better(name, value(a, name), value(b, name));
  const dominates = (a, b) => atLeast(state.x, a, b) && atLeast(state.y, a, b) &&
    (value(a, state.x) !== value(b, state.x) || value(a, state.y) !== value(b, state.y));
  return able.filter(trial => !able.some(other => dominates(other, trial)))
    .sort((a, b) => value(a, state.x) - value(b, state.x));
}

/** Why a trial is not to be picked for what a metric says of its samples, "" if it may be. */
function leftOut(trial, name) { return trial.out[metricOf(name).prior] || ""; }
