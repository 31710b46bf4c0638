const SPAN = 60000;        // how far back one can look [ms]
const MOST = 1200;         // records of that time, at most
const RECONNECTION = 1000; // [ms]
const NOTE = 8000;         // how long an answer is shown [ms]
const STRIDE = 1;          // with Shift, arrow keys go so far in a recording [s]
const OWN_SPEEDS = ["0.25", "0.5", "1", "2", "4"];

const find = id => document.getElementById(id);
const pairs = {};                       // per view: figures of what is real and imagined
let newest = {pictures: {}};            // all that was told, merged
let ring = [];                          // {at, state, level, lost, value} of the last minute, oldest first
let lookedAt = null;                    // one of them, or null: the newest
let socket = null, isDue = false, noteUntil = 0;
let opening = null;                     // the episode that was asked for, until it is there

// The stream

function connect() {
  socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/stream`);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => { newest = {pictures: {}}; };
  socket.onmessage = event => typeof event.data === "string" ? note(JSON.parse(event.data)) : receive(event.data);
  socket.onclose = () => { document.body.classList.add("offline"); setTimeout(connect, RECONNECTION); };
}

function receive(buffer) {
  let start = 4 + new DataView(buffer).getUint32(0, true);
  const {contents, pictures} = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, start - 4)));
  const blobs = {};
  for (const [key, size] of Object.entries(pictures)) {
    blobs[key] = size ? new Blob([new Uint8Array(buffer, start, size)], {type: "image/jpeg"}) : null;
    start += size;
  }
  newest = {...newest, ...contents, pictures: {...newest.pictures, ...blobs}};
  document.body.classList.remove("offline");
  remember(performance.now());
  redraw();
}

function send(command, text = "") {
  if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({command, text: String(text)}));
}

function note({done, text}) {
  if (!done) opening = null;
  if (!text) return;
  find("note").textContent = done ? text : `Not done: ${text}`;
  find("note").className = done ? "" : "failed";
  find("note").hidden = false;
  noteUntil = performance.now() + NOTE;
}

// The last minute

function remember(at) {
  const cameras = Object.keys(newest.views || {}).map(view => newest.pictures[`real ${view}`]);
  const seen = ring.length && ring.some(record => record.state.pictures["real head"]);
  const values = newest.value && newest.value[1];
  ring.push({
    at, state: newest, level: stateOfArms(newest).level,
    lost: Boolean(seen) && cameras.some(blob => !blob),
    value: values ? values.reduce((sum, value) => sum + value, 0) / values.length : null,
  });
  const oldest = ring.findIndex(record => at - record.at < SPAN);
  ring = ring.slice(Math.max(oldest, ring.length - MOST));
}

function lookAt(time) {
  const now = performance.now();
  lookedAt = time >= now ? null : ring.findLast(record => record.at <= time) || ring[0] || null;
  redraw();
}

const timeAt = event => {
  const box = find("timeline").getBoundingClientRect();
  return performance.now() - SPAN * (1 - (event.clientX - box.left) / box.width);
};

// What is to be seen

function redraw() {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => { isDue = false; draw(lookedAt ? lookedAt.state : newest); });
}

function stateOfArms(state) {
  return (state.state || []).find(line => line.name === "Arms") || {level: "unknown", text: state.playback ? "recording" : "nothing heard"};
}

function draw(state) {
  if (!state.views) return;
  document.body.classList.toggle("scrubbed", lookedAt !== null);
  document.body.classList.toggle("recording-only", Boolean(state.playback));
  drawPairs(state);
  paint(find("futures"), state.pictures.futures);
  write("choice-words", choiceWords(state));
  drawArms(find("arms"), state);
  drawValue(find("value"), state.value, state.recorded_value);
  find("joints").hidden = !state.playback;
  if (state.playback) drawJoints(find("joints"), state.joints);
  drawScores(find("scores"), state.scores, state.taken);
  drawPast();
  drawState(state);
  for (const button of document.querySelectorAll("button[data-needs]")) {
    button.disabled = !newest.available.includes(button.dataset.needs);
  }
  if (newest.playback) drawPlayback(newest.playback);
}

function drawPairs({views, pictures}) {
  for (const [view, ratio] of Object.entries(views)) {
    pairs[view] = pairs[view] || {real: addFigure(view, "real"), imagined: addFigure(view, "imagined")};
    pairs[view].ratio = ratio;
    for (const kind of ["real", "imagined"]) {
      const figure = pairs[view][kind], blob = pictures[`${kind} ${view}`];
      if (blob) figure.seen = true;
      figure.classList.toggle("lost", kind === "real" && !blob && Boolean(figure.seen));
      figure.querySelector("p").textContent = blob ? "" : kind === "imagined" ? "nothing imagined" : figure.seen ? "NO PICTURE" : "no picture yet";
      paint(figure.querySelector("canvas"), blob, kind === "imagined" ? ratio : 0);
    }
  }
  const columns = Object.values(pairs).map(({ratio}) => `minmax(0, ${ratio.toFixed(2)}fr)`).join(" ");
  if (find("pairs").style.gridTemplateColumns !== columns) find("pairs").style.gridTemplateColumns = columns;
}

function addFigure(view, kind) {
  const figure = document.createElement("figure"), row = kind === "real" ? 1 : 2;
  const words = kind === "real" ? view.replace("_", " ") : `${view.replace("_", " ")}, as imagined before`;
  figure.className = kind;
  figure.dataset.view = view;
  figure.style.gridRow = row;
  figure.innerHTML = `<canvas role="img" aria-label="${words}"></canvas><p></p><figcaption>${words}</figcaption>`;
  find("pairs").append(figure);
  return figure;
}

function choiceWords({scores, taken, pictures}) {
  if (!scores) return "no plan";
  if (!scores.length) return "acting WITHOUT planning: no round ran, nothing was compared";
  const how = taken ? `acting on one of round ${taken[0] + 1}, score ${scores[taken[0]][taken[1]].toPrecision(3)}` : "acting on the refitted mean";
  const rows = `${scores.length} ${scores.length === 1 ? "round" : "rounds"} of ${scores[0].length}`;
  return `newest: ${rows}, ${how}${pictures.futures ? "" : "; pictures of all come once in some seconds"}`;
}

function drawPast() {
  const now = performance.now(), at = lookedAt && lookedAt.at;
  const range = drawTimeline(find("timeline"), ring, now, SPAN, at);
  write("past-value", range ? `value ${range[0].toFixed(2)} \u2026 ${range[1].toFixed(2)}` : "");
  write("past-words", lookedAt ? `${((now - at) / 1000).toFixed(1)} s ago` : "drag to look back");
  find("live").hidden = !lookedAt;
}

function drawState(state) {
  const arms = stateOfArms(state);
  write("word", (state.title && state.playback ? state.title : arms.text.split(":")[0].toUpperCase()));
  find("word").className = state.playback ? "unknown" : arms.level;
  const lines = state.state.filter(({name}) => name !== "Arms").map(({level, name, text}) => [level, `${name}: ${text}`]);
  if (state.title && !state.playback) lines.unshift(["unknown", state.title]);
  if (state.instruction) lines.push(["ok", `Instruction: ${state.instruction}`]);
  find("instruction").placeholder = state.instruction ? `now: ${state.instruction}` : "what the robot shall do";
  fill("state", "li", lines);
  const rows = [...state.numbers, ...(state.interventions.length ? [["Safety filter stepped in, control ticks since the start"], ...state.interventions] : [])];
  fill("numbers", null, rows.flatMap(([name, value]) => value === undefined ? [["head", name, "dt"]] : [["", name, "dt"], ["", value, "dd"]]));
  write("summary", ["Numbers", ...state.numbers.filter(([name]) => ["control loop", "half of the plans within", "joints, plan against recording"].includes(name)).map(row => row.join(" "))].join(" \u00b7 "));
}

function drawPlayback({position, end, playing, speed, episode, num_episodes: count}) {
  find("playback").hidden = false;
  find("episodes").hidden = count < 2;
  if (opening === episode) opening = null;
  write("episode-words", opening === null ? `episode ${episode} (0 \u2026 ${count - 1})` : `opening episode ${opening} \u2026`);
  find("previous").disabled = opening !== null || episode === 0;
  find("next").disabled = opening !== null || episode === count - 1;
  write("play", playing ? "Pause" : "Play");
  find("position").max = end;
  if (document.activeElement !== find("position") || playing) find("position").value = position;
  write("position-words", `${position.toFixed(1)} of ${end.toFixed(1)} s`);
  if (document.activeElement !== find("speed")) find("speed").value = String(speed);
}

// A frame, or another time, back or on in a recording. What is asked for next starts from there, not from what the
// server has told.
function step(seconds) {
  const {position, end, step: frame} = newest.playback;
  const there = frame * Math.round((position + seconds) / frame);
  newest.playback = {...newest.playback, position: Math.min(end, Math.max(0, there)), playing: false};
  find("position").value = newest.playback.position;
  lookedAt = null;
  send("seek", newest.playback.position);
  redraw();
}

function onPlaybackKey(event) {
  const {target, key, shiftKey} = event;
  if (!newest.playback || event.ctrlKey || event.altKey || event.metaKey || target.closest("select, #timeline")) return;
  const sign = {ArrowLeft: -1, ArrowRight: 1}[key];
  const other = {PageUp: "previous", PageDown: "next"}[key];
  if (sign) step(sign * (shiftKey ? STRIDE : newest.playback.step));
  else if (other) find(other).click();
  else if (key === " " && !target.closest("button, summary")) togglePlay();
  else return;
  event.preventDefault();
}

function openEpisode(number) {
  if (opening !== null) return;
  opening = number;
  send("episode", number);
  redraw();
}

function togglePlay() { send("play", newest.playback.playing ? "no" : "yes"); }

function write(id, text) {
  if (find(id).textContent !== text) find(id).textContent = text;
}

// Children with [class, text, tag]; only touched where something is new.
function fill(id, tag, rows) {
  const key = JSON.stringify(rows);
  if (find(id).shown === key) return;
  find(id).shown = key;
  find(id).replaceChildren(...rows.map(([kind, text, own]) => {
    const child = document.createElement(own || tag);
    child.className = kind;
    child.textContent = child.title = text;
    return child;
  }));
}

// What can be pressed

find("instruct").addEventListener("submit", event => { event.preventDefault(); send("instruct", find("instruction").value); });
for (const button of document.querySelectorAll("#buttons button")) button.addEventListener("click", () => send(button.dataset.needs));
find("play").addEventListener("click", togglePlay);
find("previous").addEventListener("click", () => openEpisode(newest.playback.episode - 1));
find("next").addEventListener("click", () => openEpisode(newest.playback.episode + 1));
find("back").addEventListener("click", () => step(-newest.playback.step));
find("on").addEventListener("click", () => step(newest.playback.step));
window.addEventListener("keydown", onPlaybackKey);
find("position").addEventListener("input", () => send("seek", find("position").value));
find("speed").append(...OWN_SPEEDS.map(speed => new Option(`${speed}\u00d7`, speed)));
find("speed").addEventListener("change", () => { send("speed", find("speed").value); find("speed").blur(); });
find("live").addEventListener("click", () => lookAt(Infinity));
find("timeline").addEventListener("pointerdown", event => { find("timeline").setPointerCapture(event.pointerId); lookAt(timeAt(event)); });
find("timeline").addEventListener("pointermove", event => { if (event.buttons) lookAt(timeAt(event)); });
find("timeline").addEventListener("keydown", event => {
  const step = {ArrowLeft: -1000, ArrowRight: 1000}[event.key];
  if (step) lookAt((lookedAt ? lookedAt.at : performance.now()) + step);
});
find("arms").addEventListener("pointerdown", event => find("arms").setPointerCapture(event.pointerId));
find("arms").addEventListener("pointermove", event => {
  if (!event.buttons) return;
  eye.turn -= event.movementX / 150;
  eye.tilt = Math.min(1.5, Math.max(0, eye.tilt + event.movementY / 150));
  redraw();
});
find("theme").addEventListener("click", () => {
  const root = document.documentElement.style;
  const isDark = root.colorScheme ? root.colorScheme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.colorScheme = isDark ? "light" : "dark";
  if (parent !== window) parent.postMessage(root.colorScheme, "*");
  redraw();
});
for (const what of [window, matchMedia("(prefers-color-scheme: dark)")]) {
  what.addEventListener(what === window ? "resize" : "change", redraw);
}
if (parent !== window) onEmergencyKey(window, () => parent.postMessage("emergency stop", "*"));  // the bar asks who sent it
setInterval(() => {
  drawPast();
  find("note").hidden = performance.now() > noteUntil;
}, 250);
connect();
