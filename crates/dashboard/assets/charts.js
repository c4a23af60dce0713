// The charts of one target, drawn with uPlot: first what the server remembers, then a point a second.
"use strict";
(() => {
  const root = document.querySelector(".charts[data-target]");
  if (!root || typeof uPlot === "undefined") return;
  const target = root.dataset.target;
  const path = target.split("/").map(encodeURIComponent).join("/");
  const FINE_S = 900; // beyond it the server answers in steps of ten seconds
  let spanS = FINE_S;
  let samples = [];
  let plots = [];

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const mix = (name, share, ground) => `color-mix(in srgb, ${colour(name)} ${share}%, ${ground})`;

  const seconds = (value) => {
    if (value == null) return "–";
    if (value < 0.0995) return `${Math.round(value * 1000)} ms`;
    return value < 9.995 ? `${value.toFixed(2)} s` : `${value.toFixed(1)} s`;
  };
  const whole = (value) => (value == null ? "–" : String(Math.round(value)));
  const short = (value) => (value == null ? "–" : value >= 10000 ? `${(value / 1000).toFixed(1)} k` : String(Math.round(value)));
  const sum = (...names) => (sample) => names.reduce((total, name) => total + (sample[name] || 0), 0);
  const one = (name) => (sample) => sample[name] ?? null;

  const stepped = uPlot.paths.stepped({ align: 1 });
  const line = (label, ink, of, more) => ({ label, ink, of, show: whole, ...more });

  // Stacks are drawn from the highest line down, each over the one before; the legend shows the part.
  const CHARTS = {
    demand: {
      unit: whole,
      stack: true,
      least: 4,
      lines: [
        line("waiting", "starting-block", sum("waiting", "in_flight"), { fill: 45, part: one("waiting") }),
        line("in flight", "accent", one("in_flight"), { fill: 40 }),
      ],
    },
    replicas: {
      unit: whole,
      least: 2,
      stack: true,
      steps: true,
      marks: true,
      lines: [
        line("starting", "starting-block", sum("ready", "draining", "starting"), { fill: 45, part: one("starting") }),
        line("draining", "draining", sum("ready", "draining"), { fill: 45, part: one("draining") }),
        line("ready", "ready", one("ready"), { fill: 45 }),
        line("wanted", "ink-2", one("wanted"), { dash: [5, 4] }),
      ],
    },
    ttft: {
      unit: seconds,
      lines: [
        line("p95", "hue-2", one("ttft_p95_s"), { show: seconds }),
        line("p50", "hue-1", one("ttft_p50_s"), { show: seconds, fill: 12 }),
      ],
    },
    itl: {
      unit: seconds,
      lines: [
        line("p95", "hue-2", one("itl_p95_s"), { show: seconds }),
        line("p50", "hue-1", one("itl_p50_s"), { show: seconds, fill: 12 }),
      ],
    },
    tokens: {
      unit: short,
      lines: [
        line("tok/s", "hue-3", one("tokens_per_s"), { show: short, fill: 18 }),
        line("KV cache", "ink-3", (s) => (s.kv_use == null ? null : s.kv_use * 100), {
          show: (v) => (v == null ? "–" : `${Math.round(v)} %`), dash: [3, 3], scale: "share",
        }),
      ],
    },
  };

  const columns = (chart) => {
    const times = samples.map((sample) => sample.at_unix_s);
    return [times, ...chart.lines.map(({ of }) => samples.map(of))];
  };

  // A dotted line where a change was decided.
  const marks = (plot) => {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.strokeStyle = mix("ink-3", 70, "transparent");
    ctx.setLineDash([2, 3]);
    for (const decision of document.querySelectorAll("[data-decision-at]")) {
      const at = Number(decision.dataset.decisionAt);
      if (at < plot.scales.x.min || at > plot.scales.x.max) continue;
      const x = Math.round(plot.valToPos(at, "x", true)) + 0.5;
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.restore();
  };

  const series = (chart) => (spec, index) => ({
    label: spec.label,
    scale: spec.scale || "y",
    stroke: colour(spec.ink),
    // Stacked areas cover what is behind them, or their colours would add up to a third.
    fill: spec.fill ? mix(spec.ink, spec.fill, chart.stack ? colour("panel") : "transparent") : undefined,
    width: 1.5,
    dash: spec.dash,
    points: { show: false },
    paths: chart.steps ? stepped : undefined,
    spanGaps: false,
    value: (plot, value, seriesIndex, dataIndex) => {
      const at = dataIndex ?? samples.length - 1;
      const sample = samples[at];
      if (!sample) return "–";
      return spec.show((spec.part || spec.of)(sample));
    },
  });

  const axis = (more) => ({
    stroke: colour("ink-3"),
    font: "11px system-ui, sans-serif",
    grid: { stroke: colour("line-soft"), width: 1 },
    ticks: { show: false },
    ...more,
  });

  const options = (name, width) => {
    const chart = CHARTS[name];
    const shares = chart.lines.some((spec) => spec.scale === "share");
    const clock = (at) => new Date(at * 1000).toTimeString().slice(0, spanS <= 300 ? 8 : 5);
    const most = (plot, least, top) => [0, Math.max(chart.least || 0, (top || 0) * 1.08) || 1];
    const axes = [
      axis({ values: (plot, at) => at.map(clock), space: 64, size: 26 }),
      axis({ values: (plot, at) => at.map((v) => (chart.unit === whole && v % 1 ? "" : chart.unit(v))), size: 52, space: 34 }),
    ];
    if (shares) axes.push(axis({ scale: "share", side: 1, grid: { show: false }, size: 44, values: (p, at) => at.map((v) => `${v} %`) }));
    return {
      width,
      height: 190,
      cursor: { sync: { key: "target" }, points: { size: 6 }, drag: { x: false, y: false } },
      legend: { live: true },
      scales: { x: { time: true }, y: { range: most }, share: { range: [0, 100] } },
      axes,
      series: [{ label: "", value: () => "" }, ...chart.lines.map(series(chart))],
      hooks: chart.marks ? { draw: [marks] } : {},
    };
  };

  const fit = (plot) => Math.max(200, plot.clientWidth);

  const build = () => {
    for (const { plot } of plots) plot.destroy();
    plots = [];
    for (const figure of root.querySelectorAll("[data-chart]")) {
      const box = figure.querySelector(".plot");
      const name = figure.dataset.chart;
      plots.push({ name, figure, box, plot: new uPlot(options(name, fit(box)), columns(CHARTS[name]), box) });
    }
    feed();
  };

  const feed = () => {
    const end = samples.length ? samples[samples.length - 1].at_unix_s : Date.now() / 1000;
    for (const { name, figure, plot } of plots) {
      const data = columns(CHARTS[name]);
      figure.classList.toggle("fed", data.slice(1).some((column) => column.some((value) => value != null)));
      plot.batch(() => {
        plot.setData(data, false);
        plot.setScale("x", { min: end - spanS, max: end });
      });
    }
  };

  const load = async () => {
    const answer = await fetch(`/api/targets/${path}/history?span_s=${spanS}`);
    if (!answer.ok) return;
    samples = await answer.json();
    if (plots.length) feed();
    else build();
    root.dataset.drawn = String(plots.length);
  };

  document.addEventListener("board:sample", ({ detail }) => {
    const last = samples[samples.length - 1];
    const step = spanS > FINE_S ? 10 : 1;
    if (last && detail.at_unix_s < last.at_unix_s + step) {
      if (step === 1 && detail.at_unix_s === last.at_unix_s) samples[samples.length - 1] = detail;
      else return;
    } else {
      samples.push(detail);
    }
    while (samples.length && samples[0].at_unix_s < detail.at_unix_s - spanS) samples.shift();
    if (plots.length && !document.hidden) feed();
  });
  document.addEventListener("board:again", load);
  document.addEventListener("visibilitychange", () => { if (!document.hidden && plots.length) feed(); });

  for (const button of root.querySelectorAll("[data-span]")) {
    button.addEventListener("click", () => {
      spanS = Number(button.dataset.span);
      for (const other of root.querySelectorAll("[data-span]")) {
        other.setAttribute("aria-pressed", String(other === button));
      }
      root.querySelector("[data-span-name]").textContent = button.dataset.name;
      load();
    });
  }

  // Colours are read once a build, so a change of theme builds again.
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (plots.length) build(); });
  new ResizeObserver(() => {
    for (const { box, plot } of plots) {
      const width = fit(box);
      if (width !== plot.width) plot.setSize({ width, height: 190 });
    }
  }).observe(root);
  load();
})();
