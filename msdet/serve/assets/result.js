// SPDX-License-Identifier: Apache-2.0
// Plays one clip at a time, and moves compass and playheads with it. Media events do not bubble:
// they are caught on the way down, so that this holds for every result that comes.
const clips = () => [...element.querySelectorAll("audio")];

const azimuthAt = (moving, speaker, time) => {
  let best = null, gap = Infinity;
  speaker.windows.forEach((azimuth, i) => {
    const away = Math.abs(moving.times[i] - time);
    if (azimuth !== null && away < gap) [best, gap] = [azimuth, away];
  });
  return moving.times.length > 1 && best !== null ? best : speaker.azimuth;
};

const show = (player) => {
  const outcome = player.closest(".msdet-outcome");
  if (!outcome) return;
  const moving = JSON.parse(outcome.dataset.moving);
  const time = player.currentTime;
  const atRest = player.ended || (player.paused && time === 0);
  for (const arrow of outcome.querySelectorAll(".arrow")) {
    const speaker = moving.speakers[arrow.dataset.speaker];
    const azimuth = atRest ? speaker.azimuth : azimuthAt(moving, speaker, time);
    const speaks = speaker.segments.some(([start, end]) => start <= time && time <= end);
    arrow.setAttribute("transform", `rotate(${-azimuth})`);
    arrow.classList.toggle("silent", !atRest && !speaks);
    const tip = arrow.querySelector(".tip");
    tip.setAttribute("transform", tip.getAttribute("transform").replace(/rotate\(.*\)/, `rotate(${azimuth})`));
  }
  outcome.style.setProperty("--played", atRest ? 0 : Math.min(1, time / moving.duration));
  outcome.classList.toggle("playing", !atRest);
};

const follow = (player) => {
  if (!player.isConnected) return;
  show(player);
  if (!player.paused && !player.ended) requestAnimationFrame(() => follow(player));
};

element.addEventListener("play", (event) => {
  clips().forEach((clip) => { if (clip !== event.target) clip.pause(); });
  follow(event.target);
}, true);
for (const name of ["pause", "seeked", "ended"])
  element.addEventListener(name, (event) => {
    if (clips().every((clip) => clip === event.target || clip.paused)) show(event.target);
  }, true);
