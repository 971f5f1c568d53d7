/* What the page is built of: elements, plots, and the controls with their limits. */
"use strict";

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, content] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), content);
    else if (content === true) element.setAttribute(name, "");
    else if (content !== false && content !== null) element.setAttribute(name, content);
  }
  element.append(...children.filter(child => child !== null && child !== ""));
  return element;
}

/** A plot as one picture with a description: its parts say nothing by themselves. */
function picture(options) {
  const plot = Plot.plot({...options, style: {background: "transparent", fontSize: "12px", overflow: "visible"}});
  plot.setAttribute("role", "img");
  for (const part of plot.querySelectorAll("g[aria-label]")) part.removeAttribute("aria-label");
  return plot;
}

function describe(trial) { return `trial ${trial.label}: ${trial.what}`; }

function copyable(command) {
  const code = make("code", {}, command);
  const said = make("span", {role: "status"});
  const button = make("button", {type: "button", onclick: async () => {
    try {
      await navigator.clipboard.writeText(command);
      said.textContent = "copied";
    } catch {  // not allowed here: mark it, so that the keyboard can
      getSelection().selectAllChildren(code);
      said.textContent = "marked: copy it with the keyboard";
    }
  }}, "Copy");
  return make("span", {class: "command"}, code, " ", button, " ", said);
}

function checkbox(key, text, look) {
  const box = make("input", {type: "checkbox", "data-key": key, onchange: () => {
    if (box.checked) state.hidden.delete(key); else state.hidden.add(key);
    update();
  }});
  const mark = look ? picture({width: 14, height: 14, margin: 0, axis: null,
    marks: [Plot.dot([0], {frameAnchor: "middle", r: 4.5, symbol: look[1], stroke: look[0], fill: look[0]})]}) : null;
  mark?.setAttribute("aria-hidden", "true");
  return make("label", {}, box, mark, text);
}

/** A field for the least or the most that a parameter may be. */
function bound(name, word, end) {
  const field = make("input", {type: "number", step: "any", "data-bound": name, "data-end": end, oninput: () => {
    const ends = state.bounds.get(name) || [null, null];
    ends[end] = Number.isFinite(field.valueAsNumber) ? field.valueAsNumber : null;
    state.bounds.set(name, ends);
    if (ends.every(other => other === null)) state.bounds.delete(name);
    update();
  }});
  return make("label", {}, word, field);
}

function buildControls() {
  for (const [axis, log] of [["x", "logX"], ["y", "logY"]]) {
    const menu = find(`${axis}-metric`);
    menu.append(...data.metrics.map(metric => make("option", {value: metric.name}, metric.label)));
    menu.addEventListener("change", () => {
      state[axis] = menu.value;
      state[`${axis}Limit`] = null;
      state[log] = metricOf(menu.value).log;
      update();
    });
    find(`${axis}-log`).addEventListener("change", event => { state[log] = event.target.checked; update(); });
    find(`${axis}-limit`).addEventListener("input", event => {
      const steps = limitSteps(axis), index = +event.target.value;
      state[`${axis}Limit`] = index === steps.length - 1 ? null : steps[index];
      update();
    });
  }
  find("group").textContent = data.group;
  find("methods").append(...methods.map(method => checkbox(`method:${method}`, method, data.looks[method])));
  find("sizes").append(...sizes.map(size => checkbox(`size:${size}`, `d=${size}`)));
  find("outcomes").append(...outcomes.map(outcome => checkbox(`outcome:${outcome}`, outcome)));
  if (data.trials.some(trial => trial.extra)) {
    const box = make("input", {type: "checkbox", "data-part": "extra", onchange: () => { state.extra = box.checked; update(); }});
    find("outcomes").append(make("label", {}, box, "trials beyond the search"));
  }
  find("params").append(...data.params.map(param => make("fieldset", {}, make("legend", {}, param.name),
    ...(param.choices ? param.choices.map(choice => checkbox(`${param.name}:${choice}`, choice)) : ["from", "to"].map((word, end) => bound(param.name, word, end))))));
  if (studies.length > 1) {
    find("studies").append(make("fieldset", {}, make("legend", {}, "Study"), ...studies.map(name => checkbox(`study:${name}`, name))));
  }
  find("unbrush").addEventListener("click", () => {
    state.brushes.clear();
    buildAgain();
    update();
  });
  find("trial").addEventListener("change", event => select(event.target.value));
  find("pin").addEventListener("click", () => pin(find("trial").value));
  find("reset").addEventListener("click", () => {
    Object.assign(state, initial());
    buildAgain();
    update();
  });
}

function showChoices() {
  for (const [axis, log] of [["x", "logX"], ["y", "logY"]]) {
    find(`${axis}-metric`).value = state[axis];
    find(`${axis}-log`).checked = state[log];
  }
  for (const box of root.querySelectorAll("[data-key]")) box.checked = !state.hidden.has(box.dataset.key);
  for (const field of root.querySelectorAll("[data-bound]")) {
    const end = (state.bounds.get(field.dataset.bound) || [])[+field.dataset.end];
    if (field !== document.activeElement) field.value = end ?? "";
  }
  if (find("extra")) find("extra").checked = state.extra;
}

/** The values that a limit can take: those of the shown trials, from the best to the worst, the last one no limit. */
function limitSteps(axis) {
  const values = distinct(shownTrials().filter(trial => trial.eligible).map(trial => value(trial, state[axis])));
  return values.sort((a, b) => (better(state[axis], a, b) ? -1 : 1));
}

function showLimits() {
  for (const axis of ["x", "y"]) {
    const metric = metricOf(state[axis]), slider = find(`${axis}-limit`), steps = limitSteps(axis);
    const limit = state[`${axis}Limit`];
    const index = limit === null ? steps.length - 1 : steps.findLastIndex(step => step === limit || better(state[axis], step, limit));
    slider.disabled = metric.direction === "none" || steps.length < 2;
    slider.max = Math.max(0, steps.length - 1);
    slider.value = Math.max(0, index);
    const words = limit === null ? "no limit" : `${metric.direction === "maximize" ? "at least" : "at most"} ${number(limit)}`;
    slider.setAttribute("aria-valuetext", words);
    find(`${axis}-limit-name`).textContent = metric.short;
    find(`${axis}-limit-value`).textContent = words;
  }
}

/** Names the best trial in each axis, as the study's summary chooses: who is left out there is passed over here. */
function showBest(trials) {
  const comparable = trials.filter(trial => trial.eligible), admissible = comparable.filter(within);
  const box = find("best");
  box.replaceChildren(make("p", {}, `${admissible.length} of ${comparable.length} trials that may join a front lie within the limits.`));
  if (data.caution) { box.append(make("p", {}, data.caution)); return; }
  const winners = new Map();
  let unpicked = 0;
  for (const axis of ["y", "x"]) {
    const name = state[axis], able = admissible.filter(trial => !leftOut(trial, name));
    if (metricOf(name).direction === "none") continue;
    unpicked = Math.max(unpicked, admissible.length - able.length);
    if (!able.length) continue;
    const winner = able.reduce((a, b) => (better(name, value(b, name), value(a, name)) ? b : a));
    winners.set(winner, [...(winners.get(winner) || []), metricOf(name).short]);
  }
  if (unpicked) box.append(make("p", {}, `${unpicked} of them cannot be picked for their samples; their cards say why.`));
  for (const [trial, labels] of winners) {
    box.append(make("p", {}, make("strong", {}, `Best in ${labels.join(" and ")}: `), describe(trial),
      ` (${["y", "x"].map(axis => `${metricOf(state[axis]).short} ${number(value(trial, state[axis]))}`).join(", ")}). `,
      make("button", {type: "button", onclick: () => pin(trial.label)}, "Compare"), " ",
      trial.command ? copyable(trial.command) : ""));
  }
}

function showMenu(trials) {
  const menu = find("trial"), wanted = state.current;
  menu.replaceChildren(make("option", {value: ""}, "choose a trial"),
    ...trials.map(trial => make("option", {value: trial.label}, describe(trial))));
  menu.value = trials.some(trial => trial.label === wanted) ? wanted : "";
}
