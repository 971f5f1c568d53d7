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

const BOUNDS = ["lightest", "heaviest", "xLimit", "yLimit"];
const initial = () => ({
  x: data.x, y: data.y, logX: metricOf(data.x).log, logY: metricOf(data.y).log,
  hidden: new Set(outcomes.filter(outcome => !["completed", "running"].includes(outcome)).map(name => `outcome:${name}`)),
  extra: false, lightest: null, heaviest: null, xLimit: null, yLimit: null,
  brushes: new Map(), pins: [], current: null,
});
const state = initial();

function remember() {
  const words = new URLSearchParams({x: state.x, y: state.y, logx: +state.logX, logy: +state.logY});
  if (state.hidden.size) words.set("hide", [...state.hidden].join("|"));
  if (state.extra) words.set("extra", "1");
  for (const name of BOUNDS) if (state[name] !== null) words.set(name, state[name]);
  if (state.pins.length) words.set("pins", state.pins.join("|"));
  if (state.current) words.set("trial", state.current);
  try { history.replaceState(null, "", `#explore?${words}`); } catch { /* a page inside another may not */ }
}

function recall() {
  if (!location.hash.startsWith("#explore?")) return;
  const words = new URLSearchParams(location.hash.slice("#explore?".length));
  for (const axis of ["x", "y"]) if (metricIndex.has(words.get(axis))) state[axis] = words.get(axis);
  state.logX = words.get("logx") === "1";
  state.logY = words.get("logy") === "1";
  state.hidden = new Set((words.get("hide") || "").split("|").filter(Boolean));
  state.extra = words.has("extra");
  for (const name of BOUNDS) {
    const value = parseFloat(words.get(name));
    state[name] = Number.isFinite(value) ? value : null;
  }
  state.pins = (words.get("pins") || "").split("|").filter(label => trialByLabel.has(label));
  state.current = trialByLabel.has(words.get("trial")) ? words.get("trial") : null;
}

function metricOf(name) { return data.metrics[metricIndex.get(name)]; }
function value(trial, name) { return trial.values[metricIndex.get(name)]; }
function number(v) {
  if (v === null || v === undefined) return "n/a";
  return Math.abs(v) >= 100 ? d3.format(",.0f")(v) : String(+v.toPrecision(3));
}
function drawable(v, log) { return v !== null && (!log || v > 0); }
function better(name, a, b) { return metricOf(name).direction === "maximize" ? a > b : a < b; }

/** Trials that pass the filters and have a place on both axes. */
function shownTrials() {
  return data.trials.filter(trial =>
    !state.hidden.has(`method:${trial.method}`) && !state.hidden.has(`size:${trial.size}`) &&
    !state.hidden.has(`outcome:${trial.outcome}`) && (state.extra || !trial.extra) &&
    (state.lightest === null || value(trial, "weight") >= state.lightest) &&
    (state.heaviest === null || value(trial, "weight") <= state.heaviest) &&
    [...state.brushes].every(([axis, [low, high]]) => {
      const place = data.parallel[axis].places[trial.row];
      return place !== null && place >= low && place <= high;
    }) &&
    drawable(value(trial, state.x), state.logX) && drawable(value(trial, state.y), state.logY));
}

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

/** Why a trial is not to be picked for what the vertical axis says of its samples, "" if it may be. */
function leftOut(trial) { return trial.out[metricOf(state.y).prior] || ""; }
