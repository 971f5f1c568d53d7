/* Trials side by side: what each is, its values, its pictures and its learning curves. */
"use strict";

function card(trial, labels) {
  const pinned = state.pins.includes(trial.label);
  const facts = make("dl", {});
  for (const [name, text] of Object.entries(trial.params)) facts.append(make("div", {}, make("dt", {}, name), make("dd", {}, text)));
  const article = make("article", {class: "card", "aria-label": describe(trial), "data-trial": trial.label},
    make("header", {},
      make("h3", {}, `Trial ${trial.label}`, trial.link ? make("a", {href: trial.link, class: "link"}, " in MLflow") : null),
      make("p", {}, trial.what),
      make("button", {type: "button", "aria-pressed": String(pinned), onclick: () => (pinned ? unpin(trial.label) : pin(trial.label))},
        pinned ? "Unpin" : "Pin to compare")),
    make("p", {class: "roles"}, trial.roles.length ? trial.roles.join("; ") : `${trial.outcome}${trial.extra ? `, ${trial.origin}` : ""}`),
    ...["normal", "fitted"].filter(prior => trial.out[prior]).map(prior => make("p", {class: "warning"},
      `Not picked for its samples${prior === "fitted" ? " from the fitted prior" : ""}: ${trial.out[prior]}.`)),
    trial.reason ? make("p", {class: "warning"}, trial.reason) : null,
    metricTable(trial, labels),
    pictures(trial),
    curves(trial),
    make("details", {}, make("summary", {}, "Configuration"), facts),
    make("details", {}, make("summary", {}, "All metrics"), metricTable(trial, data.metrics.map(metric => metric.name))),
    trial.command ? make("p", {}, copyable(trial.command)) : null);
  return article;
}

function metricTable(trial, names) {
  const cards = shownCards();
  const body = make("tbody");
  for (const name of names) {
    const own = value(trial, name), metric = metricOf(name), seeds = trial.intervals[name];
    if (own === null) continue;
    const others = cards.map(other => value(other, name)).filter(v => v !== null);
    const wins = cards.length > 1 && metric.direction !== "none" && !others.some(other => better(name, other, own));
    const cell = make("td", {}, wins ? make("strong", {}, number(own), make("span", {class: "unseen"}, " (best of those shown)")) : number(own));
    if (seeds) {
      const [mean, low, high, count] = seeds;
      cell.append(make("small", {}, low === null ? `one fresh seed: ${number(mean)}` : `${count} fresh seeds: ${number(mean)} [${number(low)}, ${number(high)}]`));
    }
    body.append(make("tr", {}, make("th", {scope: "row"}, metric.short), cell));
  }
  return make("table", {}, make("caption", {class: "unseen"}, `Metrics of trial ${trial.label}`), body);
}

function pictures(trial) {
  const entries = Object.entries(trial.pictures);
  if (!entries.length) return make("p", {class: "note"}, "This trial has no pictures.");
  return make("div", {}, ...entries.map(([title, address]) =>
    make("figure", {}, make("figcaption", {}, title), make("img", {src: address, alt: `${title}, trial ${trial.label}`}))));
}

function curves(trial) {
  const box = make("div", {class: "curves"});
  data.curves.forEach((name, index) => {
    const [epochs, values] = trial.curves[index];
    if (!epochs.length) return;
    const metric = metricOf(name), log = metric.log;
    const all = shownCards().flatMap(other => other.curves[index][1]).filter(v => drawable(v, log));
    const domain = padded(d3.extent(all), log);
    const points = epochs.map((epoch, at) => ({epoch, value: values[at]})).filter(point => drawable(point.value, log));
    box.append(make("figure", {}, make("figcaption", {}, `${metric.short}, by epoch`), picture({
      width: 250, height: 110, marginLeft: 44, marginBottom: 22, marginTop: 6, marginRight: 8,
      ariaLabel: `${metric.label} of trial ${trial.label} by epoch`,
      x: {label: null, ticks: 4, nice: false}, y: {type: log ? "log" : "linear", domain, label: null, ticks: ticksOf(domain, log, 3).filter((_, at, all) => all.length < 5 || at % 2 === 0), tickFormat: plain, grid: true},
      marks: [Plot.lineY(points, {x: "epoch", y: "value", stroke: data.looks[trial.method][0], strokeWidth: 1.5}),
              points.length < 2 ? Plot.dot(points, {x: "epoch", y: "value", fill: data.looks[trial.method][0]}) : null],
    })));
  });
  return box;
}

function shownCards() {
  const labels = [...state.pins];
  if (state.current && !labels.includes(state.current)) labels.unshift(state.current);
  return labels.map(label => trialByLabel.get(label));
}

function showCards() {
  const cards = shownCards();
  const names = distinct([state.x, state.y, data.x, data.y, ...data.metrics.map(metric => metric.name).filter(name => name.startsWith("val/")
    && ["fitted_fid", "second_fid", "precision", "coverage", "reconstruction_psnr"].includes(name.slice(4)))]);
  const box = find("cards");
  const focused = box.contains(document.activeElement) ? document.activeElement.closest("[data-trial]")?.dataset.trial : null;
  box.replaceChildren(...(cards.length ? cards.map(trial => card(trial, names))
    : [make("p", {class: "note"}, "Point at a trial in the plot, or choose one in the menu, to see what it is and what it draws.")]));
  if (focused) (box.querySelector(`[data-trial="${CSS.escape(focused)}"] button`) || find("trial")).focus();
}
