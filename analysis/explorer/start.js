/* What happens when a person acts, and the first drawing. */
"use strict";

function select(label, redraw = true) {
  if (state.current === (label || null)) return;
  state.current = label || null;
  showCards();
  drawParallel(shownTrials());
  find("trial").value = shownTrials().some(trial => trial.label === label) ? label : "";
  if (redraw) drawScatter(shownTrials());
  remember();
}

function pin(label) {
  if (!label || state.pins.includes(label)) return;
  state.pins.push(label);
  update();
}

function unpin(label) {
  state.pins = state.pins.filter(other => other !== label);
  state.current = label;
  update();
}

function drawPlots(trials) {
  drawScatter(trials);
  drawParallel(trials);
}

function draw() {
  const trials = shownTrials();
  showChoices();
  drawPlots(trials);
  showLimits();
  showBest(trials);
  showMenu(trials);
  showCards();
  const without = filteredTrials().length - trials.length;
  const hidden = outcomes.filter(outcome => state.hidden.has(`outcome:${outcome}`)).map(outcome =>
    `${data.trials.filter(trial => trial.outcome === outcome).length} ${outcome}`);
  find("count").textContent = `${trials.length} of ${data.trials.length} trials shown` +
    (hidden.length ? `; hidden are ${hidden.join(", ")} (Other filters shows them).` : ".") +
    (without ? ` ${without} more pass the filters and have no place on these axes: no value, or none that a logarithmic axis can show.` : "");
}

function update() {
  draw();
  remember();
}

function begin() {
  recall();
  buildAgain();
  draw();
}

root.hidden = false;
buildControls();
begin();
addEventListener("hashchange", () => { if (location.hash.startsWith("#explore?")) begin(); });
let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth === width) return;  // a phone's address bar changes the height alone
  width = innerWidth;
  buildAgain();
  draw();
});
