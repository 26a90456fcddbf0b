// SPDX-License-Identifier: Apache-2.0
// The room from above, x to the right and y up, in centimetres: speakers and array to be moved.
const SVG = "http://www.w3.org/2000/svg";
const STEP = 0.1, LARGE_STEP = 0.5, NEAREST = 0.3;
let dragged = null;

const room = () => props.value;
const plan = () => element.querySelector("svg");
const things = () => [...room().speakers.map((at, i) => ({ at, i })), { at: room().array, i: "array" }];
const clamp = (value, side) => Math.min(Math.max(value, room().wall), side - room().wall);
const inside = ([x, y]) => [clamp(x, room().size[0]), clamp(y, room().size[1])].map((v) => Math.round(100 * v) / 100);

const azimuthOf = ([x, y]) => {
  const { array, rotation, axis } = room();
  const seen = (Math.atan2(y - array[1], x - array[0]) * 180) / Math.PI - rotation;
  if (axis === null) return ((seen % 360) + 360) % 360;
  return (Math.acos(Math.cos(((seen - axis) * Math.PI) / 180)) * 180) / Math.PI;  // of a line
};

const make = (name, attributes, parent, text) => {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
};

const describe = (i, at) => {
  const place = `${at[0].toFixed(1)}, ${at[1].toFixed(1)} m`;
  return i === "array" ? `Array at ${place}` : `Speaker ${i + 1} at ${place}, azimuth ${azimuthOf(at).toFixed(0)}°`;
};

const drawArray = (group, unit) => {
  const { microphones, rotation } = room();
  const farthest = Math.max(...microphones.map(([x, y]) => Math.hypot(x, y)));
  const scale = Math.max(100, (9 * unit) / farthest);  // a real one would be a dot
  const turned = make("g", { transform: `rotate(${-rotation})` }, group);
  const tip = 34 * unit;
  make("path", { class: "axis", d: `M0 0H${tip}M${tip - 5 * unit} ${-4 * unit}L${tip} 0L${tip - 5 * unit} ${4 * unit}` }, turned);
  const label = make("g", { transform: `translate(${tip + 10 * unit} 0) rotate(${rotation})` }, turned);
  make("text", { class: "tick", y: 4 * unit, "font-size": 11 * unit }, label, "0°");
  for (const [x, y] of microphones) make("circle", { class: "mic", cx: x * scale, cy: -y * scale, r: 2.6 * unit }, turned);
};

const draw = () => {
  const svg = plan();
  if (!svg) return;
  const focused = svg.contains(document.activeElement) ? document.activeElement.dataset.thing : null;
  const [length, width] = room().size.map((side) => 100 * side);
  const unit = Math.max(length, width * 1.3) / 440;  // of lines and letters, whatever the room
  svg.replaceChildren();
  svg.setAttribute("viewBox", `${-6 * unit} ${-6 * unit} ${length + 12 * unit} ${width + 34 * unit}`);
  svg.style.setProperty("--unit", `${unit}px`);
  make("rect", { class: "room", width: length, height: width }, svg);
  for (let x = 100; x < length; x += 100) make("path", { class: "grid", d: `M${x} 0V${width}` }, svg);
  for (let y = 100; y < width; y += 100) make("path", { class: "grid", d: `M0 ${width - y}H${length}` }, svg);
  make("path", { class: "axis", d: `M0 ${width + 14 * unit}H100M0 ${width + 11 * unit}v${6 * unit}M100 ${width + 11 * unit}v${6 * unit}` }, svg);
  make("text", { class: "tick", x: 100 + 6 * unit, y: width + 18 * unit, "font-size": 11 * unit }, svg, "1 m");
  const flip = ([x, y]) => [100 * x, width - 100 * y];
  const centre = flip(room().array);
  for (const at of room().speakers) {
    const [x, y] = flip(at);
    make("path", { class: "sight", d: `M${centre[0]} ${centre[1]}L${x} ${y}` }, svg);
  }
  for (const { at, i } of [...things()].reverse()) {
    const [x, y] = flip(at);
    const thing = make("g", {
      class: i === "array" ? "thing array" : `thing speaker-${i}`, "data-thing": i, tabindex: 0,
      role: "button", "aria-roledescription": "movable", "aria-label": describe(i, at),
      transform: `translate(${x} ${y})`,
    }, svg);
    make("circle", { class: "reach", r: 21 * unit }, thing);  // fingers are wide
    if (i === "array") { drawArray(thing, unit); continue; }
    make("circle", { class: "speaker", r: 12 * unit }, thing);
    make("text", { class: "number", y: 4.5 * unit, "text-anchor": "middle", "font-size": 13 * unit }, thing, i + 1);
  }
  if (focused) svg.querySelector(`[data-thing="${focused}"]`).focus();
  const [l, w] = room().size;
  element.querySelector(".places").textContent =
    `${l.toFixed(1)} × ${w.toFixed(1)} m · ` + room().speakers.map((at, i) => `${i + 1}: azimuth ${azimuthOf(at).toFixed(0)}°`).join(" · ");
};

const move = (i, to) => {
  const at = inside(to);
  const others = things().filter((thing) => String(thing.i) !== String(i));
  if (others.some((other) => Math.hypot(at[0] - other.at[0], at[1] - other.at[1]) < NEAREST)) return;
  if (i === "array") props.value = { ...room(), array: at };
  else props.value = { ...room(), speakers: room().speakers.map((old, k) => (k === Number(i) ? at : old)) };
  draw();
};

const metres = (event) => {
  const box = plan().getScreenCTM().inverse();
  const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(box);
  return [x / 100, room().size[1] - y / 100];
};

element.addEventListener("pointerdown", (event) => {
  const thing = event.target.closest("[data-thing]");
  if (!thing) return;
  event.preventDefault();
  dragged = thing.dataset.thing;
  thing.focus();
});
window.addEventListener("pointermove", (event) => { if (dragged !== null) move(dragged, metres(event)); });
for (const name of ["pointerup", "pointercancel"]) window.addEventListener(name, () => { dragged = null; });

element.addEventListener("keydown", (event) => {
  const thing = event.target.closest("[data-thing]");
  const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  const way = ways[event.key];
  if (!thing || !way) return;
  event.preventDefault();
  const { at } = things().find(({ i }) => String(i) === thing.dataset.thing);
  const step = event.shiftKey ? LARGE_STEP : STEP;
  move(thing.dataset.thing, [at[0] + step * way[0], at[1] + step * way[1]]);
});

// Another room may leave somebody outside.
watch("value", () => {
  const speakers = room().speakers.map(inside), array = inside(room().array);
  if (JSON.stringify([speakers, array]) !== JSON.stringify([room().speakers, room().array]))
    props.value = { ...room(), speakers, array };
  draw();
});
draw();
