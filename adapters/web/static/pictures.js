// Puts a livelier drawing in the place of each plain one: the same numbers, told under the pointer.
"use strict";

(() => {
  const language = document.documentElement.lang;
  const minutes = -new Date().getTimezoneOffset(); // east of UTC

  // Days begin at the browser's midnight. Where the server did not know it, it is asked again, once.
  const known = `heed_offset=${minutes}`;
  if (Number(document.body.dataset.offset) !== minutes && !document.cookie.includes(known)) {
    document.cookie = `${known}; path=/; max-age=31536000; samesite=strict`;
    if (document.cookie.includes(known)) location.reload();
  }

  // Whoever types a day wants a range of days.
  for (const day of document.querySelectorAll('.day input')) {
    day.addEventListener("change", () => {
      document.querySelector('[name="range"][value="custom"]').checked = true;
    });
  }

  const number = new Intl.NumberFormat(language);
  const dated = {
    day: new Intl.DateTimeFormat(language, { weekday: "short", day: "numeric", month: "short" }),
    hour: new Intl.DateTimeFormat(language, { weekday: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" }),
    month: new Intl.DateTimeFormat(language, { day: "numeric", month: "short" }),
    clock: new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }),
  };

  const say = (words, name, values) => words[name].replace(/\{(\w+)\}/g, (_, key) => values[key]);

  // One value, as the page's own sentences say it.
  function told(value, unit, words) {
    if (value == null) return "–";
    if (unit === "share") return `${number.format(Math.round(value * 100))} %`;
    if (unit === "millis") {
      return value < 1000
        ? say(words, "millis", { n: number.format(Number(value.toPrecision(3))) })
        : say(words, "short_seconds", { n: number.format(Math.round(value / 100) / 10) });
    }
    if (unit === "seconds") {
      if (value < 90) return say(words, "seconds", { n: Math.round(value) });
      const rounded = Math.round(value / 60);
      if (rounded < 90) return say(words, "minutes", { n: rounded });
      return say(words, "hours_minutes", { h: Math.floor(rounded / 60), m: rounded % 60 });
    }
    return number.format(value);
  }

  // Where a number line is divided: whole things, and times as clocks divide them.
  const whole = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 1e4, 2e4, 5e4, 1e5, 1e6];
  const steps = {
    count: whole,
    seconds: [1, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 86400, 172800, 604800],
  };

  // Pixels that a label takes; a Chinese sign is as wide as two letters.
  const breadth = (text) => [...text].reduce((sum, sign) => sum + (sign > "\u2e80" ? 12 : 7), 0);

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function options(data, width) {
    const { words } = data;
    const daily = data.size > 3600;
    const [soft, line] = [colour("--soft"), colour("--line")];
    const font = `12px ${getComputedStyle(document.body).fontFamily}`;
    const drawn = { stroke: soft, font, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } };
    const axes = [...new Set(data.series.map((one) => one.axis))].map((axis) => {
      const { unit } = data.series.find((one) => one.axis === axis);
      return {
        ...drawn,
        scale: axis,
        side: axis === "left" ? 3 : 1,
        grid: { ...drawn.grid, show: axis === "left" },
        size: (plot, values) => 20 + Math.max(24, ...(values ?? []).map(breadth)),
        incrs: steps[unit],
        values: (plot, splits) => splits.map((one) => told(one, unit, words)),
      };
    });
    // A bar stands over the beginning of its hour or day, and the first and last have room.
    const scales = { x: { time: true, range: (plot, low, high) => [low - data.size * 0.6, high + data.size * 0.6] } };
    for (const one of data.series) {
      const top = one.unit === "share" ? 1 : null; // a share is of one, however small it is
      scales[one.axis] = { range: (plot, low, high) => [0, top ?? Math.max(high * 1.05, 1)] };
    }
    return {
      width,
      height: 220,
      scales,
      axes: [
        {
          ...drawn,
          space: 64,
          grid: { show: false },
          incrs: daily ? [1, 2, 3, 7, 14, 30, 60].map((days) => days * 86400) : [1, 2, 3, 6, 12, 24].map((hours) => hours * 3600),
          values: (plot, splits) => splits.map((at) => dated[daily ? "month" : "clock"].format(at * 1000)),
        },
        ...axes,
      ],
      series: [
        { label: words.time, value: (plot, at) => (at == null ? "–" : dated[daily ? "day" : "hour"].format(at * 1000)) },
        ...data.series.map((one) => {
          const ink = colour(`--tone${one.tone}`);
          const bars = one.shape === "bars";
          return {
            label: one.label,
            scale: one.axis,
            stroke: ink,
            fill: bars ? ink : undefined,
            width: bars ? 0 : 2.5,
            paths: bars ? uPlot.paths.bars({ size: [0.7, 48] }) : undefined,
            points: { show: !bars && one.values.filter((value) => value != null).length < 60, size: 6, fill: ink },
            value: (plot, value) => told(value, one.unit, words),
          };
        }),
      ],
      cursor: { drag: { x: false, y: false } },
    };
  }

  const shown = [];
  for (const place of document.querySelectorAll(".plot")) {
    const data = JSON.parse(document.getElementById(`data-${place.dataset.chart}`).textContent);
    const values = [data.x, ...data.series.map((one) => one.values)];
    const draw = () => {
      place.replaceChildren();
      const plot = new uPlot(options(data, place.clientWidth), values, place);
      plot.root.querySelector(".u-wrap").setAttribute("aria-hidden", "true"); // the table says it all
      return plot;
    };
    shown.push({ place, draw, plot: draw() });
  }

  new ResizeObserver(() => {
    for (const { place, plot } of shown) {
      if (plot.width !== place.clientWidth) plot.setSize({ width: place.clientWidth, height: 220 });
    }
  }).observe(document.querySelector(".gallery"));

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const one of shown) {
      one.plot.destroy();
      one.plot = one.draw();
    }
  });
})();
