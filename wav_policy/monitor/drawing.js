// Pictures, charts and arms on 2-D canvases: nothing here needs a graphics card.
const GHOST = "#4682e6";
const colour = name => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`);

// A canvas in the screen's own pixels, empty; its context, width and height in CSS pixels.
function begin(canvas) {
  const scale = devicePixelRatio, {width, height} = canvas.getBoundingClientRect();
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  context.font = "11px system-ui, sans-serif";
  return [context, width, height];
}

// Draw a JPEG, or nothing. What is asked for while one is being decoded waits, and only the newest of it is drawn.
// What the model imagines is square: `ratio` gives it the camera's shape back.
async function paint(canvas, blob, ratio = 0) {
  canvas.wanted = blob;
  if (canvas.isBusy) return;
  canvas.isBusy = true;
  while (canvas.drawn !== canvas.wanted) {
    const next = canvas.wanted, image = next && await createImageBitmap(next);
    [canvas.width, canvas.height] = image ? [Math.round(image.height * ratio) || image.width, image.height] : [1, 1];
    if (image) { canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height); image.close(); }
    canvas.drawn = next;
  }
  canvas.isBusy = false;
}

// Frame, title, two labels at each axis, and how numbers become places. Without numbers: `nothing`.
function axes(canvas, title, xs, ys, least, xLabel, nothing) {
  const [g, width, height] = begin(canvas);
  g.fillStyle = colour("ink");
  g.fillText(title, 8, 15, width - 16);
  g.fillStyle = colour("dim");
  if (!ys.length) { g.fillText(nothing, 8, 34, width - 16); return null; }
  let low = Math.min(...ys), high = Math.max(...ys);
  const spare = Math.max(0, least - (high - low)) / 2;  // noise must not look like news
  [low, high] = [low - spare, high + spare];
  const box = {left: 50, right: width - 12, top: 26, bottom: height - 20};
  const [first, last] = [Math.min(...xs), Math.max(...xs)];
  const x = value => box.left + (box.right - box.left) * (last > first ? (value - first) / (last - first) : 0.5);
  const y = value => box.bottom - (box.bottom - box.top) * (value - low) / (high - low || 1);
  g.strokeStyle = colour("line");
  g.textAlign = "right";
  for (const value of [low, (low + high) / 2, high]) {
    g.beginPath(); g.moveTo(box.left, y(value)); g.lineTo(box.right, y(value)); g.stroke();
    g.fillText(Number(value.toPrecision(2)), box.left - 4, y(value) + 4);
  }
  g.textAlign = "left"; g.fillText(Number(first.toFixed(1)), box.left, height - 6);
  if (last > first) { g.textAlign = "right"; g.fillText(Number(last.toFixed(1)), box.right, height - 6); }
  g.textAlign = "center"; g.fillText(xLabel, (box.left + box.right) / 2, height - 6);
  return {g, x, y};
}

// `recorded`: what became of it, where that is known, for the first of the times.
function drawValue(canvas, value, recorded) {
  const [times, values] = value || [[], []], known = value && recorded || [];
  const title = known.length ? "Value ahead; dashed: recorded" : "Value ahead";
  const chart = axes(canvas, title, times, [...values, ...known], 0.1, "s", "no plan");
  if (!chart) return;
  const {g, x, y} = chart;
  curve(g, known.map((one, i) => [x(times[i]), y(one)]), colour("ink"), true);
  curve(g, values.map((one, i) => [x(times[i]), y(one)]), colour("accent"));
}

function curve(g, points, style, isDashed = false) {
  g.strokeStyle = style; g.lineWidth = isDashed ? 1.5 : 2;
  g.setLineDash(isDashed ? [4, 3] : []);
  g.beginPath(); for (const [x, y] of points) g.lineTo(x, y); g.stroke();
  g.setLineDash([]);
}

// Every joint over the plan in a box of its own, a row for each arm: what was commanded then is dashed.
const ARM_JOINTS = 7, LEAST_TURN = 0.2, LEAST_STROKE = 0.02;  // rad, m: noise must not look like news

function drawJoints(canvas, joints) {
  const [g, width, height] = begin(canvas);
  g.fillStyle = colour("ink");
  g.fillText("Joints over the plan; dashed: recorded", 8, 15, width - 16);
  if (!joints) { g.fillStyle = colour("dim"); g.fillText("no plan", 8, 34); return; }
  const {planned, recorded} = joints, top = 22, left = 18;
  const across = (width - left - 4) / ARM_JOINTS, down = (height - top - 4) / 2;
  for (let joint = 0; joint < 2 * ARM_JOINTS; joint++) {
    const arm = Math.floor(joint / ARM_JOINTS), own = joint % ARM_JOINTS, isGripper = own === ARM_JOINTS - 1;
    const box = {x: left + own * across, y: top + arm * down, width: across - 4, height: down - 4};
    const column = rows => rows.map(row => row[joint]);
    const [plan, done] = [column(planned), column(recorded)];
    const all = [...plan, ...done], middle = (Math.max(...all) + Math.min(...all)) / 2;
    const reach = Math.max(Math.max(...all) - Math.min(...all), isGripper ? LEAST_STROKE : LEAST_TURN);
    const place = (value, i) => [
      box.x + box.width * i / Math.max(1, plan.length - 1),
      box.y + box.height * (0.5 - 0.9 * (value - middle) / reach),
    ];
    g.strokeStyle = colour("line"); g.lineWidth = 1;
    g.strokeRect(box.x, box.y, box.width, box.height);
    curve(g, done.map(place), colour("ink"), true);
    curve(g, plan.map(place), colour("accent"));
    g.fillStyle = colour("dim");
    g.fillText(isGripper ? "grip" : own + 1, box.x + 2, box.y + 10);
    if (!own) g.fillText("LR"[arm], 6, box.y + box.height / 2 + 4);
  }
}

// Every future of every round is a dot: they draw together as the planner concentrates. The one acted on has a ring.
function drawScores(canvas, scores, taken) {
  const rounds = (scores || []).map((_, k) => k + 1);
  const nothing = scores ? "no round of planning ran" : "no plan";
  const chart = axes(canvas, "Scores, round by round", rounds, (scores || []).flat(), 1e-6, "round", nothing);
  if (!chart) return;
  const {g, x, y} = chart;
  scores.forEach((row, k) => row.forEach((score, m) => {
    const isTaken = taken && taken[0] === k && taken[1] === m;
    g.fillStyle = colour(isTaken ? "ok" : "accent");
    g.globalAlpha = isTaken ? 1 : 0.55;
    g.beginPath(); g.arc(x(k + 1), y(score), isTaken ? 4 : 3, 0, 7); g.fill();
    if (!isTaken) return;
    g.strokeStyle = colour("ok"); g.lineWidth = 2;
    g.beginPath(); g.arc(x(k + 1), y(score), 8, 0, 7); g.stroke();
  }));
}

// Seen from the front, as by the head camera, until somebody turns it.
const eye = {turn: Math.PI, tilt: 0.45, distance: 1250, target: [120, 0, 190]};

function projection(width, height) {
  const [st, ct, sp, cp] = [Math.sin(eye.turn), Math.cos(eye.turn), Math.sin(eye.tilt), Math.cos(eye.tilt)];
  const focus = Math.min(height * 1.75, width * 1.5);
  return ([px, py, pz]) => {
    const x = px - eye.target[0], y = py - eye.target[1], z = pz - eye.target[2];
    const ahead = ct * x + st * y, side = st * x - ct * y;
    const depth = eye.distance + cp * ahead - sp * z, rise = sp * ahead + cp * z;
    return {x: width / 2 + focus * side / depth, y: height / 2 - focus * rise / depth, depth, scale: focus / depth};
  };
}

function drawArms(canvas, {strokes, arms, ghosts, paths, recorded_paths: recordedPaths}) {
  const [g, width, height] = begin(canvas), project = projection(width, height);
  const line = (ends, thickness, style) => {
    g.strokeStyle = style; g.lineWidth = thickness;
    g.beginPath(); for (const point of ends) g.lineTo(point.x, point.y); g.stroke();
  };
  for (let at = -600; at <= 600; at += 100) {
    line([[-200, at, 0], [600, at, 0]].map(project), 1, colour("line"));
    if (at >= -200) line([[at, -600, 0], [at, 600, 0]].map(project), 1, colour("line"));
  }
  g.lineCap = "round";
  const limb = (ends, [radius, own], style) => {
    const points = ends.map(project), thickness = Math.max(1.5, 2000 * radius * points[0].scale);
    return {depth: points[0].depth + points[1].depth, draw: () => {
      line(points, thickness, style || "#101214");
      if (style) return;
      line(points, thickness - 2, own);
      line(points.map(({x, y}) => ({x: x - thickness * 0.15, y: y - thickness * 0.15})), thickness * 0.3, "rgb(255 255 255 / 22%)");
    }};
  };
  const all = (bodies, style) => bodies.map((ends, i) => limb(ends, strokes[i], style)).sort((a, b) => b.depth - a.depth);
  g.globalAlpha = 0.16;
  for (const ghost of ghosts || []) for (const each of all(ghost, GHOST)) each.draw();
  g.globalAlpha = 1;
  if (arms) for (const each of all(arms)) each.draw();
  for (const path of recordedPaths || []) {
    curve(g, path.map(project).map(({x, y}) => [x, y]), colour("ink"), true);
  }
  if (paths) for (const path of paths.points) {
    const points = path.map(project);
    for (let i = 1; i < points.length; i++) line([points[i - 1], points[i]], 4, `rgb(${paths.colours[i]})`);
  }
  g.fillStyle = colour("dim");
  if (!arms) { g.textAlign = "center"; g.fillText("no joint states heard", width / 2, height / 2); }
}

// The last minute: what the arms did as a coloured band, lost cameras below it, the value as a line. `at` is looked at.
// Lowest and highest end of the line.
function drawTimeline(canvas, records, now, span, at) {
  const [g, width, height] = begin(canvas);
  const x = time => width * (1 - (now - time) / span);
  const band = height - 34;
  const values = [];  // where a line begins anew there is no value before it
  records.forEach((record, i) => {
    const end = i + 1 < records.length ? records[i + 1].at : now, left = x(record.at);
    const bar = (top, thickness, style) => { g.fillStyle = style; g.fillRect(Math.floor(left), top, Math.ceil(x(end) - left) + 1, thickness); };
    bar(band, 10, colour(record.level));
    if (record.lost) bar(band + 11, 4, colour("error"));
    if (record.value === null) return;
    const goesOn = i > 0 && records[i - 1].value !== null;
    values.push([left, record.value, goesOn], [x(end), record.value, true]);
  });
  const heights = values.map(([, value]) => value);
  let low = Math.min(...heights), high = Math.max(...heights);
  const spare = Math.max(0, 0.1 - (high - low)) / 2;
  [low, high] = [low - spare, high + spare];
  g.strokeStyle = colour("accent"); g.lineWidth = 1.5;
  g.beginPath();
  for (const [left, value, goesOn] of values) {
    const top = 4 + (band - 8) * (1 - (value - low) / (high - low));
    if (goesOn) g.lineTo(left, top); else g.moveTo(left, top);
  }
  g.stroke();
  g.fillStyle = colour("dim");
  for (let seconds = 10; seconds < span / 1000; seconds += 10) {
    g.textAlign = "center"; g.fillText(`\u2212${seconds} s`, x(now - 1000 * seconds), height - 4);
  }
  g.fillStyle = colour("ink");
  if (at !== null) g.fillRect(x(at) - 1, 0, 2, height - 16);
  return values.length ? [low, high] : null;
}
