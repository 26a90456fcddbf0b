// SPDX-License-Identifier: Apache-2.0
// What moves on the page: sorting, filters, players, colours. Nothing here asks a network.
"use strict";
(() => {
  const one = (selector, from = document) => from.querySelector(selector);
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const make = (name, keys = {}, ...children) => {
    const element = Object.assign(document.createElement(name), keys);
    element.append(...children);
    return element;
  };

  // --- colours ---------------------------------------------------------------------------
  const theme = one("#theme");
  const schemes = ["system", "light", "dark"];
  let scheme = 0;
  theme.hidden = false;
  theme.addEventListener("click", () => {
    scheme = (scheme + 1) % schemes.length;
    if (scheme) document.documentElement.dataset.theme = schemes[scheme];
    else delete document.documentElement.dataset.theme;
    one("span", theme).textContent = schemes[scheme];
  });

  // --- sorting ---------------------------------------------------------------------------
  const words = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
  const missing = (value) => value === null || value === undefined || value === "";

  // Negative where a comes first. What is missing comes last in either direction.
  const compare = (a, b, direction) => {
    if (missing(a) || missing(b)) return missing(a) - missing(b);
    const order = typeof a === "number" && typeof b === "number" ? a - b : words.compare(a, b);
    return direction * order;
  };

  // The direction to sort in after a click: text starts with A, numbers with the largest.
  const turn = (th, headers, kind) => {
    const before = th.getAttribute("aria-sort");
    const first = kind === "text" ? "ascending" : "descending";
    const second = kind === "text" ? "descending" : "ascending";
    headers.forEach((other) => other.removeAttribute("aria-sort"));
    th.setAttribute("aria-sort", before === first ? second : first);
    return th.getAttribute("aria-sort") === "ascending" ? 1 : -1;
  };

  all("table.sortable").forEach((table) => {
    const headers = all("thead th", table);
    headers.forEach((th, column) => one("button", th).addEventListener("click", (event) => {
      const kind = event.currentTarget.dataset.kind;
      const direction = turn(th, headers, kind);
      const value = (row) => {
        const text = row.cells[column].dataset.value;
        return kind === "text" || text === "" ? text : Number(text);
      };
      const body = table.tBodies[0];
      body.append(...[...body.rows].sort((a, b) => compare(value(a), value(b), direction)));
    }));
  });

  // --- plots: hide and show systems ------------------------------------------------------
  all(".legend button").forEach((button) => button.addEventListener("click", () => {
    const number = button.dataset.series;
    const shown = button.getAttribute("aria-pressed") === "false";
    all(`.legend [data-series="${number}"]`).forEach((b) => b.setAttribute("aria-pressed", shown));
    all(`.overlaid .series-${number}`).forEach((group) => group.classList.toggle("off", !shown));
  }));

  // --- scenes to listen to ---------------------------------------------------------------
  all(".directions-of").forEach((select) => {
    const show = () => all("[data-system]", select.closest(".views")).forEach((group) =>
      group.classList.toggle("off", group.dataset.system !== select.value));
    select.addEventListener("change", show);
    show(); // a browser that reloads keeps what was chosen
  });

  const players = all("audio");
  players.forEach((player) => {
    const clip = player.closest(".clip");
    const head = one(".playhead", clip);
    const follow = () => {
      clip.classList.toggle("playing", player.currentTime > 0 && !player.ended);
      if (player.duration > 0) head.style.left = `${(100 * player.currentTime) / player.duration}%`;
    };
    player.addEventListener("play", () =>
      players.forEach((other) => { if (other !== player) other.pause(); }));
    ["timeupdate", "seeked", "ended"].forEach((name) => player.addEventListener(name, follow));
    one(".spectrogram", clip).addEventListener("click", (event) => {
      const box = event.currentTarget.getBoundingClientRect();
      const share = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
      const seek = () => { player.currentTime = share * player.duration; };
      if (player.readyState > 0) seek();
      else player.addEventListener("loadedmetadata", seek, { once: true });
      player.play().catch(() => {}); // refused: the player's own button is still there
    });
  });

  // --- all scenes ------------------------------------------------------------------------
  const data = one("#scenes-data");
  if (!data) return;
  const { columns, scenes, scores } = JSON.parse(data.textContent);
  const atOnce = 200; // lines: more make phones slow
  const dash = "\u2013";
  const number = (value, digits, percent) =>
    (percent ? 100 * value : value).toFixed(digits).replace(/^-(?=[0.]*$)/, "").replace("-", "\u2212");
  const show = (value, column) => {
    if (missing(value)) return dash;
    if (Array.isArray(value)) return value.map((v) => show(v, column)).join(", ");
    return typeof value === "number" ? number(value, column.digits, column.percent) : value;
  };
  // Of values per speaker, their mean: what a list is sorted by and ranges look at.
  const plain = (value) => {
    if (!Array.isArray(value)) return value;
    const known = value.filter((v) => !missing(v));
    return known.length ? known.reduce((sum, v) => sum + v, 0) / known.length : null;
  };
  const measures = [
    { name: "SI-SDR improvement (dB)", digits: 1, of: 0 },
    { name: "SI-SDR before (dB)", digits: 1, of: 1 },
    { name: "Azimuth error (°)", digits: 1, of: 2 },
  ].filter(({ of }) => scores.some((system) => system.some((line) => line && !missing(line[of]))));
  const ordered = scores.some((system) => system.some((line) => line && line[3] !== null));
  const failing = scores.some((system) => system.some((line) => line && line[4]));

  // Every column: its heading, what it is sorted by, what stands in it.
  const table = [
    { name: "Scene", words: true, value: (i) => scenes[i][0], id: true },
    ...measures.map((m) => ({ ...m, value: (i) => (line(i) ? line(i)[m.of] : null) })),
    ...columns.map((column, k) => ({ ...column, value: (i) => scenes[i][1][k] })),
  ];
  if (ordered) {
    table.push({
      name: "Order",
      value: (i) => (line(i) ? line(i)[3] : null),
      text: (value) => (missing(value) ? dash : value ? "right" : "wrong"),
      css: (value) => (missing(value) ? "" : value ? "right-order" : "wrong-order"),
    });
  }
  if (failing) {
    table.push({ name: "Not scored", digits: 0, value: (i) => (line(i) ? line(i)[4] : null) });
  }
  const ranged = table.filter((column) => !column.words && !column.text);

  const form = one("#filters");
  const [select, text, count, more] = ["#system", "#text", "#count", "#more"].map((id) => one(id));
  const body = one("#all-scenes tbody");
  const line = (i) => scores[select.value][i];
  let sorting = null; // [column, direction]
  let everything = false;

  const ranges = ranged.map((column) => {
    const field = (label) => make("input", {
      type: "number", step: "any", placeholder: label, inputMode: "decimal",
      ariaLabel: `${column.name}, ${label === "min" ? "at least" : "at most"}`,
    });
    const [low, high] = [field("min"), field("max")];
    one(".ranges").append(make("fieldset", {}, make("legend", { textContent: column.name }),
      make("div", { className: "pair" }, low, "to", high)));
    return { column, low, high };
  });

  const headers = table.map((column) => {
    const button = make("button", { type: "button", className: "sort" }, column.name,
      make("span", { className: "arrow", ariaHidden: "true" }));
    const th = make("th", { scope: "col", className: column.words ? "text" : "" }, button);
    button.addEventListener("click", () => {
      sorting = [column, turn(th, headers, column.words ? "text" : "number")];
      draw();
    });
    return th;
  });
  one("#all-scenes thead").append(make("tr", {}, ...headers));

  const searchable = scenes.map(([id, labels]) => [id, ...labels.filter((l) => typeof l === "string")]
    .join("\n").toLowerCase());
  const wanted = (i) => {
    if (!searchable[i].includes(text.value.trim().toLowerCase())) return false;
    return ranges.every(({ column, low, high }) => {
      if (low.value === "" && high.value === "") return true;
      const value = plain(column.value(i));
      if (missing(value)) return false;
      const scale = column.percent ? 100 : 1;
      return (low.value === "" || scale * value >= Number(low.value))
        && (high.value === "" || scale * value <= Number(high.value));
    });
  };
  const cell = (column, i) => {
    const value = column.value(i);
    if (column.id) return make("th", { scope: "row", textContent: value });
    const css = column.css ? column.css(value) : "";
    return make("td", {
      className: column.words ? `text ${css}` : css,
      textContent: column.text ? column.text(value) : show(value, column),
    });
  };
  function draw() {
    const found = scenes.map((_, i) => i).filter(wanted);
    if (sorting) {
      const [column, direction] = sorting;
      found.sort((a, b) => compare(plain(column.value(a)), plain(column.value(b)), direction));
    }
    const shown = everything ? found : found.slice(0, atOnce);
    body.replaceChildren(...shown.map((i) => make("tr", {}, ...table.map((c) => cell(c, i)))));
    const part = shown.length < found.length ? `, the first ${shown.length} shown` : "";
    count.textContent = `${found.length} of ${scenes.length} scenes${part}`;
    more.hidden = shown.length === found.length;
    more.textContent = `Show all ${found.length}`;
  }
  form.hidden = false;
  form.addEventListener("input", draw);
  select.addEventListener("change", draw); // assistive technology may send this one alone
  form.addEventListener("reset", () => setTimeout(draw)); // fields are cleared after the event
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => { everything = true; draw(); });
  draw();
})();
